//! What can be wrong with bytes, and with what is to become bytes.

use crate::Dialect;

/// Why a datagram is no message of the configured dialect.
///
/// Bytes that do not decode are the sender's fault: ignore them and count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the fixed part of the message takes.
    #[error("truncated: {needed} bytes needed, {have} there")]
    Truncated {
        /// Bytes that the fixed part takes.
        needed: usize,
        /// Bytes that were there.
        have: usize,
    },
    /// The first byte is not the protocol's version (RFC-0007, 6.1).
    #[error("unknown version {0:#04x}")]
    UnknownVersion(u8),
    /// The second byte names no message.
    #[error("unknown message type {0:#04x}")]
    UnknownType(u8),
    /// The length field promises more bytes than there are.
    #[error("the length field says {length} bytes of payload, {have} are there")]
    LengthBeyondEnd {
        /// The length field.
        length: usize,
        /// Payload bytes that were there.
        have: usize,
    },
    /// Bytes follow the end of the message.
    #[error("{0} bytes follow the message")]
    TrailingBytes(usize),
    /// The payload is longer than the MTU allows.
    #[error("a payload of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of payload.
        length: usize,
        /// The most that is understood, `C - 4`.
        limit: usize,
    },
    /// Segments of frame 0; ids start at 1 (RFC-0007, 4.4.1).
    #[error("frame id 0")]
    ZeroFrameId,
    /// The segment's index is not below the segment count.
    #[error("segment index {index} in a frame of {count} segments")]
    IndexBeyondCount {
        /// Sequence index.
        index: u8,
        /// Segments in the frame.
        count: u8,
    },
    /// A segment count of zero, which only the `hoprnet` dialect can express.
    #[error("a frame of no segments")]
    ZeroSegmentCount,
    /// The reserved bit 6 of the sequence flags is set.
    #[error("reserved bit set in sequence flags {0:#04x}")]
    ReservedBits(u8),
    /// Frame ids of a request or an acknowledgement do not ascend (RFC-0007, 4.5.2 and 4.6.1).
    #[error("frame ids do not ascend")]
    UnorderedEntries,
    /// A request or an acknowledgement ends amid an entry.
    #[error("{0} bytes of an incomplete entry")]
    PartialEntry(usize),
    /// The tag has one of its top three bits set.
    #[error("reserved tag")]
    ReservedTag,
    /// The bytes are no well-formed CBOR item (RFC 8949).
    #[error("not a CBOR item")]
    InvalidCbor,
    /// The CBOR item ends amid its contents.
    #[error("incomplete CBOR item")]
    TruncatedCbor,
    /// The CBOR item nests deeper than `start::Cbor::MAX_NESTING`.
    #[error("CBOR item nested too deep")]
    NestingTooDeep,
}

impl DecodeError {
    /// The dialect in which the refused bytes would have been natural, where there is one.
    ///
    /// Both ends must be configured alike, so this is a hint for the operator, not for the codec.
    #[must_use]
    pub const fn likely_dialect(&self, configured: Dialect) -> Option<Dialect> {
        match (configured, self) {
            // Count minus one: the only segment has count 0, the last of n has index n - 1 = count.
            (Dialect::Hoprnet, Self::ZeroSegmentCount) => Some(Dialect::Rfc0007),
            (Dialect::Hoprnet, Self::IndexBeyondCount { index, count }) if *index == *count => {
                Some(Dialect::Rfc0007)
            }
            _ => None,
        }
    }
}

/// Why a message cannot be expressed in the configured dialect and MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message would be longer than the MTU or the length field allows.
    #[error("a payload of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of payload.
        length: usize,
        /// The most that may be sent.
        limit: usize,
    },
    /// The dialect cannot count this many segments.
    #[error("{count} segments are over the dialect's {limit}")]
    TooManySegments {
        /// Segments in the frame.
        count: u8,
        /// The dialect's limit.
        limit: u8,
    },
    /// More entries than one message of this MTU holds.
    #[error("more than {limit} entries")]
    TooManyEntries {
        /// Entries that fit.
        limit: usize,
    },
    /// Frame ids do not ascend.
    #[error("frame ids do not ascend")]
    UnorderedEntries,
    /// The value is wider than the dialect's field.
    #[error("additional data is wider than the dialect's {width} bytes")]
    AdditionalDataTooWide {
        /// Bytes of the field.
        width: usize,
    },
    /// A keep-alive with flags, which this dialect requires to be zero.
    #[error("keep-alive flags {0:#04x} are reserved")]
    ReservedFlags(u8),
}
