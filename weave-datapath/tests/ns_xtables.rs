//! Legacy tables of a real kernel, made and looked at with the program `iptables-legacy`.

#![cfg(feature = "netlink")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod scratch;

use std::process::Command;

use scratch::Scratch;
use weave_datapath::xtables::{self, Accept, Interface, Protocol, Tables};

/// The output of the program for `protocol` with `words`, inside.
fn iptables(host: &Scratch, protocol: Protocol, words: &str) -> String {
    let run = || {
        Command::new(program(protocol))
            .args(words.split_whitespace())
            .output()
    };
    let output = host.namespace.run(run).unwrap().unwrap();
    assert!(
        output.status.success(),
        "{words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

const fn program(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Ipv4 => "iptables-legacy",
        Protocol::Ipv6 => "ip6tables-legacy",
    }
}

fn has_program(protocol: Protocol) -> bool {
    let program = program(protocol);
    let found = Command::new(program).arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: needs the program {program}");
    }
    found
}

fn names(host: &Scratch, protocol: Protocol) -> Vec<String> {
    host.namespace.run(|| xtables::names(protocol)).unwrap()
}

fn tables(host: &Scratch, protocol: Protocol) -> Tables {
    host.namespace
        .run(|| Tables::open(protocol))
        .unwrap()
        .unwrap()
}

fn accepts(destination: &str) -> [Accept; 3] {
    let accept = |input, output| Accept {
        input,
        output,
        destination: None,
        replies: false,
        comment: "weave".to_owned(),
    };
    let weave = || Some(Interface::is("weave"));
    [
        accept(weave(), Some(Interface::is_not("weave"))),
        Accept {
            destination: Some(destination.parse().unwrap()),
            ..accept(None, weave())
        },
        Accept {
            replies: true,
            ..accept(None, weave())
        },
    ]
}

/// Rules go in front, those of others and their counters stay. `others` is a source, `subnet` ours.
fn rules_are_added_in_front(protocol: Protocol, others: &str, subnet: &str) {
    if !scratch::root() || !has_program(protocol) {
        return;
    }
    let host = Scratch::new("xt-add");
    assert_eq!(names(&host, protocol), [""; 0]);
    for words in [
        "-P FORWARD DROP",
        "-N OTHER",
        "-A OTHER -p tcp -m tcp --dport 80 -m comment --comment a-comment -j REJECT",
        "-A OTHER -m conntrack --ctstate NEW -m limit --limit 5/sec -j LOG --log-prefix x",
        &format!("-A FORWARD -i eth+ ! -o eth1 -s {others} -g OTHER"),
        "-A FORWARD -p udp",
        "-A INPUT -i lo -c 77 4242 -j ACCEPT",
    ] {
        iptables(&host, protocol, words);
    }
    let list = || iptables(&host, protocol, "-S -v");
    let before = list();

    let tables = tables(&host, protocol);
    let print = tables.fingerprint("filter").unwrap();
    let unchanged = tables.edit("filter", |_| true).unwrap();
    assert!(unchanged);
    assert_eq!(list(), before);
    assert_eq!(tables.fingerprint("filter").unwrap(), print);
    let added = tables.edit("filter", |table| {
        let forward = table.chain_mut("FORWARD").unwrap();
        let rules = accepts(subnet).map(|accept| accept.rule(protocol).unwrap());
        forward.rules.splice(0..0, rules);
        true
    });
    assert!(added.unwrap());

    assert_ne!(tables.fingerprint("filter").unwrap(), print);
    let after = list();
    let is_new = |line: &&str| !before.contains(*line);
    let new: Vec<&str> = after.lines().filter(is_new).collect();
    let exposed =
        format!("-A FORWARD -d {subnet} -o weave -m comment --comment weave -c 0 0 -j ACCEPT");
    assert_eq!(
        new,
        [
            "-A FORWARD -i weave ! -o weave -m comment --comment weave -c 0 0 -j ACCEPT",
            &exposed,
            "-A FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment \
             weave -c 0 0 -j ACCEPT",
        ]
    );
    let others: Vec<&str> = after.lines().filter(|line| before.contains(line)).collect();
    assert_eq!(others.join("\n"), before.trim_end());
    let read = tables.read("filter").unwrap();
    assert_eq!(read.chain("FORWARD").unwrap().rules.len(), 5);
    assert!(read.chain("FORWARD").unwrap().policy.unwrap().drops);
}

#[test]
fn rules_are_added_in_front_and_others_stay_as_they_are() {
    rules_are_added_in_front(Protocol::Ipv4, "10.0.0.0/8", "10.32.0.0/12");
}

#[test]
fn rules_of_ipv6_are_added_in_front_and_others_stay_as_they_are() {
    rules_are_added_in_front(Protocol::Ipv6, "fd01::/16", "fd00:32::/64");
}

#[test]
fn chains_are_removed_with_the_jumps_to_them() {
    let protocol = Protocol::Ipv4;
    if !scratch::root() || !has_program(protocol) {
        return;
    }
    let host = Scratch::new("xt-remove");
    for words in [
        "-t nat -N WEAVE",
        "-t nat -N KEEP",
        "-t nat -A WEAVE -s 10.32.0.0/12 ! -d 10.32.0.0/12 -j MASQUERADE",
        "-t nat -A KEEP -p tcp -m tcp --dport 1 -j DNAT --to-destination 10.0.0.1:2",
        "-t nat -A PREROUTING -j KEEP",
        "-t nat -A POSTROUTING -j WEAVE",
    ] {
        iptables(&host, protocol, words);
    }

    let tables = tables(&host, protocol);
    let removed = tables.edit("nat", |table| table.remove_chains(|name| name == "WEAVE"));

    assert!(removed.unwrap());
    let left = iptables(&host, protocol, "-t nat -S");
    assert!(!left.contains("WEAVE"), "{left}");
    assert!(left.contains("-A PREROUTING -j KEEP"), "{left}");
    assert!(
        left.contains("-j DNAT --to-destination 10.0.0.1:2"),
        "{left}"
    );
    assert_eq!(names(&host, protocol), ["nat"]);
}
