//! A store in memory that answers at once.

use std::collections::BTreeMap;

use towline_wire::relay::deployed::UploadAuthorization;
use towline_wire::relay::number::{self, Candidate};

use super::super::{Acknowledged, Operation, Outcome};
use crate::store::{Failure, Position, PreKey, Queued, Registration, Timestamp};
use crate::{Address, Owner};

#[derive(Default)]
pub(super) struct Memory {
    pub(super) queues: BTreeMap<Address, Vec<Queued>>,
    devices: BTreeMap<Address, Registration>,
    numbers: BTreeMap<Owner, Candidate>,
    last: u64,
    /// It only fails.
    pub(super) is_broken: bool,
}

impl Memory {
    pub(super) fn broken() -> Self {
        Self { is_broken: true, ..Self::default() }
    }

    pub(super) fn run(&mut self, operation: Operation) -> Outcome {
        if self.is_broken {
            return Outcome::Failed(Failure::DiskFull);
        }
        match operation {
            Operation::Register(address, registration) => {
                self.devices.insert(address, registration);
                Outcome::Done
            }
            Operation::Unregister(address) => {
                self.devices.remove(&address);
                Outcome::Done
            }
            Operation::PreKeys { owner, known, .. } => {
                let mut devices =
                    self.devices.iter_mut().filter(|(it, _)| it.owner == owner).peekable();
                if devices.peek().is_none() {
                    return Outcome::PreKeys(None);
                }
                let devices = devices.filter(|(it, _)| !known.contains(&it.device));
                let keys = devices.map(|(address, registration)| PreKey {
                    device: address.device.clone(),
                    registration_id: registration.id,
                    signed: registration.signed.clone(),
                    one_time: registration.one_time.pop(),
                });
                Outcome::PreKeys(Some(keys.collect()))
            }
            Operation::Remaining(address) => {
                let device = self.devices.get(&address);
                Outcome::Remaining(device.map(|it| it.one_time.len() as u64))
            }
            Operation::AssignNumber(identity) => {
                let number = number::candidates(&identity).next().unwrap();
                self.numbers.insert(identity.into(), number.clone());
                Outcome::Number(Some(number))
            }
            Operation::NumberOf(owner) => Outcome::Number(self.numbers.get(&owner).cloned()),
            Operation::NumberByShort(short) => {
                Outcome::Number(self.numbers.values().find(|it| it.short == short).cloned())
            }
            Operation::Enqueue { to, message } => {
                self.enqueue(&to, message);
                Outcome::Done
            }
            Operation::AuthorizeUploads { count } => {
                Outcome::Uploads(vec![UploadAuthorization::default(); count])
            }
            Operation::Fetch { address, after, page } => {
                let queue = self.queues.get(&address).into_iter().flatten();
                let queue = queue.filter(|it| it.position > after);
                Outcome::Fetched(queue.take(page.count).cloned().collect())
            }
        }
    }

    pub(super) fn enqueue(&mut self, to: &Address, message: impl Into<bytes::Bytes>) -> Queued {
        self.last += 1;
        let (position, since) = (Position(self.last), Timestamp(0));
        let queued = Queued { position, since, message: message.into() };
        self.queues.entry(to.clone()).or_default().push(queued.clone());
        queued
    }

    pub(super) fn acknowledge(&mut self, acknowledged: &Acknowledged) {
        if let Some(queue) = self.queues.get_mut(&acknowledged.address) {
            queue.retain(|it| !acknowledged.positions.contains(&it.position));
        }
    }

    /// What is in somebody's queue.
    pub(super) fn queued(&self, address: &Address) -> Vec<bytes::Bytes> {
        let queue = self.queues.get(address).into_iter().flatten();
        queue.map(|it| it.message.clone()).collect()
    }
}
