//! Uploads and downloads.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::StreamExt;
use multer::{Field, Multipart};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, Instant, timeout_at};
use tower_http::services::ServeFile;

use super::super::gate::Pass;
use super::super::metrics::Metrics;
use super::{Attachments, is_name, partial, place};
use crate::store::Timestamp;

/// Where uploads go; a download's name comes after it.
pub(in super::super) const PATH: &str = "/attachments";

/// What a form may have around the file, in bytes, and in one field.
const MAX_REST: u64 = 16 << 10;
const MAX_FIELD: usize = 256;

/// How long a transfer may take beyond what it takes at the least rate, in bytes per second.
const GRACE: Duration = Duration::from_secs(30);
const LEAST_RATE: u64 = 16 << 10;

#[derive(Clone)]
struct Context {
    attachments: Arc<Attachments>,
    metrics: Arc<Metrics>,
}

/// What is at the paths of attachments.
pub(in super::super) fn router(attachments: Arc<Attachments>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route(PATH, post(upload))
        .route(&format!("{PATH}/{{name}}"), get(download))
        .with_state(Context { attachments, metrics })
}

/// Why an upload is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("too many connections: try again later")]
    Crowded,
    #[error("too many uploads: try again later")]
    Busy,
    #[error("{0}")]
    Form(#[from] multer::Error),
    #[error("a field is too long")]
    Field,
    #[error("there is no file, or nothing in it")]
    NoFile,
    #[error("the file comes too slowly")]
    Slow,
    #[error("the upload is not authorized, or not any more")]
    Unauthorized,
    #[error("there is a file already")]
    Taken,
    #[error("the file is too long")]
    TooLong,
    #[error("there is no more space")]
    Full,
    #[error("the file cannot be stored")]
    Storage(#[from] io::Error),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Crowded => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Form(multer::Error::StreamReadFailed(error)) if error.is::<Excess>() => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Form(_) | Self::Field | Self::NoFile => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Unauthorized => StatusCode::FORBIDDEN,
            Self::Taken => StatusCode::CONFLICT,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
            Self::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if let Self::Storage(error) = &self {
            tracing::error!(%error, "an attachment cannot be stored");
        }
        let mut response = (status, format!("{self}\n")).into_response();
        if matches!(self, Self::Crowded | Self::Busy) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response
    }
}

/// More has come than may come.
#[derive(Debug, thiserror::Error)]
#[error("the form is too long")]
struct Excess;

/// A form that comes in, and how many of its bytes may come for now: what it keeps in memory until a field begins is
/// bounded by that.
fn read_form(request: Request) -> Result<(Multipart<'static>, Arc<AtomicU64>), multer::Error> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let boundary = multer::parse_boundary(kind.unwrap_or_default())?;
    let allowed = Arc::new(AtomicU64::new(MAX_REST));
    let (limit, mut come) = (Arc::clone(&allowed), 0);
    let chunks = request.into_body().into_data_stream();
    let chunks = chunks.map(move |chunk| -> Result<Bytes, axum::BoxError> {
        let chunk = chunk?;
        come += chunk.len() as u64;
        if come > limit.load(Ordering::Relaxed) { Err(Excess.into()) } else { Ok(chunk) }
    });
    Ok((Multipart::new(chunks, boundary), allowed))
}

async fn upload(
    State(Context { attachments, metrics }): State<Context>,
    Extension(pass): Extension<Arc<Pass>>,
    request: Request,
) -> Result<StatusCode, Refused> {
    if pass.is_crowded() {
        return Err(Refused::Crowded);
    }
    let (mut form, allowed) = read_form(request)?;
    let mut pace = Pace { begun: Instant::now(), bytes: 0 };
    let mut fields = BTreeMap::new();
    while let Some(field) = pace.keep(form.next_field()).await?? {
        match field.name() {
            Some("file") => {
                let name = attachments.verify(&fields, Timestamp::now());
                let name = name.ok_or(Refused::Unauthorized)?;
                let _slot = attachments.slot(pass.source()).ok_or(Refused::Busy)?;
                allowed.fetch_add(attachments.max_bytes(), Ordering::Relaxed);
                pass.lasts(time_for(attachments.max_bytes()));
                receive(&attachments, &name, field, &mut pace).await?;
                metrics.upload();
                return Ok(StatusCode::NO_CONTENT);
            }
            Some(key @ ("name" | "expires" | "signature")) => {
                let key = key.to_owned();
                fields.insert(key, text(field, &mut pace).await?);
            }
            _ => {}
        }
    }
    Err(Refused::NoFile)
}

/// Stores what comes under a name.
async fn receive(
    attachments: &Arc<Attachments>,
    name: &str,
    mut field: Field<'_>,
    pace: &mut Pace,
) -> Result<(), Refused> {
    let path = attachments.path(name);
    let mut room = attachments.room();
    let directory = attachments.directory.clone();
    let (file, partial) = blocking(move || partial(&directory)).await?;
    let mut file = File::from_std(file);
    let mut length = 0;
    while let Some(chunk) = pace.keep(field.chunk()).await?? {
        length += chunk.len() as u64;
        pace.bytes = length;
        if length > attachments.max_bytes() {
            return Err(Refused::TooLong);
        }
        if !room.take(chunk.len() as u64) {
            return Err(Refused::Full);
        }
        file.write_all(&chunk).await?;
    }
    if length == 0 {
        return Err(Refused::NoFile);
    }
    file.sync_all().await?;
    // It goes on when nobody waits for it any more: so it has to count there.
    let placed = blocking(move || {
        place(partial, &path)?;
        room.keep();
        Ok(())
    });
    match placed.await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Refused::Taken),
        Err(error) => Err(error.into()),
    }
}

async fn text(mut field: Field<'_>, pace: &mut Pace) -> Result<String, Refused> {
    let mut text = Vec::new();
    while let Some(chunk) = pace.keep(field.chunk()).await?? {
        if text.len() + chunk.len() > MAX_FIELD {
            return Err(Refused::Field);
        }
        text.extend_from_slice(&chunk);
    }
    // What is no text is not authorized either.
    Ok(String::from_utf8(text).unwrap_or_default())
}

/// How far an upload is.
struct Pace {
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// Waits as long as the upload is fast enough.
    async fn keep<T>(&self, next: impl Future<Output = T>) -> Result<T, Refused> {
        timeout_at(self.begun + time_for(self.bytes), next).await.map_err(|_| Refused::Slow)
    }
}

/// How long so many bytes may take.
fn time_for(bytes: u64) -> Duration {
    GRACE + Duration::from_secs(bytes / LEAST_RATE)
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(job).await.map_err(io::Error::other)?
}

async fn download(
    State(Context { attachments, .. }): State<Context>,
    Extension(pass): Extension<Arc<Pass>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    if pass.is_crowded() {
        return Refused::Crowded.into_response();
    }
    if !is_name(&name) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let mut response = match ServeFile::new(attachments.path(&name)).try_call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::error!(%error, "an attachment cannot be read");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    // It is whatever a stranger has put there: no browser should show it as a page of ours.
    let headers = response.headers_mut();
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if response.status().is_success() {
        pass.lasts(time_for(attachments.max_bytes()));
        let for_good = HeaderValue::from_static("private, max-age=86400, immutable");
        response.headers_mut().insert(CACHE_CONTROL, for_good);
    }
    response
}
