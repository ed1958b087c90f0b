//! Settings of an endpoint.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use towline_data::{ConfigBuilder as DataConfigBuilder, ConfigError as DataConfigError, Mode};
use towline_start::{ConfigBuilder as StartConfigBuilder, ConfigError as StartConfigError};
use towline_transport::Transport;
use towline_transport::udp::{UdpConfig, UdpTransport};
use towline_wire::{Dialect, Mtu, Tag};

use crate::Endpoint;
use crate::driver::Settings;

/// How datagrams are matched with sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// A 64-bit tag stands before each message: any number of sessions per peer.
    #[default]
    Tagged,
    /// Bare messages: one session per peer address.
    Bare,
}

/// Settings of an [`Endpoint`] to be.
#[must_use]
pub struct EndpointBuilder {
    dialect: Dialect,
    mtu: Mtu,
    framing: Framing,
    udp: UdpConfig,
    data: Box<dyn Fn(DataConfigBuilder) -> DataConfigBuilder + Send>,
    start: Box<dyn Fn(StartConfigBuilder) -> StartConfigBuilder + Send>,
}

/// An MTU whose datagrams pass most of the Internet's tunnels, in bytes.
const DEFAULT_MTU: usize = 1400;

impl Default for EndpointBuilder {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            mtu: Mtu::new(DEFAULT_MTU).expect("the default is a valid MTU"),
            framing: Framing::default(),
            udp: UdpConfig::default(),
            data: Box::new(|config| config),
            start: Box::new(|config| config),
        }
    }
}

impl EndpointBuilder {
    /// The dialect of the wire format; both ends must be configured alike. RFC-0007 by default.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The largest message, without its tag; both ends must be configured alike. 1400 bytes by default.
    pub fn mtu(mut self, mtu: Mtu) -> Self {
        self.mtu = mtu;
        self
    }

    /// How datagrams are matched with sessions. Tagged by default.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Settings of the UDP socket, for [`bind`](Self::bind). The largest datagram follows from the MTU.
    pub fn udp(mut self, config: UdpConfig) -> Self {
        self.udp = config;
        self
    }

    /// Settings of the data plane of every session, on top of earlier ones. Mode, delivery and the initial
    /// round-trip time are set per session.
    pub fn data(
        mut self,
        configure: impl Fn(DataConfigBuilder) -> DataConfigBuilder + Send + 'static,
    ) -> Self {
        let earlier = self.data;
        self.data = Box::new(move |config| configure(earlier(config)));
        self
    }

    /// Settings of the handshake, on top of earlier ones: timeouts, limits and keep-alives.
    pub fn start(
        mut self,
        configure: impl Fn(StartConfigBuilder) -> StartConfigBuilder + Send + 'static,
    ) -> Self {
        let earlier = self.start;
        self.start = Box::new(move |config| configure(earlier(config)));
        self
    }

    /// Opens a UDP socket and starts the endpoint's task. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(self, address: SocketAddr) -> Result<Endpoint, BindError> {
        let udp = UdpConfig { max_datagram_size: self.datagram_size(), ..self.udp.clone() };
        let transport = UdpTransport::bind_with(address, udp)
            .map_err(|error| BindError::Bind { address, error })?;
        self.over(transport)
    }

    /// Starts an endpoint's task over a transport. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn over<T: Transport>(self, transport: T) -> Result<Endpoint<T::Address>, BindError> {
        let settings = Settings {
            framing: self.framing,
            start: (self.start)(towline_start::Config::builder(self.dialect, self.mtu)).build()?,
            data: (self.data)(towline_data::Config::builder(self.dialect, self.mtu)),
            dialect: self.dialect,
        };
        for mode in [Mode::Reliable, Mode::Unreliable] {
            settings.data.clone().mode(mode).build()?;
        }
        Endpoint::start(settings, self.datagram_size(), transport)
    }

    fn datagram_size(&self) -> usize {
        //= docs/spec/framing.md#tagged
        //# An endpoint MUST NOT count the tag as a part of the message when it compares that with
        //# the MTU `C`.
        match self.framing {
            Framing::Tagged => self.mtu.get() + Tag::LEN,
            Framing::Bare => self.mtu.get(),
        }
    }
}

impl fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointBuilder")
            .field("dialect", &self.dialect)
            .field("mtu", &self.mtu)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

/// Why an endpoint cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The operating system gives no such socket.
    #[error("cannot bind {address}: {error}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The transport does not tell its address.
    #[error("the transport has no address: {0}")]
    Transport(io::Error),
    /// The MTU does not fit the transport's datagrams.
    #[error("datagrams of {needed} bytes are over the transport's {limit}")]
    MtuTooLarge {
        /// Bytes of the largest datagram.
        needed: usize,
        /// The transport's limit in bytes.
        limit: usize,
    },
    /// A setting of the data plane is out of range.
    #[error(transparent)]
    Data(#[from] DataConfigError),
    /// A setting of the handshake is out of range.
    #[error(transparent)]
    Start(#[from] StartConfigError),
    /// The operating system gives no random numbers.
    #[error(transparent)]
    Randomness(#[from] towline_start::NoRandomness),
}
