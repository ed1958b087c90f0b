//! The task that serves an endpoint: it owns the transport, the handshake and every session.
//!
//! One task per socket and none per session, so everything in here is reached by `&mut`. Applications
//! talk to it through queues: a bounded one per session and direction for frames, and one for commands,
//! which holds at most one wake-up per session besides what callers wait for.

mod clock;
mod handshake;
mod outbox;
mod slot;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};
use towline_data::{ConfigBuilder, Stats};
use towline_start::{IncomingId, Initiator, Request, RequestId, Responder};
use towline_transport::{Address, DatagramReceiver, DatagramSender, Received};
use towline_wire::start::{ErrorReason, Message};
use towline_wire::{DATA_VERSION, Dialect, START_VERSION, Tag, split_tag, version};

use self::clock::Clock;
use self::outbox::Outbox;
use self::slot::Slot;
use crate::builder::{BindError, Framing};
use crate::endpoint::{EndpointStats, Incoming};
use crate::error::{AcceptError, ConnectError, SessionError};
use crate::{Session, SessionOptions};

/// Where a session is in the driver's table.
pub(crate) type SessionKey = usize;

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
    /// The peer chooses its address and perhaps the tag, so the keyed default hash it is.
    by_address: HashMap<(S::Address, Option<Tag>), SessionKey>,
    /// Sessions that have something to do.
    ready: Vec<SessionKey>,
    received: Vec<Received<S::Address>>,
    idle_waiters: Vec<oneshot::Sender<()>>,
    closing: Option<oneshot::Sender<()>>,
    /// Keep-alives that are due.
    keep_alives: Vec<(S::Address, Message)>,
    ignored_datagrams: u64,
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
            by_address: HashMap::new(),
            ready: Vec::new(),
            received: Vec::new(),
            idle_waiters: Vec::new(),
            closing: None,
            keep_alives: Vec::new(),
            ignored_datagrams: 0,
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
                Ok(true) => {}
                Ok(false) if self.is_done() => return Poll::Ready(()),
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
        let mut progress = self.take_commands(cx, now);
        progress |= self.receive(cx, now)?;
        progress |= self.run_timers(now);
        progress |= self.serve_sessions(cx, now)?;
        progress |= self.serve_handshake(cx, now)?;
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
            Command::Connect { peer, request, reply } => self.connect(now, peer, request, reply),
            Command::Attach { peer, options, reply } => {
                // The caller may have given up meanwhile.
                let _ = reply.send(self.attach(now, peer, options));
            }
            Command::Listen { queue } => self.listener = Some(queue),
            Command::Accept { id, peer, options, reply } => {
                let _ = reply.send(self.accept(now, id, peer, options));
            }
            Command::Refuse { id, reason } => {
                // The decision timeout may have come first.
                let _ = self.responder.refuse(now, id, reason);
            }
            Command::Wake { key } => {
                if let Some(slot) = self.sessions.get_mut(key) {
                    slot.shared.take_wake();
                    self.mark_ready(key);
                }
            }
            Command::Abort { key } => {
                if let Some(slot) = self.sessions.get_mut(key) {
                    slot.connection.abort(now);
                    self.mark_ready(key);
                }
            }
            Command::SessionStats { key, reply } => {
                if let Some(slot) = self.sessions.get(key) {
                    let _ = reply.send(slot.connection.stats());
                }
            }
            Command::EndpointStats { reply } => {
                let _ = reply.send(EndpointStats {
                    sessions: self.sessions.len(),
                    ignored_datagrams: self.ignored_datagrams,
                    initiator: self.initiator.stats(),
                    responder: self.responder.stats(),
                });
            }
            Command::WaitIdle { reply } => self.idle_waiters.push(reply),
            Command::Close { reply } => {
                self.listener = None;
                self.connecting.clear();
                self.closing = Some(reply);
                for (_, slot) in &mut self.sessions {
                    slot.connection.abort(now);
                }
                self.mark_all_ready();
            }
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<bool> {
        let mut runs = std::mem::take(&mut self.received);
        let progress = match self.receiver.poll_recv(cx, &mut runs) {
            Poll::Ready(result) => result? > 0,
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
        let mut latest: Option<(Option<Tag>, SessionKey)> = None;
        for datagram in run.datagrams() {
            let Some((tag, message)) = self.unframe(datagram) else {
                self.ignored_datagrams += 1;
                continue;
            };
            if tag == Some(Tag::START) {
                self.handle_start(now, peer, message);
                continue;
            }
            let key = match latest {
                Some((latest, key)) if latest == tag => key,
                _ => match self.by_address.get(&(peer, tag)) {
                    Some(&key) => key,
                    None => {
                        self.ignored_datagrams += 1;
                        continue;
                    }
                },
            };
            latest = Some((tag, key));
            self.handle_data(now, key, message);
        }
    }

    /// Splits a datagram into whom it is for and the message: [`Tag::START`] is the handshake.
    fn unframe(&self, datagram: Bytes) -> Option<(Option<Tag>, Bytes)> {
        match self.settings.framing {
            Framing::Tagged => split_tag(datagram).ok().map(|(tag, message)| (Some(tag), message)),
            Framing::Bare => match version(&datagram)? {
                START_VERSION => Some((Some(Tag::START), datagram)),
                DATA_VERSION => Some((BARE, datagram)),
                _ => None,
            },
        }
    }

    fn handle_data(&mut self, now: Instant, key: SessionKey, message: Bytes) {
        let Some(slot) = self.sessions.get_mut(key) else { return };
        match slot.connection.handle_datagram(now, message) {
            Ok(()) => {
                if let Some(liveness) = &mut slot.liveness {
                    liveness.heard(now);
                } else if let Some(tag) = slot.granted {
                    // The first life from the entry opens the session fully. Data is as good as a
                    // keep-alive, and an error would be another session's.
                    let _ = self.responder.confirm(slot.peer, tag);
                }
            }
            Err(ignored) => tracing::debug!(peer = %slot.peer, %ignored, "datagram ignored"),
        }
        self.mark_ready(key);
    }

    fn run_timers(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(key) = self.clock.pop_due(now) {
            let Some(slot) = self.sessions.get_mut(key) else { continue };
            if slot.armed.is_none_or(|at| at > now) {
                continue;
            }
            slot.armed = None;
            progress = true;
            slot.connection.handle_timeout(now);
            self.check_liveness(now, key);
            self.mark_ready(key);
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
        let mut progress = self.outbox.flush(cx)?;
        let mut ready = std::mem::take(&mut self.ready);
        for key in ready.drain(..) {
            let Some(slot) = self.sessions.get_mut(key) else { continue };
            slot.ready = false;
            let served = slot.serve(now, cx, &mut self.outbox)?;
            progress |= served.progress;
            let gone = slot.is_over();
            let next = slot.next_deadline();
            if let Some(at) = next
                && slot.armed.is_none_or(|armed| at < armed)
            {
                slot.armed = Some(at);
                self.clock.arm(at, key);
            }
            if gone {
                self.remove(key);
            } else if served.more {
                self.mark_ready(key);
            }
        }
        // What became ready meanwhile is the next turn's; keep the larger allocation.
        if self.ready.is_empty() {
            self.ready = ready;
        }
        Ok(progress)
    }

    fn remove(&mut self, key: SessionKey) {
        let slot = self.sessions.remove(key);
        self.by_address.remove(&(slot.peer, slot.tag));
        if let Some(tag) = slot.granted {
            self.responder.release(tag);
        }
        if let Some(request) = slot.requested {
            self.initiator.cancel(request);
        }
    }

    fn mark_ready(&mut self, key: SessionKey) {
        let slot = &mut self.sessions[key];
        if !std::mem::replace(&mut slot.ready, true) {
            self.ready.push(key);
        }
    }

    fn mark_all_ready(&mut self) {
        let keys: Vec<_> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.mark_ready(key);
        }
    }

    /// Ends every session because the transport failed.
    fn fail(&mut self, error: &io::Error) {
        tracing::error!(%error, "the transport failed");
        for (_, slot) in &self.sessions {
            slot.shared.set_error(SessionError::EndpointClosed);
        }
        self.sessions.clear();
    }

    /// Whether nobody needs this task any more.
    fn is_done(&mut self) -> bool {
        if self.sessions.is_empty() {
            for waiter in self.idle_waiters.drain(..) {
                let _ = waiter.send(());
            }
            if self.outbox.is_blocked() {
                return false;
            }
            return self.closing.is_some()
                || (self.commands.is_closed() && self.commands.is_empty());
        }
        false
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.clock.next(), self.initiator.poll_timeout(), self.responder.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }
}
