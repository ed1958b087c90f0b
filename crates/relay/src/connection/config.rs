//! The settings of a connection, checked once.

use std::time::Duration;

use crate::store::{InvalidSetting, check_setting};

/// Settings of [`Connection`](super::Connection)s, valid as built. All of a relay share one.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) domain: String,
    pub(super) max_requests: usize,
    pub(super) window: usize,
    pub(super) ping_interval: Duration,
    pub(super) pong_timeout: Duration,
    pub(super) prekey_limit: u32,
    pub(super) prekey_interval: Duration,
    pub(crate) max_attachment: u64,
}

impl Config {
    /// Everything at its default.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder(Self::default())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: String::new(),
            max_requests: 16,
            window: 256,
            ping_interval: Duration::from_secs(15),
            pong_timeout: Duration::from_secs(15),
            prekey_limit: 10,
            prekey_interval: Duration::from_secs(5 * 60),
            max_attachment: 0,
        }
    }
}

/// Settings under construction; [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// Where short numbers are unique, told with each number. Default empty, up to 255 bytes.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.0.domain = domain.into();
        self
    }

    /// The most requests of a connection that wait for their answers. Default 16, in `1..=1024`.
    pub fn max_requests(mut self, requests: usize) -> Self {
        self.0.max_requests = requests;
        self
    }

    /// The most messages that are delivered and not acknowledged. Default 256, in `1..=65_536`.
    pub fn window(mut self, messages: usize) -> Self {
        self.0.window = messages;
        self
    }

    /// Time from one ping to the next. Default 15 s, from 1 s to an hour.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.0.ping_interval = interval;
        self
    }

    /// How long a ping waits for its pong. Default 15 s, from 1 s to the ping interval: one ping is on
    /// its way at a time.
    pub fn pong_timeout(mut self, timeout: Duration) -> Self {
        self.0.pong_timeout = timeout;
        self
    }

    /// With fewer one-time prekeys than this, a device is asked for twice as many. Default 10, in
    /// `1..=500`.
    pub fn prekey_limit(mut self, prekeys: u32) -> Self {
        self.0.prekey_limit = prekeys;
        self
    }

    /// Time from one look at a device's prekeys to the next. Default 5 min, from 1 s to a day.
    pub fn prekey_interval(mut self, interval: Duration) -> Self {
        self.0.prekey_interval = interval;
        self
    }

    /// The longest attachment, in bytes, which clients are told; with 0 there are none, and requests for uploads are
    /// refused. Default 0. A server takes it from its
    /// attachments.
    pub fn max_attachment(mut self, bytes: u64) -> Self {
        self.0.max_attachment = bytes;
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// The first one that is out of its range, durations in milliseconds.
    pub fn build(self) -> Result<Config, InvalidSetting> {
        const SECOND: u64 = 1000;
        const HOUR: u64 = 3600 * SECOND;

        let config = self.0;
        let ping_interval = millis(config.ping_interval);
        check_setting("domain", config.domain.len() as u64, 0..=255)?;
        check_setting("max_requests", config.max_requests as u64, 1..=1024)?;
        check_setting("window", config.window as u64, 1..=65_536)?;
        check_setting("ping_interval", ping_interval, SECOND..=HOUR)?;
        check_setting("pong_timeout", millis(config.pong_timeout), SECOND..=ping_interval)?;
        check_setting("prekey_limit", config.prekey_limit.into(), 1..=500)?;
        check_setting("prekey_interval", millis(config.prekey_interval), SECOND..=24 * HOUR)?;
        Ok(config)
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert!(Config::builder().build().is_ok());
    }

    #[test]
    fn every_setting_is_checked() {
        let builder = Config::builder;
        let short = Duration::from_millis(999);
        for (field, builder) in [
            ("domain", builder().domain("x".repeat(256))),
            ("max_requests", builder().max_requests(0)),
            ("window", builder().window(0)),
            ("ping_interval", builder().ping_interval(short)),
            ("pong_timeout", builder().pong_timeout(Duration::from_secs(16))),
            ("prekey_limit", builder().prekey_limit(0)),
            ("prekey_interval", builder().prekey_interval(short)),
        ] {
            assert_eq!(builder.build().map(drop).map_err(|error| error.field), Err(field));
        }
    }
}
