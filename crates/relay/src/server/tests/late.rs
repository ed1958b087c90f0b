//! A store that takes its time for acknowledgements.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::yield_now;
use towline_wire::relay::number::Candidate;

use super::*;
use crate::store::{
    EnqueueError, Failure, NumberError, OneTime, Page, Position, PreKey, Queued, RegisterError,
    Registration, Subscription,
};
use crate::{Address, Device, Owner};

/// Has everything done by another one, acknowledgements late.
struct Late {
    store: Sqlite,
    acknowledged: Arc<AtomicUsize>,
    /// What there is of them when a device is unregistered.
    at_unregister: Arc<AtomicUsize>,
}

impl Store for Late {
    async fn register(&self, of: &Address, keys: Registration) -> Result<(), RegisterError> {
        self.store.register(of, keys).await
    }

    async fn unregister(&self, address: &Address) -> Result<(), Failure> {
        self.at_unregister.store(self.acknowledged.load(Ordering::SeqCst), Ordering::SeqCst);
        self.store.unregister(address).await
    }

    async fn prekeys(
        &self,
        owner: &Owner,
        known: &[Device],
        one_time: OneTime,
    ) -> Result<Option<Vec<PreKey>>, Failure> {
        self.store.prekeys(owner, known, one_time).await
    }

    async fn remaining(&self, address: &Address) -> Result<Option<u64>, Failure> {
        self.store.remaining(address).await
    }

    async fn assign_number(
        &self,
        owner: &Owner,
        candidates: impl Iterator<Item = Candidate> + Send + 'static,
    ) -> Result<Candidate, NumberError> {
        self.store.assign_number(owner, candidates).await
    }

    async fn number(&self, owner: &Owner) -> Result<Option<Candidate>, Failure> {
        self.store.number(owner).await
    }

    async fn number_by_short(&self, short: &str) -> Result<Option<Candidate>, Failure> {
        self.store.number_by_short(short).await
    }

    async fn enqueue(
        &self,
        to: &Address,
        message: Bytes,
        now: Timestamp,
    ) -> Result<Position, EnqueueError> {
        self.store.enqueue(to, message, now).await
    }

    async fn fetch(
        &self,
        address: &Address,
        after: Position,
        page: Page,
    ) -> Result<Vec<Queued>, Failure> {
        self.store.fetch(address, after, page).await
    }

    async fn subscribe(&self, address: &Address) -> Result<Subscription, Failure> {
        self.store.subscribe(address).await
    }

    async fn acknowledge(&self, address: &Address, position: Position) -> Result<(), Failure> {
        for _ in 0..1000 {
            yield_now().await;
        }
        self.store.acknowledge(address, position).await?;
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn expire(&self, before: Timestamp) -> Result<u64, Failure> {
        self.store.expire(before).await
    }
}

#[tokio::test]
async fn an_answer_says_that_what_was_acknowledged_before_is_out_of_the_queue() {
    for dialect in DIALECTS {
        let at_unregister = Arc::new(AtomicUsize::new(0));
        let directory = tempfile::tempdir().unwrap();
        let config = sqlite::Config::builder().build().unwrap();
        let late = Late {
            store: Sqlite::open(directory.path().join("late.db"), &config).unwrap(),
            acknowledged: Arc::default(),
            at_unregister: Arc::clone(&at_unregister),
        };
        let relay = Relay::with(|_| Server::builder(late)).await;
        let mut bob = relay.connect(dialect).await;
        let mut alice = relay.log_in(dialect, ALICE).await;
        for _ in 0..3 {
            bob.ask(7, Ask::Send(ALICE, b"sealed")).await;
        }
        for _ in 0..3 {
            let (sequence, _) = alice.hear_message().await;
            alice.say(sequence, Ask::Acknowledge).await;
        }
        assert_eq!(alice.ask(8, Ask::Unregister).await.told, Told::Ack);
        assert_eq!(at_unregister.load(Ordering::SeqCst), 3);
    }
}
