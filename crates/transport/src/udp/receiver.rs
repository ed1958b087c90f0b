//! The half of a UDP socket that receives.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::buffers::Buffers;
use super::counters::UdpMonitor;
use crate::datagrams::Received;
use crate::transport::DatagramReceiver;

/// The half of a UDP socket that receives.
pub struct UdpReceiver {
    socket: Arc<UdpSocket>,
    state: Arc<UdpSocketState>,
    buffers: Buffers,
    metas: [RecvMeta; BATCH_SIZE],
    monitor: UdpMonitor,
}

impl UdpReceiver {
    pub(super) fn new(
        socket: Arc<UdpSocket>,
        state: Arc<UdpSocketState>,
        monitor: UdpMonitor,
    ) -> Self {
        let metas = [RecvMeta::default(); BATCH_SIZE];
        Self { socket, state, buffers: Buffers::new(), metas, monitor }
    }
}

impl DatagramReceiver for UdpReceiver {
    type Address = SocketAddr;

    /// Appends what one system call brings. Passes over the errors that a peer can cause.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut Vec<Received<SocketAddr>>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let runs = self.socket.try_io(Interest::READABLE, || {
                let mut slices = self.buffers.slots().map(|slot| IoSliceMut::new(slot));
                self.state.recv((&*self.socket).into(), &mut slices, &mut self.metas)
            });
            match runs {
                Ok(runs) => {
                    let mut datagrams = 0;
                    for (slot, meta) in self.metas[..runs].iter().enumerate() {
                        let run = Received {
                            source: canonical(meta.addr),
                            contents: self.buffers.take(slot, meta.len),
                            segment_size: meta.stride,
                        };
                        datagrams += run.count();
                        received.push(run);
                    }
                    self.monitor.received(datagrams);
                    return Poll::Ready(Ok(runs));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_of_a_peer(&error) => {
                    if self.monitor.recv_error() {
                        tracing::debug!(%error, "passed over while receiving");
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl fmt::Debug for UdpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The buffers would be 2 MiB of zeros.
        f.debug_struct("UdpReceiver").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Whether the error tells of one peer or path, as ICMP messages do, and not of the socket.
fn is_of_a_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::Interrupted
    ) || quinn_udp::is_msg_size_err(error)
}

/// Writes an IPv4 address that a socket for both families has seen as IPv6 as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => {
            v6.ip().to_ipv4_mapped().map_or(address, |v4| SocketAddr::new(v4.into(), v6.port()))
        }
        SocketAddr::V4(_) => address,
    }
}
