//! The login: a challenge, the client's answer to it, and the relay's verdict.
//!
//! ```
//! use towline_relay::auth::{Challenge, Key};
//! use towline_relay::{Address, Device};
//! use towline_wire::relay::seed;
//!
//! let challenge = Challenge::random()?;
//!
//! let key = Key::random()?;
//! let address = seed::Address { user_id: key.user_id().into(), device_id: 1 };
//! let nonce = challenge.as_bytes().to_vec().into();
//! let mut login = Vec::new();
//! seed::Login { address: Some(address), nonce }.encode(&mut login)?;
//! let response = key.answer_seed(login.into());
//!
//! let address = challenge.verify_seed(&response)?;
//! assert_eq!(address, Address::new(key.user_id(), Device::from(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod key;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::{SIGNATURE_LENGTH, Signature, VerifyingKey};
use rand::TryRng;
use rand::rngs::SysRng;
use subtle::ConstantTimeEq;
use towline_wire::relay::deployed::AuthResponse;
use towline_wire::relay::{DecodeError, Identity, InvalidIdentity, UserId, deployed, seed};

use crate::{Address, Device, DeviceTooLong};

pub use key::Key;

/// What a client must sign to log in, good for one connection.
#[derive(Clone, Copy)]
pub struct Challenge([u8; Self::LEN]);

impl Challenge {
    /// Bytes of a nonce.
    pub const LEN: usize = 32;

    /// A new one, from the operating system's generator.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn random() -> Result<Self, NoRandomness> {
        random().map(Self)
    }

    /// The nonce as it is sent.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Who has answered the challenge in the `deployed` dialect.
    ///
    /// The signature is by the Edwards form of the identity's key; which of the two points with its
    /// u-coordinate is meant stands in the highest bit of the signature.
    ///
    /// # Errors
    /// The first thing that is wrong with the answer.
    pub fn verify_deployed(&self, response: &AuthResponse) -> Result<Address, Refusal> {
        let login = deployed::Login::decode(response.login.clone())?;
        let deployed::Address { identity_key, device_id } =
            login.address.ok_or(Refusal::NoAddress)?;
        let identity = Identity::try_from(&identity_key[..])?;
        let device = Device::try_from(device_id)?;
        self.compare(&login.nonce)?;

        let mut signature = signature(&response.signature)?;
        let sign = signature[SIGNATURE_LENGTH - 1] >> 7;
        signature[SIGNATURE_LENGTH - 1] &= 0x7f;
        let point =
            MontgomeryPoint(*identity.as_bytes()).to_edwards(sign).ok_or(Refusal::NoPoint)?;
        verify(&point.into(), &response.login, &signature)?;
        Ok(Address::new(identity, device))
    }

    /// Who has answered the challenge in the `seed` dialect, with plain Ed25519.
    ///
    /// # Errors
    /// The first thing that is wrong with the answer.
    pub fn verify_seed(&self, response: &AuthResponse) -> Result<Address, Refusal> {
        let login = seed::Login::decode(response.login.clone())?;
        let seed::Address { user_id, device_id } = login.address.ok_or(Refusal::NoAddress)?;
        let user = UserId::try_from(&user_id[..])?;
        self.compare(&login.nonce)?;

        let signature = signature(&response.signature)?;
        let key = VerifyingKey::from_bytes(user.key()).map_err(|_| Refusal::NoPoint)?;
        verify(&key, &response.login, &signature)?;
        Ok(Address::new(user, Device::from(device_id)))
    }

    fn compare(&self, nonce: &[u8]) -> Result<(), Refusal> {
        if self.0[..].ct_eq(nonce).into() { Ok(()) } else { Err(Refusal::Nonce) }
    }
}

impl From<[u8; Self::LEN]> for Challenge {
    /// A challenge that is known, for tests.
    fn from(nonce: [u8; Self::LEN]) -> Self {
        Self(nonce)
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(..)")
    }
}

/// Why a client is not who it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// What is signed is no login of the dialect.
    #[error("no login: {0}")]
    Malformed(#[from] DecodeError),
    /// The login does not say who wants in.
    #[error("no address")]
    NoAddress,
    /// The login names nobody.
    #[error("no identity: {0}")]
    Identity(#[from] InvalidIdentity),
    /// The login names a device that cannot be.
    #[error(transparent)]
    Device(#[from] DeviceTooLong),
    /// The nonce is not the challenge's.
    #[error("the nonce is another one")]
    Nonce,
    /// The signature has this many bytes, not 64.
    #[error("a signature of {0} bytes")]
    SignatureLength(usize),
    /// No point of the curve has this key.
    #[error("the key is no point of the curve")]
    NoPoint,
    /// The key is of small order: a signature by it shows nothing.
    #[error("the key is of small order")]
    SmallOrder,
    /// The signature is not by this key, or not over this login.
    #[error("the signature is wrong")]
    Signature,
}

/// The operating system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness;

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

fn signature(bytes: &Bytes) -> Result<[u8; SIGNATURE_LENGTH], Refusal> {
    bytes[..].try_into().map_err(|_| Refusal::SignatureLength(bytes.len()))
}

fn verify(
    key: &VerifyingKey,
    login: &[u8],
    signature: &[u8; SIGNATURE_LENGTH],
) -> Result<(), Refusal> {
    if key.is_weak() {
        return Err(Refusal::SmallOrder);
    }
    key.verify_strict(login, &Signature::from_bytes(signature)).map_err(|_| Refusal::Signature)
}
