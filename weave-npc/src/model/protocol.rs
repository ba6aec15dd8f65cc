//! Transport protocols, as policies name them and as packets carry them.

use std::fmt;
use std::str::FromStr;

/// A protocol that a policy can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, the default of a port that names no protocol.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All protocols, in the order of their variants.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The protocol's number (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol with the IANA number `number`, if a policy can name it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// Text that is not `TCP`, `UDP` or `SCTP`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol {0:?} is not TCP, UDP or SCTP")]
pub struct ParseProtocolError(String);

impl FromStr for Protocol {
    type Err = ParseProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.to_string() == text)
            .ok_or_else(|| ParseProtocolError(text.to_owned()))
    }
}

/// What a packet carries: a protocol with ports, or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// A protocol with a destination port.
    Port(Protocol, u16),
    /// Another protocol by its IANA number, for example 1 for ICMP. Only rules without ports match
    /// it.
    Other(u8),
}

impl Transport {
    /// Protocol and destination port, if the packet has them.
    pub fn port(self) -> Option<(Protocol, u16)> {
        match self {
            Self::Port(protocol, port) => Some((protocol, port)),
            Self::Other(_) => None,
        }
    }

    /// The IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Port(protocol, _) => protocol.number(),
            Self::Other(number) => number,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(protocol, port) => write!(f, "{port}/{protocol}"),
            Self::Other(1) => f.write_str("ICMP"),
            Self::Other(58) => f.write_str("ICMPv6"),
            Self::Other(number) => write!(f, "protocol {number}"),
        }
    }
}

/// Text that is not a port with a protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {0:?}: write 80, 80/TCP, 53/UDP, 9003/SCTP or icmp")]
pub struct ParseTransportError(String);

impl FromStr for Transport {
    type Err = ParseTransportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseTransportError(text.to_owned());
        if text.eq_ignore_ascii_case("icmp") {
            return Ok(Self::Other(1));
        }
        if text.eq_ignore_ascii_case("icmpv6") {
            return Ok(Self::Other(58));
        }
        let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let protocol = protocol.to_ascii_uppercase().parse().map_err(|_| wrong())?;
        if port == 0 {
            return Err(wrong());
        }
        Ok(Self::Port(protocol, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_reads_back_from_its_text_form() {
        for text in ["80/TCP", "53/UDP", "9003/SCTP", "ICMP", "ICMPv6"] {
            assert_eq!(text.parse::<Transport>().unwrap().to_string(), text);
        }
        assert_eq!("81".parse(), Ok(Transport::Port(Protocol::Tcp, 81)));
        assert_eq!("53/udp".parse(), Ok(Transport::Port(Protocol::Udp, 53)));
    }

    #[test]
    fn nonsense_is_not_a_port() {
        for text in ["", "0", "65536", "80/", "80/XTP", "http"] {
            assert!(text.parse::<Transport>().is_err(), "{text}");
        }
    }
}
