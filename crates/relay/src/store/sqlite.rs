//! One file on the relay's own disk, with SQLite.
//!
//! - One thread writes. It takes all the operations that wait, runs them in one transaction, and answers
//!   them once that is on the disk: a thousand messages cost one fsync, and one message does not wait for
//!   others. An operation that cannot be carried out takes its whole transaction with it, and all get an
//!   error.
//! - Other threads read, each with a connection of its own. They see what is committed, and wait for
//!   nobody.
//! - The file is in WAL mode with `synchronous = FULL`: a commit returns after an fsync of the log. Beside
//!   the file stand `-wal` and `-shm`; whoever copies a file that is in use needs [`Sqlite::backup`].
//! - A panic in a thread ends it. All who wait for it get [`Failure::Closed`], and so does whoever comes to it
//!   later: the store is to be opened anew. What is on the disk is whole.
//! - Subscribers are told once the transaction is on the disk, before its operations are answered. They hear of what
//!   this store has put into queues, not of what another on the same file has.
//! - The file does not shrink. Room that becomes free is used again.

mod backup;
mod batch;
mod check;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use towline_wire::relay::number::Candidate;

use super::{
    EnqueueError, Failure, InvalidSetting, Limits, NumberError, OneTime, Page, Position, PreKey,
    Queued, RegisterError, Registration, Store, Subscribers, Subscription, Timestamp,
    check_setting,
};
use crate::{Address, Device, Owner};
use thread::{Readers, Writer};

pub use backup::{BackupError, backup};
pub use check::{Fault, Report, check};

/// Settings of a [`Sqlite`] store, valid as built.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    limits: Limits,
    readers: usize,
    max_batch: usize,
}

impl Config {
    /// Everything at its default.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder(Self { limits: Limits::default(), readers: 2, max_batch: 1024 })
    }
}

/// Settings under construction; [`build`](Self::build) checks them.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// How much is kept for whom.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// Threads that read. Default 2, in `1..=64`.
    pub fn readers(mut self, threads: usize) -> Self {
        self.0.readers = threads;
        self
    }

    /// The most operations in one transaction. Default 1024, in `1..=65_536`.
    pub fn max_batch(mut self, operations: usize) -> Self {
        self.0.max_batch = operations;
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// The first one that is out of its range.
    pub fn build(self) -> Result<Config, InvalidSetting> {
        check_setting("readers", self.0.readers as u64, 1..=64)?;
        check_setting("max_batch", self.0.max_batch as u64, 1..=65_536)?;
        Ok(self.0)
    }
}

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A newer version has written it.
    #[error("the file has version {found}, newer than {known}")]
    Newer {
        /// The version of the file.
        found: i64,
        /// The newest version that is understood.
        known: i64,
    },
    /// It is a database, but not a relay's.
    #[error("the file is no relay's")]
    Foreign,
    /// SQLite cannot keep a log beside it, as on some network file systems.
    #[error("no write-ahead log is possible here")]
    NoLog,
    /// No thread could be started.
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
    /// SQLite says so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// A store in one file.
///
/// Dropping it waits until all that was asked of it is done, but for copies.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    limits: Arc<Limits>,
    subscribers: Subscribers,
    readers: Readers,
    // Dropped last: the last connection to be closed cleans the log away, and needs to write for it.
    writer: Writer,
}

impl Sqlite {
    /// Opens a file, or makes a new one. It blocks while the disk works.
    ///
    /// # Errors
    /// [`OpenError`]; a file that is [foreign](OpenError::Foreign) or [newer](OpenError::Newer) is then as it
    /// was.
    pub fn open(path: impl AsRef<Path>, config: &Config) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let subscribers = Subscribers::default();
        let connection = schema::open(path)?;
        let writer = Writer::start(connection, config.max_batch, subscribers.clone())?;
        let readers = (0..config.readers).map(|_| schema::open_to_read(path));
        let readers = Readers::start(readers.collect::<Result<Vec<_>, _>>()?)?;
        let limits = Arc::new(config.limits);
        Ok(Self { path: path.into(), limits, subscribers, readers, writer })
    }

    /// Writes all that is in the store to a new file, as it is at one moment. The store goes on meanwhile;
    /// its log grows until the copy is done.
    ///
    /// The copy gives its next message a position far beyond any that the store will have given in the
    /// meantime: who opens it in place of the store gives none twice.
    ///
    /// # Errors
    /// [`BackupError`]; there is no new file then, unless the copying thread has panicked.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<(), BackupError> {
        backup::run(self.path.clone(), to.into()).await
    }
}

impl Store for Sqlite {
    async fn register(
        &self,
        address: &Address,
        registration: Registration,
    ) -> Result<(), RegisterError> {
        let (address, limits) = (address.clone(), Arc::clone(&self.limits));
        self.writer.call(move |batch| batch.register(&address, &registration, &limits)).await?
    }

    async fn unregister(&self, address: &Address) -> Result<(), Failure> {
        let address = address.clone();
        self.writer.call(move |batch| batch.unregister(&address)).await
    }

    async fn prekeys(
        &self,
        owner: &Owner,
        known: &[Device],
        one_time: OneTime,
    ) -> Result<Option<Vec<PreKey>>, Failure> {
        let owner = owner.clone();
        let known: HashSet<_> = known.iter().cloned().collect();
        match one_time {
            OneTime::Take => self.writer.call(move |it| it.take_prekeys(&owner, &known)).await,
            OneTime::Leave => self.readers.call(move |it| read::prekeys(it, &owner, &known)).await,
        }
    }

    async fn remaining(&self, address: &Address) -> Result<Option<u64>, Failure> {
        let address = address.clone();
        self.readers.call(move |it| read::remaining(it, &address)).await
    }

    async fn assign_number(
        &self,
        owner: &Owner,
        candidates: impl Iterator<Item = Candidate> + Send + 'static,
    ) -> Result<Candidate, NumberError> {
        // Who has logged in before, and that is nearly everybody, needs no write.
        if let Some(number) = self.number(owner).await? {
            return Ok(number);
        }
        let owner = owner.clone();
        let number = self.writer.call(move |batch| batch.assign_number(&owner, candidates)).await?;
        number.ok_or(NumberError::Taken)
    }

    async fn number(&self, owner: &Owner) -> Result<Option<Candidate>, Failure> {
        let owner = owner.clone();
        self.readers.call(move |it| read::number(it, &owner)).await
    }

    async fn number_by_short(&self, short: &str) -> Result<Option<Candidate>, Failure> {
        let short = short.to_owned();
        self.readers.call(move |it| read::number_by_short(it, &short)).await
    }

    async fn enqueue(
        &self,
        to: &Address,
        message: Bytes,
        now: Timestamp,
    ) -> Result<Position, EnqueueError> {
        let (to, limits) = (to.clone(), Arc::clone(&self.limits));
        self.writer.call(move |batch| batch.enqueue(&to, message, now, &limits)).await?
    }

    async fn fetch(
        &self,
        address: &Address,
        after: Position,
        page: Page,
    ) -> Result<Vec<Queued>, Failure> {
        let address = address.clone();
        self.readers.call(move |it| read::fetch(it, &address, after, page)).await
    }

    async fn subscribe(&self, address: &Address) -> Result<Subscription, Failure> {
        self.subscribers.subscribe(address)
    }

    async fn acknowledge(&self, address: &Address, position: Position) -> Result<(), Failure> {
        let address = address.clone();
        self.writer.call(move |batch| batch.acknowledge(&address, position)).await
    }

    async fn expire(&self, before: Timestamp) -> Result<u64, Failure> {
        self.writer.call(move |batch| batch.expire(before)).await
    }
}
