//! Beside iptables, in either back end.

use crate::ip;
use crate::node::{BRIDGE, HOST, Node, OUTSIDE, seen_by};

/// Rules that any host may have, in the words of `iptables-restore`.
const OTHERS: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -i eth9 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -m conntrack --ctstate INVALID -j DROP
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
";

fn saved(node: &Node, backend: &str) -> Vec<String> {
    let text = node.run(&format!("iptables-{backend}-save"));
    let rules = text.lines().filter(|line| !line.starts_with('#'));
    // Counters of policies count on.
    rules
        .map(|line| line.split(" [").next().unwrap_or(line).to_owned())
        .collect()
}

fn a_policy_that_drops_does_not_cut_pods_off(backend: &str) {
    let programs = [
        format!("iptables-{backend}-restore"),
        format!("iptables-{backend}-save"),
    ];
    let Some(mut node) = Node::new(backend, &[&programs[0], &programs[1]]) else {
        return;
    };
    node.route_back();
    node.feed(&programs[0], OTHERS);
    let before = saved(&node, backend);
    node.start(&[]);
    let (one, two) = (node.pod("10.32.0.5"), node.pod("10.32.0.6"));
    node.expose("");

    assert_eq!(seen_by(&one, &node.outside, OUTSIDE), ip(HOST));
    assert_eq!(seen_by(&node.outside, &one, "10.32.0.5"), ip(BRIDGE));
    assert_eq!(seen_by(&one, &two, "10.32.0.6"), ip("10.32.0.5"));
    assert_eq!(node.state().iptables, backend);

    let after = saved(&node, backend);
    let ours: Vec<&String> = after
        .iter()
        .filter(|line| line.contains("weave: "))
        .collect();
    assert_eq!(
        ours,
        [
            "-A FORWARD -i weave -o weave -m comment --comment \"weave: between pods\" -j ACCEPT",
            "-A FORWARD -d 10.32.0.0/12 -o weave -m comment --comment \"weave: exposed 10.32.0.0/12\" -j ACCEPT",
            "-A FORWARD -i weave ! -o weave -m comment --comment \"weave: from pods\" -j ACCEPT",
            "-A FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment \"weave: replies to pods\" -j ACCEPT",
        ]
    );
    let others: Vec<&String> = after
        .iter()
        .filter(|line| !line.contains("weave"))
        .collect();
    assert_eq!(others, before.iter().collect::<Vec<_>>());
    let first = after.iter().find(|line| line.starts_with("-A FORWARD"));
    assert_eq!(first, ours.first().copied(), "ours come first");

    // A firewall that is loaded anew takes ours away, and gets them again.
    node.feed(&programs[0], OTHERS);
    let took = node.until("rules are back", |node| {
        saved(node, backend)
            .iter()
            .filter(|line| line.contains("weave: "))
            .count()
            == 4
    });
    println!("{backend}: rules back after {took:?}");
    assert!(took.as_millis() < 4500, "{took:?}");
    assert_eq!(seen_by(&one, &node.outside, OUTSIDE), ip(HOST));
    let repairs = node.until("it is counted", |node| node.state().rule_repairs == 1);
    assert!(repairs.as_secs() < 5);
}

#[test]
fn a_policy_that_drops_does_not_cut_pods_off_nft() {
    a_policy_that_drops_does_not_cut_pods_off("nft");
}

#[test]
fn a_policy_that_drops_does_not_cut_pods_off_legacy() {
    a_policy_that_drops_does_not_cut_pods_off("legacy");
}

/// Frames of IPv6 between pods pass `FORWARD` where bridges are filtered, and those to the outside
/// anyhow.
fn a_policy_that_drops_packets_of_ipv6_gets_accepts_too(backend: &str) {
    let (restore, save) = (
        &format!("ip6tables-{backend}-restore"),
        &format!("ip6tables-{backend}-save"),
    );
    let Some(mut node) = Node::new(&format!("six-{backend}"), &[restore, save]) else {
        return;
    };
    let others = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth9 -j ACCEPT\nCOMMIT\n";
    let rules = |node: &Node| -> Vec<String> {
        let text = node.run(save);
        let lines = text.lines().filter(|line| line.starts_with("-A"));
        lines.map(str::to_owned).collect()
    };
    node.feed(restore, others);
    node.start(&[]);
    let wanted = [
        "-A FORWARD -i weave -o weave -m comment --comment \"weave: between pods\" -j ACCEPT",
        "-A FORWARD -d fd00:32::/64 -o weave -m comment --comment \"weave: exposed fd00:32::/64\" -j ACCEPT",
        "-A FORWARD -i weave ! -o weave -m comment --comment \"weave: from pods\" -j ACCEPT",
        "-A FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment \"weave: replies to pods\" -j ACCEPT",
        "-A FORWARD -i eth9 -j ACCEPT",
    ];
    node.ask("POST", "/expose/fd00:32::1/64");
    assert_eq!(rules(&node), wanted);

    node.feed(restore, others);
    let took = node.until("rules are back", |node| rules(node) == wanted);
    println!("IPv6, {backend}: rules back after {took:?}");
    node.until("it is counted", |node| node.state().rule_repairs == 1);
}

#[test]
fn a_policy_that_drops_packets_of_ipv6_gets_accepts_too_nft() {
    a_policy_that_drops_packets_of_ipv6_gets_accepts_too("nft");
}

#[test]
fn a_policy_that_drops_packets_of_ipv6_gets_accepts_too_legacy() {
    a_policy_that_drops_packets_of_ipv6_gets_accepts_too("legacy");
}

/// The recorded rules of a Weave Net go, and those of others stay.
fn rules_of_a_weave_net_go(backend: &str, recorded: &str, flags: &[&str]) -> Option<Vec<String>> {
    let programs = [
        format!("iptables-{backend}-restore"),
        format!("iptables-{backend}-save"),
    ];
    let mut node = Node::new(&format!("old-{backend}"), &[&programs[0], &programs[1]])?;
    node.feed(&programs[0], OTHERS);
    let before = saved(&node, backend);
    // The policies of the recorded host are not this one's.
    let lines = recorded.lines().filter(|line| !line.contains(" ACCEPT ["));
    let recorded: String = lines.map(|line| format!("{line}\n")).collect();
    node.feed(&format!("{} --noflush", programs[0]), &recorded);
    assert!(
        saved(&node, backend)
            .iter()
            .any(|line| line.contains("WEAVE-CANARY"))
    );

    node.start(flags);

    let after = saved(&node, backend);
    let ours = |line: &&String| line.contains("weave: ");
    assert_eq!(after.iter().filter(ours).count(), 3, "{after:#?}");
    let others: Vec<String> = after.into_iter().filter(|line| !ours(&line)).collect();
    for line in &before {
        assert!(others.contains(line), "{line} is gone");
    }
    Some(
        others
            .into_iter()
            .filter(|line| !before.contains(line))
            .collect(),
    )
}

#[test]
fn an_old_router_s_rules_go_in_both_back_ends() {
    let recorded = include_str!("../vectors/exposed-no-npc.iptables-save.txt");
    for backend in ["nft", "legacy"] {
        let Some(left) = rules_of_a_weave_net_go(backend, recorded, &[]) else {
            return;
        };
        let weave: Vec<_> = left
            .iter()
            .filter(|line| line.to_lowercase().contains("weave"))
            .collect();
        assert_eq!(weave, [""; 0], "{backend}");
    }
}

#[test]
fn policy_hooks_of_a_weave_net_stay_for_the_controller() {
    let recorded = include_str!("../vectors/expect-npc.iptables-save.txt");
    for backend in ["nft", "legacy"] {
        let Some(left) = rules_of_a_weave_net_go(backend, recorded, &["--expect-npc"]) else {
            return;
        };
        let weave: Vec<_> = left
            .iter()
            .filter(|line| line.contains("weave") || line.contains("WEAVE"))
            .collect();
        assert_eq!(weave.len(), 7, "two chains, five hooks: {weave:#?}");
        assert!(
            !left.iter().any(|line| line.contains("WEAVE-CANARY")),
            "{left:#?}"
        );
    }
}
