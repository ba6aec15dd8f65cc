//! The address of a peer as people write it: `host[:port]`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A host and, if it was given, a port. The host is resolved when it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    host: String,
    port: Option<u16>,
}

impl PeerAddress {
    /// The host name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, unless it was left out.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The socket address, if the host is an IP address; `port` is used if none was given.
    #[must_use]
    pub fn literal(&self, port: u16) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port.unwrap_or(port)))
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    /// Splits at the colon; an IPv6 address has to be in brackets.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        split(text).ok_or_else(|| AddressError(text.to_owned()))
    }
}

/// Not of the form `host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid peer name \"{0}\", should be host[:port]")]
pub struct AddressError(String);

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ipv6 = self.host.contains(':');
        match (self.port, is_ipv6) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, true) => write!(f, "[{}]", self.host),
            (None, false) => f.write_str(&self.host),
        }
    }
}

fn split(text: &str) -> Option<PeerAddress> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        let port = if rest.is_empty() {
            None
        } else {
            Some(rest.strip_prefix(':')?)
        };
        (host, port)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
    if host.is_empty() || !host.chars().all(is_plain) || text.len() > MAX_LENGTH {
        return None;
    }
    // Port 0 is how Weave Net remembers that none was given.
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok()?).filter(|port| *port != 0),
        None => None,
    };
    Some(PeerAddress {
        host: host.to_owned(),
        port,
    })
}

/// Longest domain name, two brackets and a port.
const MAX_LENGTH: usize = 253 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_split() {
        for (text, host, port) in [
            ("10.0.0.1", "10.0.0.1", None),
            ("10.0.0.1:6790", "10.0.0.1", Some(6790)),
            ("node-1.example", "node-1.example", None),
            ("node-1:1", "node-1", Some(1)),
            ("node-1:0", "node-1", None),
            ("[::1]:6783", "::1", Some(6783)),
            ("[fd00::2]", "fd00::2", None),
        ] {
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in [
            "",
            ":6783",
            "::1",
            "a:b:c",
            "a:port",
            "a:65536",
            "[x]:1",
            "[::1]6783",
            "a b",
        ] {
            let error = text.parse::<PeerAddress>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid peer name \"{text}\", should be host[:port]")
            );
        }
    }

    #[test]
    fn ip_addresses_need_no_resolution() {
        let literal = |text: &str| text.parse::<PeerAddress>().unwrap().literal(6783);

        assert_eq!(literal("10.0.0.1"), Some("10.0.0.1:6783".parse().unwrap()));
        assert_eq!(literal("[::1]:5"), Some("[::1]:5".parse().unwrap()));
        assert_eq!(literal("host"), None);
    }

    #[test]
    fn display_reads_back() {
        for text in ["host", "host:1", "[::1]", "[::1]:2"] {
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }
}
