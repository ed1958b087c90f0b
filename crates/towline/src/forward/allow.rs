//! Which targets an exit connects to.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::ForwardError;
use crate::Protocol;

/// Targets that an exit may connect to: `tcp://HOST:PORT` or `udp://HOST:PORT`.
///
/// The host is a name, `*.NAME` for every name below it, an IP address or a block of them (`10.0.0.0/8`,
/// `[fd00::]/8`), or `*` for any; the port a number or `*`. Names are compared without regard to case. A
/// rule for IPv4 addresses applies to IPv4-mapped IPv6 addresses, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    protocol: Protocol,
    host: HostRule,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostRule {
    Any,
    /// In lower case and without a final dot.
    Name(String),
    /// Every name that ends in a dot and this one.
    Below(String),
    Network(IpNet),
}

/// The text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllowRuleError {
    /// It does not begin with a protocol.
    #[error("a rule begins with tcp:// or udp://")]
    Protocol,
    /// No port follows the host.
    #[error("a rule ends with :PORT, a number or * for any")]
    Port,
    /// The host is neither a name nor an address, nor a block of them.
    #[error(
        "the host of a rule is a name, *.NAME, an address, a block such as 10.0.0.0/8 or [fd00::]/8, or *"
    )]
    Host,
    /// The address of a block is not the block's first.
    #[error("the block of this address and prefix length begins at {0}")]
    HostBits(IpAddr),
}

impl AllowRule {
    fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && self.port.is_none_or(|allowed| allowed == port)
    }
}

impl FromStr for AllowRule {
    type Err = AllowRuleError;

    fn from_str(text: &str) -> Result<Self, AllowRuleError> {
        let (protocol, rest) = match text.split_once("://") {
            Some(("tcp", rest)) => (Protocol::Tcp, rest),
            Some(("udp", rest)) => (Protocol::Udp, rest),
            _ => return Err(AllowRuleError::Protocol),
        };
        let (host, port) = rest.rsplit_once(':').ok_or(AllowRuleError::Port)?;
        let port = match port {
            "*" => None,
            // `parse` takes a sign, which no port has.
            _ if port.starts_with('+') => return Err(AllowRuleError::Port),
            _ => Some(port.parse().map_err(|_| AllowRuleError::Port)?),
        };
        Ok(Self { protocol, host: host.parse()?, port })
    }
}

impl FromStr for HostRule {
    type Err = AllowRuleError;

    fn from_str(text: &str) -> Result<Self, AllowRuleError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, prefix) = rest.split_once(']').ok_or(AllowRuleError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| AllowRuleError::Host)?;
            return network(address.into(), prefix);
        }
        let (address, prefix) = text.split_at(text.find('/').unwrap_or(text.len()));
        if let Ok(address) = address.parse::<IpAddr>() {
            // Without brackets, the end of an IPv6 address could be a port.
            return if address.is_ipv4() {
                network(address, prefix)
            } else {
                Err(AllowRuleError::Host)
            };
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = normal_name(name);
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(valid) {
            return Err(AllowRuleError::Host);
        }
        Ok(if below { Self::Below(name) } else { Self::Name(name) })
    }
}

/// The block of an address and `/PREFIX`, or of the address alone.
fn network(address: IpAddr, prefix: &str) -> Result<HostRule, AllowRuleError> {
    let net = match prefix.strip_prefix('/') {
        Some(length) => {
            let length = length.parse().map_err(|_| AllowRuleError::Host)?;
            IpNet::new(address, length).map_err(|_| AllowRuleError::Host)?
        }
        None if prefix.is_empty() => IpNet::from(address),
        None => return Err(AllowRuleError::Host),
    };
    if net.network() != net.addr() {
        return Err(AllowRuleError::HostBits(net.network()));
    }
    Ok(HostRule::Network(canonical(net)))
}

/// A block of IPv4-mapped addresses as the IPv4 block that it stands for: targets are compared in that
/// form.
fn canonical(net: IpNet) -> IpNet {
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(length)) if matches!(net, IpNet::V6(_)) => {
            Ipv4Net::new(address, length).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

fn normal_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.protocol)?;
        match &self.host {
            HostRule::Any => f.write_str("*")?,
            HostRule::Name(name) => f.write_str(name)?,
            HostRule::Below(name) => write!(f, "*.{name}")?,
            HostRule::Network(net) => {
                match net {
                    IpNet::V4(net) => write!(f, "{}", net.addr())?,
                    IpNet::V6(net) => write!(f, "[{}]", net.addr())?,
                }
                if net.prefix_len() < net.max_prefix_len() {
                    write!(f, "/{}", net.prefix_len())?;
                }
            }
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

/// The rules of an exit: what none of them allows is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    rules: Vec<AllowRule>,
}

impl FromIterator<AllowRule> for AllowList {
    fn from_iter<I: IntoIterator<Item = AllowRule>>(rules: I) -> Self {
        Self { rules: rules.into_iter().collect() }
    }
}

impl AllowList {
    /// Whether a rule allows every address that the name may have.
    #[must_use]
    pub fn allows_name(&self, protocol: Protocol, name: &str, port: u16) -> bool {
        let name = normal_name(name);
        self.rules.iter().filter(|rule| rule.covers(protocol, port)).any(|rule| match &rule.host {
            HostRule::Any => true,
            HostRule::Name(allowed) => *allowed == name,
            HostRule::Below(above) => name
                .strip_suffix(above.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
            HostRule::Network(_) => false,
        })
    }

    /// Whether a rule allows the address, whatever name led to it.
    #[must_use]
    pub fn allows_address(&self, protocol: Protocol, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.rules.iter().filter(|rule| rule.covers(protocol, address.port())).any(|rule| {
            match &rule.host {
                HostRule::Any => true,
                HostRule::Network(net) => net.contains(&ip),
                HostRule::Name(_) | HostRule::Below(_) => false,
            }
        })
    }

    /// The addresses of a target that may be connected to: at least one.
    ///
    /// A name is resolved once, and only if a rule could allow it. Whoever connects to these very
    /// addresses cannot be led elsewhere by a name that changes its mind.
    ///
    /// # Errors
    /// [`ForwardError::NotAllowed`]; [`ForwardError::Unreachable`] for a name without addresses.
    pub async fn resolve(
        &self,
        protocol: Protocol,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ForwardError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            let address = SocketAddr::new(ip.to_canonical(), port);
            return if self.allows_address(protocol, address) {
                Ok(vec![address])
            } else {
                Err(ForwardError::NotAllowed)
            };
        }
        let by_name = self.allows_name(protocol, host, port);
        if !by_name && !self.has_networks(protocol, port) {
            return Err(ForwardError::NotAllowed);
        }
        let resolved = match tokio::net::lookup_host((host, port)).await {
            Ok(resolved) => resolved,
            // Whether a name exists is told only to those who may ask for it.
            Err(_) if !by_name => return Err(ForwardError::NotAllowed),
            Err(error) => return Err(ForwardError::Unreachable(error)),
        };
        let mut addresses = Vec::new();
        for address in resolved {
            let allowed = by_name || self.allows_address(protocol, address);
            if allowed && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        match (addresses.is_empty(), by_name) {
            (false, _) => Ok(addresses),
            (true, true) => Err(ForwardError::Unreachable(io::ErrorKind::AddrNotAvailable.into())),
            (true, false) => Err(ForwardError::NotAllowed),
        }
    }

    fn has_networks(&self, protocol: Protocol, port: u16) -> bool {
        let is_network = |rule: &AllowRule| matches!(rule.host, HostRule::Network(_));
        self.rules.iter().any(|rule| rule.covers(protocol, port) && is_network(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rules: &[&str]) -> AllowList {
        rules.iter().map(|rule| rule.parse().unwrap()).collect()
    }

    #[test]
    fn rules_print_as_they_parse() {
        for rule in [
            "tcp://example.com:80",
            "udp://*.example.com:*",
            "tcp://*:443",
            "tcp://*:*",
            "tcp://127.0.0.1:8080",
            "tcp://10.0.0.0/8:443",
            "udp://[::1]:53",
            "tcp://[fd00::]/8:*",
            "tcp://0.0.0.0/0:1",
        ] {
            assert_eq!(rule.parse::<AllowRule>().unwrap().to_string(), rule);
        }
    }

    #[test]
    fn rules_are_brought_into_one_form() {
        for (rule, form) in [
            ("tcp://Example.COM.:80", "tcp://example.com:80"),
            ("tcp://[::ffff:10.0.0.0]/104:80", "tcp://10.0.0.0/8:80"),
            ("tcp://[::ffff:10.0.0.1]:80", "tcp://10.0.0.1:80"),
            ("tcp://10.0.0.1/32:80", "tcp://10.0.0.1:80"),
            ("tcp://[::]/0:80", "tcp://[::]/0:80"),
        ] {
            assert_eq!(rule.parse::<AllowRule>().unwrap().to_string(), form);
        }
    }

    #[test]
    fn what_is_no_rule_says_why() {
        use AllowRuleError::{Host, Port, Protocol};
        for (rule, error) in [
            ("", Protocol),
            ("example.com:80", Protocol),
            ("http://example.com:80", Protocol),
            ("tcp://example.com", Port),
            ("tcp://example.com:", Port),
            ("tcp://example.com:+80", Port),
            ("tcp://example.com:65536", Port),
            ("tcp://:80", Host),
            ("tcp://*.:80", Host),
            ("tcp://a*b:80", Host),
            ("tcp://a/b:80", Host),
            ("tcp://::1:80", Host),
            ("tcp://fd00::/8:80", Host),
            ("tcp://[::1:80", Host),
            ("tcp://[10.0.0.1]:80", Host),
            ("tcp://[::1]x:80", Host),
            ("tcp://10.0.0.0/33:80", Host),
            ("tcp://user@host:80", Host),
            ("tcp://10.1.0.0/8:80", AllowRuleError::HostBits("10.0.0.0".parse().unwrap())),
        ] {
            assert_eq!(rule.parse::<AllowRule>().unwrap_err(), error, "{rule}");
        }
    }

    #[test]
    fn names_match_whole_and_without_regard_to_case() {
        let list = list(&["tcp://example.com:80", "tcp://*.example.org:*"]);
        for (name, port, allowed) in [
            ("example.com", 80, true),
            ("EXAMPLE.com.", 80, true),
            ("example.com", 81, false),
            ("www.example.com", 80, false),
            ("notexample.com", 80, false),
            ("a.b.example.org", 7, true),
            ("example.org", 7, false),
            (".example.org", 7, false),
            ("notexample.org", 7, false),
        ] {
            assert_eq!(list.allows_name(Protocol::Tcp, name, port), allowed, "{name}:{port}");
            assert!(!list.allows_name(Protocol::Udp, name, port));
        }
    }

    #[test]
    fn addresses_match_in_their_shortest_form() {
        let list = list(&["tcp://10.0.0.0/8:443", "tcp://[fd00::]/8:*"]);
        for (address, allowed) in [
            ("10.1.2.3:443", true),
            ("[::ffff:10.1.2.3]:443", true),
            ("10.1.2.3:80", false),
            ("11.1.2.3:443", false),
            ("[fd12::1]:9", true),
            ("[fe80::1]:9", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(list.allows_address(Protocol::Tcp, address), allowed, "{address}");
        }
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        let list = AllowList::default();
        assert!(!list.allows_name(Protocol::Tcp, "example.com", 80));
        assert!(!list.allows_address(Protocol::Tcp, "127.0.0.1:80".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_mapped_address_is_connected_to_as_what_it_is() {
        let list = list(&["tcp://127.0.0.1:80"]);
        let resolved = list.resolve(Protocol::Tcp, "::ffff:127.0.0.1", 80).await.unwrap();
        assert_eq!(resolved, ["127.0.0.1:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_leads_only_to_addresses_that_are_allowed() {
        let loopback = list(&["tcp://127.0.0.0/8:80"]);
        let resolved = loopback.resolve(Protocol::Tcp, "localhost", 80).await.unwrap();
        assert_eq!(resolved, ["127.0.0.1:80".parse().unwrap()]);

        let elsewhere = list(&["tcp://192.0.2.0/24:80"]);
        let error = elsewhere.resolve(Protocol::Tcp, "localhost", 80).await.unwrap_err();
        assert!(matches!(error, ForwardError::NotAllowed));
    }

    #[tokio::test]
    async fn an_address_is_no_name() {
        let list = list(&["tcp://*.0.0.1:80", "tcp://localhost:80"]);
        let error = list.resolve(Protocol::Tcp, "127.0.0.1", 80).await.unwrap_err();
        assert!(matches!(error, ForwardError::NotAllowed));
    }
}
