//! Whether a device has one-time prekeys enough, at once and from time to time.

use std::time::{Duration, Instant};

use super::Config;
use super::operation::OperationId;

#[derive(Debug)]
pub(super) struct PreKeyCheck {
    limit: u32,
    interval: Duration,
    next: Instant,
    is_due: bool,
    asking: Option<OperationId>,
}

impl PreKeyCheck {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        Self {
            limit: config.prekey_limit,
            interval: config.prekey_interval,
            next: now + config.prekey_interval,
            is_due: true,
            asking: None,
        }
    }

    /// Whether the store is to be asked now; [`Self::asking`] says that it is.
    pub(super) fn is_due(&self) -> bool {
        self.is_due && self.asking.is_none()
    }

    pub(super) fn asking(&mut self, id: OperationId) {
        self.is_due = false;
        self.asking = Some(id);
    }

    pub(super) fn is_asking(&self, id: OperationId) -> bool {
        self.asking == Some(id)
    }

    /// The store has answered, or failed, which is passed over until the next time. Returns how many prekeys
    /// to ask the client for, if any; a device that is not registered needs none.
    pub(super) fn handle_remaining(&mut self, remaining: Option<u64>) -> Option<u32> {
        self.asking = None;
        (remaining? < self.limit.into()).then_some(2 * self.limit)
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.next
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next {
            self.next = now + self.interval;
            self.is_due = true;
        }
    }
}
