//! Session Start protocol, version 2 (RFC-0007, 4.2).
//!
//! A [`Message`] is decoded from one datagram and encoded into one, in a [`Dialect`]. Session targets
//! and session ids are any [`Cbor`] item.

mod capabilities;
mod cbor;
mod message;

pub use capabilities::Capabilities;
pub use cbor::{Cbor, CborError};
pub use message::{
    Challenge, ErrorReason, KeepAlive, KeepAliveFlags, Message, SessionError, SessionEstablished,
    StartSession,
};

#[cfg(doc)]
use crate::Dialect;
