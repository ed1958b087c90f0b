//! What is only read.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params};
use towline_wire::relay::number::Candidate;

use super::schema::{Blob, Count, integer};
use crate::store::{Page, Position, PreKey, Queued, Timestamp};
use crate::{Address, Device, Owner};

pub(super) const FETCH: &str = "
    SELECT position, since, body FROM messages
    WHERE queue = (SELECT id FROM queues WHERE owner = ?1 AND device = ?2) AND position > ?3
    ORDER BY position LIMIT ?4";

pub(super) fn fetch(
    connection: &Connection,
    address: &Address,
    after: Position,
    page: Page,
) -> rusqlite::Result<Vec<Queued>> {
    let mut statement = connection.prepare_cached(FETCH)?;
    let count = integer(page.count as u64);
    let mut rows =
        statement.query(params![address.owner, address.device, integer(after.0), count])?;
    let (mut queued, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let length = row.get_ref(2)?.as_blob()?.len();
        bytes += length;
        if bytes > page.bytes && !queued.is_empty() {
            break;
        }
        let (Count(position), Count(since), Blob(message)) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        queued.push(Queued { position: Position(position), since: Timestamp(since), message });
    }
    Ok(queued)
}

/// The registered devices of an owner with their rows' ids, in the form of prekeys without a one-time
/// one; `None` if there are none at all.
pub(super) fn devices(
    connection: &Connection,
    owner: &Owner,
    known: &HashSet<Device>,
) -> rusqlite::Result<Option<Vec<(i64, PreKey)>>> {
    let mut statement = connection
        .prepare_cached("SELECT id, device, registration, signed FROM devices WHERE owner = ?")?;
    let mut rows = statement.query([owner])?;
    let mut devices = None;
    while let Some(row) = rows.next()? {
        let devices = devices.get_or_insert_with(Vec::new);
        let (device, Blob(signed)): (Device, _) = (row.get(1)?, row.get(3)?);
        if !known.contains(&device) {
            let registration_id = row.get(2)?;
            devices.push((row.get(0)?, PreKey { device, registration_id, signed, one_time: None }));
        }
    }
    Ok(devices)
}

pub(super) fn prekeys(
    connection: &Connection,
    owner: &Owner,
    known: &HashSet<Device>,
) -> rusqlite::Result<Option<Vec<PreKey>>> {
    let devices = devices(connection, owner, known)?;
    Ok(devices.map(|it| it.into_iter().map(|(_, prekey)| prekey).collect()))
}

pub(super) fn remaining(
    connection: &Connection,
    address: &Address,
) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare_cached(
        "SELECT (SELECT count(*) FROM prekeys WHERE prekeys.device = devices.id) FROM devices
         WHERE owner = ? AND device = ?",
    )?;
    let remaining = statement.query_row(params![address.owner, address.device], |row| row.get(0));
    Ok(remaining.optional()?.map(|Count(remaining)| remaining))
}

pub(super) fn number(
    connection: &Connection,
    owner: &Owner,
) -> rusqlite::Result<Option<Candidate>> {
    let mut statement =
        connection.prepare_cached("SELECT number, short FROM numbers WHERE owner = ?")?;
    statement.query_row([owner], candidate).optional()
}

pub(super) fn number_by_short(
    connection: &Connection,
    short: &str,
) -> rusqlite::Result<Option<Candidate>> {
    let mut statement =
        connection.prepare_cached("SELECT number, short FROM numbers WHERE short = ?")?;
    statement.query_row([short], candidate).optional()
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate { number: row.get(0)?, short: row.get(1)? })
}
