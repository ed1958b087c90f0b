//! The side that asks for sessions.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use towline_wire::Dialect;
use towline_wire::start::{
    Capabilities, Cbor, Challenge, ErrorReason, Message, SessionError, SessionEstablished,
    StartSession,
};

use crate::deadlines::{Deadline, Deadlines};
use crate::message::{detached, encoded_len};
use crate::randomness::{Role, generator};
use crate::{Config, Ignored, NoRandomness, Request, keep_alive};

/// Asks any number of peers for sessions (RFC-0007, 4.2.7).
///
/// A request is repeated until it is answered or times out. Every SessionEstablished that belongs to a
/// request, the first and each repeated one, is answered with a keep-alive: that confirms the session,
/// and an answer that comes again says that the confirmation may have been lost.
pub struct Initiator<P> {
    config: Config,
    rng: StdRng,
    next_number: u64,
    /// Requests that wait and, for a while, those that were granted.
    exchanges: HashMap<Challenge, Exchange<P>>,
    asking: Deadlines<Challenge>,
    granted: Deadlines<Challenge>,
    /// Exchanges with a message to send, each at most once: it cannot outgrow the table.
    outbox: VecDeque<Challenge>,
    events: VecDeque<InitiatorEvent<P>>,
    stats: InitiatorStats,
}

/// Names a request of one [`Initiator`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    number: u64,
    challenge: Challenge,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitiatorEvent<P> {
    /// The peer granted the session; its first keep-alive is on its way.
    Established {
        /// The request.
        request: RequestId,
        /// Who granted it.
        peer: P,
        /// The id that the peer gave the session.
        session_id: Cbor,
        /// Time from the request to its answer; `None` when the request was repeated, since then
        /// nobody knows which of them was answered.
        rtt: Option<Duration>,
    },
    /// There will be no session.
    Failed {
        /// The request.
        request: RequestId,
        /// Who was asked.
        peer: P,
        /// Why.
        error: RequestError,
    },
}

/// Why a request did not lead to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No answer came in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The peer refused.
    #[error("the peer refused: {0}")]
    Refused(ErrorReason),
}

/// Why a request cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// As many requests as configured wait already.
    #[error("{limit} requests wait for an answer already")]
    TooManyRequests {
        /// The most that may wait.
        limit: usize,
    },
    /// The target is too long for one message (RFC-0007, 4.2.8, rule 4).
    #[error("a request of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes of the message.
        length: usize,
        /// The MTU.
        limit: usize,
    },
    /// Deployed peers refuse requests with capabilities that they do not know.
    #[error("{0:?} has bits that the dialect does not know")]
    UnknownCapabilities(Capabilities),
}

/// What an [`Initiator`] has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InitiatorStats {
    /// Requests made.
    pub requests: u64,
    /// Requests sent again.
    pub repeated: u64,
    /// Requests granted.
    pub established: u64,
    /// Requests refused by their peer.
    pub refused: u64,
    /// Requests that nobody answered in time.
    pub timed_out: u64,
    /// Repeated grants, each answered with another keep-alive.
    pub repeated_grants: u64,
    /// Messages that were [ignored](Ignored).
    pub ignored: u64,
    /// Requests that wait for an answer now.
    pub asking: usize,
    /// Granted requests that are remembered now.
    pub remembered: usize,
}

struct Exchange<P> {
    number: u64,
    peer: P,
    state: State,
    /// In `asking` or in `granted`, as the state says.
    deadline: Deadline,
    /// Whether it stands in the outbox.
    queued: bool,
}

enum State {
    Asking(Asking),
    Granted { session_id: Cbor },
}

struct Asking {
    request: Request,
    asked_at: Instant,
    expires_at: Instant,
    /// Until the next repetition.
    interval: Duration,
    repeated: bool,
}

impl<P: Copy + Eq + Hash + fmt::Debug> Initiator<P> {
    /// An initiator without requests.
    ///
    /// # Errors
    /// [`NoRandomness`] when there is no seed in the config and none from the operating system.
    pub fn new(config: &Config) -> Result<Self, NoRandomness> {
        Ok(Self {
            config: config.clone(),
            rng: generator(config.seed, Role::Initiator)?,
            next_number: 0,
            exchanges: HashMap::new(),
            asking: Deadlines::new(),
            granted: Deadlines::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            stats: InitiatorStats::default(),
        })
    }

    /// Asks `peer` for a session.
    ///
    /// # Errors
    /// The [`ConnectError`] that says why the request cannot be sent; nothing has changed then.
    pub fn connect(
        &mut self,
        now: Instant,
        peer: P,
        request: Request,
    ) -> Result<RequestId, ConnectError> {
        let limit = self.config.max_requests;
        //= docs/spec/start.md#requesting
        //# An initiator MUST bound how many of its requests wait for an answer.
        if self.asking.len() >= limit {
            return Err(ConnectError::TooManyRequests { limit });
        }
        //= docs/spec/start.md#capabilities
        //# In `hoprnet` an initiator MUST NOT request capabilities other than the lowest five bits.
        if self.config.dialect == Dialect::Hoprnet
            && !DEPLOYED_CAPABILITIES.contains(request.capabilities)
        {
            return Err(ConnectError::UnknownCapabilities(request.capabilities));
        }
        let challenge = self.unused_challenge();
        let limit = self.config.mtu.get();
        let length = encoded_len(&start_session(challenge, &request), self.config.dialect);
        //= docs/spec/start.md#header
        //# A sender MUST NOT send a Start message that is longer than the MTU `C`.
        if length > limit {
            return Err(ConnectError::TooLong { length, limit });
        }

        let number = self.next_number;
        self.next_number += 1;
        self.stats.requests += 1;
        let interval = self.config.request_interval;
        let expires_at = now + self.config.request_timeout;
        let asking = Asking { request, asked_at: now, expires_at, interval, repeated: false };
        let deadline = self.asking.insert(expires_at.min(now + interval), challenge);
        let state = State::Asking(asking);
        self.exchanges.insert(challenge, Exchange { number, peer, state, deadline, queued: false });
        self.enqueue(challenge);
        Ok(RequestId { number, challenge })
    }

    /// Forgets a request: one that waits gets no event any more, and one that was granted is no longer
    /// confirmed, as befits a session that has ended. Whether there was anything to forget.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let known = self
            .exchanges
            .get(&request.challenge)
            .is_some_and(|exchange| exchange.number == request.number);
        if known {
            self.remove(request.challenge);
        }
        known
    }

    /// A peer grants a session.
    ///
    /// # Errors
    /// [`Ignored`] when the answer fits no request, is not from the peer that was asked, or names another
    /// session than before.
    pub fn handle_established(
        &mut self,
        now: Instant,
        peer: P,
        answer: &SessionEstablished,
    ) -> Result<(), Ignored> {
        let result = self.establish(now, peer, answer);
        self.stats.ignored += u64::from(result.is_err());
        result
    }

    /// A peer refuses a session.
    ///
    /// # Errors
    /// [`Ignored`] when the answer fits no request, is not from the peer that was asked, or comes after
    /// the session was granted.
    pub fn handle_error(&mut self, peer: P, answer: &SessionError) -> Result<(), Ignored> {
        let result = self.refuse(peer, answer);
        self.stats.ignored += u64::from(result.is_err());
        result
    }

    /// Repeats, gives up and forgets what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(challenge) = self.asking.pop_due(now) {
            self.repeat_or_give_up(now, challenge);
        }
        while let Some(challenge) = self.granted.pop_due(now) {
            self.remove(challenge);
        }
    }

    /// The next message to send, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(P, Message)> {
        let challenge = self.outbox.pop_front()?;
        let exchange = self
            .exchanges
            .get_mut(&challenge)
            .expect("an exchange that is removed leaves the outbox too");
        exchange.queued = false;
        let message = match &exchange.state {
            State::Asking(asking) => start_session(challenge, &asking.request),
            //= docs/spec/start.md#answers
            //# An initiator MUST answer a SessionEstablished that grants its request, and each
            //# repetition of it, with a KeepAlive for the session.
            State::Granted { session_id } => keep_alive(session_id.clone()),
        };
        Some((exchange.peer, message))
    }

    /// What became of a request.
    pub fn poll_event(&mut self) -> Option<InitiatorEvent<P>> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.asking.next().into_iter().chain(self.granted.next()).min()
    }

    /// Counters since the start, and what is held now.
    #[must_use]
    pub fn stats(&self) -> InitiatorStats {
        InitiatorStats { asking: self.asking.len(), remembered: self.granted.len(), ..self.stats }
    }

    fn establish(
        &mut self,
        now: Instant,
        peer: P,
        answer: &SessionEstablished,
    ) -> Result<(), Ignored> {
        let challenge = answer.challenge;
        //= docs/spec/start.md#challenge
        //# An initiator MUST ignore an answer whose challenge belongs to none of its requests.
        let exchange = self.exchanges.get_mut(&challenge).ok_or(Ignored::UnknownChallenge)?;
        //= docs/spec/start.md#challenge
        //# An initiator MUST ignore an answer that does not come from the peer that it asked.
        if exchange.peer != peer {
            return Err(Ignored::ForeignPeer);
        }
        let asking = match &exchange.state {
            State::Asking(asking) => asking,
            //= docs/spec/start.md#answers
            //# An initiator MUST answer a SessionEstablished that grants its request, and each
            //# repetition of it, with a KeepAlive for the session.
            State::Granted { session_id } if *session_id == answer.session_id => {
                self.stats.repeated_grants += 1;
                self.enqueue(challenge);
                return Ok(());
            }
            //= docs/spec/start.md#answers
            //# An initiator MUST ignore a SessionError, or a SessionEstablished with another
            //# session id, after its request was granted.
            State::Granted { .. } => return Err(Ignored::AnotherAnswer),
        };
        let confirmation = keep_alive(answer.session_id.clone());
        //= docs/spec/start.md#answers
        //# An initiator MUST ignore a SessionEstablished whose session id leaves no room for a
        //# KeepAlive within the MTU `C`.
        if encoded_len(&confirmation, self.config.dialect) > self.config.mtu.get() {
            return Err(Ignored::TooLong);
        }

        let rtt = now.saturating_duration_since(asking.asked_at);
        let rtt = if asking.repeated { None } else { Some(rtt) };
        let request = RequestId { number: exchange.number, challenge };
        //= docs/spec/start.md#cbor
        //# An initiator MUST send a session id back in the very bytes that it came in.
        let session_id = detached(&answer.session_id);
        self.asking.remove(exchange.deadline);
        exchange.deadline = self.granted.insert(now + self.config.answer_memory, challenge);
        exchange.state = State::Granted { session_id: session_id.clone() };
        self.stats.established += 1;
        self.events.push_back(InitiatorEvent::Established { request, peer, session_id, rtt });
        self.enqueue(challenge);
        if self.granted.len() > self.config.max_remembered
            && let Some(oldest) = self.granted.pop_first()
        {
            self.remove(oldest);
        }
        Ok(())
    }

    fn refuse(&mut self, peer: P, answer: &SessionError) -> Result<(), Ignored> {
        //= docs/spec/start.md#challenge
        //# An initiator MUST ignore an answer whose challenge belongs to none of its requests.
        let exchange = self.exchanges.get(&answer.challenge).ok_or(Ignored::UnknownChallenge)?;
        //= docs/spec/start.md#challenge
        //# An initiator MUST ignore an answer that does not come from the peer that it asked.
        if exchange.peer != peer {
            return Err(Ignored::ForeignPeer);
        }
        //= docs/spec/start.md#answers
        //# An initiator MUST ignore a SessionError, or a SessionEstablished with another session
        //# id, after its request was granted.
        if matches!(exchange.state, State::Granted { .. }) {
            return Err(Ignored::AnotherAnswer);
        }
        self.stats.refused += 1;
        self.fail(answer.challenge, RequestError::Refused(answer.reason));
        Ok(())
    }

    fn repeat_or_give_up(&mut self, now: Instant, challenge: Challenge) {
        let Some(exchange) = self.exchanges.get_mut(&challenge) else { return };
        let State::Asking(asking) = &mut exchange.state else { return };
        //= docs/spec/start.md#requesting
        //# An initiator MUST give up a request that is not answered in time, which is 30 seconds by
        //# default.
        if now >= asking.expires_at {
            self.stats.timed_out += 1;
            self.fail(challenge, RequestError::TimedOut);
            return;
        }
        //= docs/spec/start.md#requesting
        //# An initiator MUST repeat a request, with the same challenge and the same contents, until
        //# it is answered or given up.
        asking.repeated = true;
        //= docs/spec/start.md#requesting
        //# An initiator SHOULD repeat a request after 0.5 seconds and double the pause with each
        //# repetition, up to 4 seconds.
        asking.interval = (asking.interval * 2).min(self.config.max_request_interval);
        let next = asking.expires_at.min(now + asking.interval);
        exchange.deadline = self.asking.insert(next, challenge);
        self.stats.repeated += 1;
        self.enqueue(challenge);
    }

    fn fail(&mut self, challenge: Challenge, error: RequestError) {
        if let Some(Exchange { number, peer, .. }) = self.remove(challenge) {
            let request = RequestId { number, challenge };
            self.events.push_back(InitiatorEvent::Failed { request, peer, error });
        }
    }

    fn remove(&mut self, challenge: Challenge) -> Option<Exchange<P>> {
        let exchange = self.exchanges.remove(&challenge)?;
        match exchange.state {
            State::Asking(_) => self.asking.remove(exchange.deadline),
            State::Granted { .. } => self.granted.remove(exchange.deadline),
        }
        if exchange.queued {
            self.outbox.retain(|&queued| queued != challenge);
        }
        Some(exchange)
    }

    fn enqueue(&mut self, challenge: Challenge) {
        if let Some(exchange) = self.exchanges.get_mut(&challenge)
            && !exchange.queued
        {
            exchange.queued = true;
            self.outbox.push_back(challenge);
        }
    }

    fn unused_challenge(&mut self) -> Challenge {
        loop {
            //= docs/spec/start.md#challenge
            //# An initiator MUST take challenges from a cryptographically secure random number
            //# generator.
            let challenge = Challenge(self.rng.next_u64());
            if !self.exchanges.contains_key(&challenge) {
                return challenge;
            }
        }
    }
}

/// The capabilities that deployed peers know; they refuse a request with any other.
const DEPLOYED_CAPABILITIES: Capabilities = Capabilities::from_bits(0x1f);

fn start_session(challenge: Challenge, request: &Request) -> Message {
    Message::StartSession(StartSession {
        challenge,
        capabilities: request.capabilities,
        additional_data: request.additional_data,
        target: request.target.clone(),
    })
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.number)
    }
}

impl<P: Copy + Eq + Hash + fmt::Debug> fmt::Debug for Initiator<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
