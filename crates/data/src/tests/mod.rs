//! Two connections, a virtual clock and a network between them.
//!
//! | file | what it asks |
//! |---|---|
//! | `matrix` | does every combination of settings get everything across a bad path, and come to an end? |
//! | `recovery` | is every single kind of loss made good, as soon as it can be? |
//! | `ending` | does every way to end a session end it, on both sides, with the right verdict? |
//! | `slow_reader` | does a reader that pauses stop the sender, cheaply and for as long as it likes? |
//! | `unreliable` | does the unreliable reader neither wait too long nor believe too much? |
//! | `law` | are extra polls harmless, and the calls safe in any order? |
//! | `fixed` | does the fixed timing follow the letter? |
//! | `hostile` | what can a peer do that means harm? |
//! | `speed` | is the rate what the path allows, fair, and the queue short? |
//! | `delay` | do messages arrive soon although some are lost? |
//! | `model` | does the receive window agree with a simple model of it? |
//! | `deployed` | do peers of the deployed implementation get what they can bear? |

mod pair;
mod random;

mod delay;
mod deployed;
mod ending;
mod fixed;
mod hostile;
mod law;
mod loss_based;
mod matrix;
mod model;
mod recovery;
mod slow_reader;
mod speed;
mod unreliable;

use std::time::Instant;

/// Some instant: the tests' clock starts here and moves by their hand alone.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
