//! The four bytes that both protocols start with: version, type, big-endian payload length.

use alloc::vec::Vec;

use crate::{DecodeError, EncodeError};

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 4;

pub(crate) struct Header {
    pub(crate) kind: u8,
    /// The length field: what the sender says the payload takes.
    pub(crate) length: usize,
}

impl Header {
    pub(crate) fn decode(version: u8, bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some(&[found, kind, high, low]) = bytes.first_chunk::<HEADER_LEN>() else {
            return match bytes.first() {
                Some(&found) if found != version => Err(DecodeError::UnknownVersion(found)),
                _ => Err(DecodeError::Truncated { needed: HEADER_LEN, have: bytes.len() }),
            };
        };
        //= docs/spec/start.md#header
        //# A receiver MUST ignore a Start message of any other version.
        if found != version {
            return Err(DecodeError::UnknownVersion(found));
        }
        Ok(Self { kind, length: usize::from(u16::from_be_bytes([high, low])) })
    }
}

/// A message under construction at the end of a buffer: its length is patched in by [`finish`].
///
/// [`finish`]: Self::finish
pub(crate) struct Open<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Open<'a> {
    pub(crate) fn new(version: u8, kind: u8, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[version, kind, 0, 0]);
        Self { out, start }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Payload bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len() - self.start - HEADER_LEN
    }

    #[cfg(feature = "data")]
    pub(crate) fn pad_to(&mut self, payload: usize) {
        self.out.resize(self.start + HEADER_LEN + payload, 0);
    }

    /// Completes the message, or takes it back when it is longer than `limit`.
    pub(crate) fn finish(self, limit: usize) -> Result<(), EncodeError> {
        let length = self.len();
        match u16::try_from(length) {
            //= docs/spec/start.md#header
            //# A sender MUST write 0x02 as the version of a Start message and the number of payload
            //# bytes as its length.
            Ok(field) if length <= limit => {
                self.out[self.start + 2..self.start + HEADER_LEN]
                    .copy_from_slice(&field.to_be_bytes());
                Ok(())
            }
            _ => Err(self.abandon(EncodeError::TooLong { length, limit })),
        }
    }

    /// Leaves the buffer as it was before the message.
    pub(crate) fn abandon(self, error: EncodeError) -> EncodeError {
        self.out.truncate(self.start);
        error
    }
}
