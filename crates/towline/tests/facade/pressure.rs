//! Readers that do not keep up.

use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use towline::Endpoint;
use towline_netsim::LinkConfig;

use crate::support::{MS, MemorySession, Pair, SECOND, dead, pattern};

/// Both queues between application and task, both buffers, and some frames.
const BOUND: usize = 12_000_000;

/// Writes `data` over and over until nothing more is taken; returns how many bytes were.
async fn fill(session: &mut MemorySession, data: &[u8]) -> usize {
    let mut written = 0;
    while let Ok(length) = timeout(SECOND, session.write(&data[written % data.len()..])).await {
        written += length.unwrap();
        assert!(written < BOUND, "a reader that does not read stops nobody");
    }
    written
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_stops_the_writer() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    fill(&mut ours, &[7; 10_000]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_does_not_read_is_bounded_by_its_settings() {
    let small = || Endpoint::builder().data(|data| data.receive_buffer(200_000));
    let mut pair = Pair::with(Endpoint::builder, small);
    let (mut ours, theirs) = pair.session().await;
    fill(&mut ours, &[7; 10_000]).await;
    let stats = theirs.stats().await.unwrap();
    // Half as much again, and two frames: see `receive_buffer`.
    assert!(stats.receive_buffered <= 320_000, "{} bytes", stats.receive_buffered);
}

#[tokio::test(start_paused = true)]
async fn small_writes_are_stopped_too() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    fill(&mut ours, &[7]).await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_goes_on_when_its_reader_does() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    let data = pattern(1, 100_000);
    let written = fill(&mut ours, &data).await;
    ours.write_all(&[]).await.unwrap();
    let (received, ()) = tokio::join!(
        async {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).await.unwrap();
            received
        },
        async {
            ours.write_all(b"the end").await.unwrap();
            ours.shutdown().await.unwrap();
        }
    );
    assert_eq!(received.len(), written + 7);
    assert!(received[..written].chunks(data.len()).all(|chunk| chunk == &data[..chunk.len()]));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_everything() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    let data = pattern(1, 5_000_000);
    let reading = async {
        let mut received = Vec::with_capacity(data.len());
        let mut buffer = vec![0; 10_000];
        loop {
            tokio::time::sleep(MS).await;
            match theirs.read(&mut buffer).await.unwrap() {
                0 => return received,
                length => received.extend_from_slice(&buffer[..length]),
            }
        }
    };
    let (received, ()) = tokio::join!(reading, async {
        ours.write_all(&data).await.unwrap();
        ours.shutdown().await.unwrap();
    });
    assert!(received == data);
}

/// More frames than the queue between task and application holds: the rest waits in the task.
#[tokio::test(start_paused = true)]
async fn a_reader_gets_what_has_arrived_without_waiting_for_the_network() {
    let (mut pair, control) = Pair::impaired(&LinkConfig::default(), 1);
    let (mut ours, mut theirs) = pair.session().await;
    for number in 0..100_u8 {
        ours.send_frame(vec![number].into()).await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    control.set_outgoing(dead()).unwrap();
    control.set_incoming(dead()).unwrap();
    for number in 0..100 {
        let frame = timeout(MS, theirs.recv_frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_bytes()[..], [number]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_does_not_stop_other_sessions() {
    let mut pair = Pair::new();
    let (mut stuck, _stuck_exit) = pair.session().await;
    fill(&mut stuck, &[7; 10_000]).await;
    let (mut ours, mut theirs) = pair.session().await;
    ours.write_all(b"free").await.unwrap();
    let mut received = [0; 4];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"free");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_still_sends() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    fill(&mut ours, &[7; 10_000]).await;
    theirs.write_all(b"busy").await.unwrap();
    let mut received = [0; 4];
    ours.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"busy");
}

#[tokio::test(start_paused = true)]
async fn a_reader_may_rest_for_longer_than_the_idle_timeout() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    let written = fill(&mut ours, &[7; 10_000]).await;
    tokio::time::sleep(SECOND * 3600).await;
    let mut received = vec![0; written];
    theirs.read_exact(&mut received).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_writer_is_woken_by_the_end_of_its_session() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    fill(&mut ours, &[7; 10_000]).await;
    let (result, ()) = tokio::join!(ours.write(&[7]), async {
        theirs.abort();
    });
    result.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_full_session_takes_nothing_and_says_so() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    fill(&mut ours, &[7; 10_000]).await;
    let poll = futures::future::poll_fn(|cx| {
        Poll::Ready(std::pin::Pin::new(&mut ours).poll_write(cx, &[7]))
    });
    assert!(poll.await.is_pending());
}
