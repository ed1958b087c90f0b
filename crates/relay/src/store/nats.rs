//! A cluster of relays on NATS JetStream.
//!
//! Any number of relays share one store: a device may connect to any of them, and gets what was sent through any. What
//! is answered for is on the disks of a majority of the [replicas](ConfigBuilder::replicas): with three of them, a NATS
//! node may die at any moment, and so may a relay. How soon a node's disk is synced is the NATS server's setting; by
//! default it is every two minutes, so what protects from a power cut is that it does not hit a majority at once.
//!
//! NATS server 2.10 or later is needed: 2.9 passes over messages of a queue from which others were deleted. Everything is in two streams, whose names begin with a
//! [prefix](ConfigBuilder::prefix):
//!
//! - `PREFIX-queues` has the messages, with a subject for each device. The stream's sequence number is the
//!   [`Position`]. A queue is [limited](Limits) by count alone: the stream knows no limit of bytes for a subject, and
//!   [`Limits::queue_bytes`] bounds a single message.
//! - `PREFIX-records` has a record for each device with its prekeys, one for each owner with its devices, and the
//!   numbers. A change is refused by the server if the record is not what it was when it was read, and is then tried
//!   again: so a one-time prekey is given out once. The prekeys of a device must fit in a message of the server, 1 MiB
//!   unless it is set otherwise.
//!
//! All reads go to the leader of a stream: what one relay was told, another one sees.
//!
//! [`Store::expire`] looks at the oldest messages of the stream, up to the first one that is an hour newer than what
//! expires: so far may the clocks of relays differ.

mod names;
mod queues;
mod records;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use tokio::task::JoinHandle;
use towline_wire::relay::number::Candidate;

use super::{
    EnqueueError, Failure, InvalidSetting, Limits, NumberError, OneTime, Page, Position, PreKey,
    Queued, RegisterError, Registration, Store, Subscribers, Subscription, Timestamp,
    check_setting,
};
use crate::{Address, Device, Owner};
use names::Names;
use queues::Queues;
use records::Records;

type BoxError = Box<dyn Error + Send + Sync>;

/// Settings of a [`Nats`] store, valid as built. All relays of a cluster should have the same.
#[derive(Clone, Debug)]
pub struct Config {
    limits: Limits,
    prefix: String,
    replicas: usize,
    timeout: Duration,
}

impl Config {
    /// Everything at its default.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder(Self {
            limits: Limits::default(),
            prefix: "towline".into(),
            replicas: 1,
            timeout: Duration::from_secs(5),
        })
    }
}

/// Settings under construction; [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder(Config);

/// Why settings are not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be in names.
    #[error("{0:?} is no prefix: up to 32 letters, digits, - and _")]
    Prefix(String),
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

impl ConfigBuilder {
    /// How much is kept for whom.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// What the names of streams and subjects begin with: clusters with different ones share a server. Default
    /// `towline`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.prefix = prefix.into();
        self
    }

    /// On how many NATS nodes everything is. Default 1, in `1..=5`; an even number is no safer than the next lower one.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.0.replicas = replicas;
        self
    }

    /// How long an operation may take. Default 5 s, from 100 ms to 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// The first one that is wrong, durations in milliseconds.
    pub fn build(self) -> Result<Config, ConfigError> {
        let config = self.0;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !(1..=32).contains(&config.prefix.len()) || !config.prefix.chars().all(is_allowed) {
            return Err(ConfigError::Prefix(config.prefix));
        }
        let timeout = config.timeout.as_millis().try_into().unwrap_or(u64::MAX);
        check_setting("replicas", config.replicas as u64, 1..=5)?;
        check_setting("timeout", timeout, 100..=60_000)?;
        Ok(config)
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is no address of a server.
    #[error("no address of a NATS server: {0}")]
    Address(io::Error),
    /// No server can be reached.
    #[error("no NATS server: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// It would lose messages.
    #[error("NATS server {0} is too old: 2.10 or later is needed")]
    Version(String),
    /// The server has no JetStream, or does not make the streams as they should be.
    #[error("no stream {name}: {error}")]
    Stream {
        /// Which stream.
        name: String,
        /// What the server says.
        error: BoxError,
    },
    /// A setting is lower than that of the stream that is there. To lower it nevertheless, change the stream.
    #[error("{name} is there with {there} {setting}, and {wanted} would delete some of it")]
    Lower {
        /// Which stream.
        name: String,
        /// What is lower.
        setting: &'static str,
        /// What it is.
        there: i64,
        /// What it would be.
        wanted: i64,
    },
    /// Nobody would tell of new messages.
    #[error("no news of messages: {0}")]
    News(BoxError),
}

/// A store that several relays share.
pub struct Nats {
    limits: Limits,
    queues: Queues,
    records: Records,
    subscribers: Subscribers,
    news: JoinHandle<()>,
}

impl Nats {
    /// Connects to one of the servers, such as `nats://127.0.0.1:4222`, and makes the streams if they are not there.
    /// If the connection breaks, it is made again.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(servers: &[String], config: &Config) -> Result<Self, OpenError> {
        let servers = servers.iter().map(|server| server.parse::<ServerAddr>());
        let servers = servers.collect::<Result<Vec<_>, _>>().map_err(OpenError::Address)?;
        let subscribers = Subscribers::default();
        let writes = connect(servers.clone(), config, &subscribers).await?;
        // The server takes what comes through a connection in turn: reading would wait for all that is written.
        let reads = connect(servers, config, &subscribers).await?;

        let names = Arc::new(Names::new(&config.prefix));
        let messages = i64::try_from(config.limits.queue_count()).unwrap_or(i64::MAX);
        let queues = stream::Config {
            name: names.queue_stream(),
            subjects: vec![names.all_queues()],
            max_messages_per_subject: messages,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..stream_config(config)
        };
        let records = stream::Config {
            name: names.record_stream(),
            subjects: vec![names.all_records()],
            max_messages_per_subject: 1,
            ..stream_config(config)
        };
        let queues = open_stream(&reads, queues).await?;
        let records = open_stream(&reads, records).await?;
        let queues = Queues::new(writes.clone(), queues, Arc::clone(&names));
        let news = queues.news().await.map_err(OpenError::News)?;
        let news = tokio::spawn(queues.clone().follow(news, subscribers.clone()));
        let records = Records::new(writes, records, names);
        Ok(Self { limits: config.limits, queues, records, subscribers, news })
    }
}

/// A connection, after whose breaks the subscribers look for what they may have missed.
async fn connect(
    servers: Vec<ServerAddr>,
    config: &Config,
    subscribers: &Subscribers,
) -> Result<Context, OpenError> {
    let behind = subscribers.clone();
    let options = ConnectOptions::new()
        .name("towline-relay")
        .request_timeout(Some(config.timeout))
        .event_callback(move |event| {
            let behind = behind.clone();
            async move {
                tracing::info!(%event, "NATS");
                if matches!(event, Event::Connected) {
                    behind.push_behind();
                }
            }
        });
    let client = options.connect(servers).await?;
    if !client.is_server_compatible(2, 10, 0) {
        return Err(OpenError::Version(client.server_info().version));
    }
    let mut context = jetstream::new(client);
    context.set_timeout(config.timeout);
    Ok(context)
}

fn stream_config(config: &Config) -> stream::Config {
    stream::Config {
        storage: StorageType::File,
        num_replicas: config.replicas,
        // Only a leader has seen everything that was answered for.
        allow_direct: false,
        ..stream::Config::default()
    }
}

/// The stream, which is made if it is not there. One that is there is never made smaller: the server would delete
/// messages that were answered for.
async fn open_stream(
    context: &Context,
    wanted: stream::Config,
) -> Result<stream::Stream, OpenError> {
    let name = wanted.name.clone();
    let failure = |error: BoxError| OpenError::Stream { name: name.clone(), error };
    let stream = match context.get_stream(&name).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(absent)
                if absent.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                context.create_stream(wanted.clone()).await.map_err(|it| failure(it.into()))?
            }
            _ => return Err(failure(error.into())),
        },
    };
    let there = &stream.cached_info().config;
    for (setting, there, wanted) in [
        ("replicas", there.num_replicas as i64, wanted.num_replicas as i64),
        ("messages per queue", there.max_messages_per_subject, wanted.max_messages_per_subject),
    ] {
        if wanted < there {
            return Err(OpenError::Lower { name: name.clone(), setting, there, wanted });
        }
    }
    let raised = stream::Config {
        num_replicas: wanted.num_replicas,
        max_messages_per_subject: wanted.max_messages_per_subject,
        ..there.clone()
    };
    if raised != *there {
        context.update_stream(raised).await.map_err(|error| failure(error.into()))?;
    }
    Ok(stream)
}

impl Store for Nats {
    async fn register(
        &self,
        address: &Address,
        registration: Registration,
    ) -> Result<(), RegisterError> {
        self.records.register(address, registration, &self.limits).await
    }

    async fn unregister(&self, address: &Address) -> Result<(), Failure> {
        self.records.unregister(address).await
    }

    async fn prekeys(
        &self,
        owner: &Owner,
        known: &[Device],
        one_time: OneTime,
    ) -> Result<Option<Vec<PreKey>>, Failure> {
        self.records.prekeys(owner, known, one_time).await
    }

    async fn remaining(&self, address: &Address) -> Result<Option<u64>, Failure> {
        self.records.remaining(address).await
    }

    async fn assign_number(
        &self,
        owner: &Owner,
        candidates: impl Iterator<Item = Candidate> + Send + 'static,
    ) -> Result<Candidate, NumberError> {
        self.records.assign_number(owner, candidates).await
    }

    async fn number(&self, owner: &Owner) -> Result<Option<Candidate>, Failure> {
        self.records.number(owner).await
    }

    async fn number_by_short(&self, short: &str) -> Result<Option<Candidate>, Failure> {
        self.records.number_by_short(short).await
    }

    async fn enqueue(
        &self,
        to: &Address,
        message: Bytes,
        now: Timestamp,
    ) -> Result<Position, EnqueueError> {
        self.queues.enqueue(to, message, now, &self.limits).await
    }

    async fn fetch(
        &self,
        address: &Address,
        after: Position,
        page: Page,
    ) -> Result<Vec<Queued>, Failure> {
        self.queues.fetch(address, after, page).await
    }

    async fn subscribe(&self, address: &Address) -> Result<Subscription, Failure> {
        // News come a little later than answers: of what was in the queue before nobody need be told.
        self.subscribers.subscribe_after(address, self.queues.last().await?)
    }

    async fn acknowledge(&self, address: &Address, position: Position) -> Result<(), Failure> {
        self.queues.acknowledge(address, position).await
    }

    async fn expire(&self, before: Timestamp) -> Result<u64, Failure> {
        self.queues.expire(before).await
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.news.abort();
        self.subscribers.close();
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A fault of NATS or of the way to it.
fn failure(error: impl Error + Send + Sync + 'static) -> Failure {
    Failure::Backend(Arc::new(error))
}
