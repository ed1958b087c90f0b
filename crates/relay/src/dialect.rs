//! What clients ask and are told, the same in both dialects.
//!
//! A [`Dialect`] reads a client's frames as [`Received`]; a [`Speaker`] writes what the relay has to say to
//! one client as frames. Neither knows what a connection may do: that is not a matter of dialect.
//!
//! ```
//! use std::collections::VecDeque;
//!
//! use towline_relay::dialect::{Answer, Dialect, OwnRequest, Said, Speaker};
//! use towline_wire::relay::seed::{Ack, Message, Payload, Unregister};
//!
//! let request = Message { sequence: 7, payload: Some(Payload::Unregister(Unregister {})) };
//! let mut frame = Vec::new();
//! request.encode(&mut frame)?;
//! let received = Dialect::Seed.read(frame.into())?;
//! assert_eq!(received.said, Said::Own(OwnRequest::Unregister));
//!
//! let mut frames = VecDeque::new();
//! Speaker::new(Dialect::Seed).answer(received.sequence, Answer::Done, &mut frames)?;
//! let answer = Message { sequence: 7, payload: Some(Payload::Ack(Ack {})) };
//! assert_eq!(Message::decode(frames[0].clone())?, answer);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod speaker;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use towline_wire::relay::deployed::{self, AuthResponse};
use towline_wire::relay::{DecodeError, ErrorName, Identity, UserId, seed};

use crate::auth::{Challenge, Refusal};
use crate::store::Registration;
use crate::{Address, Device, Owner};

pub use speaker::{Answer, Speaker};

/// How a client speaks. Its first frame does not tell; the path it has asked for does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// [`deployed`].
    Deployed,
    /// [`seed`].
    Seed,
}

impl Dialect {
    /// As it is written: `deployed` or `seed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Seed => "seed",
        }
    }

    /// Reads a client's frame.
    ///
    /// # Errors
    /// It is no message of the dialect, or over its limits.
    pub fn read(self, frame: Bytes) -> Result<Received, DecodeError> {
        Ok(match self {
            Self::Deployed => {
                let message = deployed::Message::decode(frame)?;
                Received { sequence: message.sequence, said: read_deployed(message.payload) }
            }
            Self::Seed => {
                let message = seed::Message::decode(frame)?;
                Received { sequence: message.sequence, said: read_seed(message.payload) }
            }
        })
    }

    /// The sequence number of a frame that is [too much](DecodeError::Excess) to be read, so that the client
    /// can be told: it comes first, as all clients in the field write it, or is 0.
    #[must_use]
    pub fn sequence_of(self, frame: &[u8]) -> u32 {
        // Field 1, a varint, in both dialects.
        let Some(([0x08], rest)) = frame.split_first_chunk() else { return 0 };
        let mut sequence = 0;
        for (byte, shift) in rest.iter().zip((0..32).step_by(7)) {
            sequence |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        sequence
    }

    /// Who has answered a challenge.
    ///
    /// # Errors
    /// The first thing that is wrong with the answer.
    pub fn verify(
        self,
        challenge: &Challenge,
        response: &AuthResponse,
    ) -> Result<Address, Refusal> {
        match self {
            Self::Deployed => challenge.verify_deployed(response),
            Self::Seed => challenge.verify_seed(response),
        }
    }

    /// The name of the failure that nobody has registered as an owner.
    #[must_use]
    pub const fn unknown_owner(self) -> ErrorName {
        match self {
            Self::Deployed => ErrorName::UnknownIdentity,
            Self::Seed => ErrorName::UnknownUser,
        }
    }
}

/// A client's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The client's own count, or that of the message it acknowledges. Clients need not count well.
    pub sequence: u32,
    /// What the client says.
    pub said: Said,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The message with this sequence number has arrived; never answered.
    Acknowledged,
    /// It answers the challenge, which only an anonymous client may.
    LogIn(AuthResponse),
    /// It asks what only a client that has logged in may.
    Own(OwnRequest),
    /// It asks what only an anonymous client may; or names somebody who cannot be, and gets this error
    /// unless it is not anonymous to begin with.
    Anonymous(Result<AnonymousRequest, ErrorName>),
    /// Nothing that a client could say to a relay; never answered.
    Nothing,
}

/// What a client asks about its own device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnRequest {
    /// To deposit prekeys.
    Register(Registration),
    /// To withdraw them.
    Unregister,
}

/// What a client asks that would give away who it is, had it logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnonymousRequest {
    /// For prekeys.
    PreKeys {
        /// Whose.
        owner: Owner,
        /// Devices to leave out.
        known: Vec<Device>,
    },
    /// To send a message.
    Send {
        /// To which device.
        to: Address,
        /// Opaque.
        message: Bytes,
    },
    /// For so many permissions to upload attachments; clients may ask for nonsense.
    Uploads(i32),
    /// For the number with this short number.
    NumberByShort(String),
    /// For somebody's number.
    NumberOf(Owner),
}

fn read_deployed(payload: Option<deployed::Payload>) -> Said {
    use deployed::Payload;

    let owner = |key: &Bytes| {
        Identity::try_from(&key[..]).map(Owner::from).map_err(|_| ErrorName::InvalidIdentityKey)
    };
    match payload {
        Some(Payload::Ack(_)) => Said::Acknowledged,
        Some(Payload::AuthResponse(response)) => Said::LogIn(response),
        Some(Payload::Register(register)) => Said::Own(OwnRequest::Register(Registration {
            id: 0,
            signed: register.signed_pre_key,
            one_time: register.one_time_pre_keys,
        })),
        Some(Payload::Unregister(_)) => Said::Own(OwnRequest::Unregister),
        Some(Payload::RequestPreKeys(request)) => {
            Said::Anonymous(owner(&request.identity_key).map(|owner| {
                // A device id that is too long for anybody leaves nobody out.
                let known = request.known_device_ids.into_iter();
                let known = known.filter_map(|device| device.try_into().ok()).collect();
                AnonymousRequest::PreKeys { owner, known }
            }))
        }
        Some(Payload::OutboundMessage(outbound)) => {
            let to = outbound.to.unwrap_or_default();
            Said::Anonymous(owner(&to.identity_key).and_then(|owner| {
                let device: Device =
                    to.device_id.try_into().map_err(|_| ErrorName::UnknownDevice)?;
                let message = outbound.unidentified_sender_message;
                Ok(AnonymousRequest::Send { to: Address::new(owner, device), message })
            }))
        }
        Some(Payload::RequestUploadAuthorizations(request)) => {
            Said::Anonymous(Ok(AnonymousRequest::Uploads(request.num_requested)))
        }
        Some(Payload::FindChatNumberByShortNumber(find)) => {
            Said::Anonymous(Ok(AnonymousRequest::NumberByShort(find.short_number)))
        }
        Some(Payload::FindChatNumberByIdentityKey(find)) => {
            Said::Anonymous(owner(&find.identity_key).map(AnonymousRequest::NumberOf))
        }
        None
        | Some(
            Payload::Error(_)
            | Payload::Configuration(_)
            | Payload::AuthChallenge(_)
            | Payload::PreKeys(_)
            | Payload::PreKeysLow(_)
            | Payload::UploadAuthorizations(_)
            | Payload::InboundMessage(_)
            | Payload::ChatNumber(_),
        ) => Said::Nothing,
    }
}

fn read_seed(payload: Option<seed::Payload>) -> Said {
    use seed::Payload;

    let owner = |user: &Bytes| {
        UserId::try_from(&user[..]).map(Owner::from).map_err(|_| ErrorName::InvalidUserId)
    };
    match payload {
        Some(Payload::Ack(_)) => Said::Acknowledged,
        Some(Payload::AuthResponse(response)) => Said::LogIn(response),
        Some(Payload::Register(register)) => Said::Own(OwnRequest::Register(Registration {
            id: register.registration_id,
            signed: register.signed_pre_key,
            one_time: register.one_time_pre_keys,
        })),
        Some(Payload::Unregister(_)) => Said::Own(OwnRequest::Unregister),
        Some(Payload::RequestPreKeys(request)) => {
            Said::Anonymous(owner(&request.user_id).map(|owner| {
                let known = request.known_device_ids.into_iter().map(Device::from).collect();
                AnonymousRequest::PreKeys { owner, known }
            }))
        }
        Some(Payload::OutboundMessage(outbound)) => {
            let to = outbound.to.unwrap_or_default();
            Said::Anonymous(owner(&to.user_id).map(|owner| AnonymousRequest::Send {
                to: Address::new(owner, to.device_id),
                message: outbound.unidentified_sender_message,
            }))
        }
        None
        | Some(
            Payload::Error(_)
            | Payload::AuthChallenge(_)
            | Payload::PreKey(_)
            | Payload::PreKeysLow(_)
            | Payload::InboundMessage(_),
        ) => Said::Nothing,
    }
}
