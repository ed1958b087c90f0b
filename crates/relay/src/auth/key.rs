//! The client's side of the login.

use std::fmt;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use towline_wire::relay::deployed::AuthResponse;
use towline_wire::relay::{Identity, UserId};

use super::{NoRandomness, random};

/// A client's key pair: Ed25519, good for logging in with either dialect.
///
/// As an [`Identity`] it is the Montgomery form of the same key. Private keys that were made for X25519
/// do not fit in here: they have no Ed25519 seed.
pub struct Key(SigningKey);

impl Key {
    /// A new one, from the operating system's generator.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn random() -> Result<Self, NoRandomness> {
        random().map(|seed| Self::new(&seed))
    }

    /// The key with this private Ed25519 key of 32 bytes, its seed.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Who this is in the `deployed` dialect.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let key = self.0.verifying_key().to_montgomery().to_bytes();
        Identity::try_from(key).expect("field elements are written reduced")
    }

    /// Who this is in the `seed` dialect.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        UserId::new(self.0.verifying_key().as_bytes())
    }

    /// Signs an encoded `Login` of the `deployed` dialect.
    #[must_use]
    pub fn answer_deployed(&self, login: Bytes) -> AuthResponse {
        let mut signature = self.0.sign(&login).to_bytes();
        // The identity does not say which of two Edwards points it is. The highest bit of the
        // signature, always 0 otherwise, does.
        signature[63] |= self.0.verifying_key().as_bytes()[31] & 0x80;
        AuthResponse { login, signature: Bytes::copy_from_slice(&signature) }
    }

    /// Signs an encoded `Login` of the `seed` dialect.
    #[must_use]
    pub fn answer_seed(&self, login: Bytes) -> AuthResponse {
        let signature = Bytes::copy_from_slice(&self.0.sign(&login).to_bytes());
        AuthResponse { login, signature }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.identity())
    }
}
