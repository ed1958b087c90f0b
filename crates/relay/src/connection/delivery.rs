//! What is delivered to a device, and what it has acknowledged.
//!
//! The messages of a queue are delivered in order, each once on a connection. They come in pages that are
//! fetched after the last one delivered; once a page is empty, from then on as they are pushed. Whatever
//! does not fit in is not kept: it is in the queue, and fetched again when there is room.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::operation::OperationId;
use super::outbox::Outbox;
use crate::store::{Page, Position, Queued};

/// What is fetched at once: all that a connection holds in memory of a queue.
const PAGE: Page = Page { count: 32, bytes: 256 << 10 };

/// Frames that wait for the client, beyond which nothing that is pushed is taken.
const MAX_UNSENT: usize = 8;

/// How long a queue that could not be read is left alone.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Delivery {
    window: usize,
    last: Position,
    source: Source,
    /// Delivered on this connection, by sequence number.
    unacknowledged: BTreeMap<u32, Position>,
    acknowledged: Vec<Position>,
}

/// Where the next message comes from.
#[derive(Debug)]
enum Source {
    /// The queue may hold more: a page of it is to be fetched.
    Behind,
    /// A page is being fetched. With `news`, more may have come since.
    Fetching { id: OperationId, news: bool },
    /// The queue had no more: the next message is pushed.
    CaughtUp,
    /// The queue could not be read, and is tried again then.
    Failed(Instant),
}

/// What became of messages.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) messages: u64,
    pub(super) undeliverable: u64,
}

impl Delivery {
    pub(super) fn new(window: usize) -> Self {
        Self {
            window,
            last: Position::START,
            source: Source::Behind,
            unacknowledged: BTreeMap::new(),
            acknowledged: Vec::new(),
        }
    }

    /// The page to fetch now, if any, and what it is to come after. With it comes [`Self::fetching`].
    pub(super) fn next_page(&self, unsent: usize) -> Option<(Position, Page)> {
        let room = self.room();
        let fetch = matches!(self.source, Source::Behind) && room > 0 && unsent == 0;
        fetch.then_some((self.last, Page { count: room.min(PAGE.count), ..PAGE }))
    }

    pub(super) fn fetching(&mut self, id: OperationId) {
        self.source = Source::Fetching { id, news: false };
    }

    pub(super) fn is_fetching(&self, id: OperationId) -> bool {
        matches!(self.source, Source::Fetching { id: fetching, .. } if fetching == id)
    }

    /// The page that is being fetched is there, with no more messages than were asked for.
    pub(super) fn handle_page(&mut self, page: Vec<Queued>, outbox: &mut Outbox) -> Delivered {
        let is_last =
            page.is_empty() && matches!(self.source, Source::Fetching { news: false, .. });
        self.source = if is_last { Source::CaughtUp } else { Source::Behind };
        let mut delivered = Delivered::default();
        for queued in page {
            self.deliver(queued, outbox, &mut delivered);
        }
        delivered
    }

    pub(super) fn handle_failure(&mut self, now: Instant) {
        self.source = Source::Failed(now + RETRY);
    }

    /// Whether a pushed message would not be passed over for want of room.
    pub(super) fn wants_pushed(&self, unsent: usize) -> bool {
        !matches!(self.source, Source::CaughtUp) || self.room() > 0 && unsent < MAX_UNSENT
    }

    pub(super) fn handle_pushed(&mut self, queued: Queued, outbox: &mut Outbox) -> Delivered {
        let mut delivered = Delivered::default();
        if matches!(self.source, Source::CaughtUp) && self.wants_pushed(outbox.len()) {
            self.deliver(queued, outbox, &mut delivered);
        } else if queued.position > self.last {
            self.handle_news();
        }
        delivered
    }

    /// The queue may hold more than was seen of it.
    pub(super) fn handle_news(&mut self) {
        match &mut self.source {
            Source::Fetching { news, .. } => *news = true,
            Source::CaughtUp => self.source = Source::Behind,
            Source::Behind | Source::Failed(_) => {}
        }
    }

    /// The client has the message with this sequence number; `false` if it got none, or has said so before.
    pub(super) fn handle_acknowledgement(&mut self, sequence: u32) -> bool {
        let position = self.unacknowledged.remove(&sequence);
        self.acknowledged.extend(position);
        position.is_some()
    }

    pub(super) fn take_acknowledged(&mut self) -> Vec<Position> {
        std::mem::take(&mut self.acknowledged)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.source {
            Source::Failed(retry_at) => Some(retry_at),
            _ => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|retry_at| retry_at <= now) {
            self.source = Source::Behind;
        }
    }

    fn room(&self) -> usize {
        self.window.saturating_sub(self.unacknowledged.len())
    }

    fn deliver(&mut self, queued: Queued, outbox: &mut Outbox, delivered: &mut Delivered) {
        if queued.position <= self.last {
            return;
        }
        self.last = queued.position;
        match outbox.deliver(queued.message) {
            Ok(sequence) => {
                self.unacknowledged.insert(sequence, queued.position);
                delivered.messages += 1;
            }
            // Nobody can have sent it with this dialect. It stays in its queue until it expires.
            Err(_) => delivered.undeliverable += 1,
        }
    }
}
