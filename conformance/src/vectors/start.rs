//! Messages of the handshake as the files write them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use towline_wire::data::Codec;
use towline_wire::start::{
    Capabilities, Cbor, Challenge as WireChallenge, ErrorReason, KeepAlive, KeepAliveFlags,
    Message as WireMessage, SessionError, SessionEstablished, StartSession,
};
use towline_wire::{DecodeError, Dialect};

use super::case::{Message, NoBytes};
use super::number::{Challenge, Number};

/// The fields that `towline decode` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum StartMessage {
    StartSession { challenge: Challenge, capabilities: u8, additional_data: u32, target: Item },
    SessionEstablished { challenge: Challenge, session_id: Item },
    SessionError { challenge: Challenge, reason: u8 },
    KeepAlive { flags: u8, additional_data: Number, session_id: Item },
}

/// A CBOR item. Its bytes are what counts, its notation (RFC 8949, section 8) is for people.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    #[serde(with = "hex::serde")]
    pub(super) cbor: Vec<u8>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) diagnostic: String,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cbor == other.cbor
    }
}

impl Item {
    fn of(item: &Cbor) -> Self {
        Self { cbor: item.as_bytes().to_vec(), diagnostic: String::new() }
    }

    fn to_cbor(&self) -> Result<Cbor, NoBytes> {
        let bytes = Bytes::copy_from_slice(&self.cbor);
        Cbor::from_bytes(bytes).map_err(|_| NoBytes::Inexpressible)
    }
}

impl Message for StartMessage {
    const PROTOCOL: &str = "start";

    fn decode(codec: Codec, datagram: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let message = WireMessage::decode(codec.dialect(), Bytes::copy_from_slice(datagram))?;
        Ok(vec![Self::of(&message)])
    }

    fn encode(&self, codec: Codec) -> Result<Vec<u8>, NoBytes> {
        self.encode_in(codec.dialect())
    }
}

impl StartMessage {
    fn of(message: &WireMessage) -> Self {
        match message {
            WireMessage::StartSession(message) => Self::StartSession {
                challenge: Challenge(message.challenge.0),
                capabilities: message.capabilities.bits(),
                additional_data: message.additional_data,
                target: Item::of(&message.target),
            },
            WireMessage::SessionEstablished(message) => Self::SessionEstablished {
                challenge: Challenge(message.challenge.0),
                session_id: Item::of(&message.session_id),
            },
            WireMessage::SessionError(message) => Self::SessionError {
                challenge: Challenge(message.challenge.0),
                reason: message.reason.code(),
            },
            WireMessage::KeepAlive(message) => Self::KeepAlive {
                flags: message.flags.bits(),
                additional_data: Number(message.additional_data),
                session_id: Item::of(&message.session_id),
            },
        }
    }

    fn encode_in(&self, dialect: Dialect) -> Result<Vec<u8>, NoBytes> {
        let challenge = |challenge: &Challenge| WireChallenge(challenge.0);
        let message = match self {
            Self::StartSession { challenge: to, capabilities, additional_data, target } => {
                WireMessage::StartSession(StartSession {
                    challenge: challenge(to),
                    capabilities: Capabilities::from_bits(*capabilities),
                    additional_data: *additional_data,
                    target: target.to_cbor()?,
                })
            }
            Self::SessionEstablished { challenge: to, session_id } => {
                let session_id = session_id.to_cbor()?;
                let challenge = challenge(to);
                WireMessage::SessionEstablished(SessionEstablished { challenge, session_id })
            }
            Self::SessionError { challenge: to, reason } => {
                let reason = ErrorReason::from_code(*reason);
                WireMessage::SessionError(SessionError { challenge: challenge(to), reason })
            }
            Self::KeepAlive { flags, additional_data, session_id } => {
                WireMessage::KeepAlive(KeepAlive {
                    flags: KeepAliveFlags::from_bits(*flags),
                    additional_data: additional_data.0,
                    session_id: session_id.to_cbor()?,
                })
            }
        };
        let mut wire = Vec::new();
        message.encode(dialect, &mut wire)?;
        Ok(wire)
    }
}
