//! Whether the client is still there.

use std::time::{Duration, Instant};

use super::Config;

/// Pings at an interval, and waits for each pong: one ping is on its way at a time.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    /// Pings so far.
    count: u64,
    next_ping: Instant,
    /// When the pong to the last ping must be there; `None` once it is.
    pong_by: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping with this number.
    Ping(u64),
    /// The end: the client is gone.
    Dead,
}

impl Keepalive {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        Self {
            interval: config.ping_interval,
            timeout: config.pong_timeout,
            count: 0,
            next_ping: now + config.ping_interval,
            pong_by: None,
        }
    }

    /// Takes a pong, if it answers the last ping: a client may send others unasked (RFC 6455, 5.5.3).
    pub(super) fn handle_pong(&mut self, payload: &[u8]) {
        if payload == self.count.to_string().as_bytes() {
            self.pong_by = None;
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.pong_by.unwrap_or(self.next_ping)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        if now < self.poll_timeout() {
            return None;
        }
        if self.pong_by.is_some() {
            return Some(Due::Dead);
        }
        self.count += 1;
        self.next_ping = now + self.interval;
        self.pong_by = Some(now + self.timeout);
        Some(Due::Ping(self.count))
    }
}
