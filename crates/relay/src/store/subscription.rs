//! Who waits for messages, and hears of them once they are in their queue.

use std::collections::{HashMap, VecDeque, hash_map};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Failure, Queued};
use crate::Address;

/// Messages that wait for a subscriber, and their bytes; a longer one waits alone. One that is slower than
/// this reads its queue.
const MAX_WAITING: usize = 16;
const MAX_WAITING_BYTES: usize = 64 << 10;

/// What has happened to a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A message has come into it, the next one in its order unless it is told again.
    Pushed(Queued),
    /// Messages have come into it, too many to be kept here: they are to be fetched.
    Behind,
}

/// News of one device's queue, from [`Store::subscribe`](super::Store::subscribe).
pub struct Subscription {
    hub: Arc<Hub>,
    address: Address,
    desk: Arc<Desk>,
}

impl Subscription {
    /// What has happened since the last call, as soon as something has; `None` once the store is closed.
    ///
    /// It may be dropped and called again: nothing is lost.
    pub async fn next(&mut self) -> Option<News> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// [`next`](Self::next), for those who poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<News>> {
        let mut waiting = self.desk.lock();
        if let Some(queued) = waiting.queued.pop_front() {
            waiting.bytes -= queued.message.len();
            return Poll::Ready(Some(News::Pushed(queued)));
        }
        if waiting.behind {
            waiting.behind = false;
            return Poll::Ready(Some(News::Behind));
        }
        if waiting.closed {
            return Poll::Ready(None);
        }
        match &mut waiting.reader {
            Some(reader) => reader.clone_from(context.waker()),
            reader => *reader = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut desks = self.hub.lock();
        let Some(desks) = &mut *desks else { return };
        if let hash_map::Entry::Occupied(mut of_address) = desks.entry(self.address.clone()) {
            of_address.get_mut().retain(|desk| !Arc::ptr_eq(desk, &self.desk));
            if of_address.get().is_empty() {
                of_address.remove();
            }
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("address", &self.address).finish_non_exhaustive()
    }
}

/// All who have subscribed, for those who write a [`Store`](super::Store): it tells them of every message that it
/// keeps. Clones share them.
#[derive(Default)]
pub struct Subscribers(Arc<Hub>);

/// By whose queue it is; `None` once the store is closed.
struct Hub(Mutex<Option<HashMap<Address, Vec<Arc<Desk>>>>>);

/// What waits for one subscriber.
#[derive(Default)]
struct Desk(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    queued: VecDeque<Queued>,
    bytes: usize,
    behind: bool,
    closed: bool,
    /// Who waits for the next news, if anybody does.
    reader: Option<Waker>,
}

impl Subscribers {
    /// News of a queue from now on.
    ///
    /// # Errors
    /// [`Failure::Closed`], after [`close`](Self::close).
    pub fn subscribe(&self, address: &Address) -> Result<Subscription, Failure> {
        let desk = Arc::new(Desk::default());
        let mut desks = self.0.lock();
        let desks = desks.as_mut().ok_or(Failure::Closed)?;
        desks.entry(address.clone()).or_default().push(Arc::clone(&desk));
        Ok(Subscription { hub: Arc::clone(&self.0), address: address.clone(), desk })
    }

    /// A message is in its queue, for good: whoever fetches from now on gets it. Those of one queue come in its
    /// order.
    pub fn push(&self, address: &Address, queued: &Queued) {
        let desks = self.0.lock();
        let desks = desks.as_ref().and_then(|desks| desks.get(address));
        for desk in desks.into_iter().flatten() {
            desk.push(queued);
        }
    }

    /// No more news will come.
    pub fn close(&self) {
        let desks = self.0.lock().take();
        for desk in desks.into_iter().flatten().flat_map(|(_, desks)| desks) {
            desk.tell(|waiting| waiting.closed = true);
        }
    }
}

impl Clone for Subscribers {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscribers(..)")
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self(Mutex::new(Some(HashMap::new())))
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<Address, Vec<Arc<Desk>>>>> {
        // Nothing under the lock leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn push(&self, queued: &Queued) {
        self.tell(|waiting| {
            // Whoever is told to fetch gets this one too.
            if waiting.behind {
                return;
            }
            let bytes = waiting.bytes + queued.message.len();
            let fits = waiting.queued.len() < MAX_WAITING && bytes <= MAX_WAITING_BYTES;
            if fits || waiting.queued.is_empty() {
                waiting.bytes = bytes;
                waiting.queued.push_back(queued.clone());
            } else {
                waiting.queued.clear();
                waiting.bytes = 0;
                waiting.behind = true;
            }
        });
    }

    /// Does it, and wakes the reader.
    fn tell(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        change(&mut waiting);
        let reader = waiting.reader.take();
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
