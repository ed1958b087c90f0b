//! Which answer is to which request, on one connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::words::{self, Answer, Heard, Request, Unsayable};
use super::{Refused, RequestError};
use crate::dialect::Dialect;
use crate::store::PreKey;
use crate::{Owner, client::Disconnect};

/// The requests of one connection that wait for their answers, and whoever waits for them, a `W`.
///
/// Our sequence numbers and the relay's are the same numbers: only what can be an answer is one.
#[derive(Debug)]
pub(super) struct Conversation<W> {
    dialect: Dialect,
    timeout: Duration,
    quiet: Duration,
    last: u32,
    pending: BTreeMap<u32, Pending<W>>,
    /// In `seed`, prekeys do not say which request they answer, so there is one such request at a time.
    prekeys: Option<PreKeys<W>>,
    waiting: VecDeque<(Owner, Request, W)>,
}

#[derive(Debug)]
struct Pending<W> {
    answer_by: Instant,
    waiter: W,
}

#[derive(Debug)]
struct PreKeys<W> {
    sequence: u32,
    owner: Owner,
    keys: Vec<PreKey>,
    /// When they are all there; before the first one, when there should be one.
    until: Instant,
    waiter: W,
}

/// A request that has its answer.
pub(super) type Settled<W> = (W, Result<Answer, RequestError>);

impl<W> Conversation<W> {
    pub(super) fn new(dialect: Dialect, timeout: Duration, quiet: Duration) -> Self {
        let (pending, waiting) = (BTreeMap::new(), VecDeque::new());
        Self { dialect, timeout, quiet, last: 0, pending, prekeys: None, waiting }
    }

    /// Requests that have no answer yet.
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.waiting.len() + usize::from(self.prekeys.is_some())
    }

    /// The frame to send now, if it is a request's turn.
    ///
    /// # Errors
    /// It cannot be said; whoever waits for it is given back.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        request: Request,
        waiter: W,
    ) -> Result<Option<Bytes>, (W, Unsayable)> {
        match (&request, self.dialect) {
            (Request::PreKeys { owner, .. }, Dialect::Seed) => {
                let owner = owner.clone();
                if self.prekeys.is_some() {
                    self.waiting.push_back((owner, request, waiter));
                    return Ok(None);
                }
                self.ask_prekeys(now, owner, request, waiter)
            }
            _ => match self.encode(request) {
                Ok((sequence, frame)) => {
                    let answer_by = now + self.timeout;
                    self.pending.insert(sequence, Pending { answer_by, waiter });
                    Ok(Some(frame))
                }
                Err(error) => Err((waiter, error)),
            },
        }
    }

    fn ask_prekeys(
        &mut self,
        now: Instant,
        owner: Owner,
        request: Request,
        waiter: W,
    ) -> Result<Option<Bytes>, (W, Unsayable)> {
        let (sequence, frame) = match self.encode(request) {
            Ok(encoded) => encoded,
            Err(error) => return Err((waiter, error)),
        };
        let until = now + self.timeout;
        self.prekeys = Some(PreKeys { sequence, owner, keys: Vec::new(), until, waiter });
        Ok(Some(frame))
    }

    fn encode(&mut self, request: Request) -> Result<(u32, Bytes), Unsayable> {
        // Four billion requests later an answer is long there.
        let sequence = self.last.wrapping_add(1);
        let frame = words::request(self.dialect, sequence, request)?;
        self.last = sequence;
        Ok((sequence, frame))
    }

    /// An answer is there; the request that it is to, if there is one.
    pub(super) fn handle_answer(
        &mut self,
        sequence: u32,
        answer: Result<Answer, Refused>,
    ) -> Option<Settled<W>> {
        let answer = answer.map_err(RequestError::from);
        if let Some(pending) = self.pending.remove(&sequence) {
            return Some((pending.waiter, answer));
        }
        let prekeys = self.prekeys.take_if(|prekeys| prekeys.sequence == sequence)?;
        // Where there are none, the relay says that it is done.
        let answer = answer.map(|_| Answer::PreKeys(prekeys.keys));
        Some((prekeys.waiter, answer))
    }

    /// The prekeys of one device are there. There may be more.
    pub(super) fn handle_prekey(&mut self, now: Instant, owner: &Owner, key: PreKey) {
        if let Some(prekeys) = &mut self.prekeys
            && prekeys.owner == *owner
        {
            prekeys.keys.push(key);
            prekeys.until = now + self.quiet;
        }
    }

    /// The next request whose turn has come, to be sent.
    pub(super) fn poll_waiting(
        &mut self,
        now: Instant,
    ) -> Option<Result<Option<Bytes>, (W, Unsayable)>> {
        if self.prekeys.is_some() {
            return None;
        }
        let (owner, request, waiter) = self.waiting.pop_front()?;
        Some(self.ask_prekeys(now, owner, request, waiter))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pending = self.pending.values().map(|pending| pending.answer_by);
        pending.chain(self.prekeys.as_ref().map(|prekeys| prekeys.until)).min()
    }

    /// Prekeys may be all there by now.
    ///
    /// # Errors
    /// A request has no answer, and the connection is to be given up.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
    ) -> Result<Option<Settled<W>>, Disconnect> {
        if self.pending.values().any(|pending| pending.answer_by <= now) {
            return Err(Disconnect::Silent);
        }
        match self.prekeys.take_if(|prekeys| prekeys.until <= now) {
            None => Ok(None),
            Some(prekeys) if prekeys.keys.is_empty() => {
                self.prekeys = Some(prekeys);
                Err(Disconnect::Silent)
            }
            Some(prekeys) => Ok(Some((prekeys.waiter, Ok(Answer::PreKeys(prekeys.keys))))),
        }
    }

    /// The connection is over: nobody gets an answer any more.
    pub(super) fn into_waiters(self) -> impl Iterator<Item = W> {
        let pending = self.pending.into_values().map(|pending| pending.waiter);
        let prekeys = self.prekeys.into_iter().map(|prekeys| prekeys.waiter);
        pending.chain(prekeys).chain(self.waiting.into_iter().map(|(.., waiter)| waiter))
    }
}

/// What a frame is, for whoever has to do with it.
pub(super) fn read(dialect: Dialect, frame: Bytes) -> Result<(u32, Heard), Disconnect> {
    words::heard(dialect, frame).map_err(|_| Disconnect::Undecodable)
}

#[cfg(test)]
mod tests {
    use towline_wire::relay::{Identity, UserId};

    use super::*;
    use crate::{Address, Device};

    const TIMEOUT: Duration = Duration::from_secs(10);
    const QUIET: Duration = Duration::from_secs(1);

    fn conversation(dialect: Dialect) -> Conversation<&'static str> {
        Conversation::new(dialect, TIMEOUT, QUIET)
    }

    fn owner(dialect: Dialect, byte: u8) -> Owner {
        match dialect {
            Dialect::Deployed => Identity::try_from([byte; 32]).unwrap().into(),
            Dialect::Seed => UserId::new(&[byte; 32]).into(),
        }
    }

    fn send(dialect: Dialect) -> Request {
        Request::Send { to: Address::new(owner(dialect, 1), 1), message: "sealed".into() }
    }

    fn prekeys(dialect: Dialect, byte: u8) -> Request {
        Request::PreKeys { owner: owner(dialect, byte), known: Vec::new() }
    }

    fn key(device: u32) -> PreKey {
        let signed = Bytes::from("signed");
        PreKey { device: Device::from(device), registration_id: 0, signed, one_time: None }
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let now = Instant::now();
        for dialect in [Dialect::Deployed, Dialect::Seed] {
            let mut conversation = conversation(dialect);
            conversation.ask(now, send(dialect), "first").unwrap().unwrap();
            conversation.ask(now, send(dialect), "second").unwrap().unwrap();
            let (waiter, answer) = conversation.handle_answer(2, Ok(Answer::Done)).unwrap();
            assert_eq!((waiter, answer.unwrap()), ("second", Answer::Done));
            let refused = Refused { name: "unknown_error".into(), text: String::new() };
            let (waiter, answer) = conversation.handle_answer(1, Err(refused)).unwrap();
            assert_eq!(waiter, "first");
            assert!(matches!(answer, Err(RequestError::Refused(_))));
            assert!(conversation.handle_answer(1, Ok(Answer::Done)).is_none());
        }
    }

    #[test]
    fn a_request_without_an_answer_is_the_end() {
        let now = Instant::now();
        let mut conversation = conversation(Dialect::Deployed);
        assert_eq!(conversation.poll_timeout(), None);
        conversation.ask(now, send(Dialect::Deployed), "first").unwrap();
        assert_eq!(conversation.poll_timeout(), Some(now + TIMEOUT));
        assert!(conversation.handle_timeout(now + TIMEOUT / 2).unwrap().is_none());
        assert!(conversation.handle_timeout(now + TIMEOUT).is_err());
        assert_eq!(conversation.into_waiters().collect::<Vec<_>>(), ["first"]);
    }

    #[test]
    fn prekeys_of_the_seed_dialect_are_all_there_once_it_is_quiet() {
        let now = Instant::now();
        let mut conversation = conversation(Dialect::Seed);
        conversation.ask(now, prekeys(Dialect::Seed, 1), "first").unwrap().unwrap();
        // Only one asks at a time.
        assert!(conversation.ask(now, prekeys(Dialect::Seed, 2), "second").unwrap().is_none());
        assert!(conversation.poll_waiting(now).is_none());
        conversation.handle_prekey(now, &owner(Dialect::Seed, 1), key(1));
        conversation.handle_prekey(now, &owner(Dialect::Seed, 9), key(7));
        let later = now + QUIET / 2;
        conversation.handle_prekey(later, &owner(Dialect::Seed, 1), key(2));
        assert!(conversation.handle_timeout(now + QUIET).unwrap().is_none());
        let (waiter, answer) = conversation.handle_timeout(later + QUIET).unwrap().unwrap();
        assert_eq!((waiter, answer.unwrap()), ("first", Answer::PreKeys(vec![key(1), key(2)])));

        conversation.poll_waiting(later).unwrap().unwrap().unwrap();
        let (waiter, answer) = conversation.handle_answer(2, Ok(Answer::Done)).unwrap();
        assert_eq!((waiter, answer.unwrap()), ("second", Answer::PreKeys(Vec::new())));
    }

    #[test]
    fn prekeys_that_never_come_are_the_end() {
        let now = Instant::now();
        let mut conversation = conversation(Dialect::Seed);
        conversation.ask(now, prekeys(Dialect::Seed, 1), "first").unwrap().unwrap();
        assert!(conversation.handle_timeout(now + TIMEOUT).is_err());
        assert_eq!(conversation.into_waiters().collect::<Vec<_>>(), ["first"]);
    }

    #[test]
    fn what_cannot_be_said_is_not_sent() {
        let now = Instant::now();
        let mut conversation = conversation(Dialect::Deployed);
        let to = Address::new(owner(Dialect::Deployed, 1), 1);
        let long = Request::Send { to, message: vec![0; 32_768].into() };
        let (_, error) = conversation.ask(now, long, "long").unwrap_err();
        assert!(matches!(error, Unsayable::TooLong(_)));
        let (_, error) = conversation.ask(now, send(Dialect::Seed), "seed").unwrap_err();
        assert_eq!(error, Unsayable::NotInDialect);
        assert_eq!(conversation.len(), 0);
    }
}
