//! The packets under way, in order of arrival.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

/// A queue by time of arrival; packets that arrive at the same time come out as they went in.
///
/// Most links keep most packets in order, and those stay out of the heap.
#[derive(Debug)]
pub(crate) struct InFlight<P> {
    /// Sorted by arrival.
    ordered: VecDeque<Flight<P>>,
    /// The packets that did not fit at the end of `ordered`.
    rest: BinaryHeap<Reverse<Flight<P>>>,
    pushed: u64,
}

/// A packet under way.
#[derive(Debug)]
struct Flight<P> {
    arrival: Instant,
    /// Position among everything ever pushed.
    position: u64,
    sequence: u64,
    packet: P,
}

impl<P> InFlight<P> {
    pub(crate) fn new() -> Self {
        Self { ordered: VecDeque::new(), rest: BinaryHeap::new(), pushed: 0 }
    }

    /// Adds the packet with the given number; `held_back` expects that others will overtake it.
    pub(crate) fn push(&mut self, arrival: Instant, sequence: u64, packet: P, held_back: bool) {
        let flight = Flight { arrival, position: self.pushed, sequence, packet };
        self.pushed += 1;
        // Held back packets would block the end of the sorted queue for those that overtake them.
        if !held_back && self.ordered.back().is_none_or(|last| last.arrival <= arrival) {
            self.ordered.push_back(flight);
        } else {
            self.rest.push(Reverse(flight));
        }
    }

    /// Returns when the next packet arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        let ordered = self.ordered.front().map(|flight| flight.arrival);
        let rest = self.rest.peek().map(|Reverse(flight)| flight.arrival);
        match (ordered, rest) {
            (Some(ordered), Some(rest)) => Some(ordered.min(rest)),
            (one, other) => one.or(other),
        }
    }

    /// Takes the next packet that has arrived, with its number.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(u64, P)> {
        let from_rest = match (self.ordered.front(), self.rest.peek()) {
            (Some(ordered), Some(Reverse(rest))) => rest < ordered,
            (ordered, _) => ordered.is_none(),
        };
        let flight = if from_rest {
            let due = self.rest.peek().is_some_and(|Reverse(flight)| flight.arrival <= now);
            due.then(|| self.rest.pop()).flatten().map(|Reverse(flight)| flight)
        } else {
            let due = self.ordered.front().is_some_and(|flight| flight.arrival <= now);
            due.then(|| self.ordered.pop_front()).flatten()
        };
        flight.map(|flight| (flight.sequence, flight.packet))
    }
}

impl<P> Flight<P> {
    fn key(&self) -> (Instant, u64) {
        (self.arrival, self.position)
    }
}

impl<P> PartialEq for Flight<P> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<P> Eq for Flight<P> {}

impl<P> PartialOrd for Flight<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Flight<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
