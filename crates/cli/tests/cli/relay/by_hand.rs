//! A relay tried by hand, with nothing but the program.

use super::Relay;
use crate::support::{json, run, text};

#[test]
fn two_people_find_and_write_to_each_other() {
    let relay = Relay::new();
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("alice.key");
    let key = key.to_str().unwrap();
    let addresses = json(&run(&["relay", "client", "keygen", "--key", key, "--json"], b""));
    // A key is not written over.
    assert_eq!(run(&["relay", "client", "keygen", "--key", key], b"").status.code(), Some(1));

    for (dialect, path) in [("deployed", "/api"), ("seed", "/v0/api")] {
        let url = format!("ws://{}{path}", relay.address);
        let client = |command: &[&str], input: &[u8]| {
            let at = ["--relay", url.as_str()];
            let arguments = [&["relay", "client"], &command[..1], &at, &command[1..]].concat();
            let output = run(&arguments, input);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        let address = addresses[dialect].as_str().unwrap();
        let (owner, _) = address.split_once(':').unwrap();

        client(&["register", "--key", key, "--prekeys", "12"], b"");
        let prekeys: serde_json::Value =
            serde_json::from_str(&client(&["prekeys", owner, "--json"], b"")).unwrap();
        assert_eq!(prekeys["signed"].as_str().unwrap().len(), 66);
        assert_eq!(prekeys["one_time"].as_str().unwrap().len(), 66);

        client(&["send", "--to", address, "good morning"], b"");
        client(&["send", "--to", address], b"from standard input");
        let received = client(&["receive", "--key", key, "--count", "2"], b"");
        assert_eq!(received, "good morning\nfrom standard input\n");
        // What was received is acknowledged.
        client(&["send", "--to", address, "next"], b"");
        let received = client(&["receive", "--key", key, "--count", "1", "--json"], b"");
        assert_eq!(received, "{\"message\":\"6e657874\"}\n");
    }
    relay.end();
}

#[test]
fn who_is_at_another_relay_gets_a_message_from_this_one() {
    let other = Relay::new();
    let peer = format!("ws://{}/api", other.address);
    let here =
        Relay::with(tempfile::tempdir().unwrap(), &["--peer", &peer, "--forward-retry", "1"]);
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("alice.key");
    let key = key.to_str().unwrap();
    let addresses = json(&run(&["relay", "client", "keygen", "--key", key, "--json"], b""));
    let client = |arguments: &[&str]| {
        let output = run(&[&["relay", "client"], arguments].concat(), b"");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    client(&["register", "--relay", &peer, "--key", key]);
    let url = format!("ws://{}/api", here.address);
    let to = addresses["deployed"].as_str().unwrap();
    client(&["send", "--relay", &url, "--to", to, "from afar"]);
    let received = client(&["receive", "--relay", &peer, "--key", key, "--count", "1"]);
    assert_eq!(received, "from afar\n");
    here.end();
    other.end();
}

#[test]
fn what_cannot_be_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("no.key");
    let key = key.to_str().unwrap();
    let client = |command: &[&str]| run(&[&["relay", "client"], command].concat(), b"");
    let url = "ws://127.0.0.1:1/api";
    assert_eq!(client(&["register", "--relay", url, "--key", key]).status.code(), Some(1));
    std::fs::write(key, "no key").unwrap();
    let output = client(&["register", "--relay", url, "--key", key]);
    assert!(text(&output.stderr).contains("keygen"), "{}", text(&output.stderr));
    let send = ["send", "--relay", "http://127.0.0.1:1", "--to", "yyyy:yyyy", "text"];
    assert_eq!(client(&send).status.code(), Some(2));
}
