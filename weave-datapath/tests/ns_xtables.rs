//! Legacy tables of a real kernel, made and looked at with the program `iptables-legacy`.

#![cfg(feature = "netlink")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod scratch;

use std::process::Command;

use scratch::Scratch;
use weave_datapath::xtables::{self, Accept, Interface, Tables};

/// The output of `iptables-legacy` with `words`, inside.
fn iptables(host: &Scratch, words: &str) -> String {
    let run = || {
        Command::new("iptables-legacy")
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

fn has_program() -> bool {
    let found = Command::new("iptables-legacy").arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: needs the program iptables-legacy");
    }
    found
}

fn accepts() -> [Accept; 3] {
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
            destination: Some("10.32.0.0/12".parse().unwrap()),
            ..accept(None, weave())
        },
        Accept {
            replies: true,
            ..accept(None, weave())
        },
    ]
}

#[test]
fn rules_are_added_in_front_and_others_stay_as_they_are() {
    if !scratch::root() || !has_program() {
        return;
    }
    let host = Scratch::new("xt-add");
    assert_eq!(host.namespace.run(xtables::names).unwrap(), [""; 0]);
    for words in [
        "-P FORWARD DROP",
        "-N OTHER",
        "-A OTHER -p tcp -m tcp --dport 80 -m comment --comment a-comment -j REJECT",
        "-A OTHER -m conntrack --ctstate NEW -m limit --limit 5/sec -j LOG --log-prefix x",
        "-A FORWARD -i eth+ ! -o eth1 -s 10.0.0.0/8 -g OTHER",
        "-A FORWARD -p udp",
        "-A INPUT -i lo -c 77 4242 -j ACCEPT",
    ] {
        iptables(&host, words);
    }
    let before = iptables(&host, "-S -v");

    let tables = host.namespace.run(Tables::open).unwrap().unwrap();
    let print = tables.fingerprint("filter").unwrap();
    let unchanged = tables.edit("filter", |_| true).unwrap();
    assert!(unchanged);
    assert_eq!(iptables(&host, "-S -v"), before);
    assert_eq!(tables.fingerprint("filter").unwrap(), print);
    let added = tables.edit("filter", |table| {
        let forward = table.chain_mut("FORWARD").unwrap();
        let rules = accepts().map(|accept| accept.rule());
        forward.rules.splice(0..0, rules);
        true
    });
    assert!(added.unwrap());

    assert_ne!(tables.fingerprint("filter").unwrap(), print);
    let after = iptables(&host, "-S -v");
    let new: Vec<&str> = after
        .lines()
        .filter(|line| !before.contains(line))
        .collect();
    assert_eq!(
        new,
        [
            "-A FORWARD -i weave ! -o weave -m comment --comment weave -c 0 0 -j ACCEPT",
            "-A FORWARD -d 10.32.0.0/12 -o weave -m comment --comment weave -c 0 0 -j ACCEPT",
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
fn chains_are_removed_with_the_jumps_to_them() {
    if !scratch::root() || !has_program() {
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
        iptables(&host, words);
    }

    let tables = host.namespace.run(Tables::open).unwrap().unwrap();
    let removed = tables.edit("nat", |table| table.remove_chains(|name| name == "WEAVE"));

    assert!(removed.unwrap());
    let left = iptables(&host, "-t nat -S");
    assert!(!left.contains("WEAVE"), "{left}");
    assert!(left.contains("-A PREROUTING -j KEEP"), "{left}");
    assert!(
        left.contains("-j DNAT --to-destination 10.0.0.1:2"),
        "{left}"
    );
    assert_eq!(host.namespace.run(xtables::names).unwrap(), ["nat"]);
}
