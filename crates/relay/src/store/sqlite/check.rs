//! Whether a file is sound.

use std::path::Path;

use rusqlite::Connection;

use super::schema::Count;
use super::{OpenError, schema};

/// What must hold of the tables beyond what SQLite sees to: rows of these queries are faults.
const RULES: [(Fault, &str); 6] = [
    (
        Fault::QueueTotals,
        "SELECT count(*) FROM queues WHERE count <> (SELECT count(*) FROM messages WHERE queue = id)
         OR bytes <> (SELECT coalesce(sum(length(body)), 0) FROM messages WHERE queue = id)",
    ),
    (
        Fault::LostMessage,
        "SELECT count(*) FROM messages WHERE queue NOT IN (SELECT id FROM queues)",
    ),
    (
        Fault::UsedPosition,
        "SELECT count(*) FROM messages WHERE position >= (SELECT position FROM next)
         OR position < 1",
    ),
    (Fault::NoNextPosition, "SELECT count(*) <> 1 FROM next"),
    (
        Fault::LostPreKey,
        "SELECT count(*) FROM prekeys WHERE device NOT IN (SELECT id FROM devices)",
    ),
    (
        Fault::ForeignShortNumber,
        "SELECT count(*) FROM numbers WHERE substr(number, 1, length(short)) <> short",
    ),
];

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file is damaged; SQLite says how.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// What a queue says it holds is not what it holds.
    #[error("a queue does not hold what it says")]
    QueueTotals,
    /// A message is in no queue.
    #[error("a message is in no queue")]
    LostMessage,
    /// A message has a position that is yet to be given.
    #[error("a message has a position that is yet to be given")]
    UsedPosition,
    /// The next position is not known.
    #[error("the next position is not known")]
    NoNextPosition,
    /// A one-time prekey is no device's.
    #[error("a one-time prekey is no device's")]
    LostPreKey,
    /// A short number is not the beginning of its number.
    #[error("a short number is not the beginning of its number")]
    ForeignShortNumber,
}

/// What is in a file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Registered devices.
    pub devices: u64,
    /// One-time prekeys of all devices.
    pub prekeys: u64,
    /// Owners with a number.
    pub numbers: u64,
    /// Messages in all queues.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong, and in how many places; nothing if the file is sound.
    pub faults: Vec<(Fault, u64)>,
}

/// Checks a file that no relay has open: its structure, and that the tables agree with each other. It
/// blocks, and reads the whole file.
///
/// # Errors
/// [`OpenError`]; also if the file is damaged so badly that nothing more can be said.
pub fn check(path: impl AsRef<Path>) -> Result<Report, OpenError> {
    let connection = schema::open_to_check(path.as_ref())?;
    let mut faults = Vec::new();
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    for line in statement.query_map([], |row| row.get::<_, String>(0))? {
        let line = line?;
        if line != "ok" {
            faults.push((Fault::Damaged(line), 1));
        }
    }
    for (fault, query) in RULES {
        match count(&connection, query)? {
            0 => {}
            places => faults.push((fault, places)),
        }
    }
    Ok(Report {
        devices: count(&connection, "SELECT count(*) FROM devices")?,
        prekeys: count(&connection, "SELECT count(*) FROM prekeys")?,
        numbers: count(&connection, "SELECT count(*) FROM numbers")?,
        messages: count(&connection, "SELECT count(*) FROM messages")?,
        bytes: count(&connection, "SELECT coalesce(sum(length(body)), 0) FROM messages")?,
        faults,
    })
}

fn count(connection: &Connection, query: &str) -> rusqlite::Result<u64> {
    connection.query_row(query, [], |row| row.get(0)).map(|Count(count)| count)
}
