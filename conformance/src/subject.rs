//! What is tested, and what there is to know about it.

use std::collections::HashSet;
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::case::Mode;
use crate::wire::Wire;

/// An implementation under test.
///
/// Whatever a session brings to an exit's target or to a data-plane endpoint, it sends back: bytes of a
/// reliable session in their order, frames of an unreliable one as they are. When the peer has finished
/// and everything was sent back, it finishes too.
pub struct Subject {
    /// What it is called in reports.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Where it listens; of an initiator, where it finds the suite.
    pub address: SocketAddr,
    /// How its datagrams are matched with sessions.
    pub framing: Framing,
    /// What it speaks.
    pub wire: Wire,
    /// The modes that its sessions can have.
    pub modes: Vec<Mode>,
    /// The CBOR item that leads an exit's reliable sessions to an echo.
    pub reliable_target: Vec<u8>,
    /// The same for its unreliable sessions.
    pub unreliable_target: Vec<u8>,
    /// Sessions that it grants at a time, if that is known and few.
    pub slots: Option<usize>,
    /// Its times.
    pub times: Times,
    /// Prepares a data-plane endpoint for a new peer, where it cannot do so by itself.
    pub attach: Option<Attach>,
    /// Where an initiator finds the suite.
    pub reception: Option<Reception>,
}

/// The socket that initiators come to, one case after another.
#[derive(Debug)]
pub struct Reception {
    pub(crate) socket: UdpSocket,
    met: Mutex<HashSet<u64>>,
}

impl Reception {
    /// Waits for initiators at this socket.
    #[must_use]
    pub fn new(socket: UdpSocket) -> Self {
        Self { socket, met: Mutex::default() }
    }

    /// Whether no case has met a request with this challenge, which has been met from now on.
    pub(crate) fn is_new(&self, challenge: u64) -> bool {
        // A set of numbers is as good after a panic as before it.
        self.met.lock().unwrap_or_else(PoisonError::into_inner).insert(challenge)
    }
}

/// Prepares a data-plane endpoint for a peer at this address, whose session is to be of this mode.
pub type Attach = Box<dyn Fn(SocketAddr, Mode) + Send + Sync>;

/// What a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It grants sessions.
    Exit,
    /// It has a session with everybody, without a handshake.
    DataPlane,
    /// It asks for sessions, one after another, sends something in each and finishes.
    Initiator,
}

/// How datagrams are matched with sessions (`framing`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A 64-bit tag stands before each message.
    Tagged,
    /// Bare messages, one session per peer address.
    Bare,
}

/// How long the subject may take for what, as it is configured.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For whatever has no time of its own, and on top of those that do.
    pub patience: Duration,
    /// A frame may be incomplete before it is requested or skipped (`data#timing`).
    pub frame_timeout: Duration,
    /// An acknowledgement may wait for others (`data#timing`).
    pub ack_delay: Duration,
    /// A session may stay half-open (`start#half-open`).
    pub half_open: Duration,
    /// A session may be without life (`start#liveness`).
    pub idle: Duration,
    /// No case takes longer than this for a time to pass.
    pub longest: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(3),
            frame_timeout: Duration::from_millis(800),
            ack_delay: Duration::from_millis(100),
            half_open: Duration::from_secs(10),
            idle: Duration::from_secs(180),
            longest: Duration::from_secs(15),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
