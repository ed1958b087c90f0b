//! Harnesses that put the protocol's machines under random input, on virtual time.
//!
//! | function | input | what it drives |
//! |---|---|---|
//! | [`decode_start`], [`decode_data`], [`decode_relay`] | bytes | the codecs: what decodes encodes to the same |
//! | [`connection_ops`] | bytes as operations | one connection against a model of both its directions |
//! | [`relay_connection`] | bytes as clients and a store | a few connections of the message relay over one store |
//! | [`two_peers`] | bytes as a network and two applications | two connections, to their end |
//! | [`scenario`] | a seed | handshakes and sessions of several nodes over random paths, to their end |
//!
//! All but the last panic where the machines break a rule, and return otherwise, whatever their input. The
//! fuzz targets under `fuzz/` call them and do nothing else; this crate's tests call them with random bytes
//! and with the committed corpus. The last one is what the program `towline-simulate` runs by the thousand.
//!
//! # What sessions are held to
//!
//! - Reliable delivery has no hole, no duplicate and no other bytes than were sent, and is in order if that
//!   was agreed; unreliable delivery has no duplicate and no other bytes, and is in order likewise.
//! - A good end means that everything arrived. An end with an error has an excuse: an abort, a path that
//!   nothing fitted or a reader that paused, a limit that was configured, or silence in which the network
//!   has swallowed what should have broken it. The observer knows which datagrams were lost, so a machine
//!   that falls silent by itself has no excuse.
//! - One side may time out although everything arrived both ways and the other ended well: when the last
//!   acknowledgements are lost, nobody can help that. Those ends are counted, as [`Outcome::TwoGenerals`].
//! - Memory, windows and datagrams stay within their bounds, nothing spins while the clock stands, every
//!   session ends in time, and nothing is left of it: no deadline, no buffered data, no slot.
//!
//! Where flipped bits are delivered unnoticed, bytes may differ and sessions may end in any way, since the
//! protocol leaves checksums to the transport (RFC-0007, 7.1). What holds then: nothing panics, every frame
//! id is delivered once and in its order, bounds hold, and every session ends. Most corruption is detected
//! and dropped, as UDP does it, and excuses nothing but the loss.

mod choice;
mod connection_ops;
mod decode;
mod fault;
mod flow;
mod link;
mod payload;
mod peer;
mod relay_connection;
mod scenario;
mod session;
mod two_peers;
mod violation;
mod wire;

pub use connection_ops::connection_ops;
pub use decode::{decode_data, decode_relay, decode_start};
pub use fault::{Fault, UnknownFault};
pub use relay_connection::relay_connection;
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
