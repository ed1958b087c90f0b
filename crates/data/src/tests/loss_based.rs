//! Controllers that take every loss for congestion, to compare the default with: Reno (RFC 5681) and CUBIC
//! (RFC 9438). They are not offered to anybody: `docs/benchmarks.md` says why.

use std::time::{Duration, Instant};

use crate::congestion::{Controller, Sample};

const FIRST_SEGMENTS: f64 = 10.0;
const MIN_SEGMENTS: f64 = 16.0;
const RENO_DECREASE: f64 = 0.5;
const CUBIC_DECREASE: f64 = 0.7;
/// Segments per cubic second.
const CUBIC_SCALE: f64 = 0.4;

#[derive(Debug)]
pub(super) struct LossBased {
    segment: f64,
    /// In segments, as are the next two.
    window: f64,
    slow_start_until: f64,
    /// What the window was when it last had to shrink.
    peak: f64,
    cubic: bool,
    /// What a Reno flow would have by now, which CUBIC does not fall behind.
    friendly: f64,
    shrunk_at: Option<Instant>,
    rtt: Duration,
}

impl LossBased {
    pub(super) fn reno(segment: usize) -> Self {
        Self {
            segment: segment as f64,
            window: FIRST_SEGMENTS,
            slow_start_until: f64::MAX,
            peak: 0.0,
            cubic: false,
            friendly: 0.0,
            shrunk_at: None,
            rtt: Duration::from_millis(100),
        }
    }

    pub(super) fn cubic(segment: usize) -> Self {
        Self { cubic: true, ..Self::reno(segment) }
    }

    fn shrink(&mut self, now: Instant, to: f64) {
        self.peak = self.window;
        self.window = to.max(MIN_SEGMENTS);
        self.friendly = self.window;
        self.slow_start_until = self.window;
        self.shrunk_at = Some(now);
    }
}

impl Controller for LossBased {
    fn on_acknowledged(&mut self, now: Instant, sample: &Sample) {
        self.rtt = sample.rtt.unwrap_or(self.rtt);
        let segments = sample.acknowledged as f64 / self.segment;
        if self.window < self.slow_start_until {
            self.window += segments;
            return;
        }
        if !self.cubic {
            self.window += segments / self.window;
            return;
        }
        let slope = 3.0 * (1.0 - CUBIC_DECREASE) / (1.0 + CUBIC_DECREASE);
        self.friendly += slope * segments / self.window;
        let since = self.shrunk_at.map_or(Duration::ZERO, |at| now - at) + self.rtt;
        let to_peak = (self.peak * (1.0 - CUBIC_DECREASE) / CUBIC_SCALE).cbrt();
        let target = self.peak + CUBIC_SCALE * (since.as_secs_f64() - to_peak).powi(3);
        let target = target.clamp(self.window, 1.5 * self.window);
        self.window += (target - self.window) / self.window * segments;
        self.window = self.window.max(self.friendly);
    }

    fn on_lost(&mut self, now: Instant, _bytes: u64) {
        if self.shrunk_at.is_none_or(|at| now > at + self.rtt) {
            let factor = if self.cubic { CUBIC_DECREASE } else { RENO_DECREASE };
            self.shrink(now, self.window * factor);
        }
    }

    fn on_stalled(&mut self, now: Instant) {
        self.shrink(now, MIN_SEGMENTS);
        self.slow_start_until = self.peak / 2.0;
    }

    fn window(&self) -> u64 {
        (self.window * self.segment) as u64
    }

    fn pacing_rate(&self) -> Option<u64> {
        None
    }
}
