//! Whether an established session's peer is there, and whether it can tell that we are.

use std::time::{Duration, Instant};

use crate::Config;

/// Keep-alives of one established session (RFC-0007, 4.2.8, rule 5): 48 bytes, no allocation.
///
/// Both sides have one, and the rules are the same for both:
///
/// - Whatever is received is the peer's life; the peer is dead after the idle timeout without any.
/// - Whatever is sent is our life; a keep-alive is due after an interval without any.
/// - The interval is a third of the idle timeout. While the entry has not heard the exit at all it is
///   shorter: it starts at the interval at which requests are repeated and doubles with each keep-alive.
///
/// The last rule is what carries the confirmation through loss: the responder holds a session half-open
/// for some seconds only, and the initiator's first keep-alive may be lost. The responder answers the
/// message that confirms a session with a keep-alive of its own, which ends the repetition.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    heard_at: Instant,
    sent_at: Instant,
    interval: Millis,
    full_interval: Millis,
    idle_timeout: Millis,
}

/// What a session's silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessAction {
    /// Send a [`keep_alive`](crate::keep_alive); it counts as sent.
    SendKeepAlive,
    /// End the session: nothing was heard for the idle timeout.
    Dead,
}

impl Liveness {
    /// For the side that asked for the session, as soon as it is established.
    ///
    /// The [`Initiator`](crate::Initiator) sends the first keep-alive, so another is due one interval
    /// later.
    #[must_use]
    pub fn entry(config: &Config, now: Instant) -> Self {
        //= docs/spec/start.md#liveness
        //# An initiator that has heard nothing from the responder in a session MUST repeat its
        //# KeepAlive at the pace of a request.
        let first = Millis::new(config.request_interval);
        Self::new(config, now, first)
    }

    /// For the side that granted the session, as soon as it is confirmed.
    ///
    /// The [`Responder`](crate::Responder) sends the first keep-alive here.
    #[must_use]
    pub fn exit(config: &Config, now: Instant) -> Self {
        Self::new(config, now, Millis::new(config.keep_alive_interval))
    }

    /// The peer showed life: any message of the session arrived.
    pub fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.interval = self.full_interval;
    }

    /// We showed life: any message of the session was sent.
    pub fn sent(&mut self, now: Instant) {
        self.sent_at = now;
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.dead_at().min(self.keep_alive_at())
    }

    /// What to do now, if anything.
    ///
    /// At most one action is due at a time, and none again before the next
    /// [`poll_timeout`](Self::poll_timeout); a dead session stays dead until something is heard.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<LivenessAction> {
        //= docs/spec/start.md#liveness
        //# An end MUST end a session in which it has received no valid message for the idle
        //# timeout, which is 180 seconds by default.
        if now >= self.dead_at() {
            return Some(LivenessAction::Dead);
        }
        //= docs/spec/start.md#liveness
        //# An end SHOULD send a KeepAlive when it has sent nothing in a session for a third of the
        //# idle timeout.
        if now < self.keep_alive_at() {
            return None;
        }
        self.sent_at = now;
        self.interval = Millis(self.interval.0.saturating_mul(2)).min(self.full_interval);
        Some(LivenessAction::SendKeepAlive)
    }

    fn new(config: &Config, now: Instant, interval: Millis) -> Self {
        let full_interval = Millis::new(config.keep_alive_interval);
        Self {
            heard_at: now,
            sent_at: now,
            interval: interval.min(full_interval),
            full_interval,
            idle_timeout: Millis::new(config.idle_timeout),
        }
    }

    fn dead_at(&self) -> Instant {
        self.heard_at + self.idle_timeout.into()
    }

    fn keep_alive_at(&self) -> Instant {
        self.sent_at + self.interval.into()
    }
}

/// A duration in a quarter of the space, since there may be ten thousand idle sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Millis(u32);

impl Millis {
    /// The config's durations are whole milliseconds or more and at most a day, and fit.
    fn new(duration: Duration) -> Self {
        Self(duration.as_millis().try_into().unwrap_or(u32::MAX))
    }
}

impl From<Millis> for Duration {
    fn from(Millis(millis): Millis) -> Self {
        Self::from_millis(millis.into())
    }
}

#[cfg(test)]
mod tests;
