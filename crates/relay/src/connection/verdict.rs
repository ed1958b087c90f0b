//! What a client may do: the table of states.

use towline_wire::relay::deployed::AuthResponse;
use towline_wire::relay::{ErrorName, Identity};

use super::operation::{MAX_UPLOADS, Operation};
use super::reply::{Question, Reply};
use super::requests::Request;
use crate::Address;
use crate::auth::Challenge;
use crate::dialect::{AnonymousRequest, Dialect, OwnRequest};
use crate::store::OneTime;

/// What becomes of a request.
pub(super) enum Verdict {
    /// The store is to answer.
    Ask(Operation, Question),
    /// It is answered.
    Reply(Reply),
}

impl From<Reply> for Verdict {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl Verdict {
    /// On a request of a client that has logged in as `address`, or not at all.
    pub(super) fn on(
        request: Request,
        address: Option<&Address>,
        dialect: Dialect,
        challenge: &Challenge,
        max_attachment: u64,
    ) -> Self {
        match (request, address) {
            (Request::Excessive(text), _) => Reply::failed(text).into(),
            (Request::LogIn(_) | Request::Anonymous(_), Some(_)) => {
                Reply::refused(ErrorName::NotAnonymous).into()
            }
            (Request::Own(_), None) => Reply::refused(ErrorName::Unauthorized).into(),
            (Request::LogIn(response), None) => Self::on_login(&response, dialect, challenge),
            (Request::Own(request), Some(address)) => Self::on_own(request, address, dialect),
            (Request::Anonymous(Err(name)), None) => Reply::refused(name).into(),
            (Request::Anonymous(Ok(request)), None) => {
                Self::on_anonymous(request, dialect, max_attachment)
            }
        }
    }

    fn on_login(response: &AuthResponse, dialect: Dialect, challenge: &Challenge) -> Self {
        let address = match dialect.verify(challenge, response) {
            Ok(address) => address,
            Err(refusal) => return Reply::from(refusal).into(),
        };
        // Users of `seed` are no identities, and have no numbers.
        match Identity::try_from(address.owner.as_bytes()) {
            Ok(identity) => Self::Ask(Operation::AssignNumber(identity), Question::LogIn(address)),
            Err(_) => Reply::LoggedIn(address, None).into(),
        }
    }

    fn on_own(request: OwnRequest, address: &Address, dialect: Dialect) -> Self {
        let operation = match request {
            OwnRequest::Register(registration) => {
                if dialect.check_prekeys(address, &registration).is_err() {
                    return Reply::failed("the prekeys do not fit in one message").into();
                }
                Operation::Register(address.clone(), registration)
            }
            OwnRequest::Unregister => Operation::Unregister(address.clone()),
        };
        Self::Ask(operation, Question::Change)
    }

    fn on_anonymous(request: AnonymousRequest, dialect: Dialect, max_attachment: u64) -> Self {
        let unknown = dialect.unknown_owner();
        let (operation, question) = match request {
            AnonymousRequest::PreKeys { owner, known } => {
                let question = Question::PreKeys { owner: owner.clone(), unknown };
                (Operation::PreKeys { owner, known, one_time: OneTime::Take }, question)
            }
            AnonymousRequest::Send { to, message } => {
                (Operation::Enqueue { to, message }, Question::Change)
            }
            AnonymousRequest::Uploads(_) if max_attachment == 0 => {
                return Reply::failed("there are no attachments").into();
            }
            AnonymousRequest::Uploads(count) => match usize::try_from(count) {
                Ok(count @ 1..) => {
                    let count = count.min(MAX_UPLOADS);
                    (Operation::AuthorizeUploads { count }, Question::Uploads)
                }
                _ => return Reply::failed("no upload is asked for").into(),
            },
            AnonymousRequest::NumberByShort(short) => {
                let unknown = ErrorName::UnknownShortNumber;
                (Operation::NumberByShort(short), Question::Number { unknown })
            }
            AnonymousRequest::NumberOf(owner) => {
                (Operation::NumberOf(owner), Question::Number { unknown })
            }
        };
        Self::Ask(operation, question)
    }
}
