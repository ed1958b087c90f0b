//! Connections of a relay under anything that clients send, in any order with what the store answers.
//!
//! A few people and strangers share one store. What the harness knows from outside: who has shown with a signature who he
//! is on which connection, and what was ever sent to whom.

mod client;
mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towline_relay::Address;
use towline_relay::auth::Challenge;
use towline_relay::connection::{
    Acknowledged, Config, Connection, Operation, OperationId, Outcome, Transmit,
};
use towline_relay::dialect::Dialect;
use towline_relay::store::{Failure, Position, Queued};
use towline_wire::relay::MAX_MESSAGE_LEN;

use self::client::{Heard, PEOPLE};
use self::store::Store;
use crate::choice::{Choices, Choose};

const LINES: usize = 3;

/// Operations of one input.
const MAX_OPERATIONS: usize = 600;

/// Polls after which a connection must have come to rest.
const MAX_STANDING: usize = 10_000;

/// Lets the bytes of `input` choose what clients of a relay send, and when its store answers what.
///
/// # Panics
/// When a connection breaks a rule.
pub fn relay_connection(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut world = World::new(&mut choices);
    for _ in 0..MAX_OPERATIONS {
        if choices.is_empty() {
            break;
        }
        world.operate(&mut choices);
    }
    world.finish();
}

struct World {
    dialect: Dialect,
    config: Arc<Config>,
    now: Instant,
    lines: Vec<Line>,
    store: Store,
    opened: u8,
}

/// A connection, and all that is known about it from outside.
struct Line {
    connection: Connection,
    nonce: [u8; Challenge::LEN],
    /// Who was shown to be at the other end.
    shown: Vec<Address>,
    address: Option<Address>,
    /// At the store.
    operations: VecDeque<(OperationId, Operation)>,
    /// What the store has done and not answered.
    outcomes: VecDeque<(OperationId, Outcome)>,
    /// Pushed and not handed in, in order.
    pushes: VecDeque<Queued>,
    /// What the connection was given to deliver.
    given: BTreeMap<Position, Bytes>,
    acknowledged: BTreeSet<Position>,
    /// Sequence numbers of the messages delivered.
    delivered: Vec<u32>,
    greetings: u64,
    answers: u64,
    /// A request may have been answered with no message, or with several.
    is_uncountable: bool,
}

impl World {
    fn new(choices: &mut Choices<'_>) -> Self {
        let dialect = choices.one_of(&[Dialect::Deployed, Dialect::Seed]);
        let config = Config::builder()
            .domain("relay.example")
            .max_requests(choices.number(1, 16))
            .window(choices.number(1, 8))
            .build()
            .expect("all of it is in range");
        let mut world = Self {
            dialect,
            config: Arc::new(config),
            now: crate::epoch(),
            lines: Vec::new(),
            store: Store::default(),
            opened: 0,
        };
        world.lines = (0..LINES).map(|_| world.open()).collect();
        world
    }

    fn open(&mut self) -> Line {
        self.opened = self.opened.wrapping_add(1);
        let nonce = [self.opened; Challenge::LEN];
        let config = Arc::clone(&self.config);
        Line::new(Connection::new(self.now, config, self.dialect, &nonce.into()), nonce)
    }

    fn operate(&mut self, choices: &mut Choices<'_>) {
        let index = choices.number(0, LINES - 1);
        match choices.number(0, 9) {
            0..=2 => self.say(index, choices),
            3 | 4 => {
                self.work(index, choices);
                // Mostly the answer comes at once.
                if !choices.chance(30) {
                    self.answer(index, choices);
                }
            }
            5 => self.answer(index, choices),
            6 => self.lines[index].push(choices),
            7 => self.pass(choices),
            8 => {
                let line = &mut self.lines[index];
                match choices.number(0, 7) {
                    0 => line.connection.handle_shutdown(),
                    1 => line.connection.handle_too_long(),
                    2 | 3 => line.connection.handle_pong(&choices.bytes(4)),
                    _ => line.connection.handle_pong(choices.number(0, 9).to_string().as_bytes()),
                }
            }
            _ => {
                let over = self.lines[index].connection.is_over();
                if over || choices.chance(5) {
                    self.lines[index] = self.open();
                }
            }
        }
        self.rest(index);
    }

    /// The client says something, sensible or not.
    fn say(&mut self, index: usize, choices: &mut Choices<'_>) {
        let line = &mut self.lines[index];
        // A driver may have read it already.
        if !line.connection.wants_messages() && !choices.chance(10) {
            return;
        }
        let person = choices.one_of(&PEOPLE);
        let sequence = choices.number(0, 300) as u32;
        let say = client::Client { dialect: self.dialect, sequence };
        let message = match choices.number(0, 14) {
            0 => choices.bytes(300),
            1 | 2 => {
                let nonce = if choices.chance(10) { [0; Challenge::LEN] } else { line.nonce };
                let signer = if choices.chance(10) { choices.one_of(&PEOPLE) } else { person };
                if nonce == line.nonce && signer == person {
                    line.shown.push(person.address(self.dialect));
                }
                say.log_in(person, signer, &nonce)
            }
            3 => {
                let len = choices.one_of(&[1, 20, 32_000]);
                let count = choices.number(0, 12);
                say.register(Bytes::from(vec![0x51; len]), vec![Bytes::from_static(b"one"); count])
            }
            4 => say.unregister(),
            5 | 6 => {
                let len = choices.one_of(&[0, 1, 40, 32_600]);
                self.store.count += 1;
                let mut message = self.store.count.to_be_bytes().to_vec();
                message.resize(8.max(len), 0);
                say.send(person, message.into())
            }
            7 => say.ask_prekeys(person),
            8 => say.ask_number(person),
            9..=12 => {
                // Mostly of something that was delivered, the last of it first, and sometimes again.
                let again = choices.chance(20);
                let delivered = match line.delivered.pop() {
                    Some(last) if again => {
                        line.delivered.push(last);
                        last
                    }
                    Some(last) => last,
                    None => sequence,
                };
                client::Client { sequence: delivered, ..say }.acknowledge()
            }
            13 => Bytes::from(vec![0xa5; choices.one_of(&[MAX_MESSAGE_LEN, MAX_MESSAGE_LEN + 1])]),
            _ => choices.one_of(&["forceclose", "forceclosed", ""]).into(),
        };
        // A few of its bytes are others.
        let message = if choices.chance(10) && !message.is_empty() {
            let mut message = message.to_vec();
            let at = choices.number(0, message.len() - 1);
            message[at] = choices.byte();
            // It may have become somebody's login: whose, is in the login.
            message.into()
        } else {
            message
        };
        line.connection.handle_message(self.now, message);
    }

    /// The store does something, in the order of the connection or not.
    fn work(&mut self, index: usize, choices: &mut Choices<'_>) {
        let line = &mut self.lines[index];
        let Some((id, operation)) = line.operations.pop_front() else { return };
        let outcome = if choices.chance(5) {
            Outcome::Failed(Failure::DiskFull)
        } else if choices.chance(5) && !matches!(operation, Operation::Fetch { .. }) {
            Outcome::Limited
        } else {
            self.store.run(operation)
        };
        line.outcomes.push_back((id, outcome));
        for (address, queued) in self.store.take_news() {
            for line in &mut self.lines {
                if line.address.as_ref() == Some(&address) {
                    line.pushes.push_back(queued.clone());
                }
            }
        }
    }

    /// The connection hears what the store has done.
    fn answer(&mut self, index: usize, choices: &mut Choices<'_>) {
        let line = &mut self.lines[index];
        if line.outcomes.is_empty() {
            return;
        }
        let at = choices.number(0, line.outcomes.len() - 1);
        let (id, outcome) = line.outcomes.remove(at).expect("it is one of them");
        match &outcome {
            Outcome::Fetched(page) => {
                line.given.extend(page.iter().map(|it| (it.position, it.message.clone())));
            }
            Outcome::PreKeys(Some(_)) => line.is_uncountable = true,
            _ => {}
        }
        line.connection.handle_outcome(self.now, id, outcome);
    }

    fn pass(&mut self, choices: &mut Choices<'_>) {
        let next = self.lines.iter().filter_map(|line| line.connection.poll_timeout()).min();
        self.now = match next {
            Some(next) if choices.flag() => next.max(self.now),
            _ => self.now + Duration::from_millis(choices.number(0, 20_000) as u64),
        };
        for index in 0..LINES {
            self.lines[index].connection.handle_timeout(self.now);
            self.rest(index);
        }
    }

    /// Polls until nothing comes.
    fn rest(&mut self, index: usize) {
        let line = &mut self.lines[index];
        for _ in 0..MAX_STANDING {
            if !line.poll(self.dialect, &mut self.store) {
                return;
            }
        }
        panic!("a connection does not come to rest");
    }

    /// Everybody gets what is due: then each request has its answer.
    fn finish(&mut self) {
        let mut none = Choices::new(&[]);
        for index in 0..LINES {
            self.rest(index);
            for _ in 0..MAX_STANDING {
                self.work(index, &mut none);
                self.answer(index, &mut none);
                self.rest(index);
                let line = &self.lines[index];
                if line.operations.is_empty() && line.outcomes.is_empty() {
                    break;
                }
            }
            let line = &self.lines[index];
            assert!(line.operations.is_empty(), "operations without end");
            let requests = line.connection.stats().requests;
            if !line.connection.is_over() && !line.is_uncountable {
                assert_eq!(line.answers, requests, "answers to requests");
            }
        }
    }
}

impl Line {
    fn new(connection: Connection, nonce: [u8; Challenge::LEN]) -> Self {
        Self {
            connection,
            nonce,
            shown: Vec::new(),
            address: None,
            operations: VecDeque::new(),
            outcomes: VecDeque::new(),
            pushes: VecDeque::new(),
            given: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            delivered: Vec::new(),
            greetings: 0,
            answers: 0,
            is_uncountable: false,
        }
    }

    /// The subscription says something.
    fn push(&mut self, choices: &mut Choices<'_>) {
        if choices.chance(20) {
            // Too many have come at once.
            self.pushes.clear();
            return self.connection.handle_news();
        }
        if let Some(queued) = self.pushes.pop_front() {
            self.given.insert(queued.position, queued.message.clone());
            self.connection.handle_pushed(queued);
        }
    }

    /// Takes what comes out; whether anything has.
    fn poll(&mut self, dialect: Dialect, store: &mut Store) -> bool {
        let mut is_busy = false;
        while let Some(transmit) = self.connection.poll_transmit() {
            is_busy = true;
            match transmit {
                Transmit::Message(frame) => self.hear(dialect, frame, store),
                Transmit::Ping(payload) => assert!(payload.len() <= 125, "a ping too long"),
                Transmit::Close(_) | Transmit::Abort => {
                    assert!(self.connection.is_over() && !self.connection.wants_messages());
                    assert_eq!(self.connection.poll_transmit(), None, "after the end");
                }
            }
        }
        self.check_address();
        while let Some((id, operation)) = self.connection.poll_operation() {
            is_busy = true;
            self.check_operation(&operation);
            self.operations.push_back((id, operation));
        }
        while let Some(Acknowledged { address, positions }) = self.connection.poll_acknowledged() {
            is_busy = true;
            assert_eq!(Some(&address), self.address.as_ref(), "somebody else's queue");
            for position in positions {
                assert!(self.given.contains_key(&position), "{position:?} was not delivered");
                assert!(self.acknowledged.insert(position), "{position:?} twice");
                store.acknowledge(&address, position);
            }
        }
        is_busy
    }

    fn hear(&mut self, dialect: Dialect, frame: Bytes, store: &Store) {
        assert!(frame.len() <= MAX_MESSAGE_LEN, "a message of {} bytes", frame.len());
        let (sequence, heard) = client::hear(dialect, frame);
        self.check_address();
        match heard {
            Heard::Greeting => {
                self.greetings += 1;
                assert!(self.greetings <= 2 && self.answers == 0, "a second challenge");
            }
            Heard::Answer => {
                self.answers += 1;
                let requests = self.connection.stats().requests;
                assert!(self.answers <= requests, "an answer to nobody");
            }
            Heard::PreKey => self.is_uncountable = true,
            Heard::Low => assert!(self.address.is_some(), "a stranger is asked for prekeys"),
            Heard::Message(message) => {
                let address = self.address.as_ref().expect("a stranger gets a message");
                assert!(store.was_sent(address, &message), "a message to somebody else");
                self.delivered.push(sequence);
            }
        }
    }

    /// Who it is, is who was shown to be there, and stays so.
    fn check_address(&mut self) {
        let address = self.connection.address();
        if self.address.is_some() {
            assert_eq!(address, self.address.as_ref(), "it has become somebody else");
        } else if let Some(address) = address {
            assert!(self.shown.contains(address), "{address:?} has not shown who it is");
            self.address = Some(address.clone());
        }
    }

    fn check_operation(&self, operation: &Operation) {
        let own = match operation {
            Operation::Register(address, _)
            | Operation::Unregister(address)
            | Operation::Remaining(address)
            | Operation::Fetch { address, .. } => Some(address),
            _ => None,
        };
        assert_eq!(own, self.address.as_ref(), "{operation:?}");
    }
}
