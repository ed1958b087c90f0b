//! What went over the wire during a case.

use std::fmt;
use std::time::Duration;

use crate::subject::Framing;
use crate::wire::{Message, Segment, StartSession, Wire};

/// Datagrams in their order, the last of them if there were many.
#[derive(Clone, Debug)]
pub struct Trace {
    wire: Wire,
    framing: Framing,
    datagrams: Vec<Datagram>,
    left_out: usize,
}

#[derive(Clone, Debug)]
struct Datagram {
    at: Duration,
    /// Which of the case's addresses sent or received it.
    peer: u16,
    sent: bool,
    bytes: Vec<u8>,
}

/// A flood must not fill the memory; what matters is at the end.
const KEPT: usize = 400;

impl Trace {
    /// An empty trace of what is said in `wire`.
    #[must_use]
    pub fn new(wire: Wire, framing: Framing) -> Self {
        Self { wire, framing, datagrams: Vec::new(), left_out: 0 }
    }

    /// Adds a datagram that the suite sent or received.
    pub fn push(&mut self, at: Duration, peer: u16, sent: bool, bytes: &[u8]) {
        if self.datagrams.len() == 2 * KEPT {
            self.datagrams.drain(..KEPT);
            self.left_out += KEPT;
        }
        self.datagrams.push(Datagram { at, peer, sent, bytes: bytes.to_vec() });
    }

    /// A line for each datagram.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let left_out = (self.left_out > 0).then(|| format!("... {} before", self.left_out));
        left_out.into_iter().chain(self.datagrams.iter().map(|datagram| self.line(datagram)))
    }

    fn line(&self, Datagram { at, peer, sent, bytes }: &Datagram) -> String {
        let arrow = if *sent { "->" } else { "<-" };
        let (tag, message) = match (self.framing, bytes.split_first_chunk::<8>()) {
            (Framing::Tagged, Some((tag, message))) => {
                (format!("{:#x} ", u64::from_be_bytes(*tag)), message)
            }
            _ => (String::new(), &bytes[..]),
        };
        let said = match self.wire.decode(message) {
            Ok(message) => message.to_string(),
            Err(why) => {
                let shown = &message[..message.len().min(32)];
                let more = if shown.len() < message.len() { "..." } else { "" };
                format!("{}{more} ({} bytes: {why})", hex::encode(shown), message.len())
            }
        };
        format!("{:9.3} ms  peer {peer} {arrow} {tag}{said}", at.as_secs_f64() * 1e3)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(Segment { frame, index, count, terminating, data }) => {
                let end = if *terminating { " terminating" } else { "" };
                write!(f, "segment {frame}[{index} of {count}]{end} {} bytes", data.len())
            }
            Self::Request(entries) => {
                f.write_str("request")?;
                entries.iter().try_for_each(|(frame, bits)| write!(f, " {frame}:{bits:08b}"))
            }
            Self::Acknowledgement(frames) => {
                f.write_str("acknowledgement")?;
                frames.iter().try_for_each(|frame| write!(f, " {frame}"))
            }
            Self::StartSession(StartSession { challenge, capabilities, target, .. }) => write!(
                f,
                "start session {challenge:016x} capabilities {capabilities:#04x} target {}",
                hex::encode(target)
            ),
            Self::SessionEstablished { challenge, session_id } => {
                write!(f, "session established {challenge:016x} id {}", hex::encode(session_id))
            }
            Self::SessionError { challenge, reason } => {
                write!(f, "session error {challenge:016x} reason {reason}")
            }
            Self::KeepAlive { session_id, .. } => {
                write!(f, "keep-alive {}", hex::encode(session_id))
            }
        }
    }
}
