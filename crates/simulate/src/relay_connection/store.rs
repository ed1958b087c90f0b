//! A store in memory, without limits, that remembers all that was ever sent.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use towline_relay::connection::{Operation, Outcome};
use towline_relay::store::{OneTime, Position, PreKey, Queued, Registration, Timestamp};
use towline_relay::{Address, Owner};
use towline_wire::relay::number::{self, Candidate};

#[derive(Default)]
pub(super) struct Store {
    devices: BTreeMap<Address, Registration>,
    numbers: BTreeMap<Owner, Candidate>,
    queues: BTreeMap<Address, Vec<Queued>>,
    sent: BTreeSet<(Address, Bytes)>,
    news: Vec<(Address, Queued)>,
    next: u64,
    /// Messages so far that are like no other.
    pub(super) count: u64,
}

impl Store {
    pub(super) fn run(&mut self, operation: Operation) -> Outcome {
        match operation {
            Operation::Register(address, registration) => {
                self.devices.insert(address, registration);
                Outcome::Done
            }
            Operation::Unregister(address) => {
                self.devices.remove(&address);
                Outcome::Done
            }
            Operation::PreKeys { owner, known, one_time } => self.prekeys(&owner, &known, one_time),
            Operation::Remaining(address) => {
                let device = self.devices.get(&address);
                Outcome::Remaining(device.map(|device| device.one_time.len() as u64))
            }
            Operation::AssignNumber(identity) => {
                let number = number::candidates(&identity).next().expect("there is one at least");
                self.numbers.insert(identity.into(), number.clone());
                Outcome::Number(Some(number))
            }
            Operation::NumberOf(owner) => Outcome::Number(self.numbers.get(&owner).cloned()),
            Operation::NumberByShort(short) => {
                Outcome::Number(self.numbers.values().find(|number| number.short == short).cloned())
            }
            Operation::Enqueue { to, message } => {
                self.next += 1;
                let (position, since) = (Position(self.next), Timestamp(0));
                self.sent.insert((to.clone(), message.clone()));
                let queued = Queued { position, since, message };
                self.queues.entry(to.clone()).or_default().push(queued.clone());
                self.news.push((to, queued));
                Outcome::Done
            }
            Operation::Fetch { address, after, page } => {
                let queue = self.queues.get(&address).into_iter().flatten();
                let queue = queue.filter(|queued| queued.position > after).take(page.count);
                Outcome::Fetched(queue.cloned().collect())
            }
            other => panic!("{other:?} is new"),
        }
    }

    fn prekeys(
        &mut self,
        owner: &Owner,
        known: &[towline_relay::Device],
        one_time: OneTime,
    ) -> Outcome {
        let mut devices = self.devices.iter_mut().filter(|(it, _)| it.owner == *owner).peekable();
        if devices.peek().is_none() {
            return Outcome::PreKeys(None);
        }
        let devices = devices.filter(|(it, _)| !known.contains(&it.device));
        let keys = devices.map(|(address, registration)| PreKey {
            device: address.device.clone(),
            registration_id: registration.id,
            signed: registration.signed.clone(),
            one_time: match one_time {
                OneTime::Take => registration.one_time.pop(),
                OneTime::Leave => None,
            },
        });
        Outcome::PreKeys(Some(keys.collect()))
    }

    pub(super) fn acknowledge(&mut self, address: &Address, position: Position) {
        if let Some(queue) = self.queues.get_mut(address) {
            queue.retain(|queued| queued.position != position);
        }
    }

    /// Whether a message was ever sent to somebody.
    pub(super) fn was_sent(&self, to: &Address, message: &Bytes) -> bool {
        self.sent.contains(&(to.clone(), message.clone()))
    }

    /// What has come into the queues since the last call.
    pub(super) fn take_news(&mut self) -> Vec<(Address, Queued)> {
        std::mem::take(&mut self.news)
    }
}
