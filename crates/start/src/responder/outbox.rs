//! Answers that wait to be sent.

use std::collections::VecDeque;

use towline_wire::start::Message;

/// A driver that keeps the law never leaves more than one answer in here. For one that takes in a long
/// batch of datagrams first, the bound keeps a flood from piling up answers: those beyond it are dropped,
/// and the peers ask again.
const MAX_ANSWERS: usize = 4096;

pub(super) struct Outbox<P> {
    answers: VecDeque<(P, Message)>,
    dropped: u64,
}

impl<P> Outbox<P> {
    pub(super) fn new() -> Self {
        Self { answers: VecDeque::new(), dropped: 0 }
    }

    pub(super) fn push(&mut self, peer: P, message: Message) {
        if self.answers.len() < MAX_ANSWERS {
            self.answers.push_back((peer, message));
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn pop(&mut self) -> Option<(P, Message)> {
        self.answers.pop_front()
    }

    /// Answers that there was no room for.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use towline_wire::Tag;

    use super::*;
    use crate::{keep_alive, session_id};

    #[test]
    fn answers_beyond_the_bound_are_dropped_and_counted() {
        let mut outbox = Outbox::new();
        for peer in 0..MAX_ANSWERS + 3 {
            outbox.push(peer, keep_alive(session_id(Tag::FIRST_SESSION)));
        }
        assert_eq!(outbox.dropped(), 3);
        assert_eq!(std::iter::from_fn(|| outbox.pop()).count(), MAX_ANSWERS);
    }
}
