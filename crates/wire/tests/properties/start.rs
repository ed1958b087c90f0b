//! Session Start: the four messages of the handshake.

use bytes::Bytes;
use proptest::prelude::*;
use towline_wire::start::{
    Capabilities, Cbor, Challenge, ErrorReason, KeepAlive, KeepAliveFlags, Message, SessionError,
    SessionEstablished, StartSession,
};
use towline_wire::{DecodeError, Dialect, EncodeError, START_VERSION};

use crate::cbor::items;
use crate::random::{assert_none, config, damaged, dialects, noise, with_right_header};

const RFC_DIALECTS: [Dialect; 2] = [Dialect::Rfc0007, Dialect::Rfc0009];

fn encoded(dialect: Dialect, message: &Message) -> Bytes {
    let mut out = Vec::new();
    message.encode(dialect, &mut out).expect("the message fits the dialect");
    out.into()
}

fn from_hex(hex: &str) -> Bytes {
    hex::decode(hex).expect("test data is hex").into()
}

fn challenges() -> impl Strategy<Value = Challenge> {
    any::<u64>().prop_map(Challenge)
}

fn messages(dialect: Dialect) -> impl Strategy<Value = Message> {
    let start = (challenges(), any::<u8>(), any::<u32>(), items());
    let keep_alive = (any::<u8>(), any::<u64>(), items());
    prop_oneof![
        start.prop_map(|(challenge, capabilities, additional_data, target)| {
            let capabilities = Capabilities::from_bits(capabilities);
            Message::StartSession(StartSession { challenge, capabilities, additional_data, target })
        }),
        (challenges(), items()).prop_map(|(challenge, session_id)| {
            Message::SessionEstablished(SessionEstablished { challenge, session_id })
        }),
        (challenges(), any::<u8>()).prop_map(|(challenge, code)| {
            let reason = ErrorReason::from_code(code);
            Message::SessionError(SessionError { challenge, reason })
        }),
        keep_alive.prop_map(move |(flags, additional_data, session_id)| {
            let flags = if dialect == Dialect::Hoprnet { flags } else { 0 };
            let unused_bits = 64 - 8 * dialect.keep_alive_width();
            Message::KeepAlive(KeepAlive {
                flags: KeepAliveFlags::from_bits(flags),
                additional_data: additional_data >> unused_bits,
                session_id,
            })
        }),
    ]
}

fn with_dialect() -> impl Strategy<Value = (Dialect, Message)> {
    dialects().prop_flat_map(|dialect| (Just(dialect), messages(dialect)))
}

fn with_rfc_dialect() -> impl Strategy<Value = (Dialect, Message)> {
    with_dialect().prop_filter("an RFC dialect", |(dialect, _)| *dialect != Dialect::Hoprnet)
}

fn start_session(capabilities: Capabilities) -> Message {
    Message::StartSession(StartSession {
        challenge: Challenge(0x1234_5678_90ab_cdef),
        capabilities,
        additional_data: 0x0102_0304,
        target: Cbor::new("127.0.0.1:8080").expect("encodes"),
    })
}

fn keep_alive(flags: KeepAliveFlags, additional_data: u64, session_id: u64) -> Message {
    let session_id = Cbor::new(&session_id).expect("encodes");
    Message::KeepAlive(KeepAlive { flags, additional_data, session_id })
}

fn session_error(code: u8) -> Message {
    let reason = ErrorReason::from_code(code);
    Message::SessionError(SessionError { challenge: Challenge(7), reason })
}

/// One message of every shape, for the tests that go through all of something.
fn samples() -> Vec<Message> {
    let session_id = Cbor::new(&[1, 0x1234, -1]).expect("encodes");
    let challenge = Challenge(0x0102_0304_0506_0708);
    vec![
        start_session(Capabilities::RELIABLE),
        Message::SessionEstablished(SessionEstablished { challenge, session_id }),
        session_error(1),
        keep_alive(KeepAliveFlags::NONE, 0, 42),
        keep_alive(KeepAliveFlags::NONE, 7000, 1 << 60),
    ]
}

fn every_sample() -> impl Iterator<Item = (Dialect, Message, Bytes)> {
    Dialect::ALL.into_iter().flat_map(|dialect| {
        samples().into_iter().map(move |message| {
            let wire = encoded(dialect, &message);
            (dialect, message, wire)
        })
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_decode_to_what_was_encoded((dialect, message) in with_dialect()) {
        prop_assert_eq!(Message::decode(dialect, encoded(dialect, &message)), Ok(message));
    }

    #[test]
    fn noise_that_decodes_encodes_to_an_equal_message(
        dialect in dialects(),
        wire in with_right_header(START_VERSION, 4),
    ) {
        if let Ok(message) = Message::decode(dialect, wire) {
            let mut again = Vec::new();
            message.encode(dialect, &mut again).expect("what decodes can be encoded");
            prop_assert_eq!(Message::decode(dialect, again.into()), Ok(message));
        }
    }

    #[test]
    fn a_decoded_message_encodes_to_the_bytes_it_came_from(
        (dialect, message) in with_dialect(),
    ) {
        let wire = encoded(dialect, &message);
        let decoded = Message::decode(dialect, wire.clone()).expect("decodes");
        prop_assert_eq!(encoded(dialect, &decoded), wire);
    }

    #[test]
    fn noise_never_panics(dialect in dialects(), noise in noise(200)) {
        let _ = Message::decode(dialect, noise.into());
    }

    #[test]
    fn noise_under_a_right_header_never_panics(
        dialect in dialects(),
        wire in with_right_header(START_VERSION, 5),
    ) {
        let _ = Message::decode(dialect, wire);
    }

    #[test]
    fn every_truncation_is_refused((dialect, message) in with_dialect()) {
        let wire = encoded(dialect, &message);
        for cut in 0..wire.len() {
            prop_assert!(Message::decode(dialect, wire.slice(..cut)).is_err(), "{cut} bytes");
        }
    }

    #[test]
    fn the_rfc_refuses_every_extension_by_a_byte(
        (dialect, message) in with_rfc_dialect(),
        byte in any::<u8>(),
    ) {
        let longer = [&encoded(dialect, &message)[..], &[byte]].concat();
        let refusal = Message::decode(dialect, longer.into());
        prop_assert_eq!(refusal, Err(DecodeError::TrailingBytes(1)));
    }

    //= docs/spec/start.md#header
    //= type=test
    //# In `rfc0007` and `rfc0009` a receiver MUST ignore a Start message whose length is not the
    //# number of bytes that follow the header.
    #[test]
    fn the_rfc_refuses_every_wrong_length(
        (dialect, message) in with_rfc_dialect(),
        length in any::<u16>(),
    ) {
        let wire = encoded(dialect, &message);
        prop_assume!(usize::from(length) != wire.len() - 4);
        prop_assert!(Message::decode(dialect, with_length(&wire, length)).is_err());
    }

    //= docs/spec/start.md#header
    //= type=test
    //# In `hoprnet` a receiver MUST accept a Start message with a wrong length if its fields and
    //# its item are whole.
    #[test]
    fn deployed_peers_may_write_a_wrong_length(
        message in messages(Dialect::Hoprnet),
        length in any::<u16>(),
    ) {
        let wire = with_length(&encoded(Dialect::Hoprnet, &message), length);
        prop_assert_eq!(Message::decode(Dialect::Hoprnet, wire), Ok(message));
    }

    //= docs/spec/start.md#header
    //= type=test
    //# In `hoprnet` a receiver MUST accept bytes behind the last field of a Start message.
    #[test]
    fn deployed_peers_may_send_bytes_after_the_message(
        message in messages(Dialect::Hoprnet),
        rest in noise(20),
    ) {
        let wire = [&encoded(Dialect::Hoprnet, &message)[..], &rest].concat();
        prop_assert_eq!(Message::decode(Dialect::Hoprnet, wire.into()), Ok(message));
    }
}

fn with_length(wire: &[u8], length: u16) -> Bytes {
    let mut wire = wire.to_vec();
    wire[2..4].copy_from_slice(&length.to_be_bytes());
    wire.into()
}

#[test]
fn a_damaged_message_is_refused_or_still_one_that_could_be_sent() {
    let mut failures = Vec::new();
    for (dialect, _, wire) in every_sample() {
        for (damage, damaged) in damaged(&wire) {
            let Ok(message) = Message::decode(dialect, damaged) else { continue };
            let mut again = Vec::new();
            let encoded = message.encode(dialect, &mut again);
            let decoded = encoded.map(|()| Message::decode(dialect, again.into()));
            if decoded != Ok(Ok(message)) {
                failures.push(format!("{dialect}: {damage}: {decoded:?}"));
            }
        }
    }
    assert_none(failures);
}

//= docs/spec/start.md#header
//= type=test
//# A sender MUST write 0x02 as the version of a Start message and the number of payload bytes as
//# its length.
//= docs/spec/start.md#start-session
//= type=test
//# A StartSession MUST hold the challenge in 8 bytes, the capabilities in 1, the additional data in
//# 4, and the target, in this order.
#[test]
fn a_session_request_is_laid_out_as_the_rfc_says() {
    let layout = concat!(
        "0200001c",
        "1234567890abcdef",
        "0e",
        "01020304",
        "6e",
        "3132372e302e302e313a38303830"
    );
    let message = start_session(Capabilities::RELIABLE);
    let wires = Dialect::ALL.map(|dialect| encoded(dialect, &message));
    assert_eq!(wires, [from_hex(layout), from_hex(layout), from_hex(layout)]);
}

//= docs/spec/start.md#session-established
//= type=test
//# A SessionEstablished MUST hold the challenge of the request that it grants in 8 bytes and the
//# session id, in this order.
#[test]
fn a_session_grant_is_laid_out_as_the_rfc_says() {
    let challenge = Challenge(0x1234_5678_90ab_cdef);
    let session_id = Cbor::new(&42).expect("encodes");
    let message = Message::SessionEstablished(SessionEstablished { challenge, session_id });
    let wires = Dialect::ALL.map(|dialect| encoded(dialect, &message));
    let layout = concat!("0201000a", "1234567890abcdef", "182a");
    assert_eq!(wires, [from_hex(layout), from_hex(layout), from_hex(layout)]);
}

//= docs/spec/start.md#session-error
//= type=test
//# A SessionError MUST hold the challenge of the request that it refuses in 8 bytes and the reason
//# in 1, in this order.
#[test]
fn a_session_error_is_laid_out_as_the_rfc_says() {
    let wires = Dialect::ALL.map(|dialect| encoded(dialect, &session_error(2)));
    let layout = concat!("02020009", "0000000000000007", "02");
    assert_eq!(wires, [from_hex(layout), from_hex(layout), from_hex(layout)]);
}

//= docs/spec/start.md#keep-alive
//= type=test
//# A KeepAlive MUST hold the flags in 1 byte, the additional data in 4 bytes in `rfc0007` and in 8
//# in the other dialects, and the session id, in this order.
#[test]
fn the_dialects_send_keep_alives_of_different_widths() {
    let message = keep_alive(KeepAliveFlags::NONE, 7, 42);
    let narrow = concat!("02030007", "00", "00000007", "182a");
    let wide = concat!("0203000b", "00", "0000000000000007", "182a");
    let wires = Dialect::ALL.map(|dialect| encoded(dialect, &message));
    assert_eq!(wires, [from_hex(narrow), from_hex(wide), from_hex(wide)]);
}

//= docs/spec/start.md#keep-alive
//= type=test
//# In `hoprnet` a receiver MUST accept a KeepAlive of either width,
#[test]
fn deployed_peers_may_send_narrow_keep_alives() {
    let ids = ["00", "17", "182a", "190100", "4aabcdefabcdefabcdefab", "636f6e65"];
    let misread = ids.into_iter().filter_map(|id| {
        let payload = from_hex(&format!("0200001b58{id}"));
        let length = (payload.len() as u16).to_be_bytes();
        let wire = [&[START_VERSION, 3][..], &length, &payload].concat();
        let expected = Message::KeepAlive(KeepAlive {
            flags: KeepAliveFlags::ESTIMATED_CREDIT,
            additional_data: 7000,
            session_id: Cbor::from_bytes(from_hex(id)).expect("an item"),
        });
        let decoded = Message::decode(Dialect::Hoprnet, wire.into());
        (decoded.as_ref() != Ok(&expected)).then(|| format!("{id}: {decoded:?}"))
    });
    assert_none(misread);
}

//= docs/spec/start.md#keep-alive
//= type=test
//# and read one that fits both as one of 8 bytes.
#[test]
fn where_both_widths_fit_a_keep_alive_is_wide() {
    // Deployed peers send wide ones: 8 bytes of data and the id 0, not 4 bytes and the id 65536.
    let wire = from_hex(concat!("0203000a", "00", "00000001", "1a000100", "00"));
    let expected = keep_alive(KeepAliveFlags::NONE, 0x1_1a00_0100, 0);
    assert_eq!(Message::decode(Dialect::Hoprnet, wire), Ok(expected));
}

#[test]
fn bytes_after_a_wide_keep_alive_do_not_make_it_narrow() {
    // From the fifth byte of the data on, the payload is one array of four.
    let message = keep_alive(KeepAliveFlags::NONE, 0x8400_0000, 7);
    let wire = [&encoded(Dialect::Hoprnet, &message)[..], &[0x00]].concat();
    assert_eq!(Message::decode(Dialect::Hoprnet, wire.into()), Ok(message));
}

#[test]
fn a_wrong_length_does_not_make_a_wide_keep_alive_narrow() {
    // The first six bytes of the payload are a narrow keep-alive of the session 0.
    let message = keep_alive(KeepAliveFlags::NONE, 0, 42);
    let wire = with_length(&encoded(Dialect::Hoprnet, &message), 6);
    assert_eq!(Message::decode(Dialect::Hoprnet, wire), Ok(message));
}

#[test]
fn the_rfc_ignores_keep_alive_flags() {
    let decoded = RFC_DIALECTS.map(|dialect| {
        let mut wire = encoded(dialect, &keep_alive(KeepAliveFlags::NONE, 7, 42)).to_vec();
        wire[4] = 0x83;
        Message::decode(dialect, wire.into())
    });
    assert_eq!(decoded, [0; 2].map(|_| Ok(keep_alive(KeepAliveFlags::NONE, 7, 42))));
}

#[test]
fn deployed_peers_flags_survive_known_or_not() {
    let lost = (0..=u8::MAX).filter(|&bits| {
        let message = keep_alive(KeepAliveFlags::from_bits(bits), 7, 42);
        let wire = encoded(Dialect::Hoprnet, &message);
        Message::decode(Dialect::Hoprnet, wire) != Ok(message)
    });
    assert_none(lost);
}

#[test]
fn capability_bits_survive_known_or_not() {
    let mut lost = Vec::new();
    for dialect in Dialect::ALL {
        for bits in 0..=u8::MAX {
            let message = start_session(Capabilities::from_bits(bits));
            if Message::decode(dialect, encoded(dialect, &message)) != Ok(message) {
                lost.push(format!("{dialect}: {bits:#04x}"));
            }
        }
    }
    assert_none(lost);
}

#[test]
fn error_reasons_keep_their_code_known_or_not() {
    let mut lost = Vec::new();
    for dialect in Dialect::ALL {
        for code in 0..=u8::MAX {
            let message = session_error(code);
            if Message::decode(dialect, encoded(dialect, &message)) != Ok(message) {
                lost.push(format!("{dialect}: {code:#04x}"));
            }
        }
    }
    assert_none(lost);
}

#[test]
fn an_item_is_not_copied() {
    let wire = encoded(Dialect::Rfc0007, &start_session(Capabilities::NONE));
    let Ok(Message::StartSession(start)) = Message::decode(Dialect::Rfc0007, wire.clone()) else {
        panic!("a session request")
    };
    assert_eq!(start.target.as_bytes().as_ptr(), wire[17..].as_ptr());
}

#[test]
fn encoders_append_to_what_the_buffer_holds() {
    let mut failures = Vec::new();
    for (dialect, message, wire) in every_sample() {
        let mut out = b"before".to_vec();
        message.encode(dialect, &mut out).expect("fits");
        if out != [&b"before"[..], &wire].concat() {
            failures.push(format!("{dialect}: {message:?}"));
        }
    }
    assert_none(failures);
}

/// What cannot be expressed, each in the one way that is named with it.
fn unencodable() -> Vec<(Dialect, Message, EncodeError)> {
    let target = Cbor::new(&"x".repeat(65_530)).expect("encodes");
    let challenge = Challenge(7);
    let too_long = |length| EncodeError::TooLong { length, limit: 65_535 };
    let mut all = Vec::new();
    for dialect in Dialect::ALL {
        let start = StartSession {
            challenge,
            capabilities: Capabilities::NONE,
            additional_data: 0,
            target: target.clone(),
        };
        let established = SessionEstablished { challenge, session_id: target.clone() };
        let alive = KeepAlive {
            flags: KeepAliveFlags::NONE,
            additional_data: 0,
            session_id: target.clone(),
        };
        let length = 1 + dialect.keep_alive_width() + 65_533;
        all.push((dialect, Message::StartSession(start), too_long(13 + 65_533)));
        all.push((dialect, Message::SessionEstablished(established), too_long(8 + 65_533)));
        all.push((dialect, Message::KeepAlive(alive), too_long(length)));
    }
    for dialect in RFC_DIALECTS {
        let flagged = keep_alive(KeepAliveFlags::WANTED_CREDIT, 0, 1);
        all.push((dialect, flagged, EncodeError::ReservedFlags(1)));
    }
    let wide = keep_alive(KeepAliveFlags::NONE, 1 << 32, 1);
    all.push((Dialect::Rfc0007, wide, EncodeError::AdditionalDataTooWide { width: 4 }));
    all
}

//= docs/spec/start.md#keep-alive
//= type=test
//# In `rfc0007` and `rfc0009` a sender MUST send a KeepAlive with all flags zero.
#[test]
fn encoders_refuse_what_the_dialect_cannot_express() {
    let wrong = unencodable().into_iter().filter_map(|(dialect, message, refusal)| {
        let encoded = message.encode(dialect, &mut Vec::new());
        let wrong = encoded != Err(refusal);
        wrong.then(|| format!("{dialect}: {encoded:?} instead of {refusal:?}"))
    });
    assert_none(wrong);
}

#[test]
fn encoders_leave_the_buffer_alone_when_they_refuse() {
    let changed = unencodable().into_iter().filter_map(|(dialect, message, refusal)| {
        let mut out = b"before".to_vec();
        let _ = message.encode(dialect, &mut out);
        (out != b"before").then(|| format!("{dialect}: after {refusal:?} {} bytes", out.len()))
    });
    assert_none(changed);
}
