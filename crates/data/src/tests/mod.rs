//! Two connections, a virtual clock and a network between them.

mod pair;
mod transfer;

use std::time::Instant;

/// Some instant: the tests' clock starts here and moves by their hand alone.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
