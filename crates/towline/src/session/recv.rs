//! The receiving direction of a session.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use futures::StreamExt;
use futures::channel::mpsc as frame_queue;
use tokio::io::{AsyncRead, ReadBuf};
use towline_data::Frame;
use towline_transport::Address;

use super::Handle;
use crate::error::SessionError;

/// The receiving direction of a [`Session`](crate::Session).
pub struct RecvHalf<A: Address = std::net::SocketAddr> {
    handle: Handle<A>,
    frames: frame_queue::Receiver<Frame>,
    /// What a reader of bytes has not taken yet.
    current: Option<Frame>,
}

impl<A: Address> RecvHalf<A> {
    pub(super) fn new(handle: Handle<A>, frames: frame_queue::Receiver<Frame>) -> Self {
        Self { handle, frames, current: None }
    }

    /// The next message; `None` once the peer has finished.
    ///
    /// # Errors
    /// [`SessionError`], after every message that was complete before.
    pub async fn recv_frame(&mut self) -> Result<Option<Frame>, SessionError> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame>, SessionError>> {
        if let Some(frame) = self.current.take() {
            return Poll::Ready(Ok(Some(frame)));
        }
        let frame = ready!(self.frames.poll_next_unpin(cx));
        if frame.is_some() && self.handle.shared.frames_held.swap(false, Ordering::AcqRel) {
            self.handle.wake();
        }
        Poll::Ready(match frame {
            Some(frame) => Ok(Some(frame)),
            None if self.handle.shared.ended.load(Ordering::Acquire) => Ok(None),
            None => Err(self.handle.error()),
        })
    }
}

impl<A: Address> AsyncRead for RecvHalf<A> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.remaining();
        while buf.remaining() > 0 {
            let mut frame = match self.poll_frame(cx) {
                Poll::Ready(Ok(Some(frame))) => frame,
                Poll::Ready(Ok(None)) => break,
                // An error waits until what came before it was read.
                Poll::Ready(Err(_)) | Poll::Pending if buf.remaining() < before => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            };
            while frame.has_remaining() && buf.remaining() > 0 {
                let chunk = frame.chunk();
                let length = chunk.len().min(buf.remaining());
                buf.put_slice(&chunk[..length]);
                frame.advance(length);
            }
            if frame.has_remaining() {
                self.current = Some(frame);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<A: Address> Drop for RecvHalf<A> {
    fn drop(&mut self) {
        self.frames.close();
        self.handle.wake();
    }
}

impl<A: Address> fmt::Debug for RecvHalf<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvHalf").field("peer", &self.handle.peer).finish_non_exhaustive()
    }
}
