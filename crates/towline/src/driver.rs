//! The task that serves an endpoint: it owns the transport, the handshake and every session.
//!
//! One task per socket and none per session, so everything in here is reached by `&mut`. Applications
//! talk to it through queues: a bounded one per session and direction for frames, and one for commands,
//! which holds at most one wake-up per session besides what callers wait for.

mod clock;
mod handshake;
mod outbox;
mod slot;

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};
use towline_data::{ConfigBuilder, Stats};
use towline_start::{IncomingId, Initiator, Request, RequestId, Responder};
use towline_transport::{Address, DatagramReceiver, DatagramSender, Received};
use towline_wire::start::{ErrorReason, Message};
use towline_wire::{DATA_VERSION, Dialect, Mtu, START_VERSION, Tag, split_tag, version};

use self::clock::Clock;
use self::outbox::Outbox;
use self::slot::Slot;
use crate::builder::{BindError, Framing};
use crate::endpoint::{EndpointStats, Incoming};
use crate::error::{AcceptError, ConnectError};
use crate::{Session, SessionOptions};

/// Where a session is in the task's table.
type Place = usize;

/// Names a session in commands. Its place is given to another session when it has gone, its number never:
/// a command that comes late does nothing to whoever is there then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionKey {
    place: Place,
    number: u64,
}

/// Settings of an endpoint, checked.
pub(crate) struct Settings {
    pub(crate) dialect: Dialect,
    pub(crate) framing: Framing,
    pub(crate) data: ConfigBuilder,
    pub(crate) start: towline_start::Config,
}

/// What handles, listeners and sessions ask the task to do.
pub(crate) enum Command<A: Address> {
    Connect {
        peer: A,
        request: Request,
        reply: ConnectReply<A>,
    },
    /// Somebody no longer waits for the reply to a `Connect`.
    GaveUp,
    Attach {
        peer: A,
        options: SessionOptions,
        reply: ConnectReply<A>,
    },
    Listen {
        queue: mpsc::Sender<Incoming<A>>,
    },
    Accept {
        id: IncomingId,
        peer: A,
        options: SessionOptions,
        /// The session's own, if it is not the endpoint's.
        mtu: Option<Mtu>,
        reply: oneshot::Sender<Result<Session<A>, AcceptError>>,
    },
    Refuse {
        id: IncomingId,
        reason: ErrorReason,
    },
    /// The application wrote, read after frames were held back, or let go of a session.
    Wake {
        key: SessionKey,
    },
    Abort {
        key: SessionKey,
    },
    SessionStats {
        key: SessionKey,
        reply: oneshot::Sender<Stats>,
    },
    EndpointStats {
        reply: oneshot::Sender<EndpointStats>,
    },
    WaitIdle {
        reply: oneshot::Sender<()>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

type ConnectReply<A> = oneshot::Sender<Result<Session<A>, ConnectError>>;

/// Turns of the loop before other tasks get theirs.
const TURNS: usize = 32;
/// Commands taken in one turn.
const COMMANDS: usize = 256;

/// How long closing waits for the sessions' last words to leave.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// The tag under which a peer's only session is kept in bare framing; no session has it otherwise.
const BARE: Option<Tag> = None;

pub(crate) struct Driver<S: DatagramSender, R> {
    settings: Settings,
    receiver: R,
    outbox: Outbox<S>,
    clock: Clock,
    commands: mpsc::UnboundedReceiver<Command<S::Address>>,
    /// For sessions and incoming requests to come; weak, so that the task ends when nobody is left.
    handle: mpsc::WeakUnboundedSender<Command<S::Address>>,

    initiator: Initiator<S::Address>,
    responder: Responder<S::Address>,
    connecting: HashMap<RequestId, (SessionOptions, ConnectReply<S::Address>)>,
    listener: Option<mpsc::Sender<Incoming<S::Address>>>,

    sessions: Slab<Slot<S::Address>>,
    next_number: u64,
    /// The peer chooses its address and perhaps the tag, so the keyed default hash it is.
    by_address: HashMap<(S::Address, Option<Tag>), Place>,
    /// Sessions that have something to do, each once.
    ready: Vec<SessionKey>,
    /// Sessions that may have something to send when the transport has room again, each once, the one that has
    /// waited longest first.
    stalled: VecDeque<SessionKey>,
    received: Vec<Received<S::Address>>,
    idle_waiters: Vec<oneshot::Sender<()>>,
    /// Who closed the endpoint and waits for its end; and when that comes at the latest.
    closing: Vec<oneshot::Sender<()>>,
    close_by: Option<Instant>,
    /// Keep-alives that are due.
    keep_alives: Vec<(S::Address, Message)>,
    ignored_datagrams: u64,
    turns: u64,
}

impl<S, R> Driver<S, R>
where
    S: DatagramSender,
    R: DatagramReceiver<Address = S::Address>,
{
    pub(crate) fn new(
        settings: Settings,
        sender: S,
        receiver: R,
        handle: mpsc::WeakUnboundedSender<Command<S::Address>>,
        commands: mpsc::UnboundedReceiver<Command<S::Address>>,
    ) -> Result<Self, BindError> {
        Ok(Self {
            initiator: Initiator::new(&settings.start)?,
            responder: Responder::new(&settings.start)?,
            outbox: Outbox::new(sender),
            clock: Clock::new(),
            settings,
            receiver,
            commands,
            handle,
            connecting: HashMap::new(),
            listener: None,
            sessions: Slab::new(),
            next_number: 0,
            by_address: HashMap::new(),
            ready: Vec::new(),
            stalled: VecDeque::new(),
            received: Vec::new(),
            idle_waiters: Vec::new(),
            closing: Vec::new(),
            close_by: None,
            keep_alives: Vec::new(),
            ignored_datagrams: 0,
            turns: 0,
        })
    }

    /// Serves the endpoint until nobody needs it any more.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            let now = self.clock.now();
            match self.turn(cx, now) {
                // Asked whether or not there was progress: a flood must not keep the task alive.
                Ok(_) if self.is_done(now) => return Poll::Ready(()),
                Ok(true) => {}
                Ok(false) => {
                    let next = self.next_deadline();
                    if self.clock.poll_until(cx, next).is_pending() {
                        return Poll::Pending;
                    }
                }
                Err(error) => {
                    self.fail(&error);
                    return Poll::Ready(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn: everything that is there now. Returns whether anything was.
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        self.turns += 1;
        let mut progress = self.take_commands(cx, now);
        progress |= self.receive(cx, now)?;
        progress |= self.run_timers(now);
        progress |= self.outbox.flush(cx)?;
        // The handshake sends little. Behind sessions that fill the transport it would never get to it.
        progress |= self.serve_handshake(cx, now)?;
        progress |= self.serve_sessions(cx, now)?;
        self.outbox.flush(cx)?;
        Ok(progress)
    }

    fn take_commands(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for taken in 0..COMMANDS {
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(command)) => self.execute(now, command),
                Poll::Ready(None) | Poll::Pending => return taken > 0,
            }
        }
        true
    }

    fn execute(&mut self, now: Instant, command: Command<S::Address>) {
        match command {
            // Whoever asks a closed endpoint learns it from the reply that is dropped.
            Command::Connect { .. }
            | Command::Attach { .. }
            | Command::Listen { .. }
            | Command::Accept { .. }
                if self.close_by.is_some() => {}
            Command::Connect { peer, request, reply } => self.connect(now, peer, request, reply),
            Command::GaveUp => self.cancel_unwanted(),
            Command::Attach { peer, options, reply } => {
                // The caller may have given up meanwhile.
                let _ = reply.send(self.attach(now, peer, options));
            }
            Command::Listen { queue } => self.listener = Some(queue),
            Command::Accept { id, peer, options, mtu, reply } => {
                let _ = reply.send(self.accept(now, id, peer, options, mtu));
            }
            Command::Refuse { id, reason } => {
                // The decision timeout may have come first.
                let _ = self.responder.refuse(now, id, reason);
            }
            Command::Wake { key } => {
                if let Some(slot) = self.session(key) {
                    slot.shared.take_wake();
                    self.mark_ready(key.place);
                }
            }
            Command::Abort { key } => {
                if let Some(slot) = self.session(key) {
                    slot.connection.abort(now);
                    self.mark_ready(key.place);
                }
            }
            Command::SessionStats { key, reply } => {
                if let Some(slot) = self.session(key) {
                    let _ = reply.send(slot.connection.stats());
                }
            }
            Command::EndpointStats { reply } => {
                let _ = reply.send(EndpointStats {
                    sessions: self.sessions.len(),
                    ignored_datagrams: self.ignored_datagrams,
                    turns: self.turns,
                    initiator: self.initiator.stats(),
                    responder: self.responder.stats(),
                });
            }
            Command::WaitIdle { reply } => {
                self.idle_waiters.retain(|waiter| !waiter.is_closed());
                self.idle_waiters.push(reply);
            }
            Command::Close { reply } => {
                self.closing.push(reply);
                self.close(now);
            }
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        let mut runs = std::mem::take(&mut self.received);
        // Whatever came: the waker is registered only if it is pending.
        let progress = match self.receiver.poll_recv(cx, &mut runs) {
            Poll::Ready(result) => result.map(|_| true)?,
            Poll::Pending => false,
        };
        for run in runs.drain(..) {
            self.handle_run(now, run);
        }
        self.received = runs;
        Ok(progress)
    }

    fn handle_run(&mut self, now: Instant, run: Received<S::Address>) {
        let peer = run.source;
        // A run is mostly one session's: look it up once.
        let mut latest: Option<(Option<Tag>, Place)> = None;
        for datagram in run.datagrams() {
            let Some((tag, message)) = self.unframe(datagram) else {
                self.ignore(peer, &"not framed as a message");
                continue;
            };
            if tag == Some(Tag::START) {
                self.handle_start(now, peer, message);
                continue;
            }
            let place = match latest {
                Some((latest, place)) if latest == tag => place,
                //= docs/spec/framing.md#demultiplexing
                //# A receiver MUST find the session of a message by the address of its sender and
                //# its tag together.
                //= docs/spec/framing.md#demultiplexing
                //# A message from one peer MUST NOT change a session with another.
                _ => match self.by_address.get(&(peer, tag)) {
                    Some(&place) => place,
                    None => {
                        //= docs/spec/framing.md#tag-ranges
                        //# A receiver MUST ignore a datagram under a tag other than 1 that none of
                        //# its sessions with that peer has.
                        self.ignore(peer, &"no session's");
                        continue;
                    }
                },
            };
            latest = Some((tag, place));
            self.handle_data(now, place, message);
        }
    }

    /// Splits a datagram into whom it is for and the message: [`Tag::START`] is the handshake.
    fn unframe(&self, datagram: Bytes) -> Option<(Option<Tag>, Bytes)> {
        match self.settings.framing {
            Framing::Tagged => split_tag(datagram).ok().map(|(tag, message)| (Some(tag), message)),
            Framing::Bare => match version(&datagram)? {
                //= docs/spec/framing.md#bare
                //# In bare framing a receiver MUST tell Start messages from Data messages by their
                //# first byte, which is the version.
                START_VERSION => Some((Some(Tag::START), datagram)),
                DATA_VERSION => Some((BARE, datagram)),
                //= docs/spec/framing.md#bare
                //# In bare framing a receiver MUST ignore a datagram whose first byte is the
                //# version of neither protocol.
                _ => None,
            },
        }
    }

    /// Counts a datagram that leads to nothing. A flood shows in the log with each doubling of the count.
    fn ignore(&mut self, peer: S::Address, why: &dyn Display) {
        self.ignored_datagrams += 1;
        if self.ignored_datagrams.is_power_of_two() {
            tracing::debug!(%peer, %why, ignored = self.ignored_datagrams, "datagram ignored");
        }
    }

    fn handle_data(&mut self, now: Instant, place: Place, message: Bytes) {
        let slot = &mut self.sessions[place];
        match slot.connection.handle_datagram(now, message) {
            Ok(()) => {
                if let Some(liveness) = &mut slot.liveness {
                    liveness.heard(now);
                } else if let Some(tag) = slot.granted {
                    //= docs/spec/start.md#half-open
                    //# A responder MUST take any valid message of the session from its peer, of
                    //# either protocol, for life.
                    // The first life from the entry opens the session fully. Data is as good as a
                    // keep-alive, and an error would be another session's.
                    let _ = self.responder.confirm(slot.peer, tag);
                }
            }
            Err(ignored) => {
                let peer = slot.peer;
                self.ignore(peer, &ignored);
            }
        }
        self.mark_ready(place);
    }

    fn run_timers(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(place) = self.clock.pop_due(now) {
            progress = true;
            let slot = &mut self.sessions[place];
            slot.armed = None;
            slot.connection.handle_timeout(now);
            self.check_liveness(now, place);
            self.mark_ready(place);
        }
        for due in [self.initiator.poll_timeout(), self.responder.poll_timeout()] {
            if due.is_some_and(|at| at <= now) {
                self.initiator.handle_timeout(now);
                self.responder.handle_timeout(now);
                progress = true;
            }
        }
        progress
    }

    fn serve_sessions(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        let mut progress = false;
        for _ in 0..self.stalled.len() {
            if self.outbox.is_blocked() {
                break;
            }
            let Some(key) = self.stalled.pop_front() else { break };
            if let Some(slot) = self.session(key) {
                slot.stalled = false;
                progress |= self.serve_session(cx, now, key)?;
            }
        }
        // Whether or not there is room to send: what has arrived is to be delivered.
        let mut ready = std::mem::take(&mut self.ready);
        for key in ready.drain(..) {
            if let Some(slot) = self.session(key) {
                slot.ready = false;
                progress |= self.serve_session(cx, now, key)?;
            }
        }
        // What became ready meanwhile is for the next turn.
        ready.append(&mut self.ready);
        self.ready = ready;
        Ok(progress || !self.ready.is_empty())
    }

    fn serve_session(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        key: SessionKey,
    ) -> io::Result<bool> {
        let slot = &mut self.sessions[key.place];
        let served = slot.serve(now, cx, &mut self.outbox)?;
        if slot.is_over() {
            self.remove(key.place);
            return Ok(served.progress);
        }
        if let Some(at) = slot.next_deadline() {
            self.clock.arm(&mut slot.armed, at, key.place);
        }
        if self.outbox.is_blocked() && !std::mem::replace(&mut slot.stalled, true) {
            self.stalled.push_back(key);
        }
        if served.more {
            self.mark_ready(key.place);
        }
        Ok(served.progress)
    }

    fn remove(&mut self, place: Place) {
        let slot = self.sessions.remove(place);
        self.clock.disarm(slot.armed, place);
        self.by_address.remove(&(slot.peer, slot.tag));
        if let Some(tag) = slot.granted {
            self.responder.release(tag);
        }
        if let Some(request) = slot.requested {
            self.initiator.cancel(request);
        }
    }

    fn session(&mut self, key: SessionKey) -> Option<&mut Slot<S::Address>> {
        self.sessions.get_mut(key.place).filter(|slot| slot.number == key.number)
    }

    fn mark_ready(&mut self, place: Place) {
        let slot = &mut self.sessions[place];
        if !std::mem::replace(&mut slot.ready, true) {
            self.ready.push(SessionKey { place, number: slot.number });
        }
    }

    /// Ends every session and begins none any more.
    fn close(&mut self, now: Instant) {
        self.close_by.get_or_insert(now + CLOSE_PATIENCE);
        self.listener = None;
        self.connecting.clear();
        for (place, slot) in &mut self.sessions {
            slot.close(now);
            if !std::mem::replace(&mut slot.ready, true) {
                self.ready.push(SessionKey { place, number: slot.number });
            }
        }
    }

    /// Ends every session because the transport failed.
    fn fail(&mut self, error: &io::Error) {
        tracing::error!(%error, "the transport failed");
        self.sessions.clear();
    }

    /// Whether nobody needs this task any more.
    fn is_done(&mut self, now: Instant) -> bool {
        if self.close_by.is_some_and(|at| at <= now) {
            return true;
        }
        if !self.sessions.is_empty() {
            return false;
        }
        for waiter in self.idle_waiters.drain(..) {
            // Whoever waited may have given up.
            let _ = waiter.send(());
        }
        let unneeded =
            self.close_by.is_some() || self.commands.is_closed() && self.commands.is_empty();
        unneeded && !self.outbox.is_blocked()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let machines = [self.initiator.poll_timeout(), self.responder.poll_timeout()];
        machines.into_iter().chain([self.clock.next(), self.close_by]).flatten().min()
    }
}
