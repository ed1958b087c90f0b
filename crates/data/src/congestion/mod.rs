//! Congestion control: how much may be under way, and how fast it may leave.

mod delay;

use std::fmt;
use std::time::{Duration, Instant};

pub(crate) use delay::DelayBased;

/// What a controller learns from one acknowledgement message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Bytes newly acknowledged.
    pub(crate) acknowledged: u64,
    /// Bytes acknowledged since the connection began.
    pub(crate) delivered: u64,
    /// What [`delivered`](Self::delivered) was when the newest acknowledged frame was sent.
    pub(crate) prior_delivered: u64,
    /// Delivery rate in bytes per second, if it could be measured.
    pub(crate) delivery_rate: Option<u64>,
    /// Whether the rate says what the application offered rather than what the path can carry.
    pub(crate) app_limited: bool,
    /// Round-trip time of the newest frame that was not retransmitted.
    pub(crate) rtt: Option<Duration>,
}

/// Decides how much may be under way and how fast it leaves. Bytes are those of messages.
pub(crate) trait Controller: fmt::Debug + Send {
    /// Frames were acknowledged.
    fn on_acknowledged(&mut self, now: Instant, sample: &Sample);

    /// The peer requested segments again, or recovery gave them up.
    fn on_lost(&mut self, now: Instant, bytes: u64);

    /// Nothing was acknowledged for several round trips.
    fn on_stalled(&mut self, now: Instant);

    /// Bytes that may be under way.
    fn window(&self) -> u64;

    /// Bytes per second that may leave, `None` for no limit.
    fn pacing_rate(&self) -> Option<u64>;
}
