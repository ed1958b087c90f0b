//! When an endpoint's task ends, and that it does.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use towline::{Endpoint, SessionError};

use crate::support::{ENTRY, EXIT, Gate, MS, Pair, SECOND, SOON, accept, target};

/// Tasks of this runtime that have not ended: the test's own is none of them.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_without_handles_ends_its_task() {
    let pair = Pair::new();
    assert_eq!(tasks(), 2);
    drop(pair);
    tokio::time::sleep(MS).await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_with_a_session_lives_on_without_handles() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    drop(pair);
    tokio::time::sleep(SECOND).await;
    ours.write_all(b"alive").await.unwrap();
    let mut received = [0; 5];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"alive");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_with_a_listener_lives_on_without_handles() {
    let Pair { network: _network, entry, exit, mut listener } = Pair::new();
    drop(exit);
    tokio::time::sleep(SECOND).await;
    let target = target();
    let (session, _) = tokio::join!(entry.connect(EXIT, &target), accept(&mut listener));
    session.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_after_the_last_session() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.session().await;
    drop((pair, ours, theirs));
    tokio::time::sleep(SOON).await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_undecided_request_in_a_dropped_listener_keeps_no_task() {
    let pair = Pair::new();
    let entry = pair.entry.clone();
    let connecting = tokio::spawn(async move { entry.connect(EXIT, &target()).await });
    tokio::time::sleep(SECOND).await;
    drop(pair);
    connecting.await.unwrap().unwrap_err();
    tokio::time::sleep(SECOND).await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_task() {
    let mut pair = Pair::new();
    let _session = pair.session().await;
    pair.entry.close().await;
    tokio::time::sleep(MS).await;
    assert_eq!(tasks(), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_twice_waits_twice() {
    let mut pair = Pair::new();
    let _session = pair.session().await;
    tokio::join!(pair.entry.close(), pair.entry.close());
    pair.network.bind(ENTRY).unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_frees_the_address() {
    let mut pair = Pair::new();
    let _session = pair.session().await;
    pair.entry.close().await;
    pair.network.bind(ENTRY).unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_readers() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    while timeout(SECOND, ours.write_all(&[7; 10_000])).await.is_ok() {}
    timeout(SECOND * 2, pair.exit.close()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_a_transport_that_is_stuck() {
    let gate = Gate::default();
    let mut pair = Pair::over(
        Endpoint::builder(),
        Endpoint::builder(),
        |transport| gate.in_front_of(transport),
        |transport| transport,
    );
    let _session = pair.session().await;
    gate.close();
    let start = Instant::now();
    pair.entry.close().await;
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_a_connect_that_waits() {
    let pair = Pair::new();
    let target = target();
    let (result, ()) = tokio::join!(pair.entry.connect(EXIT, &target), async {
        tokio::time::sleep(SECOND).await;
        pair.entry.close().await;
    });
    result.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_listener() {
    let mut pair = Pair::new();
    pair.exit.close().await;
    assert!(pair.listener.next_incoming().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_accepted_while_closing() {
    let mut pair = Pair::new();
    let _session = pair.session().await;
    let entry = pair.entry.clone();
    tokio::spawn(async move { entry.connect(EXIT, &target()).await });
    let incoming = pair.listener.next_incoming().await.unwrap();
    let ((), accepted) = tokio::join!(pair.exit.close(), incoming.accept());
    accepted.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_without_sessions_is_idle_at_once() {
    let pair = Pair::new();
    let waited = pair.idle().await;
    assert!(waited < MS, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_with_a_session_is_not_idle() {
    let mut pair = Pair::new();
    let _session = pair.session().await;
    timeout(SECOND * 3600, pair.entry.wait_idle()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_idleness_ends_with_the_endpoint() {
    let mut pair = Pair::new();
    let _session = pair.session().await;
    tokio::join!(pair.entry.wait_idle(), pair.entry.close());
}

#[tokio::test]
async fn a_udp_port_is_free_after_its_endpoint() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoint = Endpoint::bind(any).unwrap();
    let address = endpoint.local_address();
    Endpoint::bind(address).unwrap_err();
    drop(endpoint);
    let again = async {
        while Endpoint::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SECOND * 10, again).await.unwrap();
}

/// A runtime that shuts down drops the task in whatever state it is.
#[test]
fn a_task_that_is_killed_is_an_error_and_no_end_of_stream() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (killed, survivor) = (build(), build());
    let mut pair = killed.block_on(async { Pair::new() });
    let (mut ours, _theirs) = killed.block_on(pair.session());
    drop(killed);
    let error = survivor.block_on(ours.recv_frame()).unwrap_err();
    assert_eq!(error, SessionError::EndpointClosed);
    let error = survivor.block_on(ours.finish()).unwrap_err();
    assert_eq!(error, SessionError::EndpointClosed);
}
