//! The codecs: what decodes encodes to the same, within the MTU.

use std::fmt::Debug;

use bytes::Bytes;
use towline_start::{Config, Initiator, Liveness, Request, Responder, ResponderEvent, Seed};
use towline_wire::data::{Codec, Message, SEGMENT_OVERHEAD};
use towline_wire::relay::{
    self, Excess, Identity, MAX_FIELDS, MAX_MESSAGE_LEN, UserId, deployed, number, seed,
};
use towline_wire::start::{Cbor, Message as StartMessage};
use towline_wire::{DecodeError, Dialect, EncodeError, Mtu, Tag, split_tag};

use crate::choice::Choices;

/// MTUs around which lengths change their meaning: the smallest, the RFC's and the deployed one, both
/// sides of the 2047-byte limit, the largest.
const MTUS: [usize; 14] =
    [256, 16, 17, 20, 32, 64, 512, 1018, 1030, 2051, 2052, 9000, 32_767, 65_535];

/// Decodes a handshake datagram: the first byte chooses dialect and MTU, the rest is the datagram.
///
/// # Panics
/// When the codec breaks a rule, or a machine answers the message with one that is too long.
pub fn decode_start(input: &[u8]) {
    let (dialect, mtu, datagram) = split(input);
    check_tag(&datagram);
    let message = match StartMessage::decode(dialect, datagram.clone()) {
        Ok(message) => message,
        Err(error) => return check_error(error, dialect),
    };
    let mut encoded = vec![0xa5];
    match message.encode(dialect, &mut encoded) {
        Ok(()) => {}
        Err(EncodeError::TooLong { .. }) if datagram.len() > usize::from(u16::MAX) => return,
        Err(error) => panic!("{message:?} was decoded and does not encode: {error}"),
    }
    assert_eq!(encoded.remove(0), 0xa5, "what stood in the buffer has changed");
    let encoded = Bytes::from(encoded);
    assert_eq!(StartMessage::decode(dialect, encoded.clone()), Ok(message.clone()));
    // A keep-alive's flags are read as none where they are reserved.
    let exact = dialect != Dialect::Hoprnet && !matches!(message, StartMessage::KeepAlive(_));
    assert!(!exact || encoded == datagram, "{message:?} has two forms");
    if let StartMessage::StartSession(request) = &message {
        check_item(&request.target);
    }
    answer(dialect, mtu, &message);
}

/// Decodes a data datagram: the first byte chooses dialect and MTU, the rest is the datagram.
///
/// # Panics
/// When the codec breaks a rule.
pub fn decode_data(input: &[u8]) {
    let (dialect, mtu, datagram) = split(input);
    check_tag(&datagram);
    let codec = Codec::new(dialect, mtu);
    let sequence = codec.messages(datagram.clone());
    let message = match codec.decode(datagram.clone()) {
        Ok(message) => message,
        Err(error) => {
            check_error(error, dialect);
            if let Ok(messages) = sequence {
                check_sequence(&codec, &datagram, error, messages.collect());
            }
            return;
        }
    };
    let sequence: Vec<_> = sequence.map(Iterator::collect).unwrap_or_default();
    assert_eq!(sequence, [Ok(message.clone())], "one message is a sequence of one");
    check_round_trip(&codec, &datagram, &message);
}

/// Decodes a message of the relay: the first byte chooses the dialect, the rest is the message.
///
/// # Panics
/// When the codec breaks a rule.
pub fn decode_relay(input: &[u8]) {
    let mut choices = Choices::new(input);
    let deployed = choices.byte() & 1 == 0;
    let wire = choices.rest();
    if deployed {
        check_relay(&wire, deployed::Message::decode, deployed::Message::encode);
        check_relay(&wire, deployed::Login::decode, deployed::Login::encode);
        check_relay(&wire, deployed::ForwardedMessage::decode, deployed::ForwardedMessage::encode);
    } else {
        check_relay(&wire, seed::Message::decode, seed::Message::encode);
        check_relay(&wire, seed::Login::decode, seed::Login::encode);
    }
    check_somebody(&wire);
}

/// A message that decodes encodes to one that is equal and no longer than it may be.
fn check_relay<M: PartialEq + Debug>(
    wire: &Bytes,
    decode: fn(Bytes) -> Result<M, relay::DecodeError>,
    encode: fn(&M, &mut Vec<u8>) -> Result<(), Excess>,
) {
    let message = match decode(wire.clone()) {
        Ok(message) => message,
        Err(relay::DecodeError::Excess(Excess::TooLong { length, limit })) => {
            assert!(length == wire.len() && length > limit && limit >= MAX_MESSAGE_LEN);
            return;
        }
        Err(relay::DecodeError::Excess(Excess::TooManyFields)) => {
            assert!(wire.len() >= 2 * MAX_FIELDS, "{} bytes hold no so many fields", wire.len());
            return;
        }
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut encoded = vec![0xa5];
    let result = encode(&message, &mut encoded);
    assert!(result.is_ok(), "{message:?} was decoded and does not encode: {result:?}");
    assert_eq!(encoded.remove(0), 0xa5, "what stood in the buffer has changed");
    assert_eq!(decode(encoded.into()), Ok(message));
}

/// Who is read from bytes or from text is written as what was read.
fn check_somebody(input: &[u8]) {
    if let Ok(user) = UserId::try_from(input) {
        assert_eq!(user.as_bytes(), input);
    }
    if let Ok(identity) = Identity::try_from(input) {
        assert_eq!(identity.as_bytes(), input);
        assert_eq!(identity.to_string().parse(), Ok(identity));
        assert_eq!(number::decode(&number::encode(&identity)), Ok(identity));
    }
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(identity) = text.parse::<Identity>() {
        assert_eq!(identity.to_string(), text);
    }
    if let Ok(identity) = number::decode(text) {
        let number = number::encode(&identity);
        assert!(text.replace('5', "").ends_with(&number));
    }
}

fn split(input: &[u8]) -> (Dialect, Mtu, Bytes) {
    let mut choices = Choices::new(input);
    let first = usize::from(choices.byte());
    let dialect = Dialect::ALL[first % Dialect::ALL.len()];
    let mtu = MTUS[first / Dialect::ALL.len() % MTUS.len()];
    (dialect, Mtu::new(mtu).unwrap_or(Mtu::MIN), choices.rest())
}

fn check_tag(datagram: &Bytes) {
    match split_tag(datagram.clone()) {
        Ok((tag, message)) => {
            assert!(tag <= Tag::MAX && Tag::new(tag.get()) == Some(tag));
            assert_eq!([&tag.to_bytes()[..], &message[..]].concat(), datagram[..]);
        }
        Err(DecodeError::Truncated { .. }) => assert!(datagram.len() < Tag::LEN),
        Err(DecodeError::ReservedTag) => assert!(datagram[0] >= 0x20),
        Err(error) => panic!("a tag is refused for {error}"),
    }
}

fn check_error(error: DecodeError, dialect: Dialect) {
    assert_ne!(error.likely_dialect(dialect), Some(dialect), "{error}");
    assert!(!error.to_string().is_empty());
}

/// What `decode` refuses is a sequence of several messages, or its only message is refused for the same.
fn check_sequence(
    codec: &Codec,
    datagram: &Bytes,
    error: DecodeError,
    messages: Vec<Result<Message, DecodeError>>,
) {
    match messages.len() {
        0 => panic!("a sequence of no messages"),
        1 => assert_eq!(messages[0], Err(error)),
        _ => assert!(matches!(error, DecodeError::TrailingBytes(_)), "{error}"),
    }
    for message in messages.into_iter().flatten() {
        let mut encoded = Vec::new();
        if codec.encode(&message, &mut encoded).is_ok() {
            assert_eq!(codec.decode(encoded.into()).as_ref(), Ok(&message));
        } else {
            assert!(datagram.len() > codec.max_message_len());
        }
    }
}

fn check_round_trip(codec: &Codec, datagram: &Bytes, message: &Message) {
    let longest = codec.max_message_len();
    assert!(longest <= codec.mtu().get() && datagram.len() <= codec.mtu().get());
    let mut encoded = vec![0xa5];
    match codec.encode(message, &mut encoded) {
        Ok(()) => {}
        // A message above the dialect's own limit is understood and never sent.
        Err(EncodeError::TooLong { .. } | EncodeError::TooManyEntries { .. }) => {
            assert!(codec.dialect() == Dialect::Rfc0007 && datagram.len() > longest);
            assert_eq!(encoded, [0xa5], "a refused message left something behind");
            return;
        }
        Err(error) => panic!("{message:?} was decoded and does not encode: {error}"),
    }
    assert_eq!(encoded.remove(0), 0xa5, "what stood in the buffer has changed");
    assert!(encoded.len() <= longest, "{} bytes at an MTU of {}", encoded.len(), codec.mtu());
    assert_eq!(codec.decode(encoded.clone().into()).as_ref(), Ok(message));
    match message {
        Message::Segment(segment) => {
            assert_eq!(encoded, datagram[..], "a segment has one form");
            assert_eq!(encoded.len(), segment.data.len() + SEGMENT_OVERHEAD);
            let header = &segment.header;
            assert!(header.index() < header.count());
            assert!(header.count() <= codec.dialect().max_segments());
        }
        Message::Request(request) => {
            assert!(request.entries().is_sorted_by(|a, b| a.frame_id < b.frame_id));
            assert!(request.entries().count() <= codec.max_request_entries());
        }
        Message::Acknowledgement(acknowledgement) => {
            assert!(acknowledgement.frames().is_sorted_by(|a, b| a < b));
            assert!(acknowledgement.frames().count() <= codec.max_acknowledged_frames());
        }
    }
    if codec.dialect() == Dialect::Hoprnet && !matches!(message, Message::Segment(_)) {
        assert_eq!(encoded.len(), longest, "control messages are padded to the MTU");
    }
    let twice = [&encoded[..], &encoded[..]].concat();
    let messages: Vec<_> = codec.messages(twice.into()).map(Iterator::collect).unwrap_or_default();
    assert_eq!(messages, [Ok(message.clone()), Ok(message.clone())]);
}

fn check_item(item: &Cbor) {
    assert_eq!(Cbor::from_bytes(item.as_bytes().clone()).as_ref(), Ok(item));
    if let Ok(text) = item.to::<String>() {
        assert!(Cbor::new(&text).is_ok());
    }
    if let Ok(number) = item.to::<u64>() {
        assert!(Cbor::new(&number).is_ok());
    }
}

/// Feeds the message to the handshake's machines: whatever they answer fits the MTU and decodes.
fn answer(dialect: Dialect, mtu: Mtu, message: &StartMessage) {
    let config = Config::builder(dialect, mtu).seed(Seed([7; 32])).build();
    // Machines need room for a keep-alive.
    let Ok(config) = config else { return };
    let now = crate::epoch();
    let mut answers = Vec::new();
    let keeps_seed = "a config with a seed needs no other randomness";
    match message {
        StartMessage::StartSession(request) => {
            let mut responder = Responder::new(&config).expect(keeps_seed);
            let fits = responder.handle_start_session(now, 1, request.clone()).is_ok();
            assert!(fits || request.target.as_bytes().len() > mtu.get());
            while let Some(event) = responder.poll_event() {
                if let ResponderEvent::Incoming(incoming) = event {
                    assert_eq!(incoming.request.target, request.target);
                    assert!(responder.accept(now, incoming.id).is_ok(), "an undecided request");
                }
            }
            answers.extend(std::iter::from_fn(|| responder.poll_transmit()));
            assert_eq!(answers.len(), usize::from(fits), "one answer to a request");
        }
        StartMessage::SessionEstablished(answer) => {
            let mut initiator = Initiator::new(&config).expect(keeps_seed);
            let request = Request {
                capabilities: Default::default(),
                additional_data: 0,
                target: answer.session_id.clone(),
            };
            let fits = initiator.connect(now, 1, request).is_ok();
            answers.extend(std::iter::from_fn(|| initiator.poll_transmit()));
            assert_eq!(answers.len(), usize::from(fits));
            // The challenge is the machine's own, so the peer's answer is made to fit.
            if let Some((_, StartMessage::StartSession(request))) = answers.first() {
                let mut answer = answer.clone();
                answer.challenge = request.challenge;
                let accepted = initiator.handle_established(now, 1, &answer).is_ok();
                let confirmed: Vec<_> = std::iter::from_fn(|| initiator.poll_transmit()).collect();
                assert_eq!(confirmed.len(), usize::from(accepted));
                answers.extend(confirmed);
            }
        }
        StartMessage::SessionError(answer) => {
            let mut initiator = Initiator::<u8>::new(&config).expect(keeps_seed);
            assert!(initiator.handle_error(1, answer).is_err(), "nobody asked");
        }
        StartMessage::KeepAlive(keep_alive) => {
            let mut responder = Responder::new(&config).expect(keeps_seed);
            assert!(responder.handle_keep_alive(1, keep_alive).is_err(), "no session was granted");
            let mut liveness = Liveness::exit(&config, now);
            liveness.heard(now);
            assert!(liveness.poll_timeout() > now);
        }
    }
    for (_, message) in answers {
        let mut encoded = Vec::new();
        if let Err(error) = message.encode(dialect, &mut encoded) {
            panic!("{message:?} does not encode: {error}");
        }
        assert!(encoded.len() <= mtu.get(), "{} bytes at an MTU of {mtu}", encoded.len());
        assert_eq!(StartMessage::decode(dialect, encoded.into()), Ok(message));
    }
}
