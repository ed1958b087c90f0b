//! A relay that is killed at any moment, again and again, has lost nothing that it has answered for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Error;
use towline_relay::auth::Key;
use towline_wire::relay::seed::{
    Ack, Address, Login, Message, OutboundMessage, Payload, Unregister,
};

use super::Relay;
use super::client::Client;
use super::nats::Nats;
use crate::support::{environment, json, run};

/// Messages of a sender that wait for their acknowledgements.
const WINDOW: u64 = 32;
/// Messages of a queue, beyond which the sender lets the recipient catch up.
const BACKLOG: usize = 500;
const BOXES: u64 = 3;

/// Somebody, who sends him numbers, and what became of them.
struct Mail {
    key: Key,
    random: StdRng,
    /// The next number.
    next: u64,
    /// How many the relay has answered for.
    promised: u64,
    /// Those of them that the recipient has not acknowledged.
    kept: BTreeSet<u64>,
    /// The recipient has acknowledged these; the relay may not have heard so.
    acknowledged: BTreeSet<u64>,
    /// The relay has heard so for certain.
    settled: BTreeSet<u64>,
}

/// When the relay is to be killed.
struct Fuse<'a> {
    relay: &'a RefCell<Relay>,
    promises_left: Cell<u64>,
}

impl Fuse<'_> {
    fn burn(&self) {
        let left = self.promises_left.get().saturating_sub(1);
        self.promises_left.set(left);
        if left == 0 {
            self.relay.borrow_mut().running.kill();
        }
    }
}

/// One connection of the recipient.
#[derive(Default)]
struct Delivery {
    last: u64,
    sequence: u32,
    /// Acknowledged since the last question.
    acknowledged: Vec<u64>,
    /// A question, and what was acknowledged before it: the answer says that the relay has heard of that.
    asked: Option<(u32, Vec<u64>)>,
}

impl Mail {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        Self {
            key: Key::new(&random.random()),
            random,
            next: 1,
            promised: 0,
            kept: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            settled: BTreeSet::new(),
        }
    }

    fn address(&self) -> Address {
        Address { user_id: self.key.user_id().into(), device_id: 1 }
    }

    async fn log_in(&self, relay: &str) -> Result<Client<Message>, Error> {
        let mut client = Client::<Message>::try_connect(relay).await?;
        let Some(Payload::AuthChallenge(challenge)) = client.try_hear().await?.payload else {
            panic!("no challenge")
        };
        let mut login = Vec::new();
        let login_message = Login { address: Some(self.address()), nonce: challenge.nonce };
        login_message.encode(&mut login).expect("a short message");
        let response = self.key.answer_seed(login.into());
        let payload = Some(Payload::AuthResponse(response));
        client.try_say(Message { sequence: 0, payload }).await?;
        assert_eq!(client.try_hear().await?, ack(0));
        Ok(client)
    }

    /// Sends and receives, up to `last` or until the relay is gone.
    async fn go_on(
        &mut self,
        relay: &str,
        fuse: &Fuse<'_>,
        last: Option<u64>,
    ) -> Result<(), Error> {
        let mut recipient = self.log_in(relay).await?;
        let mut sender = Client::<Message>::try_connect(relay).await?;
        sender.try_hear().await?;
        let (mut delivery, first) = (Delivery::default(), self.next);
        let mut answered = 0;
        while last != Some(delivery.last) {
            while self.next - first - answered < WINDOW
                && self.kept.len() < BACKLOG
                && last.is_none_or(|last| self.next <= last)
            {
                let outbound = OutboundMessage {
                    to: Some(self.address()),
                    unidentified_sender_message: Bytes::copy_from_slice(&self.next.to_be_bytes()),
                };
                let sequence = (self.next - first) as u32;
                let payload = Some(Payload::OutboundMessage(outbound));
                sender.try_say(Message { sequence, payload }).await?;
                self.next += 1;
            }
            tokio::select! {
                heard = sender.try_hear() => {
                    assert_eq!(heard?, ack(answered as u32));
                    self.promised += 1;
                    if !self.acknowledged.contains(&(first + answered)) {
                        self.kept.insert(first + answered);
                    }
                    answered += 1;
                    fuse.burn();
                }
                heard = recipient.try_hear() => {
                    self.receive(heard?, last.is_some(), &mut delivery, &mut recipient).await?;
                }
            }
        }
        Ok(())
    }

    async fn receive(
        &mut self,
        heard: Message,
        is_last: bool,
        delivery: &mut Delivery,
        recipient: &mut Client<Message>,
    ) -> Result<(), Error> {
        let number = match heard.payload {
            Some(Payload::InboundMessage(number)) => {
                u64::from_be_bytes(number[..].try_into().expect("eight bytes"))
            }
            Some(Payload::Ack(Ack {})) => {
                let (sequence, settled) = delivery.asked.take().expect("a question");
                assert_eq!(heard.sequence, sequence);
                self.settled.extend(settled);
                return Ok(());
            }
            other => panic!("{other:?} to a recipient"),
        };
        assert!(number > delivery.last, "{number} after {}", delivery.last);
        assert!(!self.settled.contains(&number), "{number} again");
        let lost = self.kept.range(delivery.last + 1..number).next();
        assert_eq!(lost, None, "before {number}");
        delivery.last = number;

        // Some are left for the next connection, if there will be one: a window full of them would be the end.
        if is_last || self.random.random_ratio(3, 4) {
            recipient.try_say(ack(heard.sequence)).await?;
            self.acknowledged.insert(number);
            self.kept.remove(&number);
            delivery.acknowledged.push(number);
        }
        if delivery.asked.is_none() && self.random.random_ratio(1, 8) {
            delivery.sequence += 1;
            let (sequence, payload) = (delivery.sequence, Some(Payload::Unregister(Unregister {})));
            recipient.try_say(Message { sequence, payload }).await?;
            delivery.asked = Some((sequence, std::mem::take(&mut delivery.acknowledged)));
        }
        Ok(())
    }
}

fn ack(sequence: u32) -> Message {
    Message { sequence, payload: Some(Payload::Ack(Ack {})) }
}

/// Kills a relay with these arguments `TOWLINE_ROUNDS` times, and returns what it has stored.
async fn kill_again_and_again(arguments: &[&str]) -> TempDir {
    let seed = environment("TOWLINE_SEED", 1);
    let rounds = environment("TOWLINE_ROUNDS", 10);
    eprintln!("TOWLINE_SEED={seed} TOWLINE_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut mails: Vec<_> = (0..BOXES).map(|index| Mail::new(seed * BOXES + index)).collect();
    let mut directory = tempfile::tempdir().expect("a new directory");
    for _ in 0..rounds {
        let relay = Relay::with(directory, arguments);
        let address = relay.address.clone();
        let relay = RefCell::new(relay);
        let fuse = Fuse { relay: &relay, promises_left: Cell::new(random.random_range(1..600)) };
        let gone = join_all(mails.iter_mut().map(|mail| mail.go_on(&address, &fuse, None))).await;
        assert!(gone.iter().all(Result::is_err));
        assert_eq!(fuse.promises_left.get(), 0, "the relay has ended by itself");
        directory = relay.into_inner().directory;
    }

    let relay = RefCell::new(Relay::with(directory, arguments));
    let address = relay.borrow().address.clone();
    let fuse = Fuse { relay: &relay, promises_left: Cell::new(u64::MAX) };
    let done = join_all(mails.iter_mut().map(|mail| {
        // When this one is there, so is everything before it.
        let last = Some(mail.next);
        mail.go_on(&address, &fuse, last)
    }))
    .await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let promised: u64 = mails.iter().map(|mail| mail.promised).sum();
    let settled: usize = mails.iter().map(|mail| mail.settled.len()).sum();
    eprintln!("{promised} messages were answered for, {settled} acknowledgements settled");
    assert!(settled > 0);
    relay.into_inner().end()
}

#[tokio::test]
async fn a_relay_that_is_killed_at_any_moment_loses_nothing_and_repeats_nothing() {
    let directory = kill_again_and_again(&[]).await;
    let data = directory.path().to_str().unwrap();
    let report = json(&run(&["relay", "check", "--data", data, "--json"], b""));
    assert_eq!(report["faults"], serde_json::json!([]));
}

#[tokio::test]
async fn so_does_one_that_keeps_everything_in_a_cluster() {
    if let Some(nats) = Nats::start() {
        kill_again_and_again(&["--store", &nats.url]).await;
    }
}
