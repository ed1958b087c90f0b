//! What the relay says to one client.

use std::collections::VecDeque;

use bytes::Bytes;
use towline_wire::relay::deployed::{self, Ack, AuthChallenge, PreKeysLow, UploadAuthorization};
use towline_wire::relay::number::Candidate;
use towline_wire::relay::{ErrorName, Excess, seed};

use super::Dialect;
use crate::auth::Challenge;
use crate::store::{PreKey, Registration};
use crate::{Address, Owner};

/// Writes frames to one client, and counts those that are no answers: the first has the sequence number 1.
#[derive(Debug)]
pub struct Speaker {
    dialect: Dialect,
    last: u32,
}

/// What the relay answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer<'a> {
    /// It is done.
    Done,
    /// The prekeys of an owner's devices.
    PreKeys(&'a Owner, Vec<PreKey>),
    /// A number, and the domain in which its short number is unique; answers a login, too. Where the
    /// dialect has no numbers it says that it is done.
    Number(Candidate, &'a str),
    /// Permissions to upload attachments. Where the dialect has none it says that it is done.
    Uploads(Vec<UploadAuthorization>),
    /// The request is refused or has failed. The text is for people, and mostly empty.
    Refused(ErrorName, &'a str),
}

impl Speaker {
    /// One that has said nothing yet.
    #[must_use]
    pub const fn new(dialect: Dialect) -> Self {
        Self { dialect, last: 0 }
    }

    /// Says what a client hears first: the challenge, and in [`Dialect::Deployed`] how many bytes an
    /// attachment may have.
    ///
    /// # Errors
    /// Never, as long as a challenge fits in a message.
    pub fn greet(
        &mut self,
        challenge: &Challenge,
        max_attachment_size: i64,
        frames: &mut VecDeque<Bytes>,
    ) -> Result<(), Excess> {
        let challenge = AuthChallenge { nonce: Bytes::copy_from_slice(challenge.as_bytes()) };
        let sequence = self.next();
        frames.push_back(match self.dialect {
            Dialect::Deployed => {
                deployed_frame(sequence, deployed::Payload::AuthChallenge(challenge))?
            }
            Dialect::Seed => seed_frame(sequence, seed::Payload::AuthChallenge(challenge))?,
        });
        if self.dialect == Dialect::Deployed {
            let configuration = deployed::Configuration { max_attachment_size };
            let payload = deployed::Payload::Configuration(configuration);
            frames.push_back(deployed_frame(self.next(), payload)?);
        }
        Ok(())
    }

    /// Hands over a message that has come in, and gives the sequence number by which the client will
    /// acknowledge it.
    ///
    /// # Errors
    /// The message does not fit; there is no frame then.
    pub fn deliver(&mut self, message: Bytes, frames: &mut VecDeque<Bytes>) -> Result<u32, Excess> {
        let sequence = self.next();
        frames.push_back(match self.dialect {
            Dialect::Deployed => {
                let inbound = deployed::InboundMessage { unidentified_sender_message: message };
                deployed_frame(sequence, deployed::Payload::InboundMessage(inbound))?
            }
            Dialect::Seed => seed_frame(sequence, seed::Payload::InboundMessage(message))?,
        });
        Ok(sequence)
    }

    /// Asks the client to register again, with this many one-time prekeys.
    ///
    /// # Errors
    /// Never, as long as a number fits in a message.
    pub fn ask_for_prekeys(
        &mut self,
        keys_requested: u32,
        frames: &mut VecDeque<Bytes>,
    ) -> Result<(), Excess> {
        let low = PreKeysLow { keys_requested };
        let sequence = self.next();
        frames.push_back(match self.dialect {
            Dialect::Deployed => deployed_frame(sequence, deployed::Payload::PreKeysLow(low))?,
            Dialect::Seed => seed_frame(sequence, seed::Payload::PreKeysLow(low))?,
        });
        Ok(())
    }

    /// Answers the request with this sequence number. In [`Dialect::Seed`] each device's prekeys are a frame
    /// of their own, with a sequence number of the relay's; if there are none, it says that it is done.
    ///
    /// # Errors
    /// The answer does not fit; there is no frame of it then.
    pub fn answer(
        &mut self,
        sequence: u32,
        answer: Answer<'_>,
        frames: &mut VecDeque<Bytes>,
    ) -> Result<(), Excess> {
        match self.dialect {
            Dialect::Deployed => {
                frames.push_back(deployed_frame(sequence, deployed_answer(answer))?);
            }
            Dialect::Seed => match answer {
                Answer::PreKeys(owner, keys) => {
                    let before = frames.len();
                    for key in keys.into_iter().filter_map(|key| seed_prekey(owner, key)) {
                        let frame = seed_frame(self.next(), seed::Payload::PreKey(key));
                        let frame = frame.inspect_err(|_| frames.truncate(before))?;
                        frames.push_back(frame);
                    }
                    // No frame at all would leave the client waiting.
                    if frames.len() == before {
                        frames.push_back(seed_frame(sequence, seed::Payload::Ack(Ack {}))?);
                    }
                }
                Answer::Done | Answer::Number(..) | Answer::Uploads(_) => {
                    frames.push_back(seed_frame(sequence, seed::Payload::Ack(Ack {}))?);
                }
                Answer::Refused(name, text) => {
                    frames
                        .push_back(seed_frame(sequence, seed::Payload::Error(error(name, text)))?);
                }
            },
        }
        Ok(())
    }

    /// Zero comes again after four billion frames; clients only compare.
    fn next(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.last
    }
}

impl Dialect {
    /// Whether a device's prekeys fit in the answer to whoever asks for them.
    ///
    /// # Errors
    /// They do not.
    pub fn check_prekeys(
        self,
        address: &Address,
        registration: &Registration,
    ) -> Result<(), Excess> {
        let longest = registration.one_time.iter().max_by_key(|key| key.len());
        let key = PreKey {
            device: address.device.clone(),
            registration_id: registration.id,
            signed: registration.signed.clone(),
            one_time: longest.cloned(),
        };
        let answer = Answer::PreKeys(&address.owner, vec![key]);
        // The longest sequence numbers there are, whoever counts them.
        let mut speaker = Speaker { dialect: self, last: u32::MAX - 1 };
        speaker.answer(u32::MAX, answer, &mut VecDeque::new())
    }
}

fn deployed_answer(answer: Answer<'_>) -> deployed::Payload {
    use deployed::Payload;

    match answer {
        Answer::Done => Payload::Ack(Ack {}),
        Answer::PreKeys(_, keys) => {
            let keys = keys.into_iter().map(|key| deployed::PreKey {
                device_id: Bytes::copy_from_slice(key.device.as_bytes()),
                signed_pre_key: key.signed,
                one_time_pre_key: key.one_time.unwrap_or_default(),
            });
            Payload::PreKeys(deployed::PreKeys { pre_keys: keys.collect() })
        }
        Answer::Number(Candidate { number, short }, domain) => {
            let short_number = short;
            Payload::ChatNumber(deployed::ChatNumber {
                number,
                short_number,
                domain: domain.into(),
            })
        }
        Answer::Uploads(authorizations) => {
            Payload::UploadAuthorizations(deployed::UploadAuthorizations { authorizations })
        }
        Answer::Refused(name, text) => Payload::Error(error(name, text)),
    }
}

/// `None` if the device is no number, as one of a user always is.
fn seed_prekey(owner: &Owner, key: PreKey) -> Option<seed::PreKey> {
    let user_id = Bytes::copy_from_slice(owner.as_bytes());
    let device_id = key.device.number()?;
    Some(seed::PreKey {
        address: Some(seed::Address { user_id, device_id }),
        registration_id: key.registration_id,
        signed_pre_key: key.signed,
        one_time_pre_key: key.one_time.unwrap_or_default(),
    })
}

fn error(name: ErrorName, text: &str) -> deployed::Error {
    deployed::Error { description: text.into(), ..name.into() }
}

fn deployed_frame(sequence: u32, payload: deployed::Payload) -> Result<Bytes, Excess> {
    let mut frame = Vec::new();
    deployed::Message { sequence, payload: Some(payload) }.encode(&mut frame)?;
    Ok(frame.into())
}

fn seed_frame(sequence: u32, payload: seed::Payload) -> Result<Bytes, Excess> {
    let mut frame = Vec::new();
    seed::Message { sequence, payload: Some(payload) }.encode(&mut frame)?;
    Ok(frame.into())
}
