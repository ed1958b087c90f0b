//! What the tests of this crate share.

use std::time::{Duration, Instant};

use towline_wire::start::{Capabilities, Cbor};
use towline_wire::{Dialect, Mtu};

use crate::{Config, ConfigBuilder, Request, Seed};

pub(crate) const DIALECT: Dialect = Dialect::Rfc0007;

/// The time at which every test starts; from there on time only goes where the test moves it.
#[allow(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
pub(crate) fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

pub(crate) fn at(seconds: f64) -> Instant {
    epoch() + Duration::from_secs_f64(seconds)
}

pub(crate) fn builder() -> ConfigBuilder {
    Config::builder(DIALECT, Mtu::new(1000).unwrap()).seed(Seed([1; 32]))
}

pub(crate) fn request() -> Request {
    Request {
        capabilities: Capabilities::RELIABLE,
        additional_data: 0,
        target: Cbor::new("127.0.0.1:8080").unwrap(),
    }
}

/// The seeds of a random test: `count` of them from 0, or the one in `TOWLINE_SEED`.
///
/// Each is printed when its turn comes, so the last one printed is the one that failed.
#[allow(clippy::print_stdout, reason = "the test runner shows it when the test fails")]
pub(crate) fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let given = std::env::var("TOWLINE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = given.map_or(0..count, |seed: u64| seed..seed + 1);
    seeds.inspect(|seed| println!("TOWLINE_SEED={seed}"))
}
