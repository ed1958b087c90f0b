//! The near end: TCP connections become sessions.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use towline_transport::Address;

use super::{ForwardError, Forwarded, STOP_PATIENCE, Traffic, relay};
use crate::error::ConnectError;
use crate::{Endpoint, ErrorReason, Session, SessionOptions, Target};

/// Opens a session for each TCP connection, all of them to one target behind one exit.
///
/// A connection whose session is refused, does not come to be or fails is reset; a busy exit is asked again
/// for half a minute first.
#[derive(Clone, Debug)]
#[must_use]
pub struct Entry<A: Address = SocketAddr> {
    endpoint: Endpoint<A>,
    exit: A,
    target: Target,
    options: SessionOptions,
}

/// Time to wait when the operating system gives no more connections: for want of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a busy exit is asked again, and how often.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const MAX_BUSY_PAUSE: Duration = Duration::from_secs(2);

impl<A: Address> Entry<A> {
    /// An entry whose sessions go through `endpoint` to `target` behind `exit`.
    pub fn new(endpoint: Endpoint<A>, exit: A, target: Target) -> Self {
        Self { endpoint, exit, target, options: SessionOptions::reliable() }
    }

    /// Forwards the connections that come in until `stop`, then closes the endpoint. Each is passed to
    /// `report` when it has ended. The exit need not be there yet.
    pub async fn run(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
        report: impl Fn(Forwarded<SocketAddr>) + Send + Sync + 'static,
    ) {
        let report = Arc::new(report);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let accepted = match select(stop.as_mut(), pin!(listener.accept())).await {
                Either::Left(_) => break,
                Either::Right((accepted, _)) => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, client)) => {
                    let (entry, report) = (self.clone(), Arc::clone(&report));
                    connections.spawn(async move {
                        let outcome = entry.forward(stream).await;
                        report(Forwarded { peer: client, target: entry.target, outcome });
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.endpoint.close().await;
        // Connections that are slow to end are cut off.
        let _ = timeout(STOP_PATIENCE, connections.join_all()).await;
    }

    async fn forward(&self, stream: TcpStream) -> Result<Traffic, ForwardError> {
        // Small requests should not wait for others; without it they only come later.
        let _ = stream.set_nodelay(true);
        match self.connect().await {
            Ok(session) => relay::tcp(session, stream).await.map_err(ForwardError::Broken),
            Err(error) => {
                relay::reset(stream);
                Err(error.into())
            }
        }
    }

    /// Asks for a session, again for a while if the exit has too many requests just now: the client would
    /// rather wait than be reset.
    async fn connect(&self) -> Result<Session<A>, ConnectError> {
        let end = Instant::now() + BUSY_PATIENCE;
        let mut pause = BUSY_PAUSE;
        loop {
            match self.endpoint.connect_with(self.exit, &self.target, self.options).await {
                Err(ConnectError::Refused(ErrorReason::BUSY)) if Instant::now() + pause < end => {
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_BUSY_PAUSE);
                }
                result => return result,
            }
        }
    }
}
