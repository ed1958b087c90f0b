//! What a relay must not forget: queues of sealed messages, prekeys, and chat numbers.
//!
//! A [`Store`] promises that what it has answered for survives a crash. [`sqlite`] keeps everything in
//! one file on the relay's own disk, [`nats`] in a cluster that several relays share.
//!
//! # Keys
//!
//! Everything is kept under an [`Owner`] or an [`Address`], opaque bytes to the store. Dialects share one
//! store: an owner is 32 bytes in one and 33 in the other, so nobody of one dialect is somebody of the
//! other. What only one dialect has is left empty in the other: a registration id is 0 in `deployed`,
//! and nobody asks for chat numbers in `seed`.
//!
//! # Queues
//!
//! Each device has a queue, whether it has registered or not. A message gets a [`Position`] that is higher
//! than that of any message before it in this queue, and is never given again. Whoever has seen a position
//! has seen all that will ever stand before it, so a reader that asks for what comes after the last one
//! it saw misses nothing. Who does not want to ask again and again [subscribes](Store::subscribe).
//!
//! ```
//! use bytes::Bytes;
//! use towline_relay::store::sqlite::{Config, Sqlite};
//! use towline_relay::store::{Page, Position, Store, Timestamp};
//! use towline_relay::{Address, Device};
//! use towline_wire::relay::UserId;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("relay.db");
//! let store = Sqlite::open(&path, &Config::builder().build()?)?;
//! let address = Address::new(UserId::new(&[7; 32]), Device::from(1));
//!
//! let position = store.enqueue(&address, Bytes::from("sealed"), Timestamp::now()).await?;
//! let queued = store.fetch(&address, Position::START, Page::default()).await?;
//! assert_eq!(queued[0].message, "sealed");
//!
//! store.acknowledge(&address, position).await?;
//! assert!(store.fetch(&address, Position::START, Page::default()).await?.is_empty());
//! # Ok(())
//! # }
//! ```

mod limits;
mod subscription;

#[cfg(test)]
#[cfg(any(feature = "nats", feature = "sqlite"))]
mod conformance;

#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use towline_wire::relay::number::Candidate;

use crate::{Address, Device, Owner};

pub(crate) use limits::check as check_setting;
pub use limits::{InvalidSetting, Limits, LimitsBuilder};
pub use subscription::{News, Subscribers, Subscription};

/// Keeps what a relay must not forget.
///
/// A future that is `Ok` speaks for the disk: what it says has happened, and a crash does not undo it. One
/// that fails, or is dropped, leaves open whether it has happened. Futures of one caller, each awaited
/// before the next, take effect in that order.
pub trait Store: Send + Sync + 'static {
    /// Deposits a device's prekeys. If the signed one is what it was before, the one-time ones are added
    /// to those that are there; otherwise they take their place.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then, unless the store itself has failed.
    fn register(
        &self,
        address: &Address,
        registration: Registration,
    ) -> impl Future<Output = Result<(), RegisterError>> + Send;

    /// Withdraws a device's prekeys, if it has any here. Its queue and its owner's number stay.
    ///
    /// # Errors
    /// The store has failed.
    fn unregister(&self, address: &Address) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The prekeys of each registered device of an owner, except for those `known`; `None` if the owner
    /// has no registered device at all.
    ///
    /// With [`OneTime::Take`] the newest one-time prekey of each is among them, and nobody gets it
    /// again; a device that has none left gives its signed one alone.
    ///
    /// # Errors
    /// The store has failed. One-time prekeys may then be lost.
    fn prekeys(
        &self,
        owner: &Owner,
        known: &[Device],
        one_time: OneTime,
    ) -> impl Future<Output = Result<Option<Vec<PreKey>>, Failure>> + Send;

    /// How many one-time prekeys a device has left; `None` if it is not registered.
    ///
    /// # Errors
    /// The store has failed.
    fn remaining(
        &self,
        address: &Address,
    ) -> impl Future<Output = Result<Option<u64>, Failure>> + Send;

    /// The owner's number: the one that it has, or else the first of the candidates of which neither the
    /// number nor the short number is somebody else's. The owner has it from now on.
    ///
    /// The `candidates` are [`number::candidates`](towline_wire::relay::number::candidates) of the owner.
    ///
    /// # Errors
    /// [`NumberError`].
    fn assign_number(
        &self,
        owner: &Owner,
        candidates: impl Iterator<Item = Candidate> + Send + 'static,
    ) -> impl Future<Output = Result<Candidate, NumberError>> + Send;

    /// The number that an owner has.
    ///
    /// # Errors
    /// The store has failed.
    fn number(
        &self,
        owner: &Owner,
    ) -> impl Future<Output = Result<Option<Candidate>, Failure>> + Send;

    /// The number whose short number this is.
    ///
    /// # Errors
    /// The store has failed.
    fn number_by_short(
        &self,
        short: &str,
    ) -> impl Future<Output = Result<Option<Candidate>, Failure>> + Send;

    /// Puts a message at the end of a device's queue.
    ///
    /// # Errors
    /// [`EnqueueError`]; the message is not in the queue then, unless the store itself has failed.
    fn enqueue(
        &self,
        to: &Address,
        message: Bytes,
        now: Timestamp,
    ) -> impl Future<Output = Result<Position, EnqueueError>> + Send;

    /// The first messages of a device's queue after a position, in order. They stay there.
    ///
    /// # Errors
    /// The store has failed.
    fn fetch(
        &self,
        address: &Address,
        after: Position,
        page: Page,
    ) -> impl Future<Output = Result<Vec<Queued>, Failure>> + Send;

    /// News of a device's queue from now on. Whoever fetches after that, and then follows the news, misses
    /// nothing; what comes in between may come twice.
    ///
    /// Any number may subscribe to one queue, and each is told everything.
    ///
    /// # Errors
    /// The store has failed.
    fn subscribe(
        &self,
        address: &Address,
    ) -> impl Future<Output = Result<Subscription, Failure>> + Send;

    /// Takes a message out of a device's queue, if it is there.
    ///
    /// # Errors
    /// The store has failed.
    fn acknowledge(
        &self,
        address: &Address,
        position: Position,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Takes messages out of all queues that were put there before a time, the oldest first, and says how
    /// many. There may be more of them unless it is 0: one call does not keep others waiting for long.
    ///
    /// # Errors
    /// The store has failed.
    fn expire(&self, before: Timestamp) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// What a device registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Handed on with the prekeys; 0 in the `deployed` dialect.
    pub id: u32,
    /// Opaque.
    pub signed: Bytes,
    /// Opaque, the oldest first. The same one twice counts twice.
    pub one_time: Vec<Bytes>,
}

/// Whether one-time prekeys are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneTime {
    /// One of each device, if there is one.
    Take,
    /// None. Whoever asks too often gets no more of them.
    Leave,
}

/// What it takes to begin a session with one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreKey {
    /// Which device.
    pub device: Device,
    /// As it was registered.
    pub registration_id: u32,
    /// As it was registered.
    pub signed: Bytes,
    /// As it was registered, and not given to anybody else; `None` if there was none left, or none was to
    /// be taken.
    pub one_time: Option<Bytes>,
}

/// Where a message stands in its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Before the first message.
    pub const START: Self = Self(0);
}

/// A message in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Where it stands, and by what it is acknowledged.
    pub position: Position,
    /// When it was put there.
    pub since: Timestamp,
    /// As it was sent.
    pub message: Bytes,
}

/// How much of a queue is fetched at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The most messages.
    pub count: usize,
    /// The most bytes of messages. One that is longer comes alone.
    pub bytes: usize,
}

impl Default for Page {
    /// 64 messages and 256 KiB.
    fn default() -> Self {
        Self { count: 64, bytes: 256 << 10 }
    }
}

/// A time by the clock on the wall, in milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// What the clock says.
    #[must_use]
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since_1970.as_millis().try_into().unwrap_or(u64::MAX))
    }

    /// Earlier by a duration, or 1970.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_millis().try_into().unwrap_or(u64::MAX)))
    }
}

/// The store itself has failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It has been shut down, or a fault of its own has ended it.
    #[error("the store is closed")]
    Closed,
    /// There is no room left on the disk.
    #[error("the disk is full")]
    DiskFull,
    /// What is below it has failed.
    #[error("the store has failed: {0}")]
    Backend(#[source] Arc<dyn Error + Send + Sync>),
}

/// Why prekeys are not deposited.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The device would have more one-time prekeys than [`Limits::prekeys`].
    #[error("more than {0} one-time prekeys")]
    TooManyPreKeys(u64),
    /// The owner would have more registered devices than [`Limits::devices`].
    #[error("more than {0} devices")]
    TooManyDevices(u64),
    /// The store itself has failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// Why a message is not queued.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The queue would hold more messages than [`Limits::queue_count`].
    #[error("more than {0} messages")]
    TooMany(u64),
    /// The messages in the queue would come to more bytes than [`Limits::queue_bytes`].
    #[error("more than {0} bytes")]
    TooMuch(u64),
    /// The store itself has failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// Why an owner gets no number.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// All the candidates are somebody else's.
    #[error("all the numbers are taken")]
    Taken,
    /// The store itself has failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}
