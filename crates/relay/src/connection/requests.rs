//! The requests of a connection that wait for their answers.

use std::collections::VecDeque;

use towline_wire::relay::ErrorName;
use towline_wire::relay::deployed::AuthResponse;

use super::operation::{OperationId, Outcome};
use super::reply::{Question, Reply};
use crate::dialect::{AnonymousRequest, OwnRequest};

/// What a client asks; [`Said`](crate::dialect::Said) without what is never answered.
#[derive(Debug)]
pub(super) enum Request {
    LogIn(AuthResponse),
    Own(OwnRequest),
    Anonymous(Result<AnonymousRequest, ErrorName>),
    /// More than there may be, as this text says.
    Excessive(&'static str),
}

impl Request {
    /// Whether it may change what the connection is, or what its device has deposited. What came before is
    /// then answered first, and what comes after waits. The others may be at the store together.
    const fn is_alone(&self) -> bool {
        match self {
            Self::LogIn(_) | Self::Own(_) => true,
            Self::Anonymous(_) | Self::Excessive(_) => false,
        }
    }
}

/// Requests, each with its sequence number, in the order in which they came and are answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    begun: VecDeque<(u32, Begun)>,
    waiting: VecDeque<(u32, Request)>,
    /// What has begun is [alone](Request::is_alone).
    alone: bool,
}

#[derive(Debug)]
enum Begun {
    AtStore(OperationId, Question),
    Ready(Reply),
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.begun.len() + self.waiting.len()
    }

    pub(super) fn push(&mut self, sequence: u32, request: Request) {
        self.waiting.push_back((sequence, request));
    }

    /// The next one, if it may begin. It is then to be [asked](Self::ask) or [answered](Self::answer)
    /// before anything else.
    pub(super) fn begin(&mut self) -> Option<(u32, Request)> {
        let alone = self.waiting.front()?.1.is_alone();
        if self.alone || alone && !self.begun.is_empty() {
            return None;
        }
        self.alone = alone;
        self.waiting.pop_front()
    }

    /// It waits for the store.
    pub(super) fn ask(&mut self, sequence: u32, id: OperationId, question: Question) {
        self.begun.push_back((sequence, Begun::AtStore(id, question)));
    }

    /// It has its answer.
    pub(super) fn answer(&mut self, sequence: u32, reply: Reply) {
        self.begun.push_back((sequence, Begun::Ready(reply)));
    }

    /// The store has answered; whether any request waits for that.
    pub(super) fn resolve(&mut self, id: OperationId, outcome: Outcome) -> bool {
        for (_, begun) in &mut self.begun {
            if let Begun::AtStore(asked, question) = begun
                && *asked == id
            {
                *begun = Begun::Ready(question.reply(outcome));
                return true;
            }
        }
        false
    }

    /// The answer to the first one, once it is there.
    pub(super) fn pop_ready(&mut self) -> Option<(u32, Reply)> {
        match self.begun.pop_front()? {
            (sequence, Begun::Ready(reply)) => {
                self.alone = false;
                Some((sequence, reply))
            }
            at_store => {
                self.begun.push_front(at_store);
                None
            }
        }
    }
}
