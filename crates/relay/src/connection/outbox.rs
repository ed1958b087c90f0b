//! The messages that wait for the client.

use std::collections::VecDeque;

use bytes::Bytes;
use towline_wire::relay::{ErrorName, Excess};

use crate::auth::Challenge;
use crate::dialect::{Answer, Dialect, Speaker};

#[derive(Debug)]
pub(super) struct Outbox {
    speaker: Speaker,
    frames: VecDeque<Bytes>,
}

impl Outbox {
    /// One with what a client hears first.
    pub(super) fn new(dialect: Dialect, challenge: &Challenge, max_attachment: u64) -> Self {
        let (mut speaker, mut frames) = (Speaker::new(dialect), VecDeque::new());
        let max_attachment = i64::try_from(max_attachment).unwrap_or(i64::MAX);
        speaker
            .greet(challenge, max_attachment, &mut frames)
            .expect("a challenge fits in a message");
        Self { speaker, frames }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.frames.pop_front()
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
    }

    /// Answers a request. An answer that does not fit in a message becomes an error.
    pub(super) fn answer(&mut self, sequence: u32, answer: Answer<'_>) {
        if self.speaker.answer(sequence, answer, &mut self.frames).is_err() {
            let text = "the answer does not fit in one message";
            let refused = Answer::Refused(ErrorName::UnknownError, text);
            self.speaker
                .answer(sequence, refused, &mut self.frames)
                .expect("a short error fits in a message");
        }
    }

    /// Delivers a message, and gives the sequence number by which it will be acknowledged.
    pub(super) fn deliver(&mut self, message: Bytes) -> Result<u32, Excess> {
        self.speaker.deliver(message, &mut self.frames)
    }

    pub(super) fn ask_for_prekeys(&mut self, count: u32) {
        self.speaker.ask_for_prekeys(count, &mut self.frames).expect("a number fits in a message");
    }
}
