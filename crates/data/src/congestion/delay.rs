//! A sending rate steered by the queue that it causes, not by loss.
//!
//! The rate doubles until round trips grow (as HyStart, Ha and Rhee 2011, leaves slow start), is then set
//! to what was delivered (BBR, Cardwell et al. 2016), and from there on climbs by a little each round
//! until the round trip shows a queue, whereupon the queue is drained and the climb starts below the share
//! that was just measured (TIMELY, Mittal et al. 2015, and Copa, Arun and Balakrishnan 2018). Sessions on
//! one bottleneck see the same queue, give way in proportion and climb by the same: their shares meet. As
//! every drain empties the queue, the round trip without one needs no probing of its own.
//!
//! Random loss does not lengthen round trips and so does not slow the sender down; the share lost while
//! there was no queue is taken for the path's own. Only loss far beyond it counts as congestion, for
//! queues too short to be felt.

use std::time::{Duration, Instant};

use super::{Controller, Sample};

/// Doubles the delivery rate in little more than a round trip. More overshoots by more than short queues hold.
const STARTUP_GAIN: f64 = 2.4;
/// Round-trip times in a row that have to show a queue to end the doubling: one may come from an
/// acknowledgement that got lost and was repeated. The more is lost, the more of them: one for each twentieth.
const STARTUP_JAMS: u8 = 3;
const LOSS_JAMS: f64 = 20.0;
/// Rounds without a quarter of growth after which the path is full although no queue is seen.
const FULL_ROUNDS: u8 = 3;
const FULL_GROWTH: f64 = 1.25;

/// A queue is too long from this share of the round trip, and this time of noise, on.
const QUEUE_SHARE: f64 = 0.1;
const QUEUE_NOISE: f64 = 0.001;
/// The share grows with the square of the loss, times this: it takes two losses, of the acknowledgement and of
/// the next one, to make a round trip much longer.
const LOSS_NOISE: f64 = 20.0;
/// The queue's last growth, times this, is added: it goes on growing until the answer is felt.
const LOOK_AHEAD: f64 = 1.5;
/// A frame waits for its acknowledgement until the next one is complete, which takes eight segments and a few
/// for good measure, or for this time (RFC-0007, 4.8.2).
const ACK_SEGMENTS: f64 = 10.0;
const MAX_ACK_DELAY: f64 = 0.1;

/// After congestion the rate is this share of what was measured to be ours: room for others to grow.
const BACK_OFF: f64 = 0.96;
/// Measurements are noisy: one alone does not take away more than this leaves.
const MIN_SHARE: f64 = 0.8;
/// Queues are drained as fast as this share of the rate allows, and not for longer than two round trips:
/// another's queue does not go away.
const MIN_DRAIN: f64 = 0.5;

/// Segments by which a round trip's worth grows in a round, whatever it is: the smaller share grows faster,
/// and shares meet. Up to a part of it, so that slow paths do not overshoot.
const STEP: f64 = 5.0;
const MAX_STEP: f64 = 0.12;
/// The step doubles each time that this many rounds show no queue at all: the path may have grown.
const CALM_ROUNDS: u32 = 8;

/// Loss above the path's own, and above chance, that is congestion; while doubling, and later.
const STARTUP_LOSS: f64 = 0.15;
const CLIMB_LOSS: f64 = 0.05;
/// Fewer segments than that prove nothing.
const MIN_LOST: f64 = 8.0;

/// A round is at least this long, for the sake of the clocks, and brings at least that many segments.
const MIN_ROUND: Duration = Duration::from_millis(2);
const MIN_ROUND_SEGMENTS: u64 = 16;
/// Round-trip times of which the smallest is believed to be without chance, unless they are rare: where much is
/// lost, most frames measure nothing, and most acknowledgements come late.
const MIN_ROUND_SAMPLES: u32 = 3;
const MAX_ROUND_SEGMENTS: u64 = 6 * MIN_ROUND_SEGMENTS;

/// The smallest round trip is that of this time or of the same time before.
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);

/// Segments of the first flight, and the time over which they are spread.
const FIRST_SEGMENTS: f64 = 32.0;
const FIRST_TIME: f64 = 0.01;
/// Two whole frames of eight segments: acknowledgements name frames, not segments.
const MIN_WINDOW_SEGMENTS: f64 = 16.0;
/// The window is only a bound on what may be wrong with the rate.
const WINDOW_GAIN: f64 = 2.0;
const STARTUP_WINDOW_GAIN: f64 = 4.0;
/// Bytes per second that a rate never falls below.
const MIN_RATE: f64 = 10_000.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Startup,
    /// The queue of the doubling is there: for a round the bottleneck is sure to be busy, and what it
    /// delivers is its rate. `jammed` tells that only round trips have shown it, and may turn out wrong.
    Measure {
        jammed: bool,
    },
    Drain {
        gain: f64,
        until: Instant,
    },
    /// Until then, what comes in tells of the time before the drain.
    Climb {
        deaf_until: Instant,
    },
}

/// A round trip's worth of acknowledgements.
#[derive(Clone, Copy, Debug)]
struct Round {
    began: Instant,
    /// It is over when something sent after this much was delivered is acknowledged.
    ends_at: u64,
    min_rtt: Option<Duration>,
    /// Round-trip times measured.
    samples: u32,
    delivered: u64,
    lost: u64,
    /// Delivery rates times the bytes acknowledged with each, and the sum of those.
    rates: f64,
    weight: f64,
    app_limited: bool,
}

/// The default [`Controller`]. See the head of its module.
#[derive(Debug)]
pub(crate) struct DelayBased {
    segment: f64,
    phase: Phase,
    /// Bytes per second that leave when the queue is as it should be; `None` before the first sample.
    rate: Option<f64>,
    round: Round,
    /// Delivery rates of the latest rounds.
    delivered: [f64; 3],
    /// Smallest round-trip times of the current lifetime and of the one before.
    min_rtt: [Option<Duration>; 2],
    min_rtt_since: Instant,
    /// What the queue added to the latest round's smallest round trip, in seconds.
    queue: f64,
    /// Share of bytes lost without congestion.
    loss: f64,
    /// Round-trip times in a row that showed a queue.
    jams: u8,
    full_rate: f64,
    full_rounds: u8,
    /// Rounds of climbing without a queue.
    calm: u32,
    window: u64,
}

impl Round {
    fn new(now: Instant, delivered: u64) -> Self {
        Self {
            began: now,
            ends_at: delivered,
            min_rtt: None,
            samples: 0,
            delivered: 0,
            lost: 0,
            rates: 0.0,
            weight: 0.0,
            app_limited: false,
        }
    }

    fn is_over(&self, now: Instant, sample: &Sample, segment: f64) -> bool {
        sample.prior_delivered >= self.ends_at
            && now.saturating_duration_since(self.began) >= MIN_ROUND
            && self.delivered >= MIN_ROUND_SEGMENTS * segment as u64
            && (self.samples >= MIN_ROUND_SAMPLES
                || self.delivered >= MAX_ROUND_SEGMENTS * segment as u64)
    }

    fn loss(&self) -> f64 {
        self.lost as f64 / (self.lost + self.delivered).max(1) as f64
    }
}

impl DelayBased {
    /// A controller for segments of at most `segment` bytes.
    pub(crate) fn new(segment: usize, now: Instant) -> Self {
        let segment = segment as f64;
        Self {
            segment,
            phase: Phase::Startup,
            rate: None,
            round: Round::new(now, 0),
            delivered: [0.0; 3],
            min_rtt: [None; 2],
            min_rtt_since: now,
            queue: 0.0,
            loss: 0.0,
            jams: 0,
            full_rate: 0.0,
            full_rounds: 0,
            calm: 0,
            window: (FIRST_SEGMENTS * segment) as u64,
        }
    }

    /// Seconds of a round trip without a queue.
    fn base_rtt(&self) -> f64 {
        let min = self.min_rtt.iter().flatten().min();
        min.map_or(0.1, |rtt| rtt.as_secs_f64().max(1e-6))
    }

    /// Seconds of queue that are too many. What makes round trips uneven without any queue is allowed for:
    /// clocks, batched acknowledgements, and on slow paths the segments themselves.
    fn queue_limit(&self, rate: f64) -> f64 {
        let base = self.base_rtt();
        let batch = (ACK_SEGMENTS * self.segment / rate).min(MAX_ACK_DELAY);
        let noise = 1.0 + LOSS_NOISE * self.loss * self.loss;
        base * QUEUE_SHARE * noise + QUEUE_NOISE.max(batch)
    }

    /// What the network lets through for us, had it lost nothing by chance.
    fn measured_rate(&self) -> f64 {
        self.delivered.iter().copied().fold(0.0, f64::max) / (1.0 - self.loss)
    }

    fn note_rtt(&mut self, now: Instant, rtt: Duration) {
        if now.saturating_duration_since(self.min_rtt_since) > MIN_RTT_LIFETIME {
            self.min_rtt = [None, self.min_rtt[0]];
            self.min_rtt_since = now;
        }
        let smaller = |min: Option<Duration>| Some(min.map_or(rtt, |min| min.min(rtt)));
        self.min_rtt[0] = smaller(self.min_rtt[0]);
        self.round.min_rtt = smaller(self.round.min_rtt);
        self.round.samples += 1;

        let limit = self.rate.map_or(f64::MAX, |rate| self.queue_limit(rate));
        let jammed = rtt.as_secs_f64() - self.base_rtt() > limit;
        self.jams = if jammed { self.jams.saturating_add(1) } else { 0 };
    }

    fn note_rate(&mut self, sample: &Sample) {
        let Some(delivered) = sample.delivery_rate else { return };
        let weight = sample.acknowledged as f64;
        self.round.rates += delivered as f64 * weight;
        self.round.weight += weight;
        self.round.app_limited |= sample.app_limited;
        if self.rate.is_none() && self.min_rtt[0].is_some() {
            // An application that began with little says nothing about the path.
            let flight = FIRST_SEGMENTS * self.segment / self.base_rtt() / STARTUP_GAIN;
            let floor = if sample.app_limited { flight } else { MIN_RATE };
            self.rate = Some(floor.max(delivered as f64));
        } else if self.phase == Phase::Startup {
            // The mean of a round is out of date when the rate doubles in each.
            self.rate = self.rate.map(|rate| rate.max(delivered as f64));
        }
    }

    /// Draws the conclusions of a round.
    fn end_round(&mut self, now: Instant, sample: &Sample) {
        let round = std::mem::replace(&mut self.round, Round::new(now, sample.delivered));
        let Some(rate) = self.rate else { return };
        if round.weight > 0.0 {
            self.delivered.rotate_right(1);
            self.delivered[0] = round.rates / round.weight;
        }
        let limit = self.queue_limit(rate);
        let queue = round.min_rtt.map(|rtt| (rtt.as_secs_f64() - self.base_rtt()).max(0.0));
        let former = self.queue;
        self.queue = queue.unwrap_or(former);
        let growth = (self.queue - former).max(0.0);
        let jammed = queue.is_some_and(|queue| queue + LOOK_AHEAD * growth > limit);

        let loss = round.loss();
        let count = ((round.delivered + round.lost) as f64 / self.segment).max(1.0);
        let chance = 3.0 * (loss * (1.0 - loss) / count).sqrt();
        let excess = if round.lost as f64 > MIN_LOST * self.segment {
            loss - self.loss - chance
        } else {
            0.0
        };
        if self.queue.max(former) < limit / 2.0 {
            self.loss += (loss.min(0.5) - self.loss) / 4.0;
        }

        match self.phase {
            Phase::Startup => {
                let rate = rate.max(self.delivered[0]);
                self.rate = Some(rate);
                if jammed || excess > STARTUP_LOSS {
                    self.phase = Phase::Measure { jammed: excess <= STARTUP_LOSS };
                } else if !round.app_limited && self.is_full(rate) {
                    self.phase = Phase::Measure { jammed: false };
                }
            }
            // A queue caused by doubling would not be gone yet, and one round trip may have been late by chance.
            Phase::Measure { jammed: true }
                if excess <= STARTUP_LOSS
                    && (self.queue < limit / 2.0 || round.samples < MIN_ROUND_SAMPLES) =>
            {
                self.phase = Phase::Startup;
            }
            Phase::Measure { .. } => {
                let measured = self.measured_rate();
                let share = if round.app_limited { rate.max(measured) } else { measured };
                self.back_off(now, share, growth);
                // One round is little to go by: if it was too low, find out soon.
                self.calm = 2 * CALM_ROUNDS;
            }
            Phase::Climb { deaf_until } if jammed || excess > CLIMB_LOSS => {
                if now >= deaf_until {
                    let share = if round.app_limited { rate } else { self.measured_rate() };
                    self.back_off(now, share.clamp(rate * MIN_SHARE, rate), growth);
                }
            }
            // A rate that was not used proves nothing about a higher one.
            Phase::Climb { .. } if queue.is_some() && !round.app_limited => self.climb(rate, limit),
            Phase::Climb { .. } | Phase::Drain { .. } => {}
        }
    }

    fn is_full(&mut self, rate: f64) -> bool {
        if rate >= self.full_rate * FULL_GROWTH {
            self.full_rate = rate;
            self.full_rounds = 0;
            return false;
        }
        self.full_rounds += 1;
        self.full_rounds >= FULL_ROUNDS
    }

    fn climb(&mut self, rate: f64, limit: f64) {
        let segments = (rate * self.base_rtt() / self.segment).max(1.0);
        let calm = f64::from(1 << (self.calm / CALM_ROUNDS).min(8));
        let step = STEP / segments * calm;
        self.rate = Some(rate * (1.0 + step.min(MAX_STEP)));
        self.calm = if self.queue < limit / 4.0 { self.calm.saturating_add(1) } else { 0 };
    }

    /// Leaves the queue time to drain, then goes on just below our `share` of the bottleneck.
    fn back_off(&mut self, now: Instant, share: f64, growth: f64) {
        let share = share.max(MIN_RATE);
        self.rate = Some(share * BACK_OFF);
        self.calm = 0;
        // The queue was measured as it was at the round's best moment, a round trip ago.
        let queue = self.queue + 2.0 * growth;
        let base = self.base_rtt();
        let gain = (1.0 - queue / base).clamp(MIN_DRAIN, 0.99);
        let time = (queue / (1.0 - gain)).min(2.0 * (base + self.queue_limit(share)));
        self.phase = Phase::Drain { gain, until: now + Duration::from_secs_f64(time) };
    }

    fn update_window(&mut self, acknowledged: u64) {
        let grown = self.window + acknowledged;
        self.window = match self.rate {
            None => grown,
            Some(rate) => {
                let gain =
                    if self.phase == Phase::Startup { STARTUP_WINDOW_GAIN } else { WINDOW_GAIN };
                // What was lost counts as under way until it is asked for.
                let flight = rate * (self.base_rtt() + self.queue_limit(rate)) / (1.0 - self.loss);
                let bound = gain * flight + MIN_WINDOW_SEGMENTS * self.segment;
                grown.min(bound as u64)
            }
        };
    }
}

impl Controller for DelayBased {
    fn on_acknowledged(&mut self, now: Instant, sample: &Sample) {
        if let Some(rtt) = sample.rtt {
            self.note_rtt(now, rtt);
        }
        self.round.delivered += sample.acknowledged;
        self.note_rate(sample);

        if let Phase::Drain { until, .. } = self.phase
            && now >= until
        {
            let deaf_until = now + Duration::from_secs_f64(self.base_rtt() * 1.25);
            self.phase = Phase::Climb { deaf_until };
        }
        if self.phase == Phase::Startup && self.jams >= STARTUP_JAMS + (self.loss * LOSS_JAMS) as u8
        {
            // Until the round ends, the queue would grow by as much again.
            let delivered = sample.delivery_rate.unwrap_or(0) as f64;
            self.rate = self.rate.map(|rate| rate.max(delivered));
            self.phase = Phase::Measure { jammed: true };
            self.round = Round::new(now, sample.delivered);
        }
        if self.round.is_over(now, sample, self.segment) {
            self.end_round(now, sample);
        }
        self.update_window(sample.acknowledged);
    }

    fn on_lost(&mut self, _now: Instant, bytes: u64) {
        self.round.lost += bytes;
    }

    fn on_stalled(&mut self, _now: Instant) {
        // One frame that could not be repaired for long is not yet the end of the path; nothing at all
        // coming through is, and then this is called again.
        self.window = (self.window / 2).max((MIN_WINDOW_SEGMENTS * self.segment) as u64);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self) -> Option<u64> {
        let Some(rate) = self.rate else {
            return Some((FIRST_SEGMENTS * self.segment / FIRST_TIME) as u64);
        };
        let gain = match self.phase {
            Phase::Startup => STARTUP_GAIN,
            Phase::Measure { .. } | Phase::Climb { .. } => 1.0,
            Phase::Drain { gain, .. } => gain / BACK_OFF,
        };
        Some((rate * gain) as u64)
    }
}
