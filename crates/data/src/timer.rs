//! The deadlines of a connection: a small table, its minimum found by a scan.

use std::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Pending acknowledgements are due.
    Acknowledge,
    /// A gap may have outlasted reordering, or a request its answer.
    Request,
    /// Frames wait for their acknowledgement for suspiciously long.
    Probe,
    /// The pacer lets the next datagram go.
    Pace,
    /// An unreliable reader gives up on a gap.
    Skip,
    /// The peer owes something and shows no life.
    Idle,
    /// All is over but for answering the peer's duplicates, or a literal peer's silence.
    Linger,
}

impl Timer {
    const COUNT: usize = Self::Linger as usize + 1;
}

/// Deadlines are soft: one that comes too early finds nothing to do and sets itself anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers([Option<Instant>; Timer::COUNT]);

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    /// Sets the deadline unless an earlier one stands.
    pub(crate) fn set_no_later(&mut self, timer: Timer, at: Instant) {
        let slot = &mut self.0[timer as usize];
        if slot.is_none_or(|standing| at < standing) {
            *slot = Some(at);
        }
    }

    /// Sets the deadline unless any stands.
    pub(crate) fn set_if_unset(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize].get_or_insert(at);
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(crate) fn clear_all(&mut self) {
        self.0 = [None; Timer::COUNT];
    }

    /// Whether the deadline has passed; if so it is cleared.
    pub(crate) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        let slot = &mut self.0[timer as usize];
        let expired = slot.is_some_and(|at| at <= now);
        if expired {
            *slot = None;
        }
        expired
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }
}
