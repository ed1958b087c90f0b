//! How often something may happen.

use std::time::{Duration, Instant};

/// How often something may happen: `burst` times at once, and once more after every `refill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times in a row without a pause, in `1..=1_000_000`.
    pub burst: u32,
    /// Time until one more is allowed, from 1 µs to 1 h.
    pub refill: Duration,
}

/// A token bucket. All that it keeps is when it will be full again.
#[derive(Clone, Copy)]
pub(crate) struct Bucket {
    pub(crate) rate: Rate,
    pub(crate) full_at: Option<Instant>,
}

impl Bucket {
    pub(crate) fn full(rate: Rate) -> Self {
        Self { rate, full_at: None }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let available = self.has_token(now);
        if available {
            self.full_at = Some(self.filled_after_taking(now));
        }
        available
    }

    pub(crate) fn has_token(&self, now: Instant) -> bool {
        let Some(full_at) = self.full_at else { return true };
        full_at.saturating_duration_since(now) <= self.rate.refill * (self.rate.burst - 1)
    }

    /// When the bucket will be full again if a token is taken now.
    pub(crate) fn filled_after_taking(&self, now: Instant) -> Instant {
        self.full_at.map_or(now, |full_at| full_at.max(now)) + self.rate.refill
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::full(Rate { burst: 3, refill: SECOND });
        let mut taken = |after| (0..10).filter(|_| bucket.take(epoch() + after)).count();
        assert_eq!(taken(Duration::ZERO), 3);
        assert_eq!(taken(SECOND - Duration::from_nanos(1)), 0);
        assert_eq!(taken(SECOND), 1);
        assert_eq!(taken(SECOND * 60), 3);
    }
}
