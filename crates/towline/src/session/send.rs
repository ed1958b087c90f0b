//! The sending direction of a session.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::channel::mpsc as frame_queue;
use tokio::io::AsyncWrite;
use towline_data::Stats;
use towline_transport::Address;

use super::{Handle, Outgoing};
use crate::error::SessionError;

/// The sending direction of a [`Session`](crate::Session).
pub struct SendHalf<A: Address = std::net::SocketAddr> {
    pub(super) handle: Handle<A>,
    outgoing: frame_queue::Sender<Outgoing>,
}

impl<A: Address> SendHalf<A> {
    pub(super) fn new(handle: Handle<A>, outgoing: frame_queue::Sender<Outgoing>) -> Self {
        Self { handle, outgoing }
    }

    /// The longest message that can be sent, in bytes.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        self.handle.frame_size
    }

    /// Sends a message of at most the session's frame size.
    ///
    /// # Errors
    /// [`SessionError`]; [`SessionError::TooLong`] leaves the session as it was.
    pub async fn send_frame(&mut self, frame: Bytes) -> Result<(), SessionError> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await?;
        self.start_send_frame(frame)
    }

    /// Sends bytes of a stream, without copying them if they are many.
    pub(crate) async fn send_stream(&mut self, mut data: Bytes) -> Result<(), SessionError> {
        while !data.is_empty() {
            std::future::poll_fn(|cx| self.poll_ready(cx)).await?;
            let piece = data.split_to(data.len().min(self.handle.frame_size));
            self.push(Outgoing::Stream(piece))?;
        }
        Ok(())
    }

    /// Ends this direction and waits until the peer has everything, or until everything was sent in an
    /// unreliable session.
    ///
    /// # Errors
    /// [`SessionError`]: the peer may not have everything.
    pub async fn finish(&mut self) -> Result<(), SessionError> {
        std::future::poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// Ends both directions at once.
    pub fn abort(&mut self) {
        self.handle.abort();
    }

    /// Counters of the session's data plane; the last ones, once it is over.
    ///
    /// # Errors
    /// [`SessionError`] when the endpoint ended before the session did.
    pub async fn stats(&self) -> Result<Stats, SessionError> {
        self.handle.stats().await
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        self.outgoing.poll_ready(cx).map_err(|_| self.send_error())
    }

    pub(super) fn start_send_frame(&mut self, frame: Bytes) -> Result<(), SessionError> {
        let limit = self.handle.frame_size;
        if frame.len() > limit {
            return Err(SessionError::TooLong { len: frame.len(), limit });
        }
        self.push(Outgoing::Frame(frame))
    }

    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        if !self.outgoing.is_closed() {
            self.outgoing.disconnect();
            self.handle.wake();
        }
        let shared = &self.handle.shared;
        shared.finish_waker.register(cx.waker());
        if shared.finished.load(Ordering::Acquire) {
            Poll::Ready(Ok(()))
        } else if let Some(&error) = shared.error.get() {
            Poll::Ready(Err(error))
        } else {
            Poll::Pending
        }
    }

    fn push(&mut self, outgoing: Outgoing) -> Result<(), SessionError> {
        if self.outgoing.start_send(outgoing).is_err() {
            return Err(self.send_error());
        }
        self.handle.wake();
        Ok(())
    }

    /// Why nothing can be sent: the session ended, or this direction did.
    fn send_error(&self) -> SessionError {
        self.handle.shared.error.get().copied().unwrap_or(SessionError::Finished)
    }
}

impl<A: Address> AsyncWrite for SendHalf<A> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_ready(cx))?;
        let length = data.len().min(self.handle.frame_size);
        self.push(Outgoing::Stream(Bytes::copy_from_slice(&data[..length])))?;
        Poll::Ready(Ok(length))
    }

    /// Does nothing: what was written is on its way as soon as the session's window allows.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx).map_err(io::Error::from)
    }
}

impl<A: Address> Drop for SendHalf<A> {
    fn drop(&mut self) {
        self.outgoing.disconnect();
        self.handle.wake();
    }
}

impl<A: Address> fmt::Debug for SendHalf<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendHalf").field("peer", &self.handle.peer).finish_non_exhaustive()
    }
}
