//! The address of a connection's remote end, as gossip carries it: any text, mostly `ip:port`.
//!
//! A topology holds one for each end of each connection that anybody has, so an IPv4 address is
//! kept as its six bytes. Invariant: a text that an IPv4 address and port would be written as is
//! always kept so; equal texts are equal values and come out byte by byte as they went in.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// `ip:port` of the remote end of a connection, `[ip]:port` for IPv6. What a remote gossips may be
/// any text.
///
/// # Example
///
/// ```
/// use weave_mesh::peer::Address;
///
/// let address = Address::from("10.0.0.2:6783");
/// assert_eq!(address.socket(), "10.0.0.2:6783".parse().ok());
/// assert_eq!(Address::from("nonsense").to_string(), "nonsense");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    V4(SocketAddrV4),
    Text(Box<str>),
}

impl Address {
    /// Where it leads to; `None` if the text is no IP address with a port.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match &self.0 {
            Form::V4(address) => Some((*address).into()),
            Form::Text(text) => text.parse().ok(),
        }
    }

    /// Calls `read` with the text.
    pub fn with_text<T>(&self, read: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            Form::V4(address) => read(V4Text::new(*address).as_str()),
            Form::Text(text) => read(text),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => address.into(),
            SocketAddr::V6(address) => Self(Form::Text(address.to_string().into())),
        }
    }
}

impl From<SocketAddrV4> for Address {
    fn from(address: SocketAddrV4) -> Self {
        Self(Form::V4(address))
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        let address = text.parse::<SocketAddrV4>().ok();
        // Only the one way in which it is written again: what comes out is what went in.
        let same = address.filter(|address| V4Text::new(*address).as_str() == text);
        Self(same.map_or_else(|| Form::Text(text.into()), Form::V4))
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| fmt::Debug::fmt(text, f))
    }
}

/// An IPv4 address and port as text, on the stack.
struct V4Text {
    bytes: [u8; MAX_V4],
    len: usize,
}

impl V4Text {
    fn new(address: SocketAddrV4) -> Self {
        let mut text = Self {
            bytes: [0; MAX_V4],
            len: 0,
        };
        let [a, b, c, d] = Ipv4Addr::octets(address.ip());
        for (number, end) in [(a, b'.'), (b, b'.'), (c, b'.'), (d, b':')] {
            text.number(number.into());
            text.push(end);
        }
        text.number(address.port());
        text
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len])
            .expect("invariant: digits, dots and a colon are text")
    }

    fn number(&mut self, number: u16) {
        let mut power = 10_000;
        while power > 1 && number < power {
            power /= 10;
        }
        while power > 0 {
            let digit = (number / power % 10).to_le_bytes()[0];
            self.push(b'0' + digit);
            power /= 10;
        }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

/// Length of `255.255.255.255:65535`.
const MAX_V4: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_out_as_it_went_in() {
        let texts = [
            "10.0.0.2:6783",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "1.20.100.9:10",
            "010.0.0.2:6783",
            "10.0.0.2:06783",
            "10.0.0.2:+6783",
            "10.0.0.2",
            "[fe80::1]:6783",
            "[fe80::1%3]:6783",
            "",
            "pipe",
        ];

        for text in texts {
            let address = Address::from(text);
            assert_eq!(address.to_string(), text);
            assert_eq!(address.socket(), text.parse().ok());
            address.with_text(|inner| assert_eq!(inner, text));
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        for port in (0..=u16::MAX)
            .step_by(7)
            .chain([9, 10, 99, 100, 9999, 10_000, u16::MAX])
        {
            let address = SocketAddrV4::new(Ipv4Addr::from(u32::from(port) * 65_003), port);
            assert_eq!(Address::from(address).to_string(), address.to_string());
            assert_eq!(Address::from(address.to_string()), Address::from(address));
        }
    }

    #[test]
    fn an_address_takes_two_words() {
        assert_eq!(size_of::<Address>(), 16);
    }
}
