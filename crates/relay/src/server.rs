//! The relay as a server: WebSockets over HTTP, with or without TLS.
//!
//! | path | what is there |
//! |---|---|
//! | `/api` | the `deployed` dialect |
//! | `/v0/api`, or as [set](ServerBuilder::seed_path) | the `seed` dialect |
//! | `/healthz` | status 200 while the process lives |
//! | `/readyz` | status 200 while the store can be written and the server takes connections, otherwise 503 |
//! | `/metrics` | what is counted, for Prometheus |
//! | `/attachments` | uploads and downloads, if there are [attachments](ServerBuilder::attachments) |
//!
//! All are on one listener; who should not see health and metrics is to be kept from them by what is in front of
//! the relay. Nothing in them tells who the clients are.
//!
//! A browser may connect only from a page of the same host: with an `Origin` header that is another one, the
//! answer is status 403.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use towline_relay::server::Server;
//! use towline_relay::store::sqlite::{Config, Sqlite};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Sqlite::open("relay.db", &Config::builder().build()?)?;
//! let server = Server::builder(store).bind("127.0.0.1:8080".parse()?).await?;
//! println!("listening on {}", server.local_address());
//! server.run(async { tokio::signal::ctrl_c().await.expect("a signal handler") }).await;
//! # Ok(())
//! # }
//! ```

mod accept;
mod attachments;
mod federation;
mod gate;
mod limits;
mod metrics;
mod routes;
mod socket;
mod tally;
mod tls;

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::connection;
use crate::store::{InvalidSetting, Store, Timestamp, check_setting};
use gate::Gate;
use metrics::Metrics;

pub use attachments::{
    AttachmentConfig, AttachmentConfigBuilder, AttachmentConfigError, AttachmentError, Attachments,
};
pub use federation::{Federation, FederationBuilder, FederationError};
pub use limits::{InvalidRate, Limits, LimitsBuilder, Rate};
pub use tls::{Tls, TlsError};

/// Time from one look at what is too old to the next.
const SWEEP: Duration = Duration::from_secs(60);
/// The same for attachments, of which each is looked at.
const ATTACHMENT_SWEEP: Duration = Duration::from_secs(3600);

/// What all connections of a relay share.
struct Shared<S> {
    store: S,
    connection: Arc<connection::Config>,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    attachments: Option<Arc<Attachments>>,
    forwarder: federation::Forwarder,
    write_timeout: Duration,
    max_age: Duration,
}

/// A relay that listens, and serves once it [runs](Self::run).
#[derive(Debug)]
pub struct Server<S> {
    listener: TcpListener,
    local_address: SocketAddr,
    shared: Arc<Shared<S>>,
    seed_path: String,
    drain_timeout: Duration,
    tls: Option<Tls>,
}

impl<S: Store> Server<S> {
    /// Everything at its default.
    pub fn builder(store: S) -> ServerBuilder<S> {
        ServerBuilder {
            store,
            connection: connection::Config::default(),
            limits: Limits::default(),
            seed_path: "/v0/api".into(),
            max_age: Duration::from_secs(30 * 24 * 3600),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            tls: None,
            attachments: None,
            federation: Federation::default(),
        }
    }

    /// Where it listens, with the port that it really has.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Serves clients until `shutdown` is over. Then it takes no more connections; those that are open get what
    /// they wait for, and are closed with status 1001. What is not closed after the drain timeout is cut off.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, shared, seed_path, drain_timeout, tls, .. } = self;
        let (drain, drains) = watch::channel(false);
        if let Err(failure) = shared.forwarder.recall(&shared.store).await {
            tracing::error!(%failure, "what waits for other relays may be overtaken");
        }
        let router = routes::router(&shared, &seed_path, &drains);
        let (gate, metrics) = (Arc::clone(&shared.gate), Arc::clone(&shared.metrics));
        let accept = accept::Accept { listener, gate, metrics, router, tls, drains };
        tokio::select! {
            () = shutdown => {}
            () = accept.run() => {}
            () = sweep(&shared) => {}
            () = sweep_attachments(&shared) => {}
            () = forward(&shared) => {}
        }
        // Nobody listens any more. Whoever still serves a client holds a receiver.
        drain.send_replace(true);
        if timeout(drain_timeout, drain.closed()).await.is_err() {
            tracing::warn!("some connections were not over in time");
        }
    }
}

/// Takes out of the store what is too old, for ever.
async fn sweep<S: Store>(shared: &Shared<S>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.gate.sweep();
        let before = Timestamp::now().before(shared.max_age);
        loop {
            match shared.store.expire(before).await {
                Ok(0) => break,
                Ok(messages) => shared.metrics.expire(messages),
                Err(failure) => {
                    tracing::error!(%failure, "what is too old is not taken out of the store");
                    break;
                }
            }
        }
    }
}

/// Deletes attachments that are too old, for ever.
async fn sweep_attachments<S>(shared: &Shared<S>) {
    let Some(attachments) = &shared.attachments else { return pending().await };
    let mut ticks = interval(ATTACHMENT_SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let attachments = Arc::clone(attachments);
        let expired = spawn_blocking(move || attachments.expire(SystemTime::now()));
        match expired.await.map_err(io::Error::other).and_then(|expired| expired) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "attachments were too old"),
            Err(error) => tracing::error!(%error, "attachments that are too old are not deleted"),
        }
    }
}

/// Hands over messages for other relays, for ever.
async fn forward<S: Store>(shared: &Shared<S>) {
    loop {
        let Err(failure) = shared.forwarder.run(shared).await;
        tracing::error!(%failure, "no messages for other relays are handed over");
        tokio::time::sleep(SWEEP).await;
    }
}

/// A server under construction.
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder<S> {
    store: S,
    connection: connection::Config,
    limits: Limits,
    seed_path: String,
    max_age: Duration,
    write_timeout: Duration,
    drain_timeout: Duration,
    tls: Option<Tls>,
    attachments: Option<Attachments>,
    federation: Federation,
}

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is in use, or not this machine's, or not allowed.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
    /// It is no path, or something else is there.
    #[error(
        "{0:?} cannot be the path of a dialect: it is taken, or is not /NAME with letters, digits and -._~/"
    )]
    SeedPath(String),
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

impl<S: Store> ServerBuilder<S> {
    /// Settings of connections.
    pub fn connection(mut self, config: connection::Config) -> Self {
        self.connection = config;
        self
    }

    /// How much of what clients may do.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the `seed` dialect is. Default `/v0/api`.
    pub fn seed_path(mut self, path: impl Into<String>) -> Self {
        self.seed_path = path.into();
        self
    }

    /// How long a message stays in its queue. Default 30 days, from a minute to ten years.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How long a client may take for some 48 KiB of what it is sent, before it is cut off. Default 30 s, from 1 s
    /// to an hour.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How long clients are waited for at the end. Default 10 s, up to an hour.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Serves TLS, and nothing without it.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Keeps attachments. Without this there are none, and clients are told so.
    pub fn attachments(mut self, attachments: Attachments) -> Self {
        self.attachments = Some(attachments);
        self
    }

    /// Hands messages for people who are unknown here over to other relays. Without peers, as it is by default, what
    /// still waits for some from before is for here.
    pub fn federation(mut self, federation: Federation) -> Self {
        self.federation = federation;
        self
    }

    /// Listens on an address; port 0 is any that is free. Clients wait until the server [runs](Server::run).
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(mut self, address: SocketAddr) -> Result<Server<S>, BindError> {
        const HOUR: u64 = 3600;
        check_setting("max_age", self.max_age.as_secs(), 60..=10 * 366 * 24 * HOUR)?;
        check_setting("write_timeout", self.write_timeout.as_secs(), 1..=HOUR)?;
        check_setting("drain_timeout", self.drain_timeout.as_secs(), 0..=HOUR)?;
        if !routes::can_be_seed_path(&self.seed_path) {
            return Err(BindError::SeedPath(self.seed_path));
        }
        let failure = |error| BindError::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(failure)?;
        let local_address = listener.local_addr().map_err(failure)?;
        if let Some(attachments) = &mut self.attachments {
            attachments.set_default_url(self.tls.is_some(), local_address);
            self.connection.max_attachment = attachments.max_bytes();
        }
        let shared = Shared {
            store: self.store,
            attachments: self.attachments.map(Arc::new),
            forwarder: federation::Forwarder::new(self.federation),
            connection: Arc::new(self.connection),
            gate: Arc::new(Gate::new(self.limits)),
            metrics: Arc::new(Metrics::new()),
            write_timeout: self.write_timeout,
            max_age: self.max_age,
        };
        Ok(Server {
            listener,
            local_address,
            shared: Arc::new(shared),
            seed_path: self.seed_path,
            drain_timeout: self.drain_timeout,
            tls: self.tls,
        })
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).finish_non_exhaustive()
    }
}
