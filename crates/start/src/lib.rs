//! The session-start handshake (RFC-0007, 4.2) as pure state machines.
//!
//! | type | job |
//! |---|---|
//! | [`Initiator`] | asks peers for sessions |
//! | [`Responder`] | admits requests, has the application decide, and keeps the slots |
//! | [`Liveness`] | keeps one established session alive, on either side, and notices when it is dead |
//!
//! There is no socket, task, lock or clock in here. Time is an argument; random numbers come from a
//! cryptographically secure generator, seeded by the operating system or by the [`Config`].
//!
//! # The law
//!
//! Feed one input (`connect`, `accept`, a message, a timeout), then poll transmits, events and the timeout
//! until dry, then wait. Extra polls and early timeouts are harmless. What peers send never panics, never
//! touches another peer's session, and never makes memory grow past a bound of the [`Config`].
//!
//! # One session's states
//!
//! ```text
//!          Initiator                                              Responder
//!
//!       connect │                                                     │ StartSession
//!               ▼            StartSession (repeated)                  ▼        over rate, half-open
//!     ┌───────────────────┐ ─────────────────────────────▶    ┌──────────────┐ or slots: refused, and
//!     │      asking       │                                   │   undecided  │ nothing is kept
//!     └───────────────────┘ ◀─────────────────────────────    └──────────────┘
//!       │       │       │    SessionEstablished (repeated       │           │ refuse, or no decision
//!       │       │       │    for each repeated request)  accept │           │ in time: SessionError
//!       │       │ SessionError                                  ▼           ▼
//!       │       ▼       │                                   ┌────────────┐ refused: remembered
//!       │    refused    │ no answer: timed out              │ half-open  │ for a while
//!       ▼               ▼                                   └────────────┘
//!     ┌───────────────────┐    KeepAlive (repeated for        │           │ no life in time:
//!     │      granted      │    each repeated answer)          │ life      │ dropped
//!     └───────────────────┘ ─────────────────────────────▶    ▼           ▼
//!       │  Liveness::entry                                  ┌────────────┐
//!       ▼                                                   │ confirmed  │ Liveness::exit
//!     forgotten; the session goes on                        └────────────┘
//!                                                             │ release
//!                                                             ▼
//!                                                           slot free
//! ```
//!
//! # How a handshake survives loss
//!
//! - The request is lost, or its answer: the initiator repeats the request with the same challenge, and
//!   the responder repeats the answer with the same id.
//! - The first keep-alive is lost: the entry's [`Liveness`] repeats it until the exit shows life, and the
//!   initiator sends it again for each repeated answer. Data confirms a session as well.
//!
//! # Both machines in memory
//!
//! ```
//! use std::time::Instant;
//!
//! use towline_start::{Config, Initiator, InitiatorEvent, Request, Responder, ResponderEvent};
//! use towline_wire::start::{Capabilities, Cbor, Message};
//! use towline_wire::{Dialect, Mtu};
//!
//! let config = Config::builder(Dialect::Rfc0007, Mtu::new(1018)?).build()?;
//! let mut entry = Initiator::new(&config)?;
//! let mut exit = Responder::new(&config)?;
//! let now = Instant::now();
//!
//! let target = Cbor::new("127.0.0.1:8080")?;
//! entry.connect(
//!     now,
//!     "exit",
//!     Request { capabilities: Capabilities::RELIABLE, additional_data: 0, target },
//! )?;
//! let mut opened = None;
//! loop {
//!     let mut dry = true;
//!     while let Some((_peer, message)) = entry.poll_transmit() {
//!         dry = false;
//!         match message {
//!             Message::StartSession(request) => exit.handle_start_session(now, "entry", request)?,
//!             Message::KeepAlive(message) => drop(exit.handle_keep_alive("entry", &message)?),
//!             _ => unreachable!("an initiator sends nothing else"),
//!         }
//!     }
//!     while let Some(event) = exit.poll_event() {
//!         match event {
//!             ResponderEvent::Incoming(incoming) => opened = Some(exit.accept(now, incoming.id)?),
//!             ResponderEvent::Confirmed { tag, .. } => assert_eq!(Some(tag), opened),
//!             other => unreachable!("{other:?}"),
//!         }
//!     }
//!     while let Some((_peer, message)) = exit.poll_transmit() {
//!         dry = false;
//!         match message {
//!             Message::SessionEstablished(answer) => entry.handle_established(now, "exit", &answer)?,
//!             Message::SessionError(answer) => entry.handle_error("exit", &answer)?,
//!             // The exit's first sign of life belongs to the session: `Liveness::heard`.
//!             Message::KeepAlive(_) => {}
//!             Message::StartSession(_) => unreachable!("a responder asks for nothing"),
//!         }
//!     }
//!     while let Some(event) = entry.poll_event() {
//!         let InitiatorEvent::Established { session_id, .. } = event else { unreachable!() };
//!         assert_eq!(towline_start::session_tag(&session_id), opened);
//!     }
//!     if dry {
//!         break;
//!     }
//! }
//! assert_eq!(exit.stats().confirmed, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod config;
mod deadlines;
mod ignored;
mod initiator;
mod liveness;
mod message;
mod randomness;
mod rate;
mod responder;
mod turned_away;

#[cfg(test)]
mod flood;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;

pub use config::{Config, ConfigBuilder, ConfigError};
pub use ignored::Ignored;
pub use initiator::{
    ConnectError, Initiator, InitiatorEvent, InitiatorStats, RequestError, RequestId,
};
pub use liveness::{Liveness, LivenessAction};
pub use message::{Request, keep_alive, session_id, session_tag};
pub use randomness::{NoRandomness, Seed};
pub use rate::Rate;
pub use responder::{
    AlreadyDecided, Decision, Incoming, IncomingId, Responder, ResponderEvent, ResponderStats,
};
