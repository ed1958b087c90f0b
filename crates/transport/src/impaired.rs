//! Another transport behind an emulated network.
//!
//! [`Impaired`] puts a link of `towline-netsim` in front of each half of a transport. Delays are served by tokio's
//! timers, so they pass at once on a paused clock, and are exact to the millisecond those timers have.
//!
//! A link is shared by all peers: it stands for the access line of this end rather than for the path to one of them.
//!
//! Datagrams that the outgoing link delays are sent by whichever half is polled next. The receiver must therefore be
//! polled until it is pending, or they stay where they are; everything that waits for datagrams does that anyway.
//!
//! ```
//! use std::time::Duration;
//! use towline_netsim::LinkConfig;
//! use towline_transport::impaired::Impaired;
//! use towline_transport::memory::{MemoryAddress, MemoryNetwork};
//! use towline_transport::{DatagramReceiver, DatagramSender, Transmit, Transport};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = MemoryNetwork::new();
//! let here = network.bind(MemoryAddress(1))?;
//! let there = network.bind(MemoryAddress(2))?;
//!
//! let slow = LinkConfig::default().with_delay(Duration::from_millis(40));
//! let there = Impaired::new(there, LinkConfig::default(), slow, 7)?;
//! let control = there.control();
//!
//! let (mut sender, _) = here.split();
//! let (_, mut receiver) = there.split();
//! let start = tokio::time::Instant::now();
//! sender.send(&Transmit::datagram(MemoryAddress(2), b"late")).await?;
//! receiver.recv(&mut Vec::new()).await?;
//!
//! assert_eq!(start.elapsed(), Duration::from_millis(40));
//! assert_eq!(control.stats().incoming.delivered, 1);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::time::Sleep;
use towline_netsim::{LinkConfig, LinkConfigError, LinkStats, Path};

use crate::datagrams::{Received, Transmit};
use crate::transport::{Address, DatagramReceiver, DatagramSender, Transport};

/// A transport behind an emulated network.
#[derive(Debug)]
pub struct Impaired<T: Transport> {
    transport: T,
    links: Shared<Links<T::Address>>,
}

/// Reads the statistics of an [`Impaired`] transport's links and changes their configuration, while it is in use.
pub struct LinkControl<A> {
    links: Shared<Links<A>>,
}

/// What became of the datagrams in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImpairedStats {
    /// Of those sent.
    pub outgoing: LinkStats,
    /// Of those received.
    pub incoming: LinkStats,
}

impl<T: Transport> Impaired<T> {
    /// Puts a transport behind links with the given configurations, whose randomness comes from `seed`.
    ///
    /// # Errors
    ///
    /// Fails if one of the configurations is not valid.
    pub fn new(
        transport: T,
        outgoing: LinkConfig,
        incoming: LinkConfig,
        seed: u64,
    ) -> Result<Self, LinkConfigError> {
        let path = Path::new(outgoing, incoming, seed)?;
        Ok(Self { transport, links: Shared::new(Links { path, waiting: None, wake_at: None }) })
    }

    /// Returns a handle on the links that stays valid once the transport has been split.
    pub fn control(&self) -> LinkControl<T::Address> {
        LinkControl { links: self.links.clone() }
    }
}

impl<T: Transport> Transport for Impaired<T> {
    type Address = T::Address;
    type Sender = ImpairedSender<T::Sender>;
    type Receiver = ImpairedReceiver<T::Receiver, T::Sender>;

    fn local_address(&self) -> io::Result<T::Address> {
        self.transport.local_address()
    }

    /// Takes the transport apart; the receiver must be polled in a tokio runtime with time enabled.
    fn split(self) -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = self.transport.split();
        let outlet = Shared::new(Outlet { sender, stuck: None, waiting: None });
        let sender = ImpairedSender { outlet: outlet.clone(), links: self.links.clone() };
        let receiver = ImpairedReceiver {
            receiver,
            outlet,
            links: self.links,
            arrivals: Vec::new(),
            timer: None,
        };
        (sender, receiver)
    }
}

impl<A: Address> LinkControl<A> {
    /// Returns what became of the datagrams so far.
    pub fn stats(&self) -> ImpairedStats {
        let links = self.links.lock();
        ImpairedStats {
            outgoing: links.path.forward.stats(),
            incoming: links.path.backward.stats(),
        }
    }

    /// Changes the outgoing link for the datagrams sent from now on.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if the configuration is not valid.
    pub fn set_outgoing(&self, config: LinkConfig) -> Result<(), LinkConfigError> {
        self.links.lock().path.forward.set_config(config)
    }

    /// Changes the incoming link for the datagrams received from now on.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if the configuration is not valid.
    pub fn set_incoming(&self, config: LinkConfig) -> Result<(), LinkConfigError> {
        self.links.lock().path.backward.set_config(config)
    }
}

impl<A> Clone for LinkControl<A> {
    fn clone(&self) -> Self {
        Self { links: self.links.clone() }
    }
}

impl<A> fmt::Debug for LinkControl<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkControl").finish_non_exhaustive()
    }
}

/// The half of an [`Impaired`] transport that sends.
#[derive(Debug)]
pub struct ImpairedSender<S: DatagramSender> {
    outlet: Shared<Outlet<S>>,
    links: Shared<Links<S::Address>>,
}

impl<S: DatagramSender> DatagramSender for ImpairedSender<S> {
    type Address = S::Address;

    /// Waits if a datagram that has passed the link waits for the transport behind it.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        transmit: &Transmit<'_, S::Address>,
    ) -> Poll<io::Result<()>> {
        let mut outlet = self.outlet.lock();
        let now = now();
        if outlet.poll_pump(cx, &self.links, now)?.is_pending() {
            outlet.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }

        let contents = Bytes::copy_from_slice(transmit.contents);
        let segment_size = transmit.datagram_size();
        let run = Received { source: transmit.destination, contents, segment_size };
        self.links.lock().offer_outgoing(now, run);

        let stuck = outlet.poll_pump(cx, &self.links, now)?.is_pending();
        self.links.lock().rouse_receiver(stuck);
        Poll::Ready(Ok(()))
    }

    fn max_datagram_size(&self) -> usize {
        self.outlet.lock().sender.max_datagram_size()
    }

    fn max_batch(&self, datagram_size: usize) -> usize {
        self.outlet.lock().sender.max_batch(datagram_size)
    }
}

/// The half of an [`Impaired`] transport that receives, and that sends what the outgoing link has delayed.
#[derive(Debug)]
pub struct ImpairedReceiver<R, S>
where
    R: DatagramReceiver,
    S: DatagramSender<Address = R::Address>,
{
    receiver: R,
    outlet: Shared<Outlet<S>>,
    links: Shared<Links<R::Address>>,
    /// What the transport has delivered and the link not yet taken; empty between calls.
    arrivals: Vec<Received<R::Address>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<R, S> DatagramReceiver for ImpairedReceiver<R, S>
where
    R: DatagramReceiver,
    S: DatagramSender<Address = R::Address>,
{
    type Address = R::Address;

    /// Also sends what is due; fails as well if that fails.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut Vec<Received<R::Address>>,
    ) -> Poll<io::Result<usize>> {
        // Before anything else: what the sender does from here on must find someone to wake.
        self.links.lock().expect_rousing(cx.waker());
        loop {
            let now = now();
            let mut outlet = self.outlet.lock();
            let stuck = outlet.poll_pump(cx, &self.links, now)?.is_pending();
            drop(outlet);

            let more = self.receiver.poll_recv(cx, &mut self.arrivals)?.is_ready();
            let mut links = self.links.lock();
            for run in self.arrivals.drain(..) {
                links.offer_incoming(now, run);
            }
            let delivered = links.deliver(now, received);
            if delivered > 0 {
                return Poll::Ready(Ok(delivered));
            }
            if more {
                continue;
            }

            // Behind a datagram that is stuck, those that have come through the link wait for the transport, not for
            // the time.
            let next =
                if stuck { links.path.backward.poll_timeout() } else { links.path.poll_timeout() };
            links.wake_at = next;
            drop(links);
            let Some(next) = next else { return Poll::Pending };
            ready!(self.poll_timer(cx, next));
        }
    }
}

impl<R, S> ImpairedReceiver<R, S>
where
    R: DatagramReceiver,
    S: DatagramSender<Address = R::Address>,
{
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let at = at.into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }
}

/// The links, and how to reach the receiver, who serves their delays.
#[derive(Debug)]
struct Links<A> {
    path: Path<(A, Bytes)>,
    /// Wakes the receiver.
    waiting: Option<Waker>,
    /// What the receiver has set its timer to.
    wake_at: Option<Instant>,
}

impl<A: Address> Links<A> {
    fn offer_outgoing(&mut self, now: Instant, run: Received<A>) {
        let peer = run.source;
        run.datagrams().for_each(|datagram| self.path.forward.send(now, (peer, datagram)));
    }

    fn offer_incoming(&mut self, now: Instant, run: Received<A>) {
        let peer = run.source;
        run.datagrams().for_each(|datagram| self.path.backward.send(now, (peer, datagram)));
    }

    /// Appends the datagrams that have come in by now.
    fn deliver(&mut self, now: Instant, received: &mut Vec<Received<A>>) -> usize {
        let before = received.len();
        let arrived = std::iter::from_fn(|| self.path.backward.recv(now));
        received.extend(arrived.map(|(source, datagram)| Received::datagram(source, datagram)));
        received.len() - before
    }

    fn expect_rousing(&mut self, waker: &Waker) {
        self.wake_at = None;
        match &mut self.waiting {
            Some(waiting) => waiting.clone_from(waker),
            waiting => *waiting = Some(waker.clone()),
        }
    }

    /// Wakes the receiver if a datagram is due before its timer, or waits for the transport.
    fn rouse_receiver(&mut self, stuck: bool) {
        let next = self.path.forward.poll_timeout();
        let is_earlier = next.is_some_and(|next| self.wake_at.is_none_or(|at| next < at));
        if (stuck || is_earlier)
            && let Some(waker) = self.waiting.take()
        {
            waker.wake();
        }
    }
}

/// The sender of the transport behind the outgoing link.
#[derive(Debug)]
struct Outlet<S: DatagramSender> {
    sender: S,
    /// A datagram that the sender has no room for.
    stuck: Option<(S::Address, Bytes)>,
    /// Wakes whoever waits for that to change, should the other half be the one to see it.
    waiting: Option<Waker>,
}

impl<S: DatagramSender> Outlet<S> {
    /// Sends what has come through the outgoing link; pending if the transport has no room for it.
    fn poll_pump(
        &mut self,
        cx: &mut Context<'_>,
        links: &Shared<Links<S::Address>>,
        now: Instant,
    ) -> Poll<io::Result<()>> {
        loop {
            let due = self.stuck.take().or_else(|| links.lock().path.forward.recv(now));
            let Some((destination, datagram)) = due else { break };
            let sent = self.sender.poll_send(cx, &Transmit::datagram(destination, &datagram))?;
            if sent.is_pending() {
                self.stuck = Some((destination, datagram));
                return Poll::Pending;
            }
        }
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

/// State of both halves. Where both are locked, the outlet comes before the links.
#[derive(Debug)]
struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // A panic elsewhere leaves the datagrams in no worse a state than a lossy network does.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The time that tokio's timers go by, which a test may have paused.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
