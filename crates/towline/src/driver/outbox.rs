//! What leaves through the transport: one batch at a time, built in one buffer.

use std::io;
use std::task::{Context, Poll};

use towline_transport::{DatagramSender, Transmit};

pub(super) struct Outbox<S: DatagramSender> {
    sender: S,
    buffer: Vec<u8>,
    /// The batch in the buffer, which the transport had no room for.
    blocked: Option<Batch<S::Address>>,
}

struct Batch<A> {
    destination: A,
    segment_size: usize,
}

impl<S: DatagramSender> Outbox<S> {
    pub(super) fn new(sender: S) -> Self {
        Self { sender, buffer: Vec::new(), blocked: None }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    pub(super) fn max_datagram_size(&self) -> usize {
        self.sender.max_datagram_size()
    }

    /// Datagrams that a batch of this datagram size may hold.
    pub(super) fn max_batch(&self, datagram_size: usize) -> usize {
        self.sender.max_batch(datagram_size)
    }

    /// Sends the batch that `write` appends to the buffer, whose segment size it returns. Returns
    /// whether there was one. Call it only while nothing [is blocked](Self::is_blocked).
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        destination: S::Address,
        write: impl FnOnce(&mut Vec<u8>) -> Option<usize>,
    ) -> io::Result<bool> {
        self.buffer.clear();
        let Some(segment_size) = write(&mut self.buffer) else { return Ok(false) };
        self.blocked = Some(Batch { destination, segment_size });
        self.flush(cx)?;
        Ok(true)
    }

    /// Tries to send what was blocked; returns whether that succeeded.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(batch) = &self.blocked else { return Ok(false) };
        let transmit = Transmit {
            destination: batch.destination,
            contents: &self.buffer,
            segment_size: Some(batch.segment_size),
        };
        match self.sender.poll_send(cx, &transmit) {
            Poll::Ready(result) => {
                self.blocked = None;
                result.map(|()| true)
            }
            Poll::Pending => Ok(false),
        }
    }
}
