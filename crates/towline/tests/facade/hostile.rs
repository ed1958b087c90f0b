//! Datagrams from strangers, and from peers that mean harm.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use towline::transport::memory::{MemoryAddress, MemorySender};
use towline::transport::{DatagramSender, Transmit, Transport};
use towline::{Endpoint, Tag};

use crate::support::{
    EXIT, Gate, MS, MemorySession, Pair, Random, SECOND, accept, pattern, seeds, target,
};

const STRANGER: MemoryAddress = MemoryAddress(666);
/// Datagrams that a flood consists of.
const FLOOD: usize = 30_000;

async fn inject(sender: &mut MemorySender, contents: &[u8]) {
    sender.send(&Transmit::datagram(EXIT, contents)).await.unwrap();
}

/// A pair, and copies of what its entry sends.
fn tapped() -> (Pair, Gate) {
    let gate = Gate::default();
    let pair = Pair::over(
        Endpoint::builder(),
        Endpoint::builder(),
        |transport| gate.in_front_of(transport),
        |transport| transport,
    );
    gate.copy();
    (pair, gate)
}

/// The exit's end sends back what it gets.
fn echo(theirs: MemorySession) {
    tokio::spawn(async move {
        let (mut read, mut write) = theirs.into_split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
}

/// Sends `length` bytes to an echo and checks what comes back.
async fn check_echo(ours: MemorySession, length: usize, seed: u64) {
    let (mut read, mut write) = ours.into_split();
    let sent = pattern(seed, length);
    let mut received = Vec::new();
    let (_, writing) = tokio::join!(read.read_to_end(&mut received), async {
        for chunk in sent.chunks(1000) {
            write.write_all(chunk).await?;
            tokio::task::yield_now().await;
        }
        write.shutdown().await
    });
    writing.unwrap();
    assert!(received == sent, "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn random_datagrams_do_no_harm_to_a_session() {
    for seed in seeds(2) {
        let mut pair = Pair::new();
        let (ours, theirs) = pair.session().await;
        echo(theirs);
        let (mut stranger, _receiver) = pair.network.bind(STRANGER).unwrap().split();
        let flood = tokio::spawn(async move {
            let mut random = Random(seed);
            for number in 0..FLOOD {
                let mut datagram = pattern(random.next(), random.below(200));
                if random.below(2) == 0 && datagram.len() > 10 {
                    // The handshake's tag and version, so that it comes further.
                    datagram[..8].copy_from_slice(&Tag::START.to_bytes());
                    datagram[8] = 2;
                }
                inject(&mut stranger, &datagram).await;
                if number % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        check_echo(ours, 300_000, seed).await;
        flood.await.unwrap();
        let ignored = pair.exit.stats().await.unwrap().ignored_datagrams;
        assert!(ignored > FLOOD as u64 / 2, "only {ignored} came through");
    }
}

/// What a stranger makes of datagrams that it saw, from an address of its own.
#[tokio::test(start_paused = true)]
async fn mutated_datagrams_from_a_stranger_do_no_harm_to_a_session() {
    for seed in seeds(2) {
        let (mut pair, gate) = tapped();
        let (ours, theirs) = pair.session().await;
        echo(theirs);
        let (mut stranger, _receiver) = pair.network.bind(STRANGER).unwrap().split();
        let flood = tokio::spawn(async move {
            let mut random = Random(seed);
            let mut copies = Vec::new();
            for number in 0..FLOOD {
                if number % 1000 == 0 {
                    copies = gate.copies();
                }
                let datagram = mutated(&mut random, &copies, number);
                inject(&mut stranger, &datagram).await;
                if number % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        check_echo(ours, 300_000, seed).await;
        flood.await.unwrap();
        let ignored = pair.exit.stats().await.unwrap().ignored_datagrams;
        assert!(ignored > FLOOD as u64 / 2, "only {ignored} came through");
    }
}

/// The same from the peer's own address: its session may end, the others may not.
#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_garbage_harms_no_session_of_others() {
    for seed in seeds(3) {
        let gate = Gate::default();
        let mut pair = Pair::new();
        let (honest, honest_exit) = pair.session().await;
        echo(honest_exit);
        let villain_transport = pair.network.bind(STRANGER).unwrap();
        let villain = Endpoint::builder().over(gate.in_front_of(villain_transport)).unwrap();
        gate.copy();
        let target = target();
        let (session, accepted) =
            tokio::join!(villain.connect(EXIT, &target), accept(&mut pair.listener));
        let mut session = session.unwrap();
        session.write_all(&pattern(seed, 100_000)).await.unwrap();
        tokio::spawn(async move {
            let (mut read, mut write) = accepted.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        tokio::time::sleep(SECOND).await;
        let copies = gate.copies();
        // Its endpoint goes without a word, so that its session is open when the garbage comes.
        gate.fail();
        session.write_all(b"?").await.unwrap();
        while pair.network.bind(STRANGER).is_err() {
            tokio::task::yield_now().await;
        }
        let (mut sender, _receiver) = pair.network.bind(STRANGER).unwrap().split();
        let flood = tokio::spawn(async move {
            let mut random = Random(seed);
            for number in 0..FLOOD {
                inject(&mut sender, &mutated(&mut random, &copies, number)).await;
                if number % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        check_echo(honest, 300_000, seed).await;
        flood.await.unwrap();
        let ignored = pair.exit.stats().await.unwrap().ignored_datagrams;
        assert!(ignored > 1000, "only {ignored} did not decode");
    }
}

/// One of `copies` with some bytes changed, cut or repeated.
fn mutated(random: &mut Random, copies: &[(MemoryAddress, Vec<u8>)], number: usize) -> Vec<u8> {
    let Some((_, copy)) = copies.get(random.below(copies.len().max(1))) else {
        return number.to_be_bytes().to_vec();
    };
    let mut datagram = copy.clone();
    for _ in 0..random.below(4) {
        // The tag is mostly left alone, so that the message behind it counts.
        let from = if random.below(8) == 0 { 0 } else { 8 };
        if datagram.len() > from {
            let at = from + random.below((datagram.len() - from).min(24));
            datagram[at] = random.next() as u8;
        }
    }
    match random.below(8) {
        0 => datagram.truncate(random.below(datagram.len() + 1)),
        1 => datagram.extend_from_within(8.min(datagram.len())..),
        _ => {}
    }
    datagram
}

//= docs/spec/framing.md#demultiplexing
//= type=test
//# A message from one peer MUST NOT change a session with another.
#[tokio::test(start_paused = true)]
async fn data_with_a_stolen_tag_is_ignored() {
    let (mut pair, gate) = tapped();
    let (mut ours, mut theirs) = pair.session().await;
    ours.send_frame(Bytes::from_static(b"genuine")).await.unwrap();
    assert_eq!(theirs.recv_frame().await.unwrap().unwrap().into_bytes(), "genuine");
    let (_, data) = gate.copies().pop().unwrap();
    let (mut stranger, _receiver) = pair.network.bind(STRANGER).unwrap().split();

    // The session's next frame, as the stranger would have it.
    let mut forged = data.clone();
    let id = forged.len() - 7 - 6;
    assert_eq!(forged[id..id + 4], 1_u32.to_be_bytes());
    forged[id + 3] = 2;
    inject(&mut stranger, &forged).await;
    timeout(SECOND, theirs.recv_frame()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn keep_alives_of_a_stranger_keep_no_session_alive() {
    let (mut pair, gate) = tapped();
    let (ours, mut theirs) = pair.session().await;
    let copies = gate.copies();
    let keep_alive = copies.iter().map(|(_, datagram)| datagram).find(|datagram| datagram[9] == 3);
    let keep_alive = keep_alive.unwrap().clone();
    gate.close();
    let (mut stranger, _receiver) = pair.network.bind(STRANGER).unwrap().split();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(10 * SECOND).await;
            inject(&mut stranger, &keep_alive).await;
        }
    });
    timeout(200 * SECOND, theirs.recv_frame()).await.unwrap().unwrap_err();
    drop(ours);
}

/// Requests from ever new addresses: the tables stay within their bounds.
#[tokio::test(start_paused = true)]
async fn a_flood_of_requests_stays_within_the_tables() {
    let (pair, gate) = tapped();
    let entry = pair.entry.clone();
    let connecting = tokio::spawn(async move { entry.connect(EXIT, &target()).await });
    tokio::time::sleep(MS).await;
    let (_, request) = gate.copies().remove(0);
    let mut random = Random(1);
    for address in 1000..6000 {
        let (mut sender, _receiver) = pair.network.bind(MemoryAddress(address)).unwrap().split();
        let mut request = request.clone();
        let challenge = 8 + 4;
        request[challenge..challenge + 8].copy_from_slice(&random.next().to_be_bytes());
        inject(&mut sender, &request).await;
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(MS).await;
    let stats = pair.exit.stats().await.unwrap();
    assert!(stats.responder.requests >= 5000, "{stats:?}");
    assert!(stats.responder.sessions <= 400 && stats.responder.peers <= 400, "{stats:?}");
    connecting.abort();
}

//= docs/spec/framing.md#tag-ranges
//= type=test
//# A receiver MUST ignore a datagram under a tag other than 1 that none of its sessions with that
//# peer has.
#[tokio::test(start_paused = true)]
async fn what_is_ignored_is_counted() {
    let pair = Pair::new();
    let (mut stranger, _receiver) = pair.network.bind(STRANGER).unwrap().split();
    let before = pair.exit.stats().await.unwrap().ignored_datagrams;
    let tag = Tag::FIRST_SESSION.to_bytes();
    let start = Tag::START.to_bytes();
    for datagram in [&b""[..], b"short", &tag, &[&start[..], b"?"].concat()] {
        inject(&mut stranger, datagram).await;
    }
    tokio::time::sleep(MS).await;
    assert_eq!(pair.exit.stats().await.unwrap().ignored_datagrams - before, 4);
}
