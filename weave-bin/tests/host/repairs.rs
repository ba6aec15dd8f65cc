//! What others do to our rules and devices is noticed, undone and counted.

use weave_datapath::netlink::Netlink;

use crate::ip;
use crate::node::{BRIDGE, HOST, Node, OUTSIDE, block_on, seen_by};

/// A table of somebody else, with everything that is hard to keep.
const OTHER: &str = "table inet other {
    set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1 } }
    chain forward { type filter hook forward priority 5; policy accept;
        ip saddr @s counter packets 0 bytes 0 accept comment \"mine\"
        ct state invalid drop
    }
}
";

#[test]
fn a_flush_of_everything_is_repaired_within_two_seconds() {
    let Some(mut node) = Node::new("flush", &["nft"]) else {
        return;
    };
    node.start(&[]);
    let pod = node.pod("10.32.0.5");
    node.expose("");
    let ours = node.run("nft list table inet weave");
    let mut slowest = std::time::Duration::ZERO;

    for round in 1..=5 {
        node.run("nft flush ruleset");
        let took = node.until("the table is back", |node| {
            node.run("nft list tables").contains("table inet weave")
        });
        slowest = slowest.max(took);
        node.until("it is counted", |node| node.state().rule_repairs == round);
    }

    println!("repaired after {slowest:?} at most");
    assert!(slowest.as_millis() < 2000, "{slowest:?}");
    let without_counts = |text: &str| -> String {
        let words = text.split_whitespace();
        words.filter(|word| word.parse::<u64>().is_err()).collect()
    };
    let again = node.run("nft list table inet weave");
    assert_eq!(without_counts(&again), without_counts(&ours));
    assert_eq!(seen_by(&pod, &node.outside, OUTSIDE), ip(HOST));
    let state = node.state();
    assert!(state.last_repair.unwrap().contains("inet weave"));
    assert!(node.ask("GET", "/status").contains("Repairs: 5 of rules"));
}

#[test]
fn a_rule_taken_out_of_our_table_is_put_back() {
    let Some(mut node) = Node::new("rule", &["nft"]) else {
        return;
    };
    node.start(&[]);
    node.expose("");

    node.run("nft flush chain inet weave pods-out");

    node.until("rules are back", |node| {
        node.run("nft list chain inet weave pods-out")
            .matches("masquerade")
            .count()
            == 2
    });
    node.until("it is counted", |node| node.state().rule_repairs == 1);
}

#[test]
fn tables_of_others_stay_as_they_are() {
    let Some(mut node) = Node::new("others", &["nft"]) else {
        return;
    };
    node.feed("nft -f -", OTHER);
    let before = node.run("nft -a list table inet other");

    node.start(&["--no-masq-local"]);
    node.expose("");
    node.run("nft delete table inet weave");
    node.until("the table is back", |node| {
        node.run("nft list tables").contains("table inet weave")
    });
    node.ask("DELETE", &format!("/expose/{BRIDGE}/12"));
    node.stop(false);

    assert_eq!(node.run("nft -a list table inet other"), before);
}

#[test]
fn a_chain_of_others_that_cuts_pods_off_is_told() {
    let Some(mut node) = Node::new("drops", &["nft"]) else {
        return;
    };
    node.start(&[]);
    assert_eq!(node.state().faults, [""; 0]);
    let wall = "table inet wall {\nchain forwarded {\ntype filter hook forward priority 0; policy drop;\n}\n}\n";
    node.feed("nft -f -", wall);

    // Looked for whenever rules are compared.
    node.run("nft flush chain inet weave control-port");

    let told = "table inet wall chain forwarded drops forwarded packets: it must accept the bridge";
    node.until("it is told", |node| node.state().faults == [told]);
    assert!(
        node.ask("GET", "/status")
            .contains(&format!("Fault: {told}"))
    );
}

#[test]
fn a_bridge_that_is_taken_down_comes_up_again() {
    let Some(mut node) = Node::new("down", &[]) else {
        return;
    };
    node.start(&[]);
    let pod = node.pod("10.32.0.5");
    node.expose("");
    let bridge = |node: &Node| {
        block_on(async {
            let netlink = Netlink::open_in(&node.host).unwrap();
            netlink.link_by_name("weave").await.unwrap()
        })
    };
    let index = bridge(&node).unwrap().index;

    block_on(async {
        let netlink = Netlink::open_in(&node.host).unwrap();
        netlink.set_down(index).await.unwrap();
    });

    let took = node.until("it is up", |node| bridge(node).unwrap().up);
    println!("up after {took:?}");
    node.until("it is counted", |node| node.state().link_repairs == 1);
    assert_eq!(seen_by(&node.host, &pod, "10.32.0.5"), ip(BRIDGE));
}

#[test]
fn a_bridge_that_is_removed_is_made_again_with_its_ports() {
    let Some(mut node) = Node::new("gone", &[]) else {
        return;
    };
    node.start(&[]);
    let (one, two) = (node.pod("10.32.0.5"), node.pod("10.32.0.6"));
    node.expose("");
    assert_eq!(seen_by(&one, &two, "10.32.0.6"), ip("10.32.0.5"));
    // The daemon looks at the ports when the last of them has been quiet for a moment.
    std::thread::sleep(std::time::Duration::from_millis(1500));

    block_on(async {
        let netlink = Netlink::open_in(&node.host).unwrap();
        let bridge = netlink.require_link("weave").await.unwrap();
        netlink.delete_link(bridge.index).await.unwrap();
    });

    let took = node.until("pods reach each other", |_| {
        seen_by(&one, &two, "10.32.0.6") == ip("10.32.0.5")
    });
    println!("made again after {took:?}");
    assert_eq!(seen_by(&one, &node.outside, OUTSIDE), ip(HOST));
    assert!(node.state().link_repairs >= 1);
}
