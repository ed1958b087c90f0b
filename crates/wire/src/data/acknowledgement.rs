//! The frame acknowledgement (RFC-0007, 4.6).

use core::fmt;

use bytes::Bytes;

use super::{FrameId, check_entries};
use crate::DecodeError;

/// Bytes of one frame id.
pub(super) const ENTRY_LEN: usize = 4;

/// Frames that the receiver has whole: a checked view of its datagram.
#[derive(Clone)]
pub struct Acknowledgement {
    payload: Bytes,
}

impl Acknowledgement {
    /// The frame ids, ascending and without padding.
    pub fn frames(&self) -> impl Iterator<Item = FrameId> + '_ {
        let (entries, _padding) = self.payload.as_chunks::<ENTRY_LEN>();
        //= docs/spec/data.md#padding
        //# A receiver MUST skip entries with frame id 0 wherever they stand.
        entries.iter().filter_map(|&id| FrameId::new(u32::from_be_bytes(id)))
    }

    pub(super) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        check_entries::<ENTRY_LEN>(&payload)?;
        Ok(Self { payload })
    }
}

impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.frames().map(FrameId::get)).finish()
    }
}

impl PartialEq for Acknowledgement {
    fn eq(&self, other: &Self) -> bool {
        self.frames().eq(other.frames())
    }
}

impl Eq for Acknowledgement {}
