//! The suite's own reading and writing of messages, from the field tables of the specification alone.
//!
//! It shares nothing with `towline-wire`: a suite that spoke through the codec that it tests would share
//! its mistakes. Writing checks nothing, so that what is wrong can be said too; reading is strict, since a
//! subject has to send what every peer of its dialect can bear.

use towline_wire::Dialect;

/// Bytes of version, type and length.
pub const HEADER: usize = 4;
/// Bytes of a segment beside its data.
pub const SEGMENT_OVERHEAD: usize = 10;

const DATA: u8 = 1;
const START: u8 = 2;

/// A message of either protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A piece of a frame.
    Segment(Segment),
    /// Missing segments by frame; bit N is segment N, whatever the dialect.
    Request(Vec<(u32, u8)>),
    /// Frames that have arrived whole.
    Acknowledgement(Vec<u32>),
    /// Asks for a session.
    StartSession(StartSession),
    /// Grants a session.
    SessionEstablished {
        /// The request's challenge.
        challenge: u64,
        /// One CBOR item.
        session_id: Vec<u8>,
    },
    /// Refuses a session.
    SessionError {
        /// The request's challenge.
        challenge: u64,
        /// Why.
        reason: u8,
    },
    /// Shows life.
    KeepAlive {
        /// Zero but in `hoprnet`.
        flags: u8,
        /// Zero to ignore.
        additional_data: u64,
        /// One CBOR item.
        session_id: Vec<u8>,
    },
}

/// A piece of a frame (`data#segment`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From 1.
    pub frame: u32,
    /// From 0.
    pub index: u8,
    /// Segments in the frame, as they count in the dialect: from 1.
    pub count: u8,
    /// Whether it ends the sender's direction.
    pub terminating: bool,
    /// What it carries.
    pub data: Vec<u8>,
}

/// A request for a session (`start#start-session`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSession {
    /// Ties the answer to the request.
    pub challenge: u64,
    /// What the session shall offer.
    pub capabilities: u8,
    /// Zero to ignore.
    pub additional_data: u32,
    /// One CBOR item.
    pub target: Vec<u8>,
}

/// What both ends agree on.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// Whose bytes are meant.
    pub dialect: Dialect,
    /// The largest message in bytes, tag excluded: `C`.
    pub mtu: usize,
}

impl Wire {
    /// The most payload that a conforming sender puts in a data message, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        let fits = self.mtu - HEADER;
        if self.dialect == Dialect::Rfc0007 { fits.min(2047) } else { fits }
    }

    /// Data bytes in a full segment.
    #[must_use]
    pub fn segment_data(&self) -> usize {
        self.max_payload() + HEADER - SEGMENT_OVERHEAD
    }

    /// Segments that the dialect can count.
    #[must_use]
    pub fn max_segments(&self) -> usize {
        if self.dialect == Dialect::Hoprnet { 63 } else { 64 }
    }

    /// A message's bytes. Nothing is checked.
    #[must_use]
    pub fn encode(&self, message: &Message) -> Vec<u8> {
        let (version, kind, payload) = match message {
            Message::Segment(segment) => (DATA, 0, self.segment(segment)),
            Message::Request(entries) => {
                let entry = |&(frame, missing): &(u32, u8)| {
                    let [a, b, c, d] = frame.to_be_bytes();
                    [a, b, c, d, self.bitmap(missing)]
                };
                (DATA, 1, self.padded(entries.iter().flat_map(entry).collect()))
            }
            Message::Acknowledgement(frames) => {
                (DATA, 2, self.padded(frames.iter().flat_map(|id| id.to_be_bytes()).collect()))
            }
            Message::StartSession(StartSession {
                challenge,
                capabilities,
                additional_data,
                target,
            }) => {
                let mut payload = challenge.to_be_bytes().to_vec();
                payload.push(*capabilities);
                payload.extend(additional_data.to_be_bytes());
                payload.extend(target);
                (START, 0, payload)
            }
            Message::SessionEstablished { challenge, session_id } => {
                (START, 1, [&challenge.to_be_bytes(), &session_id[..]].concat())
            }
            Message::SessionError { challenge, reason } => {
                (START, 2, [&challenge.to_be_bytes()[..], &[*reason]].concat())
            }
            Message::KeepAlive { flags, additional_data, session_id } => {
                let mut payload = vec![*flags];
                let wide = additional_data.to_be_bytes();
                payload.extend(&wide[wide.len() - self.keep_alive_width()..]);
                payload.extend(session_id);
                (START, 3, payload)
            }
        };
        message_of(version, kind, &payload)
    }

    /// Reads one message, all of `bytes`.
    ///
    /// # Errors
    /// What a conforming sender would not have sent, in words.
    pub fn decode(&self, bytes: &[u8]) -> Result<Message, String> {
        let &[version, kind, high, low, ref payload @ ..] = bytes else {
            return Err(format!("{} bytes are no header", bytes.len()));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if payload.len() != length {
            return Err(format!("length {length}, but {} bytes of payload", payload.len()));
        }
        let limit = if version == DATA { self.max_payload() } else { self.mtu - HEADER };
        if length > limit {
            return Err(format!("{length} bytes of payload, {limit} allowed"));
        }
        match (version, kind) {
            (DATA, 0) => self.read_segment(payload),
            (DATA, 1) => self.read_request(payload),
            (DATA, 2) => self.read_acknowledgement(payload),
            (START, kind) => self.read_start(kind, payload),
            (DATA, kind) => Err(format!("unknown type {kind:#04x}")),
            (version, _) => Err(format!("unknown version {version:#04x}")),
        }
    }

    /// The low six bits that stand for a count.
    #[must_use]
    pub fn count_bits(&self, count: u8) -> u8 {
        if self.dialect == Dialect::Hoprnet { count } else { count.wrapping_sub(1) }
    }

    fn segment(&self, segment: &Segment) -> Vec<u8> {
        let mut payload = segment.frame.to_be_bytes().to_vec();
        payload.push(segment.index);
        payload.push(self.count_bits(segment.count) | u8::from(segment.terminating) << 7);
        payload.extend(&segment.data);
        payload
    }

    fn read_segment(&self, payload: &[u8]) -> Result<Message, String> {
        let &[a, b, c, d, index, flags, ref data @ ..] = payload else {
            return Err(format!("{} bytes are no segment", payload.len()));
        };
        let frame = u32::from_be_bytes([a, b, c, d]);
        let bits = flags & 0x3f;
        let count = if self.dialect == Dialect::Hoprnet { bits } else { bits + 1 };
        let terminating = flags & 0x80 != 0;
        let wrong = match () {
            () if frame == 0 => "a segment of frame 0",
            () if flags & 0x40 != 0 => "the reserved flag is set",
            () if count == 0 => "a frame of no segments",
            () if index >= count => "the index is not below the count",
            () if terminating && !data.is_empty() => "a terminating segment with data",
            () => {
                return Ok(Message::Segment(Segment {
                    frame,
                    index,
                    count,
                    terminating,
                    data: data.to_vec(),
                }));
            }
        };
        Err(wrong.to_owned())
    }

    fn read_request(&self, payload: &[u8]) -> Result<Message, String> {
        let mut entries = Vec::new();
        for entry in self.entries(payload, 5)? {
            let frame = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
            entries.push((frame, self.bitmap(entry[4])));
        }
        if entries.iter().any(|&(_, missing)| missing == 0) {
            return Err("a request that names no segment of a frame".to_owned());
        }
        ascending(entries.iter().map(|&(frame, _)| frame))?;
        Ok(Message::Request(entries))
    }

    fn read_acknowledgement(&self, payload: &[u8]) -> Result<Message, String> {
        let id = |entry: &[u8]| u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let frames: Vec<u32> = self.entries(payload, 4)?.map(id).collect();
        ascending(frames.iter().copied())?;
        Ok(Message::Acknowledgement(frames))
    }

    /// The entries before the padding, of which there is at least one.
    fn entries<'a>(
        &self,
        payload: &'a [u8],
        size: usize,
    ) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, String> {
        if self.dialect == Dialect::Hoprnet && payload.len() != self.mtu - HEADER {
            return Err(format!("{} bytes, not padded to {}", payload.len(), self.mtu - HEADER));
        }
        let used = payload.chunks_exact(size).take_while(|entry| entry[..4] != [0; 4]).count();
        let (used, padding) = payload.split_at(used * size);
        if used.is_empty() {
            return Err("a list without an entry".to_owned());
        }
        if padding.iter().any(|&byte| byte != 0) {
            return Err("an incomplete entry, or padding before the end".to_owned());
        }
        Ok(used.chunks_exact(size))
    }

    fn read_start(&self, kind: u8, payload: &[u8]) -> Result<Message, String> {
        let cut = |length: usize| {
            payload
                .split_at_checked(length)
                .ok_or_else(|| format!("{} bytes where {length} are fixed", payload.len()))
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Ok(match kind {
            0 => {
                let (fixed, target) = cut(13)?;
                Message::StartSession(StartSession {
                    challenge: number(&fixed[..8]),
                    capabilities: fixed[8],
                    additional_data: number(&fixed[9..]) as u32,
                    target: item(target)?,
                })
            }
            1 => {
                let (challenge, id) = cut(8)?;
                Message::SessionEstablished { challenge: number(challenge), session_id: item(id)? }
            }
            2 => {
                let (challenge, rest) = cut(8)?;
                let &[reason] = rest else { return Err("a reason is one byte".to_owned()) };
                Message::SessionError { challenge: number(challenge), reason }
            }
            3 => {
                let (fixed, id) = cut(1 + self.keep_alive_width())?;
                if fixed[0] != 0 && self.dialect != Dialect::Hoprnet {
                    return Err(format!("keep-alive flags {:#04x}", fixed[0]));
                }
                Message::KeepAlive {
                    flags: fixed[0],
                    additional_data: number(&fixed[1..]),
                    session_id: item(id)?,
                }
            }
            kind => return Err(format!("unknown type {kind:#04x}")),
        })
    }

    /// A list's payload, padded where the dialect pads.
    pub(crate) fn padded(&self, mut payload: Vec<u8>) -> Vec<u8> {
        if self.dialect == Dialect::Hoprnet && payload.len() < self.mtu - HEADER {
            payload.resize(self.mtu - HEADER, 0);
        }
        payload
    }

    fn bitmap(&self, bits: u8) -> u8 {
        if self.dialect == Dialect::Hoprnet { bits.reverse_bits() } else { bits }
    }

    fn keep_alive_width(&self) -> usize {
        if self.dialect == Dialect::Rfc0007 { 4 } else { 8 }
    }
}

/// A message with any version, type and payload, and the length that belongs to it.
#[must_use]
pub fn message_of(version: u8, kind: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    [&[version, kind, high, low], payload].concat()
}

/// The CBOR item of a text.
#[must_use]
pub fn text(text: &str) -> Vec<u8> {
    cbor(&ciborium::Value::from(text))
}

/// The CBOR item of a number.
#[must_use]
pub fn number(number: u64) -> Vec<u8> {
    cbor(&ciborium::Value::from(number))
}

/// The number that a CBOR item is, if it is one.
#[must_use]
pub fn as_number(item: &[u8]) -> Option<u64> {
    ciborium::from_reader(item).ok()
}

/// The bytes of a CBOR item.
#[must_use]
pub fn cbor(value: &ciborium::Value) -> Vec<u8> {
    let mut item = Vec::new();
    ciborium::into_writer(value, &mut item).expect("a Vec takes every byte");
    item
}

/// Checks that the bytes are exactly one CBOR item.
fn item(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut rest = bytes;
    ciborium::from_reader::<ciborium::Value, _>(&mut rest)
        .map_err(|error| format!("no CBOR item: {error}"))?;
    if rest.is_empty() {
        Ok(bytes.to_vec())
    } else {
        Err(format!("{} bytes follow the CBOR item", rest.len()))
    }
}

fn ascending(frames: impl Iterator<Item = u32>) -> Result<(), String> {
    let mut last = 0;
    for frame in frames {
        if frame <= last {
            return Err(format!("frame {frame} follows frame {last}"));
        }
        last = frame;
    }
    Ok(())
}
