//! The settings of a link.

use std::time::Duration;

use thiserror::Error;

/// The impairments of one direction of a path; the default is a perfect link.
///
/// Probabilities are per packet and between 0 and 1. A link checks its configuration with [`validate`](Self::validate)
/// before it takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Which packets are lost on the way.
    pub loss: Loss,
    /// Time that every packet travels, at most a day.
    pub delay: Duration,
    /// Upper end of a further delay, drawn uniformly from zero for each packet, at most a day.
    pub jitter: Duration,
    /// Whether a packet with little jitter may overtake one with much; if not, it arrives right behind it.
    pub jitter_reorders: bool,
    /// Which packets are held back so that later ones overtake them.
    pub reorder: Reorder,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that one random bit of the payload is flipped.
    pub corrupt: f64,
    /// Rate of the bottleneck in bytes per second; `None` has no bottleneck.
    pub rate: Option<u64>,
    /// Room in front of the bottleneck, in bytes; without a `rate` nothing queues.
    ///
    /// A packet that would exceed it is dropped. The packet being serialised counts, but a bottleneck that has nothing
    /// to do takes a packet of any size.
    pub queue: usize,
    /// Size of the largest packet that passes, in bytes; `None` lets everything pass.
    pub mtu: Option<usize>,
}

/// Which packets are lost on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// No packet is.
    #[default]
    None,
    /// Each packet is with this probability, independently of the others.
    Random(f64),
    /// Packets are lost in bursts.
    Burst(GilbertElliott),
}

/// The Gilbert-Elliott model of bursty loss: a good and a bad state, each with its own loss.
///
/// The state may change before each packet; the link starts in the good one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GilbertElliott {
    /// Probability that the good state turns bad.
    pub enter: f64,
    /// Probability that the bad state turns good; its inverse is the mean length of a burst in packets.
    pub leave: f64,
    /// Probability that a packet is lost in the good state.
    pub loss_good: f64,
    /// Probability that a packet is lost in the bad state.
    pub loss_bad: f64,
}

/// Which packets are held back so that later ones overtake them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reorder {
    /// Probability that a packet is held back.
    pub probability: f64,
    /// For how long, at most a day.
    pub delay: Duration,
}

/// A setting of a link is out of its range.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LinkConfigError {
    /// A probability is not one.
    #[error("{field} is {value}, must be between 0 and 1")]
    Probability {
        /// Name of the field.
        field: &'static str,
        /// What it was set to.
        value: f64,
    },
    /// A delay is too long.
    #[error("{field} is {value:?}, must be at most {MAX_DELAY:?}")]
    Delay {
        /// Name of the field.
        field: &'static str,
        /// What it was set to.
        value: Duration,
    },
    /// The bottleneck would let nothing pass.
    #[error("rate is 0 bytes per second, must be at least 1")]
    Rate,
    /// A mean burst cannot be shorter than one packet.
    #[error("mean burst is {value} packets, must be at least 1")]
    MeanBurst {
        /// What it was set to.
        value: f64,
    },
}

/// Keeps the sum of a time and the delays far from the end of what an `Instant` can hold.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// About 170 packets of Ethernet size: 20 ms at 100 Mbit/s.
const DEFAULT_QUEUE: usize = 256 * 1024;

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            loss: Loss::None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_reorders: false,
            reorder: Reorder::default(),
            duplicate: 0.0,
            corrupt: 0.0,
            rate: None,
            queue: DEFAULT_QUEUE,
            mtu: None,
        }
    }
}

impl LinkConfig {
    /// Sets which packets are lost.
    pub fn with_loss(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// Sets the time that every packet travels.
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Sets the upper end of the further, random delay.
    pub fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// Sets with which probability and for how long a packet is held back.
    pub fn with_reorder(self, probability: f64, delay: Duration) -> Self {
        Self { reorder: Reorder { probability, delay }, ..self }
    }

    /// Sets the probability that a packet arrives twice.
    pub fn with_duplicate(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    /// Sets the probability that a bit of a packet is flipped.
    pub fn with_corrupt(self, corrupt: f64) -> Self {
        Self { corrupt, ..self }
    }

    /// Sets the rate of the bottleneck in bytes per second, and the queue in front of it in bytes.
    pub fn with_rate(self, rate: u64, queue: usize) -> Self {
        Self { rate: Some(rate), queue, ..self }
    }

    /// Sets the size of the largest packet that passes, in bytes.
    pub fn with_mtu(self, mtu: usize) -> Self {
        Self { mtu: Some(mtu), ..self }
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    ///
    /// Names the first setting that is not, with its value and its range.
    pub fn validate(&self) -> Result<(), LinkConfigError> {
        self.loss.validate()?;
        check_delay("delay", self.delay)?;
        check_delay("jitter", self.jitter)?;
        check_probability("reorder.probability", self.reorder.probability)?;
        check_delay("reorder.delay", self.reorder.delay)?;
        check_probability("duplicate", self.duplicate)?;
        check_probability("corrupt", self.corrupt)?;
        if self.rate == Some(0) {
            return Err(LinkConfigError::Rate);
        }
        Ok(())
    }

    /// Whether anything is left to chance.
    pub(crate) fn is_random(&self) -> bool {
        self.loss != Loss::None
            || !self.jitter.is_zero()
            || self.reorder.probability > 0.0
            || self.duplicate > 0.0
            || self.corrupt > 0.0
    }
}

impl Loss {
    /// Returns the loss in bursts that loses `rate` of all packets, `mean_burst` of them in a row on average.
    ///
    /// # Errors
    ///
    /// Fails if the rate is not a probability, a burst is shorter than a packet, or the rate cannot be reached with
    /// bursts this short.
    pub fn bursts(rate: f64, mean_burst: f64) -> Result<Self, LinkConfigError> {
        check_probability("rate", rate)?;
        if !mean_burst.is_finite() || mean_burst < 1.0 {
            return Err(LinkConfigError::MeanBurst { value: mean_burst });
        }
        let leave = 1.0 / mean_burst;
        // In the long run the bad state holds for enter / (enter + leave) of the packets.
        let enter = if rate == 0.0 { 0.0 } else { rate * leave / (1.0 - rate) };
        let loss = Self::Burst(GilbertElliott { enter, leave, loss_good: 0.0, loss_bad: 1.0 });
        loss.validate()?;
        Ok(loss)
    }

    fn validate(&self) -> Result<(), LinkConfigError> {
        match *self {
            Self::None => Ok(()),
            Self::Random(probability) => check_probability("loss", probability),
            Self::Burst(GilbertElliott { enter, leave, loss_good, loss_bad }) => {
                check_probability("loss.enter", enter)?;
                check_probability("loss.leave", leave)?;
                check_probability("loss.loss_good", loss_good)?;
                check_probability("loss.loss_bad", loss_bad)
            }
        }
    }
}

fn check_probability(field: &'static str, value: f64) -> Result<(), LinkConfigError> {
    // A NaN is in no range.
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(LinkConfigError::Probability { field, value })
    }
}

fn check_delay(field: &'static str, value: Duration) -> Result<(), LinkConfigError> {
    if value <= MAX_DELAY { Ok(()) } else { Err(LinkConfigError::Delay { field, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_valid_and_leaves_nothing_to_chance() {
        let config = LinkConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(!config.is_random());
    }

    #[test]
    fn errors_name_field_value_and_range() {
        let error = LinkConfig::default().with_duplicate(1.5).validate().unwrap_err();
        assert_eq!(error.to_string(), "duplicate is 1.5, must be between 0 and 1");
        let error = LinkConfig::default().with_delay(Duration::MAX).validate().unwrap_err();
        assert!(error.to_string().ends_with("must be at most 86400s"), "{error}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let perfect = LinkConfig::default;
        let day = MAX_DELAY + Duration::from_nanos(1);
        let state = GilbertElliott { enter: 0.1, leave: 0.1, loss_good: 0.0, loss_bad: 1.0 };
        for config in [
            perfect().with_loss(Loss::Random(-0.1)),
            perfect().with_loss(Loss::Random(f64::NAN)),
            perfect().with_loss(Loss::Burst(GilbertElliott { enter: 2.0, ..state })),
            perfect().with_loss(Loss::Burst(GilbertElliott { leave: 2.0, ..state })),
            perfect().with_loss(Loss::Burst(GilbertElliott { loss_good: 2.0, ..state })),
            perfect().with_loss(Loss::Burst(GilbertElliott { loss_bad: 2.0, ..state })),
            perfect().with_delay(day),
            perfect().with_jitter(day),
            perfect().with_reorder(0.1, day),
            perfect().with_reorder(1.1, Duration::ZERO),
            perfect().with_duplicate(f64::INFINITY),
            perfect().with_corrupt(-1.0),
            perfect().with_rate(0, 1),
        ] {
            assert!(config.validate().is_err(), "{config:?}");
        }
    }

    #[test]
    fn bursts_that_cannot_be_are_refused() {
        assert!(Loss::bursts(0.1, 0.5).is_err());
        assert!(Loss::bursts(0.1, f64::INFINITY).is_err());
        assert!(Loss::bursts(1.0, 3.0).is_err());
        // Nine packets in ten lost, but each burst only one packet long.
        assert!(Loss::bursts(0.9, 1.0).is_err());
        assert!(Loss::bursts(0.0, 1.0).is_ok());
    }
}
