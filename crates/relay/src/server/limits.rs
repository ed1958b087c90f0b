//! How much of what clients may do.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::store::{InvalidSetting, check_setting};

/// How often something may happen: a number of times per period. So many may come at once, and room for the
/// next ones comes back evenly.
///
/// As text it is `600/m`, with `s`, `m` or `h` for the period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    period: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
}

impl Rate {
    /// So many times a second.
    #[must_use]
    pub const fn per_second(count: NonZeroU32) -> Self {
        Self { count, period: Period::Second }
    }

    /// So many times a minute.
    #[must_use]
    pub const fn per_minute(count: NonZeroU32) -> Self {
        Self { count, period: Period::Minute }
    }

    /// So many times an hour.
    #[must_use]
    pub const fn per_hour(count: NonZeroU32) -> Self {
        Self { count, period: Period::Hour }
    }

    pub(super) const fn quota(self) -> governor::Quota {
        match self.period {
            Period::Second => governor::Quota::per_second(self.count),
            Period::Minute => governor::Quota::per_minute(self.count),
            Period::Hour => governor::Quota::per_hour(self.count),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period {
            Period::Second => 's',
            Period::Minute => 'm',
            Period::Hour => 'h',
        };
        write!(f, "{}/{period}", self.count)
    }
}

/// A text is no [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number from 1 to 1000000000 and a period: 20/s, 600/m or 1000/h")]
pub struct InvalidRate;

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, period) = text.split_once('/').ok_or(InvalidRate)?;
        let period = match period {
            "s" => Period::Second,
            "m" => Period::Minute,
            "h" => Period::Hour,
            _ => return Err(InvalidRate),
        };
        let count: NonZeroU32 = count.parse().map_err(|_| InvalidRate)?;
        // A nanosecond is the least time from one to the next.
        if count.get() > 1_000_000_000 {
            return Err(InvalidRate);
        }
        Ok(Self { count, period })
    }
}

/// How much of what clients may do, valid as built. Where a rate is `None` there is no limit.
///
/// A *source* is an IPv4 address, or the /64 network of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) connections: usize,
    pub(super) connections_per_source: usize,
    pub(super) connecting: Option<Rate>,
    pub(super) logins: Option<Rate>,
    pub(super) messages: Option<Rate>,
    pub(super) messages_per_recipient: Option<Rate>,
    pub(super) lookups: Option<Rate>,
    pub(super) one_time_prekeys: Option<Rate>,
    pub(super) registrations: Option<Rate>,
    pub(super) uploads: Option<Rate>,
}

impl Limits {
    /// Everything at its default.
    pub fn builder() -> LimitsBuilder {
        LimitsBuilder(Self::default())
    }
}

impl Default for Limits {
    fn default() -> Self {
        const fn count(count: u32) -> NonZeroU32 {
            NonZeroU32::new(count).expect("the default rates are not zero")
        }
        Self {
            connections: 50_000,
            connections_per_source: 200,
            connecting: Some(Rate::per_minute(count(600))),
            logins: Some(Rate::per_minute(count(300))),
            messages: Some(Rate::per_minute(count(1200))),
            messages_per_recipient: Some(Rate::per_minute(count(6000))),
            lookups: Some(Rate::per_minute(count(600))),
            one_time_prekeys: Some(Rate::per_hour(count(120))),
            registrations: Some(Rate::per_hour(count(120))),
            uploads: Some(Rate::per_hour(count(120))),
        }
    }
}

/// Limits under construction; [`build`](Self::build) checks them.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct LimitsBuilder(Limits);

impl LimitsBuilder {
    /// Connections at a time. Those beyond are closed at once. Default 50 000, in `1..=10_000_000`.
    pub const fn connections(mut self, connections: usize) -> Self {
        self.0.connections = connections;
        self
    }

    /// Connections of one source at a time. Some of those beyond are answered with status 429, the others closed
    /// at once. Default 200, in `1..=10_000_000`.
    pub const fn connections_per_source(mut self, connections: usize) -> Self {
        self.0.connections_per_source = connections;
        self
    }

    /// New WebSockets of one source. Those beyond are answered with status 429. As a client that fails to log
    /// in is disconnected, this bounds what a source may try. Default 600 a minute.
    pub const fn connecting(mut self, rate: Option<Rate>) -> Self {
        self.0.connecting = rate;
        self
    }

    /// Logins of one source in the `deployed` dialect that would look up or assign a chat number. Default 300 a
    /// minute.
    pub const fn logins(mut self, rate: Option<Rate>) -> Self {
        self.0.logins = rate;
        self
    }

    /// Messages that one connection sends. Default 1200 a minute.
    pub const fn messages(mut self, rate: Option<Rate>) -> Self {
        self.0.messages = rate;
        self
    }

    /// Messages that are sent to one device, by whomever. Default 6000 a minute.
    pub const fn messages_per_recipient(mut self, rate: Option<Rate>) -> Self {
        self.0.messages_per_recipient = rate;
        self
    }

    /// Prekeys and chat numbers that one source asks for. Default 600 a minute.
    pub const fn lookups(mut self, rate: Option<Rate>) -> Self {
        self.0.lookups = rate;
        self
    }

    /// Requests for prekeys of one owner that take one-time prekeys. The others get the signed ones alone, so
    /// that nobody can drain the supply. Default 120 an hour.
    pub const fn one_time_prekeys(mut self, rate: Option<Rate>) -> Self {
        self.0.one_time_prekeys = rate;
        self
    }

    /// Registrations and withdrawals of one device. Default 120 an hour.
    pub const fn registrations(mut self, rate: Option<Rate>) -> Self {
        self.0.registrations = rate;
        self
    }

    /// Requests of one source for permissions to upload attachments, of which each gets up to
    /// [`MAX_UPLOADS`](crate::connection::MAX_UPLOADS). Default 120 an hour.
    pub const fn uploads(mut self, rate: Option<Rate>) -> Self {
        self.0.uploads = rate;
        self
    }

    /// The limits.
    ///
    /// # Errors
    /// The first one that is out of its range.
    pub fn build(self) -> Result<Limits, InvalidSetting> {
        let Limits { connections, connections_per_source, .. } = self.0;
        check_setting("connections", connections as u64, 1..=10_000_000)?;
        check_setting("connections_per_source", connections_per_source as u64, 1..=10_000_000)?;
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Limits::builder().build(), Ok(Limits::default()));
    }

    #[test]
    fn every_number_is_checked() {
        let builder = Limits::builder;
        for (field, builder) in [
            ("connections", builder().connections(0)),
            ("connections_per_source", builder().connections_per_source(10_000_001)),
        ] {
            assert_eq!(builder.build().map_err(|error| error.field), Err(field));
        }
    }

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for text in ["1/s", "600/m", "1000000000/h"] {
            assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "1", "/s", "0/s", "1/d", "1/ s", "-1/s", "1.5/s", "1000000001/s"] {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate), "{text}");
        }
    }

    #[test]
    fn so_many_come_at_once_and_then_room_comes_back() {
        let limiter = governor::RateLimiter::direct_with_clock(
            "60/m".parse::<Rate>().unwrap().quota(),
            governor::clock::FakeRelativeClock::default(),
        );
        assert_eq!((0..61).filter(|_| limiter.check().is_ok()).count(), 60);
        limiter.clock().advance(Duration::from_secs(2));
        assert_eq!((0..3).filter(|_| limiter.check().is_ok()).count(), 2);
    }
}
