//! Copies of a file that is in use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use tokio::sync::oneshot;

use super::{OpenError, schema};

/// Positions that a store may give after a copy was made, and the copy in its place does not give again.
const AHEAD: i64 = 1 << 32;

/// How long to wait for another process that holds the file.
const PAUSE: Duration = Duration::from_millis(10);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The new file cannot be made, for example because there is one of that name.
    #[error("the copy cannot be made: {0}")]
    File(#[from] std::io::Error),
    /// The store's own file cannot be opened once more.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite says so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that made it has panicked.
    #[error("the copy was given up")]
    GivenUp,
}

pub(super) async fn run(from: PathBuf, to: PathBuf) -> Result<(), BackupError> {
    let (answer, outcome) = oneshot::channel();
    thread::Builder::new().name("relay-backup".into()).spawn(move || {
        let _ = answer.send(backup(&from, &to));
    })?;
    outcome.await.map_err(|_| BackupError::GivenUp)?
}

/// Writes all that is in a store's file to a new file, as [`Sqlite::backup`](super::Sqlite::backup) does, also from
/// outside the process that has the store open. It blocks until that is done.
///
/// # Errors
/// [`BackupError`]; there is no new file then.
pub fn backup(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), BackupError> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let source = schema::open_to_read(from)?;
    File::create_new(to)?;
    let copied = fill(&source, to);
    if copied.is_err() {
        // The reason is the one that counts.
        let _ = fs::remove_file(to);
    }
    copied
}

fn fill(source: &Connection, to: &Path) -> Result<(), BackupError> {
    let mut copy = Connection::open(to)?;
    let backup = Backup::new(source, &mut copy)?;
    // All pages in one step: between steps others would write, and it would begin anew each time.
    loop {
        match backup.step(-1)? {
            StepResult::Done => break,
            _ => thread::sleep(PAUSE),
        }
    }
    drop(backup);
    copy.execute("UPDATE next SET position = position + ?", [AHEAD])?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(())
}
