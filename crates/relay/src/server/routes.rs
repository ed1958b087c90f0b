//! What is at which path.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection as Rejection;
use axum::extract::{Extension, State};
use axum::http::header::{
    CONNECTION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use tokio::time::timeout;
use towline_wire::relay::MAX_MESSAGE_LEN;

use super::gate::Pass;
use super::metrics::Refusal;
use super::socket::Driver;
use super::{Shared, attachments};
use crate::auth::Challenge;
use crate::dialect::Dialect;
use crate::store::{Store, Timestamp};

const DEPLOYED_PATH: &str = "/api";
const HEALTH_PATH: &str = "/healthz";
const READINESS_PATH: &str = "/readyz";
const METRICS_PATH: &str = "/metrics";

/// How long the store has to show that it works.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a WebSocket reads at once, and keeps while it waits.
const READ_BUFFER: usize = 4 << 10;
/// What a WebSocket gathers before it writes.
const WRITE_BUFFER: usize = 16 << 10;
/// The longest message that a WebSocket reads to its end. It is longer than one may be, so that a client that sends
/// somewhat too much can be told: it hears nothing as long as it has more to say.
const MAX_READ: usize = 4 * MAX_MESSAGE_LEN;

struct Context<S> {
    shared: Arc<Shared<S>>,
    drains: watch::Receiver<bool>,
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), drains: self.drains.clone() }
    }
}

pub(super) fn router<S: Store>(
    shared: &Arc<Shared<S>>,
    seed_path: &str,
    drains: &watch::Receiver<bool>,
) -> Router {
    let socket = |dialect| {
        get(
            move |State(context), Extension(pass), uri: Uri, headers: HeaderMap, upgrade| async move {
                open(dialect, context, pass, &uri, &headers, upgrade)
            },
        )
    };
    let attachments = shared.attachments.as_ref().map_or_else(Router::new, |attachments| {
        attachments::router(Arc::clone(attachments), Arc::clone(&shared.metrics))
    });
    Router::new()
        .route(DEPLOYED_PATH, socket(Dialect::Deployed))
        .route(seed_path, socket(Dialect::Seed))
        .route(HEALTH_PATH, get("ok\n"))
        .route(READINESS_PATH, get(readiness::<S>))
        .route(METRICS_PATH, get(page::<S>))
        .with_state(Context { shared: Arc::clone(shared), drains: drains.clone() })
        .merge(attachments)
}

pub(super) fn can_be_seed_path(path: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    path.len() > 1
        && path.starts_with('/')
        && path.chars().all(is_allowed)
        && ![DEPLOYED_PATH, HEALTH_PATH, READINESS_PATH, METRICS_PATH].contains(&path)
        && path
            .strip_prefix(attachments::PATH)
            .is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn open<S: Store>(
    dialect: Dialect,
    context: Context<S>,
    pass: Arc<Pass>,
    uri: &Uri,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, Rejection>,
) -> Response {
    if uri.query().is_some() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return reject(rejection),
    };
    if !is_same_origin(headers) {
        return (StatusCode::FORBIDDEN, "the page is of another host\n").into_response();
    }
    let Context { shared, drains } = context;
    if *drains.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the relay shuts down\n").into_response();
    }
    if !pass.allows_socket() {
        shared.metrics.refuse(Refusal::TooMany);
        let text = "too many connections: try again later\n";
        return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "60")], text).into_response();
    }
    let challenge = match Challenge::random() {
        Ok(challenge) => challenge,
        Err(error) => {
            tracing::error!(%error, "no challenge for a client");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(MAX_READ)
        .max_frame_size(MAX_READ)
        .on_upgrade(move |socket| {
            Driver::new(shared, pass, socket, dialect, &challenge).run(drains)
        })
}

/// Why no WebSocket is opened, and what would open one.
fn reject(rejection: Rejection) -> Response {
    match rejection {
        Rejection::InvalidConnectionHeader(_)
        | Rejection::InvalidUpgradeHeader(_)
        | Rejection::ConnectionNotUpgradable(_) => {
            let headers = [(CONNECTION, "upgrade"), (UPGRADE, "websocket")];
            (StatusCode::UPGRADE_REQUIRED, headers, "a WebSocket is wanted\n").into_response()
        }
        Rejection::InvalidWebSocketVersionHeader(_) => {
            ([(SEC_WEBSOCKET_VERSION, "13")], rejection).into_response()
        }
        _ => rejection.into_response(),
    }
}

/// Whether a browser that runs somebody's page may connect: only a page of this host. What is no browser does not
/// say where it comes from.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match (origin.as_ref().and_then(Uri::authority), host) {
        (Some(origin), Some(host)) => origin.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

async fn readiness<S: Store>(State(context): State<Context<S>>) -> Response {
    if *context.drains.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the relay shuts down\n").into_response();
    }
    // A write that changes nothing: no message is from before 1970.
    match timeout(PATIENCE, context.shared.store.expire(Timestamp(0))).await {
        Ok(Ok(_)) => "ready\n".into_response(),
        Ok(Err(_)) | Err(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not work\n").into_response()
        }
    }
}

async fn page<S: Store>(State(context): State<Context<S>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let Shared { metrics, attachments, .. } = &*context.shared;
    metrics.attachments(attachments.as_ref().map_or(0, |attachments| attachments.used()));
    match metrics.encode() {
        Ok(page) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_seed_path_is_a_plain_path_that_is_free() {
        for good in ["/v0/api", "/a", "/x-y_z.~/1", "/attachments2"] {
            assert!(can_be_seed_path(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "v0",
            "/api",
            "/metrics",
            "/{x}",
            "/a b",
            "/a?b",
            "/*",
            "/ä",
            "/attachments",
            "/attachments/x",
        ] {
            assert!(!can_be_seed_path(bad), "{bad}");
        }
    }

    #[test]
    fn only_pages_of_the_same_host_may_connect() {
        let may = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("relay.example:8080"));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            is_same_origin(&headers)
        };
        assert!(may(None));
        assert!(may(Some("http://relay.example:8080")));
        assert!(may(Some("https://RELAY.example:8080")));
        for other in ["http://relay.example", "http://evil.example:8080", "null", "", "://"] {
            assert!(!may(Some(other)), "{other}");
        }
    }
}
