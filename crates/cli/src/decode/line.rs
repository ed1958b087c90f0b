//! What is printed of a message.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use towline_wire::data::{Codec, FrameId, Message as DataMessage};
use towline_wire::start::{Cbor, Challenge, Message as StartMessage};
use towline_wire::{DecodeError, Dialect, Mtu, START_VERSION, split_tag, version};

use super::diagnostic;

/// How datagrams are to be read.
pub(super) struct Decoder {
    pub(super) dialect: Dialect,
    pub(super) mtu: Option<Mtu>,
    pub(super) tagged: bool,
}

/// One line of output.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Line {
    Message(Explained),
    Error { error: String },
}

#[derive(Debug, Serialize)]
pub(super) struct Explained {
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Number>,
    #[serde(flatten)]
    fields: Fields,
    /// The message encoded anew; null where that is not possible, since what is understood is more than what
    /// is sent.
    wire: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Fields {
    Segment { frame_id: u32, index: u8, count: u8, terminating: bool, data: String },
    Request { missing: Vec<(u32, u8)> },
    Acknowledgement { frames: Vec<u32> },
    StartSession { challenge: String, capabilities: u8, additional_data: u32, target: String },
    SessionEstablished { challenge: String, session_id: String },
    SessionError { challenge: String, reason: u8 },
    KeepAlive { flags: u8, additional_data: Number, session_id: String },
}

/// A number that becomes a string where a JSON number would lose digits in many readers.
#[derive(Clone, Copy, Debug)]
struct Number(u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT: u64 = 1 << 53;
        if self.0 > EXACT {
            serializer.collect_str(&self.0)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl Decoder {
    /// Every message of a datagram, or the one thing that is wrong with it.
    pub(super) fn decode(&self, datagram: Bytes) -> Vec<Line> {
        match self.explain(datagram) {
            Ok(messages) => messages.into_iter().map(Line::Message).collect(),
            Err(error) => vec![Line::Error { error: error.to_string() }],
        }
    }

    fn explain(&self, datagram: Bytes) -> Result<Vec<Explained>, DecodeError> {
        let (tag, datagram) = if self.tagged {
            let (tag, message) = split_tag(datagram)?;
            (Some(Number(tag.get())), message)
        } else {
            (None, datagram)
        };
        if version(&datagram) == Some(START_VERSION) {
            let message = StartMessage::decode(self.dialect, datagram)?;
            return Ok(vec![Explained { tag, ..self.start(&message) }]);
        }
        let mut explained = Vec::new();
        let mut rest = datagram.clone();
        for message in self.codec(datagram.len()).messages(datagram)? {
            let raw = rest.split_to(message_len(&rest));
            explained.push(Explained { tag, ..self.data(&message?, raw.len()) });
        }
        Ok(explained)
    }

    /// The codec for messages of this length, if no MTU was given.
    fn codec(&self, length: usize) -> Codec {
        let own = Mtu::new(length.clamp(Mtu::MIN.get(), Mtu::MAX.get()));
        Codec::new(self.dialect, self.mtu.unwrap_or(own.unwrap_or(Mtu::MAX)))
    }

    fn data(&self, message: &DataMessage, length: usize) -> Explained {
        let fields = match message {
            DataMessage::Segment(segment) => Fields::Segment {
                frame_id: segment.header.frame_id().get(),
                index: segment.header.index(),
                count: segment.header.count(),
                terminating: segment.header.is_terminating(),
                data: hex::encode(&segment.data),
            },
            DataMessage::Request(request) => Fields::Request {
                missing: request
                    .entries()
                    .flat_map(|entry| {
                        entry.missing.iter().map(move |index| (entry.frame_id.get(), index))
                    })
                    .collect(),
            },
            DataMessage::Acknowledgement(acknowledgement) => Fields::Acknowledgement {
                frames: acknowledgement.frames().map(FrameId::get).collect(),
            },
        };
        let mut wire = Vec::new();
        let encoded = self.codec(length).encode(message, &mut wire);
        Explained { tag: None, fields, wire: encoded.ok().map(|()| hex::encode(wire)) }
    }

    fn start(&self, message: &StartMessage) -> Explained {
        let fields = match message {
            StartMessage::StartSession(message) => Fields::StartSession {
                challenge: challenge(message.challenge),
                capabilities: message.capabilities.bits(),
                additional_data: message.additional_data,
                target: notation(&message.target),
            },
            StartMessage::SessionEstablished(message) => Fields::SessionEstablished {
                challenge: challenge(message.challenge),
                session_id: notation(&message.session_id),
            },
            StartMessage::SessionError(message) => Fields::SessionError {
                challenge: challenge(message.challenge),
                reason: message.reason.code(),
            },
            StartMessage::KeepAlive(message) => Fields::KeepAlive {
                flags: message.flags.bits(),
                additional_data: Number(message.additional_data),
                session_id: notation(&message.session_id),
            },
        };
        let mut wire = Vec::new();
        let encoded = message.encode(self.dialect, &mut wire);
        Explained { tag: None, fields, wire: encoded.ok().map(|()| hex::encode(wire)) }
    }
}

/// The length of the message at the start of bytes that have been checked to begin with one.
fn message_len(bytes: &[u8]) -> usize {
    const HEADER: usize = 4;
    match bytes {
        &[_, _, high, low, ..] => {
            (HEADER + usize::from(u16::from_be_bytes([high, low]))).min(bytes.len())
        }
        _ => bytes.len(),
    }
}

fn challenge(Challenge(value): Challenge) -> String {
    format!("{value:#x}")
}

fn notation(item: &Cbor) -> String {
    diagnostic::print(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &Decoder, datagram: &str) -> Vec<String> {
        let lines = decoder.decode(hex::decode(datagram).unwrap().into());
        lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect()
    }

    const RFC: Decoder = Decoder { dialect: Dialect::Rfc0007, mtu: None, tagged: false };
    const HOPRNET: Decoder = Decoder { dialect: Dialect::Hoprnet, mtu: None, tagged: false };

    #[test]
    fn each_kind_has_its_fields() {
        for (datagram, line) in [
            (
                "01000007000000010001ab",
                r#"{"kind":"segment","frame_id":1,"index":0,"count":2,"terminating":false,"data":"ab","wire":"01000007000000010001ab"}"#,
            ),
            (
                "010100050000000102",
                r#"{"kind":"request","missing":[[1,1]],"wire":"010100050000000102"}"#,
            ),
            (
                "01020008000000010000000a",
                r#"{"kind":"acknowledgement","frames":[1,10],"wire":"01020008000000010000000a"}"#,
            ),
            (
                "0200000e1234567890abcdef0e0000000005",
                r#"{"kind":"start-session","challenge":"0x1234567890abcdef","capabilities":14,"additional_data":0,"target":"5","wire":"0200000e1234567890abcdef0e0000000005"}"#,
            ),
            (
                "02010009000000000000000029",
                r#"{"kind":"session-established","challenge":"0x0","session_id":"-10","wire":"02010009000000000000000029"}"#,
            ),
            (
                "020200091234567890abcdef01",
                r#"{"kind":"session-error","challenge":"0x1234567890abcdef","reason":1,"wire":"020200091234567890abcdef01"}"#,
            ),
            (
                "0203000600000000076178",
                r#"{"kind":"keep-alive","flags":0,"additional_data":7,"session_id":"\"x\"","wire":"0203000700000000076178"}"#,
            ),
        ] {
            let datagram = datagram.replace("0203000600000000076178", "0203000700000000076178");
            assert_eq!(decode(&RFC, &datagram), [line]);
        }
    }

    #[test]
    fn a_large_number_is_a_string() {
        let line = &decode(&HOPRNET, "0203000a03010203040506070807")[0];
        assert!(line.contains(r#""additional_data":"72623859790382856""#), "{line}");
        assert!(line.contains(r#""flags":3"#), "{line}");
    }

    #[test]
    fn several_messages_in_a_datagram_are_as_many_lines() {
        let lines = decode(
            &RFC,
            "01000007000000010000ab01020004000000010100000600000002 0080".replace(' ', "").as_str(),
        );
        assert_eq!(lines.len(), 3);
        assert!(lines[2].contains(r#""terminating":true"#), "{}", lines[2]);
    }

    #[test]
    fn padding_follows_the_mtu_or_the_message() {
        let acknowledgement = "0102000c000000010000000000000000";
        assert!(decode(&HOPRNET, acknowledgement)[0].contains(acknowledgement));
        let given = Decoder { mtu: Some(Mtu::new(20).unwrap()), ..HOPRNET };
        let wire = r#""wire":"0102001000000001000000000000000000000000""#;
        assert!(decode(&given, acknowledgement)[0].contains(wire));
    }

    #[test]
    fn a_tag_is_told_and_taken_off() {
        let tagged = Decoder { tagged: true, ..RFC };
        let line = &decode(&tagged, "000000000000000f01000007000000010000ab")[0];
        assert!(line.starts_with(r#"{"tag":15,"kind":"segment""#), "{line}");
        let line = &decode(&tagged, "1fffffffffffffff01000007000000010000ab")[0];
        assert!(line.starts_with(r#"{"tag":"2305843009213693951","#), "{line}");
        assert_eq!(decode(&tagged, "ff"), [r#"{"error":"truncated: 8 bytes needed, 1 there"}"#]);
    }

    #[test]
    fn what_does_not_decode_says_why() {
        for (datagram, reason) in [
            ("", "truncated"),
            ("03", "unknown version 0x03"),
            ("01090000", "unknown message type"),
            ("0100000700000000 0001ab", "frame id 0"),
            ("01000007000000010000", "length field"),
        ] {
            let line = &decode(&RFC, &datagram.replace(' ', ""))[0];
            assert!(line.starts_with(r#"{"error":""#) && line.contains(reason), "{line}");
        }
    }

    #[test]
    fn what_is_understood_and_not_sent_has_no_wire() {
        let mut datagram = "01000bb8000000010000".to_owned();
        datagram.push_str(&"ab".repeat(0xbb8 - 6));
        assert!(decode(&RFC, &datagram)[0].ends_with(r#""wire":null}"#));
    }
}
