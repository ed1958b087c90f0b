//! What one client may do, is told and gets delivered.
//!
//! A [`Connection`] is a pure state machine: there is no socket, store, task or clock in it. A driver hands
//! in what the client sends, what the store answers, and the time; it sends what comes out, and has the
//! store do what is asked.
//!
//! # The law
//!
//! Feed one input (a message, a pong, an outcome, a pushed message, a timeout), then poll [transmits],
//! [operations], [acknowledgements] and the [timeout] until dry, in this order, then wait. Extra polls and
//! early timeouts are harmless. Read from the client only while [`Connection::wants_messages`], and take news
//! of its queue while [`Connection::wants_news`]. What clients send never panics, and every request gets one
//! answer, in the order of the requests, unless the connection ends before.
//!
//! Every operation must get its outcome, be it [`Outcome::Failed`]. How long a message may take to be sent is
//! for the driver to bound, also when the connection closes.
//!
//! [transmits]: Connection::poll_transmit
//! [operations]: Connection::poll_operation
//! [acknowledgements]: Connection::poll_acknowledged
//! [timeout]: Connection::poll_timeout
//!
//! # What a client may do
//!
//! | a client | anonymous | authenticated |
//! |---|---|---|
//! | answers the challenge | is authenticated from then on, or gets an error and is cut off | `attempted_anonymous_op_on_authenticated_connection` |
//! | registers or unregisters | `unauthorized` | gets it done |
//! | looks for somebody, or sends | gets it done | `attempted_anonymous_op_on_authenticated_connection` |
//! | acknowledges | is passed over | has the message taken out of its queue |
//! | sends a message without a request in it, or what is no message | is passed over | is passed over |
//!
//! A request that is refused changes nothing. Whatever of the store fails is `unknown_error`, and does not
//! end the connection; a login that fails for this may be tried again.
//!
//! # Order
//!
//! Answers leave in the order of their requests. What an anonymous client asks is at the store together, but
//! for a login: it begins once all before it are answered, and all after it wait, to be judged by what has
//! come of it. Its answer is the next message that the client gets; only then do messages and
//! `PreKeysLow` follow. An authenticated client's requests are done one by one.
//!
//! # Choices
//!
//! Both dialects are served alike where the wire does not say otherwise: pings, limits and `forceclose` are
//! in either. In `seed` the prekeys of no device are an `Ack`. A device may not register prekeys that would
//! not fit in an answer; where those of several devices do not fit in one together, the answer is an
//! error. A request for uploads is refused where there are no attachments, and for fewer than one; of too many it gets
//! [`MAX_UPLOADS`].
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use towline_relay::auth::Challenge;
//! use towline_relay::connection::{Config, Connection, Operation, Outcome, Transmit};
//! use towline_relay::dialect::Dialect;
//! use towline_wire::relay::UserId;
//! use towline_wire::relay::seed::{Address, Message, OutboundMessage, Payload};
//!
//! let config = Arc::new(Config::builder().domain("example.org").build()?);
//! let now = Instant::now();
//! let mut connection = Connection::new(now, config, Dialect::Seed, &Challenge::random()?);
//! let Some(Transmit::Message(_challenge)) = connection.poll_transmit() else { unreachable!() };
//!
//! let to = Address { user_id: UserId::new(&[7; 32]).into(), device_id: 1 };
//! let outbound =
//!     OutboundMessage { to: Some(to), unidentified_sender_message: "sealed".into() };
//! let request = Message { sequence: 5, payload: Some(Payload::OutboundMessage(outbound)) };
//! let mut message = Vec::new();
//! request.encode(&mut message)?;
//! connection.handle_message(now, message.into());
//!
//! let Some((id, Operation::Enqueue { .. })) = connection.poll_operation() else { unreachable!() };
//! assert!(connection.poll_transmit().is_none());
//! connection.handle_outcome(now, id, Outcome::Done);
//!
//! let Some(Transmit::Message(answer)) = connection.poll_transmit() else { unreachable!() };
//! assert_eq!(Message::decode(answer)?.sequence, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod delivery;
mod keepalive;
mod operation;
mod outbox;
mod prekey_check;
mod reply;
mod requests;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use towline_wire::relay::{DecodeError, MAX_MESSAGE_LEN};

use crate::Address;
use crate::auth::Challenge;
use crate::dialect::{Answer, Dialect, Received, Said};
use crate::store::Queued;
use delivery::{Delivered, Delivery};
use keepalive::{Due, Keepalive};
use outbox::Outbox;
use prekey_check::PreKeyCheck;
use reply::{Refused, Reply};
use requests::{Request, Requests};
use verdict::Verdict;

pub use config::{Config, ConfigBuilder};
pub use operation::{Acknowledged, MAX_UPLOADS, Operation, OperationId, Outcome};

/// A client's message that asks the relay to close the connection.
const FORCE_CLOSE: &[u8] = b"forceclose";

/// Messages that wait to be sent, beyond which no more are read: more than a page that is delivered, so a
/// client that reads slowly can still acknowledge.
const MAX_UNSENT: usize = 48;

/// One client's connection.
pub struct Connection {
    config: Arc<Config>,
    dialect: Dialect,
    challenge: Challenge,
    outbox: Outbox,
    keepalive: Keepalive,
    requests: Requests,
    /// What an authenticated client has; an anonymous one has nothing.
    login: Option<Login>,
    operations: VecDeque<(OperationId, Operation)>,
    next_operation: u64,
    ping: Option<u64>,
    /// The relay shuts down: what waits is answered, and then the connection is closed.
    is_leaving: bool,
    phase: Phase,
    stats: ConnectionStats,
}

struct Login {
    address: Address,
    delivery: Delivery,
    prekey_check: PreKeyCheck,
}

#[derive(Clone, Copy)]
enum Phase {
    Open,
    /// What waits is still sent, and then this.
    Closing(Close),
    /// The client is gone: nothing more is sent.
    Aborting,
    Over,
}

/// What goes to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// A binary message.
    Message(Bytes),
    /// A ping, whose pong goes to [`Connection::handle_pong`].
    Ping(Bytes),
    /// A close frame, the last thing of all.
    Close(Close),
    /// Nothing more, not even a close frame: the client is gone, and so should its connection be.
    Abort,
}

/// Why the relay closes a connection, as a close frame says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// By RFC 6455, 7.4.
    pub code: u16,
    /// For people.
    pub reason: &'static str,
}

impl Close {
    /// The client has asked for it.
    const FORCED: Self = Self { code: 1000, reason: "forced closure" };
    /// The relay shuts down.
    const GOING_AWAY: Self = Self { code: 1001, reason: "the relay shuts down" };
    /// The client is not who it says.
    const UNAUTHORIZED: Self = Self { code: 1008, reason: "unauthorized" };
    /// The client has sent a message of more than [`MAX_MESSAGE_LEN`] bytes.
    const TOO_LONG: Self = Self { code: 1009, reason: "read limited at 32769 bytes" };
}

/// What a [`Connection`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Requests that came in.
    pub requests: u64,
    /// Messages that were none of the dialect, and passed over.
    pub undecodable: u64,
    /// Messages with nothing in them that a client could say, and passed over.
    pub ignored: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages that do not fit in one of the dialect, and were left in the queue.
    pub undeliverable: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Acknowledgements of what was not delivered, or not any more.
    pub unknown_acknowledgements: u64,
}

impl Connection {
    /// A connection that has just been opened. What the client hears first waits to be sent.
    ///
    /// The challenge must be random, and of this connection alone.
    #[must_use]
    pub fn new(now: Instant, config: Arc<Config>, dialect: Dialect, challenge: &Challenge) -> Self {
        Self {
            keepalive: Keepalive::new(now, &config),
            outbox: Outbox::new(dialect, challenge, config.max_attachment),
            config,
            dialect,
            challenge: *challenge,
            requests: Requests::default(),
            login: None,
            operations: VecDeque::new(),
            next_operation: 0,
            ping: None,
            is_leaving: false,
            phase: Phase::Open,
            stats: ConnectionStats::default(),
        }
    }

    /// Who the client is, once it has logged in. It stays so.
    ///
    /// Who pushes messages subscribes to this address's queue then.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        self.login.as_ref().map(|login| &login.address)
    }

    /// Whether the client's next message is to be read. One that is handed in nevertheless is passed over if
    /// the connection ends, and otherwise answered: with an error, if too many requests wait.
    #[must_use]
    pub fn wants_messages(&self) -> bool {
        self.is_open()
            && !self.is_leaving
            && self.requests.len() < self.config.max_requests
            && self.outbox.len() < MAX_UNSENT
    }

    /// Whether news of the queue are to be handed in. Those that are handed in nevertheless are fetched later, where
    /// keeping them for a moment would have spared that.
    #[must_use]
    pub fn wants_news(&self) -> bool {
        self.login.as_ref().is_none_or(|login| login.delivery.wants_pushed(self.outbox.len()))
    }

    /// Whether nothing comes out any more but acknowledgements: it is to be dropped once they are polled.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        self.stats
    }

    /// A message of the client is there, whole.
    ///
    /// A driver need not read all of one that is longer than [`MAX_MESSAGE_LEN`]: see
    /// [`handle_too_long`](Self::handle_too_long).
    pub fn handle_message(&mut self, now: Instant, message: Bytes) {
        if !self.is_open() {
            return;
        }
        if message.len() > MAX_MESSAGE_LEN {
            return self.handle_too_long();
        }
        if message == FORCE_CLOSE {
            return self.close(Phase::Closing(Close::FORCED));
        }
        let first = self.dialect.sequence_of(&message);
        let (sequence, request) = match self.dialect.read(message) {
            Ok(Received { sequence, said }) => match said {
                Said::LogIn(response) => (sequence, Request::LogIn(response)),
                Said::Own(request) => (sequence, Request::Own(request)),
                Said::Anonymous(request) => (sequence, Request::Anonymous(request)),
                Said::Acknowledged => return self.acknowledge(sequence),
                Said::Nothing => {
                    self.stats.ignored += 1;
                    return;
                }
            },
            // To others it may well be a request.
            Err(DecodeError::Excess(_)) => {
                (first, Request::Excessive("the message has too many fields"))
            }
            Err(_) => {
                self.stats.undecodable += 1;
                return;
            }
        };
        self.stats.requests += 1;
        let request = if self.requests.len() < self.config.max_requests {
            request
        } else {
            Request::Excessive("too many requests wait for an answer")
        };
        self.requests.push(sequence, request);
        self.advance(now);
    }

    /// A message of the client is longer than [`MAX_MESSAGE_LEN`]: the connection is closed.
    pub fn handle_too_long(&mut self) {
        if self.is_open() {
            self.close(Phase::Closing(Close::TOO_LONG));
        }
    }

    /// The relay shuts down: no more messages are wanted, those that wait are answered, and then the connection
    /// is closed.
    pub fn handle_shutdown(&mut self) {
        self.is_leaving = true;
        self.leave();
    }

    /// A pong of the client is there. One that answers the last ping is a sign of life.
    pub fn handle_pong(&mut self, payload: &[u8]) {
        self.keepalive.handle_pong(payload);
    }

    /// The store has done an operation, or has failed. An outcome of an operation that nobody waits for is
    /// passed over.
    pub fn handle_outcome(&mut self, now: Instant, id: OperationId, outcome: Outcome) {
        if !self.is_open() {
            return;
        }
        match &mut self.login {
            Some(login) if login.delivery.is_fetching(id) => {
                if let Outcome::Fetched(page) = outcome {
                    let delivered = login.delivery.handle_page(page, &mut self.outbox);
                    self.count(&delivered);
                } else {
                    login.delivery.handle_failure(now);
                }
            }
            Some(login) if login.prekey_check.is_asking(id) => {
                let remaining =
                    if let Outcome::Remaining(remaining) = outcome { remaining } else { None };
                if let Some(wanted) = login.prekey_check.handle_remaining(remaining) {
                    self.outbox.ask_for_prekeys(wanted);
                }
            }
            _ => {
                if self.requests.resolve(id, outcome) {
                    self.advance(now);
                }
            }
        }
    }

    /// A message has come into the queue of [`address`](Self::address).
    ///
    /// Pushed messages of one queue must come in its order, and none may be left out from a call of
    /// [`handle_news`](Self::handle_news) on. It does not matter if some were, or will be, fetched as well.
    pub fn handle_pushed(&mut self, queued: Queued) {
        if !self.is_open() {
            return;
        }
        if let Some(login) = &mut self.login {
            let delivered = login.delivery.handle_pushed(queued, &mut self.outbox);
            self.count(&delivered);
        }
    }

    /// The queue of [`address`](Self::address) may hold messages that were not pushed: the subscription has
    /// just begun, or has lost some, or there is none and somebody has sent one. They are fetched.
    pub fn handle_news(&mut self) {
        if let Some(login) = &mut self.login {
            login.delivery.handle_news();
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.is_open() {
            return;
        }
        match self.keepalive.handle_timeout(now) {
            Some(Due::Ping(count)) => self.ping = Some(count),
            Some(Due::Dead) => {
                self.outbox.clear();
                return self.close(Phase::Aborting);
            }
            None => {}
        }
        if let Some(login) = &mut self.login {
            login.delivery.handle_timeout(now);
            login.prekey_check.handle_timeout(now);
        }
    }

    /// What goes to the client next.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        // A pong is waited for from now on: its ping does not queue up.
        if let Some(count) = self.ping.take() {
            return Some(Transmit::Ping(count.to_string().into()));
        }
        if let Some(frame) = self.outbox.pop() {
            return Some(Transmit::Message(frame));
        }
        let last = match self.phase {
            Phase::Open | Phase::Over => return None,
            Phase::Closing(close) => Transmit::Close(close),
            Phase::Aborting => Transmit::Abort,
        };
        self.phase = Phase::Over;
        Some(last)
    }

    /// What the store is to do next. Operations must begin in this order; several may go on at once, and end
    /// in any order.
    pub fn poll_operation(&mut self) -> Option<(OperationId, Operation)> {
        if !self.is_open() {
            return None;
        }
        if let Some(operation) = self.operations.pop_front() {
            return Some(operation);
        }
        let login = self.login.as_mut()?;
        let id = OperationId(self.next_operation);
        let operation = if let Some((after, page)) = login.delivery.next_page(self.outbox.len()) {
            login.delivery.fetching(id);
            Operation::Fetch { address: login.address.clone(), after, page }
        } else if login.prekey_check.is_due() {
            login.prekey_check.asking(id);
            Operation::Remaining(login.address.clone())
        } else {
            return None;
        };
        self.next_operation += 1;
        Some((id, operation))
    }

    /// The messages that the client has acknowledged since the last call, also after the connection has
    /// ended.
    pub fn poll_acknowledged(&mut self) -> Option<Acknowledged> {
        let login = self.login.as_mut()?;
        let positions = login.delivery.take_acknowledged();
        let address = &login.address;
        (!positions.is_empty()).then(|| Acknowledged { address: address.clone(), positions })
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` once the connection ends.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.is_open() {
            return None;
        }
        let ping = self.keepalive.poll_timeout();
        let Some(login) = &self.login else { return Some(ping) };
        let next = ping.min(login.prekey_check.poll_timeout());
        Some(login.delivery.poll_timeout().map_or(next, |retry_at| retry_at.min(next)))
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Begins and answers requests as far as it goes.
    fn advance(&mut self, now: Instant) {
        while self.is_open() {
            if let Some((sequence, reply)) = self.requests.pop_ready() {
                self.answer(now, sequence, reply);
            } else if let Some((sequence, request)) = self.requests.begin() {
                let address = self.login.as_ref().map(|login| &login.address);
                let max_attachment = self.config.max_attachment;
                match Verdict::on(request, address, self.dialect, &self.challenge, max_attachment) {
                    Verdict::Ask(operation, question) => {
                        let id = OperationId(self.next_operation);
                        self.next_operation += 1;
                        self.operations.push_back((id, operation));
                        self.requests.ask(sequence, id, question);
                    }
                    Verdict::Reply(reply) => self.requests.answer(sequence, reply),
                }
            } else {
                return self.leave();
            }
        }
    }

    fn leave(&mut self) {
        if self.is_leaving && self.is_open() && self.requests.len() == 0 {
            self.close(Phase::Closing(Close::GOING_AWAY));
        }
    }

    fn answer(&mut self, now: Instant, sequence: u32, reply: Reply) {
        let domain = &self.config.domain;
        match reply {
            Reply::Done => self.outbox.answer(sequence, Answer::Done),
            Reply::PreKeys(owner, keys) => {
                self.outbox.answer(sequence, Answer::PreKeys(&owner, keys));
            }
            Reply::Number(number) => self.outbox.answer(sequence, Answer::Number(number, domain)),
            Reply::Uploads(uploads) => self.outbox.answer(sequence, Answer::Uploads(uploads)),
            Reply::Refused(Refused { name, text }) => {
                self.outbox.answer(sequence, Answer::Refused(name, &text));
            }
            Reply::LoggedIn(address, number) => {
                let answer = number.map_or(Answer::Done, |it| Answer::Number(it, domain));
                self.outbox.answer(sequence, answer);
                // Only now, so that nothing comes before the answer.
                self.login = Some(Login {
                    address,
                    delivery: Delivery::new(self.config.window),
                    prekey_check: PreKeyCheck::new(now, &self.config),
                });
            }
            Reply::NotLoggedIn(Refused { name, text }) => {
                self.outbox.answer(sequence, Answer::Refused(name, &text));
                self.close(Phase::Closing(Close::UNAUTHORIZED));
            }
        }
    }

    fn acknowledge(&mut self, sequence: u32) {
        let known = self
            .login
            .as_mut()
            .is_some_and(|login| login.delivery.handle_acknowledgement(sequence));
        if known {
            self.stats.acknowledged += 1;
        } else {
            self.stats.unknown_acknowledgements += 1;
        }
    }

    fn count(&mut self, delivered: &Delivered) {
        self.stats.delivered += delivered.messages;
        self.stats.undeliverable += delivered.undeliverable;
    }

    /// Ends the connection. Requests that wait are not answered any more.
    fn close(&mut self, phase: Phase) {
        self.phase = phase;
        self.ping = None;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("dialect", &self.dialect)
            .field("address", &self.address())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
