//! One client's WebSocket, and the task that drives its [`Connection`].

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, SinkExt, StreamExt};
use governor::DefaultDirectRateLimiter;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

use super::Shared;
use super::gate::Pass;
use super::metrics::{self, Open};
use crate::auth::Challenge;
use crate::connection::{
    Acknowledged, Connection, ConnectionStats, Operation, OperationId, Outcome, Transmit,
};
use crate::dialect::Dialect;
use crate::store::{Failure, News, Store, Subscription, Timestamp};

/// Inputs of one kind that are taken before those of the others, and turns before other tasks.
const MAX_INPUTS: usize = 16;
const MAX_TURNS: usize = 16;

/// How long a client has to close its side.
const PARTING: Duration = Duration::from_secs(2);

/// How long the store has, at the end, to take acknowledgements.
const SETTLING: Duration = Duration::from_secs(10);

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client has closed it")]
    Gone,
    #[error("{0}")]
    Broken(axum::Error),
    #[error("the client does not answer")]
    Dead,
    #[error("the client does not take what it is sent")]
    Stalled,
    #[error("the relay has closed it")]
    Closed,
    /// Nobody tells of new messages.
    #[error("{0}")]
    Deaf(Failure),
}

pub(super) struct Driver<S> {
    shared: Arc<Shared<S>>,
    pass: Arc<Pass>,
    socket: WebSocket,
    connection: Connection,
    messages: Option<DefaultDirectRateLimiter>,
    operations: FuturesUnordered<BoxFuture<'static, (OperationId, Outcome)>>,
    acknowledgements: FuturesUnordered<BoxFuture<'static, ()>>,
    /// The next operation, and the acknowledgements before it that it waits for.
    next: Option<(OperationId, Operation)>,
    before_next: FuturesUnordered<BoxFuture<'static, ()>>,
    news: Inbox,
    timer: Pin<Box<Sleep>>,
    /// What was sent may not have left.
    is_unflushed: bool,
    /// When what was sent must have left, if it could not at once.
    write_by: Option<Instant>,
    /// When the client must have closed its side; all that is left to be done.
    part_by: Option<Instant>,
    counted: ConnectionStats,
    _open: Open,
}

/// Where news of the client's queue comes from.
enum Inbox {
    /// The client has not logged in.
    None,
    Subscribing(BoxFuture<'static, Result<Subscription, Failure>>),
    Subscribed(Subscription),
}

impl<S: Store> Driver<S> {
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        pass: Arc<Pass>,
        socket: WebSocket,
        dialect: Dialect,
        challenge: &Challenge,
    ) -> Self {
        let now = now();
        let config = Arc::clone(&shared.connection);
        Self {
            connection: Connection::new(now, config, dialect, challenge),
            messages: shared.gate.messages(),
            operations: FuturesUnordered::new(),
            acknowledgements: FuturesUnordered::new(),
            next: None,
            before_next: FuturesUnordered::new(),
            news: Inbox::None,
            timer: Box::pin(sleep_until(now.into())),
            is_unflushed: false,
            write_by: None,
            part_by: None,
            counted: ConnectionStats::default(),
            _open: shared.metrics.open(dialect),
            shared,
            pass,
            socket,
        }
    }

    /// Serves the client until it goes, or until `drain` holds true and it has been told so.
    pub(super) async fn run(mut self, mut drain: watch::Receiver<bool>) {
        let mut is_draining = false;
        let end = loop {
            tokio::select! {
                biased;
                // An error says that nobody can drain any more: so the server has been dropped.
                _ = drain.wait_for(|drains| *drains), if !is_draining => {
                    is_draining = true;
                    self.connection.handle_shutdown();
                }
                end = poll_fn(|context| self.poll(context)) => break end,
            }
        };
        tracing::debug!(connection = ?self.connection, %end, "over");
        self.begin_acknowledgements();
        let settled = async {
            while self.before_next.next().await.is_some() {}
            while self.acknowledgements.next().await.is_some() {}
        };
        // What is not taken in time comes again.
        let _ = timeout(SETTLING, settled).await;
        self.count();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        for _ in 0..MAX_TURNS {
            match self.turn(context) {
                Ok(true) => {}
                Ok(false) => {
                    self.count();
                    return Poll::Pending;
                }
                Err(end) => return Poll::Ready(end),
            }
        }
        self.count();
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what has come, and does what follows; whether there may be more.
    fn turn(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        let now = now();
        let mut is_busy = self.take_messages(context, now)?;
        is_busy |= self.take_outcomes(context, now);
        let can_begin = self.take_news(context)?;
        let had_room = self.connection.wants_news();
        self.write(context, now, &mut is_busy)?;
        is_busy |= !had_room && self.connection.wants_news();
        is_busy |= self.begin_acknowledgements();
        while let Poll::Ready(Some(())) = self.before_next.poll_next_unpin(context) {}
        while let Poll::Ready(Some(())) = self.acknowledgements.poll_next_unpin(context) {}
        if can_begin {
            is_busy |= self.begin_operations();
        }
        is_busy |= self.take_time(context, now)?;
        Ok(is_busy)
    }

    fn take_messages(&mut self, context: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        for _ in 0..MAX_INPUTS {
            if self.part_by.is_none() && !self.connection.wants_messages() {
                return Ok(false);
            }
            match self.socket.poll_next_unpin(context) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(Ok(message))) => self.take_message(message, now),
                Poll::Ready(Some(Err(error))) if is_too_long(&error) => {
                    self.connection.handle_too_long();
                    return Ok(true);
                }
                Poll::Ready(Some(Err(error))) => return Err(End::Broken(error)),
                Poll::Ready(None) => return Err(self.gone()),
            }
        }
        Ok(true)
    }

    fn take_message(&mut self, message: Message, now: Instant) {
        match message {
            Message::Binary(message) => self.connection.handle_message(now, message),
            Message::Text(message) => self.connection.handle_message(now, message.into()),
            Message::Pong(payload) => self.connection.handle_pong(&payload),
            // The WebSocket answers these itself, and needs to be polled for it.
            Message::Ping(_) => self.is_unflushed = true,
            Message::Close(_) => self.part(now),
        }
    }

    fn take_outcomes(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        for _ in 0..MAX_INPUTS {
            let Poll::Ready(Some((id, outcome))) = self.operations.poll_next_unpin(context) else {
                return false;
            };
            self.connection.handle_outcome(now, id, outcome);
        }
        true
    }

    /// Whether operations may begin: the queue is read only once nothing new in it can be missed.
    fn take_news(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        while self.connection.wants_news() {
            match &mut self.news {
                Inbox::None => {
                    let Some(address) = self.connection.address() else { return Ok(true) };
                    let (shared, address) = (Arc::clone(&self.shared), address.clone());
                    let subscribe = async move { shared.store.subscribe(&address).await };
                    self.news = Inbox::Subscribing(subscribe.boxed());
                }
                Inbox::Subscribing(subscribing) => match subscribing.poll_unpin(context) {
                    Poll::Pending => return Ok(false),
                    Poll::Ready(Ok(news)) => self.news = Inbox::Subscribed(news),
                    Poll::Ready(Err(failure)) => return Err(End::Deaf(failure)),
                },
                Inbox::Subscribed(news) => match news.poll_next(context) {
                    Poll::Pending => return Ok(true),
                    Poll::Ready(Some(News::Pushed(queued))) => {
                        self.connection.handle_pushed(queued);
                    }
                    Poll::Ready(Some(News::Behind)) => self.connection.handle_news(),
                    Poll::Ready(None) => return Err(End::Deaf(Failure::Closed)),
                },
            }
        }
        Ok(true)
    }

    /// Sends what is to be sent, as far as the client takes it.
    fn write(
        &mut self,
        context: &mut Context<'_>,
        now: Instant,
        is_busy: &mut bool,
    ) -> Result<(), End> {
        match self.poll_write(context, now, is_busy) {
            Poll::Ready(Ok(())) => self.write_by = None,
            Poll::Ready(Err(end)) => return Err(end),
            Poll::Pending if self.write_by.is_none() => {
                self.write_by = Some(now + self.shared.write_timeout);
            }
            Poll::Pending => {}
        }
        Ok(())
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        now: Instant,
        is_busy: &mut bool,
    ) -> Poll<Result<(), End>> {
        while self.part_by.is_none() {
            ready!(self.socket.poll_ready_unpin(context)).map_err(End::Broken)?;
            // Something has left.
            self.write_by = None;
            let message = match self.connection.poll_transmit() {
                None => break,
                Some(Transmit::Message(message)) => Message::Binary(message),
                Some(Transmit::Ping(payload)) => Message::Ping(payload),
                Some(Transmit::Close(close)) => {
                    self.part(now);
                    let reason = close.reason.into();
                    Message::Close(Some(CloseFrame { code: close.code, reason }))
                }
                Some(Transmit::Abort) => return Poll::Ready(Err(End::Dead)),
            };
            self.socket.start_send_unpin(message).map_err(End::Broken)?;
            self.is_unflushed = true;
            *is_busy = true;
        }
        if self.is_unflushed {
            ready!(self.socket.poll_flush_unpin(context)).map_err(End::Broken)?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// The next operation that can begin.
    fn next_operation(&mut self) -> Option<(OperationId, Operation)> {
        if !self.before_next.is_empty() {
            return None;
        }
        if let next @ Some(_) = self.next.take() {
            return next;
        }
        let (id, operation) = self.connection.poll_operation()?;
        // An answer says that what was acknowledged before the request is out of the queue.
        if !matches!(operation, Operation::Fetch { .. }) {
            self.before_next = std::mem::take(&mut self.acknowledgements);
        }
        if self.before_next.is_empty() {
            return Some((id, operation));
        }
        self.next = Some((id, operation));
        None
    }

    fn begin_operations(&mut self) -> bool {
        let mut has_begun = false;
        while let Some((id, mut operation)) = self.next_operation() {
            has_begun = true;
            let name = metrics::name(&operation);
            let (source, messages) = (self.pass.source(), self.messages.as_ref());
            if !self.shared.gate.allows(&mut operation, source, messages) {
                self.shared.metrics.limit(name);
                self.connection.handle_outcome(now(), id, Outcome::Limited);
                continue;
            }
            let shared = Arc::clone(&self.shared);
            self.operations.push(async move { (id, run(&shared, name, operation).await) }.boxed());
        }
        has_begun
    }

    fn begin_acknowledgements(&mut self) -> bool {
        let mut has_begun = false;
        while let Some(acknowledged) = self.connection.poll_acknowledged() {
            has_begun = true;
            let Acknowledged { address, positions } = acknowledged;
            let shared = Arc::clone(&self.shared);
            let taken = async move {
                let positions = positions.into_iter();
                let taken = positions.map(|at| shared.store.acknowledge(&address, at));
                for failure in
                    futures::future::join_all(taken).await.into_iter().flat_map(Result::err)
                {
                    tracing::error!(%failure, "an acknowledgement is lost");
                }
            };
            self.acknowledgements.push(taken.boxed());
        }
        has_begun
    }

    fn take_time(&mut self, context: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        let deadlines = [self.connection.poll_timeout(), self.write_by, self.part_by];
        let Some(next) = deadlines.into_iter().flatten().min() else { return Ok(false) };
        if self.timer.deadline().into_std() != next {
            self.timer.as_mut().reset(next.into());
        }
        if self.timer.poll_unpin(context).is_pending() {
            return Ok(false);
        }
        if self.part_by.is_some_and(|by| by <= now) {
            return Err(self.gone());
        }
        if self.write_by.is_some_and(|by| by <= now) {
            return Err(End::Stalled);
        }
        self.connection.handle_timeout(now);
        Ok(true)
    }

    /// Nothing more is sent; the client has a moment to close its side.
    fn part(&mut self, now: Instant) {
        self.is_unflushed = true;
        self.part_by.get_or_insert(now + PARTING);
    }

    /// The client has closed its side.
    fn gone(&self) -> End {
        if self.connection.is_over() { End::Closed } else { End::Gone }
    }

    fn count(&mut self) {
        let stats = self.connection.stats();
        if stats != self.counted {
            self.shared.metrics.count(&self.counted, &stats);
            self.counted = stats;
        }
    }
}

async fn run<S: Store>(shared: &Shared<S>, name: &'static str, operation: Operation) -> Outcome {
    let begun = Instant::now();
    let outcome = match (operation, &shared.attachments) {
        (Operation::AuthorizeUploads { count }, Some(attachments)) => {
            Outcome::Uploads(attachments.authorize(count, Timestamp::now()))
        }
        (Operation::Enqueue { to, message }, _) => {
            let (forwarder, store) = (&shared.forwarder, &shared.store);
            match forwarder.enqueue(store, &to, message, Timestamp::now()).await {
                Ok(_position) => Outcome::Done,
                Err(error) => Outcome::NotQueued(error),
            }
        }
        (operation, _) => operation.run(&shared.store, Timestamp::now()).await,
    };
    let failure = outcome.failure();
    if let Some(failure) = failure {
        tracing::error!(operation = name, %failure, "the store has failed");
    }
    shared.metrics.operation(name, begun.elapsed(), failure.is_some());
    outcome
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Whether the WebSocket has not read a message because it is longer than one may be.
fn is_too_long(error: &axum::Error) -> bool {
    let error = error.source().and_then(|error| error.downcast_ref::<tungstenite::Error>());
    matches!(error, Some(tungstenite::Error::Capacity(_)))
}
