//! The dialect of the clients in the field.
//!
//! Identities are Curve25519 keys, devices any bytes. Beside the seed's exchange there are chat
//! numbers, attachments and federation.

use alloc::collections::BTreeMap;
use alloc::string::String;
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
    #[prost(
        oneof = "Payload",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19"
    )]
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
    /// From the relay, once, after the challenge.
    #[prost(message, tag = "4")]
    Configuration(Configuration),
    /// From the relay, before anything else.
    #[prost(message, tag = "5")]
    AuthChallenge(AuthChallenge),
    /// To the relay, anonymous; answered with a [`ChatNumber`].
    #[prost(message, tag = "6")]
    AuthResponse(AuthResponse),
    /// To the relay, authenticated; answered with an [`Ack`].
    #[prost(message, tag = "7")]
    Register(Register),
    /// To the relay, authenticated; answered with an [`Ack`].
    #[prost(message, tag = "8")]
    Unregister(Unregister),
    /// To the relay, anonymous; answered with [`PreKeys`].
    #[prost(message, tag = "9")]
    RequestPreKeys(RequestPreKeys),
    /// From the relay: answers a request.
    #[prost(message, tag = "10")]
    PreKeys(PreKeys),
    /// From the relay, authenticated; unasked.
    #[prost(message, tag = "12")]
    PreKeysLow(PreKeysLow),
    /// To the relay, anonymous; answered with [`UploadAuthorizations`].
    #[prost(message, tag = "13")]
    RequestUploadAuthorizations(RequestUploadAuthorizations),
    /// From the relay: answers a request.
    #[prost(message, tag = "14")]
    UploadAuthorizations(UploadAuthorizations),
    /// To the relay, anonymous; answered with an [`Ack`] once the message is safe.
    #[prost(message, tag = "15")]
    OutboundMessage(OutboundMessage),
    /// From the relay, authenticated; answered with an [`Ack`] once the message is safe.
    #[prost(message, tag = "16")]
    InboundMessage(InboundMessage),
    /// To the relay, anonymous; answered with a [`ChatNumber`].
    #[prost(message, tag = "17")]
    FindChatNumberByShortNumber(FindChatNumberByShortNumber),
    /// To the relay, anonymous; answered with a [`ChatNumber`].
    #[prost(message, tag = "18")]
    FindChatNumberByIdentityKey(FindChatNumberByIdentityKey),
    /// From the relay: answers a login or a request.
    #[prost(message, tag = "19")]
    ChatNumber(ChatNumber),
}

/// A device of somebody.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Address {
    /// An [`Identity`](super::Identity).
    #[prost(bytes = "bytes", tag = "1")]
    pub identity_key: Bytes,
    /// Any bytes, unique among the devices of the identity.
    #[prost(bytes = "bytes", tag = "2")]
    pub device_id: Bytes,
}

/// What the relay allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Configuration {
    /// The longest encrypted attachment, in bytes.
    #[prost(int64, tag = "1")]
    pub max_attachment_size: i64,
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
    /// Opaque.
    #[prost(bytes = "bytes", tag = "1")]
    pub signed_pre_key: Bytes,
    /// Opaque, each to be given away once.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub one_time_pre_keys: Vec<Bytes>,
}

/// Asks for the prekeys of somebody's devices.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RequestPreKeys {
    /// Whose: an [`Identity`](super::Identity).
    #[prost(bytes = "bytes", tag = "1")]
    pub identity_key: Bytes,
    /// Devices to leave out.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub known_device_ids: Vec<Bytes>,
}

/// What it takes to begin a session with one device.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PreKey {
    /// Which device.
    #[prost(bytes = "bytes", tag = "1")]
    pub device_id: Bytes,
    /// As it was registered.
    #[prost(bytes = "bytes", tag = "2")]
    pub signed_pre_key: Bytes,
    /// As it was registered; empty when none was left.
    #[prost(bytes = "bytes", tag = "3")]
    pub one_time_pre_key: Bytes,
}

/// Prekeys of all the devices that were asked for.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PreKeys {
    /// One for each device, in no order.
    #[prost(message, repeated, tag = "1")]
    pub pre_keys: Vec<PreKey>,
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

/// Delivers a message, again and again until it is acknowledged.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct InboundMessage {
    /// As it was sent.
    #[prost(bytes = "bytes", tag = "3")]
    pub unidentified_sender_message: Bytes,
}

/// Asks for permissions to upload attachments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct RequestUploadAuthorizations {
    /// How many, at least one.
    #[prost(int32, tag = "1")]
    pub num_requested: i32,
}

/// Permission to upload one attachment.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct UploadAuthorization {
    /// Where to POST the form to.
    #[prost(string, tag = "1")]
    pub upload_url: String,
    /// Names and values of form fields that go before the field `file`.
    #[prost(btree_map = "string, string", tag = "2")]
    pub upload_form_data: BTreeMap<String, String>,
    /// When the permission ends, in milliseconds since 1970 (UTC).
    #[prost(int64, tag = "3")]
    pub authorization_expires_at: i64,
    /// The longest attachment that it allows, in bytes.
    #[prost(int64, tag = "4")]
    pub max_upload_size: i64,
    /// Where the attachment will be found.
    #[prost(string, tag = "5")]
    pub download_url: String,
}

/// The permissions that were to be had, which may be fewer than were asked for.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct UploadAuthorizations {
    /// Each for one attachment.
    #[prost(message, repeated, tag = "1")]
    pub authorizations: Vec<UploadAuthorization>,
}

/// Asks who has a short number.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FindChatNumberByShortNumber {
    /// Decimal digits.
    #[prost(string, tag = "1")]
    pub short_number: String,
}

/// Asks which number somebody has.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FindChatNumberByIdentityKey {
    /// Whose: an [`Identity`](super::Identity).
    #[prost(bytes = "bytes", tag = "1")]
    pub identity_key: Bytes,
}

/// An identity in digits, for people; see [`number`](super::number).
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ChatNumber {
    /// The whole identity.
    #[prost(string, tag = "1")]
    pub number: String,
    /// The beginning of the number.
    #[prost(string, tag = "2")]
    pub short_number: String,
    /// The domain of which the relay keeps short numbers unique.
    #[prost(string, tag = "3")]
    pub domain: String,
}

/// A message on its way to another relay; kept among relays, never on a client's connection.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ForwardedMessage {
    /// What the other relay shall get.
    #[prost(message, optional, tag = "1")]
    pub message: Option<OutboundMessage>,
    /// When it first could not be handed over, in milliseconds since 1970 (UTC); zero for never.
    #[prost(int64, tag = "2")]
    pub first_failed: i64,
    /// When it last could not, likewise.
    #[prost(int64, tag = "3")]
    pub last_failed: i64,
}

codec! {
    Message: Bounds {
        len: MAX_MESSAGE_LEN,
        // Register, RequestPreKeys, PreKeys, UploadAuthorizations and each of the latter's.
        has_lists: |parent, field| matches!((parent, field), (0, 7 | 9 | 10 | 14) | (14, 1)),
    };
    Login: Bounds { len: MAX_MESSAGE_LEN, has_lists: |_, _| false };
    // Room for the two times, which an envelope does not have.
    ForwardedMessage: Bounds { len: MAX_MESSAGE_LEN + 32, has_lists: |_, _| false };
}
