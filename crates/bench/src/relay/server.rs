//! The relay as a child process.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use towline_relay::server::{Limits, Server};
use towline_relay::store::{Store, nats, sqlite};

use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The directory of an SQLite store, or the URL of a NATS server
    store: String,
}

/// Serves until standard input ends.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if arguments.store.starts_with("nats://") {
            let config = nats::Config::builder().build()?;
            serve(nats::Nats::open(std::slice::from_ref(&arguments.store), &config).await?).await
        } else {
            let file = Path::new(&arguments.store).join("relay.db");
            serve(sqlite::Sqlite::open(file, &sqlite::Config::builder().build()?)?).await
        }
    })
}

async fn serve(store: impl Store) -> Result<(), Failure> {
    // One source may do what otherwise thousands would.
    let limits = Limits::builder()
        .connections(1_000_000)
        .connections_per_source(1_000_000)
        .connecting(None)
        .logins(None)
        .messages(None)
        .messages_per_recipient(None)
        .lookups(None)
        .build()?;
    let server = Server::builder(store).limits(limits).drain_timeout(Duration::ZERO);
    let server = server.bind(([127, 0, 0, 1], 0).into()).await?;
    println!("{}", server.local_address());
    let (tell, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        let _ = tell.send(());
    });
    server.run(async { drop(ended.await) }).await;
    Ok(())
}

/// As many open files as the operating system allows.
pub(super) fn raise_file_limit() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            // What is too little shows when it is needed.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}

/// A relay in a process of its own, which ends with this at the latest.
pub(super) struct Relay {
    child: Child,
    address: SocketAddr,
}

impl Relay {
    pub(super) fn start(store: impl AsRef<OsStr>) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("relay-server")
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { child, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes of memory in use; zero where the operating system does not tell.
    pub(super) fn memory(&self) -> u64 {
        crate::usage::memory_of(&self.child.id().to_string())
    }

    pub(super) fn end(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the relay: {status}").into()) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It has ended already unless something has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
