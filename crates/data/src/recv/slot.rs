//! One frame of the receive ring: what is there of it, and when to ask for the rest.

use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_wire::data::{MAX_REQUESTABLE_SEGMENTS, MissingSegments, SegmentHeader};

use crate::bits::lowest_bits;
use crate::frame::Pieces;

/// A frame on its way, or on its way to the application.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Segments in the frame, 0 while none has been seen.
    pub(super) count: u8,
    pub(super) have: u64,
    pub(super) pieces: Option<Pieces>,
    pub(super) state: State,
    pub(super) terminating: bool,
    /// Whether the frame was named in an acknowledgement.
    pub(super) acknowledged: bool,
    /// When something sent later arrived before what is missing here.
    pub(super) evidence_at: Option<Instant>,
    /// When the newest segment arrived.
    pub(super) last_at: Option<Instant>,
    pub(super) requested_at: Option<Instant>,
    pub(super) requests: u8,
    /// What the last request named.
    pub(super) asked: MissingSegments,
    pub(super) charge: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Filling,
    Complete,
    /// In unordered delivery: handed over before its turn.
    Delivered,
}

/// How long to wait before asking again or for the first time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// After evidence of a gap: what reordering may explain.
    pub(crate) reordering: Duration,
    /// After the newest segment of the newest frame, without any evidence.
    pub(crate) tail: Duration,
    /// Between the two requests of a pair.
    pub(crate) repeat: Duration,
    /// After the second of them; what takes longer from the first measures nothing.
    pub(crate) answer: Duration,
}

impl Slot {
    /// Whether it is complete and its data is still here.
    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Complete && !self.terminating
    }

    pub(super) fn store(&mut self, header: SegmentHeader, data: Bytes) {
        self.have |= 1 << header.index();
        let index = usize::from(header.index());
        match &mut self.pieces {
            Some(Pieces::Many(pieces)) => pieces[index] = data,
            _ if header.count() == 1 => self.pieces = Some(Pieces::One(data)),
            _ => {
                let mut pieces = vec![Bytes::new(); usize::from(header.count())];
                pieces[index] = data;
                self.pieces = Some(Pieces::Many(pieces));
            }
        }
    }

    /// When this incomplete frame is to be requested, for the first time or again.
    pub(super) fn request_due(&self, patience: Patience) -> Option<Instant> {
        //= docs/spec/data.md#requesting
        //# A receiver MUST repeat a request for a frame that stays incomplete.
        if let Some(at) = self.requested_at {
            if self.requests % 2 == 1 {
                return Some(at + patience.repeat);
            }
            // Bounded back-off, after what bad luck alone may explain: an answer may be slow, but the
            // frame has to come.
            let factor = 1 << (self.requests / 2).saturating_sub(4).min(3);
            // Perhaps only the second of the pair arrived.
            return Some(at + patience.repeat + patience.answer * factor);
        }
        //= docs/spec/data.md#requesting
        //# In reliable mode a receiver MUST request a frame that is known to be incomplete within
        //# the frame timeout, which is 800 milliseconds by default.
        let tail = self.last_at.map(|at| at + patience.tail);
        let gap = self.evidence_at.map(|at| at + patience.reordering);
        match (tail, gap) {
            (Some(tail), Some(gap)) => Some(tail.min(gap)),
            (tail, gap) => tail.or(gap),
        }
    }

    /// What a request can name of what is missing. Unless `whole`, only what was overtaken within the
    /// frame: the rest may not have been sent yet.
    pub(super) fn missing(&self, whole: bool) -> MissingSegments {
        //= docs/spec/data.md#requesting
        //# A receiver MUST request a frame of which it has no segment with every bit set.
        if self.count == 0 {
            return MissingSegments::ALL;
        }
        let expected = if whole {
            lowest_bits(self.count)
        } else {
            lowest_bits((u64::BITS - self.have.leading_zeros()) as u8)
        };
        //= docs/spec/data.md#requesting
        //# A receiver MUST NOT request a segment that it has, nor send an entry without any bit
        //# set.
        let nameable = expected & lowest_bits(MAX_REQUESTABLE_SEGMENTS);
        MissingSegments::from_bits((nameable & !self.have) as u8)
    }
}
