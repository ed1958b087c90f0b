//! Arguments that several commands share.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use towline::data::ConfigBuilder;
use towline::{Dialect, EndpointBuilder, Mode, Mtu};

use crate::failure::Failure;

/// What plain UDP does not do. Said once, on start.
pub(crate) const PLAIN_UDP: &str =
    "towline: plain UDP is neither encrypted nor authenticated; use it on networks that you trust";

/// `HOST:PORT`, not resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort(String);

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "an address is HOST:PORT, with an IPv6 host in brackets";
        if text.parse::<SocketAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(valid) || port.parse::<u16>().is_err() {
            return Err(FORM);
        }
        Ok(Self(text.to_owned()))
    }
}

impl HostPort {
    /// The first address that the name has.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, Failure> {
        let failure = |error| Failure::Resolve { address: self.0.clone(), error };
        let first = tokio::net::lookup_host(&self.0).await.map_err(failure)?.next();
        first.ok_or_else(|| failure(std::io::ErrorKind::AddrNotAvailable.into()))
    }
}

/// Any local address that can reach `peer`.
pub(crate) fn local_address_for(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// What carries the datagrams.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Transport {
    /// Plain UDP: neither encrypted nor authenticated.
    Udp,
}

/// What carries the datagrams, where one can choose.
#[derive(clap::Args, Debug)]
pub(crate) struct TransportArg {
    /// What carries the datagrams
    #[arg(long, value_name = "TRANSPORT", default_value = "udp")]
    pub(crate) transport: Transport,
}

/// Settings of sessions.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Tuning {
    /// Largest message in bytes; both ends must agree
    #[arg(long, value_name = "BYTES", default_value = "1400", value_parser = mtu)]
    pub(crate) mtu: Mtu,
    /// How long a peer may be silent before its sessions end, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    idle_timeout: u64,
    #[command(flatten)]
    pub(crate) wire: Wire,
}

/// Settings of the wire format and of what is sent.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Wire {
    /// Variant of the wire format; both ends must agree
    #[arg(long, default_value = "rfc0007", value_parser = dialects())]
    pub(crate) dialect: Dialect,
    /// Longest frame that is sent, in bytes [default: 8 segments, or the most there can be if unreliable]
    #[arg(long, value_name = "BYTES")]
    pub(crate) frame_size: Option<usize>,
}

impl Wire {
    /// Settings for sessions whose directions end one by one, as those of TCP connections do: a peer without
    /// anything to say must not cut off what we have to say.
    pub(crate) fn endpoint(
        &self,
        mtu: Mtu,
        more: impl Fn(ConfigBuilder) -> ConfigBuilder + Send + 'static,
    ) -> EndpointBuilder {
        let frame_size = self.frame_size;
        EndpointBuilder::default().dialect(self.dialect).mtu(mtu).data(move |config| {
            let config = more(config.close_on_peer_finish(false));
            match frame_size {
                Some(bytes) => config.frame_size(bytes),
                None => config,
            }
        })
    }
}

impl Tuning {
    pub(crate) fn endpoint(&self) -> EndpointBuilder {
        let timeout = Duration::from_secs(self.idle_timeout);
        self.wire
            .endpoint(self.mtu, move |config| config.idle_timeout(timeout))
            .start(move |config| config.idle_timeout(timeout))
    }
}

/// How long to ask for a session.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long to ask for a session before giving up, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=600))]
    connect_timeout: u64,
}

impl Patience {
    pub(crate) fn apply(self, endpoint: EndpointBuilder) -> EndpointBuilder {
        const LONGEST_INTERVAL: Duration = Duration::from_secs(4);
        let timeout = Duration::from_secs(self.connect_timeout);
        endpoint.start(move |config| {
            config.request_timeout(timeout).max_request_interval(LONGEST_INTERVAL.min(timeout))
        })
    }
}

pub(crate) fn mtu(text: &str) -> Result<Mtu, String> {
    let bytes = text.parse::<usize>().map_err(|error| error.to_string())?;
    Mtu::new(bytes).map_err(|error| error.to_string())
}

pub(crate) fn dialects() -> impl TypedValueParser<Value = Dialect> {
    PossibleValuesParser::new(Dialect::ALL.map(Dialect::name))
        .map(|name| name.parse().expect("the parser lets only names of dialects pass"))
}

pub(crate) fn modes() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(["reliable", "unreliable"]).map(|name| match name.as_str() {
        "unreliable" => Mode::Unreliable,
        _ => Mode::Reliable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for good in ["127.0.0.1:80", "[::1]:0", "localhost:65535", "a-b.example:1"] {
            assert!(good.parse::<HostPort>().is_ok(), "{good}");
        }
        for bad in ["", "80", ":80", "host", "host:", "host:65536", "::1:80", "tcp://h:80", "h h:1"]
        {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }
}
