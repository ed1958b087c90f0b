//! Messages: their boundaries, and the sessions that may lose them.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towline::{SessionError, SessionOptions};
use towline_netsim::{LinkConfig, Loss};

use crate::support::{MS, MemorySession, Pair, Random, SECOND, pattern, seeds};

/// Messages of many lengths, each of which says its number.
fn messages(count: u32, longest: usize) -> Vec<Bytes> {
    let mut random = Random(u64::from(count));
    let message = |number: u32| {
        let mut message = number.to_be_bytes().to_vec();
        message.extend(pattern(u64::from(number), random.below(longest - 4)));
        message.into()
    };
    (0..count).map(message).collect()
}

async fn receive_all(session: &mut MemorySession) -> Vec<Bytes> {
    let mut received = Vec::new();
    while let Some(frame) = session.recv_frame().await.unwrap() {
        received.push(frame.into_bytes());
    }
    received
}

#[tokio::test(start_paused = true)]
async fn messages_keep_their_boundaries() {
    let link = LinkConfig::default().with_loss(Loss::Random(0.05)).with_delay(10 * MS);
    for seed in seeds(4) {
        let (mut pair, _) = Pair::impaired(&link, seed);
        let (mut ours, mut theirs) = pair.session().await;
        let sent = messages(200, 11_000);
        let (received, ()) = tokio::join!(receive_all(&mut theirs), async {
            for message in &sent {
                ours.send_frame(message.clone()).await.unwrap();
            }
            ours.finish().await.unwrap();
        });
        assert!(received == sent, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_message_is_a_message() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.send_frame(Bytes::new()).await.unwrap();
    assert!(theirs.recv_frame().await.unwrap().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_is_refused() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    let error = ours.send_frame(vec![0; 20_000].into()).await.unwrap_err();
    assert!(matches!(error, SessionError::TooLong { len: 20_000, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_leaves_the_session_as_it_was() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.send_frame(vec![0; 20_000].into()).await.unwrap_err();
    ours.send_frame(Bytes::from_static(b"short")).await.unwrap();
    assert_eq!(theirs.recv_frame().await.unwrap().unwrap().into_bytes(), "short");
}

#[tokio::test(start_paused = true)]
async fn the_longest_message_is_as_long_as_the_error_says() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    let error = ours.send_frame(vec![0; 20_000].into()).await.unwrap_err();
    let SessionError::TooLong { limit, .. } = error else { panic!("{error:?}") };
    ours.send_frame(vec![7; limit].into()).await.unwrap();
    assert_eq!(theirs.recv_frame().await.unwrap().unwrap().len(), limit);
}

#[tokio::test(start_paused = true)]
async fn messages_are_not_joined_with_the_bytes_around_them() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.write_all(b"bytes").await.unwrap();
    ours.send_frame(Bytes::from_static(b"message")).await.unwrap();
    ours.write_all(b"bytes").await.unwrap();
    ours.finish().await.unwrap();
    assert_eq!(receive_all(&mut theirs).await, ["bytes", "message", "bytes"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_of_bytes_left_of_a_message_comes_as_one() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    ours.send_frame(pattern(1, 5000).into()).await.unwrap();
    theirs.read_exact(&mut [0; 2000]).await.unwrap();
    let rest = theirs.recv_frame().await.unwrap().unwrap().into_bytes();
    assert!(rest == pattern(1, 5000)[2000..]);
}

#[tokio::test(start_paused = true)]
async fn an_unreliable_session_loses_messages_but_never_mixes_them() {
    for seed in seeds(4) {
        let link = LinkConfig::default().with_delay(10 * MS);
        let (mut pair, control) = Pair::impaired(&link, seed);
        let (mut ours, mut theirs) = pair.session_with(SessionOptions::unreliable()).await;
        control.set_outgoing(link.with_loss(Loss::Random(0.1))).unwrap();
        let sent = messages(500, 4000);
        let receiving = tokio::spawn(async move { receive_all(&mut theirs).await });
        for message in &sent {
            ours.send_frame(message.clone()).await.unwrap();
            tokio::time::sleep(MS).await;
        }
        ours.finish().await.unwrap();
        let received = receiving.await.unwrap();
        assert!((200..500).contains(&received.len()), "seed {seed}: {}", received.len());
        let mut rest = sent.iter();
        let ordered = received.iter().all(|message| rest.any(|sent| sent == message));
        assert!(ordered, "seed {seed}");
    }
}

//= docs/spec/start.md#capabilities
//= type=test
//# An end MAY deliver frames out of order if 0x20 is among the capabilities of the session.
#[tokio::test(start_paused = true)]
async fn an_unordered_session_delivers_what_a_gap_would_hold_back() {
    let (mut pair, control) = Pair::impaired(&LinkConfig::default(), 1);
    let options = SessionOptions::unreliable().unordered();
    let (mut ours, mut theirs) = pair.session_with(options).await;
    control.set_outgoing(crate::support::dead()).unwrap();
    ours.send_frame(Bytes::from_static(b"lost")).await.unwrap();
    tokio::time::sleep(MS).await;
    control.set_outgoing(LinkConfig::default()).unwrap();
    ours.send_frame(Bytes::from_static(b"next")).await.unwrap();
    let next = tokio::time::timeout(10 * MS, theirs.recv_frame()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().into_bytes(), "next");
}

#[tokio::test(start_paused = true)]
async fn a_reliable_unordered_session_delivers_each_message_once() {
    for seed in seeds(4) {
        let link = LinkConfig::default()
            .with_loss(Loss::Random(0.05))
            .with_delay(10 * MS)
            .with_duplicate(0.1)
            .with_reorder(0.1, 20 * MS);
        let (mut pair, _) = Pair::impaired(&link, seed);
        let options = SessionOptions::reliable().unordered();
        let (mut ours, mut theirs) = pair.session_with(options).await;
        let sent = messages(300, 4000);
        let (received, ()) = tokio::join!(receive_all(&mut theirs), async {
            for message in &sent {
                ours.send_frame(message.clone()).await.unwrap();
            }
            ours.finish().await.unwrap();
        });
        assert_eq!(received.len(), sent.len(), "seed {seed}");
        assert_eq!(BTreeSet::from_iter(received), BTreeSet::from_iter(sent), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_a_stream_and_a_sink_of_messages() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.session().await;
    let (mut ours, theirs) = (ours.into_frames(), theirs.into_frames());
    let sent = messages(300, 3000);
    let (received, ()) = tokio::join!(theirs.try_collect::<Vec<_>>(), async {
        let mut source = futures::stream::iter(sent.clone()).map(Ok);
        ours.send_all(&mut source).await.unwrap();
        ours.close().await.unwrap();
    });
    assert!(received.unwrap() == sent);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_echoes_into_its_own_sink() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.session().await;
    let (sink, source) = theirs.into_frames().split();
    tokio::spawn(source.forward(sink));
    let (mut sink, source) = ours.into_frames().split();
    let sent = messages(100, 3000);
    let (received, ()) = tokio::join!(source.try_collect::<Vec<_>>(), async {
        for message in &sent {
            sink.send(message.clone()).await.unwrap();
        }
        sink.close().await.unwrap();
    });
    assert!(received.unwrap() == sent);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_ends_after_its_error() {
    let mut pair = Pair::new();
    let (ours, mut theirs) = pair.session().await;
    theirs.abort();
    let items: Vec<_> = ours.into_frames().collect().await;
    assert_eq!(items, [Err(SessionError::PeerClosed)]);
}

#[tokio::test(start_paused = true)]
async fn frames_give_their_session_back() {
    let mut pair = Pair::new();
    let (ours, mut theirs) = pair.session().await;
    let mut ours = ours.into_frames().into_inner();
    ours.write_all(b"back").await.unwrap();
    let mut received = [0; 4];
    theirs.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"back");
}

/// A receive that is given up, as in a `select`, loses no message.
#[tokio::test(start_paused = true)]
async fn receiving_can_be_cancelled() {
    let mut pair = Pair::new();
    let (mut ours, mut theirs) = pair.session().await;
    tokio::time::timeout(SECOND, theirs.recv_frame()).await.unwrap_err();
    ours.send_frame(Bytes::from_static(b"late")).await.unwrap();
    assert_eq!(theirs.recv_frame().await.unwrap().unwrap().into_bytes(), "late");
}
