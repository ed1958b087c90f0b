//! What acknowledgements and requests lead to; when to acknowledge, to ask for what is missing, to give it up, and to
//! send again without being asked.

use std::time::{Duration, Instant};

use towline_wire::Dialect;
use towline_wire::data::{Acknowledgement, Request};

use super::{Connection, State};
use crate::config::{Delivery, Timing};
use crate::congestion::Sample;
use crate::event::ConnectionError;
use crate::rate::RateSample;
use crate::recv::Patience;
use crate::timer::Timer;

/// An acknowledgement waits for this share of a round trip, within these bounds.
const ACK_RTT_SHARE: u32 = 8;
const MIN_ACK_DELAY: Duration = Duration::from_millis(1);
const MAX_ADAPTIVE_ACK_DELAY: Duration = Duration::from_millis(25);

/// Reordering is given this share of a round trip before a gap is requested, and at least this long.
const REORDER_RTT_SHARE: u32 = 4;
/// Our own retransmission does not take a process that waits for its turn on a busy machine for a network
/// that lost something.
const MIN_PROBE: Duration = Duration::from_millis(10);

pub(super) const MIN_REORDER_TIME: Duration = Duration::from_millis(1);
/// The newest frame is given at least this long to become complete.
const MIN_TAIL_TIME: Duration = Duration::from_millis(5);

/// Deployed peers batch acknowledgements for 50 ms and must not get a frame again before that.
const HOPRNET_ACK_BATCH: Duration = Duration::from_millis(75);
const HOPRNET_MIN_PROBE: Duration = Duration::from_millis(150);

impl Connection {
    pub(super) fn handle_acknowledgement(
        &mut self,
        now: Instant,
        acknowledgement: &Acknowledgement,
    ) {
        self.stats.acknowledgements_received += 1;
        if self.held_back {
            self.measure_from = now;
        }
        let result = self.send.acknowledge(now, self.measure_from, acknowledgement.frames());
        self.stats.unexpected += result.unsent;
        if result.frames == 0 {
            self.held_back |= now > self.last_progress + self.rtt.patience();
            return;
        }
        self.held_back = false;
        // An acknowledgement that was lost made the frames of the next one look slow.
        let rtt = result.rtt.map(|rtt| rtt.min(2 * self.rtt.patience()));
        self.stats.frames_acknowledged += result.frames;
        self.last_progress = now;
        self.doubtful_rtt = result.doubtful_rtt.or(self.doubtful_rtt);
        if let Some(rtt) = rtt {
            self.rtt.sample(now, rtt);
        }
        if self.send.awaits_acknowledgement() {
            self.timers.set_no_later(Timer::Probe, now + self.probe_timeout(true));
        }
        self.note_delivered(now, result.bytes, result.sample, rtt);
    }

    fn note_delivered(
        &mut self,
        now: Instant,
        bytes: u64,
        sample: Option<RateSample>,
        rtt: Option<Duration>,
    ) {
        let sample = Sample {
            acknowledged: bytes,
            delivered: self.send.rate.delivered,
            prior_delivered: sample.map_or(0, |sample| sample.prior_delivered),
            delivery_rate: sample.map(|sample| sample.rate),
            app_limited: sample.is_some_and(|sample| sample.app_limited),
            rtt,
        };
        self.controller.on_acknowledged(now, &sample);
    }

    pub(super) fn handle_request(&mut self, now: Instant, request: &Request) {
        self.stats.requests_received += 1;
        //= docs/spec/data.md#answering-requests
        //# A sender MUST NOT answer requests for a segment more than once in a round trip.
        // No answer can be asked for twice within a round trip; the smallest is the safe measure. Before
        // one was measured the first request is believed, and its repetition is not.
        let (min, again) = match self.rtt.min() {
            Some(min) => (min * 7 / 8, (min * 7 / 8).max(MIN_REORDER_TIME)),
            None if self.config.codec.dialect() == Dialect::Hoprnet => {
                (self.rtt.smoothed(), self.rtt.smoothed())
            }
            None => (MIN_REORDER_TIME, self.rtt.smoothed()),
        };
        let mut lost = 0;
        let mut arrived = 0;
        let mut sent = None;
        // A path on which there is room for a second copy of everything, at least for now.
        let idle = !self.send.has_pending() && self.send.in_flight < self.controller.window() / 3;
        for entry in request.entries() {
            let result = self.send.request(now, entry.frame_id, entry.missing, min, again, idle);
            if !result.known {
                self.stats.unexpected += 1;
            }
            lost += result.bytes;
            arrived += result.arrived;
            sent = result.sent.or(sent);
            //= docs/spec/data.md#no-hole
            //# In reliable mode an end that gives up a frame MUST end the session with an error.
            if result.segments > 0 && self.over_limit(result.retransmissions) {
                self.fail(now, ConnectionError::RetransmissionLimit);
                return;
            }
        }
        if lost > 0 {
            self.controller.on_lost(now, lost);
        }
        // Where much is lost few frames arrive whole at once: acknowledgements alone would show the rate of
        // some round trips ago.
        if let Some((snapshot, sent_at)) = sent {
            self.send.rate.on_delivered(now, arrived);
            let sample = self.send.rate.sample(now, snapshot, sent_at);
            self.note_delivered(now, arrived, sample, None);
        }
    }

    /// Asks for the segments whose time is over.
    pub(super) fn request_missing(&mut self, now: Instant) {
        //= docs/spec/data.md#modes
        //# In unreliable mode an end MUST NOT send requests or acknowledgements.
        if !self.config.is_reliable() || self.state != State::Open {
            return;
        }
        let max = 2 * self.config.codec.max_request_entries();
        let patience = self.receive_patience();
        self.requests.clear();
        if let Some(next) = self.recv.requests_due(now, patience, max, &mut self.requests) {
            self.timers.set_no_later(Timer::Request, next.max(now + MIN_REORDER_TIME));
        }
    }

    pub(super) fn skip_gaps(&mut self, now: Instant) {
        if self.config.is_reliable() {
            return;
        }
        let timeout = match self.config.timing {
            Timing::Adaptive if self.config.delivery == Delivery::Ordered => {
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
    pub(super) fn probe(&mut self, now: Instant) {
        if let Some(farewell) = &mut self.farewell {
            farewell.due = true;
            return;
        }
        if !self.send.awaits_acknowledgement() || self.state != State::Open {
            return;
        }
        // What was achieved since the last time is progress, however much longer than the path that took.
        let flowing = now.saturating_duration_since(self.last_progress) < self.probe_timeout(false);
        let timeout = self.probe_timeout(flowing);
        let overdue = self.send.overdue(now, timeout, flowing);
        if overdue.segments > 0 {
            self.stats.timeouts += 1;
            self.probe_credit = self.probe_credit.max(overdue.segments);
            if overdue.lost > 0 {
                self.controller.on_lost(now, overdue.lost);
                if !flowing {
                    self.controller.on_stalled(now);
                }
            }
            //= docs/spec/data.md#no-hole
            //# In reliable mode an end that gives up a frame MUST end the session with an error.
            if self.over_limit(overdue.retransmissions) {
                self.fail(now, ConnectionError::RetransmissionLimit);
                return;
            }
        }
        let next = overdue.next.unwrap_or(now + timeout).max(now + MIN_REORDER_TIME);
        self.timers.set(Timer::Probe, next);
    }

    pub(super) fn over_limit(&self, retransmissions: u32) -> bool {
        //= docs/spec/data.md#retransmission
        //# A sender with a limit of retransmissions MUST end the session with an error when a frame
        //# exceeds it.
        self.config.max_retransmissions.is_some_and(|limit| retransmissions > limit)
    }

    pub(super) fn ack_delay(&self) -> Duration {
        match self.config.timing {
            //= docs/spec/data.md#timing
            //# With fixed timing an end MUST take exactly the configured times to request a frame,
            //# and to acknowledge one unless the message is full, the peer has finished, or the
            //# acknowledgement was held back.
            Timing::Fixed => self.config.ack_delay,
            //= docs/spec/data.md#timing
            //# With adaptive timing an end MUST NOT take longer than the configured times to
            //# acknowledge a frame, and to request it first.
            Timing::Adaptive => (self.rtt.smoothed() / ACK_RTT_SHARE)
                .clamp(MIN_ACK_DELAY, MAX_ADAPTIVE_ACK_DELAY)
                .min(self.config.ack_delay),
        }
    }

    pub(super) fn reorder_time(&self) -> Duration {
        match self.config.timing {
            Timing::Fixed => self.config.frame_timeout,
            //= docs/spec/data.md#timing
            //# With adaptive timing an end MUST NOT take longer than the configured times to
            //# acknowledge a frame, and to request it first.
            Timing::Adaptive => (self.rtt.smoothed() / REORDER_RTT_SHARE)
                .max(MIN_REORDER_TIME)
                .min(self.config.frame_timeout),
        }
    }

    pub(super) fn receive_patience(&self) -> Patience {
        let reordering = self.reorder_time();
        match self.config.timing {
            //= docs/spec/data.md#timing
            //# With fixed timing an end MUST take exactly the configured times to request a frame,
            //# and to acknowledge one unless the message is full, the peer has finished, or the
            //# acknowledgement was held back.
            Timing::Fixed => Patience {
                reordering,
                tail: reordering,
                repeat: reordering,
                answer: reordering * 2,
            },
            Timing::Adaptive => Patience {
                reordering,
                tail: self.rtt.smoothed().max(MIN_TAIL_TIME).min(self.config.frame_timeout),
                repeat: reordering / 2,
                answer: self.rtt.patience(),
            },
        }
    }

    /// How long a frame may stay unacknowledged. While acknowledgements flow, the peer has time to
    /// miss something and to ask for it; at the tail there may be nothing that makes it ask.
    pub(super) fn probe_timeout(&self, flowing: bool) -> Duration {
        let patience = self.rtt.patience();
        let adaptive = if flowing { patience + self.rtt.smoothed() } else { patience };
        let floor = match (self.config.codec.dialect(), self.config.timing) {
            //= docs/spec/data.md#hoprnet-peers
            //# In `hoprnet` a sender MUST wait at least 150 milliseconds before it sends a frame
            //# again without being asked.
            (Dialect::Hoprnet, _) => (patience + HOPRNET_ACK_BATCH).max(HOPRNET_MIN_PROBE),
            (_, Timing::Fixed) => self.config.frame_timeout + self.config.ack_delay,
            _ => MIN_PROBE,
        };
        adaptive.max(floor)
    }
}
