//! Datagrams over UDP, with segmentation offload where the kernel has it.
//!
//! A run of datagrams is one system call on the way out ([generic segmentation offload][gso], Linux 4.18 and later),
//! and several runs are one on the way in. Where there is no offload the same runs are sent datagram by datagram;
//! nothing changes but the speed.
//!
//! Datagrams are never fragmented: one that exceeds the maximum of the interface is dropped.
//!
//! [gso]: https://www.kernel.org/doc/html/latest/networking/segmentation-offloads.html
//!
//! ```
//! use std::net::{Ipv4Addr, SocketAddr};
//! use towline_transport::udp::UdpTransport;
//! use towline_transport::{DatagramReceiver, DatagramSender, Transmit, Transport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
//! let here = UdpTransport::bind(any_port)?;
//! let there = UdpTransport::bind(any_port)?;
//! let destination = there.local_address()?;
//!
//! let (mut sender, _) = here.split();
//! let (_, mut receiver) = there.split();
//! sender.send(&Transmit { destination, contents: b"two runs", segment_size: Some(4) }).await?;
//!
//! let mut datagrams = Vec::new();
//! while datagrams.len() < 2 {
//!     let mut received = Vec::new();
//!     receiver.recv(&mut received).await?;
//!     datagrams.extend(received.into_iter().flat_map(|run| run.datagrams()));
//! }
//! assert_eq!(datagrams, ["two ", "runs"]);
//! # Ok(())
//! # }
//! ```

mod buffers;
mod config;
mod counters;
mod receiver;
mod sender;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn_udp::UdpSocketState;
use tokio::net::UdpSocket;

use crate::transport::Transport;

pub use config::{UdpConfig, UdpConfigError};
pub use counters::{UdpMonitor, UdpStats};
pub use receiver::UdpReceiver;
pub use sender::UdpSender;

/// A UDP socket.
///
/// Addresses are in their shortest form: a socket bound to an IPv6 address that also receives IPv4 shows IPv4 peers
/// with IPv4 addresses, and takes those as destinations.
#[derive(Debug)]
pub struct UdpTransport {
    socket: Arc<UdpSocket>,
    state: Arc<UdpSocketState>,
    config: UdpConfig,
    monitor: UdpMonitor,
}

impl UdpTransport {
    /// Opens a socket with the default configuration; must be called in a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// Fails like the operating system does, in particular with [`io::ErrorKind::AddrInUse`] if the port is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_with(address, UdpConfig::default())
    }

    /// Opens a socket; must be called in a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::InvalidInput`] and a [`UdpConfigError`] if the configuration is not valid, else like
    /// the operating system does.
    pub fn bind_with(address: SocketAddr, config: UdpConfig) -> io::Result<Self> {
        config.validate()?;
        Self::from_std(std::net::UdpSocket::bind(address)?, config)
    }

    /// Takes an open socket, for instance one that was handed down by a supervisor; must be called in a tokio runtime
    /// with I/O enabled.
    ///
    /// # Errors
    ///
    /// Fails like [`bind_with`](Self::bind_with).
    pub fn from_std(socket: std::net::UdpSocket, config: UdpConfig) -> io::Result<Self> {
        config.validate()?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&socket).into())?;
        // The kernel caps what it grants by a limit of its own. Smaller buffers lose more under load, which is no
        // reason not to run.
        let send = state.set_send_buffer_size((&socket).into(), config.send_buffer);
        let recv = state.set_recv_buffer_size((&socket).into(), config.recv_buffer);
        if let Err(error) = send.and(recv) {
            tracing::debug!(%error, "socket buffers keep their size");
        }
        Ok(Self {
            socket: Arc::new(socket),
            state: Arc::new(state),
            config,
            monitor: UdpMonitor::default(),
        })
    }

    /// Returns a handle that reads the counters of the socket, also once it has been split.
    pub fn monitor(&self) -> UdpMonitor {
        self.monitor.clone()
    }
}

impl Transport for UdpTransport {
    type Address = SocketAddr;
    type Sender = UdpSender;
    type Receiver = UdpReceiver;

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn split(self) -> (UdpSender, UdpReceiver) {
        let sender = UdpSender::new(
            Arc::clone(&self.socket),
            Arc::clone(&self.state),
            &self.config,
            self.monitor.clone(),
        );
        (sender, UdpReceiver::new(self.socket, self.state, self.monitor))
    }
}
