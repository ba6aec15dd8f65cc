//! Our own `nf_tables` table, `inet weave`, as a value.
//!
//! | chain | does |
//! |---|---|
//! | `control-port` (input) | drops what comes from elsewhere to the control port on loopback |
//! | `pods-out` (nat, postrouting) | masquerades between exposed subnets and everything else |
//! | `overlay-in`, `overlay-out` (raw, prerouting and output) | keep packets between hosts out of conntrack |
//!
//! The rules are those Weave Net had in the iptables chains `INPUT` and `WEAVE` (datapath
//! specification, expose and hide), but for two things: what comes by loopback is told from the rest
//! by its interface, and multicast from pods is an exception as long as its subnet is masqueraded,
//! no longer. Invariant: a packet is decided as there.
//!
//! Packets of the fast overlay have a source port of their own for each flow inside (RFC 7348, 5), so
//! each would be a connection that conntrack never sees an answer to: entries until its table is full,
//! and a third of a microsecond a packet. Frames inside are tracked as ever.
//!
//! The set `bare` has no rule: it is where a daemon that starts finds which addresses were exposed
//! without masquerading.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weave_npc::ruleset::{
    Base, Chain, Comment, Family, Field, Hook, IfName, Name, NatFlags, Rule, Set, Statement, Table,
    TableId, Type, Value, Verdict,
};

use super::wanted::Wanted;

/// What the table is called by.
pub fn id() -> TableId {
    TableId::new(Family::Inet, name("weave"))
}

/// The table that does what is wanted.
pub fn table(wanted: &Wanted) -> Table {
    let mut table = Table::new();
    let mut bare = [Set::of([Type::Ipv4]), Set::of([Type::Ipv6])];
    for address in wanted.bare() {
        match address {
            IpAddr::V4(v4) => bare[0].insert(v4),
            IpAddr::V6(v6) => bare[1].insert(v6),
        };
    }
    let [bare4, bare6] = bare;
    table.add_set(name(BARE4), bare4);
    table.add_set(name(BARE6), bare6);
    if wanted.keep_local {
        let (v4, v6): (Vec<IpNet>, Vec<IpNet>) =
            IpNet::aggregate(&wanted.local).into_iter().partition(is_v4);
        for (set, kind, nets) in [(LOCAL4, Type::Ipv4, v4), (LOCAL6, Type::Ipv6, v6)] {
            let mut local = Set::of([kind]).interval();
            for net in nets {
                local.insert(net);
            }
            table.add_set(name(set), local);
        }
    }
    table.add_chain(name(CONTROL), control_port(wanted));
    table.add_chain(name(OUT), pods_out(wanted));
    if let Some(port) = wanted.untracked {
        for (chain, hook) in [(OVERLAY_IN, Hook::Prerouting), (OVERLAY_OUT, Hook::Output)] {
            let rule = untracked(port, (hook == Hook::Prerouting).then_some(&wanted.bridge));
            let chain_of = Chain::at(Base::filter(hook, RAW));
            table.add_chain(name(chain), chain_of.with(rule));
        }
    }
    table
}

/// Whether `table`, left by an earlier daemon, keeps packets between hosts out of conntrack.
pub fn is_untracked(table: &Table) -> bool {
    table.chains.contains_key(OVERLAY_OUT)
}

/// The addresses that `table`, left by an earlier daemon, says were exposed without masquerading.
pub fn bare(table: &Table) -> BTreeSet<IpAddr> {
    let sets = [BARE4, BARE6]
        .into_iter()
        .filter_map(|set| table.sets.get(set));
    let keys = sets.flat_map(|set| set.elements.keys());
    keys.filter_map(|key| match key.parts().first()?.first() {
        Value::Ipv4(v4) => Some(IpAddr::V4(v4)),
        Value::Ipv6(v6) => Some(IpAddr::V6(v6)),
        _ => None,
    })
    .collect()
}

fn control_port(wanted: &Wanted) -> Chain {
    let chain = Chain::at(Base::filter(Hook::Input, FILTER));
    let Some(control) = wanted.control else {
        return chain;
    };
    let (field, address) = match control.ip() {
        IpAddr::V4(v4) => (Field::Ip4Daddr, Value::from(v4)),
        IpAddr::V6(v6) => (Field::Ip6Daddr, Value::from(v6)),
    };
    let rule = Rule::new()
        .when(Field::IifName.is(interface("lo")).negate())
        .when(field.is(address))
        .when(Field::L4Proto.is(Value::Proto(TCP)))
        .when(Field::DestPort.is(Value::Port(control.port())))
        .counter()
        .verdict(Verdict::Drop)
        .comment(Comment::lossy(
            "Block non-local access to Weave Net control port",
        ));
    chain.with(rule)
}

/// What pods send to that port, by `bridge`, may need translation: it stays tracked.
fn untracked(port: u16, bridge: Option<&String>) -> Rule {
    let mut rule = Rule::new();
    if let Some(bridge) = bridge {
        rule = rule.when(Field::IifName.is(interface(bridge)).negate());
    }
    rule.when(Field::L4Proto.is(Value::Proto(UDP)))
        .when(Field::DestPort.is(Value::Port(port)))
        .then(Statement::NoTrack)
        .comment(Comment::lossy("Packets between hosts are no connections"))
}

fn pods_out(wanted: &Wanted) -> Chain {
    let mut chain = Chain::at(Base::nat(Hook::Postrouting, AFTER_OTHERS));
    if wanted.keep_local {
        for (field, set) in [(Field::Ip4Daddr, LOCAL4), (Field::Ip6Daddr, LOCAL6)] {
            let rule = Rule::new()
                .when(field.in_set(&name(set)))
                .verdict(Verdict::Return)
                .comment(Comment::lossy("Prevent SNAT to locally running containers"));
            chain = chain.with(rule);
        }
    }
    let subnets = wanted.subnets().into_iter();
    for (subnet, _) in subnets.filter(|(_, masquerade)| *masquerade) {
        for rule in masquerade(subnet) {
            chain = chain.with(rule);
        }
    }
    chain
}

/// Out of the subnet and into it, but for multicast.
fn masquerade(subnet: IpNet) -> [Rule; 3] {
    let (source, destination) = match subnet {
        IpNet::V4(_) => (Field::Ip4Saddr, Field::Ip4Daddr),
        IpNet::V6(_) => (Field::Ip6Saddr, Field::Ip6Daddr),
    };
    let hide = || Statement::Masquerade(NatFlags::default());
    [
        Rule::new()
            .when(source.in_net(subnet))
            .when(destination.in_net(multicast(subnet)))
            .verdict(Verdict::Return),
        Rule::new()
            .when(source.in_net(subnet).negate())
            .when(destination.in_net(subnet))
            .counter()
            .then(hide()),
        Rule::new()
            .when(source.in_net(subnet))
            .when(destination.in_net(subnet).negate())
            .counter()
            .then(hide()),
    ]
}

fn multicast(like: IpNet) -> IpNet {
    match like {
        IpNet::V4(_) => IpNet::new_assert(Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        IpNet::V6(_) => IpNet::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    }
}

fn is_v4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

fn name(text: &str) -> Name {
    Name::new(text).expect("invariant: our names are names")
}

fn interface(text: &str) -> Value {
    Value::IfName(IfName::new(text).expect("invariant: our names are interface names"))
}

const CONTROL: &str = "control-port";
const OUT: &str = "pods-out";
const OVERLAY_IN: &str = "overlay-in";
const OVERLAY_OUT: &str = "overlay-out";
const LOCAL4: &str = "local4";
const LOCAL6: &str = "local6";
const BARE4: &str = "bare4";
const BARE6: &str = "bare6";
/// `NF_IP_PRI_FILTER` (`linux/netfilter_ipv4.h`).
const FILTER: i32 = 0;
/// Behind `NF_IP_PRI_NAT_SRC`, 100, where kube-proxy and iptables translate: what they decide stands.
const AFTER_OTHERS: i32 = 110;
/// `NF_IP_PRI_RAW`: ahead of conntrack.
const RAW: i32 = -300;
const TCP: u8 = 6;
const UDP: u8 = 17;

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
