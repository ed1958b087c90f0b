//! One session of a scenario: its plan, its two ends, and what the observer knows of it.

use std::time::Instant;

use towline_start::{Liveness, RequestId};
use towline_wire::Tag;

use crate::flow::Flow;
use crate::peer::Peer;
use crate::scenario::plan::SessionPlan;
use crate::session::Excuses;

/// The sides of a session, and the directions that lead away from them.
pub(super) const ENTRY: usize = 0;
pub(super) const EXIT: usize = 1;

pub(super) struct Meeting {
    pub(super) plan: SessionPlan,
    pub(super) ends: [Option<End>; 2],
    pub(super) request: Option<RequestId>,
    pub(super) tag: Option<Tag>,
    /// The request led to no session.
    pub(super) failed: bool,
    /// The request and its answers.
    pub(super) asking: Flow,
    /// Data since the exit granted the session, and what counts as a sign of life.
    pub(super) data: Flow,
    pub(super) life: Flow,
    pub(super) excuses: Excuses,
    /// When an end last opened, when its application last does anything, and when an end was last over.
    pub(super) opened_at: Instant,
    pub(super) planned_until: Instant,
    pub(super) over_at: Instant,
}

pub(super) struct End {
    pub(super) peer: Peer,
    pub(super) liveness: Option<Liveness>,
    /// It may have something to do.
    pub(super) dirty: bool,
    /// It is drained and its application has taken everything.
    pub(super) over: bool,
}

impl End {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let liveness = self.liveness.as_ref().filter(|_| !self.peer.connection.is_closed());
        self.peer.poll_timeout().into_iter().chain(liveness.map(Liveness::poll_timeout)).min()
    }
}

impl Meeting {
    pub(super) fn new(now: Instant, plan: SessionPlan, stuck: bool) -> Self {
        Self {
            plan,
            ends: [None, None],
            request: None,
            tag: None,
            failed: false,
            asking: Flow::new(now),
            data: Flow::new(now),
            life: Flow::new(now),
            excuses: Excuses { stuck, ..Excuses::default() },
            opened_at: now,
            planned_until: now,
            over_at: now,
        }
    }

    /// Ends that have something to do now or later.
    pub(super) fn open_ends(&self) -> impl Iterator<Item = &End> {
        self.ends.iter().flatten().filter(|end| !end.over)
    }

    /// Whether nothing will happen to the session any more.
    pub(super) fn is_over(&self) -> bool {
        let opened = self.ends.iter().flatten().count() > 0;
        (opened || self.failed) && self.open_ends().next().is_none()
    }
}
