//! This project's own endpoints as subjects.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use towline::data::ConfigBuilder;
use towline::forward::{AllowRule, Exit};
use towline::start::Rate;
use towline::{
    ConnectError, Endpoint, EndpointBuilder, Mode as EndpointMode, Mtu, RecvHalf, SendHalf,
    SessionOptions, Target,
};
use towline_wire::Dialect;

use crate::case::Mode;
use crate::subject::{Framing, Reception, Role, Subject, Times};
use crate::wire::Wire;
use crate::{echo, wire};

/// Endpoints of this project, with times that make no case wait for long.
#[derive(Debug)]
pub struct Own {
    runtime: Runtime,
    dialect: Dialect,
    mtu: Mtu,
}

const HALF_OPEN: Duration = Duration::from_millis(1500);
const IDLE: Duration = Duration::from_secs(3);
/// Few enough to fill.
const SLOTS: usize = 48;

/// Why there is no endpoint of ours to test.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

impl Own {
    /// Endpoints that speak this dialect, in messages of at most `mtu` bytes.
    ///
    /// # Errors
    /// What the operating system says, if it gives no threads.
    pub fn new(dialect: Dialect, mtu: Mtu) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, dialect, mtu })
    }

    /// An exit that leads to an echo.
    ///
    /// # Errors
    /// When there is no socket for it.
    pub fn exit(&self, framing: Framing) -> Result<Subject, Error> {
        self.runtime.block_on(async {
            let echo = echo::start().await?;
            let endpoint = self.builder(framing).bind(any())?;
            let rule: AllowRule = "tcp://127.0.0.1:*".parse()?;
            let udp: AllowRule = "udp://127.0.0.1:*".parse()?;
            let exit = Exit::new([rule, udp].into_iter().collect());
            let (address, listener) = (endpoint.local_address(), endpoint.listen()?);
            tokio::spawn(exit.run(endpoint, listener, std::future::pending(), |_| {}));
            Ok(Subject {
                slots: Some(SLOTS),
                reliable_target: target(self.dialect, EndpointMode::Reliable, echo),
                unreliable_target: target(self.dialect, EndpointMode::Unreliable, echo),
                modes: vec![Mode::Reliable, Mode::Unreliable],
                ..self.subject("exit", Role::Exit, address, framing)
            })
        })
    }

    /// A data-plane endpoint that sends back what it gets.
    ///
    /// # Errors
    /// When there is no socket for it.
    pub fn data_plane(&self, mode: Mode) -> Result<Subject, Error> {
        let endpoint = self.runtime.block_on(async { self.builder(Framing::Bare).bind(any()) })?;
        let address = endpoint.local_address();
        let runtime = self.runtime.handle().clone();
        let attach = move |peer: SocketAddr, mode: Mode| {
            let options = match mode {
                Mode::Reliable => SessionOptions::reliable(),
                Mode::Unreliable => SessionOptions::unreliable(),
            };
            // A session that cannot be is missed by the case that wants it.
            if let Ok(session) = runtime.block_on(endpoint.attach(peer, options)) {
                let (recv, send) = session.into_split();
                runtime.spawn(send_back(recv, send));
            }
        };
        let name = match mode {
            Mode::Reliable => "data plane, reliable",
            Mode::Unreliable => "data plane, unreliable",
        };
        Ok(Subject {
            modes: vec![mode],
            attach: Some(Box::new(attach)),
            ..self.subject(name, Role::DataPlane, address, Framing::Bare)
        })
    }

    /// An initiator that asks the suite for one session after another.
    ///
    /// # Errors
    /// When there is no socket for it.
    pub fn initiator(&self, framing: Framing) -> Result<Subject, Error> {
        let socket = UdpSocket::bind(any())?;
        let address = socket.local_addr()?;
        self.initiator_by_way_of(address, socket, framing)
    }

    /// An initiator that speaks to the suite's socket by way of whoever is at `address`.
    ///
    /// # Errors
    /// When there is no socket for it.
    pub fn initiator_by_way_of(
        &self,
        address: SocketAddr,
        socket: UdpSocket,
        framing: Framing,
    ) -> Result<Subject, Error> {
        let endpoint = self.runtime.block_on(async {
            let builder = self.builder(framing);
            builder.start(|config| config.request_timeout(REQUEST_TIMEOUT)).bind(any())
        })?;
        self.runtime.spawn(greet(endpoint, address));
        Ok(Subject {
            modes: vec![Mode::Reliable],
            reception: Some(Reception::new(socket)),
            ..self.subject("initiator", Role::Initiator, address, framing)
        })
    }

    fn builder(&self, framing: Framing) -> EndpointBuilder {
        let framing = match framing {
            Framing::Tagged => towline::Framing::Tagged,
            Framing::Bare => towline::Framing::Bare,
        };
        // All the suite's addresses are peers at one address, and each case asks as often as it likes.
        let rate = Rate { burst: 10_000, refill: Duration::from_millis(1) };
        Endpoint::builder()
            .dialect(self.dialect)
            .mtu(self.mtu)
            .framing(framing)
            .data(|data: ConfigBuilder| data.idle_timeout(Duration::from_secs(10)))
            .start(move |start| {
                start
                    .half_open_timeout(HALF_OPEN)
                    .idle_timeout(IDLE)
                    .max_sessions(SLOTS)
                    .request_rate(rate)
                    .peer_request_rate(rate)
            })
    }

    fn subject(&self, name: &str, role: Role, address: SocketAddr, framing: Framing) -> Subject {
        let framed = match framing {
            Framing::Tagged => "tagged",
            Framing::Bare => "bare",
        };
        Subject {
            name: format!("our {name} ({framed}, {}, MTU {})", self.dialect, self.mtu),
            role,
            address,
            framing,
            wire: Wire { dialect: self.dialect, mtu: self.mtu.get() },
            modes: Vec::new(),
            reliable_target: Vec::new(),
            unreliable_target: Vec::new(),
            slots: None,
            times: Times { half_open: HALF_OPEN, idle: IDLE, ..Times::default() },
            attach: None,
            reception: None,
        }
    }
}

/// An initiator gives up early here, so that a case in which it gets no answer does not hold up the next.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// The item that leads a session to an echo at this address.
#[must_use]
pub fn target(dialect: Dialect, mode: EndpointMode, echo: SocketAddr) -> Vec<u8> {
    let host = echo.ip().to_string();
    let target = match mode {
        EndpointMode::Reliable => Target::tcp(host, echo.port()),
        EndpointMode::Unreliable => Target::udp(host, echo.port()),
    };
    if dialect == Dialect::Hoprnet {
        return target.to_cbor(dialect).as_bytes().to_vec();
    }
    wire::text(&target.to_string())
}

/// Asks for one session after another, for as long as there is an endpoint to ask with.
async fn greet(endpoint: Endpoint, suite: SocketAddr) {
    let target = Target::tcp("greeted.example", 7);
    loop {
        match endpoint.connect(suite, &target).await {
            // However a session goes, the next case wants another.
            Ok(mut session) => {
                if session.write_all(GREETING).await.is_ok() {
                    let _ = session.finish().await;
                }
            }
            Err(ConnectError::Closed(_)) => return,
            Err(_) => {}
        }
    }
}

/// What an initiator of ours says in each session.
const GREETING: &[u8] = b"ahoy";

async fn send_back(mut recv: RecvHalf, mut send: SendHalf) {
    while let Ok(Some(frame)) = recv.recv_frame().await {
        if send.send_frame(frame.into_bytes()).await.is_err() {
            return;
        }
    }
    // The peer is gone, or has everything.
    let _ = send.finish().await;
}

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
