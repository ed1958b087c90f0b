//! The receive side: one ring of frames that is reassembler and sequencer at once.
//!
//! A slot per frame, indexed by frame id, from the first frame that is not delivered to the last one
//! heard of. Complete frames move from the front of the ring to the ready queue, where the application
//! takes them.

mod slot;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_wire::data::{FrameId, MissingSegments, RequestEntry, Segment};

pub(crate) use self::slot::Patience;
use self::slot::{Slot, State};
use crate::bits::lowest_bits;
use crate::config::{Config, Delivery};
use crate::frame::Frame;

/// What a kept segment costs beside its data: its place in a list and its share of a slot.
pub(crate) const SEGMENT_CHARGE: usize = 64;

/// Up to this many buffered bytes, segments stay in the datagrams that brought them. A peer may make a
/// small segment pin a large receive buffer, so what is buffered beyond is copied to its own size, and
/// segments below [`SMALL_SEGMENT`] bytes always are. What comes in turn, to a reader that keeps up, stays:
/// it leaves together with its neighbours in the buffer, unless most of what the peer sends is thrown away.
const PINNED_LIMIT: usize = 256 << 10;
const SMALL_SEGMENT: usize = 256;
/// One of so many received bytes is kept at least if segments in turn are not copied.
const MAX_WASTE: usize = 4;
/// Received bytes after which what was kept of them counts half: as many as a receive buffer holds.
const WASTE_MEMORY: usize = 64 << 10;

/// Segments far beyond the window, close to each other, after which an unreliable receiver believes
/// that it missed what lies between. One alone may be a lie.
const RESYNC_AFTER: u8 = 3;

#[derive(Debug)]
pub(crate) struct RecvWindow {
    reliable: bool,
    ordered: bool,
    window: u64,
    reorder_depth: usize,
    buffer: usize,

    /// The id of the first slot: everything before it is delivered or given up.
    base: u64,
    slots: VecDeque<Slot>,
    /// The highest id heard of.
    seen: u64,
    /// Complete slots that are still in the ring.
    complete: usize,
    /// Those of them that are not delivered, the terminating one aside, and the lowest id that they may have:
    /// finding them must not take a pass over the ring for each frame.
    waiting: usize,
    waiting_from: u64,
    /// The terminating frame's id, once known: nothing comes after it.
    end: Option<u64>,
    finished: bool,
    far: Far,

    ready: VecDeque<Frame>,
    ring_charge: usize,
    ready_charge: usize,
    /// Bytes of late datagrams, and of the segments in them that were kept.
    received: usize,
    kept: usize,
    /// Something did not fit, and nothing was taken since.
    full: bool,
    /// Frames given up by an unreliable reader.
    pub(crate) skipped: u64,
}

#[derive(Debug, Default)]
struct Far {
    id: u64,
    count: u8,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    Stored {
        /// It was the frame's last missing one.
        completed: bool,
        /// It came this long after the only pair of requests for it.
        answered: Option<Duration>,
    },
    /// The frame is complete already.
    DuplicateFrame,
    /// The segment was there already.
    DuplicateSegment,
    /// Outside the window or behind the terminating frame.
    OutOfWindow,
    /// A terminating frame behind the terminating frame: the peer has given up its end of the session.
    Aborted,
    /// Over the buffer's bound.
    Full,
    /// Its count is not that of the frame's first segment.
    Disagrees,
}

impl RecvWindow {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            reliable: config.is_reliable(),
            ordered: config.delivery == Delivery::Ordered,
            window: config.receive_window as u64,
            reorder_depth: config.reorder_depth,
            buffer: config.receive_buffer,
            base: 1,
            slots: VecDeque::new(),
            seen: 0,
            complete: 0,
            waiting: 0,
            waiting_from: 0,
            end: None,
            finished: false,
            far: Far::default(),
            ready: VecDeque::new(),
            ring_charge: 0,
            ready_charge: 0,
            received: 0,
            kept: 0,
            full: false,
            skipped: 0,
        }
    }

    /// Whether the terminating frame was reached: no more frames will become ready.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether so much was delivered that the peer must have seen acknowledgements of it.
    pub(crate) fn is_past_window(&self) -> bool {
        self.base > self.window
    }

    /// Whether frames that the peer has sent are known to be missing.
    pub(crate) fn has_gaps(&self) -> bool {
        let known = self.base + self.slots.len() as u64;
        !self.finished
            && (self.complete < self.slots.len() || self.end.is_some_and(|end| end >= known))
    }

    /// Whether complete frames wait for their turn or for the reader.
    pub(crate) fn holds_frames(&self) -> bool {
        self.complete > 0
    }

    /// Whether the terminating frame was received, reached or not.
    pub(crate) fn knows_end(&self) -> bool {
        self.end.is_some()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Bytes charged for all that is kept.
    pub(crate) fn charge(&self) -> usize {
        self.ring_charge + self.ready_charge
    }

    /// Takes the next frame. Call [`advance`](Self::advance) after the last.
    pub(crate) fn pop_ready(&mut self) -> Option<Frame> {
        let frame = self.ready.pop_front()?;
        self.ready_charge -= charge_of(&frame);
        self.full = false;
        Some(frame)
    }

    /// A datagram came in, whatever becomes of it.
    pub(crate) fn note_received(&mut self, bytes: usize) {
        self.received += bytes;
        if self.received > WASTE_MEMORY {
            self.received /= 2;
            self.kept /= 2;
        }
    }

    pub(crate) fn insert(&mut self, now: Instant, segment: Segment) -> Insert {
        let Segment { header, data } = segment;
        //= docs/spec/data.md#id-exhaustion
        //# A receiver MUST accept a frame with the last id.
        let id = u64::from(header.frame_id().get());
        let terminating = header.is_terminating();
        //= docs/spec/data.md#unreliable
        //# In unreliable mode a receiver MUST NOT deliver a frame that it has given up.
        if id < self.base {
            return Insert::DuplicateFrame;
        }
        //= docs/spec/data.md#terminating-segment
        //# A receiver MUST ignore segments with data that have an id above that of the terminating
        //# frame.
        if self.end.is_some_and(|end| id > end) {
            return if terminating && self.reliable {
                Insert::Aborted
            } else {
                Insert::OutOfWindow
            };
        }
        //= docs/spec/data.md#terminating-segment
        //# A receiver MUST ignore a terminating segment with an id below the highest that it has
        //# received.
        if terminating && id < self.seen {
            return Insert::OutOfWindow;
        }
        //= docs/spec/data.md#receive-window
        //# In reliable mode a receiver MUST accept segments of the 255 frames from the first one
        //# that it has not delivered, and of no later one.
        if id >= self.base + self.window && !self.slide_to(id) {
            if terminating && self.reliable {
                // There is no room to keep it, but it says where the session ends.
                self.end = Some(id);
            }
            return Insert::OutOfWindow;
        }
        let index = (id - self.base) as usize;
        if self.slots.get(index).is_some_and(|slot| slot.state != State::Filling) {
            return Insert::DuplicateFrame;
        }
        // The first segment pays for the list of all: one that claims many must not get it for free.
        let charge = match self.slots.get(index) {
            _ if terminating => 0,
            Some(slot) if slot.count > 0 => data.len(),
            _ => data.len() + usize::from(header.count()) * SEGMENT_CHARGE,
        };
        //= docs/spec/data.md#bounds
        //# A receiver MUST bound the memory that it keeps for a session, whatever its peer sends.
        //= docs/spec/data.md#bounds
        //# A receiver MUST accept the segments of the first frame that is missing although its
        //# memory is full.
        // The front frame is always let in: it is what the others wait for. The terminating frame is
        // too: it keeps nothing.
        if index > 0 && !terminating && self.charge() + charge > self.buffer {
            self.full = true;
            return Insert::Full;
        }
        while self.slots.len() <= index {
            self.slots.push_back(Slot::default());
        }
        if id > self.seen {
            self.note_gaps(now, id);
        }

        let slot = &mut self.slots[index];
        //= docs/spec/data.md#reassembly
        //# A receiver MUST ignore a segment whose count is not that of the first segment received
        //# of its frame.
        if slot.count == 0 {
            slot.count = header.count();
            slot.terminating = terminating;
        } else if slot.count != header.count() || slot.terminating != terminating {
            return Insert::Disagrees;
        }
        let bit = 1_u64 << header.index();
        //= docs/spec/data.md#reassembly
        //# A receiver MUST NOT deliver a frame before it has all its segments, nor twice.
        if slot.have & bit != 0 {
            return Insert::DuplicateSegment;
        }
        //= docs/spec/data.md#terminating-segment
        //# A receiver MUST ignore the data of a terminating segment.
        if terminating {
            slot.have |= bit;
        } else {
            let small = data.len() < SMALL_SEGMENT;
            let wasted = self.kept * MAX_WASTE < self.received;
            let lingers = index > 0 || wasted || self.ready_charge > PINNED_LIMIT;
            let copies = small || lingers && self.ring_charge + self.ready_charge > PINNED_LIMIT;
            self.kept += data.len();
            let data = if copies { Bytes::copy_from_slice(&data) } else { data };
            //= docs/spec/data.md#reassembly
            //# A receiver MUST accept the segments of a frame in any order, and join them in the order
            //# of their indices.
            slot.store(header, data);
        }
        slot.charge += charge;
        self.ring_charge += charge;
        slot.last_at = Some(now);
        let answered = match slot.requested_at {
            Some(at) if slot.requests <= 2 && u64::from(slot.asked.bits()) & bit != 0 => {
                Some(now.saturating_duration_since(at))
            }
            _ => None,
        };
        if slot.have & (bit - 1) != bit - 1 {
            slot.evidence_at.get_or_insert(now);
        }
        //= docs/spec/data.md#segmentation
        //# A receiver MUST accept frames of as many segments as the dialect can count.
        //= docs/spec/data.md#reassembly
        //# A receiver MUST NOT deliver a frame before it has all its segments, nor twice.
        let completed = slot.have == lowest_bits(slot.count);
        if completed {
            slot.state = State::Complete;
            self.complete += 1;
            if terminating {
                self.end = Some(id);
            } else {
                self.waiting_from = if self.waiting == 0 { id } else { self.waiting_from.min(id) };
                self.waiting += 1;
            }
        }
        Insert::Stored { completed, answered }
    }

    /// Moves what is complete and in turn to the ready queue, as far as that has room, and calls
    /// `acknowledge` for each frame whose acknowledgement was held back until now.
    pub(crate) fn advance(&mut self, mut acknowledge: impl FnMut(u64)) {
        //= docs/spec/data.md#delivery
        //# With unordered delivery a receiver MUST deliver a frame as soon as it is complete, as
        //# far as its application takes it.
        if !self.ordered {
            self.deliver_early(&mut acknowledge);
        }
        self.deliver_in_turn(&mut acknowledge);
    }

    fn deliver_in_turn(&mut self, acknowledge: &mut impl FnMut(u64)) {
        //= docs/spec/data.md#delivery
        //# With ordered delivery a receiver MUST deliver frames in ascending order of their ids.
        while let Some(front) = self.slots.front() {
            match front.state {
                //= docs/spec/data.md#no-hole
                //# In reliable mode with ordered delivery a receiver MUST NOT deliver a frame while
                //# one before it is missing.
                State::Filling => break,
                State::Complete if !self.has_room() => break,
                State::Complete | State::Delivered => {}
            }
            let id = self.base;
            let Some(slot) = self.pop_slot() else { break };
            self.deliver(id, slot, acknowledge);
        }
        if self.finished {
            self.clear();
        }
    }

    /// Whether a complete frame may be acknowledged now; if so, notes it. A reader that does not keep up
    /// holds acknowledgements back, and so stops the sender.
    pub(crate) fn acknowledge_now(&mut self, id: u64) -> bool {
        //= docs/spec/data.md#acknowledging
        //# In reliable mode a receiver MUST hold back acknowledgements while its application leaves
        //# no room for frames.
        let room = self.has_room();
        match id.checked_sub(self.base).and_then(|index| self.slots.get_mut(index as usize)) {
            Some(slot) if room => {
                slot.acknowledged = true;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// The frames from `id` on that may be acknowledged again.
    pub(crate) fn acknowledged_from(&self, id: u64) -> impl Iterator<Item = u64> {
        let held = self.slots.iter().zip(self.base..).filter(|(slot, _)| slot.acknowledged);
        (id..self.base).chain(held.map(|(_, at)| at).filter(move |at| *at >= id))
    }

    /// Collects the requests that are due, at most `max`, and returns when to look again.
    pub(crate) fn requests_due(
        &mut self,
        now: Instant,
        patience: Patience,
        max: usize,
        entries: &mut Vec<RequestEntry>,
    ) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut sooner = |at: Instant| next = Some(next.map_or(at, |standing| standing.min(at)));
        let newest = self.seen;
        // What arrives beyond the buffer's bound is dropped; do not ask for it.
        let full = self.full;
        for (slot, id) in self.slots.iter_mut().zip(self.base..) {
            if slot.state != State::Filling {
                continue;
            }
            let Some(due) = slot.request_due(patience) else { continue };
            if due > now || entries.len() >= max {
                sooner(due.max(now));
                continue;
            }
            let tail_is_due = slot.last_at.is_none_or(|at| at + patience.tail <= now);
            let missing = slot.missing(id < newest || tail_is_due);
            // Requests come in pairs, the second in case that the first got lost: one time counts for both.
            if slot.requests % 2 == 0 {
                slot.requested_at = Some(now);
            }
            // Odd and even go on to alternate at the end of the range: one is repeated soon, one is not.
            slot.requests = slot.requests.checked_add(1).unwrap_or(u8::MAX - 1);
            slot.asked = MissingSegments::default();
            if let Some(due) = slot.request_due(patience) {
                sooner(due);
            }
            //= docs/spec/data.md#requesting
            //# A receiver MUST NOT request a segment that it has, nor send an entry without any bit
            //# set.
            if let Some(frame_id) = u32::try_from(id).ok().and_then(FrameId::new)
                && !missing.is_empty()
                && !(full && id > self.base)
            {
                slot.asked = missing;
                entries.push(RequestEntry { frame_id, missing });
            }
            if full {
                break;
            }
        }
        next
    }

    /// Gives up, for an unreliable reader, on the gaps at the front that are older than `timeout` or
    /// have enough complete frames behind them. Returns when to look again.
    pub(crate) fn skip_gaps(&mut self, now: Instant, timeout: Duration) -> Option<Instant> {
        self.advance(|_| {});
        loop {
            let front = self.slots.front()?;
            if front.state != State::Filling {
                return None;
            }
            //= docs/spec/data.md#unreliable
            //# In unreliable mode a receiver MUST give up a missing frame at the latest when the
            //# frame timeout since it was overtaken is over.
            let due = front.evidence_at.filter(|_| self.seen > self.base)? + timeout;
            //= docs/spec/data.md#unreliable
            //# In unreliable mode with ordered delivery a receiver MUST give up a missing frame
            //# when 16 complete frames wait behind it, by default.
            let deep = self.ordered && self.complete >= self.reorder_depth;
            if due > now && !deep {
                return Some(due);
            }
            //= docs/spec/data.md#unreliable
            //# In unreliable mode a receiver MUST NOT take a missing frame before the terminating
            //# frame for an error.
            self.pop_slot();
            self.skipped += 1;
            self.deliver_in_turn(&mut |_| {});
        }
    }

    /// Forgets everything that is not ready: the connection failed.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.complete = 0;
        self.waiting = 0;
        self.ring_charge = 0;
    }

    /// Takes the peer's direction as finished after the last frame delivered.
    pub(crate) fn finish(&mut self) {
        self.clear();
        self.finished = true;
        self.end = Some(self.base - 1);
    }

    #[cfg(test)]
    pub(crate) fn start_at(&mut self, id: u64) {
        self.base = id;
        self.seen = id - 1;
    }

    /// Makes room for a frame beyond the window, which only an unreliable receiver does.
    fn slide_to(&mut self, id: u64) -> bool {
        if self.reliable {
            return false;
        }
        //= docs/spec/data.md#receive-window
        //# In unreliable mode a receiver MUST NOT move its window to a frame further beyond before
        //# three such segments in a row lie within a window of each other.
        if id >= self.base + 2 * self.window {
            let near = id.abs_diff(self.far.id) < self.window;
            self.far = Far { id, count: if near { self.far.count + 1 } else { 1 } };
            if self.far.count < RESYNC_AFTER {
                return false;
            }
        }
        self.far = Far::default();
        //= docs/spec/data.md#receive-window
        //# In unreliable mode a receiver MUST move its window forward to a frame that lies less
        //# than one window beyond it.
        let base = id + 1 - self.window;
        while self.base < base {
            match self.pop_slot() {
                Some(slot) if slot.state == State::Complete && self.has_room() => {
                    self.deliver(self.base - 1, slot, &mut |_| {});
                }
                Some(slot) if slot.state == State::Delivered => {}
                Some(_) => self.skipped += 1,
                None => {
                    self.skipped += base - self.base;
                    self.base = base;
                }
            }
        }
        self.seen = self.seen.max(base - 1);
        true
    }

    /// The frames from the last one heard of to just before `id` were overtaken.
    fn note_gaps(&mut self, now: Instant, id: u64) {
        let from = self.seen.max(self.base);
        for overtaken in from..id {
            let slot = &mut self.slots[(overtaken - self.base) as usize];
            if slot.state == State::Filling {
                slot.evidence_at.get_or_insert(now);
            }
        }
        self.seen = id;
    }

    fn has_room(&self) -> bool {
        self.ready_charge < self.buffer / 2
    }

    fn pop_slot(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.base += 1;
        self.ring_charge -= slot.charge;
        if slot.state != State::Filling {
            self.complete -= 1;
        }
        if slot.is_waiting() {
            self.waiting -= 1;
        }
        Some(slot)
    }

    /// Delivers complete frames that are not in turn.
    fn deliver_early(&mut self, acknowledge: &mut impl FnMut(u64)) {
        let mut id = self.waiting_from.max(self.base);
        while self.waiting > 0 && self.has_room() {
            let Some(slot) = self.slots.get_mut((id - self.base) as usize) else { break };
            id += 1;
            if !slot.is_waiting() {
                continue;
            }
            slot.state = State::Delivered;
            self.waiting -= 1;
            self.ring_charge -= slot.charge;
            let taken = Slot {
                pieces: slot.pieces.take(),
                charge: std::mem::take(&mut slot.charge),
                acknowledged: std::mem::replace(&mut slot.acknowledged, true),
                state: State::Complete,
                ..Slot::default()
            };
            self.deliver(id - 1, taken, acknowledge);
        }
        self.waiting_from = id;
    }

    fn deliver(&mut self, id: u64, slot: Slot, acknowledge: &mut impl FnMut(u64)) {
        if slot.state == State::Delivered {
            return;
        }
        if self.reliable && !slot.acknowledged {
            acknowledge(id);
        }
        if slot.terminating {
            //= docs/spec/data.md#no-hole
            //# In reliable mode a receiver MUST NOT report the end of its peer's direction while it
            //# knows of a missing frame.
            self.finished = true;
            return;
        }
        if let (Some(pieces), Some(id)) =
            (slot.pieces, u32::try_from(id).ok().and_then(FrameId::new))
        {
            let frame = Frame::new(id, pieces);
            self.ready_charge += charge_of(&frame);
            self.ready.push_back(frame);
        }
    }
}

fn charge_of(frame: &Frame) -> usize {
    frame.len() + frame.chunks().count() * SEGMENT_CHARGE
}
