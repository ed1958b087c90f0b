//! Codecs of the session protocol and of the message relay: bytes to typed messages and back.
//!
//! There is no state, clock or I/O in here. A datagram is decoded whole and without copying its
//! payload; whatever a peer may send is answered by a [`DecodeError`], never by a panic, and never
//! by an allocation that the input does not justify.
//!
//! | module | protocol | feature |
//! |---|---|---|
//! | `start` | Session Start, version 2 (RFC-0007, 4.2) | `start` |
//! | `data` | Session Data, version 1 (RFC-0007, 4.3 to 4.6) | `data` |
//! | `relay` | message relay, both dialects; by itself, it knows nothing of the others | `relay` |
//!
//! Where the RFC text and deployed peers differ, [`Dialect`] says whose bytes are meant. A transport
//! that carries many sessions puts a [`Tag`] before each message.
//!
//! ```
//! # #[cfg(feature = "data")] {
//! use bytes::Bytes;
//! use towline_wire::data::{Codec, FrameId, Message, SegmentHeader};
//! use towline_wire::{Dialect, Mtu};
//!
//! let codec = Codec::new(Dialect::Rfc0007, Mtu::new(1018)?);
//! let mut datagram = Vec::new();
//! codec.encode_segment(SegmentHeader::single(FrameId::FIRST), b"hello", &mut datagram)?;
//! let Message::Segment(segment) = codec.decode(Bytes::from(datagram))? else { unreachable!() };
//! assert_eq!(segment.data, b"hello"[..]);
//! # }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![no_std]

#[cfg(any(feature = "data", feature = "relay", feature = "start"))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod dialect;
mod error;
#[cfg(any(feature = "data", feature = "start"))]
mod header;
mod mtu;
mod tag;

#[cfg(feature = "data")]
pub mod data;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "start")]
pub mod start;

pub use dialect::{Dialect, UnknownDialect};
pub use error::{DecodeError, EncodeError};
pub use mtu::{Mtu, MtuError};
pub use tag::{Tag, split_tag};

/// The protocol version of a message, its first byte, whatever the rest of it is.
///
/// Transports without tags tell Start from Data by it: [`START_VERSION`] or [`DATA_VERSION`].
#[must_use]
pub fn version(message: &[u8]) -> Option<u8> {
    message.first().copied()
}

/// Version of the Session Start protocol (RFC-0007, 4.2.2).
pub const START_VERSION: u8 = 0x02;

/// Version of the Session Data protocol (RFC-0007, 4.3).
pub const DATA_VERSION: u8 = 0x01;
