//! The threads that own the connections, and what is asked of them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use crate::Address;
use crate::store::{Failure, Queued, Subscribers};

/// Operations that may wait for a thread; more of them wait to be let in.
const MAX_WAITING: usize = 4096;

type Answer<T> = oneshot::Sender<Result<T, Failure>>;

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Write>,
    // Dropped after `jobs`, whose end it waits for.
    _thread: Joined,
}

impl Writer {
    pub(super) fn start(
        mut connection: Connection,
        max_batch: usize,
        subscribers: Subscribers,
    ) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Write>(MAX_WAITING);
        let thread = Joined::start("relay-write", move || {
            let subscribers = ClosedOnDrop(subscribers);
            let mut batch = Vec::with_capacity(max_batch);
            while waiting.blocking_recv_many(&mut batch, max_batch) > 0 {
                let outcome = commit(&mut connection, &mut batch).map_err(Failure::from);
                let outcome = outcome.map(|kept| {
                    for (address, queued) in &kept {
                        subscribers.0.push(address, queued);
                    }
                });
                for Write(job) in batch.drain(..) {
                    job.answer(outcome.clone());
                }
            }
        })?;
        Ok(Self { jobs, _thread: thread })
    }

    /// Runs an operation in a transaction, and returns once that is on the disk.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, outcome) = oneshot::channel();
        let job = Write(Box::new(Pending { work: Some(work), result: None, answer }));
        self.jobs.send(job).await.map_err(|_| Failure::Closed)?;
        outcome.await.map_err(|_| Failure::Closed)?
    }

    /// Operations that the thread has not taken yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }
}

/// Subscribers hear that the thread has ended, also when it panics.
struct ClosedOnDrop(Subscribers);

impl Drop for ClosedOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Returns what came into the queues.
fn commit(
    connection: &mut Connection,
    jobs: &mut [Write],
) -> rusqlite::Result<Vec<(Address, Queued)>> {
    let mut batch = Batch::begin(connection)?;
    for Write(job) in jobs {
        job.run(&mut batch)?;
    }
    batch.commit()
}

struct Write(Box<dyn Job>);

/// An operation that is run first, and answered when all those of its transaction are committed.
trait Job: Send {
    fn run(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, outcome: Result<(), Failure>);
}

struct Pending<F, T> {
    work: Option<F>,
    result: Option<T>,
    answer: Answer<T>,
}

impl<F, T: Send> Job for Pending<F, T>
where
    F: FnOnce(&mut Batch<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(batch)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), Failure>) {
        let Self { result, answer, .. } = *self;
        // Who has gone away does not want to know.
        let _ = answer.send(outcome.and_then(|()| result.ok_or(Failure::Closed)));
    }
}

/// The threads that read.
#[derive(Debug)]
pub(super) struct Readers {
    readers: Vec<Reader>,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Reader {
    jobs: mpsc::Sender<Read>,
    _thread: Joined,
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

impl Readers {
    pub(super) fn start(connections: Vec<Connection>) -> io::Result<Self> {
        let readers = connections.into_iter().map(Reader::start).collect::<io::Result<_>>()?;
        Ok(Self { readers, turn: AtomicUsize::new(0) })
    }

    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        let (answer, outcome) = oneshot::channel();
        let job: Read = Box::new(move |connection| {
            let _ = answer.send(work(connection).map_err(Failure::from));
        });
        self.readers[turn].jobs.send(job).await.map_err(|_| Failure::Closed)?;
        outcome.await.map_err(|_| Failure::Closed)?
    }
}

impl Reader {
    fn start(connection: Connection) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Read>(MAX_WAITING);
        let thread = Joined::start("relay-read", move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&connection);
            }
        })?;
        Ok(Self { jobs, _thread: thread })
    }
}

/// A thread that is waited for when it is dropped.
struct Joined(Option<JoinHandle<()>>);

impl Joined {
    fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        Ok(Self(Some(Builder::new().name(name.into()).spawn(run)?)))
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // Who waited for a thread that has panicked has been told already.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Joined(..)")
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Backend(Arc::new(error)),
        }
    }
}
