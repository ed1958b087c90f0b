//! The message relay, in both dialects.

mod bounds;
mod deployed;
mod proto;
mod seed;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use towline_wire::relay::{deployed as d, seed as s};

use crate::random::{config, damaged, noise};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..20).prop_map(String::from_iter)
}

fn encoded_deployed(message: &d::Message) -> Bytes {
    let mut out = Vec::new();
    message.encode(&mut out).expect("the message is within the bounds");
    out.into()
}

fn encoded_seed(message: &s::Message) -> Bytes {
    let mut out = Vec::new();
    message.encode(&mut out).expect("the message is within the bounds");
    out.into()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn deployed_messages_decode_to_what_was_encoded(message in deployed::messages()) {
        prop_assert_eq!(d::Message::decode(encoded_deployed(&message)), Ok(message));
    }

    #[test]
    fn seed_messages_decode_to_what_was_encoded(message in seed::messages()) {
        prop_assert_eq!(s::Message::decode(encoded_seed(&message)), Ok(message));
    }

    #[test]
    fn deployed_messages_that_stand_alone_decode_to_what_was_encoded(
        login in deployed::logins(),
        forwarded in deployed::forwarded(),
    ) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        login.encode(&mut first).expect("within the bounds");
        forwarded.encode(&mut second).expect("within the bounds");
        prop_assert_eq!(d::Login::decode(first.into()), Ok(login));
        prop_assert_eq!(d::ForwardedMessage::decode(second.into()), Ok(forwarded));
    }

    #[test]
    fn seed_logins_decode_to_what_was_encoded(login in seed::logins()) {
        let mut out = Vec::new();
        login.encode(&mut out).expect("within the bounds");
        prop_assert_eq!(s::Login::decode(out.into()), Ok(login));
    }

    #[test]
    fn noise_that_decodes_encodes_to_an_equal_message(
        noise in prop_oneof![noise(200), proto::any_fields(12), proto::any_fields(2000)],
    ) {
        let noise = Bytes::from(noise);
        if let Ok(message) = d::Message::decode(noise.clone()) {
            prop_assert_eq!(d::Message::decode(encoded_deployed(&message)), Ok(message));
        }
        if let Ok(message) = s::Message::decode(noise) {
            prop_assert_eq!(s::Message::decode(encoded_seed(&message)), Ok(message));
        }
    }

    #[test]
    fn a_damaged_message_does_not_panic(message in deployed::messages()) {
        for (_, damaged) in damaged(&encoded_deployed(&message)) {
            let _ = d::Message::decode(damaged.clone());
            let _ = s::Message::decode(damaged);
        }
    }
}
