//! The handle of an endpoint, and sessions that others ask for.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use towline_data::{Delivery, Mode};
use towline_start::{IncomingId, InitiatorStats, Request, ResponderStats};
use towline_transport::{Address, DatagramSender, Transport};
use towline_wire::Mtu;
use towline_wire::start::{Capabilities, Cbor, ErrorReason};

use crate::builder::{BindError, EndpointBuilder};
use crate::driver::{Command, Driver, Settings};
use crate::error::{AcceptError, AlreadyListening, ConnectError, EndpointClosed};
use crate::{Session, Target};

/// One end of a transport, with all its sessions. Cheap to clone; `A` is the transport's address type.
///
/// The sessions are served by a task of their own, which lives as long as any handle, listener or
/// session.
#[derive(Clone)]
pub struct Endpoint<A: Address = SocketAddr> {
    commands: mpsc::UnboundedSender<Command<A>>,
    local_address: A,
    dialect: towline_wire::Dialect,
    listening: Arc<AtomicBool>,
}

/// What kind of session to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct SessionOptions {
    /// Whether lost segments are recovered.
    pub mode: Mode,
    /// In which order frames are delivered.
    pub delivery: Delivery,
    /// Options that depend on the capabilities (RFC-0007, 4.2.3); 0 to ignore.
    pub additional_data: u32,
}

impl SessionOptions {
    /// A session that delivers everything, in order.
    pub fn reliable() -> Self {
        Self::default()
    }

    /// A session that recovers nothing.
    pub fn unreliable() -> Self {
        Self { mode: Mode::Unreliable, ..Self::default() }
    }

    /// The same, with frames delivered as they become complete.
    pub fn unordered(self) -> Self {
        Self { delivery: Delivery::Unordered, ..self }
    }

    pub(crate) fn capabilities(self) -> Capabilities {
        let mode = match self.mode {
            Mode::Reliable => Capabilities::RELIABLE,
            Mode::Unreliable => Capabilities::UNRELIABLE,
        };
        match self.delivery {
            Delivery::Ordered => mode,
            Delivery::Unordered => mode | Capabilities::UNORDERED,
        }
    }

    /// What a request asks for. Without any capability the RFC still speaks its data protocol, and that
    /// is an unreliable session.
    pub(crate) fn requested(request: &Request) -> Self {
        let capabilities = request.capabilities;
        Self {
            //= docs/spec/start.md#capabilities
            //# Both ends MUST run a session in reliable mode if 0x02 or 0x04 is among its
            //# capabilities, and in unreliable mode otherwise.
            mode: if capabilities.is_reliable() { Mode::Reliable } else { Mode::Unreliable },
            //= docs/spec/start.md#capabilities
            //# An end MAY deliver frames out of order if 0x20 is among the capabilities of the
            //# session.
            delivery: if capabilities.contains(Capabilities::UNORDERED) {
                Delivery::Unordered
            } else {
                Delivery::Ordered
            },
            additional_data: request.additional_data,
        }
    }
}

/// What an endpoint has counted.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Sessions that are there now.
    pub sessions: usize,
    /// Datagrams that belong to no session or do not decode.
    pub ignored_datagrams: u64,
    /// Rounds that the endpoint's task has made: none while nothing happens.
    pub turns: u64,
    /// Requests made.
    pub initiator: InitiatorStats,
    /// Requests received.
    pub responder: ResponderStats,
}

impl Endpoint {
    /// An endpoint on a UDP socket, all settings at their defaults. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        Self::builder().bind(address)
    }

    /// Settings for an endpoint.
    pub fn builder() -> EndpointBuilder {
        EndpointBuilder::default()
    }
}

impl<A: Address> Endpoint<A> {
    pub(crate) fn start<T: Transport<Address = A>>(
        settings: Settings,
        datagram_size: usize,
        transport: T,
    ) -> Result<Self, BindError> {
        let local_address = transport.local_address().map_err(BindError::Transport)?;
        let (sender, receiver) = transport.split();
        let limit = sender.max_datagram_size();
        if datagram_size > limit {
            return Err(BindError::MtuTooLarge { needed: datagram_size, limit });
        }
        let dialect = settings.dialect;
        let (commands, queue) = mpsc::unbounded_channel();
        let driver = Driver::new(settings, sender, receiver, commands.downgrade(), queue)?;
        tokio::spawn(driver.run());
        Ok(Self { commands, local_address, dialect, listening: Arc::default() })
    }

    /// The address under which others reach this endpoint.
    #[must_use]
    pub fn local_address(&self) -> A {
        self.local_address
    }

    /// Asks `peer` for a reliable session to `target`.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, peer: A, target: &Target) -> Result<Session<A>, ConnectError> {
        self.connect_with(peer, target, SessionOptions::reliable()).await
    }

    /// Asks `peer` for a session to `target`.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_with(
        &self,
        peer: A,
        target: &Target,
        options: SessionOptions,
    ) -> Result<Session<A>, ConnectError> {
        let request = Request {
            capabilities: options.capabilities(),
            additional_data: options.additional_data,
            target: target.to_cbor(self.dialect),
        };
        let (reply, answer) = oneshot::channel();
        self.command(Command::Connect { peer, request, reply })?;
        let mut waiting = Connecting { answer, answered: false, commands: &self.commands };
        let result = (&mut waiting.answer).await;
        waiting.answered = true;
        result.map_err(|_| EndpointClosed)?
    }

    /// A session with `peer` without any handshake, in bare framing: both sides attach to each other.
    ///
    /// # Errors
    /// [`ConnectError::AddressInUse`], [`ConnectError::NotBare`], [`ConnectError::Closed`].
    pub async fn attach(
        &self,
        peer: A,
        options: SessionOptions,
    ) -> Result<Session<A>, ConnectError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Attach { peer, options, reply })?;
        answer.await.map_err(|_| EndpointClosed)?
    }

    /// Grants sessions from now on. Without a listener, every request is refused.
    ///
    /// # Errors
    /// [`AlreadyListening`] while an earlier listener is there.
    pub fn listen(&self) -> Result<Listener<A>, AlreadyListening> {
        if self.listening.swap(true, Ordering::AcqRel) {
            return Err(AlreadyListening);
        }
        let (queue, incoming) = mpsc::channel(LISTEN_BACKLOG);
        // A closed endpoint drops the queue, and the listener ends at once.
        let _ = self.command(Command::Listen { queue });
        let listening = self.listening.clone();
        Ok(Listener { incoming, listening, _endpoint: self.commands.clone() })
    }

    /// Counters of the endpoint.
    ///
    /// # Errors
    /// [`EndpointClosed`].
    pub async fn stats(&self) -> Result<EndpointStats, EndpointClosed> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::EndpointStats { reply })?;
        answer.await.map_err(|_| EndpointClosed)
    }

    /// Waits until no session is left, the last of them having answered its peer's duplicates.
    pub async fn wait_idle(&self) {
        let (reply, answer) = oneshot::channel();
        if self.command(Command::WaitIdle { reply }).is_ok() {
            let _ = answer.await;
        }
    }

    /// Aborts every session and ends the endpoint's task, after a last word to the peers.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.command(Command::Close { reply }).is_ok() {
            let _ = answer.await;
        }
    }

    fn command(&self, command: Command<A>) -> Result<(), EndpointClosed> {
        self.commands.send(command).map_err(|_| EndpointClosed)
    }
}

/// A connect call that waits for its answer; dropping it gives the request up.
struct Connecting<'a, A: Address> {
    answer: oneshot::Receiver<Result<Session<A>, ConnectError>>,
    answered: bool,
    commands: &'a mpsc::UnboundedSender<Command<A>>,
}

impl<A: Address> Drop for Connecting<'_, A> {
    fn drop(&mut self) {
        if !self.answered {
            self.answer.close();
            // A closed endpoint asks nobody any more.
            let _ = self.commands.send(Command::GaveUp);
        }
    }
}

/// Incoming sessions that may wait for the application; more are refused as busy.
const LISTEN_BACKLOG: usize = 256;

impl<A: Address> fmt::Debug for Endpoint<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local_address", &self.local_address)
            .finish_non_exhaustive()
    }
}

/// Sessions that others ask for, one by one; also a [`Stream`] of them.
#[derive(Debug)]
pub struct Listener<A: Address = SocketAddr> {
    incoming: mpsc::Receiver<Incoming<A>>,
    listening: Arc<AtomicBool>,
    /// Keeps the endpoint's task alive.
    _endpoint: mpsc::UnboundedSender<Command<A>>,
}

impl<A: Address> Listener<A> {
    /// The next session that somebody asks for; `None` once the endpoint is closed.
    pub async fn next_incoming(&mut self) -> Option<Incoming<A>> {
        self.incoming.recv().await
    }
}

impl<A: Address> Drop for Listener<A> {
    fn drop(&mut self) {
        self.listening.store(false, Ordering::Release);
    }
}

impl<A: Address> Stream for Listener<A> {
    type Item = Incoming<A>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming<A>>> {
        self.incoming.poll_recv(cx)
    }
}

/// A session that a peer asks for. Dropping it refuses it.
#[must_use = "a session that is dropped is refused"]
pub struct Incoming<A: Address = SocketAddr> {
    id: IncomingId,
    peer: A,
    request: Request,
    commands: mpsc::UnboundedSender<Command<A>>,
    decided: bool,
}

impl<A: Address> Incoming<A> {
    pub(crate) fn new(
        incoming: towline_start::Incoming<A>,
        commands: mpsc::UnboundedSender<Command<A>>,
    ) -> Self {
        let towline_start::Incoming { id, peer, request } = incoming;
        Self { id, peer, request, commands, decided: false }
    }

    /// Who asks.
    #[must_use]
    pub fn peer(&self) -> A {
        self.peer
    }

    /// Where the session shall lead.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::from_cbor(&self.request.target, self.options().mode)
    }

    /// The target as it came.
    #[must_use]
    pub fn target_item(&self) -> &Cbor {
        &self.request.target
    }

    /// What kind of session is asked for.
    pub fn options(&self) -> SessionOptions {
        SessionOptions::requested(&self.request)
    }

    /// Grants the session.
    ///
    /// # Errors
    /// [`AcceptError::TooLate`] when the decision timeout has passed.
    pub async fn accept(self) -> Result<Session<A>, AcceptError> {
        self.accept_as(None).await
    }

    /// Grants the session with an MTU of its own, which the application knows to be the peer's: the
    /// handshake does not tell.
    ///
    /// # Errors
    /// [`AcceptError::TooLate`] when the decision timeout has passed; [`AcceptError::Mtu`] when the
    /// transport or the endpoint's settings do not allow this MTU, and the session is refused.
    pub async fn accept_with_mtu(self, mtu: Mtu) -> Result<Session<A>, AcceptError> {
        self.accept_as(Some(mtu)).await
    }

    async fn accept_as(mut self, mtu: Option<Mtu>) -> Result<Session<A>, AcceptError> {
        let (reply, answer) = oneshot::channel();
        let options = self.options();
        self.decided = true;
        self.commands
            .send(Command::Accept { id: self.id, peer: self.peer, options, mtu, reply })
            .map_err(|_| EndpointClosed)?;
        answer.await.map_err(|_| EndpointClosed)?
    }

    /// Refuses the session.
    pub fn refuse(mut self, reason: ErrorReason) {
        self.refuse_now(reason);
    }

    fn refuse_now(&mut self, reason: ErrorReason) {
        if !std::mem::replace(&mut self.decided, true) {
            // A closed endpoint has no one to tell.
            let _ = self.commands.send(Command::Refuse { id: self.id, reason });
        }
    }
}

impl<A: Address> Drop for Incoming<A> {
    fn drop(&mut self) {
        //= docs/spec/start.md#decision
        //# A responder MUST refuse a request that its application drops, with the reason "unknown
        //# error".
        self.refuse_now(ErrorReason::UNKNOWN);
    }
}

impl<A: Address> fmt::Debug for Incoming<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("peer", &self.peer)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
