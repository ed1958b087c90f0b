//! Queues: a stream with a subject for each.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    DeleteStatus, LastRawMessageErrorKind, RawMessageError, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use tokio::time::sleep;

use super::names::Names;
use super::{BoxError, failure};
use crate::Address;
use crate::store::{EnqueueError, Failure, Limits, Page, Position, Queued, Subscribers, Timestamp};

/// When a message was put into its queue, in milliseconds since 1970.
const SINCE: &str = "Towline-Since";

/// So far may the clocks of relays differ.
const CLOCKS: Duration = Duration::from_secs(3600);

/// Messages that expire in one call.
const MAX_EXPIRED: u64 = 1000;

/// Time to the next try to get news.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Queues {
    context: Context,
    stream: Stream,
    names: Arc<Names>,
}

impl Queues {
    pub(super) fn new(context: Context, stream: Stream, names: Arc<Names>) -> Self {
        Self { context, stream, names }
    }

    #[cfg(test)]
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) async fn enqueue(
        &self,
        to: &Address,
        message: Bytes,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Position, EnqueueError> {
        if message.len() as u64 > limits.queue_bytes() {
            return Err(EnqueueError::TooMuch(limits.queue_bytes()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(SINCE, now.0.to_string());
        let error = |error: PublishError| {
            if is_full(&error) {
                EnqueueError::TooMany(limits.queue_count())
            } else {
                failure(error).into()
            }
        };
        let subject = self.names.queue(to);
        let answer = self.context.publish_with_headers(subject, headers, message).await;
        let stored = answer.map_err(error)?.await.map_err(error)?;
        Ok(Position(stored.sequence))
    }

    pub(super) async fn fetch(
        &self,
        address: &Address,
        after: Position,
        page: Page,
    ) -> Result<Vec<Queued>, Failure> {
        let subject = self.names.queue(address);
        let (mut queue, mut next, mut bytes) = (Vec::new(), after.0.saturating_add(1), 0);
        while queue.len() < page.count {
            let Some(message) = self.first(&subject, next).await? else { break };
            next = message.sequence + 1;
            bytes += message.payload.len();
            if bytes > page.bytes && !queue.is_empty() {
                break;
            }
            queue.push(queued(message));
        }
        Ok(queue)
    }

    pub(super) async fn acknowledge(
        &self,
        address: &Address,
        position: Position,
    ) -> Result<(), Failure> {
        // The stream has the messages of all; this one may be another's.
        let subject = self.names.queue(address);
        let first = self.first(&subject, position.0).await?;
        match first {
            Some(message) if message.sequence == position.0 => self.delete(position.0).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn expire(&self, before: Timestamp) -> Result<u64, Failure> {
        let newest = before.0.saturating_add(CLOCKS.as_millis() as u64);
        let (mut expired, mut next) = (0, 1);
        while expired < MAX_EXPIRED
            && let Some(message) = self.first(">", next).await?
        {
            next = message.sequence + 1;
            let queued = queued(message);
            if queued.since < before {
                self.delete(queued.position.0).await?;
                expired += 1;
            } else if queued.since.0 > newest {
                break;
            }
        }
        Ok(expired)
    }

    /// The last position that was given.
    pub(super) async fn last(&self) -> Result<Position, Failure> {
        let info = self.stream.get_info().await.map_err(failure)?;
        Ok(Position(info.state.last_sequence))
    }

    /// The first message of a subject at a sequence number or after it.
    async fn first(&self, subject: &str, from: u64) -> Result<Option<StreamMessage>, Failure> {
        let found = self.stream.get_first_raw_message_by_subject(subject, from).await;
        none_if_absent(found)
    }

    pub(super) async fn delete(&self, sequence: u64) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Delete {
            seq: u64,
            /// Else the server overwrites it on the disk and syncs that, in milliseconds.
            no_erase: bool,
        }
        let subject = format!("STREAM.MSG.DELETE.{}", self.names.queue_stream());
        let delete = Delete { seq: sequence, no_erase: true };
        match self.context.request(subject, &delete).await.map_err(failure)? {
            Response::Ok(DeleteStatus { .. }) => Ok(()),
            Response::Err { error } => {
                // Somebody else was faster, unless it is there; of one before all others the server has no name for that.
                let found = self.stream.get_raw_message(sequence).await;
                none_if_absent(found)?.map_or(Ok(()), |_| Err(failure(error)))
            }
        }
    }

    /// What comes into any queue from now on, in order.
    pub(super) async fn news(&self) -> Result<Ordered, BoxError> {
        let config = OrderedConfig {
            deliver_subject: self.context.client().new_inbox(),
            deliver_policy: DeliverPolicy::New,
            ..OrderedConfig::default()
        };
        let consumer = self.stream.create_consumer(config).await?;
        Ok(consumer.messages().await?)
    }

    /// Tells subscribers of what comes, for ever. What may have been missed they are to fetch.
    pub(super) async fn follow(self, mut news: Ordered, subscribers: Subscribers) {
        loop {
            while let Some(Ok(message)) = news.next().await {
                self.tell(
                    &message.message,
                    message.info().ok().map(|it| it.stream_sequence),
                    &subscribers,
                );
            }
            tracing::warn!("news of messages have ended, and are asked for again");
            news = loop {
                match self.news().await {
                    Ok(news) => break news,
                    Err(error) => tracing::warn!(%error, "no news of messages"),
                }
                sleep(RETRY).await;
            };
            subscribers.push_behind();
        }
    }

    fn tell(&self, message: &async_nats::Message, at: Option<u64>, subscribers: &Subscribers) {
        let (Some(address), Some(position)) = (self.names.address(&message.subject), at) else {
            return;
        };
        let since = since(message.headers.as_ref());
        let message = message.payload.clone();
        subscribers.push(&address, &Queued { position: Position(position), since, message });
    }
}

fn queued(message: StreamMessage) -> Queued {
    let (position, since) = (Position(message.sequence), since(Some(&message.headers)));
    Queued { position, since, message: message.payload }
}

fn since(headers: Option<&HeaderMap>) -> Timestamp {
    let since = headers.and_then(|headers| headers.get(SINCE)?.as_str().parse().ok());
    // What others have put there is as old as can be.
    Timestamp(since.unwrap_or(0))
}

/// Whether a queue has as many messages as it may have.
fn is_full(error: &PublishError) -> bool {
    let error = error.source().and_then(|it| it.downcast_ref::<async_nats::jetstream::Error>());
    // The code is that of any fault of storage.
    error.is_some_and(|error| {
        error.error_code() == ErrorCode::STREAM_STORE_FAILED
            && error.to_string().contains("maximum messages per subject exceeded")
    })
}

fn is_absent(code: ErrorCode) -> bool {
    code == ErrorCode::NO_MESSAGE_FOUND || code == ErrorCode::SEQUENCE_NOT_FOUND
}

/// Tells that there is nothing from what has failed.
pub(super) fn none_if_absent(
    found: Result<StreamMessage, RawMessageError>,
) -> Result<Option<StreamMessage>, Failure> {
    match found {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(absent) if is_absent(absent.error_code()) => {
                Ok(None)
            }
            _ => Err(failure(error)),
        },
    }
}
