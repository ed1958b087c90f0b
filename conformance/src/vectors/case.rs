//! What stands in a file of vectors, whatever the protocol.

use serde::{Deserialize, Serialize};
use towline_wire::data::Codec;
use towline_wire::{DecodeError, EncodeError};

use super::reason::{Reason, Refusal};

/// A message of one protocol, with the fields that the files give it.
pub(super) trait Message: Sized + PartialEq + Serialize {
    /// What the ids of the protocol's vectors begin with.
    const PROTOCOL: &str;

    /// The messages of a datagram, or what is wrong with it if there is none.
    fn decode(codec: Codec, datagram: &[u8]) -> Result<Vec<Self>, DecodeError>;

    /// The bytes of the message.
    fn encode(&self, codec: Codec) -> Result<Vec<u8>, NoBytes>;
}

/// Why a message has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBytes {
    /// The codec's types cannot hold such fields.
    Inexpressible,
    /// The dialect or the MTU forbids them.
    Refused(EncodeError),
}

impl From<EncodeError> for NoBytes {
    fn from(error: EncodeError) -> Self {
        Self::Refused(error)
    }
}

/// The vectors of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section<M> {
    pub(super) valid: Vec<Valid<M>>,
    pub(super) invalid: Vec<Invalid>,
    pub(super) unsendable: Vec<Unsendable<M>>,
}

/// A datagram and the messages in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Valid<M> {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u16>,
    /// Whether a sender makes exactly these bytes of these fields.
    pub(super) canonical: bool,
    /// Why a sender does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
    pub(super) messages: Vec<M>,
    #[serde(with = "hex::serde")]
    pub(super) wire: Vec<u8>,
}

/// A datagram that is to be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Invalid {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u16>,
    #[serde(flatten)]
    pub(super) reason: Reason,
    #[serde(with = "hex::serde")]
    pub(super) wire: Vec<u8>,
}

/// A message that is not to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unsendable<M> {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u16>,
    #[serde(flatten)]
    pub(super) reason: Refusal,
    pub(super) message: M,
}

/// The JSON of anything in a file of vectors.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("a vector is made of numbers, text and lists of them")
}
