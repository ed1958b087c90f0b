//! What a request is told, by what came of it at the store.

use std::borrow::Cow;

use towline_wire::relay::ErrorName;
use towline_wire::relay::deployed::UploadAuthorization;
use towline_wire::relay::number::Candidate;

use super::operation::Outcome;
use crate::auth::Refusal;
use crate::store::{EnqueueError, NumberError, PreKey, RegisterError};
use crate::{Address, Owner};

/// A request that is at the store.
#[derive(Debug)]
pub(super) enum Question {
    LogIn(Address),
    /// To register, to unregister, or to send.
    Change,
    PreKeys {
        owner: Owner,
        /// What it is called that nobody is registered.
        unknown: ErrorName,
    },
    Number {
        /// What it is called that there is none.
        unknown: ErrorName,
    },
    Uploads,
}

/// What a request is told.
#[derive(Debug)]
pub(super) enum Reply {
    Done,
    LoggedIn(Address, Option<Candidate>),
    /// The connection is over then.
    NotLoggedIn(Refused),
    PreKeys(Owner, Vec<PreKey>),
    Number(Candidate),
    Uploads(Vec<UploadAuthorization>),
    Refused(Refused),
}

/// An error, and a text for people that tells nobody more than it should.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) name: ErrorName,
    pub(super) text: Cow<'static, str>,
}

impl Question {
    /// An outcome that does not belong to the question counts as a failure of the store.
    pub(super) fn reply(&self, outcome: Outcome) -> Reply {
        match (self, outcome) {
            (Self::LogIn(address), Outcome::Number(Some(number))) => {
                Reply::LoggedIn(address.clone(), Some(number))
            }
            (Self::LogIn(_), Outcome::NoNumber(NumberError::Taken)) => {
                Reply::refused(ErrorName::NumberTaken)
            }
            (_, Outcome::Limited) => Reply::failed("too many requests: try again later"),
            (Self::Change, Outcome::Done) => Reply::Done,
            (Self::Change, Outcome::NotRegistered(error)) => match error {
                RegisterError::TooManyPreKeys(_) | RegisterError::TooManyDevices(_) => {
                    Reply::failed(error.to_string())
                }
                RegisterError::Failure(_) => Reply::failed(STORE),
            },
            (Self::Change, Outcome::NotQueued(error)) => match error {
                // How much is queued for somebody is not the sender's business.
                EnqueueError::TooMany(_) | EnqueueError::TooMuch(_) => {
                    Reply::failed("the queue is full")
                }
                EnqueueError::Failure(_) => Reply::failed(STORE),
            },
            (Self::PreKeys { owner, .. }, Outcome::PreKeys(Some(keys))) => {
                Reply::PreKeys(owner.clone(), keys)
            }
            (Self::PreKeys { unknown, .. }, Outcome::PreKeys(None))
            | (Self::Number { unknown }, Outcome::Number(None)) => Reply::refused(*unknown),
            (Self::Number { .. }, Outcome::Number(Some(number))) => Reply::Number(number),
            (Self::Uploads, Outcome::Uploads(uploads)) if uploads.is_empty() => {
                Reply::failed("no more attachments are taken")
            }
            (Self::Uploads, Outcome::Uploads(uploads)) => Reply::Uploads(uploads),
            _ => Reply::failed(STORE),
        }
    }
}

/// All that anybody is told of the store's troubles.
const STORE: &str = "the store has failed";

impl Reply {
    pub(super) const fn refused(name: ErrorName) -> Self {
        Self::Refused(Refused { name, text: Cow::Borrowed("") })
    }

    pub(super) fn failed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(Refused { name: ErrorName::UnknownError, text: text.into() })
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::NotLoggedIn(match refusal {
            Refusal::Malformed(_) => {
                Refused { name: ErrorName::UnknownError, text: "the login is malformed".into() }
            }
            _ => Refused { name: ErrorName::Unauthorized, text: "".into() },
        })
    }
}
