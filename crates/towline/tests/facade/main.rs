//! Endpoints and sessions as an application sees them.
//!
//! Time is virtual wherever it matters: the transport is memory, the clock is paused and jumps to the next
//! deadline. Only what needs real sockets or real threads runs in real time.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod aborts;
mod bare;
mod ends;
mod framing;
mod handshake;
mod hostile;
mod lifetime;
mod messages;
mod pressure;
mod scheduling;
mod streams;
mod stress;
mod support;
