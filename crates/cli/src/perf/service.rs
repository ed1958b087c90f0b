//! What both ends of a measurement agree on.
//!
//! A measurement's session leads to the text target `towline-perf/1 SERVICE MTU`. Its server takes on the
//! session's MTU from there, so that it need not be started anew for another one.
//!
//! - `sink` counts the bytes that come in and, when the peer has finished, answers with their number in 8
//!   bytes, big-endian. An unreliable session may lose its end: the server takes a second of silence for it,
//!   and sends the answer three times.
//! - `echo` sends every message back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use towline::{Dialect, Mode, Mtu, Session, SessionOptions, Target};
use towline_wire::start::Cbor;

use crate::args::mtu;
use crate::failure::Failure;

/// Silence that ends the count in an unreliable session.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// How often the count is sent in an unreliable session.
pub(super) const COPIES: usize = 3;

/// Time between the copies, for whatever loses them to pass.
pub(super) const COPY_SPACING: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Sink,
    Echo,
}

/// What a measurement's session leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PerfTarget {
    pub(super) service: Service,
    pub(super) mtu: Mtu,
}

impl fmt::Display for PerfTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = match self.service {
            Service::Sink => "sink",
            Service::Echo => "echo",
        };
        write!(f, "towline-perf/1 {service} {}", self.mtu)
    }
}

impl FromStr for PerfTarget {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let (Some("towline-perf/1"), Some(service), Some(bytes), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(());
        };
        let service = match service {
            "sink" => Service::Sink,
            "echo" => Service::Echo,
            _ => return Err(()),
        };
        Ok(Self { service, mtu: mtu(bytes).map_err(drop)? })
    }
}

impl From<PerfTarget> for Target {
    fn from(target: PerfTarget) -> Self {
        Self::Other(Cbor::new(&target.to_string()).expect("text has a CBOR form"))
    }
}

impl TryFrom<&Target> for PerfTarget {
    type Error = ();

    fn try_from(target: &Target) -> Result<Self, ()> {
        let Target::Other(item) = target else { return Err(()) };
        item.to::<String>().map_err(drop)?.parse()
    }
}

/// The number of bytes that a sink has counted.
pub(super) async fn count(session: &mut Session) -> Result<u64, Failure> {
    let answer = match session.options().mode {
        Mode::Reliable => session.recv_frame().await?,
        Mode::Unreliable => {
            let patience = SILENCE * 5;
            match tokio::time::timeout(patience, session.recv_frame()).await {
                Ok(answer) => answer?,
                Err(_) => None,
            }
        }
    };
    let count = answer.and_then(|frame| frame.into_bytes().as_ref().try_into().ok());
    let count = count.map(u64::from_be_bytes);
    count.ok_or_else(|| Failure::Failed("the server did not confirm what it received".to_owned()))
}

pub(super) fn count_frame(bytes: u64) -> Bytes {
    Bytes::copy_from_slice(&bytes.to_be_bytes())
}

pub(super) fn options(mode: Mode) -> SessionOptions {
    match mode {
        Mode::Reliable => SessionOptions::reliable(),
        Mode::Unreliable => SessionOptions::unreliable(),
    }
}

/// Advice for a measurement that finds no server.
pub(super) fn failure(peer: std::net::SocketAddr, error: towline::ConnectError) -> Failure {
    match error {
        towline::ConnectError::TimedOut => Failure::Failed(format!(
            "no answer from {peer}: is `towline perf serve` running there, with the same --dialect?"
        )),
        error => Failure::Failed(format!("no session with {peer}: {error}")),
    }
}

/// The dialect, which is all of the wire format that the server cannot learn from a request.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct DialectArg {
    /// Variant of the wire format; both ends must agree
    #[arg(long, default_value = "rfc0007", value_parser = crate::args::dialects())]
    pub(super) dialect: Dialect,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_back_from_the_wire() {
        for service in [Service::Sink, Service::Echo] {
            let perf = PerfTarget { service, mtu: Mtu::new(1018).unwrap() };
            for dialect in Dialect::ALL {
                let item = Target::from(perf).to_cbor(dialect);
                let target = Target::from_cbor(&item, Mode::Reliable);
                assert_eq!(PerfTarget::try_from(&target), Ok(perf));
            }
        }
    }

    #[test]
    fn other_targets_are_no_measurements() {
        for text in [
            "",
            "towline-perf/1",
            "towline-perf/1 sink",
            "towline-perf/1 sink 15",
            "towline-perf/1 source 1018",
            "towline-perf/2 sink 1018",
            "towline-perf/1 sink 1018 more",
        ] {
            assert!(text.parse::<PerfTarget>().is_err(), "{text}");
        }
        assert!(PerfTarget::try_from(&Target::tcp("localhost", 80)).is_err());
    }
}
