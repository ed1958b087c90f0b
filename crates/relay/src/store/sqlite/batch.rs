//! What changes something: operations within one transaction.

use std::collections::{HashMap, HashSet, hash_map};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use towline_wire::relay::number::Candidate;

use super::read;
use super::schema::{Blob, Count, integer};
use crate::store::{
    EnqueueError, Limits, Position, PreKey, Queued, RegisterError, Registration, Timestamp,
};
use crate::{Address, Device, Owner};

/// The most messages that one operation takes out for their age.
const MAX_EXPIRED: usize = 1024;

pub(super) const ACKNOWLEDGE: &str =
    "DELETE FROM messages WHERE position = ? AND queue = ? RETURNING length(body)";
pub(super) const OLDEST: &str = "
    SELECT position, queue, length(body) FROM messages WHERE since < ?
    ORDER BY since, position LIMIT ?";
const DROP_EMPTY: &str = "DELETE FROM queues WHERE id = ? AND count = 0";
pub(super) const TAKE: &str = "
    DELETE FROM prekeys WHERE id = (SELECT max(id) FROM prekeys WHERE device = ?) RETURNING key";
pub(super) const TAKEN: &str = "SELECT 1 FROM numbers WHERE number = ? OR short = ?";

/// A transaction that many operations share. What they change most often is kept in memory until it ends.
pub(super) struct Batch<'c> {
    transaction: Transaction<'c>,
    queues: HashMap<Address, Queue>,
    next: Option<i64>,
    kept: Vec<(Address, Queued)>,
}

/// A row of `queues`; without an id it is not there.
#[derive(Default)]
struct Queue {
    id: Option<i64>,
    count: u64,
    bytes: u64,
    changed: bool,
}

impl<'c> Batch<'c> {
    pub(super) fn begin(connection: &'c mut Connection) -> rusqlite::Result<Self> {
        // Whoever wants to write says so at once: waiting for another process then does no harm.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Self { transaction, queues: HashMap::new(), next: None, kept: Vec::new() })
    }

    /// Returns the messages that are in the queues now, in their order.
    pub(super) fn commit(mut self) -> rusqlite::Result<Vec<(Address, Queued)>> {
        self.write_back()?;
        if let Some(next) = self.next {
            self.transaction.prepare_cached("UPDATE next SET position = ?")?.execute([next])?;
        }
        self.transaction.commit()?;
        Ok(self.kept)
    }

    pub(super) fn enqueue(
        &mut self,
        to: &Address,
        message: Bytes,
        now: Timestamp,
        limits: &Limits,
    ) -> rusqlite::Result<Result<Position, EnqueueError>> {
        let transaction = &self.transaction;
        let queue = Self::queue(&mut self.queues, transaction, to)?;
        let bytes = queue.bytes + message.len() as u64;
        if queue.count >= limits.queue_count() {
            return Ok(Err(EnqueueError::TooMany(limits.queue_count())));
        }
        if bytes > limits.queue_bytes() {
            return Ok(Err(EnqueueError::TooMuch(limits.queue_bytes())));
        }
        let id = match queue.id {
            Some(id) => id,
            None => transaction
                .prepare_cached(
                    "INSERT INTO queues (owner, device, count, bytes) VALUES (?, ?, 0, 0)",
                )?
                .insert(params![to.owner, to.device])?,
        };
        let position = match self.next {
            Some(next) => next,
            None => transaction
                .prepare_cached("SELECT position FROM next")?
                .query_row([], |row| row.get(0))?,
        };
        transaction
            .prepare_cached(
                "INSERT INTO messages (position, queue, since, body) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![position, id, integer(now.0), &message[..]])?;
        self.next = Some(position + 1);
        *queue = Queue { id: Some(id), count: queue.count + 1, bytes, changed: true };
        let position = Position(position as u64);
        self.kept.push((to.clone(), Queued { position, since: now, message }));
        Ok(Ok(position))
    }

    pub(super) fn acknowledge(
        &mut self,
        address: &Address,
        position: Position,
    ) -> rusqlite::Result<()> {
        let queue = Self::queue(&mut self.queues, &self.transaction, address)?;
        let Some(id) = queue.id else { return Ok(()) };
        let removed = self
            .transaction
            .prepare_cached(ACKNOWLEDGE)?
            .query_row(params![integer(position.0), id], |row| row.get(0))
            .optional()?;
        if let Some(Count(length)) = removed {
            queue.count = queue.count.saturating_sub(1);
            queue.bytes = queue.bytes.saturating_sub(length);
            queue.changed = true;
        }
        Ok(())
    }

    pub(super) fn expire(&mut self, before: Timestamp) -> rusqlite::Result<u64> {
        // From here on it is by the queues' ids.
        self.write_back()?;
        let mut expired = self.transaction.prepare_cached(OLDEST)?;
        let limit = integer(MAX_EXPIRED as u64);
        let expired = expired
            .query_map([integer(before.0), limit], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, i64, i64)>>>()?;
        let mut delete =
            self.transaction.prepare_cached("DELETE FROM messages WHERE position = ?")?;
        let mut shrink = self.transaction.prepare_cached(
            "UPDATE queues SET count = count - 1, bytes = bytes - ? WHERE id = ?",
        )?;
        for &(position, queue, length) in &expired {
            delete.execute([position])?;
            shrink.execute([length, queue])?;
        }
        let mut drop_empty = self.transaction.prepare_cached(DROP_EMPTY)?;
        for &(_, queue, _) in &expired {
            drop_empty.execute([queue])?;
        }
        Ok(expired.len() as u64)
    }

    pub(super) fn register(
        &mut self,
        address: &Address,
        registration: &Registration,
        limits: &Limits,
    ) -> rusqlite::Result<Result<(), RegisterError>> {
        let found = self.registered(address)?;
        let row = match &found {
            Some((row, Blob(signed))) if *signed == registration.signed => Some((*row, true)),
            Some((row, _)) => Some((*row, false)),
            None => None,
        };
        let kept = match row {
            Some((row, true)) => {
                self.count("SELECT count(*) FROM prekeys WHERE device = ?", row)?
            }
            _ => 0,
        };
        if kept + registration.one_time.len() as u64 > limits.prekeys() {
            return Ok(Err(RegisterError::TooManyPreKeys(limits.prekeys())));
        }
        let row = match row {
            Some((row, same)) => {
                if !same {
                    self.drop_prekeys(row)?;
                }
                self.transaction
                    .prepare_cached("UPDATE devices SET registration = ?, signed = ? WHERE id = ?")?
                    .execute(params![registration.id, &registration.signed[..], row])?;
                row
            }
            None => {
                const DEVICES: &str = "SELECT count(*) FROM devices WHERE owner = ?";
                if self.count(DEVICES, &address.owner)? >= limits.devices() {
                    return Ok(Err(RegisterError::TooManyDevices(limits.devices())));
                }
                self.transaction
                    .prepare_cached(
                        "INSERT INTO devices (owner, device, registration, signed)
                         VALUES (?, ?, ?, ?)",
                    )?
                    .insert(params![
                        address.owner,
                        address.device,
                        registration.id,
                        &registration.signed[..]
                    ])?
            }
        };
        let mut insert =
            self.transaction.prepare_cached("INSERT INTO prekeys (device, key) VALUES (?, ?)")?;
        for key in &registration.one_time {
            insert.execute(params![row, &key[..]])?;
        }
        Ok(Ok(()))
    }

    pub(super) fn unregister(&mut self, address: &Address) -> rusqlite::Result<()> {
        if let Some((row, _)) = self.registered(address)? {
            self.drop_prekeys(row)?;
            self.transaction.prepare_cached("DELETE FROM devices WHERE id = ?")?.execute([row])?;
        }
        Ok(())
    }

    pub(super) fn take_prekeys(
        &mut self,
        owner: &Owner,
        known: &HashSet<Device>,
    ) -> rusqlite::Result<Option<Vec<PreKey>>> {
        let Some(devices) = read::devices(&self.transaction, owner, known)? else {
            return Ok(None);
        };
        let mut take = self.transaction.prepare_cached(TAKE)?;
        let take = devices.into_iter().map(|(row, prekey)| {
            let key = take.query_row([row], |row| row.get(0)).optional()?;
            Ok(PreKey { one_time: key.map(|Blob(key)| key), ..prekey })
        });
        take.collect::<rusqlite::Result<_>>().map(Some)
    }

    /// `None` if all the candidates are somebody else's.
    pub(super) fn assign_number(
        &mut self,
        owner: &Owner,
        candidates: impl Iterator<Item = Candidate>,
    ) -> rusqlite::Result<Option<Candidate>> {
        if let Some(number) = read::number(&self.transaction, owner)? {
            return Ok(Some(number));
        }
        let mut taken = self.transaction.prepare_cached(TAKEN)?;
        for candidate in candidates {
            if !taken.exists([&candidate.number, &candidate.short])? {
                self.transaction
                    .prepare_cached("INSERT INTO numbers (owner, number, short) VALUES (?, ?, ?)")?
                    .execute(params![owner, candidate.number, candidate.short])?;
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// Makes the disk full at a number of pages.
    #[cfg(test)]
    pub(super) fn limit_pages(&mut self, pages: i64) -> rusqlite::Result<()> {
        self.transaction.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }

    fn queue<'q>(
        queues: &'q mut HashMap<Address, Queue>,
        transaction: &Transaction<'_>,
        address: &Address,
    ) -> rusqlite::Result<&'q mut Queue> {
        let vacant = match queues.entry(address.clone()) {
            hash_map::Entry::Occupied(queue) => return Ok(queue.into_mut()),
            hash_map::Entry::Vacant(vacant) => vacant,
        };
        let queue = transaction
            .prepare_cached("SELECT id, count, bytes FROM queues WHERE owner = ? AND device = ?")?
            .query_row(params![address.owner, address.device], |row| {
                let (Count(count), Count(bytes)) = (row.get(1)?, row.get(2)?);
                Ok(Queue { id: Some(row.get(0)?), count, bytes, changed: false })
            })
            .optional()?;
        Ok(vacant.insert(queue.unwrap_or_default()))
    }

    fn write_back(&mut self) -> rusqlite::Result<()> {
        let mut update = self
            .transaction
            .prepare_cached("UPDATE queues SET count = ?, bytes = ? WHERE id = ?")?;
        let mut drop_empty = self.transaction.prepare_cached(DROP_EMPTY)?;
        for queue in self.queues.values().filter(|queue| queue.changed) {
            update.execute(params![integer(queue.count), integer(queue.bytes), queue.id])?;
            if queue.count == 0 {
                drop_empty.execute([queue.id])?;
            }
        }
        drop((update, drop_empty));
        self.queues.clear();
        Ok(())
    }

    /// A device's row and its signed prekey.
    fn registered(&self, address: &Address) -> rusqlite::Result<Option<(i64, Blob)>> {
        self.transaction
            .prepare_cached("SELECT id, signed FROM devices WHERE owner = ? AND device = ?")?
            .query_row(params![address.owner, address.device], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    fn drop_prekeys(&self, device: i64) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("DELETE FROM prekeys WHERE device = ?")?
            .execute([device])?;
        Ok(())
    }

    fn count(&self, query: &str, of: impl rusqlite::ToSql) -> rusqlite::Result<u64> {
        let mut statement = self.transaction.prepare_cached(query)?;
        statement.query_row([of], |row| row.get(0)).map(|Count(count)| count)
    }
}
