//! The application's end of a session.

mod frames;
mod recv;
mod send;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::mpsc as frame_queue;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use towline_data::{Frame, Stats};
use towline_transport::Address;

use crate::SessionOptions;
use crate::driver::{Command, SessionKey};
use crate::error::SessionError;

pub use frames::Frames;
pub use recv::RecvHalf;
pub use send::SendHalf;

/// A session with a peer: a byte stream, or messages.
///
/// As a byte stream it is [`AsyncRead`] and [`AsyncWrite`]. Each write may become a frame of its own;
/// frame boundaries mean nothing to a reader of bytes. As messages, [`send_frame`](Self::send_frame) and
/// [`recv_frame`](Self::recv_frame) keep them.
///
/// Each direction ends on its own, but in unreliable sessions and in `hoprnet` ours ends with the
/// peer's unless `close_on_peer_finish` says otherwise: [`shutdown`](tokio::io::AsyncWriteExt::shutdown) ends ours and
/// returns when the peer has everything. Dropping a session finishes our direction and takes no more of
/// the peer's; what was written still goes out, and a peer that goes on sending is cut off after 10 s. [`abort`](Self::abort) ends both at once.
pub struct Session<A: Address = std::net::SocketAddr> {
    recv: RecvHalf<A>,
    send: SendHalf<A>,
}

impl<A: Address> Session<A> {
    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> A {
        self.send.handle.peer
    }

    /// What kind of session this is.
    pub fn options(&self) -> SessionOptions {
        self.send.handle.options
    }

    /// The longest message that can be sent, in bytes.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        self.send.frame_size()
    }

    /// Sends a message of at most the session's frame size.
    ///
    /// # Errors
    /// [`SessionError`]; [`SessionError::TooLong`] leaves the session as it was.
    pub async fn send_frame(&mut self, frame: Bytes) -> Result<(), SessionError> {
        self.send.send_frame(frame).await
    }

    /// The next message; `None` once the peer has finished.
    ///
    /// # Errors
    /// [`SessionError`], after every message that was complete before.
    pub async fn recv_frame(&mut self) -> Result<Option<Frame>, SessionError> {
        self.recv.recv_frame().await
    }

    /// Ends our direction and waits until the peer has everything, or until everything was sent in an
    /// unreliable session.
    ///
    /// # Errors
    /// [`SessionError`]: the peer may not have everything.
    pub async fn finish(&mut self) -> Result<(), SessionError> {
        self.send.finish().await
    }

    /// Ends both directions at once. The peer learns that the session did not end well, except in
    /// `hoprnet` and in unreliable sessions.
    pub fn abort(&mut self) {
        self.send.abort();
    }

    /// Counters of the session's data plane; the last ones, once it is over.
    ///
    /// # Errors
    /// [`SessionError`] when the endpoint ended before the session did.
    pub async fn stats(&self) -> Result<Stats, SessionError> {
        self.send.stats().await
    }

    /// The two directions as values of their own.
    #[must_use]
    pub fn into_split(self) -> (RecvHalf<A>, SendHalf<A>) {
        (self.recv, self.send)
    }

    /// The session as a stream and sink of messages.
    #[must_use]
    pub fn into_frames(self) -> Frames<A> {
        Frames::new(self)
    }

    /// The session with the traits of the `futures` crate instead of tokio's.
    #[must_use]
    pub fn into_futures_io(self) -> Compat<Self> {
        self.compat()
    }
}

impl<A: Address> fmt::Debug for Session<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer())
            .field("options", &self.options())
            .finish_non_exhaustive()
    }
}

impl<A: Address> AsyncRead for Session<A> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buf)
    }
}

impl<A: Address> AsyncWrite for Session<A> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}

/// What the application hands to the endpoint's task.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Bytes of a stream: may share a frame with their neighbours.
    Stream(Bytes),
    /// A message: a frame of its own.
    Frame(Bytes),
}

/// What a session's two ends, the application's and the endpoint's task's, both look at.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// A wake-up for the task is on its way: one is enough, and bounds the task's queue.
    woken: AtomicBool,
    /// The task holds received frames back until the application has taken some.
    frames_held: AtomicBool,
    /// Our direction is over: the peer has everything.
    finished: AtomicBool,
    /// The peer's direction came to its end. Set before the queue closes; without it, that is an error.
    ended: AtomicBool,
    finish_waker: AtomicWaker,
    /// Set before the queues close: why they do.
    error: OnceLock<SessionError>,
    /// The counters of a session that is over.
    last_stats: OnceLock<Stats>,
}

/// `woken` and `frames_held` are only ever swapped, on both sides: each side changes a queue or looks at
/// it and then swaps, or the other way round, and of two swaps the later sees what came before the
/// earlier. With a store in place of a swap, both could miss the other.
impl Shared {
    /// Call it before looking at the queue from the application.
    pub(crate) fn take_wake(&self) {
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// Call it before looking once more for room in the queue to the application.
    pub(crate) fn hold_frames(&self) {
        self.frames_held.swap(true, Ordering::AcqRel);
    }

    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn set_finished(&self) {
        self.finished.store(true, Ordering::Release);
        self.finish_waker.wake();
    }

    pub(crate) fn set_last_stats(&self, stats: Stats) {
        // A session ends once.
        let _ = self.last_stats.set(stats);
    }

    pub(crate) fn set_error(&self, error: SessionError) {
        // The first error is the cause; what follows from it is of no interest.
        let _ = self.error.set(error);
        self.finish_waker.wake();
    }
}

/// What both halves of a session need to reach the endpoint's task.
#[derive(Clone)]
pub(crate) struct Handle<A: Address> {
    pub(crate) key: SessionKey,
    pub(crate) peer: A,
    pub(crate) options: SessionOptions,
    pub(crate) frame_size: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::UnboundedSender<Command<A>>,
}

impl<A: Address> Handle<A> {
    pub(crate) fn session(
        self,
        frames: frame_queue::Receiver<Frame>,
        outgoing: frame_queue::Sender<Outgoing>,
    ) -> Session<A> {
        let recv = RecvHalf::new(self.clone(), frames);
        Session { recv, send: SendHalf::new(self, outgoing) }
    }

    /// Makes the endpoint's task look at this session.
    fn wake(&self) {
        if !self.shared.woken.swap(true, Ordering::AcqRel) {
            // A closed endpoint has ended the session already.
            let _ = self.commands.send(Command::Wake { key: self.key });
        }
    }

    fn abort(&self) {
        let _ = self.commands.send(Command::Abort { key: self.key });
    }

    /// The counters as of now, or the last ones of a session that is over.
    async fn stats(&self) -> Result<Stats, SessionError> {
        let (reply, answer) = oneshot::channel();
        // A closed endpoint drops the reply, as does one that has no such session any more.
        let _ = self.commands.send(Command::SessionStats { key: self.key, reply });
        let last = || self.shared.last_stats.get().copied();
        answer.await.or_else(|_| last().ok_or_else(|| self.error()))
    }

    /// Why the session ended.
    fn error(&self) -> SessionError {
        self.shared.error.get().copied().unwrap_or(SessionError::EndpointClosed)
    }
}
