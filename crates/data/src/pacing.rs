//! Spreads datagrams over time: a bucket that fills at the pacing rate.

use std::time::{Duration, Instant};

/// Bursts last about as long as operating-system timers can tell times apart.
const BURST_TIME: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes that may leave now; negative after a burst that overdrew.
    tokens: f64,
    filled_at: Instant,
    min_burst: f64,
}

impl Pacer {
    pub(crate) fn new(min_burst: usize, now: Instant) -> Self {
        let min_burst = min_burst as f64;
        Self { tokens: min_burst, filled_at: now, min_burst }
    }

    /// Bytes that may leave at `now`, given `rate` bytes per second.
    pub(crate) fn budget(&mut self, now: Instant, rate: u64) -> u64 {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        let burst = (rate as f64 * BURST_TIME.as_secs_f64()).max(self.min_burst);
        self.tokens = (self.tokens + elapsed * rate as f64).min(burst);
        self.filled_at = now;
        if self.tokens > 0.0 { self.tokens as u64 + 1 } else { 0 }
    }

    pub(crate) fn spend(&mut self, bytes: u64) {
        self.tokens -= bytes as f64;
    }

    /// When the next burst may leave: as soon as half of it has been earned.
    pub(crate) fn next(&self, rate: u64) -> Instant {
        let half = (rate as f64 * BURST_TIME.as_secs_f64()).max(self.min_burst) / 2.0;
        let missing = (half - self.tokens).max(1.0);
        let wait = Duration::try_from_secs_f64(missing / rate.max(1) as f64);
        self.filled_at + wait.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1))
    }
}
