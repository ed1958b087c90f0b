//! Messages for people whose relay is another one.
//!
//! Nothing in the protocol says where somebody is. A relay that has allow-listed others takes a message for somebody who
//! may be elsewhere into a queue of its own, durable before the sender is told, and asks the others who that is: the
//! one that knows the person's number gets the message, as from any anonymous client. What nobody knows stays here, for
//! who may come yet. So it is in the `deployed` dialect; users of `seed` have no numbers, and stay where they are.
//!
//! What cannot be handed over is tried again until it is too old. Messages for one device keep their order: as long as one
//! waits, those that come after it wait as well. Where an answer is lost, a message may be handed over twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::http::Uri;
use towline_wire::relay::deployed::{self, ForwardedMessage, OutboundMessage};
use towline_wire::relay::{ErrorName, Identity, MAX_MESSAGE_LEN, UserId};

use super::Shared;
use super::tally::Tally;
use crate::client::{self, Anonymous, RequestError};
use crate::store::{
    EnqueueError, Failure, InvalidSetting, Page, Position, Queued, Store, Timestamp, check_setting,
};
use crate::{Address, Device, Owner};

/// Recipients whose messages are on their way at a time.
const MAX_AT_ONCE: usize = 32;

/// Messages of one recipient that wait, so that nobody takes the room of all.
const MAX_WAITING: usize = 1000;

/// People of whom it is remembered where they are, and for how long.
const MAX_KNOWN: usize = 100_000;
const KNOWN: Duration = Duration::from_secs(3600);

/// What is read of the queue at once.
const PAGE: Page = Page { count: 256, bytes: 1 << 20 };

/// Which other relays there are, and how messages get there.
#[derive(Clone, Debug)]
pub struct Federation {
    peers: Vec<client::Config>,
    name: String,
    retry: Duration,
    max_age: Duration,
}

impl Federation {
    /// One without any peers.
    pub fn builder() -> FederationBuilder {
        FederationBuilder(Self::default())
    }
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            name: "relay".into(),
            retry: Duration::from_secs(30),
            max_age: Duration::from_secs(3 * 24 * 3600),
        }
    }
}

/// A federation under construction; [`build`](Self::build) checks it.
#[derive(Clone, Debug)]
#[must_use]
pub struct FederationBuilder(Federation);

/// Why a federation is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FederationError {
    /// Messages would go where anybody could change or drop them.
    #[error("{0} is without TLS, and no address of this machine")]
    WithoutTls(String),
    /// It cannot be in the address of a queue.
    #[error("{0:?} is no name: 1 to 64 bytes")]
    Name(String),
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

impl FederationBuilder {
    /// Allow-lists another relay: messages are handed over to it, if it knows the recipient. Its URL must have TLS,
    /// but for one of this machine, and its dialect be `deployed`.
    pub fn peer(mut self, config: client::Config) -> Self {
        self.0.peers.push(config);
        self
    }

    /// Which one this is of the relays that share a store: each needs a name of its own, and keeps it. Default
    /// `relay`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// Time to the next try. Default 30 s, from 10 ms to a day.
    pub fn retry(mut self, time: Duration) -> Self {
        self.0.retry = time;
        self
    }

    /// How long a message is tried to be handed over. Default 3 days, from a minute to a year.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.0.max_age = age;
        self
    }

    /// The federation.
    ///
    /// # Errors
    /// The first thing that is wrong, the retry in milliseconds, the age in seconds.
    pub fn build(self) -> Result<Federation, FederationError> {
        const DAY: u64 = 24 * 3600;
        let federation = self.0;
        if let Some(peer) = federation.peers.iter().find(|peer| !is_safe(peer.url())) {
            return Err(FederationError::WithoutTls(peer.url().to_owned()));
        }
        if !(1..=64).contains(&federation.name.len()) {
            return Err(FederationError::Name(federation.name));
        }
        let retry = federation.retry.as_millis().try_into().unwrap_or(u64::MAX);
        check_setting("retry", retry, 10..=1000 * DAY)?;
        check_setting("max_age", federation.max_age.as_secs(), 60..=366 * DAY)?;
        Ok(federation)
    }
}

/// Whether nobody on the way could change what is said.
fn is_safe(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme_str() == Some("wss") || is_here()
}

/// Takes messages for others, and hands them over.
pub(super) struct Forwarder {
    peers: Vec<Anonymous>,
    queue: Address,
    retry: Duration,
    max_age: Duration,
    state: Mutex<State>,
}

/// What is known for now; the queue has what must not be forgotten.
#[derive(Default)]
struct State {
    /// How many messages wait for whom.
    waiting: Tally<Address>,
    /// Who has a number here, as everybody keeps it.
    here: HashSet<Owner>,
    /// Which peer knows somebody, and until when that is taken for true.
    known: HashMap<Owner, (usize, Instant)>,
    /// Which peers have not answered, and until when they are not asked.
    silent: HashMap<usize, Instant>,
}

/// What is to be handed over.
struct Forward {
    position: Position,
    since: Timestamp,
    message: Bytes,
}

/// Why a message is not handed over yet.
#[derive(Debug, thiserror::Error)]
enum Delay {
    #[error(transparent)]
    Store(#[from] Failure),
    #[error(transparent)]
    Here(#[from] EnqueueError),
    #[error("another relay: {0}")]
    Peer(RequestError),
    #[error("another relay has just not answered")]
    Silent,
}

impl Forwarder {
    /// Begins to connect to the peers, in tasks of the current runtime.
    pub(super) fn new(federation: Federation) -> Self {
        let Federation { peers, name, retry, max_age } = federation;
        Self {
            peers: peers.into_iter().map(Anonymous::open).collect(),
            queue: queue_of(&name),
            retry,
            max_age,
            state: Mutex::default(),
        }
    }

    /// Finds out what waits from before. Nothing may be put into the queue until this is done.
    ///
    /// # Errors
    /// The store has failed.
    pub(super) async fn recall(&self, store: &impl Store) -> Result<(), Failure> {
        let mut after = Position::START;
        loop {
            let page = store.fetch(&self.queue, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.position;
            let mut state = self.state();
            for (to, _) in page.into_iter().filter_map(read) {
                state.waiting.add(to);
            }
        }
    }

    /// Puts a message into the recipient's queue, or into that of messages for others. What is called first takes
    /// effect first.
    pub(super) fn enqueue<S: Store>(
        &self,
        store: &S,
        to: &Address,
        message: Bytes,
        now: Timestamp,
    ) -> impl Future<Output = Result<Position, EnqueueError>> {
        let route = self.route(to, &message);
        async move {
            match route {
                Route::Here => store.enqueue(to, message, now).await,
                Route::Refused(error) => Err(error),
                Route::Elsewhere(forwarded) => {
                    let waits = Waits { forwarder: self, to };
                    let position = store.enqueue(&self.queue, forwarded, now).await?;
                    // It is counted until it is handed over.
                    std::mem::forget(waits);
                    Ok(position)
                }
            }
        }
    }

    fn route(&self, to: &Address, message: &Bytes) -> Route {
        let Some(identity) = to.owner.identity() else { return Route::Here };
        let mut state = self.state();
        let waiting = state.waiting.of(to);
        if waiting == 0 && (self.peers.is_empty() || state.here.contains(&to.owner)) {
            return Route::Here;
        }
        if waiting >= MAX_WAITING {
            return Route::Refused(EnqueueError::TooMany(MAX_WAITING as u64));
        }
        let to_there = deployed::Address {
            identity_key: identity.into(),
            device_id: Bytes::copy_from_slice(to.device.as_bytes()),
        };
        let outbound =
            OutboundMessage { to: Some(to_there), unidentified_sender_message: message.clone() };
        let mut encoded = Vec::new();
        // With the longest sequence number, or it may not fit when it is handed over.
        let payload = Some(deployed::Payload::OutboundMessage(outbound.clone()));
        if (deployed::Message { sequence: u32::MAX, payload }).encode(&mut encoded).is_err() {
            return Route::Refused(EnqueueError::TooMuch(MAX_MESSAGE_LEN as u64));
        }
        encoded.clear();
        let forwarded = ForwardedMessage { message: Some(outbound), ..ForwardedMessage::default() };
        if let Err(error) = forwarded.encode(&mut encoded) {
            return Route::Refused(Failure::Backend(Arc::new(error)).into());
        }
        state.waiting.add(to.clone());
        Route::Elsewhere(encoded.into())
    }

    /// Hands over what comes, for ever; an error says that nobody tells any more what comes.
    pub(super) async fn run<S: Store>(&self, shared: &Shared<S>) -> Result<Infallible, Failure> {
        let mut news = shared.store.subscribe(&self.queue).await?;
        // Recipients that have to wait, and until when.
        let mut delayed: HashMap<Address, Instant> = HashMap::new();
        let mut after = Position::START;
        loop {
            after = self.pass(shared, after, &mut delayed).await?;
            let next = delayed.values().min().copied();
            tokio::select! {
                first = news.next() => {
                    let mut more = first;
                    while more.is_some() {
                        let Some(it) = news.next().now_or_never() else { break };
                        more = it;
                    }
                    if more.is_none() {
                        return Err(Failure::Closed);
                    }
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    // From the start, or what waits would be overtaken; and with those whose turn is soon.
                    let soon = Instant::now() + self.retry / 4;
                    delayed.retain(|_, until| *until > soon);
                    after = Position::START;
                }
            }
        }
    }

    /// Tries once to hand over everything after a position that need not wait, and says how far it has come.
    async fn pass<S: Store>(
        &self,
        shared: &Shared<S>,
        mut after: Position,
        delayed: &mut HashMap<Address, Instant>,
    ) -> Result<Position, Failure> {
        loop {
            let page = shared.store.fetch(&self.queue, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(after) };
            after = last.position;
            let mut recipients: BTreeMap<Address, Vec<Forward>> = BTreeMap::new();
            for queued in page {
                let (position, since) = (queued.position, queued.since);
                match read(queued) {
                    Some((to, _)) if delayed.contains_key(&to) => {}
                    Some((to, message)) => {
                        let forward = Forward { position, since, message };
                        recipients.entry(to).or_default().push(forward);
                    }
                    // None of ours, and of no use to anybody.
                    None => shared.store.acknowledge(&self.queue, position).await?,
                }
            }
            let passed = futures::stream::iter(recipients).map(async |(to, messages)| {
                let result = self.hand_over(shared, &to, messages).await;
                (to, result)
            });
            let mut passed = std::pin::pin!(passed.buffer_unordered(MAX_AT_ONCE));
            while let Some((to, result)) = passed.next().await {
                if let Err(delay) = result {
                    tracing::info!(%delay, "a message for another relay has to wait");
                    shared.metrics.delay_forward();
                    delayed.insert(to, Instant::now() + self.retry);
                }
            }
        }
    }

    /// Hands over messages of one recipient, in their order.
    async fn hand_over<S: Store>(
        &self,
        shared: &Shared<S>,
        to: &Address,
        messages: Vec<Forward>,
    ) -> Result<(), Delay> {
        for Forward { position, since, message } in messages {
            match self.deliver(shared, to, message, since).await {
                Ok(()) => {}
                // Whoever had sent it here would have been told.
                Err(Delay::Here(error @ (EnqueueError::TooMany(_) | EnqueueError::TooMuch(_)))) => {
                    tracing::warn!(%error, "a message that no other relay takes is dropped");
                    shared.metrics.expire(1);
                }
                Err(Delay::Peer(error @ RequestError::Unsayable(_))) => {
                    tracing::warn!(%error, "a message that cannot be handed over is dropped");
                    shared.metrics.expire(1);
                }
                Err(delay) if since < Timestamp::now().before(self.max_age) => {
                    tracing::warn!(%delay, "a message for another relay is too old");
                    shared.metrics.expire(1);
                }
                Err(delay) => return Err(delay),
            }
            shared.store.acknowledge(&self.queue, position).await?;
            self.state().waiting.take(to.clone());
        }
        Ok(())
    }

    /// Hands a message over to the relay that knows the recipient, be it this one.
    async fn deliver<S: Store>(
        &self,
        shared: &Shared<S>,
        to: &Address,
        message: Bytes,
        since: Timestamp,
    ) -> Result<(), Delay> {
        let Some(peer) = self.peer_of(&shared.store, &to.owner).await? else {
            shared.store.enqueue(to, message, since).await?;
            return Ok(());
        };
        match self.peers[peer].send(to, message).await {
            Ok(()) => {
                shared.metrics.forward();
                Ok(())
            }
            Err(error) => {
                // It may be elsewhere the next time.
                self.state().known.remove(&to.owner);
                Err(Delay::Peer(error))
            }
        }
    }

    /// Which peer knows somebody; `None` if that is this relay, or nobody.
    async fn peer_of(&self, store: &impl Store, owner: &Owner) -> Result<Option<usize>, Delay> {
        let Some(identity) = owner.identity() else { return Ok(None) };
        // It may have come here meanwhile.
        if store.number(owner).await?.is_some() {
            self.state().remember_here(owner);
            return Ok(None);
        }
        let now = Instant::now();
        if let Some(&(peer, until)) = self.state().known.get(owner)
            && until > now
        {
            return Ok(Some(peer));
        }
        let mut delay = None;
        let mut asked = FuturesUnordered::new();
        for (index, peer) in self.peers.iter().enumerate() {
            if self.state().silent.get(&index).is_some_and(|until| *until > now) {
                delay = Some(Delay::Silent);
            } else {
                asked.push(async move { (index, knows(peer, &identity).await) });
            }
        }
        while let Some((index, answer)) = asked.next().await {
            match answer {
                Ok(true) => {
                    self.state().remember_peer(owner, index);
                    return Ok(Some(index));
                }
                Ok(false) => {}
                Err(error) => {
                    if !matches!(error, RequestError::Refused(_)) {
                        self.state().silent.insert(index, Instant::now() + self.retry);
                    }
                    delay = Some(Delay::Peer(error));
                }
            }
        }
        // Somebody who has not answered may know.
        delay.map_or(Ok(None), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that is counted, and may not come to be in the queue.
struct Waits<'a> {
    forwarder: &'a Forwarder,
    to: &'a Address,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.forwarder.state().waiting.take(self.to.clone());
    }
}

/// Where a message goes.
enum Route {
    Here,
    /// Into the queue of messages for others, like that.
    Elsewhere(Bytes),
    Refused(EnqueueError),
}

impl State {
    fn remember_here(&mut self, owner: &Owner) {
        if self.here.len() >= MAX_KNOWN {
            self.here.clear();
        }
        self.here.insert(owner.clone());
    }

    fn remember_peer(&mut self, owner: &Owner, peer: usize) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(owner.clone(), (peer, Instant::now() + KNOWN));
    }
}

async fn knows(peer: &Anonymous, identity: &Identity) -> Result<bool, RequestError> {
    match peer.number_of(identity).await {
        Ok(_) => Ok(true),
        Err(RequestError::Refused(refused))
            if refused.known() == Some(ErrorName::UnknownIdentity) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The queue of what the relay of this name is to hand over. No client can name it, as the device of a user has four
/// bytes.
pub(super) fn queue_of(name: &str) -> Address {
    let device = Device::try_from(Bytes::from(format!("forward {name}")));
    Address::new(UserId::new(&[0; 32]), device.expect("a short name makes a short device"))
}

/// To whom a message is, and what it is.
fn read(queued: Queued) -> Option<(Address, Bytes)> {
    let outbound = ForwardedMessage::decode(queued.message).ok()?.message?;
    let to = outbound.to?;
    let owner = Identity::try_from(&to.identity_key[..]).ok()?;
    let device = Device::try_from(to.device_id).ok()?;
    Some((Address::new(owner, device), outbound.unidentified_sender_message))
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder").field("queue", &self.queue).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    fn with(url: &str) -> FederationBuilder {
        let config = client::Config::builder(url, Dialect::Deployed).build().unwrap();
        Federation::builder().peer(config)
    }

    #[test]
    fn only_what_nobody_on_the_way_can_change_is_a_peer() {
        for url in ["wss://relay.example/api", "ws://127.0.0.1:8080/api", "ws://[::1]/api"] {
            assert!(with(url).build().is_ok(), "{url}");
        }
        for url in ["ws://relay.example/api", "ws://192.0.2.1/api", "ws://localhost/api"] {
            let refused = FederationError::WithoutTls(url.into());
            assert_eq!(with(url).build().map(drop), Err(refused));
        }
    }

    #[test]
    fn every_setting_is_checked() {
        for (field, builder) in [
            ("retry", Federation::builder().retry(Duration::from_millis(9))),
            ("max_age", Federation::builder().max_age(Duration::from_secs(59))),
        ] {
            let Err(FederationError::Setting(error)) = builder.build() else { panic!("{field}") };
            assert_eq!(error.field, field);
        }
        for name in ["", &"x".repeat(65)] {
            let refused = FederationError::Name(name.into());
            assert_eq!(Federation::builder().name(name).build().map(drop), Err(refused));
        }
    }
}
