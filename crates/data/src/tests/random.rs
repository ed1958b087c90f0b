//! Seeds: printed when a test fails, taken back from `TOWLINE_SEED`.

use std::env;

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Runs `test` for as many seeds as wanted: those from `TOWLINE_SEED` on or from 0 on, and `count` of
/// them, or `TOWLINE_SEEDS`, or the one that `TOWLINE_SEED` names.
pub(crate) fn for_each_seed(count: u64, mut test: impl FnMut(u64, &mut ChaCha8Rng)) {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    let first: Option<u64> = number("TOWLINE_SEED");
    let count = number("TOWLINE_SEEDS").unwrap_or(if first.is_some() { 1 } else { count });
    for seed in (0..count).map(|at| first.unwrap_or(0) + at) {
        let _seed = Seed(seed);
        test(seed, &mut ChaCha8Rng::seed_from_u64(seed));
    }
}

/// Prints itself when the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with TOWLINE_SEED={}", self.0);
        }
    }
}

/// One of several.
pub(crate) fn one_of<T: Copy>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

/// Data that is different for each `salt` and at each place.
pub(crate) fn payload(len: usize, salt: u32) -> Bytes {
    let bytes = |at: u32| at.wrapping_mul(2_654_435_761).wrapping_add(salt).to_le_bytes();
    (0..len).map(|at| bytes(at as u32 + 1)[at % 4]).collect()
}

/// `count` frames of `len` bytes, all different.
pub(crate) fn frames(count: u32, len: usize) -> Vec<Bytes> {
    (0..count).map(|salt| payload(len, salt)).collect()
}
