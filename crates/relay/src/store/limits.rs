//! How much a store keeps for whom.

use std::ops::RangeInclusive;

/// How much a store keeps for whom, valid as built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    queue_count: u64,
    queue_bytes: u64,
    prekeys: u64,
    devices: u64,
}

impl Limits {
    /// Everything at its default.
    pub const fn builder() -> LimitsBuilder {
        LimitsBuilder(Self {
            queue_count: 10_000,
            queue_bytes: 64 << 20,
            prekeys: 1000,
            devices: 32,
        })
    }

    /// The most messages in a device's queue.
    #[must_use]
    pub const fn queue_count(&self) -> u64 {
        self.queue_count
    }

    /// The most bytes of messages in a device's queue.
    #[must_use]
    pub const fn queue_bytes(&self) -> u64 {
        self.queue_bytes
    }

    /// The most one-time prekeys of a device.
    #[must_use]
    pub const fn prekeys(&self) -> u64 {
        self.prekeys
    }

    /// The most registered devices of an owner.
    #[must_use]
    pub const fn devices(&self) -> u64 {
        self.devices
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::builder().0
    }
}

/// Limits under construction; [`build`](Self::build) checks them.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct LimitsBuilder(Limits);

impl LimitsBuilder {
    /// Messages in a device's queue. Default 10 000, in `1..=1_000_000_000`.
    pub const fn queue_count(mut self, messages: u64) -> Self {
        self.0.queue_count = messages;
        self
    }

    /// Bytes of messages in a device's queue. Default 64 MiB, from 32 768, a message of the longest sort,
    /// to 1 TiB.
    pub const fn queue_bytes(mut self, bytes: u64) -> Self {
        self.0.queue_bytes = bytes;
        self
    }

    /// One-time prekeys of a device. Default 1000, in `1..=1_000_000`.
    pub const fn prekeys(mut self, prekeys: u64) -> Self {
        self.0.prekeys = prekeys;
        self
    }

    /// Registered devices of an owner. Default 32, in `1..=1000`. The answer to a request for prekeys has
    /// to fit in one message of 32 768 bytes.
    pub const fn devices(mut self, devices: u64) -> Self {
        self.0.devices = devices;
        self
    }

    /// The limits.
    ///
    /// # Errors
    /// The first one that is out of its range.
    pub fn build(self) -> Result<Limits, InvalidSetting> {
        let limits = self.0;
        check("queue_count", limits.queue_count, 1..=1_000_000_000)?;
        check("queue_bytes", limits.queue_bytes, 32_768..=1 << 40)?;
        check("prekeys", limits.prekeys, 1..=1_000_000)?;
        check("devices", limits.devices, 1..=1000)?;
        Ok(limits)
    }
}

/// A setting is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, outside {min}..={max}")]
pub struct InvalidSetting {
    /// Which setting.
    pub field: &'static str,
    /// What it was to be.
    pub value: u64,
    /// The least that it may be.
    pub min: u64,
    /// The most that it may be.
    pub max: u64,
}

pub(crate) fn check(
    field: &'static str,
    value: u64,
    range: RangeInclusive<u64>,
) -> Result<(), InvalidSetting> {
    let (min, max) = range.into_inner();
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(InvalidSetting { field, value, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Limits::builder().build(), Ok(Limits::default()));
    }

    #[test]
    fn an_error_names_the_field_the_value_and_the_range() {
        let error = Limits::builder().devices(0).build().unwrap_err();
        assert_eq!(error.to_string(), "devices is 0, outside 1..=1000");
    }

    #[test]
    fn every_limit_is_checked() {
        let builder = Limits::builder;
        for (field, builder) in [
            ("queue_count", builder().queue_count(0)),
            ("queue_bytes", builder().queue_bytes(32_767)),
            ("prekeys", builder().prekeys(0)),
            ("devices", builder().devices(1001)),
        ] {
            assert_eq!(builder.build().map_err(|error| error.field), Err(field));
        }
    }
}
