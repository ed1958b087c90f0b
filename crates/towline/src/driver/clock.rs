//! The deadlines of all sessions, and the one timer that serves them.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use super::Place;

pub(super) struct Clock {
    /// At most one for each session, however often its deadline moves.
    ///
    /// Deadlines are soft: one that has moved back stays, comes too early and does no harm.
    deadlines: BTreeSet<(Instant, Place)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { deadlines: BTreeSet::new(), sleep: None }
    }

    /// The runtime's time, which tests can pause.
    pub(super) fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Sees to it that a session is due at `at` or earlier; `armed` is what it was due at until now.
    pub(super) fn arm(&mut self, armed: &mut Option<Instant>, at: Instant, place: Place) {
        if armed.is_none_or(|armed| at < armed) {
            self.disarm(armed.replace(at), place);
            self.deadlines.insert((at, place));
        }
    }

    /// Forgets what a session was due at.
    pub(super) fn disarm(&mut self, armed: Option<Instant>, place: Place) {
        if let Some(armed) = armed {
            self.deadlines.remove(&(armed, place));
        }
    }

    /// A session that is due, which it then no longer is.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Place> {
        let &(at, place) = self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(place)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Ready as soon as `deadline` has passed; never, without one.
    pub(super) fn poll_until(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_session_has_one_deadline_however_often_it_moves() {
        let mut clock = Clock::new();
        let start = Instant::now();
        let mut armed = None;
        for early in 0..100 {
            clock.arm(&mut armed, start + MS * (200 - early), 7);
            clock.arm(&mut armed, start + MS * 1000, 7);
        }
        assert_eq!(clock.deadlines.len(), 1);
        assert_eq!(clock.next(), Some(start + MS * 101));
    }

    #[test]
    fn sessions_are_due_in_the_order_of_their_deadlines() {
        let mut clock = Clock::new();
        let start = Instant::now();
        clock.arm(&mut None, start + MS * 2, 1);
        clock.arm(&mut None, start + MS, 2);
        clock.arm(&mut None, start + MS * 3, 3);
        let due = std::iter::from_fn(|| clock.pop_due(start + MS * 2));
        assert_eq!(due.collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_session_that_is_gone_is_never_due() {
        let mut clock = Clock::new();
        let start = Instant::now();
        let mut armed = None;
        clock.arm(&mut armed, start, 1);
        clock.disarm(armed, 1);
        assert_eq!(clock.pop_due(start + MS), None);
    }
}
