//! Byte streams: everything arrives, in order and once.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use towline::{Endpoint, SessionOptions};
use towline_netsim::{LinkConfig, Loss};

use crate::support::{MS, MemorySession, Pair, Random, SECOND, pattern, seeds};

/// Sends `data` in writes of random sizes, then ends the direction.
async fn send(write: &mut (impl AsyncWrite + Unpin), data: &[u8], random: &mut Random) {
    let mut rest = data;
    while !rest.is_empty() {
        let size = 1 + random.below(40_000).min(rest.len() - 1);
        let (now, later) = rest.split_at(size);
        write.write_all(now).await.unwrap();
        rest = later;
    }
    write.shutdown().await.unwrap();
}

async fn receive(read: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut received = Vec::new();
    read.read_to_end(&mut received).await.unwrap();
    received
}

/// Both directions at once; returns whether both arrived intact.
async fn exchange(ours: MemorySession, theirs: MemorySession, length: usize, seed: u64) -> bool {
    let (mut our_read, mut our_write) = ours.into_split();
    let (mut their_read, mut their_write) = theirs.into_split();
    let (out, back) = (pattern(seed, length), pattern(!seed, length / 2 + 1));
    let (mut our_random, mut their_random) = (Random(seed), Random(!seed));
    let (at_exit, at_entry, (), ()) = tokio::join!(
        receive(&mut their_read),
        receive(&mut our_read),
        send(&mut our_write, &out, &mut our_random),
        send(&mut their_write, &back, &mut their_random),
    );
    at_exit == out && at_entry == back
}

#[tokio::test(start_paused = true)]
async fn streams_survive_loss_delay_reordering_and_duplication_both_ways_at_once() {
    for seed in seeds(12) {
        let link = LinkConfig::default()
            .with_loss(Loss::Random(0.05))
            .with_delay(20 * MS)
            .with_reorder(0.05, 10 * MS)
            .with_duplicate(0.05);
        let (mut pair, control) = Pair::impaired(&link, seed);
        let (ours, theirs) = pair.session().await;
        assert!(exchange(ours, theirs, 400_000, seed).await, "seed {seed}");
        assert!(control.stats().outgoing.lost > 0, "the link lost nothing");
        pair.idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_sessions_share_a_lossy_link() {
    for seed in seeds(3) {
        let link = LinkConfig::default()
            .with_loss(Loss::Random(0.05))
            .with_delay(10 * MS)
            .with_rate(2_000_000, 100_000);
        let (mut pair, _) = Pair::impaired(&link, seed);
        let mut exchanges = Vec::new();
        for number in 0..20 {
            let (ours, theirs) = pair.session().await;
            exchanges.push(tokio::spawn(exchange(ours, theirs, 30_000, seed * 100 + number)));
        }
        for exchange in exchanges {
            assert!(exchange.await.unwrap(), "seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_may_be_far_longer_than_a_frame() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    let data = pattern(1, 3_000_000);
    let (received, ()) = tokio::join!(receive(&mut theirs), async {
        ours.write_all(&data).await.unwrap();
        ours.shutdown().await.unwrap();
    });
    assert!(received == data);
}

#[tokio::test(start_paused = true)]
async fn small_writes_that_wait_share_frames() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    let data = pattern(1, 5000);
    let (received, stats) = tokio::join!(receive(&mut theirs), async {
        for byte in &data {
            ours.write_all(&[*byte]).await.unwrap();
        }
        let stats = ours.stats().await.unwrap();
        ours.shutdown().await.unwrap();
        stats
    });
    assert!(received == data);
    assert!(stats.frames_sent < 500, "{} frames", stats.frames_sent);
}

#[tokio::test(start_paused = true)]
async fn nothing_written_is_nothing_sent() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    assert_eq!(ours.write(&[]).await.unwrap(), 0);
    assert_eq!(ours.stats().await.unwrap().frames_sent, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tiny_buffer_reads_everything() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    let data = pattern(1, 30_000);
    ours.write_all(&data).await.unwrap();
    let mut received = Vec::new();
    while received.len() < data.len() {
        let mut buffer = [0; 3];
        let length = theirs.read(&mut buffer).await.unwrap();
        received.extend_from_slice(&buffer[..length]);
    }
    assert!(received == data);
}

#[tokio::test(start_paused = true)]
async fn reading_into_no_room_takes_nothing() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.write_all(b"kept").await.unwrap();
    assert_eq!(theirs.read(&mut []).await.unwrap(), 0);
    let mut received = [0; 4];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"kept");
}

#[tokio::test(start_paused = true)]
async fn an_empty_frame_does_not_end_a_stream() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.send_frame(bytes::Bytes::new()).await.unwrap();
    let mut buffer = [0; 4];
    timeout(SECOND, theirs.read(&mut buffer)).await.unwrap_err();
    ours.write_all(b"more").await.unwrap();
    theirs.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"more");
}

#[tokio::test(start_paused = true)]
async fn halves_are_used_from_two_tasks() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.session().await;
    let (mut read, mut write) = ours.into_split();
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = theirs.into_split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let data = pattern(1, 200_000);
    let reading = tokio::spawn(async move { receive(&mut read).await });
    send(&mut write, &data, &mut Random(1)).await;
    assert!(reading.await.unwrap() == data);
    echo.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tokio_splits_a_session() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.session().await;
    let (mut read, mut write) = tokio::io::split(ours);
    let (mut their_read, mut their_write) = tokio::io::split(theirs);
    let data = pattern(1, 100_000);
    let mut random = Random(1);
    let (received, (), _) =
        tokio::join!(receive(&mut read), send(&mut write, &data, &mut random), async {
            tokio::io::copy(&mut their_read, &mut their_write).await.unwrap();
            their_write.shutdown().await.unwrap();
        });
    assert!(received == data);
}

#[tokio::test(start_paused = true)]
async fn tokio_copies_between_sessions_both_ways() {
    let mut pair = Pair::new();
    let (client, mut near) = pair.session().await;
    let (mut far, server) = pair.session().await;
    let relay =
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    assert!(exchange(client, server, 150_000, 5).await);
    assert_eq!(relay.await.unwrap().unwrap(), (150_000, 75_001));
}

#[tokio::test(start_paused = true)]
async fn the_traits_of_the_futures_crate_work_too() {
    use futures::{AsyncReadExt, AsyncWriteExt};

    let mut pair = Pair::new();
    let (ours, theirs) = pair.session().await;
    let (mut ours, mut theirs) = (ours.into_futures_io(), theirs.into_futures_io());
    AsyncWriteExt::write_all(&mut ours, b"ahoy").await.unwrap();
    let mut received = Vec::new();
    let (closed, read) =
        tokio::join!(ours.close(), AsyncReadExt::read_to_end(&mut theirs, &mut received));
    closed.unwrap();
    read.unwrap();
    assert_eq!(received, b"ahoy");
}

#[tokio::test(start_paused = true)]
async fn an_unreliable_stream_arrives_where_nothing_is_lost() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session_with(SessionOptions::unreliable()).await;
    ours.write_all(b"fire and forget").await.unwrap();
    let mut received = [0; 15];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"fire and forget");
}

/// An unreliable sender is limited by nothing but its own buffer, which only sending empties.
#[tokio::test(start_paused = true)]
async fn an_unreliable_sender_with_a_small_buffer_does_not_stall() {
    let tight = || Endpoint::builder().data(|data| data.frame_size(15_000).send_buffer(15_000));
    let mut pair = Pair::with(tight, Endpoint::builder);
    let (mut ours, mut theirs) = pair.session_with(SessionOptions::unreliable()).await;
    let data = pattern(1, 150_000);
    let exchange = async {
        tokio::join!(receive(&mut theirs), async {
            ours.write_all(&data).await.unwrap();
            ours.shutdown().await.unwrap();
        })
    };
    // Not by and by, whenever something else wakes the session.
    let (received, ()) = timeout(10 * MS, exchange).await.unwrap();
    assert!(received == data);
}
