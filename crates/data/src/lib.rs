//! The session data plane as a pure state machine (RFC-0007, 4.3 to 4.9).
//!
//! A [`Connection`] is one end of a session: frames in on one side, datagrams out on the other, and
//! back. It knows no socket, no task and no clock; whoever drives it passes datagrams and the time in
//! and polls datagrams, events and the next deadline out.
//!
//! # The law
//!
//! Feed one input ([`handle_datagram`], [`handle_timeout`], or a call of the application), then poll
//! [`poll_transmit`], [`poll_event`] and [`poll_timeout`] until dry, then wait for the next input or for
//! the deadline. Extra polls and early timeouts are harmless. What a peer sends never panics, and
//! never makes memory grow past what the [`Config`] allows.
//!
//! [`handle_datagram`]: Connection::handle_datagram
//! [`handle_timeout`]: Connection::handle_timeout
//! [`poll_transmit`]: Connection::poll_transmit
//! [`poll_event`]: Connection::poll_event
//! [`poll_timeout`]: Connection::poll_timeout
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use bytes::Bytes;
//! use towline_data::{Config, Connection};
//! use towline_wire::{Dialect, Mtu};
//!
//! let config = Arc::new(Config::builder(Dialect::Rfc0007, Mtu::new(1018)?).build()?);
//! let now = Instant::now();
//! let mut here = Connection::new(config.clone(), now);
//! let mut there = Connection::new(config, now);
//!
//! here.send_frame(now, Bytes::from_static(b"hello"))?;
//! let mut datagram = Vec::new();
//! while here.poll_transmit(now, 1, &mut datagram).is_some() {
//!     there.handle_datagram(now, Bytes::from(std::mem::take(&mut datagram)))?;
//! }
//! assert_eq!(there.recv_frame().unwrap().into_bytes(), "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acks;
mod bits;
mod config;
mod congestion;
mod connection;
mod event;
mod frame;
mod pacing;
mod rate;
mod recv;
mod rtt;
mod send;
mod stats;
mod timer;

pub use config::{Config, ConfigBuilder, ConfigError, Delivery, Mode, Timing};
pub use connection::Connection;
pub use event::{ConnectionError, Event, Ignored, SendError, Transmit};
pub use frame::Frame;
pub use stats::Stats;

#[cfg(test)]
mod tests;
