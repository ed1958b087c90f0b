//! Harnesses that put the protocol's machines under random input, on virtual time.
//!
//! | function | input | what it drives |
//! |---|---|---|
//! | [`decode_start`], [`decode_data`] | bytes | the codecs: what decodes encodes to the same |
//! | [`connection_ops`] | bytes as operations | one connection against a model of both its directions |
//! | [`two_peers`] | bytes as a network and two applications | two connections, to their end |
//!
//! A harness panics where the machines break a rule, and returns otherwise, whatever its input. The fuzz
//! targets under `fuzz/` call these functions and nothing else; this crate's tests call them with random
//! bytes and with the committed corpus.

mod choice;
mod connection_ops;
mod decode;
mod fault;
mod flow;
mod link;
mod payload;
mod peer;
mod scenario;
mod session;
mod two_peers;
mod violation;
mod wire;

pub use connection_ops::connection_ops;
pub use decode::{decode_data, decode_start};
pub use fault::{Fault, UnknownFault};
pub use scenario::{Failure, Report, Scenario, scenario};
pub use session::Outcome;
pub use two_peers::two_peers;
pub use violation::Violation;

use std::time::Instant;

/// Some instant: virtual time starts here and moves by the harness's hand alone.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
fn epoch() -> Instant {
    Instant::now()
}
