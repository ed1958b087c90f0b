//! Vectors of the handshake.

use towline_wire::Dialect;

use super::{List as AnyList, cbor, message_of, with_length};
use crate::vectors::case::Section;
use crate::vectors::number::{Challenge, Number};
use crate::vectors::reason::{Reason, Refusal};
use crate::vectors::start::{Item, StartMessage as Message};

type List = AnyList<Message>;

const VERSION: u8 = 2;
const START_SESSION: u8 = 0;
const SESSION_ESTABLISHED: u8 = 1;
const SESSION_ERROR: u8 = 2;
const KEEP_ALIVE: u8 = 3;

/// The challenge of the RFC's example (4.10.4).
const CHALLENGE: u64 = 0x1234_5678_90ab_cdef;

pub(super) fn section(dialect: Dialect) -> Section<Message> {
    let mut list = List::new(dialect);
    start_session(&mut list);
    session_established(&mut list);
    session_error(&mut list);
    keep_alive(&mut list);
    items(&mut list);
    headers(&mut list);
    lengths(&mut list);
    fixed_parts(&mut list);
    list.section
}

fn item(cbor: &str, diagnostic: &str) -> Item {
    let cbor = hex::decode(cbor).expect("the list of items is hexadecimal");
    Item { cbor, diagnostic: diagnostic.to_owned() }
}

/// A text of fewer than 24 bytes.
fn text(text: &str) -> Item {
    let head = 0x60 | u8::try_from(text.len()).expect("a short text");
    let cbor = [&[head], text.as_bytes()].concat();
    Item { cbor, diagnostic: format!("\"{text}\"") }
}

/// The session id of the RFC's example.
fn forty_two() -> Item {
    item("182a", "42")
}

fn request(challenge: u64, capabilities: u8, additional_data: u32, target: Item) -> Message {
    Message::StartSession { challenge: Challenge(challenge), capabilities, additional_data, target }
}

fn established(challenge: u64, session_id: Item) -> Message {
    Message::SessionEstablished { challenge: Challenge(challenge), session_id }
}

fn error(challenge: u64, reason: u8) -> Message {
    Message::SessionError { challenge: Challenge(challenge), reason }
}

fn alive(flags: u8, additional_data: u64, session_id: Item) -> Message {
    Message::KeepAlive { flags, additional_data: Number(additional_data), session_id }
}

/// The payload of a keep-alive with as many bytes of additional data as there are.
fn alive_payload(flags: u8, additional_data: &[u8], session_id: &Item) -> Vec<u8> {
    [&[flags][..], additional_data, &session_id.cbor].concat()
}

/// Additional data of zeros in the width that the dialect sends.
fn no_data(list: &List) -> &'static [u8] {
    if list.dialect == Dialect::Rfc0007 { &[0; 4] } else { &[0; 8] }
}

fn start_session(list: &mut List) {
    let target = || text("127.0.0.1:8080");
    list.sent("start-session.example", None, request(CHALLENGE, 0, 0, target()));
    list.sent("start-session.challenge-0", None, request(0, 0x08, 0, target()));
    list.sent("start-session.challenge-last", None, request(u64::MAX, 0x08, 0, target()));
    let byte_order = request(0x0102_0304_0506_0708, 0, 0x090a_0b0c, target());
    list.sent("start-session.byte-order", None, byte_order);
    list.sent(
        "start-session.additional-data-last",
        None,
        request(CHALLENGE, 0, u32::MAX, target()),
    );
    for capabilities in [0x01, 0x02, 0x04, 0x08, 0x10, 0x0e, 0x1f] {
        let id = format!("start-session.capabilities-{capabilities:02x}");
        list.sent(&id, None, request(CHALLENGE, capabilities, 0, target()));
    }
    for capabilities in [0x20, 0x40, 0x80, 0xff] {
        let message = request(CHALLENGE, capabilities, 0, target());
        let target = target().cbor;
        let payload = [&CHALLENGE.to_be_bytes()[..], &[capabilities, 0, 0, 0, 0], &target].concat();
        list.understood(
            &format!("start-session.capabilities-{capabilities:02x}"),
            None,
            "capabilities that a receiver does not know are kept and change nothing",
            message_of(VERSION, START_SESSION, &payload),
            vec![message],
        );
    }
    for (id, target) in [
        ("ipv6", text("[::1]:443")),
        ("name", text("example.com:80")),
        ("tcp", text("tcp://example.com:80")),
        ("udp", text("udp://10.1.2.3:53")),
        ("number", item("19ffff", "65535")),
    ] {
        list.sent(&format!("start-session.target-{id}"), None, request(CHALLENGE, 0x0e, 0, target));
    }
    if list.is_hoprnet() {
        deployed_targets(list);
    }
}

/// Targets as deployed peers write them.
fn deployed_targets(list: &mut List) {
    let [tcp, udp, plain] = ["a16954637053747265616d", "a16955647053747265616d", "a165506c61696e"];
    for (id, cbor, diagnostic) in [
        (
            "tcp-ipv4",
            format!("{tcp}{plain}a1624970a16256348284187f000001191f90"),
            r#"{"TcpStream": {"Plain": {"Ip": {"V4": [[127, 0, 0, 1], 8080]}}}}"#,
        ),
        (
            "udp-name",
            format!("{udp}{plain}a163446e73826b6578616d706c652e636f6d1835"),
            r#"{"UdpStream": {"Plain": {"Dns": ["example.com", 53]}}}"#,
        ),
        (
            "tcp-sealed",
            format!("{tcp}a1665365616c6564830118ff00"),
            r#"{"TcpStream": {"Sealed": [1, 255, 0]}}"#,
        ),
        ("exit-node", "a168457869744e6f646507".to_owned(), r#"{"ExitNode": 7}"#),
    ] {
        let message = request(CHALLENGE, 0x0e, 0, item(&cbor, diagnostic));
        list.sent(&format!("start-session.target-{id}"), None, message);
    }
}

fn session_established(list: &mut List) {
    list.sent("session-established.example", None, established(CHALLENGE, forty_two()));
    list.sent("session-established.challenge-0", None, established(0, forty_two()));
    list.sent("session-established.challenge-last", None, established(u64::MAX, forty_two()));
    let byte_order = established(0x0102_0304_0506_0708, forty_two());
    list.sent("session-established.byte-order", None, byte_order);
}

fn session_error(list: &mut List) {
    for (id, reason) in [("unknown", 0), ("no-slots", 1), ("busy", 2)] {
        list.sent(&format!("session-error.{id}"), None, error(CHALLENGE, reason));
    }
    list.sent("session-error.byte-order", None, error(0x0102_0304_0506_0708, 2));
    for reason in [3, 0x7f, 0x80, 0xff] {
        list.understood(
            &format!("session-error.reason-{reason}"),
            None,
            "a reason without a name reads as an unknown error",
            message_of(VERSION, SESSION_ERROR, &[&CHALLENGE.to_be_bytes()[..], &[reason]].concat()),
            vec![error(CHALLENGE, reason)],
        );
    }
}

fn keep_alive(list: &mut List) {
    list.sent("keep-alive.example", None, alive(0, 0, forty_two()));
    list.sent("keep-alive.byte-order-4", None, alive(0, 0x0102_0304, forty_two()));
    list.sent("keep-alive.additional-data-32-bits", None, alive(0, 0xffff_ffff, forty_two()));
    if list.dialect == Dialect::Rfc0007 {
        let wide = Refusal::AdditionalDataTooWide { width: 4 };
        list.unsent(
            "keep-alive.additional-data-33-bits",
            None,
            alive(0, 1 << 32, forty_two()),
            wide,
        );
        let payload = alive_payload(0, &[0; 8], &forty_two());
        list.refused(
            "keep-alive.width-8",
            None,
            message_of(VERSION, KEEP_ALIVE, &payload),
            Reason::TrailingBytes { bytes: 5 },
        );
    } else {
        for (id, data) in [
            ("byte-order-8", 0x0102_0304_0506_0708),
            ("additional-data-33-bits", 1 << 32),
            ("additional-data-53-bits", 1 << 53),
            ("additional-data-54-bits", (1 << 53) + 1),
            ("additional-data-last", u64::MAX),
        ] {
            list.sent(&format!("keep-alive.{id}"), None, alive(0, data, forty_two()));
        }
    }
    if list.dialect == Dialect::Rfc0009 {
        let wire = message_of(VERSION, KEEP_ALIVE, &alive_payload(0, &[0; 4], &forty_two()));
        let reason = Reason::Truncated { needed: 9, have: 7 };
        list.refused("keep-alive.width-4", None, wire, reason);
    }
    if list.is_hoprnet() {
        deployed_keep_alives(list);
        return;
    }
    for flags in [0x01, 0x02, 0x80, 0xff] {
        let payload = alive_payload(flags, no_data(list), &forty_two());
        list.understood(
            &format!("keep-alive.flags-{flags:02x}"),
            None,
            "the flags are reserved: sent as zero, and ignored by receivers, which is why they are 0 here",
            message_of(VERSION, KEEP_ALIVE, &payload),
            vec![alive(0, 0, forty_two())],
        );
        list.unsent(
            &format!("keep-alive.flags-{flags:02x}-sent"),
            None,
            alive(flags, 0, forty_two()),
            Refusal::ReservedFlags { flags },
        );
    }
}

fn deployed_keep_alives(list: &mut List) {
    list.sent("keep-alive.wanted-credit", None, alive(1, 7000, forty_two()));
    list.sent("keep-alive.estimated-credit", None, alive(2, 7000, forty_two()));
    // Read with four bytes, this would be a whole message, too: a session id of h'01020305'.
    let ambiguous = alive(0, 0x4401_0203, item("05", "5"));
    list.sent("keep-alive.like-one-of-width-4", None, ambiguous);
    for flags in [0x04, 0x80] {
        list.understood(
            &format!("keep-alive.flags-{flags:02x}"),
            None,
            "flags without a meaning are not sent, and ignored by receivers",
            message_of(VERSION, KEEP_ALIVE, &alive_payload(flags, &[0; 8], &forty_two())),
            vec![alive(flags, 0, forty_two())],
        );
    }
    let note =
        "eight bytes of additional data are sent; four are understood where the length is right";
    let bytes = item("4aabcdefabcdefabcdefab", "h'abcdefabcdefabcdefab'");
    for (id, flags, session_id) in [
        ("width-4", 0, forty_two()),
        ("width-4-wanted-credit", 1, forty_two()),
        ("width-4-bytes", 0, bytes),
    ] {
        let payload = alive_payload(flags, &[1, 2, 3, 4], &session_id);
        list.understood(
            &format!("keep-alive.{id}"),
            None,
            note,
            message_of(VERSION, KEEP_ALIVE, &payload),
            vec![alive(flags, 0x0102_0304, session_id)],
        );
    }
}

/// What CBOR is, by the shortest message that carries an item.
fn items(list: &mut List) {
    let carrying = |cbor: &[u8]| {
        let payload = [&CHALLENGE.to_be_bytes()[..], cbor].concat();
        message_of(VERSION, SESSION_ESTABLISHED, &payload)
    };
    let bytes = |hex: &str| hex::decode(hex).expect("the list of items is hexadecimal");
    for (id, cbor, diagnostic) in cbor::preferred() {
        list.sent(&format!("cbor.{id}"), None, established(CHALLENGE, item(&cbor, &diagnostic)));
    }
    for (id, cbor, diagnostic) in cbor::not_preferred() {
        list.understood(
            &format!("cbor.{id}"),
            None,
            "the item is sent in its preferred encoding (RFC 8949, 4.1), and understood in any",
            carrying(&bytes(&cbor)),
            vec![established(CHALLENGE, item(&cbor, &diagnostic))],
        );
    }
    for (id, cbor) in cbor::INVALID {
        list.refused(&format!("cbor.{id}"), None, carrying(&bytes(cbor)), Reason::InvalidCbor);
    }
    for (id, cbor) in cbor::TRUNCATED {
        let id = format!("cbor.cut.{id}");
        list.refused(&id, None, carrying(&bytes(cbor)), Reason::TruncatedCbor);
    }
    for (id, cbor) in cbor::too_deep() {
        list.refused(&format!("cbor.{id}"), None, carrying(&bytes(&cbor)), Reason::NestingTooDeep);
    }
}

/// A message of each kind.
fn samples(list: &List) -> [(&'static str, u8, Vec<u8>, Message); 4] {
    let challenge = CHALLENGE.to_be_bytes();
    let target = text("10.0.0.1:7");
    let payload = [&challenge[..], &[0x0e, 0, 0, 0, 9], &target.cbor].concat();
    [
        ("start-session", START_SESSION, payload, request(CHALLENGE, 0x0e, 9, target)),
        (
            "session-established",
            SESSION_ESTABLISHED,
            [&challenge[..], &[0x19, 0x01, 0x00]].concat(),
            established(CHALLENGE, item("190100", "256")),
        ),
        ("session-error", SESSION_ERROR, [&challenge[..], &[1]].concat(), error(CHALLENGE, 1)),
        (
            "keep-alive",
            KEEP_ALIVE,
            alive_payload(0, no_data(list), &forty_two()),
            alive(0, 0, forty_two()),
        ),
    ]
}

fn headers(list: &mut List) {
    list.refused("empty-datagram", None, Vec::new(), Reason::Truncated { needed: 4, have: 0 });
    let payload = [&CHALLENGE.to_be_bytes()[..], &[1]].concat();
    for version in [0, 1, 3, 0x82, 255] {
        let wire = message_of(version, SESSION_ERROR, &payload);
        list.refused(&format!("version-{version}"), None, wire, Reason::UnknownVersion { version });
    }
    for kind in [4, 5, 0x80, 255] {
        let wire = message_of(VERSION, kind, &payload);
        list.refused(&format!("type-{kind}"), None, wire, Reason::UnknownType { r#type: kind });
    }
    for (name, kind, payload, _) in samples(list) {
        let wire = message_of(VERSION, kind, &payload);
        for have in 1..wire.len() {
            let reason = match have.checked_sub(4) {
                None => Reason::Truncated { needed: 4, have },
                Some(have) if list.is_hoprnet() => cut_payload(kind, have, 8),
                Some(have) => Reason::LengthBeyondEnd { length: payload.len(), have },
            };
            list.refused(&format!("{name}.cut-at-{have}"), None, wire[..have].to_vec(), reason);
        }
    }
}

/// What is wrong with a payload that ends amid its fixed part, or amid the item after that.
fn cut_payload(kind: u8, have: usize, keep_alive_width: usize) -> Reason {
    let needed = match kind {
        START_SESSION => 13,
        SESSION_ESTABLISHED => 8,
        SESSION_ERROR => 9,
        _ => 1 + keep_alive_width,
    };
    if have < needed { Reason::Truncated { needed, have } } else { Reason::TruncatedCbor }
}

/// Length fields that do not agree with the datagram, which matter in some dialects only.
fn lengths(list: &mut List) {
    let overlooked = "a wrong length is overlooked, as long as the message is whole";
    for (name, kind, payload, message) in samples(list) {
        let right = payload.len();
        for (id, length) in [
            ("length-0", 0),
            ("length-one-less", right - 1),
            ("length-one-more", right + 1),
            ("length-last", 65_535),
        ] {
            let id = format!("{name}.{id}");
            let wire = with_length(VERSION, kind, length, &payload);
            if list.is_hoprnet() {
                list.understood(&id, None, overlooked, wire, vec![message.clone()]);
            } else if length < right {
                list.refused(&id, None, wire, Reason::TrailingBytes { bytes: right - length });
            } else {
                list.refused(&id, None, wire, Reason::LengthBeyondEnd { length, have: right });
            }
        }
        // A right length, but it covers more than the message.
        let id = format!("{name}.trailing-byte");
        let longer = message_of(VERSION, kind, &[&payload[..], &[0]].concat());
        if list.is_hoprnet() {
            let overlooked = "bytes after a whole message are overlooked";
            list.understood(&id, None, overlooked, longer, vec![message]);
        } else {
            list.refused(&id, None, longer, Reason::TrailingBytes { bytes: 1 });
        }
    }
}

/// Payloads that end amid their fixed part or right after it, with a length that agrees.
fn fixed_parts(list: &mut List) {
    let width = no_data(list).len();
    // Where both widths are understood, a longer one may be a whole keep-alive of the other width.
    let longest_keep_alive = if list.is_hoprnet() { 5 } else { 1 + width };
    for (name, kind, longest) in [
        ("start-session", START_SESSION, 13),
        ("session-established", SESSION_ESTABLISHED, 8),
        ("session-error", SESSION_ERROR, 8),
        ("keep-alive", KEEP_ALIVE, longest_keep_alive),
    ] {
        for have in [0, 1, longest - 1, longest] {
            let id = format!("{name}.payload-{have}");
            let wire = message_of(VERSION, kind, &vec![0; have]);
            list.refused(&id, None, wire, cut_payload(kind, have, width));
        }
    }
}
