//! How long a message may be, and how much it may come to in memory.

use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The longest message, in bytes. Deployed clients close the connection on a longer one.
pub const MAX_MESSAGE_LEN: usize = 32_768;

/// The most fields in a message, counting entries of lists as often as they occur.
///
/// An empty entry takes two bytes on the wire and up to a hundred in memory. With this many of them,
/// a list takes at most four times [`MAX_MESSAGE_LEN`]. Lists of real prekeys do not come near it.
pub const MAX_FIELDS: usize = 1024;

/// A message that is too much for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// More than the limit in bytes, [`MAX_MESSAGE_LEN`] for what a client sends or gets.
    #[error("a message of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of the message.
        length: usize,
        /// The most that there may be.
        limit: usize,
    },
    /// More than [`MAX_FIELDS`] fields, entries of lists among them.
    #[error("more than {MAX_FIELDS} fields")]
    TooManyFields,
}

/// Why bytes are no message of the dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message is over a limit.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// The bytes are no protobuf, or a field is of another type than it should be.
    #[error(transparent)]
    Malformed(#[from] prost::DecodeError),
}

/// The bounds of one type of message.
pub(super) struct Bounds {
    /// The most bytes.
    pub(super) len: usize,
    /// Whether a field holds a message with a list in it, or in whose fields there is one. The first
    /// argument is the field that its parent came in, 0 for none; the second is its own number.
    pub(super) has_lists: fn(u32, u32) -> bool,
}

impl Bounds {
    pub(super) fn decode<M: Message + Default>(&self, bytes: Bytes) -> Result<M, DecodeError> {
        self.check_len(bytes.len())?;
        self.check_fields(&bytes)?;
        Ok(M::decode(bytes)?)
    }

    pub(super) fn encode(&self, message: &impl Message, out: &mut Vec<u8>) -> Result<(), Excess> {
        let (start, length) = (out.len(), message.encoded_len());
        self.check_len(length)?;
        out.reserve(length);
        message.encode_raw(out);
        match self.check_fields(&out[start..]) {
            Err(DecodeError::Excess(excess)) => {
                out.truncate(start);
                Err(excess)
            }
            // What prost writes, prost reads.
            Err(DecodeError::Malformed(_)) | Ok(()) => Ok(()),
        }
    }

    fn check_len(&self, length: usize) -> Result<(), Excess> {
        let limit = self.len;
        if length > limit { Err(Excess::TooLong { length, limit }) } else { Ok(()) }
    }

    fn check_fields(&self, message: &[u8]) -> Result<(), DecodeError> {
        // A field takes two bytes at least, so most messages need no counting.
        if message.len() < 2 * MAX_FIELDS {
            return Ok(());
        }
        let mut left = MAX_FIELDS;
        self.count(message, 0, &mut left)
    }

    /// Takes the fields of a message from what is `left`, reading them with the functions that the
    /// derived decoders call: what they see as one entry is one here.
    fn count(&self, mut message: &[u8], parent: u32, left: &mut usize) -> Result<(), DecodeError> {
        while !message.is_empty() {
            *left = left.checked_sub(1).ok_or(Excess::TooManyFields)?;
            let (tag, wire_type) = decode_key(&mut message)?;
            let mut rest = message;
            // Fails if the field ends beyond the message that it is in. The derived decoders would read on
            // there, and complain afterwards.
            skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
            if wire_type == WireType::LengthDelimited && (self.has_lists)(parent, tag) {
                decode_varint(&mut message)?;
                let inside = &message[..message.len() - rest.len()];
                self.count(inside, tag, left)?;
            }
            message = rest;
        }
        Ok(())
    }
}

/// Gives types of messages their `decode` and `encode`, within their bounds.
macro_rules! codec {
    ($($message:ident: $bounds:expr;)*) => { $(
        impl $message {
            const BOUNDS: $crate::relay::bounds::Bounds = $bounds;

            /// Decodes exactly one message, without copying what is in its `Bytes`. Fields that the
            /// dialect does not know are ignored.
            ///
            /// # Errors
            /// [`Excess`](crate::relay::Excess) before anything is allocated, else what makes it
            /// malformed.
            pub fn decode(bytes: bytes::Bytes) -> Result<Self, $crate::relay::DecodeError> {
                Self::BOUNDS.decode(bytes)
            }

            /// Appends the message to `out`.
            ///
            /// # Errors
            /// What [`decode`](Self::decode) would refuse; `out` is then unchanged.
            pub fn encode(&self, out: &mut alloc::vec::Vec<u8>) -> Result<(), $crate::relay::Excess> {
                Self::BOUNDS.encode(self, out)
            }
        }
    )* };
}

pub(super) use codec;
