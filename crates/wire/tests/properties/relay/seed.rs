//! Messages of the seed's dialect.

use proptest::collection::vec;
use proptest::prelude::*;
use towline_wire::relay::seed::{
    Ack, Address, AuthChallenge, AuthResponse, Error, Login, Message, OutboundMessage, Payload,
    PreKey, PreKeysLow, Register, RequestPreKeys, Unregister,
};

use super::{bytes, text};

pub(super) fn messages() -> impl Strategy<Value = Message> {
    (any::<u32>(), prop::option::weighted(0.95, payloads()))
        .prop_map(|(sequence, payload)| Message { sequence, payload })
}

pub(super) fn logins() -> impl Strategy<Value = Login> {
    (prop::option::of(addresses()), bytes()).prop_map(|(address, nonce)| Login { address, nonce })
}

fn addresses() -> impl Strategy<Value = Address> {
    (bytes(), any::<u32>()).prop_map(|(user_id, device_id)| Address { user_id, device_id })
}

fn payloads() -> impl Strategy<Value = Payload> {
    let from_relay = prop_oneof![
        Just(Payload::Ack(Ack {})),
        (text(), text())
            .prop_map(|(name, description)| Payload::Error(Error { name, description })),
        bytes().prop_map(|nonce| Payload::AuthChallenge(AuthChallenge { nonce })),
        (prop::option::of(addresses()), any::<u32>(), bytes(), bytes()).prop_map(
            |(address, registration_id, signed_pre_key, one_time_pre_key)| {
                Payload::PreKey(PreKey {
                    address,
                    registration_id,
                    signed_pre_key,
                    one_time_pre_key,
                })
            }
        ),
        any::<u32>().prop_map(|keys_requested| Payload::PreKeysLow(PreKeysLow { keys_requested })),
        bytes().prop_map(Payload::InboundMessage),
    ];
    let to_relay = prop_oneof![
        (bytes(), bytes()).prop_map(|(login, signature)| Payload::AuthResponse(AuthResponse {
            login,
            signature
        })),
        (any::<u32>(), bytes(), vec(bytes(), 0..5)).prop_map(
            |(registration_id, signed_pre_key, one_time_pre_keys)| {
                Payload::Register(Register { registration_id, signed_pre_key, one_time_pre_keys })
            }
        ),
        Just(Payload::Unregister(Unregister {})),
        (bytes(), vec(any::<u32>(), 0..5)).prop_map(|(user_id, known_device_ids)| {
            Payload::RequestPreKeys(RequestPreKeys { user_id, known_device_ids })
        }),
        (prop::option::of(addresses()), bytes()).prop_map(|(to, unidentified_sender_message)| {
            Payload::OutboundMessage(OutboundMessage { to, unidentified_sender_message })
        }),
    ];
    prop_oneof![from_relay, to_relay]
}
