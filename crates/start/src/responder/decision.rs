//! A decision that cannot be forgotten.

use std::fmt;
use std::hash::Hash;
use std::time::Instant;

use towline_wire::Tag;
use towline_wire::start::ErrorReason;

use super::{IncomingId, Responder};

/// The decision about one request. Dropping it refuses the request, as an unknown error.
///
/// For callers that decide on the spot. One that has to wait in between keeps the [`IncomingId`] and
/// calls [`Responder::accept`] or [`Responder::refuse`] later.
#[must_use = "dropping the decision refuses the request"]
pub struct Decision<'a, P: Copy + Eq + Hash + fmt::Debug> {
    responder: &'a mut Responder<P>,
    now: Instant,
    id: IncomingId,
}

impl<'a, P: Copy + Eq + Hash + fmt::Debug> Decision<'a, P> {
    /// The request must be undecided; it stays so as long as the decision borrows the responder.
    pub(super) fn new(responder: &'a mut Responder<P>, now: Instant, id: IncomingId) -> Self {
        Self { responder, now, id }
    }

    /// Grants the session and returns its id.
    pub fn accept(self) -> Tag {
        self.responder.accept(self.now, self.id).expect("nobody else can have decided meanwhile")
    }

    /// Refuses the session.
    pub fn refuse(self, reason: ErrorReason) {
        self.responder
            .refuse(self.now, self.id, reason)
            .expect("nobody else can have decided meanwhile");
    }
}

impl<P: Copy + Eq + Hash + fmt::Debug> Drop for Decision<'_, P> {
    fn drop(&mut self) {
        //= docs/spec/start.md#decision
        //# A responder MUST refuse a request that its application drops, with the reason "unknown
        //# error".
        // After a decision this finds nothing left to refuse, which is as it should be.
        let _ = self.responder.refuse(self.now, self.id, ErrorReason::UNKNOWN);
    }
}

impl<P: Copy + Eq + Hash + fmt::Debug> fmt::Debug for Decision<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision").field("id", &self.id).finish_non_exhaustive()
    }
}
