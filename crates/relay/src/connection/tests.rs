mod delivery;
#[cfg(feature = "sqlite")]
mod flow;
mod liveness;
mod login;
mod memory;
mod prekeys;
mod random;
mod requests;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Close, Config, Connection, Operation, OperationId, Outcome, Transmit};
use crate::auth::Challenge;
use crate::dialect::Dialect;
use crate::test_client::{ALICE, Ask, BOB, Heard, NONCE, Person, Told, encode, heard};
use memory::Memory;

const DIALECTS: [Dialect; 2] = [Dialect::Deployed, Dialect::Seed];
const DOMAIN: &str = "example.org";

fn config() -> super::ConfigBuilder {
    Config::builder().domain(DOMAIN)
}

/// A connection and the client at its other end.
struct Peer {
    dialect: Dialect,
    connection: Connection,
    now: Instant,
}

impl Peer {
    /// One that has just connected, and has heard the challenge.
    fn new(dialect: Dialect, config: super::ConfigBuilder) -> Self {
        let (now, config) = (Instant::now(), config.build().unwrap().into());
        let connection = Connection::new(now, config, dialect, &Challenge::from(NONCE));
        let mut peer = Self { dialect, connection, now };
        peer.hear();
        peer
    }

    fn anonymous(dialect: Dialect) -> Self {
        Self::new(dialect, config())
    }

    /// One that has logged in, and has heard so, but nothing else.
    fn logged_in(dialect: Dialect, config: super::ConfigBuilder, person: Person) -> Self {
        let mut peer = Self::new(dialect, config);
        peer.ask(0, Ask::LogIn(person));
        if dialect == Dialect::Deployed {
            let (id, operation) = peer.operation();
            peer.outcome(id, Memory::default().run(operation));
        }
        assert_eq!(peer.hear().len(), 1);
        assert!(peer.connection.address().is_some());
        peer
    }

    fn ask(&mut self, sequence: u32, ask: Ask<'_>) {
        self.feed(encode(self.dialect, sequence, ask));
    }

    fn feed(&mut self, message: impl Into<Bytes>) {
        self.connection.handle_message(self.now, message.into());
    }

    fn outcome(&mut self, id: OperationId, outcome: Outcome) {
        self.connection.handle_outcome(self.now, id, outcome);
    }

    /// The only operation that is asked for.
    fn operation(&mut self) -> (OperationId, Operation) {
        let operation = self.connection.poll_operation().expect("an operation");
        let more = self.connection.poll_operation();
        assert!(more.is_none(), "{more:?} beside {operation:?}");
        operation
    }

    fn transmits(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.connection.poll_transmit()).collect()
    }

    /// All that the client is sent, which is messages.
    fn hear(&mut self) -> Vec<Heard> {
        let dialect = self.dialect;
        let message = |transmit| match transmit {
            Transmit::Message(frame) => heard(dialect, frame),
            other => panic!("{other:?} is no message"),
        };
        self.transmits().into_iter().map(message).collect()
    }

    /// Goes on until nobody has anything to do.
    fn settle(&mut self, memory: &mut Memory) -> Vec<Heard> {
        let mut all = Vec::new();
        loop {
            let before = all.len();
            all.extend(self.hear());
            let mut is_dry = all.len() == before;
            while let Some((id, operation)) = self.connection.poll_operation() {
                is_dry = false;
                self.outcome(id, memory.run(operation));
            }
            while let Some(acknowledged) = self.connection.poll_acknowledged() {
                is_dry = false;
                memory.acknowledge(&acknowledged);
            }
            if is_dry {
                return all;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.connection.handle_timeout(self.now);
    }

    /// What comes after the messages, at the end.
    fn close(&mut self) -> Option<Close> {
        match self.transmits().pop() {
            Some(Transmit::Close(close)) => Some(close),
            _ => None,
        }
    }
}
