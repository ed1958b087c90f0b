//! The messages that are the same in both dialects.

use alloc::string::String;

use bytes::Bytes;

use super::ErrorName;

/// The request succeeded, or the message has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Ack {}

/// The request failed.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Error {
    /// An [`ErrorName`], or one that this version does not know.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Free text for people; mostly empty.
    #[prost(string, tag = "2")]
    pub description: String,
}

impl From<ErrorName> for Error {
    /// An error without a description.
    fn from(name: ErrorName) -> Self {
        Self { name: name.as_str().into(), description: String::new() }
    }
}

/// Asks the client to prove who it is.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct AuthChallenge {
    /// 32 random bytes, good for this connection.
    #[prost(bytes = "bytes", tag = "1")]
    pub nonce: Bytes,
}

/// Proves who the client is.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct AuthResponse {
    /// The dialect's `Login`, encoded: these bytes are signed, and no other encoding of it.
    #[prost(bytes = "bytes", tag = "1")]
    pub login: Bytes,
    /// 64 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
}

/// Withdraws the device's prekeys; what is queued for it stays.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Unregister {}

/// The device should register again, with new prekeys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct PreKeysLow {
    /// How many one-time prekeys the relay would like.
    #[prost(uint32, tag = "1")]
    pub keys_requested: u32,
}
