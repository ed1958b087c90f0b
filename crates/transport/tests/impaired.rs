//! Emulated links around the memory transport, on a paused clock.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use towline_netsim::{LinkConfig, Loss};
use towline_transport::impaired::{Impaired, ImpairedReceiver, ImpairedSender, LinkControl};
use towline_transport::memory::{
    MemoryAddress, MemoryNetwork, MemoryReceiver, MemorySender, MemoryTransport,
};
use towline_transport::{DatagramReceiver, DatagramSender, Received, Transmit, Transport};

const HERE: MemoryAddress = MemoryAddress(1);
const THERE: MemoryAddress = MemoryAddress(2);

/// The seed of the random tests; `TOWLINE_SEED` overrides it.
fn seed() -> u64 {
    let seed = match std::env::var("TOWLINE_SEED") {
        Ok(seed) => seed.parse().expect("TOWLINE_SEED is a number"),
        Err(_) => 7,
    };
    eprintln!("TOWLINE_SEED={seed}");
    seed
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn delay(delay: Duration) -> LinkConfig {
    LinkConfig::default().with_delay(delay)
}

/// An end behind links and one that is not.
struct Ends {
    sender: ImpairedSender<MemorySender>,
    receiver: ImpairedReceiver<MemoryReceiver, MemorySender>,
    control: LinkControl<MemoryAddress>,
    plain_sender: MemorySender,
    plain_receiver: MemoryReceiver,
}

fn ends(outgoing: LinkConfig, incoming: LinkConfig) -> Ends {
    let network = MemoryNetwork::with_limits(usize::MAX / 2, 1452);
    let here: MemoryTransport = network.bind(HERE).unwrap();
    let (plain_sender, plain_receiver) = network.bind(THERE).unwrap().split();
    let here = Impaired::new(here, outgoing, incoming, seed()).unwrap();
    assert_eq!(here.local_address().unwrap(), HERE);
    let control = here.control();
    let (sender, receiver) = here.split();
    Ends { sender, receiver, control, plain_sender, plain_receiver }
}

async fn recv<R: DatagramReceiver>(receiver: &mut R) -> Vec<Bytes> {
    let mut received = Vec::new();
    receiver.recv(&mut received).await.unwrap();
    received.into_iter().flat_map(Received::datagrams).collect()
}

/// Polls a receiver in the background, as the owner of a session would.
fn keep_polling<R: DatagramReceiver>(mut receiver: R) {
    tokio::spawn(async move { while receiver.recv(&mut Vec::new()).await.is_ok() {} });
}

#[tokio::test(start_paused = true)]
async fn incoming_delay_is_exact() {
    let mut ends = ends(LinkConfig::default(), delay(millis(35)));
    let start = Instant::now();
    ends.plain_sender.send(&Transmit::datagram(HERE, b"in")).await.unwrap();
    assert_eq!(recv(&mut ends.receiver).await, ["in"]);
    assert_eq!(start.elapsed(), millis(35));
}

#[tokio::test(start_paused = true)]
async fn outgoing_delay_is_exact_though_the_sender_does_nothing_more() {
    let mut ends = ends(delay(millis(25)), LinkConfig::default());
    keep_polling(ends.receiver);
    tokio::task::yield_now().await;
    let start = Instant::now();
    ends.sender.send(&Transmit::datagram(THERE, b"out")).await.unwrap();
    drop(ends.sender);
    assert_eq!(recv(&mut ends.plain_receiver).await, ["out"]);
    assert_eq!(start.elapsed(), millis(25));
}

#[tokio::test(start_paused = true)]
async fn shorter_delay_resets_the_timer_of_a_longer_one() {
    let mut ends = ends(delay(millis(500)), LinkConfig::default());
    keep_polling(ends.receiver);
    ends.sender.send(&Transmit::datagram(THERE, b"slow")).await.unwrap();
    tokio::time::sleep(millis(1)).await;

    let start = Instant::now();
    let fast = LinkConfig { jitter_reorders: true, ..delay(millis(10)) };
    ends.control.set_outgoing(fast).unwrap();
    ends.sender.send(&Transmit::datagram(THERE, b"fast")).await.unwrap();
    assert_eq!(recv(&mut ends.plain_receiver).await, ["fast"]);
    assert_eq!(start.elapsed(), millis(10));
    assert_eq!(recv(&mut ends.plain_receiver).await, ["slow"]);
    assert_eq!(start.elapsed(), millis(499));
}

#[tokio::test(start_paused = true)]
async fn runs_are_taken_apart_and_keep_their_order() {
    let mut ends = ends(delay(millis(5)), delay(millis(5)));
    let run = |destination| Transmit { destination, contents: b"aabbc", segment_size: Some(2) };
    ends.plain_sender.send(&run(HERE)).await.unwrap();
    ends.sender.send(&run(THERE)).await.unwrap();
    assert_eq!(recv(&mut ends.receiver).await, ["aa", "bb", "c"]);
    assert_eq!(recv(&mut ends.plain_receiver).await, ["aa", "bb", "c"]);
}

#[tokio::test(start_paused = true)]
async fn loss_has_its_rate_in_both_directions() {
    let lossy = |rate| LinkConfig::default().with_loss(Loss::Random(rate)).with_delay(millis(3));
    let mut ends = ends(lossy(0.1), lossy(0.3));
    for number in 0..20_000u32 {
        let contents = number.to_be_bytes();
        ends.sender.send(&Transmit::datagram(THERE, &contents)).await.unwrap();
        ends.plain_sender.send(&Transmit::datagram(HERE, &contents)).await.unwrap();
    }
    let incoming = recv(&mut ends.receiver).await.len() as u64;
    let outgoing = recv(&mut ends.plain_receiver).await.len() as u64;

    let stats = ends.control.stats();
    assert_eq!(stats.outgoing.delivered, outgoing);
    assert_eq!(stats.incoming.delivered, incoming);
    assert_eq!((stats.outgoing.in_flight(), stats.incoming.in_flight()), (0, 0));
    // Five standard deviations.
    assert!(stats.outgoing.lost.abs_diff(2000) < 212, "{}", stats.outgoing.lost);
    assert!(stats.incoming.lost.abs_diff(6000) < 324, "{}", stats.incoming.lost);
}

#[tokio::test(start_paused = true)]
async fn rate_spreads_a_burst() {
    let mut ends = ends(LinkConfig::default().with_rate(100_000, 1 << 20), LinkConfig::default());
    keep_polling(ends.receiver);
    let start = Instant::now();
    let contents = [0; 50_000];
    let run = Transmit { destination: THERE, contents: &contents, segment_size: Some(1000) };
    ends.sender.send(&run).await.unwrap();
    for number in 1..=50 {
        assert_eq!(recv(&mut ends.plain_receiver).await.len(), 1);
        assert_eq!(start.elapsed(), millis(10 * number));
    }
}

#[tokio::test(start_paused = true)]
async fn blackout_can_be_switched_on_and_off() {
    let mut ends = ends(LinkConfig::default(), LinkConfig::default());
    ends.control.set_outgoing(LinkConfig::default().with_loss(Loss::Random(1.0))).unwrap();
    ends.sender.send(&Transmit::datagram(THERE, b"lost")).await.unwrap();
    ends.control.set_outgoing(LinkConfig::default()).unwrap();
    ends.sender.send(&Transmit::datagram(THERE, b"back")).await.unwrap();
    assert_eq!(recv(&mut ends.plain_receiver).await, ["back"]);
}

#[tokio::test(start_paused = true)]
async fn same_seed_loses_the_same_datagrams() {
    let survivors = async || {
        let mut ends =
            ends(LinkConfig::default().with_loss(Loss::Random(0.5)), LinkConfig::default());
        for number in 0..200u8 {
            ends.sender.send(&Transmit::datagram(THERE, &[number])).await.unwrap();
        }
        recv(&mut ends.plain_receiver).await
    };
    assert_eq!(survivors().await, survivors().await);
}

#[test]
fn wrong_configuration_is_refused() {
    let network = MemoryNetwork::new();
    let wrong = LinkConfig::default().with_corrupt(2.0);
    let perfect = LinkConfig::default();
    let bind = |address| network.bind(MemoryAddress(address)).unwrap();
    assert!(Impaired::new(bind(1), wrong.clone(), perfect.clone(), 0).is_err());
    assert!(Impaired::new(bind(2), perfect, wrong, 0).is_err());
}

/// A transport that takes a datagram only when it is given permission.
struct Gate {
    permits: tokio::sync::mpsc::UnboundedReceiver<()>,
    passed: tokio::sync::mpsc::UnboundedSender<Vec<u8>>,
}

/// Receives nothing.
struct Silence;

impl Transport for Gate {
    type Address = u8;
    type Sender = Self;
    type Receiver = Silence;

    fn local_address(&self) -> io::Result<u8> {
        Ok(0)
    }

    fn split(self) -> (Self, Silence) {
        (self, Silence)
    }
}

impl DatagramSender for Gate {
    type Address = u8;

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        transmit: &Transmit<'_, u8>,
    ) -> Poll<io::Result<()>> {
        self.permits.poll_recv(cx).map(|permit| {
            permit.ok_or(io::ErrorKind::BrokenPipe)?;
            self.passed.send(transmit.contents.to_vec()).unwrap();
            Ok(())
        })
    }

    fn max_datagram_size(&self) -> usize {
        1000
    }

    fn max_batch(&self, _datagram_size: usize) -> usize {
        1
    }
}

impl DatagramReceiver for Silence {
    type Address = u8;

    fn poll_recv(
        &mut self,
        _cx: &mut Context<'_>,
        _received: &mut Vec<Received<u8>>,
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn back_pressure_of_the_transport_reaches_the_sender_and_ends() {
    let (permit, permits) = tokio::sync::mpsc::unbounded_channel();
    let (passed, mut out) = tokio::sync::mpsc::unbounded_channel();
    let gate = Impaired::new(
        Gate { permits, passed },
        LinkConfig::default(),
        LinkConfig::default(),
        seed(),
    )
    .unwrap();
    let (mut sender, receiver) = gate.split();
    keep_polling(receiver);

    // Taken by the link, stuck in front of the transport.
    sender.send(&Transmit::datagram(9, b"1")).await.unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(sender.poll_send(cx, &Transmit::datagram(9, b"2")).is_pending());

    // The receiver's task takes over the waiting, so the sender has to be woken by it.
    let second = tokio::spawn(async move {
        sender.send(&Transmit::datagram(9, b"2")).await.unwrap();
        sender
    });
    tokio::task::yield_now().await;
    permit.send(()).unwrap();
    assert_eq!(out.recv().await.unwrap(), b"1");
    let _sender = second.await.unwrap();
    permit.send(()).unwrap();
    assert_eq!(out.recv().await.unwrap(), b"2");
}

#[tokio::test(start_paused = true)]
async fn error_of_the_transport_reaches_the_sender() {
    let (_, permits) = tokio::sync::mpsc::unbounded_channel();
    let (passed, _out) = tokio::sync::mpsc::unbounded_channel();
    let gate = Gate { permits, passed };
    let gate = Impaired::new(gate, LinkConfig::default(), LinkConfig::default(), 0).unwrap();
    let (mut sender, _receiver) = gate.split();
    let error = sender.send(&Transmit::datagram(9, b"")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
