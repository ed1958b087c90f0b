//! Where a session leads.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use towline_wire::Dialect;
use towline_wire::start::Cbor;

use crate::Mode;

/// The transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A byte stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Where a session leads (RFC-0007, 4.2.3).
///
/// On the wire it is text in the RFC's dialects, `HOST:PORT` with or without `tcp://` or `udp://`, and a
/// nested map in `hoprnet`. Both forms are read in every dialect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A service by its address.
    Service {
        /// How to talk to it.
        protocol: Protocol,
        /// A name or an IP address, without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A service whose address only the exit can read.
    Sealed {
        /// How to talk to it.
        protocol: Protocol,
        /// The sealed address.
        address: Vec<u8>,
    },
    /// A service of the exit itself.
    ExitNode(u32),
    /// Something else that the two ends understand.
    Other(Cbor),
}

/// The text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a target is [tcp://|udp://]HOST:PORT")]
pub struct TargetError;

impl Target {
    /// A TCP service; `host` is a name or an IP address.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Service { protocol: Protocol::Tcp, host: host.into(), port }
    }

    /// A UDP service; `host` is a name or an IP address.
    pub fn udp(host: impl Into<String>, port: u16) -> Self {
        Self::Service { protocol: Protocol::Udp, host: host.into(), port }
    }

    /// Parses `[tcp://|udp://]HOST:PORT`; without a scheme, the protocol is `default`.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(text: &str, default: Protocol) -> Result<Self, TargetError> {
        let (protocol, address) = match text.split_once("://") {
            Some(("tcp", address)) => (Protocol::Tcp, address),
            Some(("udp", address)) => (Protocol::Udp, address),
            Some(_) => return Err(TargetError),
            None => (default, text),
        };
        let (host, port) = address.rsplit_once(':').ok_or(TargetError)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or(TargetError)?,
            None if host.contains(':') => return Err(TargetError),
            None => host,
        };
        if !is_host(host) {
            return Err(TargetError);
        }
        let port = port.parse().map_err(|_| TargetError)?;
        Ok(Self::Service { protocol, host: host.to_owned(), port })
    }

    /// The item that stands for the target in a dialect.
    #[must_use]
    pub fn to_cbor(&self, dialect: Dialect) -> Cbor {
        let item = match self {
            Self::Other(item) => return item.clone(),
            Self::Service { .. } if dialect != Dialect::Hoprnet => Cbor::new(&self.to_string()),
            Self::Service { protocol, host, port } => {
                let address = match host.parse::<IpAddr>() {
                    Ok(ip) => WireAddress::Ip(SocketAddr::new(ip, *port)),
                    Err(_) => WireAddress::Dns(host.clone(), *port),
                };
                Cbor::new(&WireTarget::stream(*protocol, WireHost::Plain(address)))
            }
            Self::Sealed { protocol, address } => {
                Cbor::new(&WireTarget::stream(*protocol, WireHost::Sealed(address.clone())))
            }
            Self::ExitNode(service) => Cbor::new(&WireTarget::ExitNode(*service)),
        };
        item.expect("text and shallow maps have a CBOR form")
    }

    /// The target that an item stands for. A bare `HOST:PORT` means TCP in a reliable session and UDP in
    /// an unreliable one.
    #[must_use]
    pub fn from_cbor(item: &Cbor, mode: Mode) -> Self {
        let default = match mode {
            Mode::Reliable => Protocol::Tcp,
            Mode::Unreliable => Protocol::Udp,
        };
        if let Ok(text) = item.to::<String>() {
            return Self::parse(&text, default).unwrap_or_else(|_| Self::Other(item.clone()));
        }
        let (protocol, host) = match item.to::<WireTarget>() {
            Ok(WireTarget::TcpStream(host)) => (Protocol::Tcp, host),
            Ok(WireTarget::UdpStream(host)) => (Protocol::Udp, host),
            Ok(WireTarget::ExitNode(service)) => return Self::ExitNode(service),
            Err(_) => return Self::Other(item.clone()),
        };
        match host {
            WireHost::Plain(WireAddress::Ip(address)) => {
                Self::Service { protocol, host: address.ip().to_string(), port: address.port() }
            }
            WireHost::Plain(WireAddress::Dns(host, port)) if is_host(&host) => {
                Self::Service { protocol, host, port }
            }
            WireHost::Plain(WireAddress::Dns(..)) => Self::Other(item.clone()),
            WireHost::Sealed(address) => Self::Sealed { protocol, address },
        }
    }
}

/// Whether this may be a name or an address: strangers send it, and logs show it.
fn is_host(host: &str) -> bool {
    let valid = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '@' | '[' | ']' | '?' | '#');
    (1..=MAX_HOST_LEN).contains(&host.len()) && host.chars().all(valid)
}

/// The longest name that the domain name system has, in bytes.
const MAX_HOST_LEN: usize = 255;

impl FromStr for Target {
    type Err = TargetError;

    /// As [`Target::parse`], TCP by default.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text, Protocol::Tcp)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { protocol, host, port } if host.contains(':') => {
                write!(f, "{protocol}://[{host}]:{port}")
            }
            Self::Service { protocol, host, port } => write!(f, "{protocol}://{host}:{port}"),
            Self::Sealed { protocol, address } => {
                write!(f, "{protocol}, sealed in {} bytes", address.len())
            }
            Self::ExitNode(service) => write!(f, "service {service} of the exit"),
            Self::Other(item) => write!(f, "{item:?}"),
        }
    }
}

/// The target of deployed peers, as serde writes their enums.
#[derive(Serialize, Deserialize)]
enum WireTarget {
    TcpStream(WireHost),
    UdpStream(WireHost),
    ExitNode(u32),
}

#[derive(Serialize, Deserialize)]
enum WireHost {
    Plain(WireAddress),
    Sealed(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
enum WireAddress {
    Ip(SocketAddr),
    Dns(String, u16),
}

impl WireTarget {
    fn stream(protocol: Protocol, host: WireHost) -> Self {
        match protocol {
            Protocol::Tcp => Self::TcpStream(host),
            Protocol::Udp => Self::UdpStream(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_parses_and_prints() {
        for (text, printed) in [
            ("example.com:80", "tcp://example.com:80"),
            ("udp://10.0.0.1:53", "udp://10.0.0.1:53"),
            ("tcp://[::1]:443", "tcp://[::1]:443"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn text_that_is_no_target_is_refused() {
        for text in
            ["", "host", "host:", ":80", "::1:80", "[::1]80", "ftp://h:1", "a b:1", "h:65536"]
        {
            assert_eq!(text.parse::<Target>(), Err(TargetError), "{text}");
        }
    }

    #[test]
    fn a_bare_address_takes_its_protocol_from_the_mode() {
        let item = Cbor::new("127.0.0.1:8080").unwrap();
        assert_eq!(Target::from_cbor(&item, Mode::Reliable), Target::tcp("127.0.0.1", 8080));
        assert_eq!(Target::from_cbor(&item, Mode::Unreliable), Target::udp("127.0.0.1", 8080));
    }

    #[test]
    fn every_target_survives_every_dialect() {
        let targets = [
            Target::tcp("127.0.0.1", 1),
            Target::udp("2001:db8::1", 2),
            Target::tcp("example.com", 3),
            Target::Sealed { protocol: Protocol::Tcp, address: vec![1, 2, 3, 255] },
            Target::ExitNode(4660),
            Target::Other(Cbor::new(&[1, 2]).unwrap()),
        ];
        for dialect in Dialect::ALL {
            for target in &targets {
                let item = target.to_cbor(dialect);
                assert_eq!(&Target::from_cbor(&item, Mode::Reliable), target, "{dialect}");
            }
        }
    }

    #[test]
    fn a_host_that_no_name_can_be_is_not_taken_for_one() {
        for host in ["", "a b", "\u{1b}[2J", "line\nbreak", &"x".repeat(256)] {
            let wire = WireHost::Plain(WireAddress::Dns(host.to_owned(), 80));
            let item = Cbor::new(&WireTarget::stream(Protocol::Tcp, wire)).unwrap();
            let target = Target::from_cbor(&item, Mode::Reliable);
            assert_eq!(target, Target::Other(item), "{host:?}");
        }
    }

    #[test]
    fn deployed_targets_have_their_bytes() {
        let item = Target::udp("10.1.2.3", 53).to_cbor(Dialect::Hoprnet);
        let bytes: String = item.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, "a16955647053747265616da165506c61696ea1624970a162563482840a0102031835");
    }
}
