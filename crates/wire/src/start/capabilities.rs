//! The capabilities bitmap of a session request.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

/// What a session is asked to offer (RFC-0007, 4.2.3 and 5.5.3). Unknown bits survive decoding.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Nothing: raw datagrams.
    pub const NONE: Self = Self(0);
    /// Frames are sent at once, even short ones. Implies nothing else, but goes with segmentation.
    pub const NO_DELAY: Self = Self(0x01);
    /// The receiver requests missing segments.
    pub const RETRANSMISSION_BY_REQUEST: Self = Self(0x02);
    /// The receiver acknowledges frames, and the sender repeats those that are not.
    pub const RETRANSMISSION_BY_ACKNOWLEDGEMENT: Self = Self(0x04);
    /// Frames are cut in segments: the Session Data protocol is spoken.
    pub const SEGMENTATION: Self = Self(0x08);
    /// No rate control on the way back.
    pub const NO_RATE_CONTROL: Self = Self(0x10);
    /// Frames may be delivered out of order. Towline's own bit.
    pub const UNORDERED: Self = Self(0x20);

    /// A reliable session: segmentation and both kinds of retransmission.
    pub const RELIABLE: Self = Self(0x0e);
    /// An unreliable session: segmentation alone.
    pub const UNRELIABLE: Self = Self::SEGMENTATION;

    /// The bitmap with these bits, known or not.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        //= docs/spec/start.md#capabilities
        //# A responder MUST NOT refuse a request because of capability bits that it does not know.
        Self(bits)
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the session recovers what the network loses: either kind of retransmission.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        const EITHER: u8 = Capabilities::RETRANSMISSION_BY_REQUEST.0
            | Capabilities::RETRANSMISSION_BY_ACKNOWLEDGEMENT.0;
        self.0 & EITHER != 0
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Capabilities {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({:#04x})", self.0)
    }
}
