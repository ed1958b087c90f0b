//! Decisions: made by the bytes of an input or by a seed.

use arbitrary::Unstructured;
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Something that decides.
pub(crate) trait Choose {
    /// A number from `low` to `high`, both included.
    fn number(&mut self, low: usize, high: usize) -> usize;

    /// One of several.
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.number(0, choices.len() - 1)]
    }

    /// Whether something happens that happens in so many of a hundred cases.
    fn chance(&mut self, percent: usize) -> bool {
        self.number(0, 99) >= 100 - percent
    }
}

/// Decisions of an input; when it is used up, each is the first of its choices, and no chance is taken.
pub(crate) struct Choices<'a> {
    input: Unstructured<'a>,
}

impl<'a> Choices<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input: Unstructured::new(input) }
    }

    /// Whether every decision from here on is the default one.
    pub(crate) fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.input.arbitrary().unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Up to `most` of the next bytes, as they are.
    pub(crate) fn bytes(&mut self, most: usize) -> Bytes {
        let len = self.number(0, most).min(self.input.len());
        Bytes::copy_from_slice(self.input.bytes(len).unwrap_or_default())
    }

    /// All that is left, as it is.
    pub(crate) fn rest(self) -> Bytes {
        Bytes::copy_from_slice(self.input.take_rest())
    }
}

impl Choose for Choices<'_> {
    fn number(&mut self, low: usize, high: usize) -> usize {
        self.input.int_in_range(low..=high).unwrap_or(low)
    }
}

/// Decisions of a seed: the same on every machine.
pub(crate) struct Seeded(ChaCha8Rng);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0.next_u64()
    }
}

impl Choose for Seeded {
    fn number(&mut self, low: usize, high: usize) -> usize {
        let span = (high - low) as u128 + 1;
        low + ((u128::from(self.word()) * span) >> 64) as usize
    }
}
