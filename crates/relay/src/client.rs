//! The relay's client: somebody who sends without saying who it is, and somebody who receives.
//!
//! A relay must not learn who talks with whom, so these are two connections. [`Anonymous`] looks for people and
//! sends; a [`Device`](OwnDevice) logs in, registers prekeys and receives. Each keeps one connection, and
//! makes it again when it breaks, after 0.5 s and then longer and longer, up to 15 s.
//!
//! # What arrives
//!
//! A message is delivered until it is [acknowledged](Received::acknowledge), on each new connection again, in the order
//! in which the relay got it. What was acknowledged on a connection that then broke may come again, as the relay may not
//! have heard of it: it is acknowledged once more, and not shown. What tells messages apart is a digest of them; up
//! to 4096 are remembered, and only as long as the [`Inbox`] lives.
//!
//! Acknowledgements leave in the order of the messages: that of a message waits for those before it. Some relays
//! in the field take an acknowledgement for all that came before.
//!
//! # What a request comes to
//!
//! `Ok` means that the relay has answered. [`RequestError::Refused`] and [`RequestError::Unsayable`] mean that it has not
//! happened; whether it has is open with [`RequestError::Lost`] and [`RequestError::TimedOut`], and then it can be asked
//! again: sending twice delivers twice, everything else does no harm.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use towline_relay::auth::Key;
//! use towline_relay::client::{Anonymous, Config, Event, OwnDevice};
//! use towline_relay::dialect::Dialect;
//! use towline_relay::store::Registration;
//! use towline_relay::{Address, Device};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder("ws://127.0.0.1:8080/v0/api", Dialect::Seed).build()?;
//! let alice = Arc::new(Key::random()?);
//! let address = Address::new(alice.user_id(), Device::from(1));
//!
//! let (device, mut inbox) = OwnDevice::open(config.clone(), alice, Device::from(1));
//! let one_time = vec!["a one-time prekey".into()];
//! device.register(Registration { id: 7, signed: "a signed prekey".into(), one_time }).await?;
//!
//! let somebody = Anonymous::open(config);
//! let prekeys = somebody.prekeys(&address.owner, &[]).await?;
//! somebody.send(&address, "sealed to these".into()).await?;
//!
//! while let Some(event) = inbox.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{:?}", message.payload());
//!         message.acknowledge();
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod config;
mod conversation;
mod inbound;
mod task;
mod words;

#[cfg(test)]
#[cfg(all(feature = "server", feature = "sqlite"))]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use towline_wire::relay::{ErrorName, Identity};

use crate::auth::Key;
use crate::store::{PreKey, Registration};
use crate::{Address, Device, Owner};
use inbound::Receipt;
use task::{Asked, Login, Task};
use words::{Answer, Request};

pub use config::{Config, ConfigBuilder, ConfigError};
pub use words::Unsayable;

/// Requests that wait for the connection; more of them wait to be let in.
const MAX_WAITING: usize = 64;

/// Somebody who does not say who it is: looks for people, and sends. Clones share one connection, which ends with the
/// last of them.
#[derive(Clone, Debug)]
pub struct Anonymous(Asker);

/// A device that is logged in: registers and withdraws its prekeys. What comes in is in its [`Inbox`].
///
/// Clones share one connection, which ends with the last of them, or with the inbox.
#[derive(Clone, Debug)]
pub struct OwnDevice(Asker);

/// What comes to a device.
#[derive(Debug)]
pub struct Inbox {
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

/// Something that has come to a device.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// It is connected, and everything that waits for it will come. With the number that others find it by, where the
    /// dialect has numbers.
    LoggedIn(Option<ChatNumber>),
    /// A message, to be [acknowledged](Received::acknowledge) once it is safe.
    Message(Received),
    /// The relay has few one-time prekeys of the device left, and would like this many:
    /// [register](OwnDevice::register) them.
    PreKeysLow(u32),
    /// The connection has ended, and is made again.
    Disconnected(Disconnect),
    /// The relay does not take the device for who it says. It is the last event, and nothing is tried again.
    Refused(Refused),
}

/// A message for a device.
pub struct Received {
    payload: Bytes,
    receipt: Receipt,
}

/// What a device is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatNumber {
    /// All digits.
    pub number: String,
    /// The beginning of it that is enough in the domain.
    pub short: String,
    /// Where the short number is unique.
    pub domain: String,
}

/// A relay has answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}{colon}{text}", colon = if text.is_empty() { "" } else { ": " })]
pub struct Refused {
    /// As it is on the wire; see [`Refused::known`].
    pub name: String,
    /// For people, mostly empty.
    pub text: String,
}

impl Refused {
    /// The name, if it is one that relays are known to use.
    #[must_use]
    pub fn known(&self) -> Option<ErrorName> {
        self.name.parse().ok()
    }
}

/// Why a connection has ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// There is none: the relay cannot be reached, or is none.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The relay has closed it, with this code (RFC 6455, 7.4) and reason.
    #[error("closed by the relay: {0} {1}")]
    Closed(u16, String),
    /// It has broken.
    #[error("broken: {0}")]
    Broken(String),
    /// The relay has left something without an answer, or has said nothing for too long.
    #[error("the relay is silent")]
    Silent,
    /// What came is none of the dialect.
    #[error("that is no relay of this dialect")]
    Undecodable,
    /// The relay could not let the device in, for reasons of its own.
    #[error("the login failed: {0}")]
    LoginFailed(Refused),
}

/// What a request comes to, if it does not get its answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The relay does not do it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It cannot be said in the dialect.
    #[error(transparent)]
    Unsayable(#[from] Unsayable),
    /// The connection has broken before the answer.
    #[error("the connection has broken before the answer")]
    Lost,
    /// There was no answer in time, perhaps as there was no connection.
    #[error("no answer in time")]
    TimedOut,
    /// The answer is another one's.
    #[error("the relay has answered something else")]
    Unexpected,
    /// The client has ended: its login was refused, or its inbox is gone.
    #[error("the client has ended")]
    Ended,
}

impl Anonymous {
    /// Begins to connect, in a task of the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn open(config: Config) -> Self {
        let (asker, asked) = Asker::new(&config);
        tokio::spawn(Task::new(config, None, None, asked).run());
        Self(asker)
    }

    /// Has the relay keep a message for a device until that has it. `Ok` means that it does.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn send(&self, to: &Address, message: Bytes) -> Result<(), RequestError> {
        self.0.ask(Request::Send { to: to.clone(), message }).await?.done()
    }

    /// The prekeys of each device of an owner, but for those that are `known`.
    ///
    /// # Errors
    /// [`RequestError`]; refused with `unknown_identity` or `unknown_user` if there is nobody of that name.
    pub async fn prekeys(
        &self,
        owner: &Owner,
        known: &[Device],
    ) -> Result<Vec<PreKey>, RequestError> {
        let request = Request::PreKeys { owner: owner.clone(), known: known.to_vec() };
        match self.0.ask(request).await? {
            Answer::PreKeys(keys) => Ok(keys),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// The number that begins with this short number, in the `deployed` dialect.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn number_by_short(&self, short: &str) -> Result<ChatNumber, RequestError> {
        self.0.ask(Request::NumberByShort(short.to_owned())).await?.number()
    }

    /// Somebody's number, in the `deployed` dialect.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn number_of(&self, identity: &Identity) -> Result<ChatNumber, RequestError> {
        self.0.ask(Request::NumberOf(Owner::from(*identity))).await?.number()
    }
}

impl OwnDevice {
    /// Begins to connect and to log in, in a task of the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn open(config: Config, key: Arc<Key>, device: Device) -> (Self, Inbox) {
        let (asker, asked) = Asker::new(&config);
        // One at a time: what waits is counted by the task.
        let (tell, events) = mpsc::channel(1);
        let login = Some(Login { key, device });
        let task = tokio::spawn(Task::new(config, login, Some(tell), asked).run());
        (Self(asker), Inbox { events, task })
    }

    /// Deposits prekeys. If the signed one is what it was before, the one-time ones are added to those that are
    /// there; otherwise they take their place.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn register(&self, registration: Registration) -> Result<(), RequestError> {
        self.0.ask(Request::Register(registration)).await?.done()
    }

    /// Withdraws the device's prekeys.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn unregister(&self) -> Result<(), RequestError> {
        self.0.ask(Request::Unregister).await?.done()
    }
}

impl Inbox {
    /// What comes next; `None` once the last [`OwnDevice`] is gone or [refused](Event::Refused).
    ///
    /// It may be dropped and called again: nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Lets the acknowledgements leave that can, closes the connection, and waits until that is done. When it is
    /// dropped instead, they leave as well if the runtime goes on for long enough.
    pub async fn close(self) {
        drop(self.events);
        // If it has panicked, it is over as well.
        let _ = self.task.await;
    }
}

impl Received {
    /// As it was sent.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The message is safe, and need not come again. What is dropped without it does.
    pub fn acknowledge(self) {
        self.receipt.settle();
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("payload", &self.payload).finish_non_exhaustive()
    }
}

/// Asks a task, and waits for the answer.
#[derive(Clone, Debug)]
struct Asker {
    asked: mpsc::Sender<Asked>,
    patience: Duration,
}

impl Asker {
    fn new(config: &Config) -> (Self, mpsc::Receiver<Asked>) {
        let (asked, receiver) = mpsc::channel(MAX_WAITING);
        (Self { asked, patience: config.request_timeout }, receiver)
    }

    async fn ask(&self, request: Request) -> Result<Answer, RequestError> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            let asked = Asked { request, reply };
            self.asked.send(asked).await.map_err(|_| RequestError::Ended)?;
            answer.await.map_err(|_| RequestError::Ended)?
        };
        timeout(self.patience, asking).await.map_err(|_| RequestError::TimedOut)?
    }
}

impl Answer {
    fn done(self) -> Result<(), RequestError> {
        match self {
            Self::Done => Ok(()),
            _ => Err(RequestError::Unexpected),
        }
    }

    fn number(self) -> Result<ChatNumber, RequestError> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err(RequestError::Unexpected),
        }
    }
}
