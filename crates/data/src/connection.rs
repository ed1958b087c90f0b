//! One end of a session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_wire::data::{
    Acknowledgement, FrameId, MAX_REQUESTABLE_SEGMENTS, Message, Request, RequestEntry, Segment,
    SegmentHeader,
};
use towline_wire::{DecodeError, Dialect, Tag};

use crate::config::{Config, Timing};
use crate::congestion::{Bbr, Controller, Sample};
use crate::frame::Frame;
use crate::pacing::Pacer;
use crate::recv::{Insert, Patience, RecvWindow};
use crate::rtt::RttEstimator;
use crate::send::SendWindow;
use crate::stats::Stats;
use crate::timer::{Timer, Timers};

/// How often a terminating segment is sent that nothing acknowledges, and how far apart.
const FAREWELLS: u8 = 3;
const FAREWELL_SPACING: Duration = Duration::from_millis(50);

/// Whole frames of data after which an acknowledgement does not wait for more.
const ACK_FRAMES: usize = 2;
/// Frames, however small, after which it does not wait either: an eighth of the window.
const ACK_COUNT: usize = 32;
/// An acknowledgement waits for this share of a round trip, within these bounds.
const ACK_RTT_SHARE: u32 = 8;
const MIN_ACK_DELAY: Duration = Duration::from_millis(1);
const MAX_ADAPTIVE_ACK_DELAY: Duration = Duration::from_millis(25);

/// Reordering is given this share of a round trip before a gap is requested, and at least this long.
const REORDER_RTT_SHARE: u32 = 4;
const MIN_REORDER_TIME: Duration = Duration::from_millis(1);
/// The newest frame is given at least this long to become complete.
const MIN_TAIL_TIME: Duration = Duration::from_millis(5);

/// Deployed peers batch acknowledgements for 50 ms and must not get a frame again before that.
const HOPRNET_ACK_BATCH: Duration = Duration::from_millis(75);
const HOPRNET_MIN_PROBE: Duration = Duration::from_millis(150);

/// Silence after which the peer is taken to be gone when all that lacks is the acknowledgement of our
/// terminating frame, the peer having finished too.
const LAST_ACK_PATIENCE: Duration = Duration::from_secs(1);

/// One end of a session's data plane. See the [crate's page](crate) for how to drive it.
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    prefix: Option<[u8; Tag::LEN]>,
    send: SendWindow,
    recv: RecvWindow,
    rtt: RttEstimator,
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
    last_heard: Instant,
    last_progress: Instant,
    events: Events,
    stats: Stats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At least one direction goes on.
    Open,
    /// Both directions are over; the peer's duplicates are still answered.
    Draining,
    /// Nothing is answered any more.
    Drained,
    /// Ended by an error.
    Failed(ConnectionError),
}

/// Acknowledgements on their way.
#[derive(Debug, Default)]
struct Acks {
    /// Frames to acknowledge, in the order in which they became complete.
    pending: Vec<u64>,
    /// Bytes of them.
    pending_bytes: usize,
    /// Frames named in the previous message: they are named once more, in case that one was lost.
    repeat: Vec<u64>,
    /// The newest frame ever acknowledged.
    last: Option<u64>,
    /// Send without waiting for more.
    now: bool,
}

/// A terminating segment that nobody acknowledges, sent a few times.
#[derive(Clone, Copy, Debug)]
struct Farewell {
    id: FrameId,
    left: u8,
    due: bool,
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

/// Something the application wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Frames became ready: take them with [`Connection::recv_frame`].
    Readable,
    /// A frame that was refused with [`SendError::Blocked`] may be accepted now.
    Writable,
    /// The peer ended its direction: no frames will follow those that are ready.
    PeerFinished,
    /// Everything sent, the terminating frame included, was acknowledged, or sent in unreliable mode.
    Finished,
    /// Both directions are over, or the session ended with an error.
    Closed {
        /// Why, unless both sides finished.
        error: Option<ConnectionError>,
    },
    /// The connection has nothing left to do and can be dropped.
    Drained,
    /// The peer sends what only another dialect can mean. Reported once.
    DialectMismatch {
        /// The dialect in which the peer's segments would be natural.
        likely: Dialect,
    },
}

/// Why a session ended other than by both sides finishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer owed acknowledgements or missing segments and was silent for the idle timeout.
    #[error("the peer went silent")]
    TimedOut,
    /// Nothing was acknowledged for the configured time, though the peer showed life.
    #[error("the peer accepts no more data")]
    NoProgress,
    /// A frame was retransmitted as often as configured, in vain.
    #[error("a frame was retransmitted too often")]
    RetransmissionLimit,
    /// The peer ended the session before everything was delivered both ways.
    #[error("the peer ended the session early")]
    PeerClosed,
    /// [`Connection::abort`] was called.
    #[error("the session was aborted")]
    Aborted,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The window or the buffer is full; [`Event::Writable`] will tell when to try again.
    #[error("the send window is full")]
    Blocked,
    /// The frame is longer than the configured frame size.
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
        /// The configured frame size.
        limit: usize,
    },
    /// The sending direction was finished, or has used up its frame ids.
    #[error("the sending direction is finished")]
    Finished,
    /// The session is over.
    #[error("the session is over: {0}")]
    Closed(ConnectionError),
}

/// Why a datagram had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ignored {
    /// It is no sequence of messages of the dialect.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The connection is over.
    #[error("the session is over")]
    Closed,
}

/// Datagrams that [`Connection::poll_transmit`] appended to its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Datagrams in the run.
    pub datagrams: usize,
    /// Bytes of each but the last, which may be shorter.
    pub segment_size: usize,
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
            controller: Box::new(Bbr::new(segment, now)),
            pacer: Pacer::new(16 * segment, now),
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
            last_heard: now,
            last_progress: now,
            events: Events::default(),
            stats: Stats::default(),
            config,
        }
    }

    /// A connection that writes `tag` before each message. Received datagrams are passed in without.
    #[must_use]
    pub fn tagged(config: Arc<Config>, tag: Tag, now: Instant) -> Self {
        Self { prefix: Some(tag.to_bytes()), ..Self::new(config, now) }
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
            State::Open | State::Draining => false,
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
        if !matches!(self.state, State::Open | State::Draining) {
            return Err(Ignored::Closed);
        }
        let messages = match self.config.codec.messages(datagram) {
            Ok(messages) => messages,
            Err(error) => return Err(self.note_malformed(error)),
        };
        let mut result = Ok(());
        for message in messages {
            match message {
                Ok(message) => {
                    self.last_heard = now;
                    self.handle_message(now, message);
                }
                Err(error) => result = Err(self.note_malformed(error)),
            }
        }
        self.settle(now);
        result
    }

    /// Acts on the deadlines that have passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timers.take_expired(Timer::Acknowledge, now) {
            self.acks.now = true;
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
        if self.timers.take_expired(Timer::Linger, now) && self.state == State::Draining {
            self.state = State::Drained;
            self.events.drained = true;
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
            _ if self.finishing => return Err(SendError::Finished),
            _ => {}
        }
        let limit = self.config.frame_size;
        if frame.len() > limit {
            return Err(SendError::TooLong { len: frame.len(), limit });
        }
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
        // Only what was held back moves now, and its acknowledgement has waited long enough.
        if self.state == State::Open {
            let acks = &mut self.acks;
            self.recv.advance(|id| {
                acks.pending.push(id);
                acks.now = true;
            });
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
        self.send.push(Bytes::new(), true);
        self.settle(now);
    }

    /// Ends both directions at once. What was not acknowledged may be lost, and the peer will know that
    /// the session did not end well.
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
            Message::Acknowledgement(_) | Message::Request(_) => self.stats.unexpected += 1,
        }
    }

    fn handle_segment(&mut self, now: Instant, segment: Segment) {
        let id = u64::from(segment.header.frame_id().get());
        let bytes = segment.data.len();
        match self.recv.insert(now, segment) {
            Insert::Stored { completed, answered } => {
                self.stats.segments_received += 1;
                self.acks.pending_bytes += bytes;
                if let Some(rtt) = answered {
                    self.learn_from_answer(now, rtt);
                }
                if completed {
                    self.complete_frame(now, id);
                } else if self.config.is_reliable() {
                    self.timers.set_no_later(Timer::Request, now + self.reorder_time());
                }
            }
            Insert::DuplicateFrame { acknowledged } => {
                self.stats.segments_duplicate += 1;
                if self.config.is_reliable() {
                    // Our acknowledgement may have been lost. While a slow reader holds this frame's
                    // back, an older one shows the peer that we live.
                    let id = if acknowledged { Some(id) } else { self.acks.last };
                    self.acknowledge_again(now, id);
                }
            }
            Insert::DuplicateSegment { .. } => self.stats.segments_duplicate += 1,
            Insert::OutOfWindow | Insert::Full | Insert::Disagrees => {
                self.stats.segments_dropped += 1;
            }
        }
    }

    fn complete_frame(&mut self, now: Instant, id: u64) {
        if !self.config.is_reliable() {
            self.skip_gaps(now);
            return;
        }
        if self.recv.acknowledge_now(id) {
            self.acks.pending.push(id);
        }
        let acks = &mut self.acks;
        self.recv.advance(|id| acks.pending.push(id));
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
            && (acks.pending_bytes >= whole || acks.pending.len() >= ACK_COUNT);
        if enough
            || self.recv.is_finished()
            || acks.pending.len() >= codec.max_acknowledged_frames()
        {
            acks.now = true;
        } else if !acks.pending.is_empty() {
            let at = now + self.ack_delay();
            self.timers.set_if_unset(Timer::Acknowledge, at);
        }
    }

    /// Acknowledges a duplicate once more, together with others and not at once, so that a peer that
    /// repeats itself does not make us do so at the same rate.
    fn acknowledge_again(&mut self, now: Instant, id: Option<u64>) {
        let Some(id) = id else { return };
        if self.acks.pending.len() < self.config.codec.max_acknowledged_frames()
            && !self.acks.pending.contains(&id)
        {
            self.acks.pending.push(id);
        }
        let at = now + self.ack_delay();
        self.timers.set_if_unset(Timer::Acknowledge, at);
    }

    fn handle_acknowledgement(&mut self, now: Instant, acknowledgement: &Acknowledgement) {
        self.stats.acknowledgements_received += 1;
        let result = self.send.acknowledge(now, acknowledgement.frames());
        self.stats.unexpected += result.unsent;
        if result.bytes == 0 {
            return;
        }
        self.stats.frames_acknowledged += acknowledgement.frames().count() as u64;
        self.last_progress = now;
        if let Some(rtt) = result.rtt {
            self.rtt.sample(now, rtt);
        }
        self.controller.on_acknowledged(
            now,
            &Sample {
                acknowledged: result.bytes,
                in_flight: self.send.in_flight,
                delivered: self.send.rate.delivered,
                prior_delivered: result.sample.map_or(0, |sample| sample.prior_delivered),
                delivery_rate: result.sample.map(|sample| sample.rate),
                app_limited: result.sample.is_some_and(|sample| sample.app_limited),
                rtt: result.rtt,
            },
        );
    }

    fn handle_request(&mut self, now: Instant, request: &Request) {
        self.stats.requests_received += 1;
        // No answer can be asked for twice within a round trip; the smallest is the safe measure.
        let round_trip = self.rtt.min().unwrap_or(MIN_REORDER_TIME) * 7 / 8;
        let mut lost = 0;
        for entry in request.entries() {
            let result = self.send.request(now, entry.frame_id, entry.missing, round_trip);
            if !result.known {
                self.stats.unexpected += 1;
            }
            lost += result.bytes;
            if result.segments > 0 && self.over_limit(result.retransmissions) {
                self.fail(now, ConnectionError::RetransmissionLimit);
                return;
            }
        }
        if lost > 0 {
            self.controller.on_lost(now, lost);
        }
    }

    /// An answer to a request measures the round trip, unless it was on its way anyhow.
    fn learn_from_answer(&mut self, now: Instant, rtt: Duration) {
        let plausible = match self.rtt.min() {
            Some(min) => rtt >= min,
            None => rtt >= MIN_REORDER_TIME,
        };
        if plausible {
            self.rtt.sample(now, rtt);
        }
    }

    fn request_missing(&mut self, now: Instant) {
        if !self.config.is_reliable() || self.state != State::Open {
            return;
        }
        let max = 2 * self.config.codec.max_request_entries();
        let room = max.saturating_sub(self.requests.len());
        let patience = self.receive_patience();
        self.requests.clear();
        if let Some(next) = self.recv.requests_due(now, patience, room, &mut self.requests) {
            self.timers.set_no_later(Timer::Request, next.max(now + MIN_REORDER_TIME));
        }
    }

    fn skip_gaps(&mut self, now: Instant) {
        if self.config.is_reliable() {
            return;
        }
        let timeout = match self.config.timing {
            Timing::Adaptive if self.config.delivery == crate::Delivery::Ordered => {
                let path = self.rtt.smoothed() / REORDER_RTT_SHARE;
                path.max(MIN_TAIL_TIME).min(self.config.frame_timeout)
            }
            _ => self.config.frame_timeout,
        };
        if let Some(next) = self.recv.skip_gaps(now, timeout) {
            self.timers.set(Timer::Skip, next);
        }
        self.events.readable |= self.recv.has_ready();
    }

    /// Our own retransmission: for the tail, for what requests cannot name, and for lost requests.
    fn probe(&mut self, now: Instant) {
        if let Some(farewell) = &mut self.farewell {
            farewell.due = true;
            return;
        }
        if !self.send.awaits_acknowledgement() || self.state != State::Open {
            return;
        }
        let flowing = now.saturating_duration_since(self.last_progress) < self.rtt.patience();
        let timeout = self.probe_timeout(flowing);
        let overdue = self.send.overdue(now, timeout, flowing);
        if overdue.segments > 0 {
            self.stats.timeouts += 1;
            self.probe_credit = overdue.segments;
            if overdue.lost > 0 {
                self.controller.on_lost(now, overdue.lost);
                if !flowing {
                    self.controller.on_stalled(now);
                }
            }
            if self.over_limit(overdue.retransmissions) {
                self.fail(now, ConnectionError::RetransmissionLimit);
                return;
            }
        }
        let next = overdue.next.unwrap_or(now + timeout).max(now + MIN_REORDER_TIME);
        self.timers.set(Timer::Probe, next);
    }

    fn over_limit(&self, retransmissions: u32) -> bool {
        self.config.max_retransmissions.is_some_and(|limit| retransmissions > limit)
    }

    /// The peer owes us something and has been silent for long enough?
    fn check_silence(&mut self, now: Instant) {
        let Some((limit, verdict)) = self.silence_limit() else { return };
        let due = self.last_heard + limit;
        let stuck = self.config.progress_timeout.map(|limit| self.last_progress + limit);
        if due <= now {
            match verdict {
                Some(error) => self.fail(now, error),
                None => {
                    self.events.peer_finished |= !self.recv.is_finished();
                    self.close(now);
                }
            }
        } else if self.send.awaits_acknowledgement() && stuck.is_some_and(|at| at <= now) {
            self.fail(now, ConnectionError::NoProgress);
        } else {
            self.timers
                .set(Timer::Idle, stuck.filter(|at| *at > now).map_or(due, |at| at.min(due)));
        }
    }

    /// How long the peer may be silent as things stand, and what it means if it is silent for longer.
    fn silence_limit(&self) -> Option<(Duration, Option<ConnectionError>)> {
        if self.state != State::Open {
            return None;
        }
        let config = &self.config;
        let literal = config.close_on_peer_finish || config.codec.dialect() == Dialect::Hoprnet;
        let sent_all = self.finishing && self.send.is_empty();
        if self.recv.is_finished() && self.finishing && self.send.only_terminating_left() {
            // All data is acknowledged and the peer has finished: it may well be gone by now.
            let patience = (self.rtt.patience() * 8).max(LAST_ACK_PATIENCE);
            return Some((patience.min(config.idle_timeout), None));
        }
        if self.recv.knows_end() && self.recv.has_gaps() {
            return Some((config.linger, Some(ConnectionError::PeerClosed)));
        }
        if literal && self.recv.is_finished() && self.send.awaits_acknowledgement() {
            // After its local close a deployed peer acknowledges nothing.
            return Some((config.linger, Some(ConnectionError::PeerClosed)));
        }
        if literal && sent_all && !self.recv.has_gaps() {
            // It closes when we do and says so once: that message may be lost.
            return Some((config.linger, None));
        }
        let owes =
            self.send.awaits_acknowledgement() || (config.is_reliable() && self.recv.has_gaps());
        owes.then_some((config.idle_timeout, Some(ConnectionError::TimedOut)))
    }

    /// What follows from any input: events, the end of a direction, deadlines.
    fn settle(&mut self, now: Instant) {
        if self.state != State::Open {
            return;
        }
        if self.blocked && self.send.has_room(self.config.frame_size) {
            self.blocked = false;
            self.events.writable = true;
        }
        if self.recv.is_finished() && !self.peer_finished {
            self.peer_finished = true;
            self.events.peer_finished = true;
            self.acks.now |= !self.acks.pending.is_empty();
            if self.config.close_on_peer_finish && !self.finishing {
                self.finishing = true;
                self.send.push(Bytes::new(), true);
            }
        }
        if self.finishing && self.send.is_empty() && !self.finished {
            self.finished = true;
            self.events.finished = true;
            if !self.config.is_reliable() {
                self.say_farewell(now, self.send.next_id() - 1, FAREWELLS - 1);
            }
        }
        if self.finished && self.peer_finished {
            self.close(now);
            return;
        }
        match self.silence_limit() {
            Some((limit, _)) => {
                let limit = self.config.progress_timeout.map_or(limit, |stuck| stuck.min(limit));
                self.timers.set_no_later(Timer::Idle, now + limit);
            }
            None => self.timers.clear(Timer::Idle),
        }
    }

    fn close(&mut self, now: Instant) {
        self.state = State::Draining;
        self.events.closed = true;
        self.send.clear();
        for timer in [Timer::Request, Timer::Skip, Timer::Idle, Timer::Pace] {
            self.timers.clear(timer);
        }
        if self.farewell.is_none() {
            self.timers.clear(Timer::Probe);
        }
        // Long enough to answer the peer's last terminating segments, should ours get lost.
        let drain = if self.config.is_reliable() {
            self.rtt.patience() * 3
        } else {
            FAREWELL_SPACING * u32::from(FAREWELLS)
        };
        self.timers.set(Timer::Linger, now + drain);
    }

    fn fail(&mut self, now: Instant, error: ConnectionError) {
        self.state = State::Failed(error);
        self.events.closed = true;
        self.requests.clear();
        self.acks = Acks::default();
        self.timers.clear_all();
        // The peer learns that nothing more comes. One id is left out so that it cannot take this for
        // a good end; deployed peers do not bear holes.
        let next = self.send.next_id() - u64::from(self.finishing);
        let hole = self.config.codec.dialect() != Dialect::Hoprnet;
        self.say_farewell(now, next + u64::from(hole), FAREWELLS);
        self.send.clear();
        self.recv.clear();
    }

    /// Sends a terminating segment `copies` times without waiting for an acknowledgement.
    fn say_farewell(&mut self, now: Instant, id: u64, copies: u8) {
        let id = u32::try_from(id).ok().and_then(FrameId::new).unwrap_or(FrameId::LAST);
        let due = matches!(self.state, State::Failed(_));
        self.farewell = Some(Farewell { id, left: copies, due });
        self.timers.set(Timer::Probe, now + FAREWELL_SPACING);
    }

    fn transmit_acknowledgement(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        let acks = &mut self.acks;
        if !acks.now {
            return None;
        }
        acks.now = false;
        if acks.pending.is_empty() {
            return None;
        }
        let max = self.config.codec.max_acknowledged_frames();
        let fresh = acks.pending.len().min(max);
        acks.last = acks.pending[..fresh].iter().copied().max().max(acks.last);
        let mut named: Vec<u64> = acks.pending.drain(..fresh).collect();
        acks.pending_bytes = 0;
        let again = std::mem::replace(&mut acks.repeat, named.clone());
        named.extend(again.iter().take(max - fresh));
        named.sort_unstable();
        named.dedup();
        acks.now = !acks.pending.is_empty();
        if !acks.now {
            self.timers.clear(Timer::Acknowledge);
        } else {
            self.timers.set(Timer::Acknowledge, now);
        }
        let frames = named.iter().filter_map(|&id| FrameId::new(u32::try_from(id).ok()?));
        let start = buf.len();
        buf.extend_from_slice(prefix(&self.prefix));
        let written = self.config.codec.encode_acknowledgement(frames, buf);
        debug_assert!(written.is_ok(), "sorted, without duplicates and within the limit");
        self.stats.acknowledgements_sent += 1;
        Some(Transmit { datagrams: 1, segment_size: buf.len() - start })
    }

    fn transmit_request(&mut self, buf: &mut Vec<u8>) -> Option<Transmit> {
        if self.requests.is_empty() {
            return None;
        }
        let count = self.requests.len().min(self.config.codec.max_request_entries());
        let start = buf.len();
        buf.extend_from_slice(prefix(&self.prefix));
        let written = self.config.codec.encode_request(self.requests.drain(..count), buf);
        debug_assert!(written.is_ok(), "entries ascend and are within the limit");
        self.stats.requests_sent += 1;
        Some(Transmit { datagrams: 1, segment_size: buf.len() - start })
    }

    fn transmit_farewell(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        let farewell = self.farewell.as_mut().filter(|farewell| farewell.due)?;
        farewell.due = false;
        farewell.left -= 1;
        let header = SegmentHeader::terminating(farewell.id);
        if farewell.left > 0 {
            self.timers.set(Timer::Probe, now + FAREWELL_SPACING);
        } else {
            self.farewell = None;
            self.events.drained |= matches!(self.state, State::Failed(_));
        }
        let start = buf.len();
        buf.extend_from_slice(prefix(&self.prefix));
        let written = self.config.codec.encode_segment(header, &[], buf);
        debug_assert!(written.is_ok(), "a terminating segment fits any MTU");
        self.stats.segments_sent += 1;
        Some(Transmit { datagrams: 1, segment_size: buf.len() - start })
    }

    fn transmit_segments(
        &mut self,
        now: Instant,
        max_datagrams: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if !self.send.has_pending() || self.state != State::Open {
            return None;
        }
        let reliable = self.config.is_reliable();
        let rate = self.controller.pacing_rate().filter(|_| reliable);
        let mut max = max_datagrams;
        let mut budget = u64::MAX;
        if reliable {
            budget = self.controller.window().saturating_sub(self.send.in_flight);
            if let Some(rate) = rate {
                let paced = self.pacer.budget(now, rate);
                if paced == 0 && budget > 0 {
                    self.timers.set_no_later(Timer::Pace, self.pacer.next(rate));
                }
                budget = budget.min(paced);
            }
            if budget == 0 {
                if self.probe_credit == 0 {
                    return None;
                }
                max = max.min(self.probe_credit as usize);
                budget = u64::MAX;
            }
        }
        let run = self.send.transmit(now, prefix(&self.prefix), max, budget, buf);
        if run.datagrams == 0 {
            return None;
        }
        self.probe_credit = self.probe_credit.saturating_sub(run.datagrams as u32);
        self.stats.segments_sent += run.datagrams as u64;
        self.stats.segments_retransmitted += run.resent;
        if reliable {
            self.pacer.spend(run.message_bytes);
            if !self.send.has_pending() && self.send.in_flight < self.controller.window() {
                self.send.rate.on_app_limited(self.send.in_flight);
            }
            if self.send.awaits_acknowledgement() {
                self.timers.set_if_unset(Timer::Probe, now + self.probe_timeout(false));
            }
        }
        self.settle(now);
        Some(Transmit { datagrams: run.datagrams, segment_size: run.size })
    }

    fn ack_delay(&self) -> Duration {
        match self.config.timing {
            Timing::Fixed => self.config.ack_delay,
            Timing::Adaptive => (self.rtt.smoothed() / ACK_RTT_SHARE)
                .clamp(MIN_ACK_DELAY, MAX_ADAPTIVE_ACK_DELAY)
                .min(self.config.ack_delay),
        }
    }

    fn reorder_time(&self) -> Duration {
        match self.config.timing {
            Timing::Fixed => self.config.frame_timeout,
            Timing::Adaptive => (self.rtt.smoothed() / REORDER_RTT_SHARE)
                .max(MIN_REORDER_TIME)
                .min(self.config.frame_timeout),
        }
    }

    fn receive_patience(&self) -> Patience {
        let reordering = self.reorder_time();
        match self.config.timing {
            Timing::Fixed => Patience { reordering, tail: reordering, answer: reordering },
            Timing::Adaptive => Patience {
                reordering,
                tail: self.rtt.smoothed().max(MIN_TAIL_TIME).min(self.config.frame_timeout),
                answer: self.rtt.patience(),
            },
        }
    }

    /// How long a frame may stay unacknowledged. While acknowledgements flow, the peer has time to
    /// miss something and to ask for it; at the tail there may be nothing that makes it ask.
    fn probe_timeout(&self, flowing: bool) -> Duration {
        let patience = self.rtt.patience();
        let adaptive = if flowing { patience + self.rtt.smoothed() } else { patience };
        let floor = match (self.config.codec.dialect(), self.config.timing) {
            (Dialect::Hoprnet, _) => (patience + HOPRNET_ACK_BATCH).max(HOPRNET_MIN_PROBE),
            (_, Timing::Fixed) => self.config.frame_timeout + self.config.ack_delay,
            _ => Duration::ZERO,
        };
        adaptive.max(floor)
    }

    fn note_malformed(&mut self, error: DecodeError) -> Ignored {
        self.stats.malformed += 1;
        if let Some(likely) = error.likely_dialect(self.config.codec.dialect())
            && !self.events.dialect_reported
        {
            self.events.dialect_reported = true;
            self.events.dialect = Some(likely);
        }
        Ignored::Malformed(error)
    }
}

fn prefix(tag: &Option<[u8; Tag::LEN]>) -> &[u8] {
    tag.as_ref().map_or(&[], |tag| tag)
}
