//! Whose bytes are meant, where the RFC text and its deployed implementation differ.

use core::fmt;
use core::str::FromStr;

/// The variant of the wire format that both ends of a session are configured to speak.
///
/// A receiver cannot tell dialects apart by looking, so there is no detection and no negotiation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// RFC-0007 v0.1.0 by its field tables.
    #[default]
    Rfc0007,
    /// The later v1.0.0 texts: as `Rfc0007`, with 8-byte keep-alive data and no 2047-byte limit.
    Rfc0009,
    /// The deployed HOPR implementation.
    Hoprnet,
}

impl Dialect {
    /// All dialects, in the order in which they came to be.
    pub const ALL: [Self; 3] = [Self::Rfc0007, Self::Rfc0009, Self::Hoprnet];

    /// The name that the command line and configuration files use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc0007 => "rfc0007",
            Self::Rfc0009 => "rfc0009",
            Self::Hoprnet => "hoprnet",
        }
    }

    /// How many segments the low six bits of the sequence flags can count (RFC-0007, 4.4.1).
    #[must_use]
    pub const fn max_segments(self) -> u8 {
        match self {
            Self::Rfc0007 | Self::Rfc0009 => 64,
            Self::Hoprnet => 63,
        }
    }

    /// Bytes of additional data in a keep-alive that this dialect sends.
    #[must_use]
    pub const fn keep_alive_width(self) -> usize {
        //= docs/spec/start.md#keep-alive
        //# A KeepAlive MUST hold the flags in 1 byte, the additional data in 4 bytes in `rfc0007`
        //# and in 8 in the other dialects, and the session id, in this order.
        match self {
            Self::Rfc0007 => 4,
            Self::Rfc0009 | Self::Hoprnet => 8,
        }
    }
}

#[cfg(feature = "data")]
impl Dialect {
    /// The low six bits for a frame of `count` segments; `count` is in `1..=max_segments()`.
    pub(crate) const fn count_bits(self, count: u8) -> u8 {
        match self {
            //= docs/spec/data.md#segment
            //# In `rfc0007` and `rfc0009` the low six bits of the flags MUST be the number of
            //# segments in the frame minus one.
            Self::Rfc0007 | Self::Rfc0009 => count - 1,
            //= docs/spec/data.md#segment
            //# In `hoprnet` the low six bits of the flags MUST be the number of segments in the
            //# frame.
            Self::Hoprnet => count,
        }
    }

    /// The segment count that the low six bits stand for; zero where they stand for none.
    pub(crate) const fn count_from_bits(self, bits: u8) -> u8 {
        match self {
            Self::Rfc0007 | Self::Rfc0009 => bits + 1,
            Self::Hoprnet => bits,
        }
    }

    /// Converts between the bitmap on the wire and one whose bit N is segment N. Its own inverse.
    pub(crate) const fn bitmap(self, bits: u8) -> u8 {
        match self {
            //= docs/spec/data.md#request
            //# In `rfc0007` and `rfc0009` segment N MUST be the bit of value 2^N in the bitmap.
            Self::Rfc0007 | Self::Rfc0009 => bits,
            //= docs/spec/data.md#request
            //# In `hoprnet` segment N MUST be the bit of value 2^(7 - N) in the bitmap.
            Self::Hoprnet => bits.reverse_bits(),
        }
    }

    /// Whether requests and acknowledgements are padded with zeros to the whole MTU.
    pub(crate) const fn pads_control(self) -> bool {
        matches!(self, Self::Hoprnet)
    }

    /// The longest payload that is sent in one data message, in bytes, however large the MTU.
    pub(crate) const fn max_sent_payload(self) -> usize {
        match self {
            Self::Rfc0007 => 2047,
            Self::Rfc0009 | Self::Hoprnet => u16::MAX as usize,
        }
    }
}

#[cfg(feature = "start")]
impl Dialect {
    /// Whether a Start message's length field must agree with the datagram.
    pub(crate) const fn checks_start_length(self) -> bool {
        //= docs/spec/start.md#header
        //# In `hoprnet` a receiver MUST accept a Start message with a wrong length if its fields
        //# and its item are whole.
        !matches!(self, Self::Hoprnet)
    }

    /// Whether keep-alives carry flags; the RFC reserves them, and a receiver ignores what it reserves.
    pub(crate) const fn has_keep_alive_flags(self) -> bool {
        matches!(self, Self::Hoprnet)
    }

    /// Whether a keep-alive of the other width is understood too.
    pub(crate) const fn accepts_both_keep_alive_widths(self) -> bool {
        matches!(self, Self::Hoprnet)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no dialect of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dialect; there are rfc0007, rfc0009 and hoprnet")]
pub struct UnknownDialect;

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name).ok_or(UnknownDialect)
    }
}
