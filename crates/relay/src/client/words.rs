//! What is said and heard, the same in both dialects.

use bytes::Bytes;
use towline_wire::relay::deployed::{self, Ack, AuthResponse, Unregister};
use towline_wire::relay::{DecodeError, Excess, seed};

use super::{ChatNumber, Refused};
use crate::auth::Key;
use crate::dialect::Dialect;
use crate::store::{PreKey, Registration};
use crate::{Address, Device, Owner};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    LogIn(AuthResponse),
    Register(Registration),
    Unregister,
    Send { to: Address, message: Bytes },
    PreKeys { owner: Owner, known: Vec<Device> },
    NumberByShort(String),
    NumberOf(Owner),
}

/// Why something cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsayable {
    /// It would be longer than a message may be.
    #[error("too long: {0}")]
    TooLong(#[from] Excess),
    /// The dialect has no word for it, or nobody in it can have that address.
    #[error("the dialect has no word for it")]
    NotInDialect,
}

/// What a relay says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Challenge(Bytes),
    Answer(Result<Answer, Refused>),
    /// One of several devices' of an owner; only in `seed`, where it has no sequence number of ours.
    PreKey(Owner, PreKey),
    PreKeysLow(u32),
    Message(Bytes),
    /// What a client need not know.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    PreKeys(Vec<PreKey>),
    Number(ChatNumber),
}

/// A login, signed.
pub(super) fn log_in(
    dialect: Dialect,
    key: &Key,
    device: &Device,
    nonce: Bytes,
) -> Result<Request, Unsayable> {
    let mut login = Vec::new();
    Ok(Request::LogIn(match dialect {
        Dialect::Deployed => {
            let address = deployed_address(&Address::new(key.identity(), device.clone()))?;
            deployed::Login { address: Some(address), nonce }.encode(&mut login)?;
            key.answer_deployed(login.into())
        }
        Dialect::Seed => {
            let address = seed_address(&Address::new(key.user_id(), device.clone()))?;
            seed::Login { address: Some(address), nonce }.encode(&mut login)?;
            key.answer_seed(login.into())
        }
    }))
}

pub(super) fn request(
    dialect: Dialect,
    sequence: u32,
    request: Request,
) -> Result<Bytes, Unsayable> {
    match dialect {
        Dialect::Deployed => deployed_frame(sequence, deployed_request(request)?),
        Dialect::Seed => seed_frame(sequence, seed_request(request)?),
    }
}

/// The message with this sequence number has arrived.
pub(super) fn acknowledgement(dialect: Dialect, sequence: u32) -> Bytes {
    let frame = match dialect {
        Dialect::Deployed => deployed_frame(sequence, deployed::Payload::Ack(Ack {})),
        Dialect::Seed => seed_frame(sequence, seed::Payload::Ack(Ack {})),
    };
    frame.expect("an acknowledgement fits in a message")
}

pub(super) fn heard(dialect: Dialect, frame: Bytes) -> Result<(u32, Heard), DecodeError> {
    match dialect {
        Dialect::Deployed => {
            let message = deployed::Message::decode(frame)?;
            Ok((message.sequence, message.payload.map_or(Heard::Nothing, heard_deployed)))
        }
        Dialect::Seed => {
            let message = seed::Message::decode(frame)?;
            Ok((message.sequence, message.payload.map_or(Heard::Nothing, heard_seed)))
        }
    }
}

fn deployed_frame(sequence: u32, payload: deployed::Payload) -> Result<Bytes, Unsayable> {
    let mut frame = Vec::new();
    deployed::Message { sequence, payload: Some(payload) }.encode(&mut frame)?;
    Ok(frame.into())
}

fn seed_frame(sequence: u32, payload: seed::Payload) -> Result<Bytes, Unsayable> {
    let mut frame = Vec::new();
    seed::Message { sequence, payload: Some(payload) }.encode(&mut frame)?;
    Ok(frame.into())
}

fn deployed_request(request: Request) -> Result<deployed::Payload, Unsayable> {
    use deployed::Payload;

    Ok(match request {
        Request::LogIn(response) => Payload::AuthResponse(response),
        Request::Register(Registration { signed, one_time, .. }) => {
            Payload::Register(deployed::Register {
                signed_pre_key: signed,
                one_time_pre_keys: one_time,
            })
        }
        Request::Unregister => Payload::Unregister(Unregister {}),
        Request::Send { to, message } => Payload::OutboundMessage(deployed::OutboundMessage {
            to: Some(deployed_address(&to)?),
            unidentified_sender_message: message,
        }),
        Request::PreKeys { owner, known } => Payload::RequestPreKeys(deployed::RequestPreKeys {
            identity_key: identity(&owner)?,
            known_device_ids: known.iter().map(device_id).collect(),
        }),
        Request::NumberByShort(short_number) => {
            Payload::FindChatNumberByShortNumber(deployed::FindChatNumberByShortNumber {
                short_number,
            })
        }
        Request::NumberOf(owner) => {
            let identity_key = identity(&owner)?;
            Payload::FindChatNumberByIdentityKey(deployed::FindChatNumberByIdentityKey {
                identity_key,
            })
        }
    })
}

fn seed_request(request: Request) -> Result<seed::Payload, Unsayable> {
    use seed::Payload;

    Ok(match request {
        Request::LogIn(response) => Payload::AuthResponse(response),
        Request::Register(Registration { id, signed, one_time }) => {
            Payload::Register(seed::Register {
                registration_id: id,
                signed_pre_key: signed,
                one_time_pre_keys: one_time,
            })
        }
        Request::Unregister => Payload::Unregister(Unregister {}),
        Request::Send { to, message } => Payload::OutboundMessage(seed::OutboundMessage {
            to: Some(seed_address(&to)?),
            unidentified_sender_message: message,
        }),
        Request::PreKeys { owner, known } => Payload::RequestPreKeys(seed::RequestPreKeys {
            user_id: user(&owner)?,
            known_device_ids: known
                .iter()
                .map(|device| device.number().ok_or(Unsayable::NotInDialect))
                .collect::<Result<_, _>>()?,
        }),
        Request::NumberByShort(_) | Request::NumberOf(_) => return Err(Unsayable::NotInDialect),
    })
}

fn identity(owner: &Owner) -> Result<Bytes, Unsayable> {
    let identity = owner.identity().ok_or(Unsayable::NotInDialect)?;
    Ok(identity.into())
}

fn user(owner: &Owner) -> Result<Bytes, Unsayable> {
    let user = owner.user_id().ok_or(Unsayable::NotInDialect)?;
    Ok(user.into())
}

fn device_id(device: &Device) -> Bytes {
    Bytes::copy_from_slice(device.as_bytes())
}

fn deployed_address(address: &Address) -> Result<deployed::Address, Unsayable> {
    let identity_key = identity(&address.owner)?;
    Ok(deployed::Address { identity_key, device_id: device_id(&address.device) })
}

fn seed_address(address: &Address) -> Result<seed::Address, Unsayable> {
    let device_id = address.device.number().ok_or(Unsayable::NotInDialect)?;
    Ok(seed::Address { user_id: user(&address.owner)?, device_id })
}

fn heard_deployed(payload: deployed::Payload) -> Heard {
    use deployed::Payload;

    match payload {
        Payload::AuthChallenge(challenge) => Heard::Challenge(challenge.nonce),
        Payload::Ack(_) => Heard::Answer(Ok(Answer::Done)),
        Payload::Error(error) => Heard::Answer(Err(refused(error))),
        Payload::PreKeys(keys) => {
            // What no device can be called belongs to nobody.
            let keys = keys.pre_keys.into_iter().filter_map(|key| {
                let device = key.device_id.try_into().ok()?;
                Some(prekey(device, 0, key.signed_pre_key, key.one_time_pre_key))
            });
            Heard::Answer(Ok(Answer::PreKeys(keys.collect())))
        }
        Payload::ChatNumber(number) => Heard::Answer(Ok(Answer::Number(ChatNumber {
            number: number.number,
            short: number.short_number,
            domain: number.domain,
        }))),
        Payload::PreKeysLow(low) => Heard::PreKeysLow(low.keys_requested),
        Payload::InboundMessage(inbound) => Heard::Message(inbound.unidentified_sender_message),
        _ => Heard::Nothing,
    }
}

fn heard_seed(payload: seed::Payload) -> Heard {
    use seed::Payload;

    match payload {
        Payload::AuthChallenge(challenge) => Heard::Challenge(challenge.nonce),
        Payload::Ack(_) => Heard::Answer(Ok(Answer::Done)),
        Payload::Error(error) => Heard::Answer(Err(refused(error))),
        Payload::PreKey(key) => {
            let address = key.address.unwrap_or_default();
            let Ok(user) = towline_wire::relay::UserId::try_from(&address.user_id[..]) else {
                return Heard::Nothing;
            };
            let device = Device::from(address.device_id);
            let id = key.registration_id;
            let key = prekey(device, id, key.signed_pre_key, key.one_time_pre_key);
            Heard::PreKey(user.into(), key)
        }
        Payload::PreKeysLow(low) => Heard::PreKeysLow(low.keys_requested),
        Payload::InboundMessage(message) => Heard::Message(message),
        _ => Heard::Nothing,
    }
}

fn refused(error: deployed::Error) -> Refused {
    Refused { name: error.name, text: error.description }
}

fn prekey(device: Device, registration_id: u32, signed: Bytes, one_time: Bytes) -> PreKey {
    // On the wire, none is an empty one.
    let one_time = (!one_time.is_empty()).then_some(one_time);
    PreKey { device, registration_id, signed, one_time }
}
