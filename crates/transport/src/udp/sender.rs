//! The half of a UDP socket that sends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn_udp::UdpSocketState;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::config::{MAX_PAYLOAD, UdpConfig};
use super::counters::UdpMonitor;
use crate::datagrams::Transmit;
use crate::transport::DatagramSender;

/// The half of a UDP socket that sends.
#[derive(Debug)]
pub struct UdpSender {
    socket: Arc<UdpSocket>,
    state: Arc<UdpSocketState>,
    is_ipv6: bool,
    /// Asked for, and available when the socket was opened.
    offload: bool,
    max_datagram_size: usize,
    backlog: Backlog,
    monitor: UdpMonitor,
}

/// The end of a run whose beginning has been sent when the socket's buffer was full.
///
/// Runs within [`max_batch`](DatagramSender::max_batch) are a single system call, so this is empty but in the moment in
/// which the kernel takes offload back. It goes out with the next call.
#[derive(Debug, Default)]
struct Backlog {
    contents: Vec<u8>,
    segment_size: Option<usize>,
    destination: Option<SocketAddr>,
}

impl UdpSender {
    pub(super) fn new(
        socket: Arc<UdpSocket>,
        state: Arc<UdpSocketState>,
        config: &UdpConfig,
        monitor: UdpMonitor,
    ) -> Self {
        let is_ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        Self {
            is_ipv6,
            offload: config.offload && state.max_gso_segments() > 1,
            max_datagram_size: config.max_datagram_size,
            socket,
            state,
            backlog: Backlog::default(),
            monitor,
        }
    }

    /// Sends the run from its front, and leaves in it what has not been sent.
    fn poll_run(
        &mut self,
        cx: &mut Context<'_>,
        run: &mut Transmit<'_, SocketAddr>,
    ) -> Poll<io::Result<()>> {
        loop {
            let datagram_size = run.datagram_size();
            let batch = self.max_batch(datagram_size).min(run.count());
            let piece = run.contents.len().min(batch.saturating_mul(datagram_size));

            ready!(self.socket.poll_send_ready(cx))?;
            match self.try_send(run.destination, &run.contents[..piece], datagram_size) {
                Ok(()) => {
                    self.monitor.sent(batch);
                    run.contents = &run.contents[piece..];
                    if run.contents.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The kernel did not take the run for one, and the state has noted that: cut it smaller.
                Err(_) if batch > self.max_batch(datagram_size) => {
                    self.monitor.offload_refused();
                }
                Err(error) => {
                    if batch == 1 {
                        self.restore_offload();
                    }
                    // What ails this datagram ails the rest, which is of the same size and goes the same way.
                    let dropped = run.count();
                    run.contents = &[];
                    if self.monitor.send_dropped(dropped) {
                        tracing::debug!(%error, destination = %run.destination, dropped, "not sent");
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn try_send(
        &self,
        destination: SocketAddr,
        contents: &[u8],
        datagram_size: usize,
    ) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: self.on_socket(destination),
            ecn: None,
            contents,
            segment_size: Some(datagram_size),
            src_ip: None,
        };
        self.socket
            .try_io(Interest::WRITABLE, || self.state.try_send((&*self.socket).into(), &transmit))
    }

    /// Forgets that the kernel seemed to refuse offload, for it was the datagram that it refused.
    ///
    /// `EINVAL` stands for both, and the state takes any as the end of offload. A destination that is not valid must
    /// not slow down all others for good.
    fn restore_offload(&mut self) {
        if self.offload
            && self.state.max_gso_segments() == 1
            && let Ok(state) = UdpSocketState::new((&*self.socket).into())
        {
            self.state = Arc::new(state);
        }
    }

    /// Writes an address in the family of the socket.
    fn on_socket(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.is_ipv6 => {
                SocketAddr::new(IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port())
            }
            _ => address,
        }
    }

    /// Sends what is left of an earlier run.
    fn poll_backlog(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(destination) = self.backlog.destination else { return Poll::Ready(Ok(())) };
        let Backlog { contents, segment_size, .. } = std::mem::take(&mut self.backlog);
        let mut run = Transmit { destination, contents: &contents, segment_size };
        let sent = self.poll_run(cx, &mut run);
        if sent.is_pending() {
            self.backlog.keep(&run);
        }
        sent
    }
}

impl Backlog {
    fn keep(&mut self, run: &Transmit<'_, SocketAddr>) {
        self.contents = run.contents.to_vec();
        self.segment_size = run.segment_size;
        self.destination = Some(run.destination);
    }
}

impl DatagramSender for UdpSender {
    type Address = SocketAddr;

    /// Waits if the socket's send buffer is full. Drops what the kernel refuses to send.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        transmit: &Transmit<'_, SocketAddr>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_backlog(cx))?;
        // Port 0 is a valid source, so anyone can make us reply to it, and no valid destination. The kernel would
        // answer
        // `EINVAL`, the same as for offload that it does not have.
        if transmit.destination.port() == 0 {
            self.monitor.send_dropped(transmit.count());
            return Poll::Ready(Ok(()));
        }
        let mut run = *transmit;
        let sent = self.poll_run(cx, &mut run);
        if sent.is_pending() && run.contents.len() < transmit.contents.len() {
            self.backlog.keep(&run);
            return Poll::Ready(Ok(()));
        }
        sent
    }

    fn max_datagram_size(&self) -> usize {
        self.max_datagram_size
    }

    /// Returns 1 without offload, else as many as the kernel segments in one go.
    fn max_batch(&self, datagram_size: usize) -> usize {
        let segments = if self.offload { self.state.max_gso_segments() } else { 1 };
        segments.min(MAX_PAYLOAD / datagram_size.max(1)).max(1)
    }
}
