//! The side that grants sessions.

mod decision;
mod outbox;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::time::Instant;

use rand::RngExt;
use rand::rngs::StdRng;
use towline_wire::Tag;
use towline_wire::start::{
    Challenge, ErrorReason, KeepAlive, Message, SessionError, SessionEstablished, StartSession,
};

pub use self::decision::Decision;
use self::outbox::Outbox;
use crate::admission::Admission;
use crate::deadlines::{Deadline, Deadlines};
use crate::message::detached;
use crate::randomness::{Role, generator};
use crate::rate::Bucket;
use crate::{Config, Ignored, NoRandomness, Request, keep_alive, session_id, session_tag};

/// Answers requests for sessions from any number of peers (RFC-0007, 4.2.7).
///
/// A request within the [rates](crate::ConfigBuilder::request_rate) takes a slot, if one is free, and
/// becomes a [`ResponderEvent::Incoming`]. The application accepts or refuses it; when it does neither
/// in time, the request is refused. An accepted session is half-open until the entry shows life, and
/// dropped when it does not.
///
/// No request makes the responder send more than one answer. A refusal is shorter than any request; the
/// grant of a session is 21 bytes, at most 3 more than the shortest request there is.
pub struct Responder<P> {
    config: Config,
    rng: StdRng,
    admission: Admission<P>,
    /// Answers to requests beyond a rate.
    refusals: Bucket,
    /// The slots: every session that is undecided, half-open or confirmed.
    sessions: HashMap<Tag, Session<P>>,
    /// One deadline for each session that is undecided or half-open.
    waiting: Deadlines<Tag>,
    /// What a repeated request is told. Requests that were not admitted leave nothing here.
    answers: HashMap<Exchange<P>, Answer>,
    /// One deadline for each answer but `Undecided`, which lasts as long as its session does.
    decided: Deadlines<Exchange<P>>,
    outbox: Outbox<P>,
    events: VecDeque<ResponderEvent<P>>,
    stats: ResponderStats,
}

/// Names an incoming request of one [`Responder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IncomingId(Tag);

/// A request that waits for [`accept`](Responder::accept) or [`refuse`](Responder::refuse).
///
/// Dropping it refuses it, late: when the decision timeout has passed. [`Responder::decide`] refuses
/// at once what is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a request that is neither accepted nor refused holds a slot until it times out"]
pub struct Incoming<P> {
    /// Its name in the responder.
    pub id: IncomingId,
    /// Who asks.
    pub peer: P,
    /// For what.
    pub request: Request,
}

/// What happened to requests and sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponderEvent<P> {
    /// A peer asks for a session.
    Incoming(Incoming<P>),
    /// The decision timeout of a request has passed, and it was refused.
    Undecided(IncomingId),
    /// The entry showed life: the session is fully open.
    Confirmed {
        /// Whose session.
        peer: P,
        /// Its id.
        tag: Tag,
    },
    /// The entry showed no life in time: the session is gone.
    Unconfirmed {
        /// Whose session.
        peer: P,
        /// Its id.
        tag: Tag,
    },
}

/// The request was decided already, by the application or by its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request has been decided already")]
pub struct AlreadyDecided;

/// What a [`Responder`] has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponderStats {
    /// Requests received, repeated ones included.
    pub requests: u64,
    /// Requests that were known already.
    pub repeated: u64,
    /// Requests beyond a rate, answered or not.
    pub over_rate: u64,
    /// Requests refused because too many sessions were half-open.
    pub busy: u64,
    /// Requests refused because no slot was free.
    pub no_slots: u64,
    /// Requests that the application accepted.
    pub accepted: u64,
    /// Requests that the application refused.
    pub refused: u64,
    /// Requests that the application did not decide in time.
    pub undecided: u64,
    /// Sessions whose entry showed life.
    pub confirmed: u64,
    /// Sessions whose entry did not.
    pub unconfirmed: u64,
    /// Messages that were [ignored](Ignored).
    pub ignored: u64,
    /// Answers that the outbox had no room for.
    pub unsent: u64,
    /// Slots taken now.
    pub sessions: usize,
    /// Undecided and half-open sessions among them.
    pub waiting: usize,
    /// Answers remembered now.
    pub remembered: usize,
    /// Peers whose rate is watched now.
    pub peers: usize,
}

struct Session<P> {
    exchange: Exchange<P>,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    Undecided(Deadline),
    HalfOpen(Deadline),
    Confirmed,
}

/// A request, however often it is repeated. Peers choose both parts, which is why the tables of it need
/// the keyed hash that is the standard library's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Exchange<P> {
    peer: P,
    challenge: Challenge,
}

#[derive(Clone, Copy)]
enum Answer {
    Undecided,
    Granted(Tag),
    Refused(ErrorReason),
}

impl<P: Copy + Eq + Hash + fmt::Debug> Responder<P> {
    /// A responder without sessions.
    ///
    /// # Errors
    /// [`NoRandomness`] when there is no seed in the config and none from the operating system.
    pub fn new(config: &Config) -> Result<Self, NoRandomness> {
        let mut rng = generator(config.seed, Role::Responder)?;
        Ok(Self {
            admission: Admission::new(config, rng.random()),
            rng,
            refusals: Bucket::full(config.refusal_rate),
            sessions: HashMap::new(),
            waiting: Deadlines::new(),
            answers: HashMap::new(),
            decided: Deadlines::new(),
            outbox: Outbox::new(),
            events: VecDeque::new(),
            stats: ResponderStats::default(),
            config: config.clone(),
        })
    }

    /// A peer asks for a session, for the first time or again.
    ///
    /// # Errors
    /// [`Ignored`] when the target is longer than a message, or requests beyond a rate were answered often
    /// enough.
    pub fn handle_start_session(
        &mut self,
        now: Instant,
        peer: P,
        message: StartSession,
    ) -> Result<(), Ignored> {
        self.stats.requests += 1;
        //= docs/spec/start.md#repeated-request
        //# A responder MUST take requests with the same challenge from the same peer for one
        //# request, and those from different peers for different ones.
        let exchange = Exchange { peer, challenge: message.challenge };
        let result = match self.answers.get(&exchange) {
            Some(&answer) => {
                self.repeat_answer(now, exchange, answer);
                Ok(())
            }
            None => self.admit(now, exchange, message),
        };
        self.stats.ignored += u64::from(result.is_err());
        result
    }

    /// A peer shows life in a session that it names; returns the session's tag.
    ///
    /// # Errors
    /// [`Ignored`] when the session is none of this responder's, or another peer's.
    pub fn handle_keep_alive(&mut self, peer: P, message: &KeepAlive) -> Result<Tag, Ignored> {
        //= docs/spec/start.md#keep-alive
        //# A receiver MUST take a KeepAlive for a sign of life whatever its flags are.
        let Some(tag) = session_tag(&message.session_id) else {
            self.stats.ignored += 1;
            return Err(Ignored::UnknownSession);
        };
        self.confirm(peer, tag).map(|()| tag)
    }

    /// A peer shows life in a session: any message of it arrived. The first one opens the session fully,
    /// and is answered with a keep-alive; for an open session nothing happens.
    ///
    /// # Errors
    /// [`Ignored`] when the session is none of this responder's, or another peer's.
    pub fn confirm(&mut self, peer: P, tag: Tag) -> Result<(), Ignored> {
        let result = self.open_fully(peer, tag);
        self.stats.ignored += u64::from(result.is_err());
        result
    }

    /// Grants a session and returns its id, which is random and unique among this responder's sessions
    /// (RFC-0007, 4.2.8, rule 2, and 7.2).
    ///
    /// # Errors
    /// [`AlreadyDecided`].
    pub fn accept(&mut self, now: Instant, id: IncomingId) -> Result<Tag, AlreadyDecided> {
        let IncomingId(tag) = id;
        let session = self.sessions.get_mut(&tag).ok_or(AlreadyDecided)?;
        let Phase::Undecided(deadline) = session.phase else { return Err(AlreadyDecided) };
        let exchange = session.exchange;
        self.waiting.remove(deadline);
        let deadline = self.waiting.insert(now + self.config.half_open_timeout, tag);
        session.phase = Phase::HalfOpen(deadline);
        self.stats.accepted += 1;
        self.answer(now, exchange, Answer::Granted(tag));
        Ok(tag)
    }

    /// Refuses a session.
    ///
    /// # Errors
    /// [`AlreadyDecided`].
    pub fn refuse(
        &mut self,
        now: Instant,
        id: IncomingId,
        reason: ErrorReason,
    ) -> Result<(), AlreadyDecided> {
        if !self.is_undecided(id) {
            return Err(AlreadyDecided);
        }
        self.stats.refused += 1;
        self.drop_undecided(now, id, reason);
        Ok(())
    }

    /// Takes the decision about a request in hand: when the returned guard is dropped without one, the
    /// request is refused. `None` when it has been decided already.
    pub fn decide(&mut self, now: Instant, id: IncomingId) -> Option<Decision<'_, P>> {
        if self.is_undecided(id) { Some(Decision::new(self, now, id)) } else { None }
    }

    /// Frees the slot of a session that has ended. Whether there was one; undecided requests are none.
    ///
    /// A repetition of the session's request that is still on its way is refused.
    pub fn release(&mut self, tag: Tag) -> bool {
        let Some(session) = self.sessions.get(&tag) else { return false };
        match session.phase {
            Phase::Undecided(_) => return false,
            Phase::HalfOpen(deadline) => self.waiting.remove(deadline),
            Phase::Confirmed => {}
        }
        // The answer may be forgotten by now, and the peer may have used its challenge for another session.
        if let Some(answer) = self.answers.get_mut(&session.exchange)
            && matches!(answer, Answer::Granted(granted) if *granted == tag)
        {
            //= docs/spec/start.md#repeated-request
            //# A responder MUST refuse a repeated request whose session is over.
            *answer = Answer::Refused(ErrorReason::UNKNOWN);
        }
        self.sessions.remove(&tag);
        true
    }

    /// Refuses, drops and forgets what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(tag) = self.waiting.pop_due(now) {
            self.give_up_waiting(now, tag);
        }
        while let Some(exchange) = self.decided.pop_due(now) {
            self.answers.remove(&exchange);
        }
        self.admission.handle_timeout(now);
    }

    /// The next message to send, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(P, Message)> {
        self.outbox.pop()
    }

    /// What happened to requests and sessions.
    pub fn poll_event(&mut self) -> Option<ResponderEvent<P>> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.waiting.next(), self.decided.next(), self.admission.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Counters since the start, and what is held now.
    #[must_use]
    pub fn stats(&self) -> ResponderStats {
        ResponderStats {
            unsent: self.outbox.dropped(),
            sessions: self.sessions.len(),
            waiting: self.waiting.len(),
            remembered: self.decided.len(),
            peers: self.admission.peers(),
            ..self.stats
        }
    }

    /// A request that is not known: the cheapest check first, and nothing is kept before the last.
    fn admit(
        &mut self,
        now: Instant,
        exchange: Exchange<P>,
        message: StartSession,
    ) -> Result<(), Ignored> {
        if message.target.as_bytes().len() > self.config.mtu.get() {
            return Err(Ignored::TooLong);
        }
        //= docs/spec/start.md#admission
        //# A responder MUST NOT remember a request that it did not admit.
        if !self.admission.admit(now, exchange.peer) {
            self.stats.over_rate += 1;
            // Behind invented addresses are bystanders: they get a bounded number of answers. Who
            // hears nothing asks again later, which is what a busy responder wants of it.
            //= docs/spec/start.md#admission
            //# A responder MUST answer a new request beyond these rates with the reason "busy", or
            //# not at all.
            if !self.refusals.take(now) {
                return Err(Ignored::OverRate);
            }
            self.send(exchange, Answer::Refused(ErrorReason::BUSY));
        } else if self.waiting.len() >= self.config.max_half_open {
            //= docs/spec/start.md#admission
            //# A responder MUST refuse a new request with the reason "busy" while as many sessions
            //# as it allows are undecided or half-open.
            self.stats.busy += 1;
            self.send(exchange, Answer::Refused(ErrorReason::BUSY));
        } else if self.sessions.len() >= self.config.max_sessions {
            //= docs/spec/start.md#admission
            //# A responder MUST refuse a new request with the reason "no slots available" while all
            //# its session slots are taken.
            self.stats.no_slots += 1;
            self.send(exchange, Answer::Refused(ErrorReason::NO_SLOTS_AVAILABLE));
        } else {
            self.await_decision(now, exchange, message);
        }
        Ok(())
    }

    fn await_decision(&mut self, now: Instant, exchange: Exchange<P>, message: StartSession) {
        let tag = self.unused_tag();
        let deadline = self.waiting.insert(now + self.config.decision_timeout, tag);
        self.sessions.insert(tag, Session { exchange, phase: Phase::Undecided(deadline) });
        self.answers.insert(exchange, Answer::Undecided);
        let StartSession { capabilities, additional_data, target, .. } = message;
        let request = Request { capabilities, additional_data, target: detached(&target) };
        self.events.push_back(ResponderEvent::Incoming(Incoming {
            id: IncomingId(tag),
            peer: exchange.peer,
            request,
        }));
    }

    fn repeat_answer(&mut self, now: Instant, exchange: Exchange<P>, answer: Answer) {
        self.stats.repeated += 1;
        // An entry that repeats its request is there but has not got the answer, and the time to confirm
        // starts with that. It cannot go on for longer than the answer is remembered.
        if let Answer::Granted(tag) = answer
            && let Some(Session { phase: Phase::HalfOpen(deadline), .. }) =
                self.sessions.get_mut(&tag)
        {
            self.waiting.remove(*deadline);
            //= docs/spec/start.md#half-open
            //# A responder MUST drop a session in which its peer shows no life in time, which is 10
            //# seconds from the latest answer by default.
            *deadline = self.waiting.insert(now + self.config.half_open_timeout, tag);
        }
        //= docs/spec/start.md#repeated-request
        //# A responder MUST give a repeated request the answer that it gave before, with the same
        //# session id, or the same reason.
        self.send(exchange, answer);
    }

    fn open_fully(&mut self, peer: P, tag: Tag) -> Result<(), Ignored> {
        //= docs/spec/start.md#half-open
        //# A responder MUST ignore life in a session that it does not know, or that is another
        //# peer's.
        let session = self.sessions.get_mut(&tag).ok_or(Ignored::UnknownSession)?;
        if session.exchange.peer != peer {
            return Err(Ignored::ForeignPeer);
        }
        //= docs/spec/start.md#half-open
        //# A responder MUST take any valid message of the session from its peer, of either
        //# protocol, for life.
        let deadline = match session.phase {
            Phase::Undecided(_) => return Err(Ignored::UnknownSession),
            Phase::HalfOpen(deadline) => deadline,
            Phase::Confirmed => return Ok(()),
        };
        self.waiting.remove(deadline);
        session.phase = Phase::Confirmed;
        self.stats.confirmed += 1;
        self.events.push_back(ResponderEvent::Confirmed { peer, tag });
        //= docs/spec/start.md#half-open
        //# A responder MUST answer the first life in a session with a KeepAlive.
        self.outbox.push(peer, keep_alive(session_id(tag)));
        Ok(())
    }

    fn give_up_waiting(&mut self, now: Instant, tag: Tag) {
        let Some(Session { exchange, phase }) = self.sessions.get(&tag) else { return };
        let peer = exchange.peer;
        match phase {
            Phase::Undecided(_) => {
                //= docs/spec/start.md#decision
                //# A responder MUST refuse a request that its application does not decide about in
                //# time, with the reason "busy".
                self.stats.undecided += 1;
                self.events.push_back(ResponderEvent::Undecided(IncomingId(tag)));
                self.drop_undecided(now, IncomingId(tag), ErrorReason::BUSY);
            }
            Phase::HalfOpen(_) => {
                //= docs/spec/start.md#half-open
                //# A responder MUST drop a session in which its peer shows no life in time, which
                //# is 10 seconds from the latest answer by default.
                self.stats.unconfirmed += 1;
                self.events.push_back(ResponderEvent::Unconfirmed { peer, tag });
                self.release(tag);
            }
            Phase::Confirmed => {}
        }
    }

    fn is_undecided(&self, IncomingId(tag): IncomingId) -> bool {
        self.sessions.get(&tag).is_some_and(|session| matches!(session.phase, Phase::Undecided(_)))
    }

    fn drop_undecided(&mut self, now: Instant, IncomingId(tag): IncomingId, reason: ErrorReason) {
        let Some(session) = self.sessions.remove(&tag) else { return };
        if let Phase::Undecided(deadline) = session.phase {
            self.waiting.remove(deadline);
        }
        self.answer(now, session.exchange, Answer::Refused(reason));
    }

    /// Sends an answer and remembers it for repetitions of the request.
    fn answer(&mut self, now: Instant, exchange: Exchange<P>, answer: Answer) {
        //= docs/spec/start.md#admission
        //# A responder MUST bound what it remembers of requests and answers.
        if self.decided.len() >= self.config.max_remembered
            && let Some(oldest) = self.decided.pop_first()
        {
            self.answers.remove(&oldest);
        }
        //= docs/spec/start.md#repeated-request
        //# A responder SHOULD remember its answers for 60 seconds.
        self.decided.insert(now + self.config.answer_memory, exchange);
        self.answers.insert(exchange, answer);
        self.send(exchange, answer);
    }

    fn send(&mut self, Exchange { peer, challenge }: Exchange<P>, answer: Answer) {
        //= docs/spec/start.md#admission
        //# A responder MUST NOT send more than one message in answer to one request.
        let message = match answer {
            //= docs/spec/start.md#repeated-request
            //# A responder MUST NOT answer a repeated request while the first one is undecided.
            Answer::Undecided => return,
            Answer::Granted(tag) => {
                let session_id = session_id(tag);
                Message::SessionEstablished(SessionEstablished { challenge, session_id })
            }
            Answer::Refused(reason) => Message::SessionError(SessionError { challenge, reason }),
        };
        self.outbox.push(peer, message);
    }

    fn unused_tag(&mut self) -> Tag {
        loop {
            //= docs/spec/start.md#session-id
            //# A responder MUST issue session ids that are CBOR unsigned integers from 15 to 2^61 -
            //# 1, drawn at random from the whole range.
            let number = self.rng.random_range(Tag::FIRST_SESSION.get()..=Tag::MAX.get());
            let tag = Tag::new(number).expect("the range ends at the largest tag");
            //= docs/spec/start.md#session-id
            //# A responder MUST NOT issue a session id that another of its sessions has.
            if !self.sessions.contains_key(&tag) {
                return tag;
            }
        }
    }
}

impl<P: Copy + Eq + Hash + fmt::Debug> fmt::Debug for Responder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
