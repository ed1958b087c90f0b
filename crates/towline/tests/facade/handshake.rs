//! Sessions that come to be, and those that do not.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use towline::start::Rate;
use towline::transport::impaired::Impaired;
use towline::transport::memory::MemoryAddress;
use towline::{
    AcceptError, AlreadyListening, ConnectError, Delivery, Endpoint, EndpointBuilder, ErrorReason,
    Mode, SessionError, SessionOptions, Target,
};
use towline_netsim::{LinkConfig, Loss};

use crate::support::{ENTRY, EXIT, MS, Pair, SECOND, accept, dead, pattern, seeds, target};

/// An exit that grants a crowd of sessions to one peer at once.
pub(crate) fn generous() -> EndpointBuilder {
    let rate = Rate { burst: 10_000, refill: MS };
    Endpoint::builder().start(move |start| start.peer_request_rate(rate).request_rate(rate))
}

/// Sessions that are over linger for as long as a test in real time likes to wait.
pub(crate) fn brief(builder: EndpointBuilder) -> EndpointBuilder {
    builder.data(|data| data.linger(200 * MS))
}

#[tokio::test(start_paused = true)]
async fn the_target_arrives_at_the_exit() {
    let mut pair = Pair::new();
    let target = Target::udp("2001:db8::1", 53);
    let (result, seen) = tokio::join!(pair.entry.connect(EXIT, &target), async {
        pair.listener.next_incoming().await.unwrap().target()
    });
    assert!(matches!(result, Err(ConnectError::Refused(_))));
    assert_eq!(seen, target);
}

#[tokio::test(start_paused = true)]
async fn the_options_arrive_at_the_exit() {
    let mut pair = Pair::new();
    let options =
        SessionOptions { additional_data: 77, ..SessionOptions::unreliable().unordered() };
    let (ours, theirs) = pair.session_with(options).await;
    assert_eq!(theirs.options(), options);
    assert_eq!(ours.options(), options);
    assert_eq!((options.mode, options.delivery), (Mode::Unreliable, Delivery::Unordered));
}

#[tokio::test(start_paused = true)]
async fn both_ends_know_their_peer() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.session().await;
    assert_eq!((ours.peer(), theirs.peer()), (EXIT, ENTRY));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_brings_its_reason() {
    let mut pair = Pair::new();
    let target = target();
    let (result, ()) = tokio::join!(pair.entry.connect(EXIT, &target), async {
        let incoming = pair.listener.next_incoming().await.unwrap();
        incoming.refuse(ErrorReason::NO_SLOTS_AVAILABLE);
    });
    let Err(ConnectError::Refused(reason)) = result else { panic!("{result:?}") };
    assert_eq!(reason, ErrorReason::NO_SLOTS_AVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_is_refused_at_once() {
    let mut pair = Pair::new();
    let start = Instant::now();
    let target = target();
    let (result, ()) = tokio::join!(pair.entry.connect(EXIT, &target), async {
        drop(pair.listener.next_incoming().await.unwrap());
    });
    assert!(matches!(result, Err(ConnectError::Refused(_))), "{result:?}");
    assert!(start.elapsed() < SECOND);
}

//= docs/spec/start.md#decision
//= type=test
//# A responder MUST refuse every request while no application listens.
#[tokio::test(start_paused = true)]
async fn without_a_listener_requests_are_refused() {
    let pair = Pair::new();
    drop(pair.listener);
    let result = pair.entry.connect(EXIT, &target()).await;
    assert!(matches!(result, Err(ConnectError::Refused(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_after_the_request_timeout() {
    let pair = Pair::new();
    let start = Instant::now();
    let result = pair.entry.connect(MemoryAddress(99), &target()).await;
    assert!(matches!(result, Err(ConnectError::TimedOut)), "{result:?}");
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_decides_is_refused_in_time() {
    let mut pair = Pair::new();
    let target = target();
    let (result, undecided) =
        tokio::join!(pair.entry.connect(EXIT, &target), pair.listener.next_incoming());
    assert!(matches!(result, Err(ConnectError::Refused(ErrorReason::BUSY))), "{result:?}");
    let late = undecided.unwrap().accept().await;
    assert!(matches!(late, Err(AcceptError::TooLate)), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_beyond_the_mtu_cannot_be_asked_for() {
    let pair = Pair::new();
    let result = pair.entry.connect(EXIT, &Target::tcp("x".repeat(2000), 1)).await;
    let Err(ConnectError::Request(error)) = result else { panic!("{result:?}") };
    assert!(matches!(error, towline::start::ConnectError::TooLong { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_is_given_up_cancels_its_request() {
    let pair = Pair::new();
    let target = target();
    let connecting = pair.entry.connect(MemoryAddress(99), &target);
    timeout(SECOND, connecting).await.unwrap_err();
    assert_eq!(pair.entry.stats().await.unwrap().initiator.asking, 0);
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_is_given_up_leaves_the_others_alone() {
    let mut pair = Pair::new();
    let target = target();
    let (ours, _, theirs) = tokio::join!(
        pair.entry.connect(EXIT, &target),
        timeout(SECOND, pair.entry.connect(MemoryAddress(99), &target)),
        async {
            let incoming = pair.listener.next_incoming().await.unwrap();
            tokio::time::sleep(2 * SECOND).await;
            incoming.accept().await
        },
    );
    theirs.unwrap();
    ours.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_granted_to_a_caller_that_gave_up_is_freed() {
    let mut pair = Pair::new();
    let target = target();
    let (_, theirs) = tokio::join!(timeout(SECOND, pair.entry.connect(EXIT, &target)), async {
        let incoming = pair.listener.next_incoming().await.unwrap();
        tokio::time::sleep(2 * SECOND).await;
        incoming.accept().await
    });
    let error = theirs.unwrap().read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(pair.idle().await < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_its_entry_never_confirms_times_out() {
    let mut pair = Pair::over(
        Endpoint::builder(),
        Endpoint::builder(),
        |transport| Impaired::new(transport, LinkConfig::default(), dead(), 1).unwrap(),
        |transport| transport,
    );
    let entry = pair.entry.clone();
    tokio::spawn(async move { entry.connect(EXIT, &target()).await });
    let mut theirs = pair.listener.next_incoming().await.unwrap().accept().await.unwrap();
    let error = timeout(60 * SECOND, theirs.recv_frame()).await.unwrap().unwrap_err();
    assert_eq!(error, SessionError::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_one_listener_at_a_time() {
    let pair = Pair::new();
    assert_eq!(pair.exit.listen().unwrap_err(), AlreadyListening);
    drop(pair.listener);
    pair.exit.listen().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_listener_after_another_gets_the_sessions() {
    let mut pair = Pair::new();
    drop(pair.listener);
    pair.listener = pair.exit.listen().unwrap();
    pair.session().await;
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_backlog_are_refused_as_busy() {
    let pair = Pair::with(Endpoint::builder, generous);
    let asking: Vec<_> = (0..300)
        .map(|_| {
            let entry = pair.entry.clone();
            tokio::spawn(async move { entry.connect(EXIT, &target()).await })
        })
        .collect();
    tokio::time::sleep(SECOND).await;
    let stats = pair.exit.stats().await.unwrap().responder;
    assert_eq!((stats.refused, stats.waiting), (300 - 256, 256));
    asking.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_closed_endpoint_connects_nobody() {
    let pair = Pair::new();
    pair.entry.close().await;
    let result = pair.entry.connect(EXIT, &target()).await;
    assert!(matches!(result, Err(ConnectError::Closed(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn two_entries_have_a_session_each_at_one_exit() {
    let mut pair = Pair::new();
    let other = Endpoint::builder().over(pair.network.bind(MemoryAddress(3)).unwrap()).unwrap();
    let (mut first, mut first_exit) = pair.session().await;
    let target = target();
    let (second, incoming) = tokio::join!(other.connect(EXIT, &target), accept(&mut pair.listener));
    let (mut second, mut second_exit) = (second.unwrap(), incoming);

    first.write_all(b"one").await.unwrap();
    second.write_all(b"two").await.unwrap();
    let mut from_both = [[0; 3]; 2];
    first_exit.read_exact(&mut from_both[0]).await.unwrap();
    second_exit.read_exact(&mut from_both[1]).await.unwrap();
    assert_eq!(from_both, [*b"one", *b"two"]);
}

#[tokio::test(start_paused = true)]
async fn one_endpoint_is_entry_and_exit_to_the_same_peer() {
    let mut pair = Pair::new();
    let mut entry_listener = pair.entry.listen().unwrap();
    let (mut out, mut out_exit) = pair.session().await;
    let target = target();
    let (back, mut back_exit) =
        tokio::join!(pair.exit.connect(ENTRY, &target), accept(&mut entry_listener));
    let mut back = back.unwrap();

    out.write_all(b"there").await.unwrap();
    back.write_all(b"back!").await.unwrap();
    let mut received = [[0; 5]; 2];
    out_exit.read_exact(&mut received[0]).await.unwrap();
    back_exit.read_exact(&mut received[1]).await.unwrap();
    assert_eq!(received, [*b"there", *b"back!"]);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_established_over_a_path_that_loses_a_third() {
    for seed in seeds(20) {
        let link = LinkConfig::default().with_loss(Loss::Random(0.33)).with_delay(30 * MS);
        let (mut pair, _) = Pair::impaired(&link, seed);
        let (mut ours, mut theirs) = pair.session().await;
        ours.write_all(b"through").await.unwrap();
        let mut received = [0; 7];
        theirs.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"through", "seed {seed}");
    }
}

/// Real sockets: many sessions share one on either side.
#[tokio::test]
async fn two_hundred_sessions_share_a_udp_socket() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let exit = brief(generous()).bind(any).unwrap();
    let address = exit.local_address();
    let mut listener = exit.listen().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = listener.next_incoming().await {
            tokio::spawn(async move {
                let session = incoming.accept().await.unwrap();
                let (mut read, mut write) = tokio::io::split(session);
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
            });
        }
    });

    let entry = brief(Endpoint::builder()).bind(any).unwrap();
    let echoes: Vec<_> = (0..200)
        .map(|seed| {
            let entry = entry.clone();
            tokio::spawn(async move {
                let session = entry.connect(address, &target()).await.unwrap();
                let (mut read, mut write) = session.into_split();
                let sent = pattern(seed, 20_000 + seed as usize);
                let mut received = Vec::new();
                let (_, writing) = tokio::join!(read.read_to_end(&mut received), async {
                    write.write_all(&sent).await?;
                    write.shutdown().await
                });
                writing.unwrap();
                assert_eq!(received, sent, "session {seed}");
            })
        })
        .collect();
    let all = async {
        for echo in echoes {
            echo.await.unwrap();
        }
        tokio::join!(entry.wait_idle(), exit.wait_idle());
    };
    timeout(Duration::from_secs(60), all).await.unwrap();
}
