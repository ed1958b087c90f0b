//! What a relay keeps, and what its operator can do with it.

use towline_relay::auth::Key;
use towline_wire::relay::seed::{Ack, Address, Message, OutboundMessage, Payload};

use super::Relay;
use super::client::Client;
use crate::support::{json, run, text};

/// Has a relay keep so many messages for somebody.
async fn keep(relay: &Relay, messages: u32) {
    let user_id = Key::random().expect("random numbers").user_id().into();
    let to = Address { user_id, device_id: 1 };
    let mut sender = Client::<Message>::connect(&relay.address).await;
    sender.hear().await;
    for sequence in 1..=messages {
        let unidentified_sender_message = "sealed".into();
        let outbound = OutboundMessage { to: Some(to.clone()), unidentified_sender_message };
        let payload = Some(Payload::OutboundMessage(outbound));
        sender.say(Message { sequence, payload }).await;
        let ack = Message { sequence, payload: Some(Payload::Ack(Ack {})) };
        assert_eq!(sender.hear().await, ack);
    }
}

#[tokio::test]
async fn a_copy_is_made_while_the_relay_runs_and_can_take_its_place() {
    let relay = Relay::new();
    keep(&relay, 3).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("relay.db");
    let copy = copy.to_str().unwrap();
    let backup = ["relay", "backup", "--data", relay.data(), "--to", copy];
    let output = run(&backup, b"");
    assert!(output.status.success(), "{}", text(&output.stderr));
    // A copy is not written over.
    assert_eq!(run(&backup, b"").status.code(), Some(1));
    relay.end();

    let copied = Relay::at(elsewhere);
    keep(&copied, 1).await;
    let directory = copied.end();
    let data = directory.path().to_str().unwrap();
    let report = json(&run(&["relay", "check", "--data", data, "--json"], b""));
    assert_eq!(report["messages"], 4);
    assert_eq!(report["bytes"], 24);
    assert_eq!(report["faults"], serde_json::json!([]));
}

#[tokio::test]
async fn one_relay_at_a_time_uses_a_directory() {
    let relay = Relay::new();
    let listen = ["relay", "serve", "--listen", "127.0.0.1:0", "--data", relay.data()];
    for command in [&listen[..], &["relay", "check", "--data", relay.data()]] {
        let output = run(command, b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("a relay uses it already"), "{command:?}");
    }
    let directory = relay.end();
    Relay::at(directory).end();
}

#[test]
fn a_damaged_store_is_found() {
    let directory = Relay::new().end();
    let data = directory.path().to_str().unwrap();
    assert!(run(&["relay", "check", "--data", data], b"").status.success());
    let store = directory.path().join("relay.db");
    let mut bytes = std::fs::read(&store).unwrap();
    let end = bytes.len();
    bytes[end - 4096..].fill(0xff);
    std::fs::write(&store, bytes).unwrap();
    let output = run(&["relay", "check", "--data", data], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("relay.db"), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_relays_directory_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let copy = directory.path().join("copy.db");
    for command in [
        &["relay", "check", "--data", data][..],
        &["relay", "backup", "--data", data, "--to", copy.to_str().unwrap()],
    ] {
        let output = run(command, b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("--data"), "{}", text(&output.stderr));
    }
}

#[test]
fn wrong_settings_are_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    let serve =
        ["relay", "serve", "--listen", "127.0.0.1:0", "--data", directory.path().to_str().unwrap()];
    for wrong in [
        &["--message-rate", "5"][..],
        &["--max-connections", "0"],
        &["--max-queue-bytes", "1"],
        &["--seed-dialect-path", "/api"],
        &["--tls-key", "key.pem"],
        &["--window", "0"],
        &["--store", "redis://127.0.0.1"],
        &["--public-url", "relay.example"],
        &["--max-attachment-space", "0"],
        &["--peer", "ws://relay.example/api"],
        &["--peer", "https://relay.example/api"],
    ] {
        let output = run(&[&serve[..], wrong].concat(), b"");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
}
