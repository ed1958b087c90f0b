use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use towline_wire::relay::deployed::{self, ForwardedMessage, OutboundMessage};

use super::*;
use crate::server::federation::queue_of;
use crate::{client, store};

fn peer(relay: &Relay) -> client::ConfigBuilder {
    client::Config::builder(format!("ws://{}/api", relay.address), Dialect::Deployed)
}

fn federation(peers: impl IntoIterator<Item = client::ConfigBuilder>) -> Federation {
    let builder = Federation::builder().retry(Duration::from_millis(10));
    let add = |builder: FederationBuilder, peer: client::ConfigBuilder| {
        builder.peer(peer.build().unwrap())
    };
    peers.into_iter().fold(builder, add).build().unwrap()
}

/// A relay that knows another one.
async fn before(other: &Relay) -> Relay {
    Relay::with(|builder| builder.federation(federation([peer(other)]))).await
}

#[tokio::test]
async fn a_message_for_who_is_at_another_relay_gets_there() {
    let (empty, other) = (Relay::new().await, Relay::new().await);
    let here = federation([peer(&empty), peer(&other)]);
    let here = Relay::with(|builder| builder.federation(here)).await;
    let mut alice = other.log_in(Dialect::Deployed, ALICE).await;
    let mut bob = here.connect(Dialect::Deployed).await;
    for text in ["first", "second", "third"] {
        assert_eq!(bob.ask(7, Ask::Send(ALICE, text.as_bytes())).await.told, Told::Ack);
        assert_eq!(alice.hear_message().await.1, text);
    }
    let page = here.page("/metrics").await;
    // The last one may not be counted yet.
    let counted = ["towline_relay_forwarded_total 2", "towline_relay_forwarded_total 3"];
    assert!(page.lines().any(|it| counted.contains(&it)), "{page}");
}

#[tokio::test]
async fn who_is_known_here_or_nowhere_gets_messages_here() {
    let other = Relay::new().await;
    let here = before(&other).await;
    let mut bob = here.connect(Dialect::Deployed).await;
    assert_eq!(bob.ask(7, Ask::Send(ALICE, b"early")).await.told, Told::Ack);
    // What comes for her is here, be it looked up before she comes or after.
    let mut alice = here.log_in(Dialect::Deployed, ALICE).await;
    assert_eq!(alice.hear_message().await.1, "early");
    assert_eq!(bob.ask(8, Ask::Send(ALICE, b"known")).await.told, Told::Ack);
    assert_eq!(alice.hear_message().await.1, "known");

    // Users of the other dialect are not looked for.
    let mut bob = here.connect(Dialect::Seed).await;
    assert_eq!(bob.ask(7, Ask::Send(ALICE, b"seed")).await.told, Told::Ack);
    let mut alice = here.log_in(Dialect::Seed, ALICE).await;
    assert_eq!(alice.hear_message().await.1, "seed");
}

#[tokio::test]
async fn what_another_relay_refuses_is_tried_again_in_its_order() {
    const MESSAGES: u32 = 30;
    let limits = Limits::builder().messages("20/s".parse().ok()).build().unwrap();
    let other = Relay::with(|builder| builder.limits(limits)).await;
    let here = before(&other).await;
    let mut alice = other.log_in(Dialect::Deployed, ALICE).await;
    let mut bob = here.connect(Dialect::Deployed).await;
    for number in 0..MESSAGES {
        let told = bob.ask(7, Ask::Send(ALICE, &number.to_be_bytes())).await.told;
        assert_eq!(told, Told::Ack);
    }
    for number in 0..MESSAGES {
        let (sequence, message) = alice.hear_message().await;
        assert_eq!(message[..], number.to_be_bytes());
        alice.say(sequence, Ask::Acknowledge).await;
    }
    let page = here.page("/metrics").await;
    let delays = page.lines().find_map(|it| it.strip_prefix("towline_relay_forward_delays_total "));
    assert!(delays.unwrap().parse::<u64>().unwrap() > 0, "{page}");
}

/// Where nobody listens: the port is of no service that is still in use.
fn dead_peer() -> client::ConfigBuilder {
    let config = client::Config::builder("ws://127.0.0.1:1/api", Dialect::Deployed);
    config.quiet(Duration::from_millis(10)).request_timeout(Duration::from_millis(100))
}

/// A store in which a message for Alice waits that is too old for another try.
async fn store_with_an_old_message(directory: &TempDir, limits: store::Limits) -> Sqlite {
    let config = sqlite::Config::builder().limits(limits).build().unwrap();
    let store = Sqlite::open(directory.path().join("relay.db"), &config).unwrap();
    let queue = queue_of("relay");
    let identity = ALICE.owner(Dialect::Deployed).identity().unwrap();
    let device_id = Bytes::copy_from_slice(ALICE.address(Dialect::Deployed).device.as_bytes());
    let to = Some(deployed::Address { identity_key: identity.into(), device_id });
    let message = Some(OutboundMessage { to, unidentified_sender_message: "old".into() });
    let mut forwarded = Vec::new();
    ForwardedMessage { message, ..ForwardedMessage::default() }.encode(&mut forwarded).unwrap();
    // Too old to be tried again, and not to be in a queue.
    let since = Timestamp::now().before(Duration::from_secs(4 * 24 * 3600));
    store.enqueue(&queue, "of no use".into(), since).await.unwrap();
    store.enqueue(&queue, forwarded.into(), since).await.unwrap();
    store
}

async fn wait_for_metric(relay: &Relay, line: &str) {
    while !relay.page("/metrics").await.lines().any(|it| it == line) {}
}

#[tokio::test]
async fn what_is_too_old_is_given_up_but_not_without_a_try() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_an_old_message(&directory, store::Limits::default()).await;
    let other = Relay::new().await;
    let mut alice = other.log_in(Dialect::Deployed, ALICE).await;
    let federation = federation([dead_peer(), peer(&other)]);
    let here = Relay::with(|_| Server::builder(store).federation(federation)).await;
    assert_eq!(alice.hear_message().await.1, "old");
    let mut bob = here.connect(Dialect::Deployed).await;
    assert_eq!(bob.ask(7, Ask::Send(ALICE, b"new")).await.told, Told::Ack);
    assert_eq!(alice.hear_message().await.1, "new");

    let directory = tempfile::tempdir().unwrap();
    let store = store_with_an_old_message(&directory, store::Limits::default()).await;
    let federation = self::federation([dead_peer()]);
    let here = Relay::with(|_| Server::builder(store).federation(federation)).await;
    wait_for_metric(&here, "towline_relay_expired_total 1").await;
}

#[tokio::test]
async fn without_peers_what_waits_is_for_here() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_with_an_old_message(&directory, store::Limits::default()).await;
    let here = Relay::with(|_| Server::builder(store)).await;
    let mut bob = here.connect(Dialect::Deployed).await;
    assert_eq!(bob.ask(7, Ask::Send(ALICE, b"new")).await.told, Told::Ack);
    let mut alice = here.log_in(Dialect::Deployed, ALICE).await;
    assert_eq!(alice.hear_message().await.1, "old");
    assert_eq!(alice.hear_message().await.1, "new");
}

#[tokio::test]
async fn what_is_sent_without_waiting_keeps_its_order() {
    const MESSAGES: u32 = 300;
    let here = before(&Relay::new().await).await;
    let mut alice = here.log_in(Dialect::Deployed, ALICE).await;
    let mut bob = here.connect(Dialect::Deployed).await;
    for number in 0..MESSAGES {
        bob.say(number, Ask::Send(ALICE, &number.to_be_bytes())).await;
    }
    for number in 0..MESSAGES {
        let (sequence, message) = alice.hear_message().await;
        assert_eq!(message[..], number.to_be_bytes());
        alice.say(sequence, Ask::Acknowledge).await;
    }
}

#[tokio::test]
async fn what_cannot_go_on_holds_up_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let limits = store::Limits::builder().queue_count(2).build().unwrap();
    let store = store_with_an_old_message(&directory, limits).await;
    let other = Relay::new().await;
    let mut alice = other.log_in(Dialect::Deployed, ALICE).await;
    let federation = federation([peer(&other)]);
    let here = Relay::with(|_| Server::builder(store).federation(federation)).await;
    assert_eq!(alice.hear_message().await.1, "old");

    // Its frame has no sequence number, and room for no other one.
    let mut bob = here.connect(Dialect::Deployed).await;
    let overhead = encode(Dialect::Deployed, 0, Ask::Send(ALICE, &[0; 32_000])).len() - 32_000;
    let longest = vec![0; towline_wire::relay::MAX_MESSAGE_LEN - overhead];
    let told = bob.ask(0, Ask::Send(ALICE, &longest)).await.told;
    assert_eq!(told, Told::Error("unknown_error".into(), "the queue is full".into()));

    // Nobody knows Bob, and his queue here is soon full.
    let mut sent = 0;
    while sent < 3 {
        sent += u32::from(bob.ask(1, Ask::Send(BOB, b"sealed")).await.told == Told::Ack);
    }
    wait_for_metric(&here, "towline_relay_expired_total 1").await;
    assert_eq!(bob.ask(2, Ask::Send(ALICE, b"new")).await.told, Told::Ack);
    assert_eq!(alice.hear_message().await.1, "new");
}

#[tokio::test]
async fn a_relay_with_tls_is_handed_messages_if_it_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls::open(certificate, key).unwrap();
    let other = Relay::with(|builder| builder.tls(tls)).await;

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trust = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let url = format!("wss://{}/api", other.address);
    let trusted = client::Config::builder(url, Dialect::Deployed).tls(Arc::new(trust));
    let own = client::OwnDevice::open(
        trusted.clone().build().unwrap(),
        Arc::new(crate::auth::Key::new(&[1; 32])),
        ALICE.address(Dialect::Deployed).device,
    );
    let (_device, mut inbox) = own;
    assert!(matches!(inbox.next().await, Some(client::Event::LoggedIn(_))));

    let here = federation([trusted]);
    let here = Relay::with(|builder| builder.federation(here)).await;
    let mut bob = here.connect(Dialect::Deployed).await;
    assert_eq!(bob.ask(7, Ask::Send(ALICE, b"sealed")).await.told, Told::Ack);
    let Some(client::Event::Message(message)) = inbox.next().await else { panic!("no message") };
    assert_eq!(message.payload(), "sealed");
}
