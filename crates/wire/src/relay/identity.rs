//! Who somebody is: a public key, in either dialect.

use core::fmt;
use core::str::FromStr;

use bytes::Bytes;

use super::BASE32;

/// Who somebody is in the `deployed` dialect: a Curve25519 public key, the u-coordinate of a point.
///
/// It is less than 2^255 - 19, so no two identities are the same key. It is shown in
/// [base32](BASE32), 52 characters, and read from it. Whether the key is of small order is for the
/// check of signatures to find out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity([u8; Self::LEN]);

impl Identity {
    /// Bytes of an identity.
    pub const LEN: usize = 32;

    /// The bytes on the wire, little-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Whether the key is written in the only way that this number should be.
    fn is_reduced(bytes: &[u8; Self::LEN]) -> bool {
        let [lowest, middle @ .., highest] = bytes;
        // The prime is 0x7fff...ffed.
        *highest < 0x7f
            || *highest == 0x7f && (*lowest < 0xed || middle.iter().any(|&byte| byte != 0xff))
    }
}

impl TryFrom<[u8; Self::LEN]> for Identity {
    type Error = InvalidIdentity;

    fn try_from(bytes: [u8; Self::LEN]) -> Result<Self, InvalidIdentity> {
        if Self::is_reduced(&bytes) { Ok(Self(bytes)) } else { Err(InvalidIdentity::NotReduced) }
    }
}

impl TryFrom<&[u8]> for Identity {
    type Error = InvalidIdentity;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidIdentity> {
        sized(bytes)?.try_into()
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let bytes = BASE32.decode(text.as_bytes()).map_err(|_| InvalidIdentity::NotBase32)?;
        bytes[..].try_into()
    }
}

/// Who somebody is in the `seed` dialect: the byte 0x05 and an Ed25519 public key. It is shown in
/// [base32](BASE32), 53 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId([u8; Self::LEN]);

impl UserId {
    /// Bytes of a user's id.
    pub const LEN: usize = 33;
    /// The byte that says that an Ed25519 key follows.
    pub const TYPE: u8 = 0x05;

    /// The id of the user with this Ed25519 public key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut bytes = [Self::TYPE; Self::LEN];
        bytes[1..].copy_from_slice(key);
        Self(bytes)
    }

    /// The bytes on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn key(&self) -> &[u8; 32] {
        let [_, key @ ..] = &self.0;
        key
    }
}

impl TryFrom<&[u8]> for UserId {
    type Error = InvalidIdentity;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidIdentity> {
        let bytes: [u8; Self::LEN] = sized(bytes)?;
        match bytes[0] {
            Self::TYPE => Ok(Self(bytes)),
            other => Err(InvalidIdentity::UnknownType(other)),
        }
    }
}

impl From<Identity> for Bytes {
    fn from(identity: Identity) -> Self {
        Self::copy_from_slice(&identity.0)
    }
}

impl From<UserId> for Bytes {
    fn from(user: UserId) -> Self {
        Self::copy_from_slice(&user.0)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BASE32.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BASE32.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({self})")
    }
}

/// Why bytes or text are nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// Not as many bytes as the dialect has.
    #[error("{have} bytes instead of {needed}")]
    WrongLength {
        /// [`Identity::LEN`] or [`UserId::LEN`].
        needed: usize,
        /// Bytes that were there.
        have: usize,
    },
    /// A user's id of a type that is not [`UserId::TYPE`].
    #[error("unknown type {0:#04x}")]
    UnknownType(u8),
    /// 2^255 - 19 or more: another way to write a key, for which others would not be told apart.
    #[error("not the shortest form of the key")]
    NotReduced,
    /// A character or a length that base32 does not have.
    #[error("not base32")]
    NotBase32,
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<[u8; N], InvalidIdentity> {
    let wrong = |_| InvalidIdentity::WrongLength { needed: N, have: bytes.len() };
    bytes.try_into().map_err(wrong)
}
