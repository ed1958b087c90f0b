//! The configuration of the random tests, and what all protocols draw from.

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use bytes::Bytes;
use proptest::prelude::*;
#[cfg(any(feature = "data", feature = "start"))]
use proptest::sample::select;
use proptest::test_runner::RngSeed;
#[cfg(any(feature = "data", feature = "start"))]
use towline_wire::Dialect;

/// The configuration of every random test in here: one seed, printed beside what fails.
pub(crate) fn config() -> ProptestConfig {
    static SEED: OnceLock<u64> = OnceLock::new();
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(*SEED.get_or_init(|| RandomState::new().hash_one(())));
    }
    eprintln!("PROPTEST_RNG_SEED={}", config.rng_seed);
    config
}

#[cfg(any(feature = "data", feature = "start"))]
pub(crate) fn dialects() -> impl Strategy<Value = Dialect> {
    select(&Dialect::ALL)
}

/// Any bytes, of which zeros and small numbers are many: they come further than noise does.
pub(crate) fn noise(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![2 => Just(0), 2 => 0_u8..8, 1 => any::<u8>()];
    prop_oneof![
        proptest::collection::vec(byte, 0..=max),
        proptest::collection::vec(any::<u8>(), 0..=max),
    ]
}

/// A message of any type whose header is right and whose payload is noise.
#[cfg(any(feature = "data", feature = "start"))]
pub(crate) fn with_right_header(version: u8, types: u8) -> impl Strategy<Value = Bytes> {
    (0..types, noise(80)).prop_map(move |(kind, payload)| {
        let length = (payload.len() as u16).to_be_bytes();
        [&[version, kind][..], &length, &payload].concat().into()
    })
}

/// Copies of `bytes` with one bit flipped, and with one byte replaced by values that the formats care
/// about: everywhere in short messages, in the first and last 64 bytes of long ones.
pub(crate) fn damaged(bytes: &[u8]) -> impl Iterator<Item = (String, Bytes)> + '_ {
    const VALUES: [u8; 6] = [0x00, 0x01, 0x40, 0x7f, 0x80, 0xff];
    let edge = if bytes.len() <= 1500 { bytes.len() } else { 64 };
    let positions = (0..bytes.len()).filter(move |&at| at < edge || at + edge >= bytes.len());
    positions.flat_map(move |at| {
        let flipped = (0..8).map(move |bit| bytes[at] ^ (1 << bit));
        flipped.chain(VALUES).filter(move |&value| value != bytes[at]).map(move |value| {
            let mut damaged = bytes.to_vec();
            damaged[at] = value;
            (format!("byte {at} is {value:#04x}"), damaged.into())
        })
    })
}

/// Fails with all of what went wrong at once.
pub(crate) fn assert_none<T: Display>(failures: impl IntoIterator<Item = T>) {
    let failures: Vec<_> = failures.into_iter().map(|failure| failure.to_string()).collect();
    let shown = &failures[..failures.len().min(40)];
    assert!(failures.is_empty(), "{} failures, of which\n{}", failures.len(), shown.join("\n"));
}
