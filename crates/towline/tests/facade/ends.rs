//! How sessions end well.

use std::io::ErrorKind;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use towline::{Dialect, Endpoint, SessionError, SessionOptions};
use towline_netsim::LinkConfig;

use crate::support::{IDLE_TIMEOUT, MS, Pair, SECOND, SOON, dead, pattern};

#[tokio::test(start_paused = true)]
async fn after_our_shutdown_we_still_read() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.shutdown().await.unwrap();
    theirs.write_all(b"still here").await.unwrap();
    let mut received = [0; 10];
    ours.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"still here");
}

#[tokio::test(start_paused = true)]
async fn the_peers_end_does_not_end_our_writing() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    theirs.shutdown().await.unwrap();
    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    tokio::time::sleep(IDLE_TIMEOUT * 3).await;
    ours.write_all(b"hours later").await.unwrap();
    let mut received = [0; 11];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hours later");
}

#[tokio::test(start_paused = true)]
async fn writing_after_our_shutdown_fails() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    ours.shutdown().await.unwrap();
    let error = ours.write_all(b"too late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_until_the_peer_has_everything() {
    let link = LinkConfig::default().with_delay(50 * MS);
    let (mut pair, control) = Pair::impaired(&link, 1);
    let (mut ours, mut theirs) = pair.session().await;
    control.set_outgoing(dead()).unwrap();
    ours.write_all(b"delayed").await.unwrap();
    timeout(10 * SECOND, ours.shutdown()).await.unwrap_err();
    control.set_outgoing(link).unwrap();
    timeout(10 * SECOND, ours.shutdown()).await.unwrap().unwrap();
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"delayed");
}

/// The peer has finished, has everything that was written, and is gone: all that lacks is that it says so.
#[tokio::test(start_paused = true)]
async fn shutdown_succeeds_although_the_last_acknowledgement_is_lost() {
    let (mut pair, control) = Pair::impaired(&LinkConfig::default(), 1);
    let (mut ours, mut theirs) = pair.session().await;
    ours.write_all(b"arrived").await.unwrap();
    theirs.read_exact(&mut [0; 7]).await.unwrap();
    theirs.shutdown().await.unwrap();
    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    tokio::time::sleep(SECOND).await;
    control.set_outgoing(dead()).unwrap();
    control.set_incoming(dead()).unwrap();
    timeout(SOON, ours.shutdown()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_may_be_repeated() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    ours.shutdown().await.unwrap();
    ours.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_stays_the_end() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    theirs.shutdown().await.unwrap();
    for _ in 0..3 {
        assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    }
}

/// The direction that ended well did so, whatever becomes of the other.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_is_no_error_after_the_session_fails() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    theirs.write_all(b"all of it").await.unwrap();
    theirs.shutdown().await.unwrap();
    tokio::time::sleep(SECOND).await;
    theirs.abort();
    tokio::time::sleep(SECOND).await;
    let mut received = Vec::new();
    ours.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"all of it");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_session_still_delivers_what_was_written() {
    let link = LinkConfig::default().with_delay(20 * MS);
    let (mut pair, _) = Pair::impaired(&link, 1);
    let (mut ours, mut theirs) = pair.session().await;
    let data = pattern(1, 500_000);
    let mut received = Vec::new();
    let (read, ()) = tokio::join!(theirs.read_to_end(&mut received), async {
        ours.write_all(&data).await.unwrap();
        drop(ours);
    });
    read.unwrap();
    assert!(received == data);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_session_outlives_every_handle_until_it_has_delivered() {
    let link = LinkConfig::default().with_delay(20 * MS);
    let (mut pair, _) = Pair::impaired(&link, 1);
    let (mut ours, mut theirs) = pair.session().await;
    let data = pattern(1, 100_000);
    let mut received = Vec::new();
    let (read, ()) = tokio::join!(theirs.read_to_end(&mut received), async {
        ours.write_all(&data).await.unwrap();
        drop(ours);
        drop(pair.entry);
    });
    read.unwrap();
    assert!(received == data);
}

#[tokio::test(start_paused = true)]
async fn without_a_reader_the_peers_data_is_discarded() {
    let mut pair = Pair::new();
    let (ours, mut theirs) = pair.session().await;
    let (read, mut write) = ours.into_split();
    drop(read);
    // Far more than both ends buffer.
    let flood = vec![7; 20_000_000];
    timeout(60 * SECOND, theirs.write_all(&flood)).await.unwrap().unwrap();
    write.write_all(b"we go on").await.unwrap();
    let mut received = [0; 8];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"we go on");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_goes_on_sending_to_nobody_is_cut_off() {
    let mut pair = Pair::new();
    let (ours, mut theirs) = pair.session().await;
    drop(ours);
    let start = Instant::now();
    let error = loop {
        if let Err(error) = theirs.write_all(b"anyone?").await {
            break error;
        }
        tokio::time::sleep(100 * MS).await;
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!((9..=12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn sessions_dropped_at_both_ends_are_freed_soon() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.session().await;
    drop((ours, theirs));
    let freed = pair.idle().await;
    assert!(freed < SOON, "{freed:?}");
    assert_eq!(pair.sessions().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_dropped_at_one_end_only_is_freed_in_bounded_time() {
    let mut pair = Pair::new();
    let (ours, _theirs) = pair.session().await;
    drop(ours);
    let freed = pair.idle().await;
    assert!(freed < 2 * SOON, "{freed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_session_whose_peer_is_gone_is_freed_after_the_idle_timeout() {
    let (mut pair, control) = Pair::impaired(&LinkConfig::default(), 1);
    let (mut ours, theirs) = pair.session().await;
    control.set_outgoing(dead()).unwrap();
    control.set_incoming(dead()).unwrap();
    ours.write_all(b"lost").await.unwrap();
    drop((ours, theirs));
    let freed = pair.idle().await;
    assert!(freed < IDLE_TIMEOUT + 20 * SECOND, "{freed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ended_well_is_freed_while_its_handle_is_kept() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    let (first, second) = tokio::join!(ours.shutdown(), theirs.shutdown());
    first.and(second).unwrap();
    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
    let freed = pair.idle().await;
    assert!(freed < SOON, "{freed:?}");
}

/// The last frames wait in the connection for the reader, the end of the stream behind them.
#[tokio::test(start_paused = true)]
async fn a_reader_that_comes_late_gets_everything_and_the_session_is_freed() {
    let small = || Endpoint::builder().data(|data| data.receive_buffer(200_000));
    let mut pair = Pair::with(small, small);
    let (mut ours, mut theirs) = pair.session().await;
    let data = pattern(1, 900_000);
    theirs.shutdown().await.unwrap();
    let sending = async {
        ours.write_all(&data).await.unwrap();
        ours.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    };
    let reading = async {
        let mut received = Vec::new();
        while received.len() < data.len() {
            tokio::time::sleep(20 * MS).await;
            theirs.read_buf(&mut received).await.unwrap();
        }
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        received
    };
    let ((), received) = tokio::join!(sending, reading);
    assert!(received == data);
    let freed = pair.idle().await;
    assert!(freed < SOON, "{freed:?}");
}

#[tokio::test(start_paused = true)]
async fn stats_of_a_session_that_is_over_are_its_last() {
    let mut pair = Pair::new();
    let (mut ours, theirs) = pair.session().await;
    drop(theirs);
    ours.send_frame(Bytes::from_static(b"one")).await.unwrap();
    ours.shutdown().await.unwrap();
    pair.idle().await;
    assert_eq!(ours.stats().await.unwrap().frames_sent, 1);
}

/// A handle that outlived its session must not reach the one that has its place now.
#[tokio::test(start_paused = true)]
async fn aborting_a_session_that_is_over_leaves_its_successor_alone() {
    let mut pair = Pair::new();
    let (mut ended, mut ended_exit) = pair.session().await;
    let (first, second) = tokio::join!(ended.shutdown(), ended_exit.shutdown());
    first.and(second).unwrap();
    pair.idle().await;
    let (mut ours, mut theirs) = pair.session().await;
    ended.abort();
    ended_exit.abort();
    tokio::time::sleep(SECOND).await;
    ours.write_all(b"alive").await.unwrap();
    let mut received = [0; 5];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"alive");
}

#[tokio::test(start_paused = true)]
async fn stats_of_a_session_that_is_over_are_not_its_successors() {
    let mut pair = Pair::new();
    let (mut ended, mut ended_exit) = pair.session().await;
    let (first, second) = tokio::join!(ended.shutdown(), ended_exit.shutdown());
    first.and(second).unwrap();
    pair.idle().await;
    let (mut successor, mut theirs) = pair.session().await;
    successor.send_frame(Bytes::from_static(b"one")).await.unwrap();
    theirs.recv_frame().await.unwrap();
    assert_eq!(successor.stats().await.unwrap().frames_sent, 1);
    assert_eq!(ended.stats().await.unwrap().frames_sent, 0);
}

/// Both ends of an unreliable session finish as soon as one does (RFC-0007, 4.9).
#[tokio::test(start_paused = true)]
async fn an_unreliable_session_ends_with_either_side() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session_with(SessionOptions::unreliable()).await;
    ours.shutdown().await.unwrap();
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
    let error = theirs.write_all(b"?").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    theirs.shutdown().await.unwrap();
    let freed = pair.idle().await;
    assert!(freed < SOON, "{freed:?}");
}

/// In the literal dialect our direction ends with the peer's, and what waits to be sent is lost.
#[tokio::test(start_paused = true)]
async fn finish_does_not_claim_what_the_peers_end_cut_short() {
    let literal = || Endpoint::builder().dialect(Dialect::Hoprnet);
    let mut pair = Pair::with(literal, literal);
    let (mut ours, theirs) = pair.session().await;
    // The peer does not read: our window and our queue fill up.
    while timeout(SECOND, ours.write_all(&[7; 10_000])).await.is_ok() {}
    let (mut their_read, mut their_write) = theirs.into_split();
    let reading = tokio::spawn(async move {
        tokio::time::sleep(5 * SECOND).await;
        tokio::io::copy(&mut their_read, &mut tokio::io::sink()).await
    });
    let _ = timeout(SECOND, their_write.finish()).await;
    let finished = ours.finish().await;
    assert_eq!(finished, Err(SessionError::PeerClosed));
    drop(reading);
}
