//! The far end: sessions are connected to their targets.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use towline_transport::Address;
use towline_wire::start::ErrorReason;

use super::{AllowList, ForwardError, Forwarded, STOP_PATIENCE, Traffic, relay};
use crate::{Endpoint, Incoming, Listener, Protocol, Target};

/// Connects each session that comes in to its target, if its rules allow that.
///
/// The target is connected to before the session is granted, so that the entry learns whether it is
/// there. Frames of a session to a UDP target become datagrams, and back.
#[derive(Clone, Debug)]
#[must_use]
pub struct Exit {
    allow: AllowList,
    connect_timeout: Duration,
}

/// Below the default decision timeout of the handshake, which is 10 s: a refusal should be ours.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

impl Exit {
    /// An exit to what `allow` allows.
    pub fn new(allow: AllowList) -> Self {
        Self { allow, connect_timeout: DEFAULT_CONNECT_TIMEOUT }
    }

    /// How long resolving and connecting may take, all addresses of a target together. 8 s by default;
    /// keep it below the handshake's decision timeout.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// Forwards the sessions that come in until `stop` or until the endpoint is closed, and closes it.
    /// Each is passed to `report` when it has ended.
    pub async fn run<A: Address>(
        self,
        endpoint: Endpoint<A>,
        mut listener: Listener<A>,
        stop: impl Future<Output = ()>,
        report: impl Fn(Forwarded<A>) + Send + Sync + 'static,
    ) {
        let exit = Arc::new((self, report));
        let mut sessions = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let incoming = match select(stop.as_mut(), pin!(listener.next_incoming())).await {
                Either::Right((Some(incoming), _)) => incoming,
                Either::Right((None, _)) | Either::Left(_) => break,
            };
            while sessions.try_join_next().is_some() {}
            let exit = Arc::clone(&exit);
            sessions.spawn(async move {
                let (exit, report) = &*exit;
                let (peer, target) = (incoming.peer(), incoming.target());
                let outcome = exit.forward(incoming, &target).await;
                report(Forwarded { peer, target, outcome });
            });
        }
        drop(listener);
        endpoint.close().await;
        // Sessions that are slow to end are cut off.
        let _ = timeout(STOP_PATIENCE, sessions.join_all()).await;
    }

    async fn forward<A: Address>(
        &self,
        incoming: Incoming<A>,
        target: &Target,
    ) -> Result<Traffic, ForwardError> {
        let connected = match timeout(self.connect_timeout, self.connect(target)).await {
            Ok(connected) => connected,
            Err(_) => Err(ForwardError::Unreachable(io::ErrorKind::TimedOut.into())),
        };
        match connected {
            Ok(socket) => {
                let session = incoming.accept().await?;
                match socket {
                    Socket::Tcp(stream) => relay::tcp(session, stream).await,
                    Socket::Udp(socket) => relay::udp(session, socket).await,
                }
                .map_err(ForwardError::Broken)
            }
            Err(error) => {
                // The protocol has no codes for what may be wrong with a target.
                incoming.refuse(ErrorReason::UNKNOWN);
                Err(error)
            }
        }
    }

    async fn connect(&self, target: &Target) -> Result<Socket, ForwardError> {
        let deadline = Instant::now() + self.connect_timeout;
        let Target::Service { protocol, host, port } = target else {
            return Err(ForwardError::Unsupported);
        };
        let addresses = self.allow.resolve(*protocol, host, *port).await?;
        match protocol {
            Protocol::Tcp => connect_tcp(&addresses, deadline).await.map(Socket::Tcp),
            Protocol::Udp => connect_udp(&addresses).await.map(Socket::Udp),
        }
        .map_err(ForwardError::Unreachable)
    }
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// Connects to the first address that answers. Each gets its share of the time that is left.
async fn connect_tcp(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut latest = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (tried, &address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small answers should not wait for others; without it they only come later.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => latest = error,
            Err(_) => latest = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(latest)
}

async fn connect_udp(addresses: &[SocketAddr]) -> io::Result<UdpSocket> {
    let mut latest = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for &address in addresses {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let connected = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok(socket)
        };
        match connected.await {
            Ok(socket) => return Ok(socket),
            Err(error) => latest = error,
        }
    }
    Err(latest)
}
