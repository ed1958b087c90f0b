//! A queue of things that are due at some time.

use std::collections::BTreeMap;
use std::time::Instant;

/// What is due when, soonest first.
///
/// An entry never changes its place: to move it, remove it and insert it again. So every table that
/// owns a deadline per entry has exactly as many deadlines as entries, whatever peers make it do.
pub(crate) struct Deadlines<K> {
    queue: BTreeMap<Deadline, K>,
    next_serial: u64,
}

/// The place of one entry in its [`Deadlines`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    at: Instant,
    /// Tells apart what is due at the same time, in the order of insertion.
    serial: u64,
}

impl Deadline {
    pub(crate) fn at(self) -> Instant {
        self.at
    }
}

impl<K> Deadlines<K> {
    pub(crate) fn new() -> Self {
        Self { queue: BTreeMap::new(), next_serial: 0 }
    }

    pub(crate) fn insert(&mut self, at: Instant, key: K) -> Deadline {
        let deadline = Deadline { at, serial: self.next_serial };
        self.next_serial += 1;
        self.queue.insert(deadline, key);
        deadline
    }

    /// Takes a deadline back; one that has passed is no longer there, and that is fine.
    pub(crate) fn remove(&mut self, deadline: Deadline) {
        self.queue.remove(&deadline);
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(deadline, _)| deadline.at)
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now { None } else { self.pop_first() }
    }

    pub(crate) fn pop_first(&mut self) -> Option<K> {
        self.queue.pop_first().map(|(_, key)| key)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::epoch;

    #[test]
    fn what_is_due_comes_out_soonest_first_and_ties_in_order_of_insertion() {
        let (soon, late) = (epoch(), epoch() + Duration::from_secs(1));
        let mut deadlines = Deadlines::new();
        for (at, key) in [(late, 'c'), (soon, 'a'), (soon, 'b')] {
            deadlines.insert(at, key);
        }
        let due: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(soon)).collect();
        assert_eq!(due, ['a', 'b']);
        assert_eq!(deadlines.next(), Some(late));
    }

    #[test]
    fn removed_deadlines_do_not_come_out() {
        let mut deadlines = Deadlines::new();
        let removed = deadlines.insert(epoch(), 'a');
        deadlines.insert(epoch(), 'b');
        deadlines.remove(removed);
        assert_eq!(deadlines.pop_due(epoch()), Some('b'));
        assert_eq!(deadlines.len(), 0);
    }
}
