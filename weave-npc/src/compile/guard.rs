//! The source guard: what a pod sends carries its own addresses.
//!
//! Policies speak of addresses, so an address must not be borrowed. The guard is a table of its own
//! at the bridge, before everything else, where the port is still known: a frame that comes in by a
//! guarded port needs the MAC and IP address that belong there, also in ARP. Of link-local IPv6
//! only what finds neighbours and groups passes; router advertisements do not.
//!
//! Invariant: a frame from a port that is not guarded is not looked at.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::canon::fixed;
use super::family::Family;
use crate::ruleset::{
    Base, Chain, Family as TableFamily, Field, Hook, IfName, Key, Match, Name, Policy, Rule, Set,
    SetRef, Span, Table, TableId, Type, Value, Verdict,
};

/// A port of the bridge and what belongs behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardedPort {
    /// The bridge's end of the pod's cable.
    pub port: IfName,
    /// The pod's MAC address.
    pub ether: [u8; 6],
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
}

impl GuardedPort {
    /// A port with the MAC address behind it.
    pub fn new(port: IfName, ether: [u8; 6], addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            port,
            ether,
            addresses: addresses.into_iter().collect(),
        }
    }
}

/// The table that guards `ports`.
///
/// ```
/// use weave_npc::compile::{GuardedPort, guard};
/// use weave_npc::ruleset::{IfName, Ruleset};
///
/// let port = IfName::new("vethwepl1")?;
/// let (id, table) = guard([GuardedPort::new(port, [2, 0, 0, 0, 0, 1], [[10, 32, 0, 1].into()])]);
/// let ruleset = Ruleset::new().with(id, table);
///
/// assert!(ruleset.check().is_ok());
/// assert!(ruleset.to_string().contains("table bridge weave-guard"));
/// # Ok::<(), weave_npc::ruleset::NameError>(())
/// ```
pub fn guard(ports: impl IntoIterator<Item = GuardedPort>) -> (TableId, Table) {
    let (guarded, macs) = (fixed("ports"), fixed("macs"));
    let (own4, own6) = (fixed("own4"), fixed("own6"));
    let mut port_set = Set::of([Type::IfName]);
    let mut mac_set = Set::of([Type::IfName, Type::Ether]);
    let mut sets = Family::BOTH.map(|family| Set::of([Type::IfName, Type::Ether, family.kind()]));
    for entry in ports {
        let (port, ether) = (Value::IfName(entry.port), Value::Ether(entry.ether));
        port_set.insert(port);
        mac_set.insert(Key::concat([port.into(), ether.into()]));
        for address in entry.addresses {
            let set = &mut sets[usize::from(address.is_ipv6())];
            set.insert(Key::concat([
                port.into(),
                ether.into(),
                Value::from(address).into(),
            ]));
        }
    }
    let mut table = Table::new();
    let [four, six] = sets;
    table.add_set(guarded.clone(), port_set);
    table.add_set(macs.clone(), mac_set);
    table.add_set(own4.clone(), four);
    table.add_set(own6.clone(), six);
    table.add_chain(fixed("prerouting"), chain(&guarded, &macs, &own4, &own6));
    (
        TableId::new(TableFamily::Bridge, fixed("weave-guard")),
        table,
    )
}

/// The ports that a table of [`guard`], read back from the kernel perhaps, guards. A port without a
/// MAC address is left out.
pub fn guarded_in(table: &Table) -> Vec<GuardedPort> {
    let mut ports: BTreeMap<IfName, GuardedPort> = BTreeMap::new();
    let keys = |name: &str| {
        let set = table.sets.get(name);
        set.into_iter().flat_map(|set| set.elements.keys())
    };
    for key in keys("macs") {
        let values: Vec<Value> = key.parts().iter().map(Span::first).collect();
        if let [Value::IfName(port), Value::Ether(ether)] = *values.as_slice() {
            ports.insert(port, GuardedPort::new(port, ether, []));
        }
    }
    for key in keys("own4").chain(keys("own6")) {
        let values: Vec<Value> = key.parts().iter().map(Span::first).collect();
        let [Value::IfName(port), Value::Ether(_), address] = *values.as_slice() else {
            continue;
        };
        let address = match address {
            Value::Ipv4(address) => IpAddr::from(address),
            Value::Ipv6(address) => IpAddr::from(address),
            _ => continue,
        };
        if let Some(entry) = ports.get_mut(&port) {
            entry.addresses.push(address);
        }
    }
    ports.into_values().collect()
}

fn chain(guarded: &Name, macs: &Name, own4: &Name, own6: &Name) -> Chain {
    let within = |fields: &[Field], set: &Name| {
        Match::concat(fields.iter().copied(), SetRef::Named(set.clone()))
    };
    let accept = |rule: Rule| rule.verdict(Verdict::Accept);
    let sender = [Field::IifName, Field::EtherSaddr];
    let no_address = Value::Ipv4(Ipv4Addr::UNSPECIFIED);
    let base = Base::filter(Hook::Prerouting, PRIORITY).policy(Policy::Accept);
    Chain::at(base)
        .with(accept(
            Rule::new().when(Field::IifName.in_set(guarded).negate()),
        ))
        .with(accept(Rule::new().when(within(
            &[Field::IifName, Field::EtherSaddr, Field::Ip4Saddr],
            own4,
        ))))
        .with(accept(Rule::new().when(within(
            &[Field::IifName, Field::EtherSaddr, Field::Ip6Saddr],
            own6,
        ))))
        .with(accept(Rule::new().when(within(
            &[Field::IifName, Field::ArpSaddrEther, Field::ArpSaddrIp],
            own4,
        ))))
        // Who asks whether an address is free has none yet (RFC 5227).
        .with(accept(
            Rule::new()
                .when(within(&[Field::IifName, Field::ArpSaddrEther], macs))
                .when(Field::ArpSaddrIp.is(no_address)),
        ))
        .with(accept(
            Rule::new()
                .when(within(&sender, macs))
                .when(Field::Ip6Saddr.one_of(unowned()))
                .when(Field::Icmpv6Type.one_of(NEIGHBOUR_TYPES.map(Value::Icmpv6))),
        ))
        .with(Rule::new().counter().verdict(Verdict::Drop))
}

/// IPv6 sources that no policy names: link-local ones, and none.
fn unowned() -> [ipnet::IpNet; 2] {
    ["fe80::/10", "::/128"].map(|net| net.parse().expect("invariant: a network of this file"))
}

/// Before `dstnat` of the bridge family (-300 in `linux/netfilter_bridge.h`): nothing has changed
/// the frame.
const PRIORITY: i32 = -300;
/// Solicitations and advertisements of neighbours, solicitations of routers (RFC 4861), reports and
/// ends of group membership (RFC 2710, RFC 3810).
const NEIGHBOUR_TYPES: [u8; 6] = [131, 132, 133, 135, 136, 143];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{Fate, Packet, Payload, Ruleset, Transport, Walk};

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn passes(port: &str, ether: [u8; 6], mut packet: Packet) -> bool {
        let name = |text| IfName::new(text).unwrap();
        let addresses = ["10.32.0.1", "fd00::1"].map(|text| text.parse().unwrap());
        let (id, table) = guard([GuardedPort::new(name("pod1"), OWN, addresses)]);
        let ruleset = Ruleset::new().with(id, table);
        ruleset.check().unwrap();
        packet.iif = Some(name(port));
        packet.ether = Some((ether, [0xff; 6]));
        Walk::new(&ruleset)
            .run_bridge(Hook::Prerouting, &packet)
            .fate
            == Fate::Accept
    }

    fn ip(source: &str, destination: &str) -> Packet {
        let [source, destination] = [source, destination].map(|text| text.parse().unwrap());
        Packet::new(source, destination, 6, Transport::Ports(1, 2))
    }

    fn icmp6(source: &str, kind: u8) -> Packet {
        let [source, destination] = [source, "ff02::1"].map(|text| text.parse().unwrap());
        Packet::new(source, destination, 58, Transport::Icmp(kind))
    }

    fn arp(ether: [u8; 6], address: [u8; 4]) -> Packet {
        Packet::carrying(Payload::Arp {
            operation: 1,
            ether,
            address: address.into(),
        })
    }

    #[test]
    fn a_pod_sends_with_its_own_addresses() {
        assert!(passes("pod1", OWN, ip("10.32.0.1", "10.32.0.9")));
        assert!(passes("pod1", OWN, ip("fd00::1", "fd00::9")));
        assert!(passes("pod1", OWN, arp(OWN, [10, 32, 0, 1])));
        assert!(passes("pod1", OWN, arp(OWN, [0, 0, 0, 0])));
        assert!(passes("pod1", OWN, icmp6("fe80::1", 135)));
        assert!(passes("pod1", OWN, icmp6("::", 135)));
    }

    #[test]
    fn borrowed_addresses_are_dropped() {
        assert!(!passes("pod1", OWN, ip("10.32.0.2", "10.32.0.9")));
        assert!(!passes("pod1", OTHER, ip("10.32.0.1", "10.32.0.9")));
        assert!(!passes("pod1", OWN, ip("fd00::2", "fd00::9")));
        assert!(!passes("pod1", OWN, ip("fe80::1", "fe80::2")));
        assert!(!passes("pod1", OWN, arp(OWN, [10, 32, 0, 2])));
        assert!(!passes("pod1", OWN, arp(OTHER, [10, 32, 0, 1])));
        assert!(
            !passes("pod1", OWN, icmp6("fe80::1", 134)),
            "router advertisement"
        );
        assert!(!passes("pod1", OTHER, icmp6("fe80::1", 135)));
        assert!(!passes(
            "pod1",
            OWN,
            Packet::carrying(Payload::Other(0x88cc))
        ));
    }

    #[test]
    fn the_ports_are_read_out_of_the_table_again() {
        let port = |name, ether, addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| text.parse().unwrap());
            GuardedPort::new(IfName::new(name).unwrap(), ether, addresses)
        };
        let ports = vec![
            port("pod1", OWN, &["10.32.0.1", "fd00::1"]),
            port("pod2", OTHER, &["10.32.0.2"]),
        ];

        assert_eq!(guarded_in(&guard(ports.clone()).1), ports);
        assert_eq!(guarded_in(&Table::new()), []);
    }

    #[test]
    fn other_ports_are_left_alone() {
        assert!(passes("other", OTHER, ip("10.32.0.1", "10.32.0.9")));
        assert!(passes("other", OTHER, icmp6("fe80::1", 134)));
    }
}
