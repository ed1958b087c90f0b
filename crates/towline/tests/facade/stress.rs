//! Real threads: wake-ups that get lost show as tests that never end.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use towline::Endpoint;
use towline::transport::memory::MemoryNetwork;

use crate::handshake::{brief, generous};
use crate::support::{ENTRY, EXIT, Pair, Random, accept, pattern, target};

/// Far more than it takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(100);

/// Messages back and forth, one at a time: each hop is a wake-up, and one that is lost stops everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ping_pong_never_misses_a_wake_up() {
    let mut pair = Pair::with(Endpoint::builder, generous);
    let mut tasks = Vec::new();
    for number in 0..16_u64 {
        let (mut ours, mut theirs) = pair.session().await;
        tasks.push(tokio::spawn(async move {
            while let Some(frame) = theirs.recv_frame().await.unwrap() {
                theirs.send_frame(frame.into_bytes()).await.unwrap();
            }
            theirs.finish().await.unwrap();
        }));
        tasks.push(tokio::spawn(async move {
            for round in 0..500_u64 {
                let ping = Bytes::copy_from_slice(&(number << 32 | round).to_be_bytes());
                ours.send_frame(ping.clone()).await.unwrap();
                let pong = ours.recv_frame().await.unwrap().unwrap();
                assert_eq!(pong.into_bytes(), ping);
            }
            ours.finish().await.unwrap();
        }));
    }
    timeout(PATIENCE, futures::future::try_join_all(tasks)).await.unwrap().unwrap();
}

/// Full queues on both sides, all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn full_queues_never_miss_a_wake_up() {
    let tiny = || {
        generous().data(|data| {
            // Little more than the least that there can be, so that both are full most of the time.
            data.send_buffer(90_000).receive_buffer(180_000)
        })
    };
    let mut pair = Pair::with(tiny, tiny);
    let mut tasks = Vec::new();
    for number in 0..16 {
        let (ours, theirs) = pair.session().await;
        for (session, seed) in [(ours, number), (theirs, !number)] {
            let (mut read, mut write) = session.into_split();
            tasks.push(tokio::spawn(async move {
                let mut random = Random(seed);
                let mut rest = &pattern(seed, 300_000)[..];
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(1 + random.below(2000).min(rest.len() - 1));
                    write.write_all(now).await.unwrap();
                    rest = later;
                }
                write.shutdown().await.unwrap();
            }));
            tasks.push(tokio::spawn(async move {
                let mut received = Vec::new();
                let mut buffer = vec![0; 700];
                loop {
                    match read.read(&mut buffer).await.unwrap() {
                        0 => break,
                        length => received.extend_from_slice(&buffer[..length]),
                    }
                    if received.len() % 5 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                assert!(received == pattern(!seed, 300_000));
            }));
        }
    }
    timeout(PATIENCE, futures::future::try_join_all(tasks)).await.unwrap().unwrap();
}

/// Sessions that come and go, ended in every way, by many tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_come_and_go_without_a_trace() {
    let network = MemoryNetwork::new();
    let entry = brief(Endpoint::builder()).over(network.bind(ENTRY).unwrap()).unwrap();
    let exit = brief(generous()).over(network.bind(EXIT).unwrap()).unwrap();
    let mut listener = exit.listen().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let mut session = accept(&mut listener).await;
            tokio::spawn(async move {
                let mut received = Vec::new();
                let _ = session.read_to_end(&mut received).await;
                let _ = session.write_all(&received).await;
                let _ = session.shutdown().await;
            });
        }
    });
    let mut tasks = Vec::new();
    for seed in 0..8 {
        let entry = entry.clone();
        tasks.push(tokio::spawn(async move {
            let mut random = Random(seed);
            for _ in 0..40 {
                let mut session = entry.connect(EXIT, &target()).await.unwrap();
                let data = pattern(seed, random.below(20_000));
                session.write_all(&data).await.unwrap();
                match random.below(4) {
                    0 => drop(session),
                    1 => session.abort(),
                    2 => drop(session.into_split().0),
                    _ => {
                        session.shutdown().await.unwrap();
                        let mut received = Vec::new();
                        session.read_to_end(&mut received).await.unwrap();
                        assert!(received == data);
                    }
                }
            }
        }));
    }
    timeout(PATIENCE, futures::future::try_join_all(tasks)).await.unwrap().unwrap();
    let idle = async { tokio::join!(entry.wait_idle(), exit.wait_idle()) };
    timeout(PATIENCE, idle).await.unwrap();
    serving.abort();
}
