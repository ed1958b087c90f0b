//! The round-trip time, measured.

use std::time::{Duration, Instant};

/// How long a minimum is believed before a newer, larger one replaces it.
const MIN_LIFETIME: Duration = Duration::from_secs(10);

/// Smallest allowance for timers and scheduling on both hosts.
const GRANULARITY: Duration = Duration::from_millis(1);

/// Smoothed round-trip time and its variation (the estimator of RFC 6298), and a windowed minimum.
#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    initial: Duration,
    measured: Option<Measured>,
    min: Option<Min>,
}

#[derive(Clone, Debug)]
struct Measured {
    smoothed: Duration,
    variation: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Min {
    rtt: Duration,
    at: Instant,
    /// An acknowledgement measured it. What looks like the answer to a request may have been on its way
    /// before, and is too small then.
    exact: bool,
    /// The latest answer that came sooner.
    sooner: Option<Duration>,
}

impl RttEstimator {
    pub(crate) fn new(initial: Duration) -> Self {
        Self { initial, measured: None, min: None }
    }

    /// An acknowledgement measured the round trip.
    pub(crate) fn sample(&mut self, now: Instant, rtt: Duration) {
        self.smooth(rtt);
        let is_news = |min: Min| {
            !min.exact || rtt <= min.rtt || now.saturating_duration_since(min.at) > MIN_LIFETIME
        };
        if self.min.is_none_or(is_news) {
            self.min = Some(Min { rtt, at: now, exact: true, sooner: None });
        }
    }

    /// The answer to a request measured the round trip. One that came sooner than all before is believed once
    /// another one does.
    pub(crate) fn sample_answer(&mut self, now: Instant, rtt: Duration) {
        let min = self.min.get_or_insert(Min { rtt, at: now, exact: false, sooner: None });
        if rtt < min.rtt {
            if min.exact {
                return;
            }
            let Some(sooner) = min.sooner.replace(rtt) else { return };
            min.rtt = rtt.max(sooner);
        }
        let rtt = rtt.max(min.rtt);
        self.smooth(rtt);
    }

    fn smooth(&mut self, rtt: Duration) {
        let Some(measured) = &mut self.measured else {
            self.measured = Some(Measured { smoothed: rtt, variation: rtt / 2 });
            return;
        };
        let deviation = measured.smoothed.abs_diff(rtt);
        measured.variation = (measured.variation * 3 + deviation) / 4;
        measured.smoothed = (measured.smoothed * 7 + rtt) / 8;
    }

    /// The smoothed round-trip time, or the configured guess before the first measurement.
    pub(crate) fn smoothed(&self) -> Duration {
        self.measured.as_ref().map_or(self.initial, |measured| measured.smoothed)
    }

    /// The smallest round-trip time of late, if an acknowledgement has measured one.
    pub(crate) fn min(&self) -> Option<Duration> {
        self.min.filter(|min| min.exact).map(|min| min.rtt)
    }

    /// The smoothed round-trip time, if any was measured.
    pub(crate) fn measured(&self) -> Option<Duration> {
        self.measured.as_ref().map(|measured| measured.smoothed)
    }

    /// How long an answer may take before its absence means something.
    pub(crate) fn patience(&self) -> Duration {
        match &self.measured {
            Some(measured) => measured.smoothed + (measured.variation * 4).max(GRANULARITY),
            None => self.initial * 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_replaces_the_guess() {
        let start = crate::tests::epoch();
        let mut rtt = RttEstimator::new(Duration::from_millis(100));
        assert_eq!(rtt.smoothed(), Duration::from_millis(100));
        rtt.sample(start, Duration::from_millis(40));
        assert_eq!(rtt.smoothed(), Duration::from_millis(40));
        assert_eq!(rtt.patience(), Duration::from_millis(120));
    }

    #[test]
    fn two_sooner_answers_are_believed_and_one_is_not() {
        let start = crate::tests::epoch();
        let ms = Duration::from_millis;
        let mut rtt = RttEstimator::new(ms(100));
        rtt.sample_answer(start, ms(90));
        rtt.sample_answer(start, ms(3));
        assert_eq!(rtt.smoothed(), ms(90));
        for _ in 0..50 {
            rtt.sample_answer(start, ms(40));
        }
        assert!(rtt.smoothed() < ms(41), "{rtt:?}");
        rtt.sample_answer(start, ms(20));
        assert!(rtt.smoothed() > ms(39), "{rtt:?}");
    }

    #[test]
    fn an_old_minimum_is_forgotten() {
        let start = crate::tests::epoch();
        let mut rtt = RttEstimator::new(Duration::from_millis(100));
        rtt.sample(start, Duration::from_millis(10));
        rtt.sample(start + Duration::from_secs(5), Duration::from_millis(20));
        assert_eq!(rtt.min(), Some(Duration::from_millis(10)));
        rtt.sample(start + Duration::from_secs(11), Duration::from_millis(20));
        assert_eq!(rtt.min(), Some(Duration::from_millis(20)));
    }
}
