//! Endpoints in memory, and transports that misbehave on purpose.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use towline::transport::impaired::{Impaired, LinkControl};
use towline::transport::memory::{MemoryAddress, MemoryNetwork, MemoryTransport};
use towline::transport::{DatagramSender, Transmit, Transport};
use towline::{Endpoint, EndpointBuilder, Listener, Session, SessionOptions, Target};
use towline_netsim::{LinkConfig, Loss};

pub(crate) type MemoryEndpoint = Endpoint<MemoryAddress>;
pub(crate) type MemorySession = Session<MemoryAddress>;

pub(crate) const ENTRY: MemoryAddress = MemoryAddress(1);
pub(crate) const EXIT: MemoryAddress = MemoryAddress(2);

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What a session lives without a sign of life from its peer.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a session lingers at most that has ended, whether well or not, with a peer that is there.
pub(crate) const SOON: Duration = Duration::from_secs(12);

/// An entry, and an exit that listens.
pub(crate) struct Pair {
    pub(crate) network: MemoryNetwork,
    pub(crate) entry: MemoryEndpoint,
    pub(crate) exit: MemoryEndpoint,
    pub(crate) listener: Listener<MemoryAddress>,
}

impl Pair {
    /// On a perfect network.
    pub(crate) fn new() -> Self {
        Self::with(Endpoint::builder, Endpoint::builder)
    }

    pub(crate) fn with(
        entry: impl FnOnce() -> EndpointBuilder,
        exit: impl FnOnce() -> EndpointBuilder,
    ) -> Self {
        Self::over(entry(), exit(), |transport| transport, |transport| transport)
    }

    /// With links of one kind both ways, in front of the entry.
    pub(crate) fn impaired(link: &LinkConfig, seed: u64) -> (Self, LinkControl<MemoryAddress>) {
        let mut control = None;
        let pair = Self::over(
            Endpoint::builder(),
            Endpoint::builder(),
            |transport| {
                let impaired = Impaired::new(transport, link.clone(), link.clone(), seed).unwrap();
                control = Some(impaired.control());
                impaired
            },
            |transport| transport,
        );
        (pair, control.unwrap())
    }

    pub(crate) fn over<T, U>(
        entry: EndpointBuilder,
        exit: EndpointBuilder,
        at_entry: impl FnOnce(MemoryTransport) -> T,
        at_exit: impl FnOnce(MemoryTransport) -> U,
    ) -> Self
    where
        T: Transport<Address = MemoryAddress>,
        U: Transport<Address = MemoryAddress>,
    {
        let network = MemoryNetwork::new();
        let entry = entry.over(at_entry(network.bind(ENTRY).unwrap())).unwrap();
        let exit = exit.over(at_exit(network.bind(EXIT).unwrap())).unwrap();
        let listener = exit.listen().unwrap();
        Self { network, entry, exit, listener }
    }

    /// A session's two ends, the entry's first.
    pub(crate) async fn session(&mut self) -> (MemorySession, MemorySession) {
        self.session_with(SessionOptions::reliable()).await
    }

    pub(crate) async fn session_with(
        &mut self,
        options: SessionOptions,
    ) -> (MemorySession, MemorySession) {
        let target = target();
        let (ours, theirs) = tokio::join!(
            self.entry.connect_with(EXIT, &target, options),
            accept(&mut self.listener)
        );
        (ours.unwrap(), theirs)
    }

    /// Sessions at both endpoints now.
    pub(crate) async fn sessions(&self) -> usize {
        self.entry.stats().await.unwrap().sessions + self.exit.stats().await.unwrap().sessions
    }

    /// Waits until both endpoints have no session, and returns how long that took.
    pub(crate) async fn idle(&self) -> Duration {
        let start = tokio::time::Instant::now();
        tokio::join!(self.entry.wait_idle(), self.exit.wait_idle());
        start.elapsed()
    }
}

/// Grants the next session that somebody asks for.
pub(crate) async fn accept(listener: &mut Listener<MemoryAddress>) -> MemorySession {
    listener.next_incoming().await.unwrap().accept().await.unwrap()
}

pub(crate) fn target() -> Target {
    Target::tcp("echo.example", 7)
}

/// A link that delivers nothing.
pub(crate) fn dead() -> LinkConfig {
    LinkConfig::default().with_loss(Loss::Random(1.0))
}

/// Bytes that no other seed has.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// SplitMix64: good enough to choose what a test does.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// The seeds of a test: those in `TOWLINE_SEEDS`, or `count` of our own. Prints them.
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    let seeds = match std::env::var("TOWLINE_SEEDS") {
        Ok(text) => text.split(',').map(|seed| seed.trim().parse().unwrap()).collect(),
        Err(_) => (1..=count).collect(),
    };
    eprintln!("TOWLINE_SEEDS={seeds:?}");
    seeds
}

/// Decides when a [`Gated`] transport sends, and keeps a copy of what it sends.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<GateState>>);

#[derive(Default)]
struct GateState {
    /// Runs that may pass; `None` is no limit.
    permits: Option<usize>,
    waker: Option<Waker>,
    copies: Option<Vec<(MemoryAddress, Vec<u8>)>>,
    fails: bool,
}

impl Gate {
    /// From now on, lets only as many runs pass as [`permit`](Self::permit) says.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap().permits = Some(0);
    }

    pub(crate) fn permit(&self, runs: usize) {
        let mut state = self.0.lock().unwrap();
        state.permits = Some(state.permits.unwrap_or(0) + runs);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.permits = None;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Lets the next run fail, and with it the transport.
    pub(crate) fn fail(&self) {
        self.0.lock().unwrap().fails = true;
    }

    /// Keeps copies of datagrams from now on.
    pub(crate) fn copy(&self) {
        self.0.lock().unwrap().copies = Some(Vec::new());
    }

    /// The datagrams sent since [`copy`](Self::copy), and where to.
    pub(crate) fn copies(&self) -> Vec<(MemoryAddress, Vec<u8>)> {
        self.0.lock().unwrap().copies.clone().unwrap_or_default()
    }

    pub(crate) fn in_front_of<T>(&self, transport: T) -> Gated<T> {
        Gated { transport, gate: self.clone() }
    }
}

/// A transport whose sender obeys a [`Gate`].
pub(crate) struct Gated<T> {
    transport: T,
    gate: Gate,
}

pub(crate) struct GatedSender<S> {
    sender: S,
    gate: Gate,
}

impl<T: Transport<Address = MemoryAddress>> Transport for Gated<T> {
    type Address = MemoryAddress;
    type Sender = GatedSender<T::Sender>;
    type Receiver = T::Receiver;

    fn local_address(&self) -> io::Result<MemoryAddress> {
        self.transport.local_address()
    }

    fn split(self) -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = self.transport.split();
        (GatedSender { sender, gate: self.gate }, receiver)
    }
}

impl<S: DatagramSender<Address = MemoryAddress>> DatagramSender for GatedSender<S> {
    type Address = MemoryAddress;

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        transmit: &Transmit<'_, MemoryAddress>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.gate.0.lock().unwrap();
        if state.fails {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match &mut state.permits {
            None => {}
            Some(0) => {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(permits) => *permits -= 1,
        }
        if let Some(copies) = &mut state.copies {
            let datagrams = transmit.datagrams().map(<[u8]>::to_vec);
            copies.extend(datagrams.map(|datagram| (transmit.destination, datagram)));
        }
        drop(state);
        self.sender.poll_send(cx, transmit)
    }

    fn max_datagram_size(&self) -> usize {
        self.sender.max_datagram_size()
    }

    fn max_batch(&self, datagram_size: usize) -> usize {
        self.sender.max_batch(datagram_size)
    }
}
