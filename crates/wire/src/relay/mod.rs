//! Message relay, in two dialects: that of the clients in the field, and the seed's.
//!
//! A relay keeps sealed messages for devices that are away, and the prekeys that it takes to seal them.
//! Each dialect is a module with an envelope, `Message`, and what it may hold, `Payload`; they share
//! what is the same on the wire. Nothing in a message tells the dialect: both ends must know it before.
//! `docs/protocol.md` has the fields with their numbers, and the exchange as a diagram.
//!
//! | module | spoken by | identity | device |
//! |---|---|---|---|
//! | [`deployed`] | clients in the field | [`Identity`], 32 bytes | any bytes |
//! | [`seed`] | the seed document | [`UserId`], 33 bytes | a number |
//!
//! A message is at most [`MAX_MESSAGE_LEN`] bytes, and its lists take little more than that in memory.
//! Fields are as the peer wrote them. Those that name somebody become an [`Identity`] or a [`UserId`];
//! whoever needs more, such as a nonce of 32 bytes, checks it where it matters.
//!
//! ```
//! use bytes::Bytes;
//! use towline_wire::relay::deployed::{Message, Payload, Register};
//!
//! let register = Register {
//!     signed_pre_key: Bytes::from_static(b"signed"),
//!     one_time_pre_keys: vec![Bytes::from_static(b"once")],
//! };
//! let message = Message { sequence: 2, payload: Some(Payload::Register(register)) };
//! let mut frame = Vec::new();
//! message.encode(&mut frame)?;
//! assert_eq!(Message::decode(frame.into())?, message);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod bounds;
mod common;
mod error_name;
mod identity;

pub mod deployed;
pub mod number;
pub mod seed;

use data_encoding::Encoding;

pub use bounds::{DecodeError, Excess, MAX_FIELDS, MAX_MESSAGE_LEN};
pub use error_name::{ErrorName, UnknownErrorName};
pub use identity::{Identity, InvalidIdentity, UserId};

/// How bytes are written for people and in names: base32, lower case, the highest bits first, unpadded.
pub const BASE32: Encoding = data_encoding_macro::new_encoding! {
    symbols: "ybndrfg8ejkmcpqxot1uw2sza345h769",
};
