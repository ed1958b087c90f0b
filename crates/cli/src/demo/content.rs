//! What is downloaded: random bytes that can be had again.

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Bytes that are made at a time.
const CHUNK: u64 = 64 * 1024;

/// A number of random bytes.
#[derive(Clone)]
pub(super) struct Content {
    seed: u64,
    bytes: u64,
}

impl Content {
    pub(super) fn new(seed: u64, bytes: u64) -> Self {
        Self { seed, bytes }
    }

    /// All of it, piece by piece; the same every time.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut left = self.bytes;
        std::iter::from_fn(move || {
            let length = left.min(CHUNK);
            left -= length;
            let mut chunk = vec![0; length as usize];
            random.fill_bytes(&mut chunk);
            (length > 0).then(|| chunk.into())
        })
    }

    pub(super) fn sha256(&self) -> [u8; 32] {
        let mut sha256 = Sha256::new();
        self.chunks().for_each(|chunk| sha256.update(&chunk));
        sha256.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_its_length_and_repeats_itself() {
        let content = Content::new(1, CHUNK + 1);
        assert_eq!(content.chunks().map(|chunk| chunk.len() as u64).sum::<u64>(), CHUNK + 1);
        assert_eq!(content.sha256(), content.sha256());
        assert_ne!(content.sha256(), Content::new(2, CHUNK + 1).sha256());
    }
}
