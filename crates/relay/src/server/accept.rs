//! Connections, up to the HTTP request.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout, timeout_at};

use super::gate::{Gate, Pass};
use super::metrics::{Metrics, Refusal};
use super::tls::Tls;

/// How long a client has for the TLS handshake, and for the head of its request.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

pub(super) struct Accept {
    pub(super) listener: TcpListener,
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) router: Router,
    pub(super) tls: Option<Tls>,
    pub(super) drains: watch::Receiver<bool>,
}

impl Accept {
    /// Accepts connections, for ever.
    pub(super) async fn run(self) {
        loop {
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // There may be too many open files: some will be closed.
                    if !is_of_one_connection(&error) {
                        tracing::error!(%error, "no connection can be accepted");
                        sleep(Duration::from_millis(200)).await;
                    }
                    continue;
                }
            };
            let Some(pass) = self.gate.enter(address.ip().into()) else {
                self.metrics.refuse(Refusal::Full);
                continue;
            };
            let (router, drains) = (self.router.clone(), self.drains.clone());
            let tls = self.tls.clone().map(|tls| (tls, Arc::clone(&self.metrics)));
            tokio::spawn(async move {
                serve(stream, pass, router, tls).await;
                // Only now, so that the end waits for it.
                drop(drains);
            });
        }
    }
}

/// Whether `accept` says something about a connection that is already over.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve(stream: TcpStream, pass: Pass, router: Router, tls: Option<(Tls, Arc<Metrics>)>) {
    // Messages are small, and each is waited for.
    let _ = stream.set_nodelay(true);
    let Some((tls, metrics)) = tls else { return exchange(stream, pass, router).await };
    match timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => exchange(stream, pass, router).await,
        failed => {
            tracing::debug!(error = ?failed.map(Result::err), "no TLS");
            metrics.refuse(Refusal::Tls);
        }
    }
}

/// Requests, up to one that becomes a WebSocket with a task of its own.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    pass: Pass,
    router: Router,
) {
    let (pass, router) = (Arc::new(pass), TowerToHyperService::new(router));
    let of_requests = Arc::clone(&pass);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&of_requests));
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    loop {
        // A request may move the end.
        let ends = pass.ends();
        match timeout_at(ends, &mut serving).await {
            Ok(Ok(())) => break,
            Ok(Err(error)) => break tracing::debug!(%error, "no request"),
            Err(_) if pass.ends() > ends => {}
            Err(_) => break tracing::debug!("the requests take too long"),
        }
    }
}
