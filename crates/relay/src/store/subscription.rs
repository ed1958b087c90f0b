//! Who waits for messages, and hears of them once they are in their queue.

use std::collections::{HashMap, VecDeque, hash_map};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Failure, Position, Queued};
use crate::Address;

/// Messages that wait for a subscriber, and their bytes; a longer one waits alone. One that is slower than
/// this reads its queue.
const MAX_WAITING: usize = 64;
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
struct Desk(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// What is of interest comes after this.
    after: Position,
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
        self.subscribe_after(address, Position::START)
    }

    /// News of what comes into a queue after a position. Where [`push`](Self::push) lags behind the queue, this leaves
    /// out what a reader may have had already.
    ///
    /// # Errors
    /// [`Failure::Closed`], after [`close`](Self::close).
    pub fn subscribe_after(
        &self,
        address: &Address,
        position: Position,
    ) -> Result<Subscription, Failure> {
        let waiting = Waiting { after: position, ..Waiting::default() };
        let desk = Arc::new(Desk(Mutex::new(waiting)));
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

    /// Messages may have come into any queue and not been pushed: all are told to fetch.
    pub fn push_behind(&self) {
        let desks = self.0.lock();
        for desk in desks.iter().flat_map(HashMap::values).flatten() {
            desk.tell(Waiting::fall_behind);
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

impl Waiting {
    fn fall_behind(&mut self) {
        self.queued.clear();
        self.bytes = 0;
        self.behind = true;
    }
}

impl Desk {
    fn push(&self, queued: &Queued) {
        self.tell(|waiting| {
            // Whoever is told to fetch gets this one too.
            if waiting.behind || queued.position <= waiting.after {
                return;
            }
            let bytes = waiting.bytes + queued.message.len();
            let fits = waiting.queued.len() < MAX_WAITING && bytes <= MAX_WAITING_BYTES;
            if fits || waiting.queued.is_empty() {
                waiting.bytes = bytes;
                waiting.queued.push_back(queued.clone());
            } else {
                waiting.fall_behind();
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use towline_wire::relay::UserId;

    use super::*;
    use crate::store::Timestamp;

    fn address(byte: u8) -> Address {
        Address::new(UserId::new(&[byte; 32]), 1)
    }

    fn queued(position: u64, len: usize) -> Queued {
        let message = Bytes::from(vec![0; len]);
        Queued { position: Position(position), since: Timestamp(0), message }
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_told_to_fetch() {
        for (count, len) in [(MAX_WAITING as u64, 1), (2, MAX_WAITING_BYTES / 2)] {
            let subscribers = Subscribers::default();
            let mut news = subscribers.subscribe(&address(1)).unwrap();
            for position in 1..=count {
                subscribers.push(&address(1), &queued(position, len));
            }
            assert_eq!(news.next().await, Some(News::Pushed(queued(1, len))));
            subscribers.push(&address(1), &queued(count + 1, len));
            subscribers.push(&address(1), &queued(count + 2, len));
            assert_eq!(news.next().await, Some(News::Behind));
            subscribers.push(&address(1), &queued(count + 3, len));
            assert_eq!(news.next().await, Some(News::Pushed(queued(count + 3, len))));
        }
    }

    #[tokio::test]
    async fn what_came_before_is_left_out() {
        let subscribers = Subscribers::default();
        let mut news = subscribers.subscribe_after(&address(1), Position(2)).unwrap();
        for position in 1..=3 {
            subscribers.push(&address(1), &queued(position, 1));
        }
        assert_eq!(news.next().await, Some(News::Pushed(queued(3, 1))));
    }

    #[tokio::test]
    async fn all_can_be_told_to_fetch() {
        let subscribers = Subscribers::default();
        let mut all = [1, 2].map(|byte| subscribers.subscribe(&address(byte)).unwrap());
        subscribers.push(&address(1), &queued(1, 1));
        subscribers.push_behind();
        for news in &mut all {
            assert_eq!(news.next().await, Some(News::Behind));
        }
    }

    #[tokio::test]
    async fn what_waits_is_told_before_the_end() {
        let subscribers = Subscribers::default();
        let mut news = subscribers.subscribe(&address(1)).unwrap();
        subscribers.push(&address(1), &queued(1, 1));
        subscribers.close();
        assert_eq!(news.next().await, Some(News::Pushed(queued(1, 1))));
        assert_eq!(news.next().await, None);
        assert!(matches!(subscribers.subscribe(&address(1)), Err(Failure::Closed)));
    }
}
