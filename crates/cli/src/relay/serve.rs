//! `towline relay serve`: the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use towline_relay::dialect::Dialect;
use towline_relay::server::{Attachments, BindError, Federation, Limits, Server, Tls, TlsError};
use towline_relay::store::Store;
use towline_relay::store::nats::{self, Nats};
use towline_relay::store::sqlite::{self, OpenError, Sqlite};
use towline_relay::{client, connection};

use super::directory::Directory;
use super::limits::{LimitArgs, days};
use crate::args::HostPort;
use crate::failure::Failure;
use crate::shutdown::Shutdown;

/// Serve clients over WebSockets
///
/// The deployed dialect is at /api, the seed's at --seed-dialect-path, attachments are at /attachments. Health is at
/// /healthz and /readyz, metrics for Prometheus are at /metrics. SIGTERM and Ctrl-C let clients get what they wait for, and then end. SIGHUP reads the
/// certificate again.
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline relay serve --listen 127.0.0.1:8080 --data ./relay-data
  towline relay serve --listen 0.0.0.0:443 --data /var/lib/towline --domain relay.example \\
    --tls-certificate fullchain.pem --tls-key privkey.pem --public-url https://relay.example
  towline relay serve --listen 0.0.0.0:8080 --data ./relay-data --nats-replicas 3 \\
    --store nats://a.example:4222,nats://b.example:4222,nats://c.example:4222")]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: HostPort,
    /// Where to keep what must not be forgotten; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What keeps it: sqlite, a file in --data; or nats://HOST:PORT[,...], a cluster that other relays share
    #[arg(long, value_name = "STORE", default_value = "sqlite")]
    store: StoreKind,
    /// On how many NATS nodes everything is
    #[arg(long, value_name = "N", default_value = "1")]
    nats_replicas: usize,
    /// What the names of NATS streams and subjects begin with
    #[arg(long, value_name = "NAME", default_value = "towline")]
    nats_prefix: String,
    /// Path of the seed's dialect
    #[arg(long, value_name = "PATH", default_value = "/v0/api")]
    seed_dialect_path: String,
    /// Where chat numbers are unique; clients are told [default: empty]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    domain: String,
    /// Where clients reach the relay, for attachments [default: where it listens, if that is one address]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Another relay, wss://HOST/api: gets messages for people whom it knows, and this one does not; may be repeated
    #[arg(long = "peer", value_name = "URL")]
    peers: Vec<String>,
    /// Which one this is of the relays that share a store and have peers; what waits for peers belongs to it
    #[arg(long, value_name = "NAME", default_value = "relay")]
    relay_name: String,
    /// Time from one try to hand a message over to a peer to the next, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    forward_retry: u64,
    /// Days for which that is tried
    #[arg(long, value_name = "DAYS", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=365))]
    max_forward_age: u64,
    /// Certificates in PEM, the relay's own first
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Time from one ping to the next, and how long it waits for its pong, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = clap::value_parser!(u64).range(1..=3600))]
    ping_interval: u64,
    /// With fewer one-time prekeys than this, a device is asked for twice as many
    #[arg(long, value_name = "N", default_value = "10")]
    prekey_limit: u32,
    /// Time from one look at a device's prekeys to the next, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    prekey_interval: u64,
    /// How long clients are waited for at the end, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(..=3600))]
    drain_timeout: u64,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What keeps what must not be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StoreKind {
    Sqlite,
    /// Servers of one cluster.
    Nats(Vec<String>),
}

impl FromStr for StoreKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "sqlite" {
            return Ok(Self::Sqlite);
        }
        let servers: Vec<_> = text.split(',').map(str::to_owned).collect();
        let is_server = |it: &String| it.starts_with("nats://") || it.starts_with("tls://");
        if servers.iter().all(is_server) {
            Ok(Self::Nats(servers))
        } else {
            Err("a store is sqlite, or nats://HOST:PORT with more after commas")
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let shutdown = Shutdown::listen();
    raise_file_limit();
    // Whatever is wrong with the arguments shows before anything is made.
    let settings = Settings {
        address: args.listen.resolve().await?,
        connection: args.connection()?,
        limits: args.limits.server()?,
        federation: args.federation()?,
        tls: args.tls()?,
    };
    let directory = Directory::from(args.data.clone());
    directory.create()?;
    let _lock = directory.lock()?;
    match &args.store {
        StoreKind::Sqlite => {
            let store = open(&directory, &args.limits)?;
            serve(store, settings, &directory, args, shutdown).await
        }
        StoreKind::Nats(servers) => {
            let config = nats::Config::builder()
                .limits(args.limits.store()?)
                .prefix(&args.nats_prefix)
                .replicas(args.nats_replicas)
                .build()
                .map_err(|error| Failure::Usage(error.to_string()))?;
            let store = Nats::open(servers, &config).await;
            let store = store.map_err(|error| Failure::Failed(error.to_string()))?;
            serve(store, settings, &directory, args, shutdown).await
        }
    }
}

/// What the server is told, checked.
struct Settings {
    address: SocketAddr,
    connection: connection::Config,
    limits: Limits,
    federation: Federation,
    tls: Option<Tls>,
}

async fn serve(
    store: impl Store,
    settings: Settings,
    directory: &Directory,
    args: Args,
    mut shutdown: Shutdown,
) -> Result<(), Failure> {
    let Settings { address, connection, limits, federation, tls } = settings;
    let mut builder = Server::builder(store)
        .connection(connection)
        .limits(limits)
        .max_age(args.limits.max_age())
        .federation(federation)
        .drain_timeout(Duration::from_secs(args.drain_timeout));
    if let Some(tls) = tls {
        builder = builder.tls(tls.clone());
        tokio::spawn(reload_on_hangup(tls));
    }
    if let Some(attachments) = args.attachments(directory, address)? {
        builder = builder.attachments(attachments);
    }
    let server = builder.seed_path(args.seed_dialect_path).bind(address).await?;
    eprintln!("listening on {}", server.local_address());
    server.run(shutdown.asked()).await;
    Ok(())
}

impl Args {
    fn connection(&self) -> Result<connection::Config, Failure> {
        let ping_interval = Duration::from_secs(self.ping_interval);
        let builder = connection::Config::builder()
            .domain(&self.domain)
            .ping_interval(ping_interval)
            .pong_timeout(ping_interval)
            .prekey_limit(self.prekey_limit)
            .prekey_interval(Duration::from_secs(self.prekey_interval));
        let config = self.limits.connection(builder).build();
        config.map_err(|error| Failure::Usage(error.to_string()))
    }

    fn attachments(
        &self,
        directory: &Directory,
        listen: SocketAddr,
    ) -> Result<Option<Attachments>, Failure> {
        let Some(mut config) = self.limits.attachments() else { return Ok(None) };
        match &self.public_url {
            Some(url) => config = config.url(url),
            None if listen.ip().is_unspecified() => {
                eprintln!("no attachments: --public-url would say where clients find them");
                return Ok(None);
            }
            None => {}
        }
        let config = config.build().map_err(|error| Failure::Usage(error.to_string()))?;
        let attachments = Attachments::open(directory.attachments(), config);
        attachments.map(Some).map_err(|error| Failure::Failed(error.to_string()))
    }

    fn federation(&self) -> Result<Federation, Failure> {
        let mut builder = Federation::builder()
            .name(&self.relay_name)
            .retry(Duration::from_secs(self.forward_retry))
            .max_age(days(self.max_forward_age));
        for peer in &self.peers {
            let config = client::Config::builder(peer, Dialect::Deployed).build();
            builder = builder.peer(config.map_err(|error| Failure::Usage(error.to_string()))?);
        }
        builder.build().map_err(|error| Failure::Usage(error.to_string()))
    }

    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let failure = |error: TlsError| Failure::Failed(error.to_string());
        Tls::open(certificate, key).map(Some).map_err(failure)
    }
}

fn open(directory: &Directory, limits: &LimitArgs) -> Result<Sqlite, Failure> {
    let config = sqlite::Config::builder().limits(limits.store()?).build();
    let config = config.map_err(|error| Failure::Usage(error.to_string()))?;
    let path = directory.store();
    Sqlite::open(&path, &config)
        .map_err(|error: OpenError| Failure::Failed(format!("{}: {error}", path.display())))
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Listen { address, error } => Self::listen(address, error),
            error => Self::Usage(error.to_string()),
        }
    }
}

/// Each connection is an open file. What the operating system would allow at most is what is wanted.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let raised = getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Certificates are renewed every few weeks, and nobody should be disconnected for that.
async fn reload_on_hangup(tls: Tls) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
        while hangups.recv().await.is_some() {
            match tls.reload() {
                Ok(()) => eprintln!("the certificate has been read again"),
                Err(error) => eprintln!("towline: the old certificate stays in use: {error}"),
            }
        }
    }
    #[cfg(not(unix))]
    drop(tls);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_word_or_servers() {
        assert_eq!("sqlite".parse(), Ok(StoreKind::Sqlite));
        let servers = vec!["nats://a:4222".to_owned(), "tls://b".to_owned()];
        assert_eq!("nats://a:4222,tls://b".parse(), Ok(StoreKind::Nats(servers)));
        for text in ["", "sqlite3", "a:4222", "nats://a,", "http://a"] {
            assert!(text.parse::<StoreKind>().is_err(), "{text}");
        }
    }
}
