//! Sets of addresses of one family, and the boxes they make with ports.
//!
//! Invariant: ranges are sorted, disjoint and not adjacent. The kernel's concatenated sets refuse
//! overlapping elements, or take them depending on the order; what comes out here never overlaps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::family::Family;
use super::ports::PortSet;
use crate::model::Block;

/// Addresses of one family as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    /// The addresses of `net`.
    pub(super) fn of_net(net: IpNet) -> Self {
        Self(vec![(number(net.network()), number(net.broadcast()))])
    }

    /// The addresses of `block`: its network without its holes.
    pub(super) fn of_block(block: &Block) -> Self {
        let holes = Self::union(block.except.iter().map(|hole| Self::of_net(*hole)));
        let mut kept = Vec::new();
        let (mut next, last) = (number(block.cidr.network()), number(block.cidr.broadcast()));
        for (from, to) in holes.0 {
            if next < from {
                kept.push((next, from - 1));
            }
            let Some(behind) = to.checked_add(1) else {
                return Self(kept);
            };
            next = behind;
        }
        if next <= last {
            kept.push((next, last));
        }
        Self(kept)
    }

    /// The addresses of any of `parts`.
    pub(super) fn union(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all: Vec<(u128, u128)> = parts.into_iter().flat_map(|part| part.0).collect();
        all.sort_unstable();
        let mut union = Vec::<(u128, u128)>::new();
        for (from, to) in all {
            match union.last_mut() {
                Some((_, end)) if end.checked_add(1).is_none_or(|next| from <= next) => {
                    *end = to.max(*end);
                }
                _ => union.push((from, to)),
            }
        }
        Self(union)
    }

    /// True if there is no address.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().copied()
    }

    /// True if `address` is among them.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let number = number(address);
        let at = self.0.partition_point(|&(_, to)| to < number);
        self.0.get(at).is_some_and(|&(from, _)| from <= number)
    }

    /// The one network that these addresses are, if they are one.
    pub(super) fn as_net(&self, family: Family) -> Option<IpNet> {
        let [(from, to)] = self.0.as_slice() else {
            return None;
        };
        let size = u8::try_from((from ^ to).count_ones()).ok()?;
        let net = IpNet::new(family.address(*from), family.bits() - size)
            .ok()?
            .trunc();
        (Self::of_net(net) == *self).then_some(net)
    }
}

/// A range of addresses with the ports that are meant there.
pub(super) type Box = ((u128, u128), PortSet);

/// Cuts overlapping products of addresses and ports into disjoint ones that mean the same.
pub(super) fn disjoint<'a>(parts: impl IntoIterator<Item = (&'a Ranges, &'a PortSet)>) -> Vec<Box> {
    let parts: Vec<_> = parts.into_iter().collect();
    // At each boundary, which parts begin and which end there.
    let mut edges: BTreeMap<u128, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (index, (ranges, _)) in parts.iter().enumerate() {
        for (from, to) in ranges.iter() {
            edges.entry(from).or_default().0.push(index);
            if let Some(behind) = to.checked_add(1) {
                edges.entry(behind).or_default().1.push(index);
            }
        }
    }
    let mut boxes: Vec<Box> = Vec::new();
    let mut active: BTreeSet<usize> = BTreeSet::new();
    let starts: Vec<u128> = edges.keys().copied().collect();
    for (position, (start, (begin, end))) in edges.iter().enumerate() {
        for index in end {
            active.remove(index);
        }
        active.extend(begin);
        let mut ports = PortSet::default();
        for index in &active {
            ports.join(parts[*index].1);
        }
        let last = starts.get(position + 1).map_or(u128::MAX, |next| next - 1);
        if ports.is_empty() {
            continue;
        }
        match boxes.last_mut() {
            Some(((_, to), before)) if *to + 1 == *start && *before == ports => *to = last,
            _ => boxes.push(((*start, last), ports)),
        }
    }
    boxes
}

/// The address as a number.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(u32::from(four)),
        IpAddr::V6(six) => u128::from(six),
    }
}

impl Family {
    /// The address with this number.
    pub(super) fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                IpAddr::V4(Ipv4Addr::from(number))
            }
            Self::V6 => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn block(cidr: &str, except: &[&str]) -> Ranges {
        Ranges::of_block(&Block {
            cidr: cidr.parse().unwrap(),
            except: except.iter().map(|text| text.parse().unwrap()).collect(),
        })
    }

    fn text(ranges: &Ranges) -> Vec<String> {
        let show = |(from, to)| format!("{}-{}", Family::V4.address(from), Family::V4.address(to));
        ranges.iter().map(show).collect()
    }

    #[test]
    fn holes_are_cut_out_also_at_the_edges() {
        let ranges = block(
            "10.0.0.0/24",
            &["10.0.0.0/28", "10.0.0.64/26", "10.0.0.255/32"],
        );

        assert_eq!(
            text(&ranges),
            ["10.0.0.16-10.0.0.63", "10.0.0.128-10.0.0.254"]
        );
        assert!(block("0.0.0.0/0", &["0.0.0.0/1", "128.0.0.0/1"]).is_empty());
        assert!(block("::/0", &["::/1", "8000::/1"]).is_empty());
    }

    #[test]
    fn a_hole_of_one_block_is_filled_by_another() {
        let parts = [
            block("10.0.0.0/24", &["10.0.0.64/26"]),
            block("10.0.0.0/25", &[]),
        ];
        let ranges = Ranges::union(parts);

        assert_eq!(
            ranges.as_net(Family::V4),
            Some("10.0.0.0/24".parse().unwrap())
        );
        assert!(ranges.contains([10, 0, 0, 70].into()));
        assert!(!ranges.contains([10, 0, 1, 0].into()));
    }

    #[test]
    fn only_a_network_is_a_network() {
        assert_eq!(
            block("10.0.0.0/31", &[]).as_net(Family::V4),
            Some("10.0.0.0/31".parse().unwrap())
        );
        assert_eq!(
            block("::/0", &[]).as_net(Family::V6),
            Some("::/0".parse().unwrap())
        );
        assert_eq!(
            block("10.0.0.0/30", &["10.0.0.0/32"]).as_net(Family::V4),
            None
        );
        let middle = Ranges::union([block("10.0.0.1/32", &[]), block("10.0.0.2/32", &[])]);
        assert_eq!(middle.as_net(Family::V4), None);
    }

    #[test]
    fn overlapping_boxes_are_cut_apart_and_joined_where_equal() {
        let tcp = |port| {
            let mut ports = PortSet::default();
            ports.add(Protocol::Tcp, port, port);
            ports
        };
        let (wide, narrow) = (block("10.0.0.0/24", &[]), block("10.0.0.128/25", &[]));

        let boxes = disjoint([(&wide, &tcp(80)), (&narrow, &tcp(81))]);

        assert_eq!(boxes.len(), 2);
        let mut both = tcp(80);
        both.join(&tcp(81));
        assert_eq!(boxes[1].1, both);
        assert_eq!(disjoint([(&wide, &tcp(80)), (&narrow, &tcp(80))]).len(), 1);
    }
}
