//! The ways in which a session ends.

use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_wire::Dialect;
use towline_wire::data::FrameId;

use super::{Connection, State};
use crate::acks::Acks;
use crate::event::ConnectionError;
use crate::timer::Timer;

//= docs/spec/data.md#abort
//# An end that aborts a session, for whatever reason, SHOULD send a terminating segment three
//# times, 50 milliseconds apart.
/// How often a terminating segment is sent that nothing acknowledges, and how far apart.
const FAREWELLS: u8 = 3;
pub(super) const FAREWELL_SPACING: Duration = Duration::from_millis(50);

/// Silence after which the peer is taken to be gone when all that lacks is the acknowledgement of our
/// terminating frame, the peer having finished too.
const LAST_ACK_PATIENCE: Duration = Duration::from_secs(5);

/// Silence lasts this many of the times after which a peer repeats itself before it is more than the path's
/// doing; a peer that has nothing to do but to repeat itself doubles them.
const PATH_PATIENCE: u32 = 8;
const LAST_PATIENCE: u32 = 32;

/// What is waited after the end for a peer that repeats itself: as many times our own timeout, and at least.
const DRAIN_PATIENCE: u32 = 64;
const MIN_DRAIN_TIME: Duration = Duration::from_millis(250);
/// And at most, unless the path is so slow that it would be less often than this.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(2500);
const LEAST_DRAIN_PATIENCE: u32 = 16;
/// In initial round trips: three repetitions of a peer that has measured nothing.
const UNMEASURED_DRAIN: u32 = 22;

/// A terminating segment that nobody acknowledges, sent a few times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Farewell {
    pub(super) id: FrameId,
    pub(super) left: u8,
    pub(super) due: bool,
}

impl Connection {
    /// The peer owes us something and has been silent for long enough?
    pub(super) fn check_silence(&mut self, now: Instant) {
        let Some((limit, verdict)) = self.silence_limit() else { return };
        let due = self.last_heard + limit;
        //= docs/spec/data.md#silence
        //# By default an end MUST NOT end a session whose peer shows life because it acknowledges
        //# nothing new.
        let stuck = self.config.progress_timeout.map(|limit| self.last_progress + limit);
        if due <= now {
            match verdict {
                Some(error) => self.fail(now, error),
                None => {
                    if !self.recv.is_finished() {
                        self.recv.finish();
                        self.events.peer_finished = true;
                    }
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
        let deployed = config.codec.dialect() == Dialect::Hoprnet;
        let literal = config.close_on_peer_finish || deployed;
        let reliable = config.is_reliable();
        let awaits = self.send.awaits_acknowledgement();
        // However short the configured time, the path has to be given its own.
        let linger = || {
            let repetition = self.probe_timeout(false);
            config.linger.max(repetition * PATH_PATIENCE).min(config.idle_timeout)
        };
        let lacks = self.recv.holds_frames() || (reliable && self.recv.has_gaps());
        //= docs/spec/data.md#hoprnet-peers
        //# In `hoprnet` an end that has finished, lacks no frame and waits for no acknowledgement
        //# of data MUST close without an error when its peer stays silent.
        // A deployed peer that has closed acknowledges nothing, and said so once: that may be lost.
        let may_be_gone = self.recv.is_finished() || (deployed && !lacks);
        //= docs/spec/data.md#termination
        //# An end that lacks only the acknowledgement of its terminating frame MUST close without
        //# an error when a peer that has finished stays silent.
        if may_be_gone && self.finishing && awaits && self.send.only_terminating_left() {
            return Some((self.last_patience().min(config.idle_timeout), None));
        }
        //= docs/spec/data.md#no-hole
        //# In reliable mode a receiver MUST NOT report the end of its peer's direction while it
        //# knows of a missing frame.
        //= docs/spec/data.md#abort
        //# In reliable mode a receiver MUST end the session with an error when its peer falls
        //# silent with frames missing before its terminating frame.
        if reliable && self.recv.knows_end() && self.recv.has_gaps() {
            return Some((linger(), Some(ConnectionError::PeerClosed)));
        }
        //= docs/spec/data.md#hoprnet-peers
        //# In `hoprnet` an end MUST end the session with an error when its peer has finished and
        //# stays silent before it acknowledged all frames with data.
        if literal && self.recv.is_finished() && awaits {
            // After its local close a deployed peer acknowledges nothing.
            return Some((linger(), Some(ConnectionError::PeerClosed)));
        }
        let sent_all = self.finishing && self.send.is_empty();
        //= docs/spec/data.md#hoprnet-peers
        //# In `hoprnet` an end that has finished, lacks no frame and waits for no acknowledgement
        //# of data MUST close without an error when its peer stays silent.
        if literal && sent_all && !lacks {
            // It closes when we do and says so once: that message may be lost.
            return Some((linger(), None));
        }
        //= docs/spec/data.md#silence
        //# In reliable mode an end MUST end the session with an error when its peer owes
        //# acknowledgements or segments and sends nothing valid for the idle timeout, which is 180
        //# seconds by default.
        let owes = awaits || (reliable && self.recv.has_gaps());
        owes.then_some((config.idle_timeout, Some(ConnectionError::TimedOut)))
    }

    /// What follows from any input: events, the end of a direction, deadlines.
    pub(super) fn settle(&mut self, now: Instant) {
        match self.state {
            State::Open => {}
            State::Draining { until } => {
                //= docs/spec/data.md#termination
                //# In reliable mode an end that has closed MUST go on acknowledging frames that its
                //# peer repeats, until the peer falls silent.
                // The peer repeats itself until an answer gets through.
                let at = (self.last_segment + self.drain_time()).min(until);
                self.timers.set(Timer::Linger, at);
                return;
            }
            State::Drained | State::Failed(_) => return,
        }
        if self.blocked && self.send.has_room(self.config.frame_size) {
            self.blocked = false;
            self.events.writable = true;
        }
        if self.recv.is_finished() && !self.peer_finished {
            self.peer_finished = true;
            self.events.peer_finished = true;
            self.acks.send_now();
            //= docs/spec/data.md#literal-close
            //# In unreliable mode and in `hoprnet` an end whose peer has finished MUST finish its
            //# own direction by default, after what it has queued.
            if self.config.close_on_peer_finish && !self.finishing {
                self.finishing = true;
                self.send.push(Bytes::new(), true);
            }
        }
        if self.finishing && self.send.is_empty() && !self.finished {
            self.finished = true;
            self.events.finished = true;
            if !self.config.is_reliable() {
                //= docs/spec/data.md#unreliable
                //# In unreliable mode a sender SHOULD send its terminating segment three times.
                self.say_farewell(now, self.send.next_id() - 1, FAREWELLS - 1);
            }
        }
        //= docs/spec/data.md#termination
        //# An end MUST close the session when both directions are finished.
        //= docs/spec/data.md#half-close
        //# An end that has finished MUST go on receiving what its peer sends.
        if self.finished && self.peer_finished {
            self.close(now);
            return;
        }
        match self.silence_limit() {
            Some((limit, _)) => {
                //= docs/spec/data.md#silence
                //# An end MUST NOT end a session because of the silence of a peer that owes
                //# nothing.
                if !self.timers.is_set(Timer::Idle) {
                    // Until now the peer owed us nothing, and its silence meant nothing.
                    self.last_heard = now;
                }
                let limit = self.config.progress_timeout.map_or(limit, |stuck| stuck.min(limit));
                self.timers.set_no_later(Timer::Idle, now + limit);
            }
            //= docs/spec/data.md#silence
            //# An end MUST NOT end a session because of the silence of a peer that owes nothing.
            None => self.timers.clear(Timer::Idle),
        }
    }

    fn close(&mut self, now: Instant) {
        self.state = State::Draining { until: now + self.config.linger };
        self.events.closed = true;
        self.send.clear();
        for timer in [Timer::Request, Timer::Skip, Timer::Idle, Timer::Pace] {
            self.timers.clear(timer);
        }
        if self.farewell.is_none() {
            self.timers.clear(Timer::Probe);
        }
        if !self.config.is_reliable() {
            // Our last words are spread over the time to come.
            self.last_segment = now;
        }
        self.settle(now);
    }

    /// How long a peer with our timers takes to get its last word through a bad path.
    fn last_patience(&self) -> Duration {
        (self.probe_timeout(false) * LAST_PATIENCE).max(LAST_ACK_PATIENCE)
    }

    /// How long to wait for the peer's next repetition, should our answers get lost. They back off: some six
    /// of them on a short path, four on any.
    fn drain_time(&self) -> Duration {
        if self.config.is_reliable() {
            // A side that hardly sent has measured nothing, but may have an idea.
            let timeout = match (self.rtt.measured(), self.doubtful_rtt) {
                (None, Some(rtt)) => (rtt * 3).min(self.probe_timeout(false)),
                _ => self.probe_timeout(false),
            };
            // Neither may the peer have, unless it sent more than fits one window.
            let floor = if self.recv.is_past_window() {
                MIN_DRAIN_TIME
            } else {
                (self.config.initial_rtt * UNMEASURED_DRAIN).max(MIN_DRAIN_TIME)
            };
            let most = MAX_DRAIN_TIME.max(timeout * LEAST_DRAIN_PATIENCE);
            (timeout * DRAIN_PATIENCE).min(most).max(floor)
        } else {
            FAREWELL_SPACING * u32::from(FAREWELLS)
        }
    }

    pub(super) fn fail(&mut self, now: Instant, error: ConnectionError) {
        self.state = State::Failed(error);
        self.events.closed = true;
        self.requests.clear();
        self.acks = Acks::default();
        self.timers.clear_all();
        // The peer learns that nothing more comes. One id is left out so that it cannot take this for
        // a good end; deployed peers do not bear holes.
        let unsent = self.send.first_unsent_id();
        let said = self.finishing && unsent == self.send.next_id();
        //= docs/spec/data.md#abort
        //# In `rfc0007` and `rfc0009` the terminating segment of an aborted session MUST leave one
        //# frame id out.
        //= docs/spec/data.md#abort
        //# In `hoprnet` the terminating segment of an aborted session MUST NOT leave a frame id
        //# out.
        let hole = self.config.codec.dialect() != Dialect::Hoprnet;
        self.say_farewell(now, unsent - u64::from(said) + u64::from(hole), FAREWELLS);
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
}
