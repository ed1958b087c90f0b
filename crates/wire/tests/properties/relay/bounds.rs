//! How much a message may be: in bytes, in fields, and in memory.

use std::iter::repeat_n;
use std::mem::size_of;

use bytes::Bytes;
use prost::encoding::{WireType, encode_varint};
use prost_reflect::{Kind, MessageDescriptor};
use towline_wire::relay::{DecodeError, Excess, MAX_FIELDS, MAX_MESSAGE_LEN, deployed, seed};

use super::proto::{DIALECTS, field, parse};
use crate::random::assert_none;

/// What a list may take in memory.
const MAX_LIST: usize = 4 * MAX_MESSAGE_LEN;

fn nested(number: u32, content: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    encode_varint(content.len() as u64, &mut value);
    value.extend_from_slice(content);
    field(number, WireType::LengthDelimited, &value)
}

/// A message whose innermost field, reached through the others, is there and empty `count` times.
fn with_entries(path: &[u32], count: usize) -> Bytes {
    let (&last, parents) = path.split_last().expect("a field");
    let entries = nested(last, b"").repeat(count);
    parents.iter().rfold(entries, |content, &parent| nested(parent, &content)).into()
}

/// The ways to every list in a message.
fn lists(message: &MessageDescriptor) -> Vec<Vec<u32>> {
    let mut lists = Vec::new();
    for field in message.fields() {
        let number = field.number();
        if field.is_list() || field.is_map() {
            lists.push(vec![number]);
        }
        if let (Kind::Message(message), false) = (field.kind(), field.is_map()) {
            lists.extend(
                self::lists(&message).into_iter().map(|path| [vec![number], path].concat()),
            );
        }
    }
    lists
}

fn outbound(sealed: usize) -> deployed::Message {
    let unidentified_sender_message = vec![0; sealed].into();
    let outbound = deployed::OutboundMessage { to: None, unidentified_sender_message };
    deployed::Message { sequence: 0, payload: Some(deployed::Payload::OutboundMessage(outbound)) }
}

/// What an outbound message takes beside what is sealed in it.
const OVERHEAD: usize = 8;

#[test]
fn a_message_of_the_longest_length_passes() {
    let message = outbound(MAX_MESSAGE_LEN - OVERHEAD);
    let mut wire = Vec::new();
    message.encode(&mut wire).expect("not too long");
    assert_eq!(wire.len(), MAX_MESSAGE_LEN);
    assert_eq!(deployed::Message::decode(wire.into()), Ok(message));
}

#[test]
fn a_longer_message_is_refused() {
    let wire = Bytes::from(vec![0; MAX_MESSAGE_LEN + 1]);
    let excess = Excess::TooLong { length: MAX_MESSAGE_LEN + 1, limit: MAX_MESSAGE_LEN };
    assert_eq!(deployed::Message::decode(wire.clone()), Err(DecodeError::Excess(excess)));
    assert_eq!(seed::Message::decode(wire), Err(DecodeError::Excess(excess)));
}

#[test]
fn a_longer_message_is_not_encoded() {
    let mut out = b"before".to_vec();
    let excess = Excess::TooLong { length: MAX_MESSAGE_LEN + 1, limit: MAX_MESSAGE_LEN };
    assert_eq!(outbound(MAX_MESSAGE_LEN + 1 - OVERHEAD).encode(&mut out), Err(excess));
    assert_eq!(out, b"before");
}

#[test]
fn whatever_can_be_sent_can_be_forwarded() {
    let Some(deployed::Payload::OutboundMessage(outbound)) =
        outbound(MAX_MESSAGE_LEN - OVERHEAD).payload
    else {
        panic!("an outbound message")
    };
    let forwarded = deployed::ForwardedMessage {
        message: Some(outbound),
        first_failed: i64::MIN,
        last_failed: i64::MIN,
    };
    let mut wire = Vec::new();
    forwarded.encode(&mut wire).expect("not too long");
    assert_eq!(deployed::ForwardedMessage::decode(wire.into()), Ok(forwarded));
}

#[test]
fn every_list_of_either_dialect_has_an_end() {
    type Decode = fn(Bytes) -> Result<(), DecodeError>;
    let decoders: [Decode; 2] = [
        |wire| deployed::Message::decode(wire).map(drop),
        |wire| seed::Message::decode(wire).map(drop),
    ];
    let too_many = Err(DecodeError::Excess(Excess::TooManyFields));
    let (mut found, mut failures) = (0, Vec::new());
    for ((source, _), decode) in DIALECTS.into_iter().zip(decoders) {
        let file = parse(source).expect("the file makes sense");
        let envelope = file.messages().find(|message| message.name() == "Message");
        for path in lists(&envelope.expect("there is an envelope")) {
            found += 1;
            let most = MAX_FIELDS + 1 - path.len();
            if decode(with_entries(&path, most)) != Ok(())
                || decode(with_entries(&path, most + 1)) != too_many
            {
                failures.push(format!("{path:?}"));
            }
        }
    }
    assert_none(failures);
    assert_eq!(found, 7, "three in requests and two in answers, with one in the latter; two");
}

#[test]
fn lists_in_parts_are_counted_together() {
    let half = with_entries(&[7, 2], MAX_FIELDS / 2 + 1);
    let wire = [&half[..], &half].concat();
    let refused = Err(DecodeError::Excess(Excess::TooManyFields));
    assert_eq!(deployed::Message::decode(wire.into()), refused);
}

#[test]
fn too_long_a_list_is_not_encoded() {
    let one_time_pre_keys = vec![Bytes::new(); MAX_FIELDS];
    let register = deployed::Register { signed_pre_key: Bytes::new(), one_time_pre_keys };
    let payload = Some(deployed::Payload::Register(register));
    let mut out = b"before".to_vec();
    let message = deployed::Message { sequence: 0, payload };
    assert_eq!(message.encode(&mut out), Err(Excess::TooManyFields));
    assert_eq!(out, b"before");
}

#[test]
fn lists_of_the_deployed_dialect_take_little_more_than_the_longest_message() {
    use deployed::{Message, Payload, PreKey, UploadAuthorization};
    let payload = |path: &[u32]| {
        let message = Message::decode(with_entries(path, MAX_FIELDS + 1 - path.len()));
        message.expect("within the bounds").payload.expect("a payload")
    };
    let sizes = [&[7, 2], &[9, 2], &[10, 1], &[14, 1]].map(|path| match payload(path) {
        Payload::Register(it) => it.one_time_pre_keys.capacity() * size_of::<Bytes>(),
        Payload::RequestPreKeys(it) => it.known_device_ids.capacity() * size_of::<Bytes>(),
        Payload::PreKeys(it) => it.pre_keys.capacity() * size_of::<PreKey>(),
        Payload::UploadAuthorizations(it) => {
            it.authorizations.capacity() * size_of::<UploadAuthorization>()
        }
        other => panic!("no list in {other:?}"),
    });
    assert!(sizes.iter().all(|size| (1..=MAX_LIST).contains(size)), "{sizes:?}");
}

#[test]
fn lists_of_the_seed_take_little_more_than_the_longest_message() {
    use seed::{Message, Payload};
    // A number takes a byte of a packed list.
    let packed = nested(8, &nested(2, &[1; MAX_MESSAGE_LEN - 8]));
    let wires = [with_entries(&[6, 3], MAX_FIELDS - 1), packed.into()];
    let sizes = wires.map(|wire| match Message::decode(wire).expect("within the bounds").payload {
        Some(Payload::Register(it)) => it.one_time_pre_keys.capacity() * size_of::<Bytes>(),
        Some(Payload::RequestPreKeys(it)) => it.known_device_ids.capacity() * size_of::<u32>(),
        other => panic!("no list in {other:?}"),
    });
    assert!(sizes.iter().all(|size| (1..=MAX_LIST).contains(size)), "{sizes:?}");
}

#[test]
fn what_is_sealed_is_not_counted() {
    let sealed = Bytes::from(nested(1, b"").repeat(10_000));
    let payload = Some(seed::Payload::InboundMessage(sealed.clone()));
    let message = seed::Message { sequence: 1, payload };
    let mut wire = Vec::new();
    message.encode(&mut wire).expect("within the bounds");
    assert_eq!(seed::Message::decode(wire.into()), Ok(message));
}

#[test]
fn a_payload_of_a_later_version_is_ignored() {
    let wire = Bytes::from([field(1, WireType::Varint, &[7]), nested(99, &[0xff; 5000])].concat());
    let nothing = deployed::Message { sequence: 7, payload: None };
    assert_eq!(deployed::Message::decode(wire), Ok(nothing));
}

#[test]
fn groups_do_not_nest_without_end() {
    let start = field(99, WireType::StartGroup, &[]);
    let wire = Bytes::from(repeat_n(start, 10_000).flatten().collect::<Vec<_>>());
    let result = deployed::Message::decode(wire);
    assert!(matches!(result, Err(DecodeError::Malformed(_))), "{result:?}");
}

#[test]
fn what_is_sealed_is_not_copied() {
    let mut wire = Vec::new();
    outbound(100).encode(&mut wire).expect("within the bounds");
    let wire = Bytes::from(wire);
    let message = deployed::Message::decode(wire.clone()).expect("decodes");
    let Some(deployed::Payload::OutboundMessage(outbound)) = message.payload else {
        panic!("an outbound message")
    };
    assert_eq!(outbound.unidentified_sender_message.as_ptr(), wire[wire.len() - 100..].as_ptr());
}

#[test]
fn prekeys_are_not_copied() {
    let wire = Bytes::from(nested(10, &nested(1, &nested(3, b"once"))));
    let message = deployed::Message::decode(wire.clone()).expect("decodes");
    let Some(deployed::Payload::PreKeys(keys)) = message.payload else { panic!("prekeys") };
    assert_eq!(keys.pre_keys[0].one_time_pre_key.as_ptr(), wire[wire.len() - 4..].as_ptr());
}

/// The derived decoders read on behind the end of a field as long as there are bytes, and complain
/// afterwards: what is counted has to be refused there.
#[test]
fn a_field_that_ends_beyond_the_one_it_is_in_is_refused_before_the_entries_behind_it() {
    let mut inside = Vec::new();
    encode_varint(u64::from(1_u32 << 3 | 2), &mut inside);
    // Beyond its parent, and within the message.
    encode_varint(20_000, &mut inside);
    let mut message = nested(10, &inside);
    message.extend(nested(1, b"").repeat(10_000));
    let error = deployed::Message::decode(message.into()).unwrap_err();
    assert!(error.to_string().contains("underflow"), "{error}");
}
