//! What frames contain.

use std::sync::LazyLock;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// More than the longest frame.
const POOL: usize = 1 << 20;

static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut noise = vec![0; POOL];
    ChaCha8Rng::seed_from_u64(0x0007).fill_bytes(&mut noise);
    noise.into()
});

/// Data that differs from that of another `salt` at every place, without a copy.
pub(crate) fn payload(len: usize, salt: u32) -> Bytes {
    let start = salt.wrapping_mul(2_654_435_761) as usize % (POOL - len);
    NOISE.slice(start..start + len)
}
