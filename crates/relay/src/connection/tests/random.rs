//! Two people and strangers, whatever they send and in whatever order things happen.

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::Address;
use crate::dialect::Said;
use crate::store::{Failure, Queued};

const STEPS: usize = 600;
const LINES: usize = 5;

/// The seeds: 40 of them, or the one in `TOWLINE_SEED`. The last one printed is the one that failed.
#[allow(clippy::print_stdout, reason = "the test runner shows it when the test fails")]
fn seeds() -> impl Iterator<Item = u64> {
    let given = std::env::var("TOWLINE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = given.map_or(0..40, |seed: u64| seed..seed + 1);
    seeds.inspect(|seed| println!("TOWLINE_SEED={seed}"))
}

/// A connection with what its client waits for and has heard.
struct Line {
    peer: Peer,
    /// Who may log in on it.
    person: Option<Person>,
    /// Requests that have no answer yet, and whether they are for prekeys.
    pending: VecDeque<(u32, bool)>,
    /// Of operations that the store has done, but has not answered.
    outcomes: Vec<(OperationId, Outcome)>,
    is_subscribed: bool,
    pushes: VecDeque<Queued>,
    delivered: Vec<Bytes>,
    unacknowledged: Vec<u32>,
    is_over: bool,
}

struct World {
    random: StdRng,
    dialect: Dialect,
    memory: Memory,
    lines: Vec<Line>,
    /// All that has ever been queued for somebody.
    log: BTreeMap<Address, Vec<Bytes>>,
    sent: u32,
    /// What came about often enough to say that it was tested.
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    logins: u64,
    delivered: u64,
    low: u64,
    ends: u64,
}

#[test]
fn nobody_gets_what_is_anothers_and_every_request_gets_one_answer() {
    let mut seen = Seen::default();
    for seed in seeds() {
        for dialect in DIALECTS {
            let mut world = World::new(seed, dialect);
            for _ in 0..STEPS {
                world.step();
            }
            world.finish();
            seen.answers += world.seen.answers;
            seen.logins += world.seen.logins;
            seen.delivered += world.seen.delivered;
            seen.low += world.seen.low;
            seen.ends += world.seen.ends;
        }
    }
    // A single seed need not have seen it all.
    if std::env::var("TOWLINE_SEED").is_err() {
        let Seen { answers, logins, delivered, low, ends } = seen;
        assert!(answers > 5000 && delivered > 500, "{seen:?}");
        assert!(logins > 50 && low > 20 && ends > 20, "{seen:?}");
    }
}

impl World {
    fn new(seed: u64, dialect: Dialect) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let (memory, log) = (Memory::default(), BTreeMap::new());
        let mut world = Self {
            random,
            dialect,
            memory,
            lines: Vec::new(),
            log,
            sent: 0,
            seen: Seen::default(),
        };
        world.lines = (0..LINES).map(|_| world.line()).collect();
        world
    }

    fn line(&mut self) -> Line {
        let config = config()
            .window(self.random.random_range(1..20))
            .max_requests(self.random.random_range(1..5))
            .prekey_interval(Duration::from_secs(10));
        Line {
            peer: Peer::new(self.dialect, config),
            person: [None, Some(ALICE), Some(BOB), Some(ALICE)]
                .choose(&mut self.random)
                .copied()
                .unwrap(),
            pending: VecDeque::new(),
            outcomes: Vec::new(),
            is_subscribed: false,
            pushes: VecDeque::new(),
            delivered: Vec::new(),
            unacknowledged: Vec::new(),
            is_over: false,
        }
    }

    fn step(&mut self) {
        let at = self.random.random_range(0..self.lines.len());
        if self.lines[at].is_over {
            self.check_delivered(at);
            self.lines[at] = self.line();
        }
        match self.random.random_range(0..100) {
            0..25 => self.ask(at),
            25..30 => self.babble(at),
            30..50 => self.begin(at),
            50..65 => self.resolve(at),
            65..80 => self.hear(at),
            80..86 => self.acknowledge(at),
            86..94 => self.push(at),
            94..99 => self.pass(at),
            _ => self.end(at),
        }
    }

    fn ask(&mut self, at: usize) {
        let wants = self.lines[at].peer.connection.wants_messages();
        if !wants && self.random.random_bool(0.9) {
            return;
        }
        let mut message = self.request(at).to_vec();
        if self.random.random_bool(0.1) {
            let byte = self.random.random_range(0..message.len());
            message[byte] ^= 1 << self.random.random_range(0..8);
        }
        self.feed(at, message.into());
    }

    /// What somebody could well ask.
    fn request(&mut self, at: usize) -> Bytes {
        self.sent += 1;
        let body = format!("message {}", self.sent);
        let one_time = vec![Bytes::from("once"); self.random.random_range(0..15)];
        let somebody = if self.random.random() { ALICE } else { BOB };
        let login = self.lines[at].person.map_or(Ask::Unregister, Ask::LogIn);
        let ask = match self.random.random_range(0..100) {
            0..25 => login,
            25..26 => Ask::LogInFalsely(somebody),
            26..40 => Ask::Register(b"signed", &one_time),
            40..43 => Ask::Unregister,
            43..55 => Ask::PreKeys(somebody),
            55..60 => Ask::OtherPreKeys(somebody),
            60..62 => Ask::SendToNobody,
            62..65 if self.dialect == Dialect::Deployed => {
                Ask::Uploads(self.random.random_range(-1..3))
            }
            65..68 if self.dialect == Dialect::Deployed => Ask::NumberByShort("23"),
            68..70 if self.dialect == Dialect::Deployed => Ask::NumberOf(somebody),
            _ => Ask::Send(somebody, body.as_bytes()),
        };
        let sequence = if self.random.random_bool(0.2) { 0 } else { self.random.random() };
        encode(self.dialect, sequence, ask)
    }

    fn babble(&mut self, at: usize) {
        let len = self.random.random_range(0..40);
        let bytes: Vec<u8> = (0..len).map(|_| self.random.random()).collect();
        self.feed(at, bytes.into());
    }

    fn feed(&mut self, at: usize, message: Bytes) {
        let line = &mut self.lines[at];
        if let Ok(received) = self.dialect.read(message.clone()) {
            let is_request = !matches!(received.said, Said::Acknowledged | Said::Nothing);
            if is_request {
                use crate::dialect::AnonymousRequest::PreKeys;
                let is_prekeys = matches!(received.said, Said::Anonymous(Ok(PreKeys { .. })));
                line.pending.push_back((received.sequence, is_prekeys));
            }
        }
        line.peer.feed(message);
    }

    /// The store does what it is asked, and answers later.
    fn begin(&mut self, at: usize) {
        let line = &mut self.lines[at];
        let Some((id, operation)) = line.peer.connection.poll_operation() else { return };
        let own = line.person.map(|person| person.address(self.dialect));
        match &operation {
            Operation::Register(address, _)
            | Operation::Unregister(address)
            | Operation::Remaining(address)
            | Operation::Fetch { address, .. } => assert_eq!(Some(address), own.as_ref()),
            _ => {}
        }
        let sent = match &operation {
            Operation::Enqueue { to, .. } => Some(to.clone()),
            _ => None,
        };
        line.outcomes.push((id, self.memory.run(operation)));
        if let Some(to) = sent {
            let queued = self.memory.queues[&to].last().unwrap().clone();
            self.log.entry(to.clone()).or_default().push(queued.message.clone());
            for line in &mut self.lines {
                if line.is_subscribed && line.peer.connection.address() == Some(&to) {
                    line.pushes.push_back(queued.clone());
                }
            }
        }
    }

    fn resolve(&mut self, at: usize) {
        let line = &mut self.lines[at];
        if line.outcomes.is_empty() {
            return;
        }
        let (id, outcome) = line.outcomes.remove(self.random.random_range(0..line.outcomes.len()));
        let fails = self.random.random_bool(0.05);
        line.peer.outcome(id, if fails { Outcome::Failed(Failure::DiskFull) } else { outcome });
    }

    fn hear(&mut self, at: usize) {
        for _ in 0..self.random.random_range(1..10) {
            self.hear_one(at);
        }
    }

    /// The client hears the next thing, if there is one; whether there was.
    fn hear_one(&mut self, at: usize) -> bool {
        let line = &mut self.lines[at];
        let Some(transmit) = line.peer.connection.poll_transmit() else { return false };
        match transmit {
            Transmit::Ping(payload) if self.random.random_bool(0.9) => {
                line.peer.connection.handle_pong(&payload);
            }
            Transmit::Ping(_) => {}
            Transmit::Close(_) | Transmit::Abort => {
                assert!(line.peer.connection.is_over());
                line.is_over = true;
                self.seen.ends += 1;
            }
            Transmit::Message(frame) => self.understand(at, frame),
        }
        true
    }

    fn understand(&mut self, at: usize, frame: Bytes) {
        let line = &mut self.lines[at];
        let heard = heard(self.dialect, frame);
        let is_logged_in = line.peer.connection.address().is_some();
        match heard.told {
            Told::Message(message) => {
                assert!(is_logged_in);
                line.delivered.push(message);
                line.unacknowledged.push(heard.sequence);
                self.seen.delivered += 1;
            }
            Told::PreKeysLow(_) => {
                assert!(is_logged_in);
                self.seen.low += 1;
            }
            // Everybody has one device, so it is the whole answer.
            Told::PreKey(..) => {
                let (_, is_prekeys) = line.pending.pop_front().expect("a request");
                assert!(is_prekeys);
                self.seen.answers += 1;
            }
            told => {
                assert!(told.is_answer(), "{told:?}");
                let (sequence, _) = line.pending.pop_front().expect("a request");
                assert_eq!(heard.sequence, sequence, "{told:?}");
                self.seen.answers += 1;
            }
        }
    }

    fn acknowledge(&mut self, at: usize) {
        let line = &mut self.lines[at];
        if self.random.random_bool(0.1) {
            line.peer.ask(self.random.random_range(0..50), Ask::Acknowledge);
        } else if !line.unacknowledged.is_empty() {
            let which = self.random.random_range(0..line.unacknowledged.len());
            line.peer.ask(line.unacknowledged.swap_remove(which), Ask::Acknowledge);
        }
        self.take_out(at);
    }

    fn take_out(&mut self, at: usize) {
        let line = &mut self.lines[at];
        if let Some(acknowledged) = line.peer.connection.poll_acknowledged() {
            let own = line.person.map(|person| person.address(self.dialect));
            assert_eq!(Some(&acknowledged.address), own.as_ref());
            self.memory.acknowledge(&acknowledged);
        }
    }

    fn push(&mut self, at: usize) {
        let line = &mut self.lines[at];
        if line.peer.connection.address().is_some() && !line.is_subscribed {
            line.is_subscribed = true;
            line.peer.connection.handle_news();
            self.seen.logins += 1;
        } else if self.random.random_bool(0.1) {
            line.pushes.clear();
            line.peer.connection.handle_news();
        } else if let Some(queued) = line.pushes.pop_front() {
            line.peer.connection.handle_pushed(queued);
        }
    }

    fn pass(&mut self, at: usize) {
        let time = Duration::from_millis(self.random.random_range(0..8000));
        self.lines[at].peer.pass(time);
    }

    fn end(&mut self, at: usize) {
        match self.random.random_range(0..10) {
            0 => self.feed(at, "forceclose".into()),
            1 => self.feed(at, vec![0; 32_769].into()),
            _ => {}
        }
    }

    /// Whatever was delivered was in the client's own queue, in this order and no more often.
    fn check_delivered(&self, at: usize) {
        let line = &self.lines[at];
        let Some(person) = line.person else { return assert!(line.delivered.is_empty()) };
        let mut queue = self.log.get(&person.address(self.dialect)).into_iter().flatten();
        for message in &line.delivered {
            assert!(queue.any(|it| it == message), "{message:?} came late, twice or astray");
        }
    }

    /// Everything is answered, and everything delivered is acknowledged, until nothing is left.
    fn finish(&mut self) {
        // A queue that could not be read is left alone for a while, and one line sends what another gets.
        for _ in 0..3 {
            for at in 0..self.lines.len() {
                self.settle(at);
                self.lines[at].peer.pass(Duration::from_secs(5));
            }
        }
        for at in 0..self.lines.len() {
            self.check_delivered(at);
            let line = &self.lines[at];
            if line.is_over {
                continue;
            }
            assert!(line.pending.is_empty(), "never answered: {:?}", line.pending);
            if let Some(address) = line.peer.connection.address() {
                let left = self.memory.queued(address);
                assert!(left.is_empty(), "never delivered: {left:?}");
            }
        }
    }

    fn settle(&mut self, at: usize) {
        loop {
            let mut is_dry = true;
            while self.hear_one(at) {
                is_dry = false;
            }
            let operations = self.lines[at].outcomes.len();
            self.begin(at);
            let line = &mut self.lines[at];
            if line.peer.connection.address().is_some() && !line.is_subscribed {
                line.is_subscribed = true;
                line.peer.connection.handle_news();
            }
            is_dry &= line.outcomes.len() == operations && line.outcomes.is_empty();
            for (id, outcome) in std::mem::take(&mut line.outcomes) {
                line.peer.outcome(id, outcome);
            }
            while let Some(queued) = line.pushes.pop_front() {
                is_dry = false;
                line.peer.connection.handle_pushed(queued);
            }
            for sequence in std::mem::take(&mut line.unacknowledged) {
                is_dry = false;
                line.peer.ask(sequence, Ask::Acknowledge);
            }
            self.take_out(at);
            if is_dry {
                return;
            }
        }
    }
}
