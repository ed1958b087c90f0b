//! The random draws of a packet.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::config::{GilbertElliott, Loss};

/// Draws the same number of values for every packet, so that no impairment shifts the draws of another.
#[derive(Debug)]
pub(crate) struct Dice {
    rng: ChaCha8Rng,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    pub(crate) fn roll(&mut self) -> Draws {
        Draws {
            transition: Draw(self.rng.next_u64()),
            loss: Draw(self.rng.next_u64()),
            corrupt: Draw(self.rng.next_u64()),
            corrupt_bit: Draw(self.rng.next_u64()),
            jitter: Draw(self.rng.next_u64()),
            reorder: Draw(self.rng.next_u64()),
            duplicate: Draw(self.rng.next_u64()),
        }
    }
}

/// The draws of one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws {
    pub(crate) transition: Draw,
    pub(crate) loss: Draw,
    pub(crate) corrupt: Draw,
    pub(crate) corrupt_bit: Draw,
    pub(crate) jitter: Draw,
    pub(crate) reorder: Draw,
    pub(crate) duplicate: Draw,
}

impl Draws {
    /// Stands in where every probability is zero and no draw is worth its time.
    pub(crate) const UNUSED: Self = {
        let draw = Draw(0);
        Self {
            transition: draw,
            loss: draw,
            corrupt: draw,
            corrupt_bit: draw,
            jitter: draw,
            reorder: draw,
            duplicate: draw,
        }
    };
}

/// A uniformly distributed value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// Whether an event of this probability happens; never for 0, always for 1.
    pub(crate) fn happens(self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number from 0 up to but not including 1.
    pub(crate) fn unit(self) -> f64 {
        // 53 bits, what the mantissa holds.
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from 0 up to but not including `end`.
    pub(crate) fn below(self, end: usize) -> usize {
        ((u128::from(self.0) * end as u128) >> 64) as usize
    }
}

/// Decides which packets are lost; remembers whether a burst is going on.
#[derive(Debug, Default)]
pub(crate) struct LossState {
    bad: bool,
}

impl LossState {
    pub(crate) fn decide(&mut self, loss: Loss, draws: &Draws) -> bool {
        match loss {
            Loss::None => false,
            Loss::Random(probability) => draws.loss.happens(probability),
            Loss::Burst(GilbertElliott { enter, leave, loss_good, loss_bad }) => {
                let change = if self.bad { leave } else { enter };
                self.bad ^= draws.transition.happens(change);
                draws.loss.happens(if self.bad { loss_bad } else { loss_good })
            }
        }
    }
}
