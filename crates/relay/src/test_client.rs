//! What clients in tests say and hear, the same in both dialects.

use std::sync::OnceLock;

use bytes::Bytes;
use towline_wire::relay::deployed::{self, Ack, Unregister, UploadAuthorization};
use towline_wire::relay::seed;

use crate::auth::Key;
use crate::dialect::Dialect;
use crate::{Address, Device, Owner};

/// What a challenge is where it is not random.
pub(crate) const NONCE: [u8; 32] = [4; 32];

/// A client with a key and one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Person(pub(crate) u8);

pub(crate) const ALICE: Person = Person(1);
pub(crate) const BOB: Person = Person(2);

/// The one device that a person has.
const DEVICE: u32 = 1;

impl Person {
    /// Made once: the random test asks for it thousands of times.
    fn key(self) -> &'static Key {
        static KEYS: [OnceLock<Key>; 3] = [const { OnceLock::new() }; 3];
        KEYS[usize::from(self.0)].get_or_init(|| Key::new(&[self.0; 32]))
    }

    pub(crate) fn owner(self, dialect: Dialect) -> Owner {
        match dialect {
            Dialect::Deployed => self.key().identity().into(),
            Dialect::Seed => self.key().user_id().into(),
        }
    }

    pub(crate) fn address(self, dialect: Dialect) -> Address {
        Address::new(self.owner(dialect), DEVICE)
    }

    fn deployed_address(self) -> deployed::Address {
        let device_id = Bytes::copy_from_slice(Device::from(DEVICE).as_bytes());
        deployed::Address { identity_key: self.key().identity().into(), device_id }
    }

    fn seed_address(self) -> seed::Address {
        seed::Address { user_id: self.key().user_id().into(), device_id: DEVICE }
    }
}

/// What a client says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask<'a> {
    Acknowledge,
    /// To [`NONCE`].
    LogIn(Person),
    LogInTo(&'a [u8], Person),
    /// With a signature by somebody else.
    LogInFalsely(Person),
    Register(&'a [u8], &'a [Bytes]),
    Unregister,
    PreKeys(Person),
    /// But for the one device that there is.
    OtherPreKeys(Person),
    Send(Person, &'a [u8]),
    SendToNobody,
    // These only exist in one dialect.
    Uploads(i32),
    NumberByShort(&'a str),
    NumberOf(Person),
}

pub(crate) fn encode(dialect: Dialect, sequence: u32, ask: Ask<'_>) -> Bytes {
    let mut frame = Vec::new();
    match dialect {
        Dialect::Deployed => {
            let payload = Some(deployed_payload(ask));
            deployed::Message { sequence, payload }.encode(&mut frame).unwrap();
        }
        Dialect::Seed => {
            let payload = Some(seed_payload(ask));
            seed::Message { sequence, payload }.encode(&mut frame).unwrap();
        }
    }
    frame.into()
}

fn deployed_payload(ask: Ask<'_>) -> deployed::Payload {
    use deployed::Payload;

    let login = |nonce: &[u8], person: Person| {
        let nonce = Bytes::copy_from_slice(nonce);
        let mut login = Vec::new();
        let address = Some(person.deployed_address());
        deployed::Login { address, nonce }.encode(&mut login).unwrap();
        login.into()
    };
    match ask {
        Ask::Acknowledge => Payload::Ack(Ack {}),
        Ask::LogIn(person) => deployed_payload(Ask::LogInTo(&NONCE, person)),
        Ask::LogInTo(nonce, person) => {
            Payload::AuthResponse(person.key().answer_deployed(login(nonce, person)))
        }
        Ask::LogInFalsely(person) => {
            Payload::AuthResponse(Key::new(&[99; 32]).answer_deployed(login(&NONCE, person)))
        }
        Ask::Register(signed, one_time) => Payload::Register(deployed::Register {
            signed_pre_key: Bytes::copy_from_slice(signed),
            one_time_pre_keys: one_time.to_vec(),
        }),
        Ask::Unregister => Payload::Unregister(Unregister {}),
        Ask::PreKeys(of) => Payload::RequestPreKeys(deployed::RequestPreKeys {
            identity_key: of.key().identity().into(),
            known_device_ids: Vec::new(),
        }),
        Ask::OtherPreKeys(of) => Payload::RequestPreKeys(deployed::RequestPreKeys {
            identity_key: of.key().identity().into(),
            known_device_ids: vec![of.deployed_address().device_id],
        }),
        Ask::Send(to, message) => Payload::OutboundMessage(deployed::OutboundMessage {
            to: Some(to.deployed_address()),
            unidentified_sender_message: Bytes::copy_from_slice(message),
        }),
        Ask::SendToNobody => Payload::OutboundMessage(deployed::OutboundMessage::default()),
        Ask::Uploads(num_requested) => {
            Payload::RequestUploadAuthorizations(deployed::RequestUploadAuthorizations {
                num_requested,
            })
        }
        Ask::NumberByShort(short) => {
            let short_number = short.into();
            Payload::FindChatNumberByShortNumber(deployed::FindChatNumberByShortNumber {
                short_number,
            })
        }
        Ask::NumberOf(of) => {
            let identity_key = of.key().identity().into();
            Payload::FindChatNumberByIdentityKey(deployed::FindChatNumberByIdentityKey {
                identity_key,
            })
        }
    }
}

fn seed_payload(ask: Ask<'_>) -> seed::Payload {
    use seed::Payload;

    let login = |nonce: &[u8], person: Person| {
        let nonce = Bytes::copy_from_slice(nonce);
        let mut login = Vec::new();
        seed::Login { address: Some(person.seed_address()), nonce }.encode(&mut login).unwrap();
        login.into()
    };
    match ask {
        Ask::Acknowledge => Payload::Ack(Ack {}),
        Ask::LogIn(person) => seed_payload(Ask::LogInTo(&NONCE, person)),
        Ask::LogInTo(nonce, person) => {
            Payload::AuthResponse(person.key().answer_seed(login(nonce, person)))
        }
        Ask::LogInFalsely(person) => {
            Payload::AuthResponse(Key::new(&[99; 32]).answer_seed(login(&NONCE, person)))
        }
        Ask::Register(signed, one_time) => Payload::Register(seed::Register {
            registration_id: 9,
            signed_pre_key: Bytes::copy_from_slice(signed),
            one_time_pre_keys: one_time.to_vec(),
        }),
        Ask::Unregister => Payload::Unregister(Unregister {}),
        Ask::PreKeys(of) => Payload::RequestPreKeys(seed::RequestPreKeys {
            user_id: of.key().user_id().into(),
            known_device_ids: Vec::new(),
        }),
        Ask::OtherPreKeys(of) => Payload::RequestPreKeys(seed::RequestPreKeys {
            user_id: of.key().user_id().into(),
            known_device_ids: vec![DEVICE],
        }),
        Ask::Send(to, message) => Payload::OutboundMessage(seed::OutboundMessage {
            to: Some(to.seed_address()),
            unidentified_sender_message: Bytes::copy_from_slice(message),
        }),
        Ask::SendToNobody => Payload::OutboundMessage(seed::OutboundMessage::default()),
        Ask::Uploads(_) | Ask::NumberByShort(_) | Ask::NumberOf(_) => panic!("not in this dialect"),
    }
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) sequence: u32,
    pub(crate) told: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Challenge(Bytes),
    Configuration,
    Ack,
    Error(String, String),
    /// Signed ones, each with the one-time one.
    PreKeys(Vec<(Bytes, Bytes)>),
    /// One of several, in `seed`.
    PreKey(Bytes, Bytes),
    PreKeysLow(u32),
    Message(Bytes),
    /// The short number and the domain.
    Number(String, String),
    Uploads(Vec<UploadAuthorization>),
}

impl Told {
    /// An error without a text.
    pub(crate) fn error(name: &str) -> Self {
        Self::Error(name.into(), String::new())
    }

    /// Whether it carries the sequence number of a request.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Ack | Self::Error(..) | Self::PreKeys(_) | Self::Number(..) | Self::Uploads(_)
        )
    }
}

pub(crate) fn heard(dialect: Dialect, frame: Bytes) -> Heard {
    match dialect {
        Dialect::Deployed => {
            use deployed::Payload;

            let message = deployed::Message::decode(frame).unwrap();
            let told = match message.payload.unwrap() {
                Payload::AuthChallenge(challenge) => Told::Challenge(challenge.nonce),
                Payload::Configuration(_) => Told::Configuration,
                Payload::Ack(_) => Told::Ack,
                Payload::Error(error) => Told::Error(error.name, error.description),
                Payload::PreKeys(keys) => {
                    let keys = keys.pre_keys.into_iter();
                    Told::PreKeys(keys.map(|it| (it.signed_pre_key, it.one_time_pre_key)).collect())
                }
                Payload::PreKeysLow(low) => Told::PreKeysLow(low.keys_requested),
                Payload::InboundMessage(inbound) => {
                    Told::Message(inbound.unidentified_sender_message)
                }
                Payload::ChatNumber(number) => Told::Number(number.short_number, number.domain),
                Payload::UploadAuthorizations(uploads) => Told::Uploads(uploads.authorizations),
                other => panic!("no relay says {other:?}"),
            };
            Heard { sequence: message.sequence, told }
        }
        Dialect::Seed => {
            use seed::Payload;

            let message = seed::Message::decode(frame).unwrap();
            let told = match message.payload.unwrap() {
                Payload::AuthChallenge(challenge) => Told::Challenge(challenge.nonce),
                Payload::Ack(_) => Told::Ack,
                Payload::Error(error) => Told::Error(error.name, error.description),
                Payload::PreKey(key) => Told::PreKey(key.signed_pre_key, key.one_time_pre_key),
                Payload::PreKeysLow(low) => Told::PreKeysLow(low.keys_requested),
                Payload::InboundMessage(message) => Told::Message(message),
                other => panic!("no relay says {other:?}"),
            };
            Heard { sequence: message.sequence, told }
        }
    }
}
