//! A limit on what is sent where nothing else limits it.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes per second: what a receiver can be expected to take in, with room to spare.
const RATE: u64 = 25_000_000;

/// Bytes that may leave at once: below what the smallest usual socket buffer holds.
const BURST: u64 = 64 * 1024;

/// When the next bytes may leave.
pub(crate) struct Pace {
    /// When what was sent so far would have left at the rate.
    level: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { level: now }
    }

    /// When these bytes may leave; the next ones no sooner.
    pub(crate) fn after(&mut self, now: Instant, bytes: usize) -> Instant {
        let start = self.level.max(now);
        self.level = start + time(bytes as u64);
        start.checked_sub(time(BURST)).unwrap_or(now).max(now)
    }
}

fn time(bytes: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut at = start;
        for _ in 0..BURST / 1024 {
            assert_eq!(pace.after(start, 1024), start);
        }
        for _ in 0..RATE / 1000 {
            at = pace.after(at, 1000);
        }
        let second = at - start;
        assert!((second.as_secs_f64() - 1.0).abs() < 0.01, "{second:?}");
    }
}
