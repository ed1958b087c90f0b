//! How sessions end badly, and that both ends learn it.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use towline::transport::memory::MemoryAddress;
use towline::{Endpoint, SessionError};
use towline_netsim::LinkConfig;

use crate::support::{
    ENTRY, EXIT, Gate, IDLE_TIMEOUT, MemorySession, Pair, SECOND, SOON, accept, dead, target,
};

const HOUR: Duration = Duration::from_secs(3600);

/// A session behind links that die.
async fn cut_session() -> (Pair, MemorySession, MemorySession) {
    let (mut pair, control) = Pair::impaired(&LinkConfig::default(), 1);
    let (ours, theirs) = pair.session().await;
    control.set_outgoing(dead()).unwrap();
    control.set_incoming(dead()).unwrap();
    (pair, ours, theirs)
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_an_error_for_the_peers_reader() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.abort();
    assert_eq!(theirs.recv_frame().await.unwrap_err(), SessionError::PeerClosed);
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_an_error_for_the_peers_writer() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.abort();
    tokio::time::sleep(SOON).await;
    let error = theirs.write_all(b"?").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_a_shutdown_that_waits() {
    let mut pair = Pair::new();
    let (mut ours, theirs) = pair.session().await;
    let (_their_read, mut their_write) = theirs.into_split();
    // Nobody reads, so not everything can be acknowledged.
    while timeout(SECOND, their_write.write_all(&[7; 100_000])).await.is_ok() {}
    let (finished, ()) = tokio::join!(their_write.finish(), async {
        tokio::time::sleep(SECOND).await;
        ours.abort();
    });
    assert_eq!(finished.unwrap_err(), SessionError::PeerClosed);
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_an_error_on_our_side_too() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    ours.abort();
    assert_eq!(ours.recv_frame().await.unwrap_err(), SessionError::Aborted);
}

#[tokio::test(start_paused = true)]
async fn what_arrived_before_an_abort_is_read_first() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.write_all(b"before").await.unwrap();
    tokio::time::sleep(SECOND).await;
    ours.abort();
    tokio::time::sleep(SECOND).await;
    let mut received = [0; 6];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"before");
    theirs.read(&mut [0]).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn aborted_sessions_are_freed_soon() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    ours.abort();
    let freed = pair.idle().await;
    assert!(freed < SOON, "{freed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_learns_that_its_peer_is_gone() {
    let (_pair, mut ours, _theirs) = cut_session().await;
    let start = Instant::now();
    let error = ours.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() <= IDLE_TIMEOUT + SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_writer_learns_that_its_peer_is_gone() {
    let (_pair, mut ours, _theirs) = cut_session().await;
    let start = Instant::now();
    let error = loop {
        if let Err(error) = ours.write_all(&[7; 100_000]).await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() <= IDLE_TIMEOUT + SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_learns_that_its_peer_is_gone() {
    let (_pair, mut ours, _theirs) = cut_session().await;
    let start = Instant::now();
    assert_eq!(ours.finish().await.unwrap_err(), SessionError::TimedOut);
    assert!(start.elapsed() <= IDLE_TIMEOUT + SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_idle_session_is_freed_at_both_ends() {
    let (pair, _ours, _theirs) = cut_session().await;
    let freed = pair.idle().await;
    assert!(freed <= IDLE_TIMEOUT + SECOND, "{freed:?}");
}

#[tokio::test(start_paused = true)]
async fn keep_alives_keep_an_idle_session_for_hours() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    tokio::time::sleep(12 * HOUR).await;
    ours.write_all(b"awake").await.unwrap();
    let mut received = [0; 5];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"awake");
}

#[tokio::test(start_paused = true)]
async fn closing_an_endpoint_is_an_error_for_its_peers() {
    let mut pair = Pair::new();
    let (_ours, mut theirs) = pair.session().await;
    pair.entry.close().await;
    let error = timeout(SOON, theirs.recv_frame()).await.unwrap().unwrap_err();
    assert_eq!(error, SessionError::PeerClosed);
}

#[tokio::test(start_paused = true)]
async fn closing_an_endpoint_is_an_error_for_its_own_sessions() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    pair.entry.close().await;
    assert_eq!(ours.recv_frame().await.unwrap_err(), SessionError::EndpointClosed);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_fails_is_an_error_and_no_end_of_stream() {
    let gate = Gate::default();
    let mut pair = Pair::over(
        Endpoint::builder(),
        Endpoint::builder(),
        |transport| gate.in_front_of(transport),
        |transport| transport,
    );
    let (mut ours, _theirs) = pair.session().await;
    gate.fail();
    ours.write_all(b"?").await.unwrap();
    assert_eq!(ours.recv_frame().await.unwrap_err(), SessionError::EndpointClosed);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_fails_ends_a_shutdown_that_waits() {
    let gate = Gate::default();
    let mut pair = Pair::over(
        Endpoint::builder(),
        Endpoint::builder(),
        |transport| gate.in_front_of(transport),
        |transport| transport,
    );
    let (mut ours, _theirs) = pair.session().await;
    gate.fail();
    assert_eq!(ours.finish().await.unwrap_err(), SessionError::EndpointClosed);
}

/// An entry that comes back under its old address begins anew; its old sessions end.
#[tokio::test(start_paused = true)]
async fn a_peer_that_was_restarted_gets_new_sessions() {
    let gate = Gate::default();
    let mut pair = Pair::over(
        Endpoint::builder(),
        Endpoint::builder(),
        |transport| gate.in_front_of(transport),
        |transport| transport,
    );
    let (mut ours, mut theirs) = pair.session().await;
    gate.fail();
    ours.write_all(b"?").await.unwrap();
    ours.recv_frame().await.unwrap_err();

    pair.entry = Endpoint::builder().over(pair.network.bind(ENTRY).unwrap()).unwrap();
    let (mut again, mut again_exit) = pair.session().await;
    again.write_all(b"new").await.unwrap();
    let mut received = [0; 3];
    again_exit.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"new");
    assert_eq!(theirs.recv_frame().await.unwrap_err(), SessionError::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn one_dead_peer_leaves_the_sessions_with_others_alone() {
    let mut pair = Pair::new();
    let other = Endpoint::builder().over(pair.network.bind(MemoryAddress(3)).unwrap()).unwrap();
    let (ours, theirs) = pair.session().await;
    let target = target();
    let (healthy, healthy_exit) =
        tokio::join!(other.connect(EXIT, &target), accept(&mut pair.listener));
    let (mut healthy, mut healthy_exit) = (healthy.unwrap(), healthy_exit);
    drop((ours, theirs));
    pair.entry.close().await;
    tokio::time::sleep(HOUR).await;
    healthy.write_all(b"fine").await.unwrap();
    let mut received = [0; 4];
    healthy_exit.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"fine");
}
