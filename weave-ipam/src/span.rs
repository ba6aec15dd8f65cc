//! Half-open intervals of address numbers, the same for IPv4 and IPv6.
//!
//! An address is a number: its distance from the zero address of its family. Rings, spaces and
//! grants reason about numbers only; [`AddressRange`] adds the family where text or wire needs it.
//! Invariant: `start <= end` in every [`Span`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Which kind of address a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// 32-bit addresses.
    V4,
    /// 128-bit addresses.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bits of an address: 32 or 128.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address with this number. Numbers past the family's last address give the last.
    #[must_use]
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            Self::V6 => Ipv6Addr::from(number).into(),
        }
    }
}

/// The number of an address.
#[must_use]
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// `[start, end)`, possibly empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    start: u128,
    end: u128,
}

impl Span {
    /// `[start, end)`, or `None` if it ends before it starts.
    #[must_use]
    pub const fn new(start: u128, end: u128) -> Option<Self> {
        if start <= end {
            Some(Self { start, end })
        } else {
            None
        }
    }

    /// `[start, end)` where the caller has ordered the two; empty at `start` otherwise.
    pub(crate) fn between(start: u128, end: u128) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// The one address with this number. The number of the very last IPv6 address gives an empty
    /// span, since its end cannot be expressed.
    #[must_use]
    pub const fn single(number: u128) -> Self {
        Self {
            start: number,
            end: number.saturating_add(1),
        }
    }

    /// First number inside.
    #[must_use]
    pub const fn start(self) -> u128 {
        self.start
    }

    /// First number after it.
    #[must_use]
    pub const fn end(self) -> u128 {
        self.end
    }

    /// How many addresses it holds.
    #[must_use]
    pub const fn size(self) -> u128 {
        self.end - self.start
    }

    /// Whether it holds no address.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether the number lies inside.
    #[must_use]
    pub const fn contains(self, number: u128) -> bool {
        self.start <= number && number < self.end
    }

    /// Whether all of `other` lies inside.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The part both have in common; `None` if there is none.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }

    /// The largest block of a power of two addresses, aligned to its size, inside this span.
    /// Empty for an empty span. Weave Net IPAM description, section "donation".
    #[must_use]
    pub fn largest_block(self) -> Self {
        let Some(log) = self.size().checked_ilog2() else {
            return self;
        };
        let (s, m) = (self.start, 1_u128 << log);
        let (o, x) = (s % m, self.size() % m);
        let half = m / 2;
        let block = |offset: u128, size: u128| Self {
            start: s + offset,
            end: s + offset + size,
        };
        if o == 0 {
            block(0, m)
        } else if m - o <= x {
            block(m - o, m)
        } else if half >= o {
            block(half - o, half)
        } else {
            block(m - o, half)
        }
    }
}

/// Joins spans that touch or overlap. The input must be sorted by start.
#[must_use]
pub fn coalesce(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ if span.is_empty() => {}
            _ => joined.push(span),
        }
    }
    joined
}

/// What lies in `from` but not in `cuts`. Both must be ascending and free of overlaps.
pub(crate) fn difference(from: &[Span], cuts: &[Span]) -> Vec<Span> {
    let mut rest = Vec::new();
    let mut cuts = cuts.iter().copied().peekable();
    for span in from {
        let mut start = span.start;
        while start < span.end {
            while cuts.next_if(|cut| cut.end <= start).is_some() {}
            let cut = cuts.peek().filter(|cut| cut.start < span.end);
            let stop = cut.map_or(span.end, |cut| cut.start.max(start));
            if start < stop {
                rest.push(Span { start, end: stop });
            }
            start = cut.map_or(span.end, |cut| cut.end);
        }
    }
    rest
}

/// A span together with the family its numbers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// What kind of addresses.
    pub family: Family,
    /// Which of them.
    pub span: Span,
}

impl AddressRange {
    /// All addresses of a network, its first and last included.
    ///
    /// The last address of the IPv6 address space is left out: the end after it has no number.
    #[must_use]
    pub fn of(network: IpNet) -> Self {
        let start = number(network.network());
        let end = number(network.broadcast()).saturating_add(1);
        Self {
            family: Family::of(network.addr()),
            span: Span { start, end },
        }
    }

    /// The network this range is, if it is one.
    #[must_use]
    pub fn network(self) -> Option<IpNet> {
        let size = self.span.size();
        if !size.is_power_of_two() || !self.span.start.is_multiple_of(size) {
            return None;
        }
        let host_bits = u8::try_from(size.ilog2()).ok()?;
        network(
            self.family,
            self.span.start,
            self.family.bits().checked_sub(host_bits)?,
        )
    }

    /// The fewest networks that cover exactly this range, in ascending order.
    #[must_use]
    pub fn networks(self) -> Vec<IpNet> {
        let mut list = Vec::new();
        let mut rest = self.span;
        while !rest.is_empty() {
            let fit = rest.size().ilog2();
            let bits = fit.min(rest.start.trailing_zeros());
            let piece = Span {
                start: rest.start,
                end: rest.start + (1 << bits),
            };
            list.extend(
                Self {
                    family: self.family,
                    span: piece,
                }
                .network(),
            );
            rest.start = piece.end;
        }
        list
    }
}

impl fmt::Display for AddressRange {
    /// A network in CIDR notation if it is one, else first and last address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = self.network() {
            return write!(f, "{network}");
        }
        let first = self.family.address(self.span.start);
        let last = self.family.address(self.span.end.saturating_sub(1));
        write!(f, "{first}-{last}")
    }
}

fn network(family: Family, start: u128, prefix: u8) -> Option<IpNet> {
    match family.address(start) {
        IpAddr::V4(address) => Ipv4Net::new(address, prefix).ok().map(IpNet::from),
        IpAddr::V6(address) => Ipv6Net::new(address, prefix).ok().map(IpNet::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u128, end: u128) -> Span {
        Span::new(start, end).unwrap()
    }

    #[test]
    fn subtracting_leaves_the_gaps_between_the_cuts() {
        let cuts = [span(0, 10), span(20, 30), span(90, 200)];

        let rest = difference(&[span(0, 100), span(150, 210), span(300, 301)], &cuts);

        assert_eq!(
            rest,
            [span(10, 20), span(30, 90), span(200, 210), span(300, 301)]
        );
    }

    #[test]
    fn a_range_prints_as_a_network_only_if_it_is_one() {
        let print = |start, end| {
            AddressRange {
                family: Family::V4,
                span: span(start, end),
            }
            .to_string()
        };

        assert_eq!(print(0x0a00_0000, 0x0a00_0100), "10.0.0.0/24");
        assert_eq!(print(0x0a00_0001, 0x0a00_0101), "10.0.0.1-10.0.1.0");
    }

    #[test]
    fn the_whole_of_either_family_can_be_expressed() {
        let v4 = AddressRange::of("0.0.0.0/0".parse().unwrap());
        let v6 = AddressRange::of("fd00::/8".parse().unwrap());

        assert_eq!(v4.network(), Some("0.0.0.0/0".parse().unwrap()));
        assert_eq!(v6.to_string(), "fd00::/8");
    }
}
