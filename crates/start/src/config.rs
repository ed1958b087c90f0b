//! The settings of the machines, checked once.

use std::ops::RangeInclusive;
use std::time::Duration;

use towline_wire::{Dialect, Mtu};

use crate::{Rate, Seed};

/// Settings of an endpoint's handshake, valid as built.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) dialect: Dialect,
    pub(crate) mtu: Mtu,
    pub(crate) seed: Option<Seed>,
    pub(crate) request_timeout: Duration,
    pub(crate) request_interval: Duration,
    pub(crate) max_request_interval: Duration,
    pub(crate) max_requests: usize,
    pub(crate) decision_timeout: Duration,
    pub(crate) half_open_timeout: Duration,
    pub(crate) max_half_open: usize,
    pub(crate) max_sessions: usize,
    pub(crate) answer_memory: Duration,
    pub(crate) max_remembered: usize,
    pub(crate) request_rate: Rate,
    pub(crate) peer_request_rate: Rate,
    pub(crate) returning_request_rate: Rate,
    pub(crate) refusal_rate: Rate,
    pub(crate) max_peers: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) keep_alive_interval: Duration,
}

impl Config {
    /// Settings for a dialect and an MTU, everything else at its default.
    ///
    /// The MTU bounds every message that is sent (RFC-0007, 4.2.8, rule 4), and what is kept of those
    /// received. It must leave room for a keep-alive: at least 32 bytes.
    pub fn builder(dialect: Dialect, mtu: Mtu) -> ConfigBuilder {
        ConfigBuilder {
            config: Self {
                dialect,
                mtu,
                seed: None,
                request_timeout: Duration::from_secs(30),
                request_interval: Duration::from_millis(500),
                max_request_interval: Duration::from_secs(4),
                max_requests: 1024,
                decision_timeout: Duration::from_secs(10),
                half_open_timeout: Duration::from_secs(10),
                max_half_open: 4096,
                max_sessions: 16_384,
                answer_memory: Duration::from_secs(60),
                max_remembered: 16_384,
                request_rate: Rate { burst: 256, refill: Duration::from_millis(5) },
                peer_request_rate: Rate { burst: 128, refill: Duration::from_millis(20) },
                returning_request_rate: Rate { burst: 64, refill: Duration::from_millis(10) },
                refusal_rate: Rate { burst: 64, refill: Duration::from_millis(10) },
                max_peers: 4096,
                idle_timeout: Duration::from_secs(180),
                keep_alive_interval: Duration::ZERO,
            },
            keep_alive_interval: None,
        }
    }

    /// Whose bytes are meant.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The longest message that is sent, in bytes.
    #[must_use]
    pub fn mtu(&self) -> Mtu {
        self.mtu
    }
}

/// Settings under construction; [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder {
    config: Config,
    keep_alive_interval: Option<Duration>,
}

/// The initiator's settings.
impl ConfigBuilder {
    /// How long a request waits for its answer. Default 30 s, from 100 ms to 10 min.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// Time until a request is first repeated; it doubles from repetition to repetition. Keep-alives
    /// of a session whose peer has not been heard yet follow it too. Default 500 ms, from 10 ms to
    /// the request timeout.
    pub fn request_interval(mut self, interval: Duration) -> Self {
        self.config.request_interval = interval;
        self
    }

    /// Where the doubling ends. Default 4 s: a request then reaches a responder that lost one repetition
    /// before it drops the half-open session. From the request interval to the request timeout.
    pub fn max_request_interval(mut self, interval: Duration) -> Self {
        self.config.max_request_interval = interval;
        self
    }

    /// Requests that may wait for an answer at a time. Default 1024, in `1..=1_000_000`.
    pub fn max_requests(mut self, requests: usize) -> Self {
        self.config.max_requests = requests;
        self
    }
}

/// The responder's settings.
impl ConfigBuilder {
    /// How long a request waits for the application's decision. Default 10 s, from 10 ms to 10 min.
    pub fn decision_timeout(mut self, timeout: Duration) -> Self {
        self.config.decision_timeout = timeout;
        self
    }

    /// How long an accepted session waits for the entry's first sign of life, counted from the last
    /// answer. Default 10 s, from 10 ms to 10 min.
    pub fn half_open_timeout(mut self, timeout: Duration) -> Self {
        self.config.half_open_timeout = timeout;
        self
    }

    /// Undecided and half-open sessions at a time. Default 4096, in `1..=1_000_000`; keep it above the
    /// request rates times the half-open timeout, or a flood that stays within them fills it.
    pub fn max_half_open(mut self, sessions: usize) -> Self {
        self.config.max_half_open = sessions;
        self
    }

    /// Session slots, undecided and half-open sessions included. Default 16 384, in `1..=1_000_000`.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.config.max_sessions = sessions;
        self
    }

    /// Requests that are looked at, from all peers together. Default 256 at once, then 200/s.
    pub fn request_rate(mut self, rate: Rate) -> Self {
        self.config.request_rate = rate;
        self
    }

    /// Requests that are looked at beyond that, from peers that were turned away lately: initiators ask
    /// again, invented addresses do not. Default 64 at once, then 100/s.
    pub fn returning_request_rate(mut self, rate: Rate) -> Self {
        self.config.returning_request_rate = rate;
        self
    }

    /// Requests that are looked at, from one peer. Default 128 at once, then 50/s.
    pub fn peer_request_rate(mut self, rate: Rate) -> Self {
        self.config.peer_request_rate = rate;
        self
    }

    /// Requests beyond a rate that are answered as busy; the others are not answered. Default 64 at
    /// once, then 100/s.
    pub fn refusal_rate(mut self, rate: Rate) -> Self {
        self.config.refusal_rate = rate;
        self
    }

    /// Peers whose own rate is watched at a time. Default 4096, in `1..=1_000_000`.
    pub fn max_peers(mut self, peers: usize) -> Self {
        self.config.max_peers = peers;
        self
    }
}

/// Settings of both sides.
impl ConfigBuilder {
    /// Makes challenges and session ids repeat themselves, for tests. Default: from the operating system.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// How long answers are remembered, given or received, so that a repeated one is recognised. Default
    /// 60 s, that is the request timeout and as much again for the network; from 100 ms to 1 h.
    pub fn answer_memory(mut self, memory: Duration) -> Self {
        self.config.answer_memory = memory;
        self
    }

    /// Answers that each machine remembers at a time. Default 16 384, in `1..=1_000_000`.
    pub fn max_remembered(mut self, answers: usize) -> Self {
        self.config.max_remembered = answers;
        self
    }

    /// How long a session lives without a sign of life from its peer. Default 180 s, from 1 s to 24 h.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Silence after which a keep-alive is sent. Default a third of the idle timeout, which is also the
    /// most; at least 10 ms. By default one lost keep-alive does no harm and two in a row may end an idle
    /// session: on paths that lose much, choose a shorter interval.
    pub fn keep_alive_interval(mut self, interval: Duration) -> Self {
        self.keep_alive_interval = Some(interval);
        self
    }

    /// The settings, checked.
    ///
    /// # Errors
    /// The [`ConfigError`] that names the first setting outside its range.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut config = self.config;
        //= docs/spec/start.md#liveness
        //# An end SHOULD send a KeepAlive when it has sent nothing in a session for a third of the
        //# idle timeout.
        let third = config.idle_timeout / 3;
        config.keep_alive_interval = self.keep_alive_interval.unwrap_or(third);

        count("mtu", config.mtu.get(), MIN_MTU..=Mtu::MAX.get())?;
        let request_timeout = config.request_timeout;
        let request_interval = config.request_interval;
        duration("request_timeout", request_timeout, MILLI * 100..=MINUTE * 10)?;
        duration("request_interval", request_interval, MILLI * 10..=request_timeout)?;
        let interval = config.max_request_interval;
        duration("max_request_interval", interval, request_interval..=request_timeout)?;
        duration("decision_timeout", config.decision_timeout, MILLI * 10..=MINUTE * 10)?;
        duration("half_open_timeout", config.half_open_timeout, MILLI * 10..=MINUTE * 10)?;
        duration("answer_memory", config.answer_memory, MILLI * 100..=MINUTE * 60)?;
        duration("idle_timeout", config.idle_timeout, MILLI * 1000..=MINUTE * 60 * 24)?;
        duration("keep_alive_interval", config.keep_alive_interval, MILLI * 10..=third)?;
        for (field, value) in [
            ("max_requests", config.max_requests),
            ("max_half_open", config.max_half_open),
            ("max_sessions", config.max_sessions),
            ("max_remembered", config.max_remembered),
            ("max_peers", config.max_peers),
            ("request_rate.burst", config.request_rate.burst as usize),
            ("peer_request_rate.burst", config.peer_request_rate.burst as usize),
            ("returning_request_rate.burst", config.returning_request_rate.burst as usize),
            ("refusal_rate.burst", config.refusal_rate.burst as usize),
        ] {
            count(field, value, 1..=MAX_COUNT)?;
        }
        for (field, rate) in [
            ("request_rate.refill", config.request_rate),
            ("peer_request_rate.refill", config.peer_request_rate),
            ("returning_request_rate.refill", config.returning_request_rate),
            ("refusal_rate.refill", config.refusal_rate),
        ] {
            duration(field, rate.refill, Duration::from_micros(1)..=MINUTE * 60)?;
        }
        Ok(config)
    }
}

/// A setting is outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A time.
    #[error("{field} is {value:?}, outside {allowed:?}")]
    Duration {
        /// The setting's name.
        field: &'static str,
        /// What was asked for.
        value: Duration,
        /// What is possible, both ends included.
        allowed: RangeInclusive<Duration>,
    },
    /// A number, of bytes for `mtu` and of things for all others.
    #[error("{field} is {value}, outside {allowed:?}")]
    Count {
        /// The setting's name.
        field: &'static str,
        /// What was asked for.
        value: usize,
        /// What is possible, both ends included.
        allowed: RangeInclusive<usize>,
    },
}

/// A keep-alive for one of our own session ids takes 22 bytes.
const MIN_MTU: usize = 32;
/// A count is a bound on memory; one above this bounds nothing.
const MAX_COUNT: usize = 1_000_000;
const MILLI: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

fn duration(
    field: &'static str,
    value: Duration,
    allowed: RangeInclusive<Duration>,
) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Duration { field, value, allowed })
}

fn count(
    field: &'static str,
    value: usize,
    allowed: RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Count { field, value, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ConfigBuilder {
        Config::builder(Dialect::Rfc0007, Mtu::new(1000).unwrap())
    }

    #[test]
    fn the_defaults_are_valid() {
        builder().build().unwrap();
    }

    #[test]
    fn keep_alives_are_a_third_of_the_idle_timeout_apart_unless_told_otherwise() {
        let config = builder().idle_timeout(Duration::from_secs(90)).build().unwrap();
        assert_eq!(config.keep_alive_interval, Duration::from_secs(30));
    }

    #[test]
    fn an_error_names_the_field_the_value_and_the_range() {
        let error = builder().request_timeout(Duration::from_secs(601)).build().unwrap_err();
        assert_eq!(error.to_string(), "request_timeout is 601s, outside 100ms..=600s");
        let error = builder().max_peers(0).build().unwrap_err();
        assert_eq!(error.to_string(), "max_peers is 0, outside 1..=1000000");
    }

    #[test]
    fn every_setting_is_checked() {
        let nothing = Rate { burst: 0, refill: Duration::from_secs(1) };
        let endless = Rate { burst: 1, refill: Duration::ZERO };
        let tiny = Config::builder(Dialect::Rfc0007, Mtu::MIN);
        for (field, builder) in [
            ("mtu", tiny),
            ("request_timeout", builder().request_timeout(Duration::ZERO)),
            ("request_interval", builder().request_interval(Duration::from_secs(31))),
            ("max_request_interval", builder().max_request_interval(Duration::from_millis(499))),
            ("decision_timeout", builder().decision_timeout(Duration::ZERO)),
            ("half_open_timeout", builder().half_open_timeout(Duration::ZERO)),
            ("answer_memory", builder().answer_memory(Duration::ZERO)),
            ("idle_timeout", builder().idle_timeout(Duration::from_millis(999))),
            ("keep_alive_interval", builder().keep_alive_interval(Duration::from_secs(61))),
            ("max_requests", builder().max_requests(0)),
            ("max_half_open", builder().max_half_open(0)),
            ("max_sessions", builder().max_sessions(1_000_001)),
            ("max_remembered", builder().max_remembered(0)),
            ("max_peers", builder().max_peers(0)),
            ("request_rate.burst", builder().request_rate(nothing)),
            ("peer_request_rate.burst", builder().peer_request_rate(nothing)),
            ("returning_request_rate.burst", builder().returning_request_rate(nothing)),
            ("refusal_rate.burst", builder().refusal_rate(nothing)),
            ("request_rate.refill", builder().request_rate(endless)),
            ("peer_request_rate.refill", builder().peer_request_rate(endless)),
            ("returning_request_rate.refill", builder().returning_request_rate(endless)),
            ("refusal_rate.refill", builder().refusal_rate(endless)),
        ] {
            match builder.build() {
                Err(
                    ConfigError::Duration { field: named, .. }
                    | ConfigError::Count { field: named, .. },
                ) => {
                    assert_eq!(named, field);
                }
                Ok(_) => panic!("{field} is not checked"),
            }
        }
    }
}
