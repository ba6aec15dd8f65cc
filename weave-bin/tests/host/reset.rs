//! `weave reset` leaves nothing.

use weave_datapath::netlink::Netlink;

use crate::node::{Node, block_on};

fn links(node: &Node) -> Vec<String> {
    block_on(async {
        let netlink = Netlink::open_in(&node.host).unwrap();
        let links = netlink.links().await.unwrap();
        links.into_iter().map(|link| link.name).collect()
    })
}

#[test]
fn a_reset_host_is_as_before() {
    let programs = [
        "nft",
        "iptables-nft-restore",
        "iptables-nft-save",
        "iptables-legacy-save",
    ];
    let Some(mut node) = Node::new("reset", &programs) else {
        return;
    };
    let others = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth9 -j ACCEPT\nCOMMIT\n";
    node.feed("iptables-nft-restore", others);
    let before = (links(&node), node.run("nft list ruleset"));
    node.start(&[]);
    let _pod = node.pod("10.32.0.5");
    node.expose("");
    assert!(node.run("nft list ruleset").contains("weave"));

    let line = format!(
        "{} reset --db-prefix={} --bpf-dir={}",
        env!("CARGO_BIN_EXE_weave"),
        node.path("weave").display(),
        node.path("pins").display()
    );
    let said = node.run(&line);

    for what in [
        "table inet weave",
        "accepts in FORWARD (nft)",
        "interface weave",
        "state ",
    ] {
        assert!(said.contains(&format!("removed {what}")), "{what}: {said}");
    }
    assert!(node.has_ended());
    let without_counts = |text: &str| -> String {
        let words = text.split_whitespace();
        words.filter(|word| word.parse::<u64>().is_err()).collect()
    };
    assert_eq!(links(&node), before.0);
    assert_eq!(
        without_counts(&node.run("nft list ruleset")),
        without_counts(&before.1)
    );
    assert!(!node.path("weavedata.db").exists());
    // Looking at the legacy back end made no table there.
    assert!(!node.run("cat /proc/net/ip_tables_names").contains("filter"));

    // Again, with nothing to remove and no daemon to ask.
    let said = node.run(&line);
    assert!(!said.contains("removed"), "{said}");
}

/// For going back to a Weave Net, which cannot use our bridge: pods keep their interfaces and the
/// daemon its state and rules.
#[test]
fn a_reset_of_the_bridge_leaves_pods_state_and_rules() {
    let Some(mut node) = Node::new("bridge", &["nft"]) else {
        return;
    };
    node.start(&[]);
    let _pod = node.pod("10.32.0.5");
    let before = links(&node);
    let of_pods = |links: &[String]| -> Vec<String> {
        let pods = links.iter().filter(|name| name.starts_with("vethwepl"));
        pods.cloned().collect()
    };
    assert_eq!(of_pods(&before).len(), 1);
    let line = format!(
        "{} reset --bridge-only --db-prefix={} --bpf-dir={}",
        env!("CARGO_BIN_EXE_weave"),
        node.path("weave").display(),
        node.path("pins").display()
    );

    let said = node.run(&line);

    assert!(said.contains("removed interface weave"), "{said}");
    assert!(
        !said.contains("vethwepl") && !said.contains("state "),
        "{said}"
    );
    assert!(node.has_ended());
    let after = links(&node);
    assert!(!after.contains(&"weave".to_owned()), "{after:?}");
    assert_eq!(of_pods(&after), of_pods(&before));
    assert!(node.path("weavedata.db").exists());
    assert!(node.run("nft list tables").contains("table inet weave"));
}
