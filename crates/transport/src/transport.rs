//! What a transport is.

use std::fmt::{Debug, Display};
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::io;
use std::task::{Context, Poll};

use crate::datagrams::{Received, Transmit};

/// Names an end of a transport; implemented for every type that fits.
pub trait Address: Copy + Eq + Hash + Debug + Display + Send + Sync + Unpin + 'static {}

impl<T> Address for T where T: Copy + Eq + Hash + Debug + Display + Send + Sync + Unpin + 'static {}

/// Sends datagrams.
///
/// Delivery is not promised: datagrams may be lost, duplicated and reordered on the way, and dropped by the sender.
pub trait DatagramSender: Send + 'static {
    /// Names the destination of a datagram.
    type Address: Address;

    /// Sends a run of datagrams: takes all of it or, if there is no room now, none and registers the waker.
    ///
    /// The caller may come back with the same run, with another one, or not at all. Only the waker of the latest call
    /// is kept. A run longer than [`max_batch`](Self::max_batch) is not refused, but may cost more, and its end may be
    /// held back until the next call.
    ///
    /// # Errors
    ///
    /// An error means that this half will never send again. What concerns a single datagram or destination is no
    /// error: a datagram above [`max_datagram_size`](Self::max_datagram_size) (or the run that holds it), a destination
    /// that nobody can reach, listens on or may send to, are dropped in silence, as a network would, and the call
    /// returns `Ok`.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        transmit: &Transmit<'_, Self::Address>,
    ) -> Poll<io::Result<()>>;

    /// Returns the size of the largest datagram that can be expected to get through, in bytes; at least 1, and the same
    /// for as long as the half exists.
    fn max_datagram_size(&self) -> usize;

    /// Returns how many datagrams of `datagram_size` bytes a run should hold at most; at least 1, and possibly less
    /// than a while ago.
    fn max_batch(&self, datagram_size: usize) -> usize;

    /// Sends a run of datagrams, waiting for room; see [`poll_send`](Self::poll_send).
    ///
    /// # Errors
    ///
    /// Fails if this half will never send again.
    fn send(
        &mut self,
        transmit: &Transmit<'_, Self::Address>,
    ) -> impl Future<Output = io::Result<()>> + Send
    where
        Self: Sized,
    {
        poll_fn(|cx| self.poll_send(cx, transmit))
    }
}

/// Receives datagrams.
pub trait DatagramReceiver: Send + 'static {
    /// Names the source of a datagram.
    type Address: Address;

    /// Appends the runs of datagrams that are there, at least one, and returns how many; registers the waker if there
    /// are none.
    ///
    /// How many runs one call may append is up to the transport but bounded. Only the waker of the latest call is kept.
    ///
    /// # Errors
    ///
    /// An error means that this half will never receive again. What concerns a single datagram or peer is no error.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut Vec<Received<Self::Address>>,
    ) -> Poll<io::Result<usize>>;

    /// Waits for datagrams; see [`poll_recv`](Self::poll_recv).
    ///
    /// # Errors
    ///
    /// Fails if this half will never receive again.
    fn recv(
        &mut self,
        received: &mut Vec<Received<Self::Address>>,
    ) -> impl Future<Output = io::Result<usize>> + Send
    where
        Self: Sized,
    {
        poll_fn(|cx| self.poll_recv(cx, received))
    }
}

/// Carries datagrams between addresses: a sender and a receiver that belong together.
pub trait Transport {
    /// Names an end of the transport.
    type Address: Address;
    /// The half that sends.
    type Sender: DatagramSender<Address = Self::Address>;
    /// The half that receives.
    type Receiver: DatagramReceiver<Address = Self::Address>;

    /// Returns the address under which this end can be reached.
    ///
    /// # Errors
    ///
    /// Fails if the operating system does not tell.
    fn local_address(&self) -> io::Result<Self::Address>;

    /// Takes the transport apart into its halves.
    fn split(self) -> (Self::Sender, Self::Receiver);
}
