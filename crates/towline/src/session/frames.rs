//! A session as a stream and sink of messages.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Sink, Stream};
use towline_transport::Address;

use super::Session;
use crate::error::SessionError;

/// A session as a [`Stream`] and [`Sink`] of messages.
///
/// A message with several segments is joined into one piece for the stream. Closing the sink ends our
/// direction and waits until the peer has everything.
#[derive(Debug)]
pub struct Frames<A: Address = std::net::SocketAddr> {
    session: Session<A>,
    ended: bool,
}

impl<A: Address> Frames<A> {
    pub(super) fn new(session: Session<A>) -> Self {
        Self { session, ended: false }
    }

    /// The session itself.
    #[must_use]
    pub fn into_inner(self) -> Session<A> {
        self.session
    }
}

impl<A: Address> Stream for Frames<A> {
    type Item = Result<Bytes, SessionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = self.session.recv.poll_frame(cx).map(Result::transpose);
        self.ended = matches!(item, Poll::Ready(None | Some(Err(_))));
        item.map(|item| item.map(|result| result.map(towline_data::Frame::into_bytes)))
    }
}

impl<A: Address> Sink<Bytes> for Frames<A> {
    type Error = SessionError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SessionError>> {
        self.session.send.poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Bytes) -> Result<(), SessionError> {
        self.session.send.start_send_frame(frame)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SessionError>> {
        self.session.send.poll_finish(cx)
    }
}
