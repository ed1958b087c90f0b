//! The segment message (RFC-0007, 4.4).

use core::fmt;
use core::num::NonZeroU32;

use bytes::{Buf, Bytes};

use crate::{DecodeError, Dialect, EncodeError};

/// Bytes of frame id, sequence index and sequence flags.
pub(super) const FIXED_LEN: usize = 6;

const TERMINATING: u8 = 0b1000_0000;
const RESERVED: u8 = 0b0100_0000;
const COUNT: u8 = 0b0011_1111;

/// Identifies a frame within a session: never 0, rising by one from frame to frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(NonZeroU32);

impl FrameId {
    /// The id of a session's first frame.
    pub const FIRST: Self = Self(NonZeroU32::MIN);
    /// The id after which a session has no more frames to send.
    pub const LAST: Self = Self(NonZeroU32::MAX);

    /// A frame id, or `None` for 0.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        match NonZeroU32::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The id of the next frame, or `None` after [`FrameId::LAST`].
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which piece of which frame a segment is; always within its frame's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentHeader {
    frame_id: FrameId,
    index: u8,
    count: u8,
    terminating: bool,
}

impl SegmentHeader {
    /// Segment `index` of the `count` (1 to 64) that frame `frame_id` has.
    ///
    /// Returns `None` when the index is not below the count or the count is not in range.
    #[must_use]
    pub const fn new(frame_id: FrameId, index: u8, count: u8) -> Option<Self> {
        if index >= count || count > 64 {
            return None;
        }
        Some(Self { frame_id, index, count, terminating: false })
    }

    /// The only segment of its frame.
    #[must_use]
    pub const fn single(frame_id: FrameId) -> Self {
        Self { frame_id, index: 0, count: 1, terminating: false }
    }

    /// The terminating segment of a session, whose frame follows the last one with data
    /// (RFC-0007, 4.9).
    #[must_use]
    pub const fn terminating(frame_id: FrameId) -> Self {
        //= docs/spec/data.md#terminating-segment
        //# A terminating frame MUST be one segment with bit 7 of its flags set, and without data.
        Self { frame_id, index: 0, count: 1, terminating: true }
    }

    /// The frame that the segment belongs to.
    #[must_use]
    pub const fn frame_id(&self) -> FrameId {
        self.frame_id
    }

    /// Position in the frame, from 0.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }

    /// Segments in the frame, 1 to 64.
    #[must_use]
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// Whether the sender ends the session with this frame.
    #[must_use]
    pub const fn is_terminating(&self) -> bool {
        self.terminating
    }

    #[inline]
    pub(super) const fn encode(self, dialect: Dialect) -> Result<[u8; FIXED_LEN], EncodeError> {
        //= docs/spec/data.md#segmentation
        //# A sender MUST NOT send frames of more than 64 segments, or 63 in `hoprnet`.
        let limit = dialect.max_segments();
        if self.count > limit {
            return Err(EncodeError::TooManySegments { count: self.count, limit });
        }
        let flags = dialect.count_bits(self.count) | if self.terminating { TERMINATING } else { 0 };
        let [a, b, c, d] = self.frame_id.get().to_be_bytes();
        //= docs/spec/data.md#segment
        //# A segment MUST hold the frame id in 4 bytes, the index in 1, the flags in 1, and the
        //# data, in this order.
        Ok([a, b, c, d, self.index, flags])
    }

    #[inline]
    fn decode(dialect: Dialect, fixed: [u8; FIXED_LEN]) -> Result<Self, DecodeError> {
        let [a, b, c, d, index, flags] = fixed;
        //= docs/spec/data.md#segment
        //# A receiver MUST ignore a segment of frame 0.
        let frame_id =
            FrameId::new(u32::from_be_bytes([a, b, c, d])).ok_or(DecodeError::ZeroFrameId)?;
        //= docs/spec/data.md#segment
        //# A receiver MUST ignore a segment with bit 6 of its flags set.
        if flags & RESERVED != 0 {
            return Err(DecodeError::ReservedBits(flags));
        }
        let count = dialect.count_from_bits(flags & COUNT);
        //= docs/spec/data.md#segment
        //# A receiver MUST ignore a segment whose index is not below its count.
        if count == 0 {
            return Err(DecodeError::ZeroSegmentCount);
        }
        if index >= count {
            return Err(DecodeError::IndexBeyondCount { index, count });
        }
        Ok(Self { frame_id, index, count, terminating: flags & TERMINATING != 0 })
    }
}

/// A piece of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which piece of which frame.
    pub header: SegmentHeader,
    /// The data. A terminating segment is sent without; what one carries is to be ignored.
    pub data: Bytes,
}

impl Segment {
    #[inline]
    pub(super) fn decode(dialect: Dialect, mut payload: Bytes) -> Result<Self, DecodeError> {
        let Some(fixed) = payload.first_chunk::<FIXED_LEN>() else {
            return Err(DecodeError::Truncated { needed: FIXED_LEN, have: payload.len() });
        };
        let header = SegmentHeader::decode(dialect, *fixed)?;
        payload.advance(FIXED_LEN);
        Ok(Self { header, data: payload })
    }
}
