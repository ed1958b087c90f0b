//! The tables, and how a file is opened.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::OpenError;
use crate::{Device, Owner};

/// The version of the tables below, in `user_version`.
pub(super) const VERSION: i64 = 1;
/// What a relay's files say they are, in `application_id`: "twlr".
const APPLICATION: i64 = 0x7477_6c72;

/// How long a connection waits for another process, such as a check or a copy.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pages in the log before they are written into the file. A queue that is read as fast as it is written
/// then lives in the log alone.
const LOG_PAGES: i64 = 4096;
/// What the writing connection keeps in memory, in KiB; SQLite takes negative numbers for that.
const CACHE: i64 = -32 * 1024;

// A queue without messages has no row: anybody can have one made for any address.
// `messages.position` is the rowid: new messages go to the end of the table, and the index of a queue,
// which ends with the rowid, has a queue's messages in order.
const TABLES: &str = "
    CREATE TABLE devices (
        id INTEGER PRIMARY KEY,
        owner BLOB NOT NULL,
        device BLOB NOT NULL,
        registration INTEGER NOT NULL,
        signed BLOB NOT NULL,
        UNIQUE (owner, device)
    ) STRICT;
    CREATE TABLE prekeys (
        id INTEGER PRIMARY KEY,
        device INTEGER NOT NULL,
        key BLOB NOT NULL
    ) STRICT;
    CREATE INDEX prekeys_of_device ON prekeys (device);
    CREATE TABLE numbers (
        owner BLOB NOT NULL PRIMARY KEY,
        number TEXT NOT NULL UNIQUE,
        short TEXT NOT NULL UNIQUE
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE queues (
        id INTEGER PRIMARY KEY,
        owner BLOB NOT NULL,
        device BLOB NOT NULL,
        count INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        UNIQUE (owner, device)
    ) STRICT;
    CREATE TABLE messages (
        position INTEGER PRIMARY KEY,
        queue INTEGER NOT NULL,
        since INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX messages_of_queue ON messages (queue);
    CREATE INDEX messages_by_age ON messages (since);
    -- One row: the position of the message that comes next. It outlives all the messages.
    CREATE TABLE next (position INTEGER NOT NULL) STRICT;
    INSERT INTO next VALUES (1);
";

/// A connection that writes, to a file that is there or is made.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    if !is_new(&connection)? {
        recognise(&connection)?;
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoLog);
    }
    connection.pragma_update(None, "synchronous", "full")?;
    // Elsewhere than on macOS these say nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    connection.set_prepared_statement_cache_capacity(64);

    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    if is_new(&transaction)? {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    recognise(&transaction)?;
    transaction.commit()?;
    Ok(connection)
}

/// A connection that reads, to a file that is there.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open_existing(path, flags)
}

/// A connection to a file that is there and may have a log that is not written into it yet.
pub(super) fn open_to_check(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open_existing(path, flags)
}

fn open_existing(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    recognise(&connection)?;
    Ok(connection)
}

fn is_new(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn recognise(connection: &Connection) -> Result<(), OpenError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? != APPLICATION {
        return Err(OpenError::Foreign);
    }
    match pragma("user_version")? {
        VERSION => Ok(()),
        found if found > VERSION => Err(OpenError::Newer { found, known: VERSION }),
        _ => Err(OpenError::Foreign),
    }
}

/// A count as SQLite has them; what is beyond them is beyond anything that is kept.
pub(super) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count that was written as [`integer`].
pub(super) struct Count(pub(super) u64);

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let integer = value.as_i64()?;
        integer.try_into().map(Self).map_err(|_| FromSqlError::OutOfRange(integer))
    }
}

impl ToSql for Owner {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_bytes().into())
    }
}

impl ToSql for Device {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_bytes().into())
    }
}

impl FromSql for Device {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = Bytes::copy_from_slice(value.as_blob()?);
        Self::try_from(bytes).map_err(FromSqlError::other)
    }
}

/// A blob as `Bytes`.
pub(super) struct Blob(pub(super) Bytes);

impl FromSql for Blob {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(Bytes::copy_from_slice(value.as_blob()?)))
    }
}
