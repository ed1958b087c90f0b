//! What a connection wants of the store, and what comes of it.

use bytes::Bytes;
use towline_wire::relay::Identity;
use towline_wire::relay::deployed::UploadAuthorization;
use towline_wire::relay::number::{self, Candidate};

use crate::store::{
    EnqueueError, Failure, NumberError, OneTime, Page, Position, PreKey, Queued, RegisterError,
    Registration, Store, Timestamp,
};
use crate::{Address, Device, Owner};

/// Names an operation of one [`Connection`](super::Connection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationId(pub(super) u64);

/// What the store is to do; each but the last is a method of [`Store`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Store::register`]: [`Outcome::Done`] or [`Outcome::NotRegistered`].
    Register(Address, Registration),
    /// [`Store::unregister`]: [`Outcome::Done`].
    Unregister(Address),
    /// [`Store::prekeys`]: [`Outcome::PreKeys`].
    PreKeys {
        /// Whose.
        owner: Owner,
        /// Devices to leave out.
        known: Vec<Device>,
        /// As the connection asks, [`OneTime::Take`]; to change where somebody asks too often.
        one_time: OneTime,
    },
    /// [`Store::remaining`]: [`Outcome::Remaining`].
    Remaining(Address),
    /// [`Store::assign_number`]: [`Outcome::Number`] or [`Outcome::NoNumber`].
    AssignNumber(Identity),
    /// [`Store::number`]: [`Outcome::Number`].
    NumberOf(Owner),
    /// [`Store::number_by_short`]: [`Outcome::Number`].
    NumberByShort(String),
    /// [`Store::enqueue`]: [`Outcome::Done`] or [`Outcome::NotQueued`].
    Enqueue {
        /// To which device.
        to: Address,
        /// Opaque.
        message: Bytes,
    },
    /// [`Store::fetch`]: [`Outcome::Fetched`].
    Fetch {
        /// Whose queue.
        address: Address,
        /// Before the first message that is wanted.
        after: Position,
        /// How much of the queue.
        page: Page,
    },
    /// Permissions to upload attachments are wanted of who keeps them: [`Outcome::Uploads`].
    AuthorizeUploads {
        /// How many, at least one and at most [`MAX_UPLOADS`].
        count: usize,
    },
}

/// The most permissions to upload that a client gets at once: with addresses of up to 512 bytes they fit in a message.
pub const MAX_UPLOADS: usize = 16;

/// What came of an [`Operation`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It is done.
    Done,
    /// The prekeys of an owner's devices; `None` if none is registered.
    PreKeys(Option<Vec<PreKey>>),
    /// How many one-time prekeys a device has left; `None` if it is not registered.
    Remaining(Option<u64>),
    /// A number, if there is one.
    Number(Option<Candidate>),
    /// Messages of a queue, in order.
    Fetched(Vec<Queued>),
    /// Permissions to upload attachments, not more than were asked for.
    Uploads(Vec<UploadAuthorization>),
    /// The prekeys are not deposited.
    NotRegistered(RegisterError),
    /// The message is not queued.
    NotQueued(EnqueueError),
    /// The owner gets no number.
    NoNumber(NumberError),
    /// The client asks too often, and the store was not asked. Only of what a client has asked for.
    Limited,
    /// The store has failed, whatever it was to do. So it may be said of an operation that takes too long.
    Failed(Failure),
}

impl Outcome {
    /// How the store itself has failed, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure)
            | Self::NotRegistered(RegisterError::Failure(failure))
            | Self::NotQueued(EnqueueError::Failure(failure))
            | Self::NoNumber(NumberError::Failure(failure)) => Some(failure),
            _ => None,
        }
    }
}

impl Operation {
    /// Has a store do it. Messages are put into queues with the time that it is `now`. A store keeps no attachments,
    /// and authorizes no uploads.
    pub async fn run(self, store: &impl Store, now: Timestamp) -> Outcome {
        match self {
            Self::Register(address, registration) => {
                match store.register(&address, registration).await {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::NotRegistered(error),
                }
            }
            Self::Unregister(address) => {
                store.unregister(&address).await.map_or_else(Outcome::Failed, |()| Outcome::Done)
            }
            Self::PreKeys { owner, known, one_time } => {
                let keys = store.prekeys(&owner, &known, one_time).await;
                keys.map_or_else(Outcome::Failed, Outcome::PreKeys)
            }
            Self::Remaining(address) => {
                let remaining = store.remaining(&address).await;
                remaining.map_or_else(Outcome::Failed, Outcome::Remaining)
            }
            Self::AssignNumber(identity) => {
                let candidates = number::candidates(&identity);
                match store.assign_number(&identity.into(), candidates).await {
                    Ok(number) => Outcome::Number(Some(number)),
                    Err(error) => Outcome::NoNumber(error),
                }
            }
            Self::NumberOf(owner) => {
                store.number(&owner).await.map_or_else(Outcome::Failed, Outcome::Number)
            }
            Self::NumberByShort(short) => {
                store.number_by_short(&short).await.map_or_else(Outcome::Failed, Outcome::Number)
            }
            Self::Enqueue { to, message } => match store.enqueue(&to, message, now).await {
                Ok(_position) => Outcome::Done,
                Err(error) => Outcome::NotQueued(error),
            },
            Self::AuthorizeUploads { .. } => Outcome::Uploads(Vec::new()),
            Self::Fetch { address, after, page } => {
                let messages = store.fetch(&address, after, page).await;
                messages.map_or_else(Outcome::Failed, Outcome::Fetched)
            }
        }
    }
}

/// Messages that their device has, to be taken out of its queue with [`Store::acknowledge`].
///
/// Nobody waits for it: what is not taken out comes again on the next connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Whose queue.
    pub address: Address,
    /// Which messages, in the order in which they were acknowledged.
    pub positions: Vec<Position>,
}
