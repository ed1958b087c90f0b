//! One end of a session.

mod ending;
mod recovery;
mod transmit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_wire::data::{FrameId, MAX_REQUESTABLE_SEGMENTS, Message, RequestEntry, Segment};
use towline_wire::{DecodeError, Dialect, Tag};

use self::ending::Farewell;
use self::recovery::MIN_REORDER_TIME;
use crate::acks::Acks;
use crate::config::{Config, Timing};
use crate::congestion::{Controller, DelayBased};
use crate::event::{ConnectionError, Event, Ignored, SendError, Transmit};
use crate::frame::Frame;
use crate::pacing::Pacer;
use crate::recv::{Insert, RecvWindow};
use crate::rtt::RttEstimator;
use crate::send::SendWindow;
use crate::stats::Stats;
use crate::timer::{Timer, Timers};

/// Whole frames of data after which an acknowledgement does not wait for more.
const ACK_FRAMES: usize = 2;
/// Frames, however small, after which it does not wait either: an eighth of the window.
const ACK_COUNT: usize = 32;

/// One end of a session's data plane. See the [crate's page](crate) for how to drive it.
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    prefix: Option<[u8; Tag::LEN]>,
    send: SendWindow,
    recv: RecvWindow,
    rtt: RttEstimator,
    /// The latest round trip, even if it is not sure which transmission was answered.
    doubtful_rtt: Option<Duration>,
    controller: Box<dyn Controller>,
    pacer: Pacer,
    timers: Timers,
    acks: Acks,
    requests: Vec<RequestEntry>,
    state: State,
    /// Our terminating frame is queued, sent or acknowledged.
    finishing: bool,
    /// It was acknowledged, or sent in unreliable mode.
    finished: bool,
    /// The peer's terminating frame was reached.
    peer_finished: bool,
    farewell: Option<Farewell>,
    /// Segments that recovery may send although the window is full.
    probe_credit: u32,
    /// The application was refused a frame.
    blocked: bool,
    /// The application took frames: what that leads to waits for the next call that knows the time.
    taken: bool,
    /// When the peer was last heard of, or began to owe us something, whichever is later.
    last_heard: Instant,
    /// When the peer last sent a segment: one that lacks our acknowledgement would repeat itself.
    last_segment: Instant,
    /// When something was last acknowledged, or began to wait for it.
    last_progress: Instant,
    /// The peer shows life and acknowledges nothing: its reader holds acknowledgements back.
    held_back: bool,
    /// Frames sent earlier than this measure how long the peer's reader paused, not the path.
    measure_from: Instant,
    events: Events,
    stats: Stats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At least one direction goes on.
    Open,
    /// Both directions are over; the peer's duplicates are still answered, at the latest until then.
    Draining { until: Instant },
    /// Nothing is answered any more.
    Drained,
    /// Ended by an error.
    Failed(ConnectionError),
}

/// Events that wait to be polled; each is a fact, so a bit is enough.
#[derive(Clone, Copy, Debug, Default)]
struct Events {
    readable: bool,
    writable: bool,
    peer_finished: bool,
    finished: bool,
    closed: bool,
    drained: bool,
    dialect: Option<Dialect>,
    dialect_reported: bool,
}

impl Connection {
    /// A connection whose every message is a datagram of its own.
    #[must_use]
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        let codec = config.codec;
        let segment = codec.max_message_len();
        Self {
            prefix: None,
            send: SendWindow::new(&config, now),
            recv: RecvWindow::new(&config),
            rtt: RttEstimator::new(config.initial_rtt),
            doubtful_rtt: None,
            controller: Box::new(DelayBased::new(segment, now)),
            pacer: Pacer::new(4 * segment, now),
            timers: Timers::default(),
            acks: Acks::default(),
            requests: Vec::new(),
            state: State::Open,
            finishing: false,
            finished: false,
            peer_finished: false,
            farewell: None,
            probe_credit: 0,
            blocked: false,
            taken: false,
            last_heard: now,
            last_segment: now,
            last_progress: now,
            held_back: false,
            measure_from: now,
            events: Events::default(),
            stats: Stats::default(),
            config,
        }
    }

    /// A connection that writes `tag` before each message. Received datagrams are passed in without.
    #[must_use]
    pub fn tagged(config: Arc<Config>, tag: Tag, now: Instant) -> Self {
        //= docs/spec/framing.md#tagged
        //# A sender MUST write an 8-byte big-endian tag before the message in each datagram.
        Self { prefix: Some(tag.to_bytes()), ..Self::new(config, now) }
    }

    /// Lets another controller than the default decide, to compare the two.
    #[cfg(test)]
    pub(crate) fn controlled_by(self, controller: impl Controller + 'static) -> Self {
        Self { controller: Box::new(controller), ..self }
    }

    /// The connection's settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether both directions are over or the session failed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state != State::Open
    }

    /// Whether the connection has nothing left to do and can be dropped.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        match self.state {
            State::Drained => true,
            State::Failed(_) => self.farewell.is_none(),
            State::Open | State::Draining { .. } => false,
        }
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            frames_skipped: self.recv.skipped,
            rtt: self.rtt.measured(),
            bytes_in_flight: self.send.in_flight,
            congestion_window: self.controller.window(),
            pacing_rate: self.controller.pacing_rate(),
            receive_buffered: self.recv.charge(),
            ..self.stats
        }
    }

    /// Takes a datagram from the network, without its tag.
    ///
    /// # Errors
    /// The datagram was ignored, for a reason that is the peer's or the network's; nothing else
    /// follows from it.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Bytes) -> Result<(), Ignored> {
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        self.recv.note_received(datagram.len());
        if !self.is_listening() {
            return Err(Ignored::Closed);
        }
        let messages = match self.config.codec.messages(datagram) {
            Ok(messages) => messages,
            //= docs/spec/data.md#bounds
            //# A receiver MUST NOT let a message that it ignores change the session.
            Err(error) => return Err(self.note_malformed(error)),
        };
        let mut result = Ok(());
        for message in messages {
            match message {
                // One message may have ended the session for those behind it.
                Ok(_) if !self.is_listening() => break,
                Ok(message) => {
                    self.last_heard = now;
                    self.handle_message(now, message);
                }
                //= docs/spec/data.md#datagram
                //# A receiver MUST NOT ignore a message because another one in its datagram is
                //# malformed.
                Err(error) => result = Err(self.note_malformed(error)),
            }
        }
        self.settle(now);
        result
    }

    /// Acts on the deadlines that have passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timers.take_expired(Timer::Acknowledge, now) {
            self.acks.send_now();
        }
        if self.timers.take_expired(Timer::Request, now) {
            self.request_missing(now);
        }
        if self.timers.take_expired(Timer::Probe, now) {
            self.probe(now);
        }
        if self.timers.take_expired(Timer::Skip, now) {
            self.skip_gaps(now);
        }
        self.timers.take_expired(Timer::Pace, now);
        if self.timers.take_expired(Timer::Idle, now) {
            self.check_silence(now);
        }
        if self.timers.take_expired(Timer::Linger, now) {
            self.state = State::Drained;
            self.events.drained = true;
            self.farewell = None;
            self.timers.clear_all();
        }
        self.settle(now);
    }

    /// Queues a frame for sending.
    ///
    /// # Errors
    /// [`SendError`]; the frame was then not taken.
    pub fn send_frame(&mut self, now: Instant, frame: Bytes) -> Result<FrameId, SendError> {
        match self.state {
            State::Failed(error) => return Err(SendError::Closed(error)),
            //= docs/spec/data.md#terminating-segment
            //# A sender MUST NOT send a frame after its terminating frame.
            _ if self.finishing => return Err(SendError::Finished),
            _ => {}
        }
        let limit = self.config.frame_size;
        if frame.len() > limit {
            return Err(SendError::TooLong { len: frame.len(), limit });
        }
        //= docs/spec/data.md#id-exhaustion
        //# A sender MUST keep the last id, 2^32 - 1, for its terminating frame, and finish its
        //# direction when every other id is used.
        // The last id is the terminating frame's.
        if self.send.ids_exhausted() {
            self.finish(now);
            return Err(SendError::Finished);
        }
        if !self.send.has_room(frame.len()) {
            self.blocked = true;
            return Err(SendError::Blocked);
        }
        let id = u32::try_from(self.send.next_id()).ok().and_then(FrameId::new);
        let id = id.expect("ids are in range until they are exhausted");
        self.send.push(frame, false);
        self.stats.frames_sent += 1;
        Ok(id)
    }

    /// Whether a frame of `len` bytes would be taken now.
    #[must_use]
    pub fn can_send(&self, len: usize) -> bool {
        self.state == State::Open && !self.finishing && self.send.has_room(len)
    }

    /// Takes the next frame that is complete and in turn.
    pub fn recv_frame(&mut self) -> Option<Frame> {
        let frame = self.recv.pop_ready()?;
        self.stats.frames_received += 1;
        if self.state == State::Open {
            // Only what was held back moves now, and its acknowledgement has waited long enough.
            let acks = &mut self.acks;
            self.recv.advance(|id| {
                acks.push(id);
                acks.send_now();
            });
            self.taken = true;
        }
        Some(frame)
    }

    /// Whether the peer has finished and every frame of it was taken.
    #[must_use]
    pub fn is_end_of_stream(&self) -> bool {
        self.recv.is_finished() && !self.recv.has_ready()
    }

    /// Ends the sending direction, after what is queued (RFC-0007, 4.9).
    pub fn finish(&mut self, now: Instant) {
        if self.finishing || self.state != State::Open {
            return;
        }
        self.finishing = true;
        //= docs/spec/data.md#terminating-segment
        //# A terminating frame MUST be one segment with bit 7 of its flags set, and without data.
        self.send.push(Bytes::new(), true);
        self.settle(now);
    }

    /// Ends both directions at once. What was not acknowledged may be lost, and the peer will know that
    /// the session did not end well, except in `hoprnet`, whose peers bear no hole in the frame ids, and
    /// in unreliable mode.
    pub fn abort(&mut self, now: Instant) {
        if self.state == State::Open {
            self.fail(now, ConnectionError::Aborted);
        }
    }

    /// Appends datagrams to `buf`, at most `max_datagrams` of them, all to be sent now and of one size
    /// but for the last. Returns `None` when there is nothing to send.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_datagrams: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if std::mem::take(&mut self.taken) {
            self.skip_gaps(now);
            self.settle(now);
        }
        if max_datagrams == 0 {
            return None;
        }
        let start = buf.len();
        let transmit = self
            .transmit_acknowledgement(now, buf)
            .or_else(|| self.transmit_request(buf))
            .or_else(|| self.transmit_farewell(now, buf))
            .or_else(|| self.transmit_segments(now, max_datagrams, buf))?;
        self.stats.datagrams_sent += transmit.datagrams as u64;
        self.stats.bytes_sent += (buf.len() - start) as u64;
        Some(transmit)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let events = &mut self.events;
        let take = std::mem::take::<bool>;
        if let Some(likely) = events.dialect.take() {
            Some(Event::DialectMismatch { likely })
        } else if take(&mut events.readable) {
            Some(Event::Readable)
        } else if take(&mut events.writable) {
            Some(Event::Writable)
        } else if take(&mut events.peer_finished) {
            Some(Event::PeerFinished)
        } else if take(&mut events.finished) {
            Some(Event::Finished)
        } else if take(&mut events.closed) {
            let error = match self.state {
                State::Failed(error) => Some(error),
                _ => None,
            };
            Some(Event::Closed { error })
        } else if take(&mut events.drained) {
            Some(Event::Drained)
        } else {
            None
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless something else happens first.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn handle_message(&mut self, now: Instant, message: Message) {
        match message {
            Message::Segment(segment) => self.handle_segment(now, segment),
            Message::Acknowledgement(acknowledgement) if self.config.is_reliable() => {
                self.handle_acknowledgement(now, &acknowledgement);
            }
            Message::Request(request) if self.config.is_reliable() => {
                self.handle_request(now, &request);
            }
            //= docs/spec/data.md#modes
            //# In unreliable mode an end MUST ignore requests and acknowledgements.
            Message::Acknowledgement(_) | Message::Request(_) => self.stats.unexpected += 1,
        }
    }

    fn handle_segment(&mut self, now: Instant, segment: Segment) {
        let id = u64::from(segment.header.frame_id().get());
        let bytes = segment.data.len();
        self.last_segment = now;
        match self.recv.insert(now, segment) {
            Insert::Stored { completed, answered } => {
                self.stats.segments_received += 1;
                self.acks.received(bytes);
                if let Some(rtt) = answered {
                    // What took longer than an answer is given was sent for another reason.
                    let plausible = MIN_REORDER_TIME..=self.receive_patience().answer;
                    if plausible.contains(&rtt) {
                        self.rtt.sample_answer(now, rtt);
                    }
                }
                //= docs/spec/data.md#acknowledging
                //# In reliable mode a receiver MUST NOT acknowledge a frame that it does not have
                //# whole.
                if completed {
                    self.complete_frame(now, id);
                } else if self.config.is_reliable() {
                    self.timers.set_no_later(Timer::Request, now + self.reorder_time());
                }
            }
            Insert::DuplicateFrame => {
                self.stats.segments_duplicate += 1;
                self.acknowledge_again(now, Some(id));
            }
            Insert::DuplicateSegment => {
                self.stats.segments_duplicate += 1;
                self.acknowledge_again(now, None);
            }
            Insert::Full => {
                self.stats.segments_dropped += 1;
                self.acknowledge_again(now, None);
            }
            Insert::OutOfWindow | Insert::Disagrees => self.stats.segments_dropped += 1,
            //= docs/spec/data.md#abort
            //# In reliable mode a receiver MUST end the session with an error when it receives a
            //# second terminating frame behind the first.
            Insert::Aborted => {
                self.stats.segments_dropped += 1;
                if self.state == State::Open {
                    self.fail(now, ConnectionError::PeerClosed);
                }
            }
        }
    }

    fn complete_frame(&mut self, now: Instant, id: u64) {
        //= docs/spec/data.md#modes
        //# In unreliable mode an end MUST NOT send requests or acknowledgements.
        if !self.config.is_reliable() {
            self.skip_gaps(now);
            return;
        }
        //= docs/spec/data.md#acknowledging
        //# In reliable mode a receiver MUST acknowledge every frame that it has whole, the
        //# terminating frame included, whether or not it is in turn.
        if self.recv.acknowledge_now(id) {
            self.acks.push(id);
        }
        let acks = &mut self.acks;
        self.recv.advance(|id| acks.push(id));
        self.events.readable |= self.recv.has_ready();
        if self.recv.has_gaps() {
            self.timers.set_no_later(Timer::Request, now + self.reorder_time());
        }
        self.schedule_acknowledgement(now);
    }

    fn schedule_acknowledgement(&mut self, now: Instant) {
        let codec = &self.config.codec;
        let acks = &mut self.acks;
        let whole = codec.max_segment_data() * usize::from(MAX_REQUESTABLE_SEGMENTS) * ACK_FRAMES;
        let enough = self.config.timing == Timing::Adaptive
            && (acks.bytes() >= whole || acks.pending() >= ACK_COUNT);
        //= docs/spec/data.md#acknowledging
        //# In reliable mode a receiver SHOULD acknowledge a frame within 100 milliseconds of its
        //# completion, or 40 in `hoprnet`.
        if enough || self.recv.is_finished() || acks.pending() >= codec.max_acknowledged_frames() {
            acks.send_now();
        } else if !acks.is_empty() {
            let at = now + self.ack_delay();
            self.timers.set_if_unset(Timer::Acknowledge, at);
        }
    }

    /// Acknowledges a frame once more that the peer repeats, together with others and not at once, so
    /// that a peer that repeats itself does not make us do so at the same rate. While a slow reader
    /// holds the acknowledgement back, an older one shows the peer that we live.
    fn acknowledge_again(&mut self, now: Instant, id: Option<u64>) {
        if !self.config.is_reliable() {
            return;
        }
        match id.filter(|&id| self.recv.acknowledge_now(id)) {
            //= docs/spec/data.md#acknowledging
            //# In reliable mode a receiver MUST acknowledge a frame again when segments of it
            //# arrive again.
            Some(id) => self.acks.repeat_from(id),
            None => self.acks.show_life(),
        }
        //= docs/spec/data.md#acknowledging
        //# A receiver MUST NOT send acknowledgements at the pace of the duplicates that it
        //# receives.
        if !self.acks.is_empty() {
            let at = now + self.ack_delay();
            self.timers.set_if_unset(Timer::Acknowledge, at);
        }
    }

    /// As if as many frames had gone by each way that `id` is the next.
    #[cfg(test)]
    pub(crate) fn start_at(&mut self, id: u64) {
        self.send.start_at(id);
        self.recv.start_at(id);
    }

    fn is_listening(&self) -> bool {
        //= docs/spec/data.md#termination
        //# In reliable mode an end that has closed MUST go on acknowledging frames that its peer
        //# repeats, until the peer falls silent.
        matches!(self.state, State::Open | State::Draining { .. })
    }

    fn note_malformed(&mut self, error: DecodeError) -> Ignored {
        self.stats.malformed += 1;
        //= docs/spec/data.md#segment
        //# In `hoprnet` a receiver SHOULD report once that its peer sends segments that only
        //# `rfc0007` gives a meaning.
        if let Some(likely) = error.likely_dialect(self.config.codec.dialect())
            && !self.events.dialect_reported
        {
            self.events.dialect_reported = true;
            self.events.dialect = Some(likely);
        }
        Ignored::Malformed(error)
    }
}
