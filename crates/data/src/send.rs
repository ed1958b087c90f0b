//! The send side: the frames that are not acknowledged yet, cut in segments as they go out.
//!
//! The application's `Bytes` is kept once per frame; segments are ranges of it, written straight into
//! the caller's buffer behind their header.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_wire::Dialect;
use towline_wire::data::{
    Codec, FrameId, MAX_REQUESTABLE_SEGMENTS, MissingSegments, SEGMENT_OVERHEAD, SegmentHeader,
};

use crate::bits::lowest_bits;
use crate::config::{Config, RELIABLE_WINDOW};
use crate::rate::{RateSample, RateSampler, Snapshot};

/// Our own retransmissions back off no further than this, unless the path is as slow: a peer whose reader
/// makes us wait can tell us from one that is gone.
const MAX_PROBE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct SendWindow {
    reliable: bool,
    /// The terminating frame waits until all others are acknowledged.
    farewell_waits: bool,
    /// What gets lost again may be sent in two copies.
    copies: bool,
    codec: Codec,
    buffer: usize,

    /// The id of the first frame in the ring: everything before it is acknowledged, or was sent once
    /// in unreliable mode. Wider than an id on the wire, so that its end is no special case.
    base: u64,
    frames: VecDeque<SentFrame>,
    /// Frames at the front of the ring that have been sent whole at least once.
    sent: usize,
    /// Frames that have segments to send again.
    resending: usize,
    /// Where the search for them starts.
    resend_from: usize,
    buffered: usize,
    pub(crate) in_flight: u64,
    pub(crate) rate: RateSampler,
}

#[derive(Debug)]
struct SentFrame {
    data: Bytes,
    count: u8,
    /// Segments sent at least once: those below this index.
    next: u8,
    terminating: bool,
    acknowledged: bool,
    /// Segments to send again.
    resend: u64,
    /// Segments sent since the first repair began: not again before a round trip from the latest of
    /// them is over.
    resent: u64,
    resent_at: Option<Instant>,
    /// Segments that were ever sent again.
    repaired: u64,
    /// Segments of which another copy follows when all of [`resend`](Self::resend) is sent.
    copies: u64,
    /// Bytes of this frame that count as being under way.
    in_flight: u32,
    /// Bytes of this frame that have arrived as far as requests tell, and count as delivered.
    arrived: u32,
    snapshot: Option<Snapshot>,
    /// When the last segment went out for the first time.
    sent_at: Option<Instant>,
    /// When any segment last went out.
    last_at: Option<Instant>,
    /// How often recovery, by request or by our own timer, sent some of it again.
    retransmissions: u32,
    /// How often our own timer ran out.
    timeouts: u8,
}

/// What one acknowledgement message achieved.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Frames newly acknowledged.
    pub(crate) frames: u64,
    /// Bytes of them that did not count as delivered before.
    pub(crate) bytes: u64,
    /// Round trip of the newest of them that was never retransmitted.
    pub(crate) rtt: Option<Duration>,
    /// The same of the newest that was, from its latest transmission: perhaps too short.
    pub(crate) doubtful_rtt: Option<Duration>,
    pub(crate) sample: Option<RateSample>,
    /// Frames named that had not been sent whole: a lie.
    pub(crate) unsent: u64,
    newest: Option<(Snapshot, Instant)>,
}

/// What one request entry led to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Requested {
    /// Segments that will be sent again.
    pub(crate) segments: u32,
    /// Bytes of them, no longer under way.
    pub(crate) bytes: u64,
    /// Bytes of the others, if this is the first that is heard of them.
    pub(crate) arrived: u64,
    /// When they were sent.
    pub(crate) sent: Option<(Snapshot, Instant)>,
    /// Retransmissions of the frame so far.
    pub(crate) retransmissions: u32,
    /// Whether the entry named a frame that was ever sent.
    pub(crate) known: bool,
}

/// What the retransmission timer led to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overdue {
    pub(crate) segments: u32,
    pub(crate) lost: u64,
    /// The most often that any frame was sent again.
    pub(crate) retransmissions: u32,
    /// When to look again.
    pub(crate) next: Option<Instant>,
}

/// Datagrams written in one go: all of one size, but for the last, which may be shorter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) datagrams: usize,
    pub(crate) size: usize,
    pub(crate) message_bytes: u64,
    pub(crate) resent: u64,
}

impl SendWindow {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            reliable: config.is_reliable(),
            // Deployed peers close at once when they see it.
            farewell_waits: config.codec.dialect() == Dialect::Hoprnet,
            //= docs/spec/data.md#hoprnet-peers
            //# In `hoprnet` a sender MUST NOT answer with two copies of a segment.
            copies: config.codec.dialect() != Dialect::Hoprnet,
            codec: config.codec,
            buffer: config.send_buffer,
            base: 1,
            frames: VecDeque::new(),
            sent: 0,
            resending: 0,
            resend_from: 0,
            buffered: 0,
            in_flight: 0,
            rate: RateSampler::new(now),
        }
    }

    /// The id that the next frame gets.
    pub(crate) fn next_id(&self) -> u64 {
        self.base + self.frames.len() as u64
    }

    /// The id of the first frame of which nothing was sent.
    pub(crate) fn first_unsent_id(&self) -> u64 {
        let begun = self.frames.get(self.sent).is_some_and(|frame| frame.next > 0);
        self.base + self.sent as u64 + u64::from(begun)
    }

    /// Whether no frame may follow but the terminating one, which needs an id too.
    pub(crate) fn ids_exhausted(&self) -> bool {
        self.next_id() >= u64::from(FrameId::LAST.get())
    }

    /// Whether a frame of `len` bytes may be queued: fewer than 255 frames are unacknowledged
    /// (RFC-0007, 4.8.2) and the buffer has room.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        let fits = self.buffered == 0 || self.buffered + len <= self.buffer;
        //= docs/spec/data.md#send-window
        //# In reliable mode a sender MUST NOT have more than 255 frames sent and not acknowledged.
        fits && (!self.reliable || self.frames.len() < RELIABLE_WINDOW)
    }

    pub(crate) fn push(&mut self, data: Bytes, terminating: bool) {
        //= docs/spec/data.md#segmentation
        //# A sender MUST send a frame without data as one empty segment.
        let count = data.len().div_ceil(self.codec.max_segment_data()).max(1);
        self.buffered += data.len();
        self.frames.push_back(SentFrame {
            data,
            count: count as u8,
            next: 0,
            terminating,
            acknowledged: false,
            resend: 0,
            resent: 0,
            resent_at: None,
            repaired: 0,
            copies: 0,
            in_flight: 0,
            arrived: 0,
            snapshot: None,
            sent_at: None,
            last_at: None,
            retransmissions: 0,
            timeouts: 0,
        });
    }

    /// Whether everything was acknowledged, or sent in unreliable mode.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether nothing but the terminating frame is unacknowledged.
    pub(crate) fn only_terminating_left(&self) -> bool {
        self.frames.iter().all(|frame| frame.terminating || frame.acknowledged)
    }

    /// Whether any segment waits to be sent.
    pub(crate) fn has_pending(&self) -> bool {
        self.resending > 0 || self.has_fresh()
    }

    /// Whether a frame is next in line for its first transmission.
    fn has_fresh(&self) -> bool {
        match self.frames.get(self.sent) {
            None => false,
            Some(_) if !self.reliable => true,
            //= docs/spec/data.md#hoprnet-peers
            //# In `hoprnet` a sender MUST NOT send its terminating frame before every other frame
            //# is acknowledged.
            Some(frame) if frame.terminating && self.farewell_waits && self.sent > 0 => false,
            //= docs/spec/data.md#send-window
            //# In reliable mode a sender MUST NOT have more than 255 frames sent and not
            //# acknowledged.
            // The terminating frame may be queued behind a full window.
            Some(_) => self.sent < RELIABLE_WINDOW,
        }
    }

    /// Frames sent and not acknowledged.
    pub(crate) fn awaits_acknowledgement(&self) -> bool {
        self.reliable && self.sent > 0
    }

    /// Writes the segments that are next in line, retransmissions first, while `budget` bytes of
    /// messages and `max` datagrams last.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        prefix: &[u8],
        max: usize,
        budget: u64,
        buf: &mut Vec<u8>,
    ) -> Run {
        let mut run = Run::default();
        while run.datagrams < max && run.message_bytes < budget {
            let Some((at, index)) = self.next_segment() else { break };
            let capacity = self.codec.max_segment_data();
            let frame = &self.frames[at];
            //= docs/spec/data.md#segmentation
            //# A sender MUST fill every segment of a frame but the last with `C - 10` bytes of
            //# data.
            let start = usize::from(index) * capacity;
            let end = frame.data.len().min(start + capacity);
            let message = SEGMENT_OVERHEAD + end - start;
            let size = prefix.len() + message;
            //= docs/spec/data.md#datagram
            //# A sender MUST put one Data message in a datagram.
            // A run is cut into equal datagrams; a longer one has to start the next run.
            if run.datagrams > 0 && size > run.size {
                break;
            }
            let Some(header) = self.header(at, index) else { break };
            buf.extend_from_slice(prefix);
            if self.codec.encode_segment(header, &frame.data[start..end], buf).is_err() {
                // Frames are checked against the codec's limits when they are queued.
                debug_assert!(false, "a queued frame must fit its codec");
                break;
            }
            if run.datagrams == 0 {
                run.size = size;
            }
            run.datagrams += 1;
            run.message_bytes += message as u64;
            run.resent += u64::from(self.note_sent(now, at, index, message as u32));
            if size < run.size {
                break;
            }
        }
        run
    }

    /// Takes note of the frames that the peer has whole. Those sent before `measure_from` do not measure
    /// the round trip.
    pub(crate) fn acknowledge(
        &mut self,
        now: Instant,
        measure_from: Instant,
        ids: impl Iterator<Item = FrameId>,
    ) -> Acknowledged {
        let mut result = Acknowledged::default();
        for id in ids {
            let Some(at) = u64::from(id.get()).checked_sub(self.base) else { continue };
            let Some(frame) = self.frames.get_mut(at as usize) else {
                result.unsent += 1;
                continue;
            };
            if frame.acknowledged {
                continue;
            }
            //= docs/spec/data.md#send-window
            //# A sender MUST ignore acknowledgements of frames that it has not sent whole.
            let (Some(snapshot), Some(sent_at)) = (frame.snapshot, frame.sent_at) else {
                result.unsent += 1;
                continue;
            };
            frame.acknowledged = true;
            self.in_flight -= u64::from(std::mem::take(&mut frame.in_flight));
            if std::mem::take(&mut frame.resend) != 0 {
                self.resending -= 1;
            }
            let bytes = frame.data.len() + usize::from(frame.count) * SEGMENT_OVERHEAD;
            result.frames += 1;
            result.bytes += bytes as u64 - u64::from(frame.arrived);
            self.buffered -= frame.data.len();
            frame.data = Bytes::new();
            //= docs/spec/data.md#timing
            //# A sender MUST NOT measure the round trip by a frame of which it sent anything twice.
            if frame.retransmissions == 0 && sent_at >= measure_from {
                result.rtt = Some(now.saturating_duration_since(sent_at));
            }
            result.doubtful_rtt = frame.last_at.map(|at| now.saturating_duration_since(at));
            if result.newest.is_none_or(|(newest, _)| snapshot.delivered >= newest.delivered) {
                result.newest = Some((snapshot, sent_at));
            }
        }
        if result.bytes > 0 {
            self.rate.on_delivered(now, result.bytes);
            result.sample = result
                .newest
                .and_then(|(snapshot, sent_at)| self.rate.sample(now, snapshot, sent_at));
            while self.frames.front().is_some_and(|frame| frame.acknowledged) {
                self.pop_front();
            }
        }
        result
    }

    /// Marks what the peer misses for sending again, unless it cannot know yet: no frame is answered
    /// within `min` of its first transmission, and no segment again within `again`. What was lost twice
    /// goes out twice, and on an `idle` path whatever was lost.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        id: FrameId,
        missing: MissingSegments,
        min: Duration,
        again: Duration,
        idle: bool,
    ) -> Requested {
        // What was acknowledged long ago was known, too.
        let mut result = Requested { known: true, ..Requested::default() };
        let Some(at) = u64::from(id.get()).checked_sub(self.base) else { return result };
        let at = at as usize;
        //= docs/spec/data.md#answering-requests
        //# A sender MUST ignore requests for frames and segments that it has not sent.
        let Some(frame) = self.frames.get_mut(at).filter(|frame| frame.next > 0) else {
            return Requested::default();
        };
        //= docs/spec/data.md#answering-requests
        //# A sender MUST ignore requests for frames that were acknowledged.
        if frame.acknowledged {
            return result;
        }
        let sent_at = frame.sent_at.or(frame.last_at);
        if sent_at.is_some_and(|sent| now < sent + min) && frame.retransmissions == 0 {
            return result;
        }
        //= docs/spec/data.md#answering-requests
        //# A sender MUST NOT answer requests for a segment more than once in a round trip.
        if frame.resent_at.is_some_and(|resent| now >= resent + again) {
            frame.resent = 0;
        }
        //= docs/spec/data.md#answering-requests
        //# A sender MUST ignore requests for frames and segments that it has not sent.
        let sent = lowest_bits(frame.next);
        //= docs/spec/data.md#answering-requests
        //# A sender MUST answer a request with the segments that it names and that were not sent
        //# within the last round trip, and no others.
        let wanted = u64::from(missing.bits()) & sent & !frame.resent & !frame.resend;
        if wanted == 0 {
            return result;
        }
        result.segments = wanted.count_ones();
        let bytes = self.codec.max_segment_data() as u32 + SEGMENT_OVERHEAD as u32;
        let lost = (result.segments * bytes).min(frame.in_flight);
        // Unless some of it was sent again, nothing of the frame is under way after a round trip: what
        // is not named has arrived, and would hold up the repair if it counted on.
        let whole = frame.next == frame.count && frame.resent == 0;
        let gone = if whole { frame.in_flight } else { lost };
        frame.in_flight -= gone;
        self.in_flight -= u64::from(gone);
        result.bytes = u64::from(lost);
        if whole && frame.retransmissions == 0 {
            frame.arrived = gone - lost;
            result.arrived = u64::from(frame.arrived);
            result.sent = frame.snapshot.zip(frame.sent_at);
        }
        frame.retransmissions += 1;
        result.retransmissions = frame.retransmissions;
        //= docs/spec/data.md#answering-requests
        //# A sender whose frames wait for the path MUST NOT answer with two copies of a segment that
        //# it sends again for the first time.
        if self.copies {
            frame.copies |= if idle { wanted } else { wanted & frame.repaired };
        }
        self.mark(at, wanted);
        result
    }

    /// Sends again what no request has named although its time is over.
    ///
    /// While acknowledgements come in (`flowing`), every frame older than `timeout` is due. Otherwise
    /// nothing is known, and two frames are enough to find out: the newest, whose last segment shows
    /// the peer what it misses, and the oldest.
    pub(crate) fn overdue(&mut self, now: Instant, timeout: Duration, flowing: bool) -> Overdue {
        let mut result = Overdue::default();
        for at in 0..self.sent {
            let frame = &mut self.frames[at];
            let Some(last_at) = frame.last_at else { continue };
            if frame.acknowledged {
                continue;
            }
            //= docs/spec/data.md#retransmission
            //# A sender SHOULD double the time between its own retransmissions of a frame, up to 2
            //# seconds or to what the path takes.
            let due =
                last_at + (timeout * (1 << frame.timeouts.min(10))).min(timeout.max(MAX_PROBE));
            if due > now {
                result.next = Some(result.next.map_or(due, |next: Instant| next.min(due)));
                continue;
            }
            if !flowing && at != 0 && at + 1 != self.sent {
                continue;
            }
            if frame.resend != 0 {
                // Asked for, but the window is full of what may be lost as well.
                result.segments += frame.resend.count_ones();
                continue;
            }
            //= docs/spec/data.md#retransmission
            //# In reliable mode a sender MUST send a frame again, without being asked, whose
            //# acknowledgement is overdue.
            //= docs/spec/data.md#termination
            //# In reliable mode a sender MUST send its terminating segment again until it is
            //# acknowledged.
            frame.timeouts = frame.timeouts.saturating_add(1);
            frame.retransmissions += 1;
            // Whatever was sent again before is older than a round trip by now.
            frame.resent = 0;
            result.retransmissions = result.retransmissions.max(frame.retransmissions);
            //= docs/spec/data.md#retransmission
            //# In reliable mode a sender MUST send again, without being asked, segments past the
            //# eighth that may be lost.
            let last = 1 << (frame.count - 1);
            let segments = if frame.timeouts == 1 {
                // The last segment prompts the peer to name the others, as far as it can.
                last | (lowest_bits(frame.count) & !lowest_bits(MAX_REQUESTABLE_SEGMENTS))
            } else {
                let lost = std::mem::take(&mut frame.in_flight);
                self.in_flight -= u64::from(lost);
                result.lost += u64::from(lost);
                lowest_bits(frame.count)
            };
            result.segments += segments.count_ones();
            self.mark(at, segments);
        }
        result
    }

    /// Drops everything: the connection is over.
    pub(crate) fn clear(&mut self) {
        self.base = self.next_id();
        self.frames.clear();
        self.sent = 0;
        self.resending = 0;
        self.buffered = 0;
        self.in_flight = 0;
    }

    #[cfg(test)]
    pub(crate) fn start_at(&mut self, id: u64) {
        self.base = id;
    }

    fn mark(&mut self, at: usize, segments: u64) {
        let frame = &mut self.frames[at];
        if frame.resend == 0 {
            self.resending += 1;
        }
        frame.resend |= segments;
        self.resend_from = self.resend_from.min(at);
    }

    /// The position in the ring and the index of the segment to send next.
    fn next_segment(&mut self) -> Option<(usize, u8)> {
        if self.resending > 0 {
            for at in self.resend_from..self.sent + 1 {
                match self.frames.get(at) {
                    Some(frame) if frame.resend != 0 => {
                        self.resend_from = at;
                        return Some((at, frame.next_resend()));
                    }
                    _ => {}
                }
            }
            debug_assert!(false, "a frame to resend is among those that were sent");
        }
        self.resend_from = usize::MAX;
        self.has_fresh().then(|| (self.sent, self.frames[self.sent].next))
    }

    fn header(&self, at: usize, index: u8) -> Option<SegmentHeader> {
        //= docs/spec/data.md#frame-ids
        //# An end MUST give the frames that it sends the ids 1, 2, 3 and so on, without a hole.
        let id = u32::try_from(self.base + at as u64).ok().and_then(FrameId::new)?;
        let frame = &self.frames[at];
        if frame.terminating {
            return Some(SegmentHeader::terminating(id));
        }
        SegmentHeader::new(id, index, frame.count)
    }

    /// Books a segment as sent; returns whether it was a retransmission.
    fn note_sent(&mut self, now: Instant, at: usize, index: u8, bytes: u32) -> bool {
        let frame = &mut self.frames[at];
        let bit = 1 << index;
        let again = frame.resend & bit != 0;
        frame.last_at = Some(now);
        if frame.retransmissions > 0 {
            // What goes out for the first time after a repair began is as young as the repair.
            frame.resent |= bit;
            // Those that no request can name do not put off the answer for those that it can.
            if index < MAX_REQUESTABLE_SEGMENTS || frame.resent_at.is_none() {
                frame.resent_at = Some(now);
            }
        }
        if again {
            frame.repaired |= bit;
            frame.resend &= !bit;
            if frame.resend == 0 {
                //= docs/spec/data.md#answering-requests
                //# A sender MUST NOT answer with more than two copies of a segment.
                frame.resend = std::mem::take(&mut frame.copies);
            }
            if frame.resend == 0 {
                self.resending -= 1;
            }
        } else {
            frame.next += 1;
            if frame.snapshot.is_none() && self.reliable {
                frame.snapshot = Some(self.rate.on_sent(now, self.in_flight));
            }
            if frame.next == frame.count {
                frame.sent_at = Some(now);
                self.sent += 1;
            }
        }
        if self.reliable {
            frame.in_flight += bytes;
            self.in_flight += u64::from(bytes);
        } else {
            //= docs/spec/data.md#unreliable
            //# In unreliable mode a sender MUST send each segment with data once.
            while self.sent > 0 {
                self.buffered -= self.frames[0].data.len();
                self.pop_front();
            }
        }
        again
    }

    fn pop_front(&mut self) {
        self.frames.pop_front();
        self.base += 1;
        self.sent -= 1;
        self.resend_from = self.resend_from.saturating_sub(1);
    }
}

impl SentFrame {
    /// The segment to send again first, of which there is one. A queue that is too short for a long
    /// frame drops the same segments each time, so each time another one comes first.
    fn next_resend(&self) -> u8 {
        let first = u32::from(self.timeouts) * 29 % u64::BITS;
        let ahead = self.resend.rotate_right(first).trailing_zeros();
        ((first + ahead) % u64::BITS) as u8
    }
}
