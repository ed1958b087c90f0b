//! What a link can carry.

use bytes::{Bytes, BytesMut};

/// Something that a link can carry.
pub trait Packet: Clone {
    /// Returns the size that the packet has on the link, in bytes.
    fn len(&self) -> usize;

    /// Returns whether the packet has no payload.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flips bit number `bit` of the payload, counted from the lowest bit of the first byte; `bit < 8 * len`.
    fn corrupt(&mut self, bit: usize);
}

impl Packet for Vec<u8> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn corrupt(&mut self, bit: usize) {
        flip(self, bit);
    }
}

impl Packet for Bytes {
    fn len(&self) -> usize {
        self.as_ref().len()
    }

    fn corrupt(&mut self, bit: usize) {
        // The sender may still hold the bytes, and must not see them change.
        let mut copy = BytesMut::from(self.as_ref());
        flip(&mut copy, bit);
        *self = copy.freeze();
    }
}

/// A packet with something that travels along unharmed and without size, such as an address.
impl<A: Clone, P: Packet> Packet for (A, P) {
    fn len(&self) -> usize {
        self.1.len()
    }

    fn corrupt(&mut self, bit: usize) {
        self.1.corrupt(bit);
    }
}

fn flip(payload: &mut [u8], bit: usize) {
    payload[bit / 8] ^= 1 << (bit % 8);
}
