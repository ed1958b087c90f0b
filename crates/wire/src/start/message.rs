//! The four messages of the handshake.

use alloc::vec::Vec;
use core::fmt;

use bytes::{Buf, Bytes};

use super::{Capabilities, Cbor};
use crate::header::{HEADER_LEN, Header, Open};
use crate::{DecodeError, Dialect, EncodeError, START_VERSION};

const START_SESSION: u8 = 0x00;
const SESSION_ESTABLISHED: u8 = 0x01;
const SESSION_ERROR: u8 = 0x02;
const KEEP_ALIVE: u8 = 0x03;

/// Payload bytes of a StartSession before its target: challenge, capabilities, additional data.
const START_SESSION_FIXED: usize = 13;

/// A message of the Session Start protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The initiator asks for a session.
    StartSession(StartSession),
    /// The responder grants it.
    SessionEstablished(SessionEstablished),
    /// The responder refuses it.
    SessionError(SessionError),
    /// Either side shows life.
    KeepAlive(KeepAlive),
}

/// Asks for a session to a target (RFC-0007, 4.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSession {
    /// Ties the answer to the request.
    pub challenge: Challenge,
    /// What the session shall offer.
    pub capabilities: Capabilities,
    /// Options that depend on the capabilities; 0 to ignore.
    pub additional_data: u32,
    /// Where the session leads.
    pub target: Cbor,
}

/// Grants a session (RFC-0007, 4.2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEstablished {
    /// The challenge of the request.
    pub challenge: Challenge,
    /// The id that the responder gave the session.
    pub session_id: Cbor,
}

/// Refuses a session (RFC-0007, 4.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionError {
    /// The challenge of the request.
    pub challenge: Challenge,
    /// Why.
    pub reason: ErrorReason,
}

/// Keeps a session alive (RFC-0007, 4.2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Zero except where the dialect is `hoprnet`: others must not send flags and ignore received ones.
    pub flags: KeepAliveFlags,
    /// Options that depend on the flags; 0 to ignore. 4 bytes on the wire in `rfc0007`, else 8.
    pub additional_data: u64,
    /// The session.
    pub session_id: Cbor,
}

/// A 64-bit random value that ties answers to requests. Its randomness is the only thing that keeps
/// strangers from answering, so `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Challenge(pub u64);

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(..)")
    }
}

/// Why a responder refuses (RFC-0007, 4.2.5). A code without a name reads as an unknown error and
/// keeps its value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorReason(u8);

impl ErrorReason {
    /// An error that has no code.
    pub const UNKNOWN: Self = Self(0x00);
    /// All session slots are taken.
    pub const NO_SLOTS_AVAILABLE: Self = Self(0x01);
    /// Too many requests just now.
    pub const BUSY: Self = Self(0x02);

    /// The reason with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Whether the code is neither [`NO_SLOTS_AVAILABLE`](Self::NO_SLOTS_AVAILABLE) nor
    /// [`BUSY`](Self::BUSY).
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        //= docs/spec/start.md#unknown-reasons
        //# A receiver MUST take a reason that is not in the table for an unknown error, and keep
        //# its code.
        !matches!(self, Self::NO_SLOTS_AVAILABLE | Self::BUSY)
    }
}

impl fmt::Display for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNKNOWN => f.write_str("unknown error"),
            Self::NO_SLOTS_AVAILABLE => f.write_str("no slots available"),
            Self::BUSY => f.write_str("busy"),
            Self(code) => write!(f, "unknown error {code:#04x}"),
        }
    }
}

impl fmt::Debug for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorReason({self})")
    }
}

/// What the additional data of a keep-alive means. The RFC reserves all flags; deployed peers use two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeepAliveFlags(u8);

impl KeepAliveFlags {
    /// The additional data means nothing.
    pub const NONE: Self = Self(0);
    /// The additional data is the level of reply credit that the sender wants.
    pub const WANTED_CREDIT: Self = Self(0x01);
    /// The additional data is the level of reply credit that the sender estimates.
    pub const ESTIMATED_CREDIT: Self = Self(0x02);

    /// The flags with these bits, known or not.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Message {
    /// Decodes a datagram that holds one message.
    ///
    /// In `hoprnet` the length field and bytes after the message are overlooked, since deployed peers
    /// overlook them. Keep-alives of both widths are understood, those of 4 bytes by a right length.
    ///
    /// # Errors
    /// The [`DecodeError`] that names the first thing wrong.
    pub fn decode(dialect: Dialect, mut datagram: Bytes) -> Result<Self, DecodeError> {
        let header = Header::decode(START_VERSION, &datagram)?;
        //= docs/spec/start.md#header
        //# A receiver MUST ignore a Start message of a type that is not in the table.
        if header.kind > KEEP_ALIVE {
            return Err(DecodeError::UnknownType(header.kind));
        }
        datagram.advance(HEADER_LEN);
        let (length, have) = (header.length, datagram.len());
        //= docs/spec/start.md#header
        //# In `rfc0007` and `rfc0009` a receiver MUST ignore a Start message whose length is not
        //# the number of bytes that follow the header.
        if dialect.checks_start_length() && length != have {
            return Err(if length > have {
                DecodeError::LengthBeyondEnd { length, have }
            } else {
                DecodeError::TrailingBytes(have - length)
            });
        }
        let payload = Payload { bytes: datagram, strict: dialect.checks_start_length() };
        match header.kind {
            START_SESSION => payload.start_session().map(Self::StartSession),
            SESSION_ESTABLISHED => payload.session_established().map(Self::SessionEstablished),
            SESSION_ERROR => payload.session_error().map(Self::SessionError),
            _ => payload.keep_alive(dialect, length).map(Self::KeepAlive),
        }
    }

    /// Appends the message to `out`.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when the CBOR item overflows the length field, and for keep-alives
    /// [`EncodeError::ReservedFlags`] and [`EncodeError::AdditionalDataTooWide`]; `out` is then
    /// unchanged.
    pub fn encode(&self, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let limit = usize::from(u16::MAX);
        match self {
            Self::StartSession(message) => {
                //= docs/spec/start.md#header
                //# A sender MUST write 0x02 as the version of a Start message and the number of
                //# payload bytes as its length.
                let mut open = Open::new(START_VERSION, START_SESSION, out);
                //= docs/spec/start.md#start-session
                //# A StartSession MUST hold the challenge in 8 bytes, the capabilities in 1, the
                //# additional data in 4, and the target, in this order.
                open.put(&message.challenge.0.to_be_bytes());
                open.put(&[message.capabilities.bits()]);
                open.put(&message.additional_data.to_be_bytes());
                open.put(message.target.as_bytes());
                open.finish(limit)
            }
            Self::SessionEstablished(message) => {
                let mut open = Open::new(START_VERSION, SESSION_ESTABLISHED, out);
                //= docs/spec/start.md#session-established
                //# A SessionEstablished MUST hold the challenge of the request that it grants in 8
                //# bytes and the session id, in this order.
                open.put(&message.challenge.0.to_be_bytes());
                open.put(message.session_id.as_bytes());
                open.finish(limit)
            }
            Self::SessionError(message) => {
                let mut open = Open::new(START_VERSION, SESSION_ERROR, out);
                //= docs/spec/start.md#session-error
                //# A SessionError MUST hold the challenge of the request that it refuses in 8 bytes
                //# and the reason in 1, in this order.
                open.put(&message.challenge.0.to_be_bytes());
                open.put(&[message.reason.code()]);
                open.finish(limit)
            }
            Self::KeepAlive(message) => {
                let mut open = Open::new(START_VERSION, KEEP_ALIVE, out);
                let flags = message.flags.bits();
                //= docs/spec/start.md#keep-alive
                //# In `rfc0007` and `rfc0009` a sender MUST send a KeepAlive with all flags zero.
                if flags != 0 && !dialect.has_keep_alive_flags() {
                    return Err(open.abandon(EncodeError::ReservedFlags(flags)));
                }
                //= docs/spec/start.md#keep-alive
                //# A KeepAlive MUST hold the flags in 1 byte, the additional data in 4 bytes in
                //# `rfc0007` and in 8 in the other dialects, and the session id, in this order.
                open.put(&[flags]);
                let width = dialect.keep_alive_width();
                let data = message.additional_data.to_be_bytes();
                let (excess, field) = data.split_at(data.len() - width);
                if excess.iter().any(|&byte| byte != 0) {
                    return Err(open.abandon(EncodeError::AdditionalDataTooWide { width }));
                }
                open.put(field);
                open.put(message.session_id.as_bytes());
                open.finish(limit)
            }
        }
    }
}

/// The bytes after the header.
struct Payload {
    bytes: Bytes,
    /// Whether nothing may follow the message.
    strict: bool,
}

impl Payload {
    fn start_session(mut self) -> Result<StartSession, DecodeError> {
        self.require(START_SESSION_FIXED)?;
        Ok(StartSession {
            challenge: Challenge(self.bytes.get_u64()),
            capabilities: Capabilities::from_bits(self.bytes.get_u8()),
            additional_data: self.bytes.get_u32(),
            target: self.item()?,
        })
    }

    fn session_established(mut self) -> Result<SessionEstablished, DecodeError> {
        self.require(8)?;
        let challenge = Challenge(self.bytes.get_u64());
        Ok(SessionEstablished { challenge, session_id: self.item()? })
    }

    fn session_error(mut self) -> Result<SessionError, DecodeError> {
        self.require(9)?;
        let challenge = Challenge(self.bytes.get_u64());
        let reason = ErrorReason::from_code(self.bytes.get_u8());
        //= docs/spec/start.md#header
        //# In `rfc0007` and `rfc0009` a receiver MUST ignore a Start message with bytes behind its
        //# last field.
        if self.strict && !self.bytes.is_empty() {
            return Err(DecodeError::TrailingBytes(self.bytes.len()));
        }
        Ok(SessionError { challenge, reason })
    }

    fn keep_alive(self, dialect: Dialect, length: usize) -> Result<KeepAlive, DecodeError> {
        let width = dialect.keep_alive_width();
        if !dialect.accepts_both_keep_alive_widths() {
            return self.keep_alive_of(dialect, width);
        }
        //= docs/spec/start.md#keep-alive
        //# In `hoprnet` a receiver MUST accept a KeepAlive of either width, and read one that fits
        //# both as one of 8 bytes.
        // The width that leaves exactly one item is the sender's, ours before the other. Only with a
        // right length field may it be the other: a keep-alive cut short looks like that, too.
        let exactly = |bytes: &Bytes, width| {
            Self { bytes: bytes.clone(), strict: true }.keep_alive_of(dialect, width).ok()
        };
        let stated = (length <= self.bytes.len()).then(|| self.bytes.slice(..length));
        let stated = stated.as_ref();
        stated
            .and_then(|stated| exactly(stated, width))
            .or_else(|| exactly(&self.bytes, width))
            .or_else(|| exactly(stated?, 12 - width))
            .map_or_else(|| self.keep_alive_of(dialect, width), Ok)
    }

    fn keep_alive_of(mut self, dialect: Dialect, width: usize) -> Result<KeepAlive, DecodeError> {
        self.require(1 + width)?;
        //= docs/spec/start.md#keep-alive
        //# A receiver MUST take a KeepAlive for a sign of life whatever its flags are.
        let flags = KeepAliveFlags::from_bits(self.bytes.get_u8());
        Ok(KeepAlive {
            flags: if dialect.has_keep_alive_flags() { flags } else { KeepAliveFlags::NONE },
            additional_data: self.bytes.get_uint(width),
            session_id: self.item()?,
        })
    }

    /// The CBOR item that takes the rest of the payload.
    fn item(self) -> Result<Cbor, DecodeError> {
        //= docs/spec/start.md#header
        //# In `rfc0007` and `rfc0009` a receiver MUST ignore a Start message with bytes behind its
        //# last field.
        if self.strict { Cbor::from_bytes(self.bytes) } else { Cbor::from_prefix(self.bytes) }
    }

    fn require(&self, needed: usize) -> Result<(), DecodeError> {
        let have = self.bytes.len();
        //= docs/spec/start.md#header
        //# A receiver MUST ignore a Start message whose payload ends within its fixed fields.
        if have < needed { Err(DecodeError::Truncated { needed, have }) } else { Ok(()) }
    }
}
