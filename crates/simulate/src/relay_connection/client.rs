//! What clients say and hear, in both dialects.

use std::sync::OnceLock;

use bytes::Bytes;
use towline_relay::auth::Key;
use towline_relay::dialect::Dialect;
use towline_relay::{Address, Device};
use towline_wire::relay::deployed::{self, Ack, Unregister};
use towline_wire::relay::seed;

/// Somebody with a key and one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Person(usize);

pub(super) const PEOPLE: [Person; 3] = [Person(0), Person(1), Person(2)];

const DEVICE: u32 = 1;

impl Person {
    /// Made once: it takes longer than all the rest.
    fn key(self) -> &'static Key {
        static KEYS: [OnceLock<Key>; PEOPLE.len()] = [const { OnceLock::new() }; PEOPLE.len()];
        KEYS[self.0].get_or_init(|| Key::new(&[self.0 as u8 + 1; 32]))
    }

    pub(super) fn address(self, dialect: Dialect) -> Address {
        match dialect {
            Dialect::Deployed => Address::new(self.key().identity(), DEVICE),
            Dialect::Seed => Address::new(self.key().user_id(), DEVICE),
        }
    }

    fn deployed(self) -> deployed::Address {
        let device_id = Bytes::copy_from_slice(Device::from(DEVICE).as_bytes());
        deployed::Address { identity_key: self.key().identity().into(), device_id }
    }

    fn seed(self) -> seed::Address {
        seed::Address { user_id: self.key().user_id().into(), device_id: DEVICE }
    }
}

/// Says one thing.
#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) dialect: Dialect,
    pub(super) sequence: u32,
}

impl Client {
    /// As a person, with a signature by somebody.
    pub(super) fn log_in(self, person: Person, signer: Person, nonce: &[u8]) -> Bytes {
        let nonce = Bytes::copy_from_slice(nonce);
        let mut login = Vec::new();
        match self.dialect {
            Dialect::Deployed => {
                let message = deployed::Login { address: Some(person.deployed()), nonce };
                message.encode(&mut login).expect("it is short");
                let response = signer.key().answer_deployed(login.into());
                self.deployed(deployed::Payload::AuthResponse(response))
            }
            Dialect::Seed => {
                let message = seed::Login { address: Some(person.seed()), nonce };
                message.encode(&mut login).expect("it is short");
                self.seed(seed::Payload::AuthResponse(signer.key().answer_seed(login.into())))
            }
        }
    }

    pub(super) fn register(self, signed: Bytes, one_time: Vec<Bytes>) -> Bytes {
        match self.dialect {
            Dialect::Deployed => self.deployed(deployed::Payload::Register(deployed::Register {
                signed_pre_key: signed,
                one_time_pre_keys: one_time,
            })),
            Dialect::Seed => self.seed(seed::Payload::Register(seed::Register {
                registration_id: 3,
                signed_pre_key: signed,
                one_time_pre_keys: one_time,
            })),
        }
    }

    pub(super) fn unregister(self) -> Bytes {
        match self.dialect {
            Dialect::Deployed => self.deployed(deployed::Payload::Unregister(Unregister {})),
            Dialect::Seed => self.seed(seed::Payload::Unregister(Unregister {})),
        }
    }

    pub(super) fn send(self, to: Person, message: Bytes) -> Bytes {
        let unidentified_sender_message = message;
        match self.dialect {
            Dialect::Deployed => {
                let to = Some(to.deployed());
                self.deployed(deployed::Payload::OutboundMessage(deployed::OutboundMessage {
                    to,
                    unidentified_sender_message,
                }))
            }
            Dialect::Seed => {
                let to = Some(to.seed());
                self.seed(seed::Payload::OutboundMessage(seed::OutboundMessage {
                    to,
                    unidentified_sender_message,
                }))
            }
        }
    }

    pub(super) fn ask_prekeys(self, of: Person) -> Bytes {
        match self.dialect {
            Dialect::Deployed => {
                self.deployed(deployed::Payload::RequestPreKeys(deployed::RequestPreKeys {
                    identity_key: of.key().identity().into(),
                    known_device_ids: Vec::new(),
                }))
            }
            Dialect::Seed => self.seed(seed::Payload::RequestPreKeys(seed::RequestPreKeys {
                user_id: of.key().user_id().into(),
                known_device_ids: Vec::new(),
            })),
        }
    }

    /// There are no numbers in `seed`: there it asks for nothing.
    pub(super) fn ask_number(self, of: Person) -> Bytes {
        match self.dialect {
            Dialect::Deployed => {
                let identity_key = of.key().identity().into();
                self.deployed(deployed::Payload::FindChatNumberByIdentityKey(
                    deployed::FindChatNumberByIdentityKey { identity_key },
                ))
            }
            Dialect::Seed => {
                self.seed(seed::Payload::PreKeysLow(deployed::PreKeysLow { keys_requested: 1 }))
            }
        }
    }

    pub(super) fn acknowledge(self) -> Bytes {
        match self.dialect {
            Dialect::Deployed => self.deployed(deployed::Payload::Ack(Ack {})),
            Dialect::Seed => self.seed(seed::Payload::Ack(Ack {})),
        }
    }

    fn deployed(self, payload: deployed::Payload) -> Bytes {
        let mut message = Vec::new();
        let payload = Some(payload);
        // What is too long is a message nevertheless, and the connection sees to it.
        match (deployed::Message { sequence: self.sequence, payload }).encode(&mut message) {
            Ok(()) => message.into(),
            Err(_) => Bytes::new(),
        }
    }

    fn seed(self, payload: seed::Payload) -> Bytes {
        let mut message = Vec::new();
        let payload = Some(payload);
        match (seed::Message { sequence: self.sequence, payload }).encode(&mut message) {
            Ok(()) => message.into(),
            Err(_) => Bytes::new(),
        }
    }
}

/// What a client hears, as far as it matters here.
pub(super) enum Heard {
    /// A challenge or the configuration.
    Greeting,
    Answer,
    /// One of several, in `seed`.
    PreKey,
    Low,
    Message(Bytes),
}

pub(super) fn hear(dialect: Dialect, frame: Bytes) -> (u32, Heard) {
    match dialect {
        Dialect::Deployed => {
            use deployed::Payload;

            let message = deployed::Message::decode(frame).expect("a message of the dialect");
            let heard = match message.payload.expect("a message that says something") {
                Payload::AuthChallenge(_) | Payload::Configuration(_) => Heard::Greeting,
                Payload::Ack(_)
                | Payload::Error(_)
                | Payload::PreKeys(_)
                | Payload::ChatNumber(_) => Heard::Answer,
                Payload::PreKeysLow(_) => Heard::Low,
                Payload::InboundMessage(inbound) => {
                    Heard::Message(inbound.unidentified_sender_message)
                }
                other => panic!("no relay says {other:?}"),
            };
            (message.sequence, heard)
        }
        Dialect::Seed => {
            use seed::Payload;

            let message = seed::Message::decode(frame).expect("a message of the dialect");
            let heard = match message.payload.expect("a message that says something") {
                Payload::AuthChallenge(_) => Heard::Greeting,
                Payload::Ack(_) | Payload::Error(_) => Heard::Answer,
                Payload::PreKey(_) => Heard::PreKey,
                Payload::PreKeysLow(_) => Heard::Low,
                Payload::InboundMessage(message) => Heard::Message(message),
                other => panic!("no relay says {other:?}"),
            };
            (message.sequence, heard)
        }
    }
}
