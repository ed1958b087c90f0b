//! How many there are of each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// Numbers that are kept as long as they are not zero.
#[derive(Debug)]
pub(super) struct Tally<K> {
    of_each: HashMap<K, usize>,
    all: usize,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { of_each: HashMap::new(), all: 0 }
    }
}

impl<K: Hash + Eq> Tally<K> {
    pub(super) fn of(&self, key: &K) -> usize {
        self.of_each.get(key).copied().unwrap_or(0)
    }

    pub(super) fn all(&self) -> usize {
        self.all
    }

    /// One more.
    pub(super) fn add(&mut self, key: K) {
        *self.of_each.entry(key).or_default() += 1;
        self.all += 1;
    }

    /// One less, if there is one.
    pub(super) fn take(&mut self, key: K) {
        if let Entry::Occupied(mut of_key) = self.of_each.entry(key) {
            *of_key.get_mut() -= 1;
            self.all -= 1;
            if *of_key.get() == 0 {
                of_key.remove();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn kinds(&self) -> usize {
        self.of_each.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_down_to_zero_is_forgotten() {
        let mut tally = Tally::default();
        for key in ["a", "b", "a"] {
            tally.add(key);
        }
        assert_eq!((tally.of(&"a"), tally.of(&"b"), tally.of(&"c"), tally.all()), (2, 1, 0, 3));
        for key in ["a", "b", "c"] {
            tally.take(key);
        }
        assert_eq!((tally.of(&"a"), tally.all(), tally.kinds()), (1, 1, 1));
    }
}
