//! What the endpoint's task does when: not too much, and for everyone.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use towline::Endpoint;

use crate::support::{Gate, MS, MemoryEndpoint, Pair, SECOND};

const HOUR: Duration = Duration::from_secs(3600);

async fn turns(endpoint: &MemoryEndpoint) -> u64 {
    endpoint.stats().await.unwrap().turns
}

/// A pair whose entry sends through a gate.
fn gated() -> (Pair, Gate) {
    let gate = Gate::default();
    let pair = Pair::over(
        Endpoint::builder(),
        Endpoint::builder(),
        |transport| gate.in_front_of(transport),
        |transport| transport,
    );
    (pair, gate)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_without_sessions_sleeps() {
    let pair = Pair::new();
    let before = turns(&pair.entry).await;
    tokio::time::sleep(HOUR).await;
    let made = turns(&pair.entry).await - before;
    assert!(made <= 4, "{made} turns");
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_costs_a_few_turns_for_each_keep_alive() {
    let mut pair = Pair::new();
    let _session = pair.session().await;
    let before = turns(&pair.entry).await;
    tokio::time::sleep(HOUR).await;
    // A keep-alive a minute each way; two turns for each, that is one with progress and one without.
    let made = turns(&pair.entry).await - before;
    assert!(made <= 60 * 2 * 2 + 10, "{made} turns");
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_with_a_full_reader_do_not_spin() {
    let mut pair = Pair::new();
    let (mut ours, _theirs) = pair.session().await;
    while timeout(SECOND, ours.write_all(&[7; 10_000])).await.is_ok() {}
    let before = turns(&pair.entry).await;
    tokio::time::sleep(HOUR).await;
    // The window is probed from time to time.
    let made = turns(&pair.entry).await - before;
    assert!(made <= 40_000, "{made} turns");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_transport_does_not_make_the_task_spin() {
    let (mut pair, gate) = gated();
    let (mut ours, _theirs) = pair.session().await;
    gate.close();
    let _ = timeout(SECOND, ours.write_all(&[7; 1_000_000])).await;
    let before = turns(&pair.entry).await;
    tokio::time::sleep(100 * SECOND).await;
    let made = turns(&pair.entry).await - before;
    assert!(made <= 400, "{made} turns");
}

#[tokio::test(start_paused = true)]
async fn sessions_over_a_stuck_transport_learn_that_they_are_over() {
    let (mut pair, gate) = gated();
    let (mut ours, _theirs) = pair.session().await;
    gate.close();
    let _ = timeout(SECOND, ours.write_all(&[7; 1_000_000])).await;
    timeout(HOUR, ours.recv_frame()).await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_was_stuck_goes_on() {
    let (mut pair, gate) = gated();
    let (mut ours, mut theirs) = pair.session().await;
    gate.close();
    let _ = timeout(SECOND, ours.write_all(b"delayed")).await;
    gate.open();
    let mut received = [0; 7];
    timeout(SECOND, theirs.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(&received, b"delayed");
}

/// A transport that takes a batch a millisecond, and a session that would fill it alone.
async fn crowded() -> (Pair, tokio::task::JoinHandle<()>) {
    let (mut pair, gate) = gated();
    let (mut bulk, mut bulk_exit) = pair.session().await;
    gate.close();
    let pump = tokio::spawn(async move {
        loop {
            gate.permit(1);
            tokio::time::sleep(MS).await;
        }
    });
    tokio::spawn(async move { while bulk.write_all(&[7; 100_000]).await.is_ok() {} });
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut bulk_exit, &mut tokio::io::sink()).await;
    });
    tokio::time::sleep(2 * SECOND).await;
    (pair, pump)
}

#[tokio::test(start_paused = true)]
async fn a_bulk_session_does_not_starve_the_handshake() {
    let (mut pair, pump) = crowded().await;
    timeout(SECOND, pair.session()).await.unwrap();
    pump.abort();
}

#[tokio::test(start_paused = true)]
async fn a_bulk_session_does_not_starve_other_sessions() {
    let (mut pair, pump) = crowded().await;
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(pair.session().await);
    }
    for (ours, theirs) in &mut others {
        ours.write_all(b"me too").await.unwrap();
        let mut received = [0; 6];
        timeout(SECOND, theirs.read_exact(&mut received)).await.unwrap().unwrap();
    }
    pump.abort();
}

/// Sessions that want more than there is share it evenly.
#[tokio::test(start_paused = true)]
async fn bulk_sessions_share_a_transport_evenly() {
    let (mut pair, gate) = gated();
    let mut counters = Vec::new();
    for _ in 0..8 {
        let (mut bulk, mut bulk_exit) = pair.session().await;
        tokio::spawn(async move { while bulk.write_all(&[7; 100_000]).await.is_ok() {} });
        counters.push(tokio::spawn(async move {
            let mut received = 0;
            let counting = async {
                let mut buffer = vec![0; 100_000];
                while let Ok(length) = bulk_exit.read(&mut buffer).await {
                    received += length;
                }
            };
            let _ = timeout(10 * SECOND, counting).await;
            received
        }));
    }
    gate.close();
    tokio::spawn(async move {
        loop {
            gate.permit(1);
            tokio::time::sleep(MS).await;
        }
    });
    let mut received = Vec::new();
    for counter in counters {
        received.push(counter.await.unwrap());
    }
    let (least, most) = (received.iter().min().unwrap(), received.iter().max().unwrap());
    assert!(*least * 3 > *most, "{received:?}");
}
