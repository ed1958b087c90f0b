//! Session Data protocol, version 1 (RFC-0007, 4.3 to 4.6).
//!
//! [`Codec`] holds what both ends of a session agree on, the dialect and the MTU, and turns datagrams
//! into [`Message`]s and back. Payloads stay where they are: a decoded message is a view of its
//! datagram, checked once.

mod acknowledgement;
mod request;
mod segment;

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

pub use acknowledgement::Acknowledgement;
pub use request::{MissingSegments, Request, RequestEntry};
pub use segment::{FrameId, Segment, SegmentHeader};

use crate::header::{HEADER_LEN, Header, Open};
use crate::{DATA_VERSION, DecodeError, Dialect, EncodeError, Mtu};

/// Bytes that a segment takes beside its data: 4 of header, 4 of frame id, index and flags.
pub const SEGMENT_OVERHEAD: usize = HEADER_LEN + segment::FIXED_LEN;

/// How many segments of a frame a retransmission request can name (RFC-0007, 4.5.2).
pub const MAX_REQUESTABLE_SEGMENTS: u8 = 8;

const SEGMENT: u8 = 0x00;
const REQUEST: u8 = 0x01;
const ACKNOWLEDGEMENT: u8 = 0x02;

/// A message of the Session Data protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A piece of a frame.
    Segment(Segment),
    /// What the receiver wants sent again.
    Request(Request),
    /// What the receiver has whole.
    Acknowledgement(Acknowledgement),
}

/// Encoder and decoder of data messages for one dialect and MTU.
///
/// What it encodes, the codec of the same configuration decodes to the same message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    dialect: Dialect,
    mtu: Mtu,
}

impl Codec {
    /// A codec for messages of at most `mtu` bytes.
    #[must_use]
    pub const fn new(dialect: Dialect, mtu: Mtu) -> Self {
        Self { dialect, mtu }
    }

    /// The dialect spoken.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The largest message understood, in bytes.
    #[must_use]
    pub const fn mtu(&self) -> Mtu {
        self.mtu
    }

    /// The largest message sent, in bytes: the MTU, or less where the dialect limits the length field.
    #[must_use]
    pub const fn max_message_len(&self) -> usize {
        self.max_sent_payload() + HEADER_LEN
    }

    /// Data bytes in a full segment: `C - 10` (RFC-0007, 4.4.2).
    #[must_use]
    pub const fn max_segment_data(&self) -> usize {
        self.max_message_len() - SEGMENT_OVERHEAD
    }

    /// The longest frame in bytes: every segment that the dialect can count, all full.
    #[must_use]
    pub const fn max_frame_len(&self) -> usize {
        self.max_segment_data() * self.dialect.max_segments() as usize
    }

    /// Entries in a full retransmission request: `(C - 4) / 5` (RFC-0007, 4.5.2).
    #[must_use]
    pub const fn max_request_entries(&self) -> usize {
        self.max_sent_payload() / request::ENTRY_LEN
    }

    /// Frame ids in a full acknowledgement: `(C - 4) / 4` (RFC-0007, 4.6.1).
    #[must_use]
    pub const fn max_acknowledged_frames(&self) -> usize {
        self.max_sent_payload() / acknowledgement::ENTRY_LEN
    }

    /// Decodes a datagram that holds exactly one message.
    ///
    /// # Errors
    /// The [`DecodeError`] that names the first thing wrong; [`DecodeError::TrailingBytes`] when more
    /// than one message is there.
    pub fn decode(&self, mut datagram: Bytes) -> Result<Message, DecodeError> {
        let (kind, payload) = self.split_payload(&mut datagram)?;
        if !datagram.is_empty() {
            return Err(DecodeError::TrailingBytes(datagram.len()));
        }
        self.decode_payload(kind, payload)
    }

    /// Splits a datagram into the messages that stand in it one after another.
    ///
    /// # Errors
    /// The datagram is refused whole when it is no sequence of complete messages.
    pub fn messages(&self, datagram: Bytes) -> Result<Messages, DecodeError> {
        let mut rest = &datagram[..];
        loop {
            let header = self.decode_header(rest)?;
            rest = &rest[HEADER_LEN + header.length..];
            if rest.is_empty() {
                //= docs/spec/data.md#datagram
                //# A receiver MUST accept a datagram of several complete Data messages, one behind
                //# the other.
                return Ok(Messages { codec: *self, rest: datagram });
            }
        }
    }

    /// Appends a segment to `out`.
    ///
    /// # Errors
    /// [`EncodeError::TooManySegments`] and [`EncodeError::TooLong`]; `out` is then unchanged.
    #[inline]
    pub fn encode_segment(
        &self,
        header: SegmentHeader,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let length = segment::FIXED_LEN + data.len();
        let limit = self.max_sent_payload();
        if length > limit {
            return Err(EncodeError::TooLong { length, limit });
        }
        let fixed = header.encode(self.dialect)?;
        let [high, low] = (length as u16).to_be_bytes();
        let [id0, id1, id2, id3, index, flags] = fixed;
        //= docs/spec/data.md#header
        //# A sender MUST write 0x01 as the version of a Data message and the number of payload
        //# bytes as its length.
        out.reserve(HEADER_LEN + length);
        out.extend_from_slice(&[
            DATA_VERSION,
            SEGMENT,
            high,
            low,
            id0,
            id1,
            id2,
            id3,
            index,
            flags,
        ]);
        out.extend_from_slice(data);
        Ok(())
    }

    /// Appends a retransmission request to `out`; `entries` ascend by frame id.
    ///
    /// # Errors
    /// [`EncodeError::UnorderedEntries`], and [`EncodeError::TooManyEntries`] above
    /// [`max_request_entries`](Self::max_request_entries); `out` is then unchanged.
    pub fn encode_request(
        &self,
        entries: impl IntoIterator<Item = RequestEntry>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        //= docs/spec/data.md#request
        //# A request MUST hold at most `(C - 4) / 5` entries of a frame id in 4 bytes and a bitmap
        //# of missing segments in 1, in ascending order of the ids, each id once.
        let entries = entries.into_iter().map(|entry| {
            let [a, b, c, d] = entry.frame_id.get().to_be_bytes();
            (entry.frame_id, [a, b, c, d, self.dialect.bitmap(entry.missing.bits())])
        });
        self.encode_list(REQUEST, entries, out)
    }

    /// Appends a frame acknowledgement to `out`; `frames` ascend.
    ///
    /// # Errors
    /// [`EncodeError::UnorderedEntries`], and [`EncodeError::TooManyEntries`] above
    /// [`max_acknowledged_frames`](Self::max_acknowledged_frames); `out` is then unchanged.
    pub fn encode_acknowledgement(
        &self,
        frames: impl IntoIterator<Item = FrameId>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        //= docs/spec/data.md#acknowledgement
        //# An acknowledgement MUST hold at most `(C - 4) / 4` frame ids in 4 bytes each, in
        //# ascending order, each once.
        let entries = frames.into_iter().map(|frame| (frame, frame.get().to_be_bytes()));
        self.encode_list(ACKNOWLEDGEMENT, entries, out)
    }

    /// Appends any message to `out`.
    ///
    /// # Errors
    /// As the encoder of its kind.
    pub fn encode(&self, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match message {
            Message::Segment(segment) => self.encode_segment(segment.header, &segment.data, out),
            Message::Request(request) => self.encode_request(request.entries(), out),
            Message::Acknowledgement(acknowledgement) => {
                self.encode_acknowledgement(acknowledgement.frames(), out)
            }
        }
    }

    /// Requests and acknowledgements: ascending entries of `N` bytes, padded where the dialect pads.
    fn encode_list<const N: usize>(
        &self,
        kind: u8,
        entries: impl Iterator<Item = (FrameId, [u8; N])>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let limit = self.max_sent_payload();
        //= docs/spec/data.md#header
        //# A sender MUST write 0x01 as the version of a Data message and the number of payload
        //# bytes as its length.
        let mut open = Open::new(DATA_VERSION, kind, out);
        let mut last = None;
        for (frame, entry) in entries {
            //= docs/spec/data.md#request
            //# A request MUST hold at most `(C - 4) / 5` entries of a frame id in 4 bytes and a
            //# bitmap of missing segments in 1, in ascending order of the ids, each id once.
            //= docs/spec/data.md#acknowledgement
            //# An acknowledgement MUST hold at most `(C - 4) / 4` frame ids in 4 bytes each, in
            //# ascending order, each once.
            if last >= Some(frame) {
                return Err(open.abandon(EncodeError::UnorderedEntries));
            }
            if open.len() + N > limit {
                return Err(open.abandon(EncodeError::TooManyEntries { limit: limit / N }));
            }
            open.put(&entry);
            last = Some(frame);
        }
        //= docs/spec/data.md#padding
        //# In `hoprnet` a sender MUST pad requests and acknowledgements with zeros to a payload of
        //# `C - 4` bytes.
        if self.dialect.pads_control() {
            open.pad_to(limit);
        }
        open.finish(limit)
    }

    /// The most payload that is sent: `C - 4`, or less where the dialect limits the length field.
    const fn max_sent_payload(&self) -> usize {
        //= docs/spec/data.md#length
        //# A sender MUST NOT send a Data message that is longer than `C`, or in `rfc0007` one with
        //# a payload of more than 2047 bytes.
        let limit = self.dialect.max_sent_payload();
        let fits = self.max_received_payload();
        if fits < limit { fits } else { limit }
    }

    /// The most payload that is understood: `C - 4`, whatever the dialect.
    const fn max_received_payload(&self) -> usize {
        //= docs/spec/data.md#length
        //# A receiver MUST accept a payload of up to `C - 4` bytes, in every dialect.
        self.mtu.get() - HEADER_LEN
    }

    /// The header of the first message in `bytes`, all of whose payload is there.
    #[inline]
    fn decode_header(&self, bytes: &[u8]) -> Result<Header, DecodeError> {
        //= docs/spec/data.md#header
        //# A receiver MUST ignore a datagram with a Data message of any other version.
        let header = Header::decode(DATA_VERSION, bytes)?;
        let (length, have, limit) =
            (header.length, bytes.len() - HEADER_LEN, self.max_received_payload());
        //= docs/spec/data.md#length
        //# A receiver MUST ignore a datagram with a Data message whose length is more than `C - 4`.
        if length > limit {
            return Err(DecodeError::TooLong { length, limit });
        }
        //= docs/spec/data.md#datagram
        //# A receiver MUST ignore a datagram that does not end with the end of a message.
        if length > have {
            return Err(DecodeError::LengthBeyondEnd { length, have });
        }
        Ok(header)
    }

    /// Takes the first message off the datagram: its type and payload.
    #[inline]
    fn split_payload(&self, datagram: &mut Bytes) -> Result<(u8, Bytes), DecodeError> {
        let header = self.decode_header(datagram)?;
        let length = HEADER_LEN + header.length;
        // The usual datagram is one message: moving it costs no reference count.
        let mut message = if length == datagram.len() {
            core::mem::take(datagram)
        } else {
            datagram.split_to(length)
        };
        message.advance(HEADER_LEN);
        Ok((header.kind, message))
    }

    #[inline]
    fn decode_payload(&self, kind: u8, payload: Bytes) -> Result<Message, DecodeError> {
        match kind {
            SEGMENT => Segment::decode(self.dialect, payload).map(Message::Segment),
            REQUEST => Request::decode(self.dialect, payload).map(Message::Request),
            ACKNOWLEDGEMENT => Acknowledgement::decode(payload).map(Message::Acknowledgement),
            //= docs/spec/data.md#header
            //# A receiver MUST ignore a Data message of a type that is not in the table.
            other => Err(DecodeError::UnknownType(other)),
        }
    }
}

/// The messages of one datagram, as [`Codec::messages`] splits them.
#[derive(Clone, Debug)]
pub struct Messages {
    codec: Codec,
    rest: Bytes,
}

impl Iterator for Messages {
    type Item = Result<Message, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = self.codec.split_payload(&mut self.rest);
        //= docs/spec/data.md#datagram
        //# A receiver MUST NOT ignore a message because another one in its datagram is malformed.
        Some(split.and_then(|(kind, payload)| self.codec.decode_payload(kind, payload)))
    }
}

/// Checks the entries of a request or an acknowledgement, once and for all later readers: ids ascend,
/// padding (id 0) may stand anywhere, and an incomplete entry at the end is zeros.
fn check_entries<const N: usize>(payload: &[u8]) -> Result<(), DecodeError> {
    let (entries, rest) = payload.as_chunks::<N>();
    let mut last = 0;
    for entry in entries {
        let id = frame_id_bits(entry);
        //= docs/spec/data.md#padding
        //# A receiver MUST skip entries with frame id 0 wherever they stand.
        if id != 0 {
            //= docs/spec/data.md#request
            //# A receiver MUST ignore a request whose frame ids do not ascend.
            //= docs/spec/data.md#acknowledgement
            //# A receiver MUST ignore an acknowledgement whose frame ids do not ascend.
            if id <= last {
                return Err(DecodeError::UnorderedEntries);
            }
            last = id;
        }
    }
    //= docs/spec/data.md#padding
    //# A receiver MUST accept an incomplete entry of zeros at the end of the payload.
    //= docs/spec/data.md#padding
    //# A receiver MUST ignore a request or an acknowledgement that ends in an incomplete entry of
    //# anything else.
    if rest.iter().any(|&byte| byte != 0) {
        return Err(DecodeError::PartialEntry(rest.len()));
    }
    Ok(())
}

fn frame_id_bits<const N: usize>(entry: &[u8; N]) -> u32 {
    entry.iter().take(4).fold(0, |id, &byte| id << 8 | u32::from(byte))
}
