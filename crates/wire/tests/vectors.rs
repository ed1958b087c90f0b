//! The messages of a deployed implementation, byte for byte.
//!
//! The vectors lie beside the repository, not in it. Where they are absent the tests say so and pass,
//! except in CI, where `CI` is set and their absence is a failure.

#![cfg(any(feature = "data", feature = "start"))]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

/// One line of a vector file.
struct Vector {
    place: String,
    fields: Value,
}

impl Vector {
    fn text(&self, key: &str) -> &str {
        self.fields[key].as_str().unwrap_or_default()
    }

    fn wire(&self) -> Bytes {
        hex::decode(self.text("wire")).expect("vectors are hex").into()
    }
}

/// The lines of a file; none when the vectors are absent.
fn vectors(file: &str) -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "the vectors are not beside the repository");
        eprintln!("skipped: the vectors are not beside the repository");
        return Vec::new();
    }
    let lines = std::fs::read_to_string(folder.join(file)).expect("the vector file is readable");
    let vectors = lines.lines().zip(1..).map(|(line, number)| {
        let fields: Value = serde_json::from_str(line).expect("every line is JSON");
        let name = fields["name"].as_str().unwrap_or_default();
        Vector { place: format!("{file}:{number} ({name})"), fields }
    });
    vectors.collect()
}

/// What does not match, for all vectors in one report.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    /// Compares every field of `found` with the vector's; fields that nothing was found for count too.
    fn fields(&mut self, place: &str, expected: &Value, found: &[(&str, Value)]) {
        let expected = expected.as_object().expect("vectors are objects");
        let checked: BTreeSet<&str> = found.iter().map(|&(key, _)| key).collect();
        for key in expected.keys().filter(|key| !checked.contains(key.as_str())) {
            self.0.push(format!("{place}: {key} is not checked"));
        }
        for (key, found) in found {
            // Fields may be left out, but not be other ones.
            if let Some(expected) = expected.get(*key) {
                self.equal(place, key, expected, found);
            }
        }
    }

    fn equal<T: PartialEq + Debug + ?Sized>(&mut self, place: &str, what: &str, want: &T, got: &T) {
        if want != got {
            self.0.push(format!("{place}: {what}: expected {want:?}, found {got:?}"));
        }
    }

    fn fail(&mut self, place: &str, why: impl Debug) {
        self.0.push(format!("{place}: {why:?}"));
    }

    fn finish(self) {
        assert!(self.0.is_empty(), "{} failures:\n{}", self.0.len(), self.0.join("\n"));
    }
}

#[cfg(feature = "data")]
mod data {
    use serde_json::json;
    use towline_wire::data::{Codec, FrameId, Message, MissingSegments, RequestEntry};
    use towline_wire::{DecodeError, Dialect, EncodeError, Mtu};

    use super::*;

    const CUT: &str = "one entry too many (the reference silently cuts)";

    fn codec(vector: &Vector) -> Codec {
        let mtu = vector.fields["mtu"].as_u64().expect("data vectors have an MTU");
        Codec::new(Dialect::Hoprnet, Mtu::new(mtu as usize).expect("in range"))
    }

    fn is_refused(vector: &Vector) -> bool {
        vector.text("name").contains("reference rejects")
    }

    fn accepted() -> impl Iterator<Item = Vector> {
        vectors("hoprnet-data.jsonl").into_iter().filter(|vector| !is_refused(vector))
    }

    /// The entries as they are listed in the vector, in the order in which they are sent.
    fn listed_entries(vector: &Vector) -> Vec<RequestEntry> {
        let entries = vector.fields["entries"].as_array().expect("requests have entries");
        let mut entries: Vec<_> = entries
            .iter()
            .map(|entry| {
                let bitmap = entry["bitmap"].as_u64().expect("a number") as u8;
                assert_eq!(entry["bitmap_bin"], format!("{bitmap:08b}"), "{}", vector.place);
                RequestEntry {
                    frame_id: frame_id(&entry["frame_id"]),
                    missing: MissingSegments::from_bits(bitmap.reverse_bits()),
                }
            })
            .collect();
        entries.sort_by_key(|entry| entry.frame_id);
        entries
    }

    fn frame_id(value: &Value) -> FrameId {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok()).and_then(FrameId::new);
        id.expect("vectors have frame ids above 0")
    }

    #[test]
    fn segments_have_the_listed_fields() {
        let mut report = Report::default();
        for vector in accepted().filter(|vector| vector.fields["kind"] == "segment") {
            let wire = vector.wire();
            let Ok(Message::Segment(segment)) = codec(&vector).decode(wire.clone()) else {
                report.fail(&vector.place, "is no segment");
                continue;
            };
            let header = segment.header;
            let flags = header.count() | u8::from(header.is_terminating()) << 7;
            let found = [
                ("kind", json!("segment")),
                ("name", json!(vector.text("name"))),
                ("mtu", json!(codec(&vector).mtu().get())),
                ("wire", json!(hex::encode(&wire))),
                ("frame_id", json!(header.frame_id().get())),
                ("seq_idx", json!(header.index())),
                ("seq_flags", json!(flags)),
                ("seq_len", json!(header.count())),
                ("terminating", json!(header.is_terminating())),
                ("data", json!(hex::encode(&segment.data))),
            ];
            report.fields(&vector.place, &vector.fields, &found);
        }
        report.finish();
    }

    #[test]
    fn a_segment_count_of_zero_is_refused() {
        let mut report = Report::default();
        for vector in vectors("hoprnet-data.jsonl").iter().filter(|vector| is_refused(vector)) {
            let refusal = codec(vector).decode(vector.wire());
            report.equal(&vector.place, "refusal", &Err(DecodeError::ZeroSegmentCount), &refusal);
        }
        report.finish();
    }

    #[test]
    fn requests_have_the_listed_entries_as_far_as_the_message_goes() {
        let mut report = Report::default();
        for vector in accepted().filter(|vector| vector.fields["kind"] == "request") {
            let codec = codec(&vector);
            let Ok(Message::Request(request)) = codec.decode(vector.wire()) else {
                report.fail(&vector.place, "is no request");
                continue;
            };
            let mut listed = listed_entries(&vector);
            if vector.text("name") == CUT {
                // The last entry is not on the wire, in no part: where it would start there is padding.
                report.equal(
                    &vector.place,
                    "listed",
                    &(codec.max_request_entries() + 1),
                    &listed.len(),
                );
                listed.pop();
            }
            let entries: Vec<_> = request.entries().collect();
            report.equal(&vector.place, "entries", &listed, &entries);
        }
        report.finish();
    }

    #[test]
    fn requests_name_the_listed_segments_as_far_as_the_message_goes() {
        let mut report = Report::default();
        for vector in accepted().filter(|vector| vector.fields["kind"] == "request") {
            let codec = codec(&vector);
            let Ok(Message::Request(request)) = codec.decode(vector.wire()) else {
                report.fail(&vector.place, "is no request");
                continue;
            };
            let missing = vector.fields["missing_segments"].as_array().expect("requests have them");
            let mut listed: Vec<_> = missing
                .iter()
                .map(|pair| (frame_id(&pair[0]), pair[1].as_u64().expect("an index") as u8))
                .collect();
            if vector.text("name") == CUT {
                listed.pop();
            }
            let found: Vec<_> = request
                .entries()
                .flat_map(|entry| entry.missing.iter().map(move |index| (entry.frame_id, index)))
                .collect();
            report.equal(&vector.place, "missing segments", &listed, &found);
        }
        report.finish();
    }

    #[test]
    fn one_entry_too_many_is_not_cut_but_refused() {
        let mut report = Report::default();
        for vector in accepted().filter(|vector| vector.text("name") == CUT) {
            let codec = codec(&vector);
            let refusal = codec.encode_request(listed_entries(&vector), &mut Vec::new());
            let limit = codec.max_request_entries();
            report.equal(
                &vector.place,
                "refusal",
                &Err(EncodeError::TooManyEntries { limit }),
                &refusal,
            );
        }
        report.finish();
    }

    #[test]
    fn acknowledgements_have_the_listed_frames() {
        let mut report = Report::default();
        for vector in accepted().filter(|vector| vector.fields["kind"] == "ack") {
            let Ok(Message::Acknowledgement(ack)) = codec(&vector).decode(vector.wire()) else {
                report.fail(&vector.place, "is no acknowledgement");
                continue;
            };
            let listed = vector.fields["frame_ids"].as_array().expect("acknowledgements have ids");
            let listed: Vec<_> = listed.iter().map(frame_id).collect();
            report.equal(&vector.place, "frames", &listed, &ack.frames().collect());
        }
        report.finish();
    }

    #[test]
    fn messages_encode_to_the_same_bytes() {
        let mut report = Report::default();
        for vector in accepted() {
            let mut out = Vec::new();
            let encoded = codec(&vector)
                .decode(vector.wire())
                .map(|message| codec(&vector).encode(&message, &mut out));
            report.equal(&vector.place, "encoding", &Ok(Ok(())), &encoded);
            report.equal(&vector.place, "wire", vector.text("wire"), &hex::encode(&out));
        }
        report.finish();
    }

    #[test]
    fn every_vector_is_of_a_known_kind() {
        let mut report = Report::default();
        for vector in vectors("hoprnet-data.jsonl") {
            if !matches!(vector.text("kind"), "segment" | "request" | "ack") {
                report.fail(&vector.place, "unknown kind");
            }
        }
        report.finish();
    }
}

#[cfg(feature = "start")]
mod start {
    use std::fmt;
    use std::net::SocketAddr;

    use ciborium::Value as CborValue;
    use serde::Deserialize;
    use serde_json::json;
    use towline_wire::start::{Cbor, Message};
    use towline_wire::{Dialect, Tag, split_tag};

    use super::*;

    /// The deployed peer's session target.
    #[derive(Deserialize)]
    enum Target {
        UdpStream(Sealable),
        TcpStream(Sealable),
        ExitNode(u32),
    }

    #[derive(Deserialize)]
    enum Sealable {
        Plain(Host),
        Sealed(Vec<u8>),
    }

    #[derive(Deserialize)]
    enum Host {
        Ip(Ip),
        Dns(String, u16),
    }

    #[derive(Deserialize)]
    enum Ip {
        V4([u8; 4], u16),
        V6([u8; 16], u16),
    }

    /// As the vectors write targets.
    impl fmt::Display for Target {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::UdpStream(host) => write!(f, "UdpStream({host})"),
                Self::TcpStream(host) => write!(f, "TcpStream({host})"),
                Self::ExitNode(service) => write!(f, "ExitNode({service})"),
            }
        }
    }

    impl fmt::Display for Sealable {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::Plain(Host::Ip(ip)) => write!(f, "Plain(Ip({}))", ip.address()),
                Self::Plain(Host::Dns(name, port)) => write!(f, "Plain(Dns({name:?}, {port}))"),
                Self::Sealed(bytes) => write!(f, "Sealed({bytes:?})"),
            }
        }
    }

    impl Ip {
        fn address(&self) -> SocketAddr {
            match *self {
                Self::V4(ip, port) => SocketAddr::from((ip, port)),
                Self::V6(ip, port) => SocketAddr::from((ip, port)),
            }
        }
    }

    /// The vectors with what they decode to.
    fn decoded(report: &mut Report) -> Vec<(Vector, Message)> {
        let vectors = vectors("hoprnet-start.jsonl").into_iter();
        let decoded =
            vectors.filter_map(|vector| match Message::decode(Dialect::Hoprnet, vector.wire()) {
                Ok(message) => Some((vector, message)),
                Err(error) => {
                    report.fail(&vector.place, error);
                    None
                }
            });
        decoded.collect()
    }

    /// The number of a JSON number, and of a string of digits or of `0x` where JSON cannot hold it.
    fn as_number(value: &Value) -> Value {
        let number = value.as_str().and_then(|text| match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        });
        number.map_or_else(|| value.clone(), |number| json!(number))
    }

    /// The fields with numbers for the strings in which they are written.
    fn expected(vector: &Vector) -> Value {
        let mut fields = vector.fields["fields"].clone();
        for key in ["challenge", "orig_challenge", "additional_data", "session_id"] {
            if let Some(value) = fields.get_mut(key) {
                *value = as_number(value);
            }
        }
        fields
    }

    fn target(cbor: &Cbor) -> Value {
        match (cbor.to::<String>(), cbor.to::<Target>()) {
            (Ok(text), _) => json!(text),
            (_, Ok(target)) => json!(target.to_string()),
            _ => panic!("no target: {cbor:?}"),
        }
    }

    fn session_id(cbor: &Cbor) -> Value {
        match cbor.to::<CborValue>() {
            Ok(CborValue::Integer(id)) => json!(i64::try_from(id).expect("ids are short")),
            Ok(CborValue::Bytes(id)) => json!(hex::encode(id)),
            other => panic!("no session id: {other:?}"),
        }
    }

    /// The vectors' names and values of a message's fields.
    fn fields(message: &Message) -> (&'static str, Vec<(&'static str, Value)>) {
        match message {
            Message::StartSession(start) => {
                let capabilities = start.capabilities.bits();
                let fields = vec![
                    ("challenge", json!(start.challenge.0)),
                    ("capabilities", json!(capabilities)),
                    ("capabilities_bin", json!(format!("{capabilities:08b}"))),
                    ("additional_data", json!(start.additional_data)),
                    ("target", target(&start.target)),
                    ("target_cbor", json!(hex::encode(start.target.as_bytes()))),
                ];
                ("StartSession", fields)
            }
            Message::SessionEstablished(established) => {
                let id = &established.session_id;
                let fields = vec![
                    ("orig_challenge", json!(established.challenge.0)),
                    ("session_id", session_id(id)),
                    ("session_id_cbor", json!(hex::encode(id.as_bytes()))),
                ];
                ("SessionEstablished", fields)
            }
            Message::SessionError(error) => {
                let fields = vec![
                    ("challenge", json!(error.challenge.0)),
                    ("reason", json!(error.reason.code())),
                ];
                ("SessionError", fields)
            }
            Message::KeepAlive(keep_alive) => {
                let id = &keep_alive.session_id;
                let fields = vec![
                    ("flags", json!(keep_alive.flags.bits())),
                    ("additional_data", json!(keep_alive.additional_data)),
                    ("session_id", session_id(id)),
                    ("session_id_cbor", json!(hex::encode(id.as_bytes()))),
                ];
                ("KeepAlive", fields)
            }
        }
    }

    #[test]
    fn messages_have_the_listed_fields() {
        let mut report = Report::default();
        for (vector, message) in decoded(&mut report) {
            let (_, found) = fields(&message);
            report.fields(&vector.place, &expected(&vector), &found);
        }
        report.finish();
    }

    #[test]
    fn messages_have_the_listed_type() {
        let mut report = Report::default();
        for (vector, message) in decoded(&mut report) {
            let (kind, _) = fields(&message);
            report.equal(&vector.place, "type", vector.text("type"), kind);
        }
        report.finish();
    }

    #[test]
    fn messages_encode_to_the_same_bytes() {
        let mut report = Report::default();
        for (vector, message) in decoded(&mut report) {
            let mut out = Vec::new();
            let encoded = message.encode(Dialect::Hoprnet, &mut out);
            report.equal(&vector.place, "encoding", &Ok(()), &encoded);
            report.equal(&vector.place, "wire", vector.text("wire"), &hex::encode(&out));
        }
        report.finish();
    }

    #[test]
    fn messages_come_under_the_tag_of_the_start_protocol() {
        let mut report = Report::default();
        for vector in vectors("hoprnet-start.jsonl") {
            let tag = vector.fields["tag"].as_u64().expect("start vectors have a tag");
            let datagram = [&tag.to_be_bytes()[..], &vector.wire()].concat();
            let split = split_tag(datagram.into());
            report.equal(&vector.place, "split", &Ok((Tag::START, vector.wire())), &split);
        }
        report.finish();
    }
}
