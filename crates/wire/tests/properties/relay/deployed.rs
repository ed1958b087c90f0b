//! Messages of the dialect of the clients in the field.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use towline_wire::relay::deployed::{
    Ack, Address, AuthChallenge, AuthResponse, ChatNumber, Configuration, Error,
    FindChatNumberByIdentityKey, FindChatNumberByShortNumber, ForwardedMessage, InboundMessage,
    Login, Message, OutboundMessage, Payload, PreKey, PreKeys, PreKeysLow, Register,
    RequestPreKeys, RequestUploadAuthorizations, Unregister, UploadAuthorization,
    UploadAuthorizations,
};

use super::{bytes, text};

pub(super) fn messages() -> impl Strategy<Value = Message> {
    (any::<u32>(), prop::option::weighted(0.95, payloads()))
        .prop_map(|(sequence, payload)| Message { sequence, payload })
}

pub(super) fn logins() -> impl Strategy<Value = Login> {
    (prop::option::of(addresses()), bytes()).prop_map(|(address, nonce)| Login { address, nonce })
}

pub(super) fn forwarded() -> impl Strategy<Value = ForwardedMessage> {
    (prop::option::of(outbound()), any::<i64>(), any::<i64>()).prop_map(
        |(message, first_failed, last_failed)| ForwardedMessage {
            message,
            first_failed,
            last_failed,
        },
    )
}

fn addresses() -> impl Strategy<Value = Address> {
    (bytes(), bytes()).prop_map(|(identity_key, device_id)| Address { identity_key, device_id })
}

fn outbound() -> impl Strategy<Value = OutboundMessage> {
    (prop::option::of(addresses()), bytes()).prop_map(|(to, unidentified_sender_message)| {
        OutboundMessage { to, unidentified_sender_message }
    })
}

fn pre_keys() -> impl Strategy<Value = PreKey> {
    (bytes(), bytes(), bytes()).prop_map(|(device_id, signed_pre_key, one_time_pre_key)| PreKey {
        device_id,
        signed_pre_key,
        one_time_pre_key,
    })
}

fn authorizations() -> impl Strategy<Value = UploadAuthorization> {
    let form = btree_map(text(), text(), 0..4);
    (text(), form, any::<i64>(), any::<i64>(), text()).prop_map(
        |(
            upload_url,
            upload_form_data,
            authorization_expires_at,
            max_upload_size,
            download_url,
        )| UploadAuthorization {
            upload_url,
            upload_form_data,
            authorization_expires_at,
            max_upload_size,
            download_url,
        },
    )
}

fn payloads() -> impl Strategy<Value = Payload> {
    let from_relay = prop_oneof![
        Just(Payload::Ack(Ack {})),
        (text(), text())
            .prop_map(|(name, description)| Payload::Error(Error { name, description })),
        any::<i64>().prop_map(|max_attachment_size| {
            Payload::Configuration(Configuration { max_attachment_size })
        }),
        bytes().prop_map(|nonce| Payload::AuthChallenge(AuthChallenge { nonce })),
        vec(pre_keys(), 0..5).prop_map(|pre_keys| Payload::PreKeys(PreKeys { pre_keys })),
        any::<u32>().prop_map(|keys_requested| Payload::PreKeysLow(PreKeysLow { keys_requested })),
        vec(authorizations(), 0..3).prop_map(|authorizations| {
            Payload::UploadAuthorizations(UploadAuthorizations { authorizations })
        }),
        bytes().prop_map(|unidentified_sender_message| {
            Payload::InboundMessage(InboundMessage { unidentified_sender_message })
        }),
        (text(), text(), text()).prop_map(|(number, short_number, domain)| {
            Payload::ChatNumber(ChatNumber { number, short_number, domain })
        }),
    ];
    let to_relay = prop_oneof![
        (bytes(), bytes()).prop_map(|(login, signature)| Payload::AuthResponse(AuthResponse {
            login,
            signature
        })),
        (bytes(), vec(bytes(), 0..5)).prop_map(|(signed_pre_key, one_time_pre_keys)| {
            Payload::Register(Register { signed_pre_key, one_time_pre_keys })
        }),
        Just(Payload::Unregister(Unregister {})),
        (bytes(), vec(bytes(), 0..5)).prop_map(|(identity_key, known_device_ids)| {
            Payload::RequestPreKeys(RequestPreKeys { identity_key, known_device_ids })
        }),
        any::<i32>().prop_map(|num_requested| {
            Payload::RequestUploadAuthorizations(RequestUploadAuthorizations { num_requested })
        }),
        outbound().prop_map(Payload::OutboundMessage),
        text().prop_map(|short_number| {
            Payload::FindChatNumberByShortNumber(FindChatNumberByShortNumber { short_number })
        }),
        bytes().prop_map(|identity_key| {
            Payload::FindChatNumberByIdentityKey(FindChatNumberByIdentityKey { identity_key })
        }),
    ];
    prop_oneof![from_relay, to_relay]
}
