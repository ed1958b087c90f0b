//! Whose device: the key under which everything is kept.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use towline_wire::relay::{BASE32, Identity, InvalidIdentity, UserId};

/// Whose: an [`Identity`] of 32 bytes or a [`UserId`] of 33.
///
/// Their lengths differ, so owners of the two dialects are never the same, and neither are addresses.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Bytes);

impl Owner {
    /// The bytes on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As an identity of the `deployed` dialect, if it is one.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        Identity::try_from(&self.0[..]).ok()
    }

    /// As a user of the `seed` dialect, if it is one.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        UserId::try_from(&self.0[..]).ok()
    }
}

impl TryFrom<&[u8]> for Owner {
    type Error = InvalidIdentity;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidIdentity> {
        match bytes.len() {
            UserId::LEN => UserId::try_from(bytes).map(Self::from),
            _ => Identity::try_from(bytes).map(Self::from),
        }
    }
}

impl From<Identity> for Owner {
    fn from(identity: Identity) -> Self {
        Self(identity.into())
    }
}

impl From<UserId> for Owner {
    fn from(user: UserId) -> Self {
        Self(user.into())
    }
}

/// Which of an owner's devices: up to [`Device::MAX_LEN`] bytes, or a number, kept as its four bytes,
/// the highest first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(Bytes);

impl Device {
    /// The most bytes. Clients in the field use 16; a key of a whole message would fill the indexes.
    pub const MAX_LEN: usize = 255;

    /// The bytes on the wire, in the `deployed` dialect.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number on the wire, in the `seed` dialect; `None` unless there are four bytes.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.0[..].try_into().ok().map(u32::from_be_bytes)
    }
}

impl From<u32> for Device {
    fn from(number: u32) -> Self {
        Self(Bytes::copy_from_slice(&number.to_be_bytes()))
    }
}

impl TryFrom<Bytes> for Device {
    type Error = DeviceTooLong;

    fn try_from(bytes: Bytes) -> Result<Self, DeviceTooLong> {
        match bytes.len() {
            // It outlives the message that it came in.
            0..=Self::MAX_LEN => Ok(Self(Bytes::copy_from_slice(&bytes))),
            len => Err(DeviceTooLong(len)),
        }
    }
}

/// A device's id has this many bytes, more than [`Device::MAX_LEN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a device id of {0} bytes")]
pub struct DeviceTooLong(pub usize);

/// A device of somebody, in either dialect. It is shown in [base32](BASE32), a colon between the two.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Whose.
    pub owner: Owner,
    /// Which device.
    pub device: Device,
}

impl Address {
    /// A device of an owner.
    pub fn new(owner: impl Into<Owner>, device: impl Into<Device>) -> Self {
        Self { owner: owner.into(), device: device.into() }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BASE32.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BASE32.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.owner, self.device)
    }
}

/// A text is no owner, device or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address is OWNER:DEVICE in base32, as a relay writes it")]
pub struct InvalidAddress;

impl FromStr for Owner {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let bytes = BASE32.decode(text.as_bytes()).map_err(|_| InvalidAddress)?;
        Self::try_from(&bytes[..]).map_err(|_| InvalidAddress)
    }
}

impl FromStr for Device {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let bytes = BASE32.decode(text.as_bytes()).map_err(|_| InvalidAddress)?;
        Bytes::from(bytes).try_into().map_err(|_| InvalidAddress)
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (owner, device) = text.split_once(':').ok_or(InvalidAddress)?;
        Ok(Self { owner: owner.parse()?, device: device.parse()? })
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_the_two_dialects_with_one_key_differ() {
        let key = [5; 32];
        let identity = Owner::from(Identity::try_from(key).unwrap());
        assert_ne!(identity, Owner::from(UserId::new(&key)));
    }

    #[test]
    fn a_device_is_bytes_or_a_number() {
        assert_eq!(Device::from(0x0102_0304).as_bytes(), [1, 2, 3, 4]);
        assert_eq!(Device::from(7).number(), Some(7));
        assert_eq!(Device::try_from(Bytes::new()).unwrap().number(), None);
    }

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let identity = Identity::try_from([5; 32]).unwrap();
        for address in [
            Address::new(identity, 7),
            Address::new(UserId::new(&[5; 32]), Device::try_from(Bytes::new()).unwrap()),
        ] {
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for text in ["", ":", "yyy", "yyyy:yyyy", "0:0", &format!("{identity}"), "vl:l"] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text}");
        }
    }

    #[test]
    fn a_device_of_more_bytes_than_the_limit_is_refused() {
        assert!(Device::try_from(Bytes::from(vec![0; 255])).is_ok());
        assert_eq!(Device::try_from(Bytes::from(vec![0; 256])), Err(DeviceTooLong(256)));
    }
}
