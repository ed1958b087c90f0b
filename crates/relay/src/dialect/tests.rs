use std::collections::VecDeque;

use bytes::Bytes;
use towline_wire::relay::deployed::{self, Ack, AuthChallenge};
use towline_wire::relay::number::Candidate;
use towline_wire::relay::{ErrorName, Identity, MAX_MESSAGE_LEN, UserId, seed};

use super::{AnonymousRequest, Answer, Dialect, Said, Speaker};
use crate::auth::Challenge;
use crate::store::{PreKey, Registration};
use crate::{Address, Device, Owner};

const SEALED: Bytes = Bytes::from_static(b"sealed");

fn read_deployed(payload: deployed::Payload) -> Said {
    let mut frame = Vec::new();
    deployed::Message { sequence: 3, payload: Some(payload) }.encode(&mut frame).unwrap();
    let received = Dialect::Deployed.read(frame.into()).unwrap();
    assert_eq!(received.sequence, 3);
    received.said
}

fn read_seed(payload: seed::Payload) -> Said {
    let mut frame = Vec::new();
    seed::Message { sequence: 3, payload: Some(payload) }.encode(&mut frame).unwrap();
    let received = Dialect::Seed.read(frame.into()).unwrap();
    assert_eq!(received.sequence, 3);
    received.said
}

fn seed_messages(frames: VecDeque<Bytes>) -> Vec<seed::Message> {
    frames.into_iter().map(|frame| seed::Message::decode(frame).unwrap()).collect()
}

fn deployed_messages(frames: VecDeque<Bytes>) -> Vec<deployed::Message> {
    frames.into_iter().map(|frame| deployed::Message::decode(frame).unwrap()).collect()
}

fn prekey(device: u32, signed: Bytes, one_time: Option<Bytes>) -> PreKey {
    PreKey { device: device.into(), registration_id: 9, signed, one_time }
}

fn identity() -> Identity {
    let mut key = [0; 32];
    key[0] = 9;
    Identity::try_from(key).unwrap()
}

#[test]
fn a_message_goes_to_the_same_address_in_each_dialect() {
    let user = UserId::new(&[7; 32]);
    let to = seed::Address { user_id: user.into(), device_id: 5 };
    let outbound = seed::OutboundMessage { to: Some(to), unidentified_sender_message: SEALED };
    let to = Address::new(user, Device::from(5));
    assert_eq!(
        read_seed(seed::Payload::OutboundMessage(outbound)),
        Said::Anonymous(Ok(AnonymousRequest::Send { to, message: SEALED })),
    );

    let device_id = Bytes::from_static(b"phone");
    let to = deployed::Address { identity_key: identity().into(), device_id: device_id.clone() };
    let outbound = deployed::OutboundMessage { to: Some(to), unidentified_sender_message: SEALED };
    let to = Address::new(identity(), Device::try_from(device_id).unwrap());
    assert_eq!(
        read_deployed(deployed::Payload::OutboundMessage(outbound)),
        Said::Anonymous(Ok(AnonymousRequest::Send { to, message: SEALED })),
    );
}

#[test]
fn a_message_to_nobody_is_refused_by_name() {
    let outbound = seed::OutboundMessage { to: None, unidentified_sender_message: SEALED };
    assert_eq!(
        read_seed(seed::Payload::OutboundMessage(outbound)),
        Said::Anonymous(Err(ErrorName::InvalidUserId)),
    );
    let outbound = deployed::OutboundMessage { to: None, unidentified_sender_message: SEALED };
    assert_eq!(
        read_deployed(deployed::Payload::OutboundMessage(outbound)),
        Said::Anonymous(Err(ErrorName::InvalidIdentityKey)),
    );
}

#[test]
fn a_message_to_a_device_that_cannot_be_is_refused_by_name() {
    let device_id = vec![0; Device::MAX_LEN + 1].into();
    let to = deployed::Address { identity_key: identity().into(), device_id };
    let outbound = deployed::OutboundMessage { to: Some(to), unidentified_sender_message: SEALED };
    assert_eq!(
        read_deployed(deployed::Payload::OutboundMessage(outbound)),
        Said::Anonymous(Err(ErrorName::UnknownDevice)),
    );
}

#[test]
fn a_known_device_that_cannot_be_leaves_nobody_out() {
    let known_device_ids = vec![vec![0; Device::MAX_LEN + 1].into(), Bytes::from_static(b"phone")];
    let request = deployed::RequestPreKeys { identity_key: identity().into(), known_device_ids };
    let known = vec![Device::try_from(Bytes::from_static(b"phone")).unwrap()];
    assert_eq!(
        read_deployed(deployed::Payload::RequestPreKeys(request)),
        Said::Anonymous(Ok(AnonymousRequest::PreKeys { owner: identity().into(), known })),
    );
}

#[test]
fn what_only_a_relay_says_is_nothing_from_a_client() {
    assert_eq!(read_seed(seed::Payload::InboundMessage(SEALED)), Said::Nothing);
    let challenge = AuthChallenge { nonce: SEALED };
    assert_eq!(read_deployed(deployed::Payload::AuthChallenge(challenge)), Said::Nothing);
    assert_eq!(Dialect::Deployed.read(Bytes::new()).unwrap().said, Said::Nothing);
    assert_eq!(Dialect::Seed.read(Bytes::new()).unwrap().said, Said::Nothing);
}

#[test]
fn the_greeting_is_the_challenge_and_in_one_dialect_the_configuration() {
    let challenge = Challenge::from([4; 32]);
    let mut frames = VecDeque::new();
    Speaker::new(Dialect::Seed).greet(&challenge, 100, &mut frames).unwrap();
    let nonce = Bytes::copy_from_slice(&[4; 32]);
    let payload = seed::Payload::AuthChallenge(AuthChallenge { nonce: nonce.clone() });
    assert_eq!(seed_messages(frames), [seed::Message { sequence: 1, payload: Some(payload) }]);

    let mut frames = VecDeque::new();
    Speaker::new(Dialect::Deployed).greet(&challenge, 100, &mut frames).unwrap();
    let first = deployed::Payload::AuthChallenge(AuthChallenge { nonce });
    let configuration = deployed::Configuration { max_attachment_size: 100 };
    let second = deployed::Payload::Configuration(configuration);
    assert_eq!(
        deployed_messages(frames),
        [
            deployed::Message { sequence: 1, payload: Some(first) },
            deployed::Message { sequence: 2, payload: Some(second) },
        ],
    );
}

#[test]
fn answers_carry_the_sequence_of_the_request_and_are_not_counted() {
    let mut frames = VecDeque::new();
    let mut speaker = Speaker::new(Dialect::Deployed);
    assert_eq!(speaker.deliver(SEALED, &mut frames), Ok(1));
    speaker.answer(0, Answer::Done, &mut frames).unwrap();
    speaker.answer(77, Answer::Refused(ErrorName::Unauthorized, ""), &mut frames).unwrap();
    assert_eq!(speaker.deliver(SEALED, &mut frames), Ok(2));
    let sequences = deployed_messages(frames).into_iter().map(|message| message.sequence);
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 0, 77, 2]);
}

#[test]
fn seed_prekeys_are_a_counted_frame_for_each_device() {
    let user = UserId::new(&[7; 32]);
    let keys = vec![prekey(1, SEALED, None), prekey(2, SEALED, Some(SEALED))];
    let mut frames = VecDeque::new();
    let answer = Answer::PreKeys(&Owner::from(user), keys);
    Speaker::new(Dialect::Seed).answer(50, answer, &mut frames).unwrap();
    let expected = [(1, Bytes::new()), (2, SEALED)].map(|(number, one_time_pre_key)| {
        let key = seed::PreKey {
            address: Some(seed::Address { user_id: user.into(), device_id: number }),
            registration_id: 9,
            signed_pre_key: SEALED,
            one_time_pre_key,
        };
        seed::Message { sequence: number, payload: Some(seed::Payload::PreKey(key)) }
    });
    assert_eq!(seed_messages(frames), expected);
}

#[test]
fn a_login_is_answered_with_a_number_only_where_there_are_numbers() {
    let number = Candidate { number: "2345".into(), short: "23".into() };
    let answer = Answer::Number(number, "example.org");
    let mut frames = VecDeque::new();
    Speaker::new(Dialect::Deployed).answer(0, answer.clone(), &mut frames).unwrap();
    let number = deployed::ChatNumber {
        number: "2345".into(),
        short_number: "23".into(),
        domain: "example.org".into(),
    };
    let payload = Some(deployed::Payload::ChatNumber(number));
    assert_eq!(deployed_messages(frames), [deployed::Message { sequence: 0, payload }]);

    let mut frames = VecDeque::new();
    Speaker::new(Dialect::Seed).answer(0, answer, &mut frames).unwrap();
    let payload = Some(seed::Payload::Ack(Ack {}));
    assert_eq!(seed_messages(frames), [seed::Message { sequence: 0, payload }]);
}

#[test]
fn an_answer_that_does_not_fit_leaves_no_frame() {
    let long = Bytes::from(vec![0; MAX_MESSAGE_LEN]);
    for (dialect, owner) in [
        (Dialect::Seed, Owner::from(UserId::new(&[7; 32]))),
        (Dialect::Deployed, Owner::from(identity())),
    ] {
        let keys = vec![prekey(1, SEALED, None), prekey(2, long.clone(), None)];
        let mut frames = VecDeque::new();
        let answered = Speaker::new(dialect).answer(1, Answer::PreKeys(&owner, keys), &mut frames);
        assert!(answered.is_err(), "{dialect:?}");
        assert!(frames.is_empty(), "{dialect:?}");
    }
}

#[test]
fn prekeys_fit_whatever_number_the_relay_has_come_to() {
    let user = UserId::new(&[7; 32]);
    let address = Address::new(user, 1);
    let fits = |len: usize| {
        let (signed, one_time) = (vec![0; len].into(), Vec::new());
        let registration = Registration { id: u32::MAX, signed, one_time };
        Dialect::Seed.check_prekeys(&address, &registration).is_ok()
    };
    let is_written = |len: usize| {
        let key = seed::PreKey {
            address: Some(seed::Address { user_id: user.into(), device_id: 1 }),
            registration_id: u32::MAX,
            signed_pre_key: vec![0; len].into(),
            one_time_pre_key: Bytes::new(),
        };
        let payload = Some(seed::Payload::PreKey(key));
        seed::Message { sequence: u32::MAX, payload }.encode(&mut Vec::new()).is_ok()
    };
    let lens = MAX_MESSAGE_LEN - 100..MAX_MESSAGE_LEN;
    let most = lens.clone().take_while(|&len| is_written(len)).last().unwrap();
    assert_eq!(lens.take_while(|&len| fits(len)).last(), Some(most));
}

#[test]
fn a_sequence_number_is_read_without_the_rest() {
    for dialect in [Dialect::Deployed, Dialect::Seed] {
        for sequence in [0, 1, 127, 128, 300, u32::MAX] {
            let payload = Some(seed::Payload::Ack(Ack {}));
            let mut frame = Vec::new();
            seed::Message { sequence, payload }.encode(&mut frame).unwrap();
            assert_eq!(dialect.sequence_of(&frame), sequence);
        }
        // What is no number is none, and what has no end ends.
        assert_eq!(dialect.sequence_of(b""), 0);
        assert_eq!(dialect.sequence_of(b"\x08"), 0);
        assert_eq!(dialect.sequence_of(&[&[0x08][..], &[0xff; 40]].concat()), u32::MAX);
    }
}
