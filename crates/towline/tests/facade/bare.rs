//! Transports that are a single session's pipe.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use towline::transport::memory::MemoryAddress;
use towline::{ConnectError, Endpoint, EndpointBuilder, ErrorReason, Framing, SessionOptions};

use crate::support::{ENTRY, EXIT, MemorySession, Pair, SECOND, SOON, target};

fn bare() -> EndpointBuilder {
    Endpoint::builder().framing(Framing::Bare)
}

async fn attached(pair: &Pair) -> (MemorySession, MemorySession) {
    let options = SessionOptions::reliable();
    let (ours, theirs) =
        tokio::join!(pair.entry.attach(EXIT, options), pair.exit.attach(ENTRY, options));
    (ours.unwrap(), theirs.unwrap())
}

#[tokio::test(start_paused = true)]
async fn both_sides_attach_without_a_handshake() {
    let pair = Pair::with(bare, bare);
    let (mut ours, mut theirs) = attached(&pair).await;
    ours.write_all(b"hello").await.unwrap();
    theirs.write_all(b"hallo").await.unwrap();
    let mut received = [[0; 5]; 2];
    theirs.read_exact(&mut received[0]).await.unwrap();
    ours.read_exact(&mut received[1]).await.unwrap();
    assert_eq!(received, [*b"hello", *b"hallo"]);
}

#[tokio::test(start_paused = true)]
async fn attached_sessions_ask_for_nothing() {
    let pair = Pair::with(bare, bare);
    let _attached = attached(&pair).await;
    assert_eq!(pair.entry.stats().await.unwrap().initiator.requests, 0);
}

//= docs/spec/framing.md#bare
//= type=test
//# In bare framing a receiver MUST tell Start messages from Data messages by their first byte,
//# which is the version.
#[tokio::test(start_paused = true)]
async fn a_handshake_works_in_bare_framing() {
    let mut pair = Pair::with(bare, bare);
    let (mut ours, mut theirs) = pair.session().await;
    ours.write_all(b"hello").await.unwrap();
    let mut received = [0; 5];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
}

#[tokio::test(start_paused = true)]
async fn keep_alives_reach_bare_sessions() {
    let mut pair = Pair::with(bare, bare);
    let (mut ours, mut theirs) = pair.session().await;
    tokio::time::sleep(SECOND * 7200).await;
    ours.write_all(b"hello").await.unwrap();
    let mut received = [0; 5];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
}

//= docs/spec/framing.md#bare
//= type=test
//# In bare framing an endpoint MUST NOT have two sessions with the same peer address at a time.
#[tokio::test(start_paused = true)]
async fn a_second_session_with_a_peer_cannot_be_asked_for() {
    let mut pair = Pair::with(bare, bare);
    let _session = pair.session().await;
    let result = pair.entry.connect(EXIT, &target()).await;
    assert!(matches!(result, Err(ConnectError::AddressInUse)), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_session_with_a_peer_cannot_be_attached() {
    let pair = Pair::with(bare, bare);
    let _attached = attached(&pair).await;
    let result = pair.entry.attach(EXIT, SessionOptions::reliable()).await;
    assert!(matches!(result, Err(ConnectError::AddressInUse)), "{result:?}");
}

/// The entry does not know that the exit has a session with it.
//= docs/spec/framing.md#bare
//= type=test
//# In bare framing a responder MUST refuse a request from a peer that it has a session with, with
//# the reason "no slots available".
#[tokio::test(start_paused = true)]
async fn a_second_session_with_a_peer_is_refused() {
    let mut pair = Pair::with(bare, bare);
    let _attached = pair.exit.attach(ENTRY, SessionOptions::reliable()).await.unwrap();
    let target = target();
    let (result, _) = tokio::join!(pair.entry.connect(EXIT, &target), async {
        pair.listener.next_incoming().await.unwrap().accept().await
    });
    let Err(ConnectError::Refused(reason)) = result else { panic!("{result:?}") };
    assert_eq!(reason, ErrorReason::NO_SLOTS_AVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_bare_endpoint_has_sessions_with_several_peers() {
    let mut pair = Pair::with(bare, bare);
    let other = bare().over(pair.network.bind(MemoryAddress(3)).unwrap()).unwrap();
    let (mut first, mut first_exit) = pair.session().await;
    let options = SessionOptions::reliable();
    let mut second = other.attach(EXIT, options).await.unwrap();
    let mut second_exit = pair.exit.attach(MemoryAddress(3), options).await.unwrap();
    first.write_all(b"one").await.unwrap();
    second.write_all(b"two").await.unwrap();
    let mut received = [[0; 3]; 2];
    first_exit.read_exact(&mut received[0]).await.unwrap();
    second_exit.read_exact(&mut received[1]).await.unwrap();
    assert_eq!(received, [*b"one", *b"two"]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_free_again_after_its_session() {
    let mut pair = Pair::with(bare, bare);
    drop(pair.session().await);
    timeout(SOON, pair.idle()).await.unwrap();
    pair.session().await;
}

#[tokio::test(start_paused = true)]
async fn tagged_endpoints_cannot_attach() {
    let pair = Pair::new();
    let result = pair.entry.attach(EXIT, SessionOptions::reliable()).await;
    assert!(matches!(result, Err(ConnectError::NotBare)), "{result:?}");
}
