//! Ports of one process that send datagrams to each other, for tests and simulations.
//!
//! The network is perfect until a port's queue is full: then it drops what comes in, like a router. Nothing here knows
//! the time, so it works on a paused clock.
//!
//! ```
//! use towline_transport::memory::{MemoryAddress, MemoryNetwork};
//! use towline_transport::{DatagramReceiver, DatagramSender, Transmit, Transport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let network = MemoryNetwork::new();
//! let (mut sender, _) = network.bind(MemoryAddress(1))?.split();
//! let (_, mut receiver) = network.bind(MemoryAddress(2))?.split();
//!
//! sender.send(&Transmit::datagram(MemoryAddress(2), b"hello")).await?;
//!
//! let mut received = Vec::new();
//! receiver.recv(&mut received).await?;
//! assert_eq!(received[0].source, MemoryAddress(1));
//! assert_eq!(received[0].contents, "hello");
//! # Ok(())
//! # }
//! ```

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::datagrams::{Received, Transmit};
use crate::transport::{DatagramReceiver, DatagramSender, Transport};

/// Names a port of a [`MemoryNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemoryAddress(pub u64);

/// A network within the process; clones are the same network.
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    shared: Arc<Shared>,
}

/// A port of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    binding: Binding,
}

/// The half of a [`MemoryTransport`] that sends.
#[derive(Debug)]
pub struct MemorySender {
    network: MemoryNetwork,
    address: MemoryAddress,
}

/// The half of a [`MemoryTransport`] that receives; the address is free again when it is dropped.
#[derive(Debug)]
pub struct MemoryReceiver {
    binding: Binding,
}

/// A burst of a congestion window fits, as in a socket with large buffers.
const DEFAULT_QUEUE: usize = 1024;

/// What fits an Ethernet frame, so that tests see the sizes that deployments do.
const DEFAULT_MAX_DATAGRAM_SIZE: usize = 1452;

/// As long as the runs of segmentation offload.
const MAX_BATCH: usize = 64;

impl MemoryNetwork {
    /// Creates a network without ports, with room for 1024 datagrams per port and datagrams of up to 1452 bytes.
    pub fn new() -> Self {
        Self::with_limits(DEFAULT_QUEUE, DEFAULT_MAX_DATAGRAM_SIZE)
    }

    /// Creates a network without ports whose ports hold up to `queue` datagrams of up to `max_datagram_size` bytes.
    pub fn with_limits(queue: usize, max_datagram_size: usize) -> Self {
        let shared = Shared {
            ports: Mutex::default(),
            dropped: AtomicU64::new(0),
            queue,
            max_datagram_size,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Opens the port with the given address.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::AddrInUse`] if it is open already.
    pub fn bind(&self, address: MemoryAddress) -> io::Result<MemoryTransport> {
        match lock(&self.shared.ports).entry(address) {
            Entry::Occupied(_) => Err(io::ErrorKind::AddrInUse.into()),
            Entry::Vacant(vacant) => {
                let port = Arc::clone(vacant.insert(Arc::default()));
                let binding = Binding { network: self.clone(), address, port };
                Ok(MemoryTransport { network: self.clone(), binding })
            }
        }
    }

    /// Returns how many datagrams were dropped because they were too large, their port was not open or its queue full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn deliver(&self, source: MemoryAddress, transmit: &Transmit<'_, MemoryAddress>) {
        let count = transmit.count();
        let segment_size = transmit.datagram_size();
        let mut taken = 0;
        if segment_size <= self.shared.max_datagram_size {
            let port = lock(&self.shared.ports).get(&transmit.destination).map(Arc::clone);
            if let Some(port) = port {
                let mut queue = lock(&port);
                taken = count.min(self.shared.queue - queue.datagrams);
                if taken > 0 {
                    let len = transmit.contents.len().min(taken * segment_size);
                    let contents = Bytes::copy_from_slice(&transmit.contents[..len]);
                    queue.push(taken, Received { source, contents, segment_size });
                }
            }
        }
        self.shared.dropped.fetch_add((count - taken) as u64, Ordering::Relaxed);
    }
}

impl Default for MemoryNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for MemoryTransport {
    type Address = MemoryAddress;
    type Sender = MemorySender;
    type Receiver = MemoryReceiver;

    fn local_address(&self) -> io::Result<MemoryAddress> {
        Ok(self.binding.address)
    }

    fn split(self) -> (MemorySender, MemoryReceiver) {
        let sender = MemorySender { network: self.network, address: self.binding.address };
        (sender, MemoryReceiver { binding: self.binding })
    }
}

impl DatagramSender for MemorySender {
    type Address = MemoryAddress;

    /// Never waits: what the destination has no room for is dropped.
    fn poll_send(
        &mut self,
        _cx: &mut Context<'_>,
        transmit: &Transmit<'_, MemoryAddress>,
    ) -> Poll<io::Result<()>> {
        self.network.deliver(self.address, transmit);
        Poll::Ready(Ok(()))
    }

    fn max_datagram_size(&self) -> usize {
        self.network.shared.max_datagram_size
    }

    fn max_batch(&self, _datagram_size: usize) -> usize {
        MAX_BATCH
    }
}

impl DatagramReceiver for MemoryReceiver {
    type Address = MemoryAddress;

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut Vec<Received<MemoryAddress>>,
    ) -> Poll<io::Result<usize>> {
        let mut queue = lock(&self.binding.port);
        if queue.runs.is_empty() {
            queue.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let runs = queue.runs.len();
        received.extend(queue.runs.drain(..));
        queue.datagrams = 0;
        Poll::Ready(Ok(runs))
    }
}

impl fmt::Display for MemoryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory:{}", self.0)
    }
}

#[derive(Debug)]
struct Shared {
    ports: Mutex<HashMap<MemoryAddress, Arc<Mutex<Queue>>>>,
    dropped: AtomicU64,
    /// Datagrams that a port holds at most.
    queue: usize,
    max_datagram_size: usize,
}

/// What a port has received and nobody has taken.
#[derive(Debug, Default)]
struct Queue {
    runs: VecDeque<Received<MemoryAddress>>,
    datagrams: usize,
    waker: Option<Waker>,
}

impl Queue {
    fn push(&mut self, datagrams: usize, run: Received<MemoryAddress>) {
        self.runs.push_back(run);
        self.datagrams += datagrams;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// An open port; closes it when dropped.
#[derive(Debug)]
struct Binding {
    network: MemoryNetwork,
    address: MemoryAddress,
    port: Arc<Mutex<Queue>>,
}

impl Drop for Binding {
    fn drop(&mut self) {
        lock(&self.network.shared.ports).remove(&self.address);
    }
}

/// A panic elsewhere leaves a queue of datagrams in no worse a state than a lossy network does.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: MemoryAddress = MemoryAddress(1);
    const THERE: MemoryAddress = MemoryAddress(2);

    fn pair(network: &MemoryNetwork) -> (MemorySender, MemoryReceiver) {
        let (sender, _) = network.bind(HERE).unwrap().split();
        let (_, receiver) = network.bind(THERE).unwrap().split();
        (sender, receiver)
    }

    async fn recv(receiver: &mut MemoryReceiver) -> Vec<Bytes> {
        let mut received = Vec::new();
        receiver.recv(&mut received).await.unwrap();
        received.into_iter().flat_map(Received::datagrams).collect()
    }

    #[tokio::test]
    async fn datagrams_arrive_in_order_with_their_source() {
        let network = MemoryNetwork::new();
        let (mut sender, mut receiver) = pair(&network);
        sender.send(&Transmit::datagram(THERE, b"one")).await.unwrap();
        let run = Transmit { destination: THERE, contents: b"aabbc", segment_size: Some(2) };
        sender.send(&run).await.unwrap();
        sender.send(&Transmit::datagram(THERE, b"")).await.unwrap();

        let mut received = Vec::new();
        assert_eq!(receiver.recv(&mut received).await.unwrap(), 3);
        assert!(received.iter().all(|run| run.source == HERE));
        let datagrams: Vec<_> = received.into_iter().flat_map(Received::datagrams).collect();
        assert_eq!(datagrams, [&b"one"[..], b"aa", b"bb", b"c", b""]);
    }

    #[tokio::test]
    async fn receiver_is_woken() {
        let network = MemoryNetwork::new();
        let (mut sender, mut receiver) = pair(&network);
        let waiting = tokio::spawn(async move { recv(&mut receiver).await });
        tokio::task::yield_now().await;
        sender.send(&Transmit::datagram(THERE, b"wake")).await.unwrap();
        assert_eq!(waiting.await.unwrap(), ["wake"]);
    }

    #[tokio::test]
    async fn overflow_drops_the_end_of_a_run_and_room_comes_back() {
        let network = MemoryNetwork::with_limits(3, 10);
        let (mut sender, mut receiver) = pair(&network);
        sender.send(&Transmit::datagram(THERE, b"1")).await.unwrap();
        let run = Transmit { destination: THERE, contents: b"2345", segment_size: Some(1) };
        sender.send(&run).await.unwrap();
        sender.send(&Transmit::datagram(THERE, b"6")).await.unwrap();
        assert_eq!(network.dropped(), 3);
        assert_eq!(recv(&mut receiver).await, ["1", "2", "3"]);

        sender.send(&Transmit::datagram(THERE, b"7")).await.unwrap();
        assert_eq!(recv(&mut receiver).await, ["7"]);
    }

    #[tokio::test]
    async fn oversize_and_unclaimed_datagrams_are_dropped() {
        let network = MemoryNetwork::with_limits(3, 2);
        let (mut sender, mut receiver) = pair(&network);
        sender.send(&Transmit::datagram(THERE, b"large")).await.unwrap();
        sender.send(&Transmit::datagram(MemoryAddress(9), b"?")).await.unwrap();
        assert_eq!(network.dropped(), 2);
        sender.send(&Transmit::datagram(THERE, b"ok")).await.unwrap();
        assert_eq!(recv(&mut receiver).await, ["ok"]);
    }

    #[test]
    fn address_is_in_use_until_the_receiver_is_gone() {
        let network = MemoryNetwork::new();
        let (sender, receiver) = network.bind(HERE).unwrap().split();
        assert_eq!(network.bind(HERE).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(sender);
        assert!(network.bind(HERE).is_err());
        drop(receiver);
        assert!(network.bind(HERE).is_ok());
    }
}
