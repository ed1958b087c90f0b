//! The dialect of the seed document.
//!
//! Users are Ed25519 keys, devices numbers. A message is delivered bare, without one of its own.

use alloc::vec::Vec;

use bytes::Bytes;

use super::MAX_MESSAGE_LEN;
use super::bounds::{Bounds, codec};
pub use super::common::{Ack, AuthChallenge, AuthResponse, Error, PreKeysLow, Unregister};

/// The envelope: one WebSocket frame.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Message {
    /// The sender's count of what it began with, or of what the message answers. Zero is legal.
    #[prost(uint32, tag = "1")]
    pub sequence: u32,
    /// What is said; `None` for kinds that this version does not know, too.
    #[prost(oneof = "Payload", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub payload: Option<Payload>,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
pub enum Payload {
    /// Both ways: done, or received.
    #[prost(message, tag = "2")]
    Ack(Ack),
    /// From the relay: the request failed.
    #[prost(message, tag = "3")]
    Error(Error),
    /// From the relay, before anything else.
    #[prost(message, tag = "4")]
    AuthChallenge(AuthChallenge),
    /// To the relay, anonymous; answered with an [`Ack`].
    #[prost(message, tag = "5")]
    AuthResponse(AuthResponse),
    /// To the relay, authenticated; answered with an [`Ack`].
    #[prost(message, tag = "6")]
    Register(Register),
    /// To the relay, authenticated; answered with an [`Ack`].
    #[prost(message, tag = "7")]
    Unregister(Unregister),
    /// To the relay, anonymous; answered with one [`PreKey`] for each device.
    #[prost(message, tag = "8")]
    RequestPreKeys(RequestPreKeys),
    /// From the relay, with a sequence number of its own; nothing marks the last one.
    #[prost(message, tag = "9")]
    PreKey(PreKey),
    /// From the relay, authenticated; unasked.
    #[prost(message, tag = "10")]
    PreKeysLow(PreKeysLow),
    /// To the relay, anonymous; answered with an [`Ack`] once the message is safe.
    #[prost(message, tag = "11")]
    OutboundMessage(OutboundMessage),
    /// From the relay, authenticated: a sealed message as it was sent, again and again until it is
    /// acknowledged.
    #[prost(bytes = "bytes", tag = "12")]
    InboundMessage(Bytes),
}

/// A device of somebody.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Address {
    /// A [`UserId`](super::UserId).
    #[prost(bytes = "bytes", tag = "1")]
    pub user_id: Bytes,
    /// Any number, unique among the devices of the user.
    #[prost(uint32, tag = "2")]
    pub device_id: u32,
}

/// Who wants in, and to which challenge; sent within an [`AuthResponse`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Login {
    /// The device that logs in.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
    /// The nonce of the [`AuthChallenge`].
    #[prost(bytes = "bytes", tag = "2")]
    pub nonce: Bytes,
}

/// Deposits the device's prekeys: in place of those that are there, or beside them if the signed one
/// is the same.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Register {
    /// Handed on with the prekeys.
    #[prost(uint32, tag = "1")]
    pub registration_id: u32,
    /// Opaque.
    #[prost(bytes = "bytes", tag = "2")]
    pub signed_pre_key: Bytes,
    /// Opaque, each to be given away once.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub one_time_pre_keys: Vec<Bytes>,
}

/// Asks for the prekeys of somebody's devices.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RequestPreKeys {
    /// Whose: a [`UserId`](super::UserId).
    #[prost(bytes = "bytes", tag = "1")]
    pub user_id: Bytes,
    /// Devices to leave out.
    #[prost(uint32, repeated, tag = "2")]
    pub known_device_ids: Vec<u32>,
}

/// What it takes to begin a session with one device.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PreKey {
    /// Which device.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
    /// As it was registered.
    #[prost(uint32, tag = "2")]
    pub registration_id: u32,
    /// As it was registered.
    #[prost(bytes = "bytes", tag = "3")]
    pub signed_pre_key: Bytes,
    /// As it was registered; empty when none was left.
    #[prost(bytes = "bytes", tag = "4")]
    pub one_time_pre_key: Bytes,
}

/// Sends a message.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct OutboundMessage {
    /// To which device.
    #[prost(message, optional, tag = "1")]
    pub to: Option<Address>,
    /// Sealed for it; opaque.
    #[prost(bytes = "bytes", tag = "2")]
    pub unidentified_sender_message: Bytes,
}

codec! {
    Message: Bounds {
        len: MAX_MESSAGE_LEN,
        // Register and RequestPreKeys.
        has_lists: |parent, field| matches!((parent, field), (0, 6 | 8)),
    };
    Login: Bounds { len: MAX_MESSAGE_LEN, has_lists: |_, _| false };
}
