//! A model of the path instead of a reaction to loss: the bottleneck's rate and the round trip without
//! queue are measured, and as much is kept under way as their product asks for (after BBR, Cardwell et
//! al. 2016). Random loss says nothing about either, so it does not slow the sender down.

use std::time::{Duration, Instant};

use super::{Controller, Sample};

/// 2 / ln 2: doubles the delivery rate each round trip.
const STARTUP_GAIN: f64 = 2.885;
/// Pacing over a cycle of eight round trips: probe for more, drain what that queued, cruise.
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// Room for acknowledgements that come in batches and for frames that wait for a retransmission.
const WINDOW_GAIN: f64 = 2.0;
/// Rounds over which the highest delivery rate is remembered.
const RATE_ROUNDS: usize = 10;
/// Rounds without a quarter of growth after which the path is full.
const FULL_ROUNDS: u8 = 3;
/// A round-trip minimum older than this is measured anew, by draining the queue for [`PROBE_TIME`].
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);
const PROBE_TIME: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Startup,
    Drain,
    Cruise,
    ProbeRtt { until: Option<Instant> },
}

#[derive(Debug)]
pub(crate) struct Bbr {
    phase: Phase,
    /// Highest delivery rates of the latest rounds, bytes per second.
    rates: [u64; RATE_ROUNDS],
    round: u64,
    /// A round is over when something sent after this much was delivered is acknowledged.
    round_ends_at: u64,
    full_rate: u64,
    full_rounds: u8,
    filled: bool,
    min_rtt: Option<Duration>,
    min_rtt_at: Instant,
    cycle: usize,
    cycle_at: Instant,
    /// Share of bytes lost of late, to be made up for by sending that much more.
    loss: f64,
    round_lost: u64,
    round_delivered: u64,
    initial_window: u64,
    min_window: u64,
    window: u64,
}

impl Bbr {
    /// A controller for segments of at most `segment` bytes.
    pub(crate) fn new(segment: usize, now: Instant) -> Self {
        let segment = segment as u64;
        let initial_window = 32 * segment;
        Self {
            phase: Phase::Startup,
            rates: [0; RATE_ROUNDS],
            round: 0,
            round_ends_at: 0,
            full_rate: 0,
            full_rounds: 0,
            filled: false,
            min_rtt: None,
            min_rtt_at: now,
            cycle: 0,
            cycle_at: now,
            loss: 0.0,
            round_lost: 0,
            round_delivered: 0,
            initial_window,
            // Two whole frames of eight segments: acknowledgements name frames, not segments.
            min_window: 16 * segment,
            window: initial_window,
        }
    }

    fn rate(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or(0)
    }

    /// Bytes that fill the path and no queue; `None` before it was measured.
    fn bandwidth_delay_product(&self) -> Option<f64> {
        let rate = self.rate();
        (rate > 0).then(|| self.min_rtt.map(|rtt| rate as f64 * rtt.as_secs_f64())).flatten()
    }

    /// What has to be sent for one byte to arrive.
    fn loss_factor(&self) -> f64 {
        1.0 / (1.0 - self.loss)
    }

    fn start_round(&mut self, sample: &Sample) {
        self.round += 1;
        self.round_ends_at = sample.delivered;
        self.rates[self.round as usize % RATE_ROUNDS] = 0;

        let total = self.round_lost + self.round_delivered;
        if total > 0 {
            let share = self.round_lost as f64 / total as f64;
            // Beyond a fifth it is hardly chance any more.
            self.loss = (self.loss * 0.75 + share * 0.25).min(0.2);
        }
        self.round_lost = 0;
        self.round_delivered = 0;
    }

    fn check_full(&mut self, sample: &Sample) {
        if self.filled || sample.app_limited {
            return;
        }
        let rate = self.rate();
        if rate as f64 >= self.full_rate as f64 * 1.25 {
            self.full_rate = rate;
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += 1;
        self.filled = self.full_rounds >= FULL_ROUNDS;
    }

    fn update_min_rtt(&mut self, now: Instant, sample: &Sample) {
        let expired = now.saturating_duration_since(self.min_rtt_at) > MIN_RTT_LIFETIME;
        if let Some(rtt) = sample.rtt
            && (self.min_rtt.is_none_or(|min| rtt <= min) || expired)
        {
            self.min_rtt = Some(rtt);
            self.min_rtt_at = now;
        }
        if expired && self.filled && !matches!(self.phase, Phase::ProbeRtt { .. }) {
            self.phase = Phase::ProbeRtt { until: None };
        }
    }

    fn update_phase(&mut self, now: Instant, sample: &Sample) {
        let product = self.bandwidth_delay_product().unwrap_or(0.0);
        match self.phase {
            Phase::Startup if self.filled => self.phase = Phase::Drain,
            Phase::Drain if sample.in_flight as f64 <= product => self.cruise(now),
            Phase::Cruise => {
                let rtt = self.min_rtt.unwrap_or(Duration::from_millis(1));
                let gain = CYCLE[self.cycle];
                let elapsed = now.saturating_duration_since(self.cycle_at);
                let drained = gain < 1.0 && sample.in_flight as f64 <= product;
                if elapsed > rtt || drained {
                    self.cycle = (self.cycle + 1) % CYCLE.len();
                    self.cycle_at = now;
                }
            }
            Phase::ProbeRtt { until: None }
                if sample.in_flight <= (product / 2.0) as u64 + self.min_window =>
            {
                self.phase = Phase::ProbeRtt { until: Some(now + PROBE_TIME) };
            }
            Phase::ProbeRtt { until: Some(until) } if now >= until => {
                self.min_rtt_at = now;
                self.cruise(now);
            }
            _ => {}
        }
    }

    fn cruise(&mut self, now: Instant) {
        self.phase = Phase::Cruise;
        self.cycle = 2;
        self.cycle_at = now;
    }

    fn update_window(&mut self, sample: &Sample) {
        let Some(product) = self.bandwidth_delay_product() else {
            self.window += sample.acknowledged;
            return;
        };
        let target = match self.phase {
            Phase::Startup => STARTUP_GAIN * product,
            Phase::ProbeRtt { .. } => product / 2.0,
            Phase::Drain | Phase::Cruise => WINDOW_GAIN * product * self.loss_factor(),
        };
        let target = target as u64 + self.min_window;
        self.window = if self.filled || matches!(self.phase, Phase::ProbeRtt { .. }) {
            target.min(self.window + sample.acknowledged)
        } else {
            // While the path is being filled the model lags behind: only grow.
            (self.window + sample.acknowledged).max(self.initial_window)
        };
        self.window = self.window.max(self.min_window);
    }
}

impl Controller for Bbr {
    fn on_acknowledged(&mut self, now: Instant, sample: &Sample) {
        self.round_delivered += sample.acknowledged;
        let round_over = sample.prior_delivered >= self.round_ends_at;
        if round_over {
            self.start_round(sample);
        }
        if let Some(rate) = sample.delivery_rate
            && (!sample.app_limited || rate > self.rate())
        {
            let newest = &mut self.rates[self.round as usize % RATE_ROUNDS];
            *newest = rate.max(*newest);
        }
        if round_over {
            self.check_full(sample);
        }
        self.update_min_rtt(now, sample);
        self.update_phase(now, sample);
        self.update_window(sample);
    }

    fn on_lost(&mut self, _now: Instant, bytes: u64) {
        self.round_lost += bytes;
    }

    fn on_stalled(&mut self, _now: Instant) {
        // The path may be gone or another one: go on from the least that can measure it.
        self.window = self.min_window;
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self) -> Option<u64> {
        let rate = self.rate();
        if rate == 0 {
            return None;
        }
        let gain = match self.phase {
            Phase::Startup => STARTUP_GAIN,
            Phase::Drain => 1.0 / STARTUP_GAIN,
            Phase::Cruise => CYCLE[self.cycle],
            Phase::ProbeRtt { .. } => 1.0,
        };
        Some((rate as f64 * gain * self.loss_factor()) as u64)
    }
}
