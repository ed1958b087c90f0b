//! A transport of one's own: two ends joined by a pair of channels, for instance to a driver or an overlay network.
//!
//! The other end is implied, so the address says little. A real one would name a peer, a port, a circuit.

use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc;
use towline_transport::{DatagramReceiver, DatagramSender, Received, Transmit, Transport};

/// Datagrams on their way in each direction; more are dropped, as a network would.
const QUEUE: usize = 256;

/// What the cell of this overlay holds.
const MAX_DATAGRAM_SIZE: usize = 1038;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Left,
    Right,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

struct Overlay {
    local: End,
    outgoing: mpsc::Sender<Bytes>,
    incoming: mpsc::Receiver<Bytes>,
}

struct OverlaySender {
    outgoing: mpsc::Sender<Bytes>,
}

struct OverlayReceiver {
    remote: End,
    incoming: mpsc::Receiver<Bytes>,
}

fn overlay() -> (Overlay, Overlay) {
    let (to_right, from_left) = mpsc::channel(QUEUE);
    let (to_left, from_right) = mpsc::channel(QUEUE);
    (
        Overlay { local: End::Left, outgoing: to_right, incoming: from_right },
        Overlay { local: End::Right, outgoing: to_left, incoming: from_left },
    )
}

impl Transport for Overlay {
    type Address = End;
    type Sender = OverlaySender;
    type Receiver = OverlayReceiver;

    fn local_address(&self) -> io::Result<End> {
        Ok(self.local)
    }

    fn split(self) -> (OverlaySender, OverlayReceiver) {
        let remote = match self.local {
            End::Left => End::Right,
            End::Right => End::Left,
        };
        (
            OverlaySender { outgoing: self.outgoing },
            OverlayReceiver { remote, incoming: self.incoming },
        )
    }
}

impl DatagramSender for OverlaySender {
    type Address = End;

    fn poll_send(
        &mut self,
        _cx: &mut Context<'_>,
        transmit: &Transmit<'_, End>,
    ) -> Poll<io::Result<()>> {
        for datagram in transmit.datagrams() {
            if datagram.len() > MAX_DATAGRAM_SIZE {
                continue;
            }
            match self.outgoing.try_send(Bytes::copy_from_slice(datagram)) {
                // A full queue loses datagrams: the session has its own flow control and repeats what is lost.
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn max_datagram_size(&self) -> usize {
        MAX_DATAGRAM_SIZE
    }

    /// Every datagram is a message of its own here, so longer runs would gain nothing.
    fn max_batch(&self, _datagram_size: usize) -> usize {
        1
    }
}

impl DatagramReceiver for OverlayReceiver {
    type Address = End;

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut Vec<Received<End>>,
    ) -> Poll<io::Result<usize>> {
        match ready!(self.incoming.poll_recv(cx)) {
            Some(datagram) => {
                received.push(Received::datagram(self.remote, datagram));
                Poll::Ready(Ok(1))
            }
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let (left, right) = overlay();
    let destination = right.local_address()?;
    let (mut sender, _keep_open) = left.split();
    let (_, mut receiver) = right.split();

    let contents = b"three datagrams in one run";
    sender.send(&Transmit { destination, contents, segment_size: Some(10) }).await?;

    let mut received = Vec::new();
    while received.len() < 3 {
        receiver.recv(&mut received).await?;
    }
    let datagrams: Vec<_> = received.into_iter().flat_map(Received::datagrams).collect();
    assert_eq!(datagrams, ["three data", "grams in o", "ne run"]);
    Ok(())
}
