//! The seed's diagram, line by line, in both dialects.

use bytes::Bytes;
use towline_relay::auth::Key;
use towline_wire::relay::{deployed, number, seed};

use super::Relay;
use super::client::Client;

#[tokio::test]
async fn the_flow_in_the_dialect_of_the_seed() {
    use seed::{Ack, Address, Login, Message, OutboundMessage, Payload, Register, RequestPreKeys};

    let relay = Relay::new();
    let key = Key::random().unwrap();
    let address = Address { user_id: key.user_id().into(), device_id: 3 };
    let message = |sequence, payload| Message { sequence, payload: Some(payload) };
    let ack = |sequence| message(sequence, Payload::Ack(Ack {}));

    // The recipient connects and authenticates.
    let mut recipient = Client::<Message>::connect(&relay.address).await;
    let Message { sequence: 1, payload: Some(Payload::AuthChallenge(challenge)) } =
        recipient.hear().await
    else {
        panic!("no challenge")
    };
    let mut login = Vec::new();
    let nonce = challenge.nonce;
    Login { address: Some(address.clone()), nonce }.encode(&mut login).unwrap();
    recipient.say(message(0, Payload::AuthResponse(key.answer_seed(login.into())))).await;
    assert_eq!(recipient.hear().await, ack(0));

    // The sender connects anonymously, and ignores the challenge.
    let mut sender = Client::<Message>::connect(&relay.address).await;
    let heard = sender.hear().await;
    assert!(matches!(heard.payload, Some(Payload::AuthChallenge(_))));

    // The recipient registers key material, just enough that the relay does not ask for more.
    let register = |count: u8| Register {
        registration_id: 77,
        signed_pre_key: "signed".into(),
        one_time_pre_keys: (0..count).map(|key| Bytes::from(vec![key])).collect(),
    };
    recipient.say(message(2, Payload::Register(register(10)))).await;
    assert_eq!(recipient.hear().await, ack(2));

    // The sender requests key material to begin a session.
    let request = RequestPreKeys { user_id: key.user_id().into(), known_device_ids: Vec::new() };
    sender.say(message(2, Payload::RequestPreKeys(request))).await;
    let Message { sequence: 2, payload: Some(Payload::PreKey(prekey)) } = sender.hear().await
    else {
        panic!("no prekey")
    };
    assert_eq!(prekey.address, Some(address.clone()));
    assert_eq!(prekey.registration_id, 77);
    assert_eq!(prekey.signed_pre_key, "signed");
    assert_eq!(prekey.one_time_pre_key, vec![9_u8]);

    // They exchange a message.
    let outbound =
        OutboundMessage { to: Some(address.clone()), unidentified_sender_message: "sealed".into() };
    sender.say(message(3, Payload::OutboundMessage(outbound))).await;
    assert_eq!(sender.hear().await, ack(3));
    let inbound = recipient.hear().await;
    assert_eq!(inbound.payload, Some(Payload::InboundMessage("sealed".into())));
    recipient.say(ack(inbound.sequence)).await;
    // The answer to what comes after it says that it is there.
    recipient.say(message(3, Payload::Register(register(0)))).await;
    assert_eq!(recipient.hear().await, ack(3));

    // The one-time prekeys are kept filled: the relay looks at each login.
    let mut recipient = Client::<Message>::connect(&relay.address).await;
    let Some(Payload::AuthChallenge(challenge)) = recipient.hear().await.payload else {
        panic!("no challenge")
    };
    let mut login = Vec::new();
    Login { address: Some(address), nonce: challenge.nonce }.encode(&mut login).unwrap();
    recipient.say(message(0, Payload::AuthResponse(key.answer_seed(login.into())))).await;
    assert_eq!(recipient.hear().await, ack(0));
    let Some(Payload::PreKeysLow(low)) = recipient.hear().await.payload else {
        panic!("the message comes again, or nobody asks for prekeys")
    };
    assert_eq!(low.keys_requested, 20);
    recipient.say(message(1, Payload::Register(register(20)))).await;
    assert_eq!(recipient.hear().await, ack(1));
    relay.end();
}

#[tokio::test]
async fn the_flow_in_the_dialect_of_deployed_clients() {
    use deployed::{
        Ack, Address, ChatNumber, FindChatNumberByShortNumber, InboundMessage, Login, Message,
        OutboundMessage, Payload, PreKey, PreKeys, Register, RequestPreKeys,
    };

    let relay = Relay::new();
    let key = Key::random().unwrap();
    let device = Bytes::from_static(&[0xda; 16]);
    let address = Address { identity_key: key.identity().into(), device_id: device.clone() };
    let message = |sequence, payload| Message { sequence, payload: Some(payload) };
    let ack = |sequence| message(sequence, Payload::Ack(Ack {}));
    let candidate = number::candidates(&key.identity()).next().unwrap();
    let chat_number = ChatNumber {
        number: candidate.number,
        short_number: candidate.short,
        domain: String::new(),
    };

    // The recipient connects and authenticates.
    let mut recipient = Client::<Message>::connect(&relay.address).await;
    let Message { sequence: 1, payload: Some(Payload::AuthChallenge(challenge)) } =
        recipient.hear().await
    else {
        panic!("no challenge")
    };
    let heard = recipient.hear().await;
    assert_eq!(heard.sequence, 2);
    assert!(matches!(heard.payload, Some(Payload::Configuration(_))));
    let mut login = Vec::new();
    let nonce = challenge.nonce;
    Login { address: Some(address.clone()), nonce }.encode(&mut login).unwrap();
    recipient.say(message(0, Payload::AuthResponse(key.answer_deployed(login.into())))).await;
    // Nothing may come before the answer.
    assert_eq!(recipient.hear().await, message(0, Payload::ChatNumber(chat_number.clone())));

    // The sender connects anonymously, ignores the challenge, and looks up who it knows the number of.
    let mut sender = Client::<Message>::connect(&relay.address).await;
    assert!(matches!(sender.hear().await.payload, Some(Payload::AuthChallenge(_))));
    assert!(matches!(sender.hear().await.payload, Some(Payload::Configuration(_))));
    let find = FindChatNumberByShortNumber { short_number: chat_number.short_number.clone() };
    sender.say(message(2, Payload::FindChatNumberByShortNumber(find))).await;
    assert_eq!(sender.hear().await, message(2, Payload::ChatNumber(chat_number)));

    // The recipient registers key material, just enough that the relay does not ask for more.
    let register = |count: u8| Register {
        signed_pre_key: "signed".into(),
        one_time_pre_keys: (0..count).map(|key| Bytes::from(vec![key])).collect(),
    };
    recipient.say(message(2, Payload::Register(register(10)))).await;
    assert_eq!(recipient.hear().await, ack(2));

    // The sender requests key material to begin a session.
    let request =
        RequestPreKeys { identity_key: key.identity().into(), known_device_ids: Vec::new() };
    sender.say(message(3, Payload::RequestPreKeys(request))).await;
    let prekey = PreKey {
        device_id: device.clone(),
        signed_pre_key: "signed".into(),
        one_time_pre_key: vec![9].into(),
    };
    let prekeys = PreKeys { pre_keys: vec![prekey] };
    assert_eq!(sender.hear().await, message(3, Payload::PreKeys(prekeys)));

    // They exchange a message.
    let outbound =
        OutboundMessage { to: Some(address.clone()), unidentified_sender_message: "sealed".into() };
    sender.say(message(4, Payload::OutboundMessage(outbound))).await;
    assert_eq!(sender.hear().await, ack(4));
    let inbound = recipient.hear().await;
    let sealed = InboundMessage { unidentified_sender_message: "sealed".into() };
    assert_eq!(inbound.payload, Some(Payload::InboundMessage(sealed)));
    recipient.say(ack(inbound.sequence)).await;
    // The answer to what comes after it says that it is there.
    recipient.say(message(3, Payload::Register(register(0)))).await;
    assert_eq!(recipient.hear().await, ack(3));

    // The one-time prekeys are kept filled: the relay looks at each login.
    let mut recipient = Client::<Message>::connect(&relay.address).await;
    let Some(Payload::AuthChallenge(challenge)) = recipient.hear().await.payload else {
        panic!("no challenge")
    };
    recipient.hear().await;
    let mut login = Vec::new();
    Login { address: Some(address), nonce: challenge.nonce }.encode(&mut login).unwrap();
    recipient.say(message(0, Payload::AuthResponse(key.answer_deployed(login.into())))).await;
    assert!(matches!(recipient.hear().await.payload, Some(Payload::ChatNumber(_))));
    let Some(Payload::PreKeysLow(low)) = recipient.hear().await.payload else {
        panic!("the message comes again, or nobody asks for prekeys")
    };
    assert_eq!(low.keys_requested, 20);
    recipient.say(message(1, Payload::Register(register(20)))).await;
    assert_eq!(recipient.hear().await, ack(1));
    relay.end();
}
