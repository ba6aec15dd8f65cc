use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value as Json;
use weave_npc::ruleset::{Deed, Fate, Hook, Packet, Ruleset, Transport, Walk};

use super::*;

/// The rules of `chain` that Weave Net had in the recorded configuration `case`, as words.
fn recorded(case: &str, chain: &str) -> Vec<Vec<String>> {
    let text = include_str!("../../../tests/vectors/host_iptables.json");
    let all: Json = serde_json::from_str(text).unwrap();
    let cases = all["cases"].as_array().unwrap();
    let found = cases.iter().find(|one| one["id"] == case).unwrap();
    let lines = found["rules"].as_array().unwrap().iter();
    let start = format!("-A {chain} ");
    lines
        .filter_map(|line| line.as_str()?.strip_prefix(&start))
        .map(|rule| rule.split(' ').map(str::to_owned).collect())
        .collect()
}

/// Whether the recorded rules masquerade a packet; `local` is what their set held.
fn old_masquerades(rules: &[Vec<String>], from: Ipv4Addr, to: Ipv4Addr, local: &[IpNet]) -> bool {
    for rule in rules {
        let mut words = rule.iter().map(String::as_str);
        let (mut holds, mut negated) = (true, false);
        while let Some(word) = words.next() {
            let mut in_net = |address: Ipv4Addr| {
                let net: ipnet::Ipv4Net = words.next().unwrap().parse().unwrap();
                net.contains(&address)
            };
            match word {
                "!" => {
                    negated = true;
                    continue;
                }
                "-s" => holds &= in_net(from) != negated,
                "-d" => holds &= in_net(to) != negated,
                "--match-set" => {
                    let found = local.iter().any(|net| net.contains(&IpAddr::V4(to)));
                    holds &= found != negated;
                }
                "-j" if holds => return words.next() == Some("MASQUERADE"),
                _ => {}
            }
            negated = false;
        }
    }
    false
}

fn masquerades(wanted: &Wanted, from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> bool {
    let rules = Ruleset::new().with(id(), table(wanted));
    rules.check().unwrap();
    let packet = Packet::new(from.into(), to.into(), 6, Transport::Ports(40000, 80));
    let outcome = Walk::new(&rules).run(Hook::Postrouting, &packet);
    assert_eq!(outcome.fate, Fate::Accept);
    outcome
        .steps
        .iter()
        .any(|step| step.deed == Deed::Masqueraded)
}

/// What a daemon wants in the recorded configuration `case`.
fn wanted(case: &str) -> Wanted {
    let mut wanted = Wanted::new("weave");
    let exposed = match case {
        "docker" | "npc" => Some(true),
        "skipnat" => Some(false),
        _ => None,
    };
    let address = "10.32.0.1/12".parse().unwrap();
    wanted
        .exposed
        .extend(exposed.map(|masquerade| (address, masquerade)));
    if case == "npc" {
        wanted.keep_local = true;
        wanted.local = vec!["10.32.0.0/14".parse().unwrap()];
    }
    wanted
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    let known = [
        "10.32.0.5",
        "10.36.0.9",
        "10.47.255.255",
        "10.48.0.0",
        "224.0.0.251",
        "8.8.8.8",
    ];
    prop_oneof![
        select(known.map(|text| text.parse().unwrap()).to_vec()),
        any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

proptest! {
    #[test]
    fn a_packet_is_masqueraded_as_by_the_recorded_rules(
        case in select(vec!["plain", "docker", "npc", "skipnat"]), from in address(), to in address(),
    ) {
        let wanted = wanted(case);

        let old = old_masquerades(&recorded(case, "WEAVE"), from, to, &wanted.local);

        prop_assert_eq!(masquerades(&wanted, from, to), old, "{} {} {}", case, from, to);
    }
}

#[test]
fn ipv6_packets_are_masqueraded_as_ipv4_ones() {
    let mut wanted = wanted("docker");
    wanted
        .exposed
        .insert("fd00:32::1/64".parse().unwrap(), true);
    let hidden = |wanted: &Wanted, from: &str, to: &str| {
        let [from, to] = [from, to].map(|text| text.parse::<IpAddr>().unwrap());
        masquerades(wanted, from, to)
    };
    for (from, to, expected) in [
        ("fd00:32::5", "2001:db8::1", true),
        ("2001:db8::1", "fd00:32::5", true),
        ("fd00:32::5", "fd00:32::9", false),
        ("fd00:32::5", "ff05::fb", false),
        ("fe80::5", "ff02::fb", false),
        ("2001:db8::1", "2001:db8::2", false),
        ("10.32.0.5", "8.8.8.8", true),
    ] {
        assert_eq!(hidden(&wanted, from, to), expected, "{from} {to}");
    }
    wanted.keep_local = true;
    wanted.local = vec!["fd00:32::/65".parse().unwrap()];
    assert!(!hidden(&wanted, "2001:db8::1", "fd00:32::5"));
    assert!(hidden(&wanted, "2001:db8::1", "fd00:32:0:0:8000::5"));

    wanted.exposed.remove(&"fd00:32::1/64".parse().unwrap());
    assert!(!hidden(&wanted, "fd00:32::5", "2001:db8::1"));
    assert!(hidden(&wanted, "10.32.0.5", "8.8.8.8"));
}

#[test]
fn hiding_the_last_address_leaves_no_rule() {
    let mut wanted = wanted("docker");
    let chain = |wanted: &Wanted| table(wanted).chains[OUT].rules.len();
    assert_eq!(chain(&wanted), 3);
    // Weave Net took all rules of the subnet away with the first address.
    wanted.exposed.insert("10.32.0.2/12".parse().unwrap(), true);
    assert_eq!(chain(&wanted), 3);

    wanted.exposed.remove(&"10.32.0.1/12".parse().unwrap());
    assert_eq!(chain(&wanted), 3);
    wanted.exposed.clear();

    assert_eq!(chain(&wanted), 0);
}

#[test]
fn the_control_port_is_reached_by_loopback_only() {
    let mut wanted = wanted("plain");
    wanted.control = Some("127.0.0.1:6784".parse().unwrap());
    let rules = Ruleset::new().with(id(), table(&wanted));
    rules.check().unwrap();
    let fate = |device: &str, port: u16, to: &str| {
        let source = "192.168.1.9".parse().unwrap();
        let mut packet = Packet::new(source, to.parse().unwrap(), 6, Transport::Ports(1, port));
        packet.iif = Some(IfName::new(device).unwrap());
        Walk::new(&rules).run(Hook::Input, &packet).fate
    };

    assert_eq!(fate("eth0", 6784, "127.0.0.1"), Fate::Drop);
    assert_eq!(fate("weave", 6784, "127.0.0.1"), Fate::Drop);
    assert_eq!(fate("lo", 6784, "127.0.0.1"), Fate::Accept);
    assert_eq!(fate("eth0", 6783, "127.0.0.1"), Fate::Accept);
    assert_eq!(fate("eth0", 6784, "192.168.1.1"), Fate::Accept);
}

#[test]
fn what_was_exposed_without_masquerading_is_found_again() {
    let mut wanted = wanted("skipnat");
    wanted.exposed.insert("fd00::1/64".parse().unwrap(), false);
    wanted.exposed.insert("10.2.1.1/24".parse().unwrap(), true);

    let found = bare(&table(&wanted));

    assert_eq!(found, wanted.bare());
    assert_eq!(found.len(), 2);
}

#[test]
fn overlapping_places_of_pods_are_one_set() {
    let mut wanted = wanted("npc");
    wanted.local.push("10.33.0.7/32".parse().unwrap());
    wanted.local.push("10.36.0.0/14".parse().unwrap());

    let rules = Ruleset::new().with(id(), table(&wanted));

    rules.check().unwrap();
    let local = &rules.tables[&id()].sets[LOCAL4];
    assert_eq!(local.elements.len(), 1);
}

#[test]
fn packets_between_hosts_are_no_connections() {
    let mut wanted = wanted("docker");
    wanted.untracked = Some(6784);
    let rules = Ruleset::new().with(id(), table(&wanted));
    rules.check().unwrap();
    let is_untracked = |hook, device: &str, protocol, port| {
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let transport = Transport::Ports(40000, port);
        let mut packet = Packet::new(addresses[0], addresses[1], protocol, transport);
        packet.iif = Some(IfName::new(device).unwrap());
        let outcome = Walk::new(&rules).run(hook, &packet);
        outcome
            .steps
            .iter()
            .any(|step| step.deed == Deed::Untracked)
    };

    assert!(is_untracked(Hook::Prerouting, "eth0", 17, 6784));
    assert!(is_untracked(Hook::Output, "eth0", 17, 6784));
    // Sleeve hears answers on the port it sends from: the host's rules may count on that.
    assert!(!is_untracked(Hook::Prerouting, "eth0", 17, 6783));
    assert!(!is_untracked(Hook::Prerouting, "eth0", 6, 6784));
    // A pod that talks to such a port elsewhere is translated.
    assert!(!is_untracked(Hook::Prerouting, "weave", 17, 6784));
    assert!(super::is_untracked(&table(&wanted)));
    wanted.untracked = None;
    assert!(!super::is_untracked(&table(&wanted)));
}
