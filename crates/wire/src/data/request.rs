//! The retransmission request (RFC-0007, 4.5).

use core::fmt;

use bytes::Bytes;

use super::{FrameId, MAX_REQUESTABLE_SEGMENTS, check_entries};
use crate::{DecodeError, Dialect};

/// Bytes of one entry: frame id and bitmap.
pub(super) const ENTRY_LEN: usize = 5;

/// Which of a frame's first eight segments are missing. Bit N is segment N in every dialect; the
/// codec turns the bits round where the wire has them the other way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MissingSegments(u8);

impl MissingSegments {
    /// Every segment that a request can name: what to ask for when a whole frame is missing.
    pub const ALL: Self = Self(u8::MAX);

    /// The segments whose bits are set.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Bit N is set where segment N is missing.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether nothing is missing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The indices of the missing segments, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..MAX_REQUESTABLE_SEGMENTS).filter(move |index| self.0 & (1 << index) != 0)
    }
}

/// One frame of a retransmission request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestEntry {
    /// The frame.
    pub frame_id: FrameId,
    /// What is missing of it.
    pub missing: MissingSegments,
}

/// What the receiver wants sent again: a checked view of its datagram.
#[derive(Clone)]
pub struct Request {
    dialect: Dialect,
    payload: Bytes,
}

impl Request {
    /// The entries, ascending by frame id and without padding.
    pub fn entries(&self) -> impl Iterator<Item = RequestEntry> + '_ {
        let (entries, _padding) = self.payload.as_chunks::<ENTRY_LEN>();
        //= docs/spec/data.md#padding
        //# A receiver MUST skip entries with frame id 0 wherever they stand.
        entries.iter().filter_map(|&[a, b, c, d, bitmap]| {
            Some(RequestEntry {
                frame_id: FrameId::new(u32::from_be_bytes([a, b, c, d]))?,
                missing: MissingSegments::from_bits(self.dialect.bitmap(bitmap)),
            })
        })
    }

    pub(super) fn decode(dialect: Dialect, payload: Bytes) -> Result<Self, DecodeError> {
        check_entries::<ENTRY_LEN>(&payload)?;
        Ok(Self { dialect, payload })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.entries().eq(other.entries())
    }
}

impl Eq for Request {}
