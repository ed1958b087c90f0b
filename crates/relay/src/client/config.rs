//! The settings of a client, checked once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::Connector;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::dialect::Dialect;
use crate::store::{InvalidSetting, check_setting};

/// Settings of a client, valid as built.
#[derive(Clone)]
pub struct Config {
    pub(super) url: String,
    pub(super) dialect: Dialect,
    pub(super) tls: Option<Connector>,
    pub(super) request_timeout: Duration,
    pub(super) first_retry: Duration,
    pub(super) last_retry: Duration,
    pub(super) keepalive: Duration,
    pub(super) quiet: Duration,
}

impl Config {
    /// Where the relay is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything at its default, for the relay at a URL: `ws://HOST:PORT/PATH`, or `wss:` with TLS. The path must be
    /// the dialect's.
    pub fn builder(url: impl Into<String>, dialect: Dialect) -> ConfigBuilder {
        ConfigBuilder(Self {
            url: url.into(),
            dialect,
            tls: None,
            request_timeout: Duration::from_secs(10),
            first_retry: Duration::from_millis(500),
            last_retry: Duration::from_secs(15),
            keepalive: Duration::from_secs(20),
            quiet: Duration::from_secs(1),
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

/// Settings under construction; [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder(Config);

/// Why settings are not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is no URL of a WebSocket.
    #[error("{0:?} is not ws://HOST:PORT/PATH or wss://HOST:PORT/PATH")]
    Url(String),
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

impl ConfigBuilder {
    /// How `wss:` decides whether to trust the relay. Default: the certificates that the operating system trusts.
    pub fn tls(mut self, config: Arc<tokio_rustls::rustls::ClientConfig>) -> Self {
        self.0.tls = Some(Connector::Rustls(config));
        self
    }

    /// How long a request may take, and a connection with its login. Default 10 s, from 10 ms to 10 min.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.0.request_timeout = timeout;
        self
    }

    /// Time to the first try to connect again; each one after it doubles it, less a random part up to a half. Default
    /// 0.5 s, from 1 ms to the last one.
    pub fn first_retry(mut self, time: Duration) -> Self {
        self.0.first_retry = time;
        self
    }

    /// The longest time to the next try. Default 15 s, up to an hour.
    pub fn last_retry(mut self, time: Duration) -> Self {
        self.0.last_retry = time;
        self
    }

    /// Time after which a connection on which nothing is said is kept open with a message that means nothing: some
    /// relays in the field close it after a minute, whatever pings they get. After three of them without anything from
    /// the relay the connection is given up. Default 20 s, from 1 s to an hour.
    pub fn keepalive(mut self, time: Duration) -> Self {
        self.0.keepalive = time;
        self
    }

    /// How long nothing more comes after prekeys until they are taken to be all, as nothing says so in the `seed`
    /// dialect. Default 1 s, from 1 ms to the request timeout.
    pub fn quiet(mut self, time: Duration) -> Self {
        self.0.quiet = time;
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// The first one that is wrong, durations in milliseconds.
    pub fn build(self) -> Result<Config, ConfigError> {
        const SECOND: u64 = 1000;
        const HOUR: u64 = 3600 * SECOND;

        let config = self.0;
        let uri = config.url.parse::<Uri>().ok();
        let is_socket = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("ws" | "wss"))
                && uri.host().is_some_and(|it| !it.is_empty())
        };
        if !uri.as_ref().is_some_and(is_socket) {
            return Err(ConfigError::Url(config.url));
        }
        let request_timeout = millis(config.request_timeout);
        let last_retry = millis(config.last_retry);
        check_setting("request_timeout", request_timeout, 10..=600 * SECOND)?;
        check_setting("last_retry", last_retry, 1..=HOUR)?;
        check_setting("first_retry", millis(config.first_retry), 1..=last_retry)?;
        check_setting("keepalive", millis(config.keepalive), SECOND..=HOUR)?;
        check_setting("quiet", millis(config.quiet), 1..=request_timeout)?;
        Ok(config)
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ConfigBuilder {
        Config::builder("wss://relay.example/api", Dialect::Deployed)
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(builder().build().is_ok());
    }

    #[test]
    fn only_urls_of_websockets_are_taken() {
        for url in ["", "relay.example", "http://relay.example/api", "ws:///api", "/api"] {
            let error = Config::builder(url, Dialect::Seed).build().unwrap_err();
            assert_eq!(error, ConfigError::Url(url.into()));
        }
    }

    #[test]
    fn every_setting_is_checked() {
        let (zero, day) = (Duration::ZERO, Duration::from_secs(86_400));
        for (wanted, builder) in [
            ("request_timeout", builder().request_timeout(zero)),
            ("last_retry", builder().last_retry(day)),
            ("first_retry", builder().first_retry(day)),
            ("keepalive", builder().keepalive(zero)),
            ("quiet", builder().quiet(day)),
        ] {
            match builder.build() {
                Err(ConfigError::Setting(InvalidSetting { field, .. })) => {
                    assert_eq!(field, wanted);
                }
                other => panic!("{wanted}: {other:?}"),
            }
        }
    }
}
