//! How long answers took.

use std::time::Duration;

use serde::Serialize;

/// Times of answers, and what never came.
#[derive(Default)]
pub(super) struct Latencies {
    samples: Vec<Duration>,
}

/// Percentiles in microseconds; `None` without a single answer.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) p50_us: Option<f64>,
    pub(super) p90_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) p999_us: Option<f64>,
    pub(super) max_us: Option<f64>,
    pub(super) lost: u64,
}

impl Latencies {
    pub(super) fn add(&mut self, time: Duration) {
        self.samples.push(time);
    }

    /// The summary of what came of `asked` questions.
    pub(super) fn summary(mut self, asked: u64) -> Summary {
        self.samples.sort_unstable();
        Summary {
            p50_us: self.percentile(500),
            p90_us: self.percentile(900),
            p99_us: self.percentile(990),
            p999_us: self.percentile(999),
            max_us: self.percentile(1000),
            lost: asked.saturating_sub(self.samples.len() as u64),
        }
    }

    /// The smallest sample that so many thousandths of all do not exceed.
    fn percentile(&self, thousandths: usize) -> Option<f64> {
        let rank = (self.samples.len() * thousandths).div_ceil(1000);
        let sample = self.samples.get(rank.checked_sub(1)?)?;
        Some(sample.as_nanos() as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut latencies = Latencies::default();
        for micros in (1..=1000).rev() {
            latencies.add(Duration::from_micros(micros));
        }
        let summary = latencies.summary(1003);
        assert_eq!(
            summary,
            Summary {
                p50_us: Some(500.0),
                p90_us: Some(900.0),
                p99_us: Some(990.0),
                p999_us: Some(999.0),
                max_us: Some(1000.0),
                lost: 3,
            }
        );
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_none() {
        let mut one = Latencies::default();
        one.add(Duration::from_micros(7));
        assert_eq!(one.summary(1).p50_us, Some(7.0));
        assert_eq!(Latencies::default().summary(2).max_us, None);
    }
}
