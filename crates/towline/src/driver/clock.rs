//! The deadlines of all sessions, and the one timer that serves them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use super::SessionKey;

pub(super) struct Clock {
    /// Deadlines are soft: one that has moved stays here, comes too early and does no harm. A session
    /// adds one only when it is earlier than the one it has, so there are few more than sessions.
    deadlines: BinaryHeap<Reverse<(Instant, SessionKey)>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { deadlines: BinaryHeap::new(), sleep: None }
    }

    /// The runtime's time, which tests can pause.
    pub(super) fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    pub(super) fn arm(&mut self, at: Instant, key: SessionKey) {
        self.deadlines.push(Reverse((at, key)));
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<SessionKey> {
        let Reverse((at, key)) = *self.deadlines.peek()?;
        if at > now {
            return None;
        }
        self.deadlines.pop();
        Some(key)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
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
