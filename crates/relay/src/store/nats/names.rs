//! What things are called on the server: words of base32, which holds nothing that subjects reserve.

use towline_wire::relay::BASE32;

use crate::{Address, Owner};

/// The names that begin with a prefix.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn queue_stream(&self) -> String {
        format!("{}-queues", self.prefix)
    }

    pub(super) fn record_stream(&self) -> String {
        format!("{}-records", self.prefix)
    }

    pub(super) fn all_queues(&self) -> String {
        format!("{}.queue.*.*", self.prefix)
    }

    pub(super) fn all_records(&self) -> String {
        format!("{}.record.>", self.prefix)
    }

    pub(super) fn queue(&self, address: &Address) -> String {
        format!("{}.queue.{}", self.prefix, words(address))
    }

    /// Whose queue a subject is.
    pub(super) fn address(&self, subject: &str) -> Option<Address> {
        let words = subject.strip_prefix(&self.prefix)?.strip_prefix(".queue.")?;
        let (owner, device) = words.split_once('.')?;
        let device = BASE32.decode(device.strip_prefix('d')?.as_bytes()).ok()?;
        Some(Address {
            owner: owner.parse().ok()?,
            device: bytes::Bytes::from(device).try_into().ok()?,
        })
    }

    pub(super) fn device(&self, address: &Address) -> String {
        format!("{}.record.device.{}", self.prefix, words(address))
    }

    pub(super) fn devices(&self, owner: &Owner) -> String {
        format!("{}.record.devices.{owner}", self.prefix)
    }

    pub(super) fn number_of(&self, owner: &Owner) -> String {
        format!("{}.record.owner.{owner}", self.prefix)
    }

    pub(super) fn number(&self, number: &str) -> String {
        format!("{}.record.number.n{}", self.prefix, BASE32.encode(number.as_bytes()))
    }

    /// Numbers that are short and those that are not do not meet. What clients ask for may be empty, as a word may not.
    pub(super) fn short(&self, short: &str) -> String {
        format!("{}.record.short.n{}", self.prefix, BASE32.encode(short.as_bytes()))
    }
}

/// An owner and a device, whose id may be empty as a word may not.
fn words(address: &Address) -> String {
    format!("{}.d{}", address.owner, address.device)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use towline_wire::relay::UserId;

    use super::*;
    use crate::Device;

    #[test]
    fn a_queue_tells_whose_it_is() {
        let names = Names::new("a-b");
        for device in [Device::from(7), Device::try_from(Bytes::new()).unwrap()] {
            let address = Address::new(UserId::new(&[5; 32]), device);
            assert_eq!(names.address(&names.queue(&address)), Some(address));
        }
        for other in ["a-b.queue.x", "a-b.record.device.x.d", "c.queue.yyyy.d"] {
            assert_eq!(names.address(other), None);
        }
    }
}
