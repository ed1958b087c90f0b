//! What was delivered to a device, what of it was acknowledged, and what has come again.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Digests of messages that are remembered beyond their connection.
const MAX_REMEMBERED: usize = 4096;

type Digest = [u8; 32];

/// Which message of which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    connection: u64,
    sequence: u32,
    digest: Digest,
}

/// Says that a message is safe.
#[derive(Debug)]
pub(super) struct Receipt {
    delivered: Delivered,
    // There are no more of them than messages were delivered, which the relay bounds and the inbox too.
    settled: mpsc::UnboundedSender<Delivered>,
}

impl Receipt {
    pub(super) fn new(delivered: Delivered, settled: mpsc::UnboundedSender<Delivered>) -> Self {
        Self { delivered, settled }
    }

    pub(super) fn settle(self) {
        // If the client has ended, the message comes again.
        let _ = self.settled.send(self.delivered);
    }
}

/// The messages of a device, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    connection: u64,
    /// Delivered on this connection and not acknowledged to the relay, in order; whether they are safe.
    open: VecDeque<(u32, Digest, bool)>,
    /// Acknowledged to the relay on this connection, which may not have heard of it.
    acknowledged: VecDeque<Digest>,
    /// Messages that are safe and may come again, as their connection has ended.
    remembered: Remembered,
}

/// Digests in the order in which they came, each as often as it did.
#[derive(Debug, Default)]
struct Remembered {
    order: VecDeque<Digest>,
    counts: HashMap<Digest, u32>,
}

impl Inbound {
    /// A new connection begins. Acknowledgements of the last one may not have arrived.
    pub(super) fn begin(&mut self) {
        self.connection += 1;
        let safe =
            self.open.drain(..).filter(|(.., is_safe)| *is_safe).map(|(_, digest, _)| digest);
        for digest in self.acknowledged.drain(..).chain(safe) {
            self.remembered.insert(digest);
        }
    }

    /// A message has come; `None` if it was safe already, and its acknowledgement is only to be repeated.
    pub(super) fn handle_message(&mut self, sequence: u32, message: &Bytes) -> Option<Delivered> {
        let digest = Sha256::digest(message).into();
        let is_safe = self.remembered.remove(&digest);
        self.open.push_back((sequence, digest, is_safe));
        (!is_safe).then_some(Delivered { connection: self.connection, sequence, digest })
    }

    /// A message is safe.
    pub(super) fn settle(&mut self, delivered: Delivered) {
        if delivered.connection != self.connection {
            // It was delivered on a connection that has ended. On this one it is still to come, or has come
            // already and will be acknowledged as often.
            return self.remembered.insert(delivered.digest);
        }
        if let Some((.., is_safe)) =
            self.open.iter_mut().find(|(sequence, ..)| *sequence == delivered.sequence)
        {
            *is_safe = true;
        }
    }

    /// The next message to acknowledge to the relay: all before it are safe.
    pub(super) fn poll_acknowledgement(&mut self) -> Option<u32> {
        let &(sequence, digest, true) = self.open.front()? else { return None };
        self.open.pop_front();
        if self.acknowledged.len() == MAX_REMEMBERED {
            self.acknowledged.pop_front();
        }
        self.acknowledged.push_back(digest);
        Some(sequence)
    }
}

impl Remembered {
    fn insert(&mut self, digest: Digest) {
        if self.order.len() == MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
        self.order.push_back(digest);
        *self.counts.entry(digest).or_default() += 1;
    }

    /// Whether it was there; once for each time that it came.
    fn remove(&mut self, digest: &Digest) -> bool {
        if !self.counts.contains_key(digest) {
            return false;
        }
        self.forget(digest);
        if let Some(at) = self.order.iter().position(|it| it == digest) {
            self.order.remove(at);
        }
        true
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some(count) = self.counts.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u8) -> Bytes {
        vec![number].into()
    }

    fn acknowledgements(inbound: &mut Inbound) -> Vec<u32> {
        std::iter::from_fn(|| inbound.poll_acknowledgement()).collect()
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_the_messages() {
        let mut inbound = Inbound::default();
        inbound.begin();
        let delivered: Vec<_> =
            (1..4).map(|it| inbound.handle_message(it, &message(it as u8)).unwrap()).collect();
        inbound.settle(delivered[1]);
        assert!(acknowledgements(&mut inbound).is_empty());
        inbound.settle(delivered[0]);
        assert_eq!(acknowledgements(&mut inbound), [1, 2]);
        inbound.settle(delivered[2]);
        assert_eq!(acknowledgements(&mut inbound), [3]);
    }

    #[test]
    fn what_was_acknowledged_is_not_shown_again_on_the_next_connection() {
        let mut inbound = Inbound::default();
        inbound.begin();
        for sequence in 1..4 {
            inbound.handle_message(sequence, &message(sequence as u8)).unwrap();
        }
        let again = |sequence, inbound: &Inbound| {
            let digest = Sha256::digest(message(sequence as u8)).into();
            Delivered { connection: inbound.connection, sequence, digest }
        };
        let (first, third) = (again(1, &inbound), again(3, &inbound));
        inbound.settle(first);
        // Safe, but its acknowledgement waits for the second one's.
        inbound.settle(third);
        assert_eq!(acknowledgements(&mut inbound), [1]);

        inbound.begin();
        assert!(inbound.handle_message(7, &message(1)).is_none());
        let second = inbound.handle_message(8, &message(2)).unwrap();
        assert!(inbound.handle_message(9, &message(3)).is_none());
        assert_eq!(acknowledgements(&mut inbound), [7]);
        inbound.settle(second);
        assert_eq!(acknowledgements(&mut inbound), [8, 9]);
    }

    #[test]
    fn the_same_message_twice_on_one_connection_is_two_messages() {
        let mut inbound = Inbound::default();
        inbound.begin();
        let first = inbound.handle_message(1, &message(1)).unwrap();
        inbound.settle(first);
        assert_eq!(acknowledgements(&mut inbound), [1]);
        assert!(inbound.handle_message(2, &message(1)).is_some());
        inbound.begin();
        // One of them was acknowledged.
        assert!(inbound.handle_message(1, &message(1)).is_none());
        assert!(inbound.handle_message(2, &message(1)).is_some());
    }

    #[test]
    fn a_message_of_an_earlier_connection_can_still_be_settled() {
        let mut inbound = Inbound::default();
        inbound.begin();
        let first = inbound.handle_message(1, &message(1)).unwrap();
        inbound.begin();
        inbound.settle(first);
        assert!(inbound.handle_message(5, &message(1)).is_none());
        assert_eq!(acknowledgements(&mut inbound), [5]);
    }

    #[test]
    fn only_so_much_is_remembered() {
        let mut remembered = Remembered::default();
        for number in 0..=MAX_REMEMBERED {
            remembered.insert(Sha256::digest(number.to_be_bytes()).into());
        }
        assert_eq!(remembered.order.len(), MAX_REMEMBERED);
        assert_eq!(remembered.counts.len(), MAX_REMEMBERED);
        assert!(!remembered.remove(&Sha256::digest(0_usize.to_be_bytes()).into()));
        assert!(remembered.remove(&Sha256::digest(1_usize.to_be_bytes()).into()));
    }
}
