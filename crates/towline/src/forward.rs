//! Forwarders: TCP connections carried over sessions.
//!
//! An [`Entry`] accepts TCP connections and opens a session for each; an [`Exit`] grants sessions and
//! connects each to its target. Each direction ends on its own, as TCP's do, and a connection that is
//! reset, or a session that fails, does not look like a good end on the other side, except in the dialect
//! `hoprnet`, which has no way to tell.
//!
//! ```
//! use towline::forward::{Entry, Exit};
//! use towline::{Endpoint, Target};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = TcpListener::bind("127.0.0.1:0").await?;
//! let port = service.local_addr()?.port();
//!
//! let far = Endpoint::bind("127.0.0.1:0".parse()?)?;
//! let exit = Exit::new([format!("tcp://127.0.0.1:{port}").parse()?].into_iter().collect());
//! tokio::spawn(exit.run(far.clone(), far.listen()?, std::future::pending(), |_| {}));
//!
//! let near = TcpListener::bind("127.0.0.1:0").await?;
//! let address = near.local_addr()?;
//! let endpoint = Endpoint::bind("127.0.0.1:0".parse()?)?;
//! let entry = Entry::new(endpoint, far.local_address(), Target::tcp("127.0.0.1", port));
//! tokio::spawn(entry.run(near, std::future::pending(), |_| {}));
//!
//! let mut client = TcpStream::connect(address).await?;
//! client.write_all(b"ahoy").await?;
//! let (mut served, _) = service.accept().await?;
//! let mut said = [0; 4];
//! served.read_exact(&mut said).await?;
//! assert_eq!(&said, b"ahoy");
//! # Ok(())
//! # }
//! ```

mod allow;
mod entry;
mod exit;
mod relay;

use std::io;
use std::time::Duration;

use crate::error::{AcceptError, ConnectError};
use crate::{Stats, Target};

pub use allow::{AllowList, AllowRule, AllowRuleError};
pub use entry::Entry;
pub use exit::Exit;

/// How one connection that was to be forwarded ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Forwarded<P> {
    /// Who asked: a TCP client at the entry, the session's peer at the exit.
    pub peer: P,
    /// Where it was to lead.
    pub target: Target,
    /// What came of it.
    pub outcome: Result<Traffic, ForwardError>,
}

/// What went through a forwarder in one connection.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes that were written to the session.
    pub sent: u64,
    /// Bytes that were read from the session.
    pub received: u64,
    /// Counters of the session's data plane, if they could still be read.
    pub stats: Option<Stats>,
}

/// Why a connection was not forwarded, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// At the entry: no session came to be.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// At the exit: no rule allows the target.
    #[error("no rule allows the target")]
    NotAllowed,
    /// At the exit: the target is nothing that a forwarder can reach.
    #[error("a target of this kind cannot be forwarded to")]
    Unsupported,
    /// At the exit: the target cannot be reached.
    #[error("the target cannot be reached: {0}")]
    Unreachable(io::Error),
    /// At the exit: the session could not be granted in the end.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The connection or the session broke before both directions were over.
    #[error("broken off: {0}")]
    Broken(io::Error),
}

/// How long connections may take to end once a forwarder is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
