//! A node whose policies are not known, and pods that talk with their own node.

use std::time::Duration;

use crate::node::{Line, Node, reaches};
use crate::{POLICY, WORLD};

#[test]
fn a_node_without_rules_is_closed_until_policies_are_known_if_so_wanted() {
    let Some(mut node) = Node::new("closed", &["nft"]) else {
        return;
    };
    let [web, db] = ["10.32.0.2", "10.32.0.3"].map(|ip| node.pod(ip));
    // As on a node with services, where connections are tracked before there are policies.
    node.run("nft add table inet services");
    node.run("nft add chain inet services forward { type filter hook forward priority 0 ; }");
    node.run("nft add rule inet services forward ct state established counter");
    let mut line = Line::open(&web, &db, "10.32.0.3:80");

    // Without manifests it waits for a cluster, and there is none.
    node.launch(&["--fail-closed"], &[]);
    node.until("the node is closed", |node| {
        node.run("nft list tables").contains("table inet weave-npc")
    });

    assert!(!reaches(&web, &db, "10.32.0.3:81"), "{}", node.log());
    assert!(!reaches(&db, &web, "10.32.0.2:81"), "{}", node.log());
    assert!(line.carries(Duration::from_secs(5)), "{}", node.log());
    assert!(
        reaches(&node.host, &db, "10.32.0.3:82"),
        "the node reaches its pods: {}",
        node.log()
    );

    node.kill();
    node.write("world.yaml", WORLD);
    node.write("policy.yaml", POLICY);
    node.start(&["--fail-closed"]);
    assert!(reaches(&web, &db, "10.32.0.3:83"), "{}", node.log());
    assert!(line.carries(Duration::from_secs(5)), "{}", node.log());

    // What an earlier controller enforced is better than nothing at all.
    node.kill();
    node.launch(&["--fail-closed"], &[]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(reaches(&web, &db, "10.32.0.3:84"), "{}", node.log());
}

#[test]
fn a_pod_talks_with_its_own_node_unless_told_otherwise() {
    let Some(mut node) = Node::new("own", &[]) else {
        return;
    };
    let db = node.pod("10.32.0.3");
    let closed = POLICY.replace(
        "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]",
        "policyTypes: [Ingress, Egress]",
    );
    assert!(closed.contains("Egress"));
    node.write("world.yaml", WORLD);
    node.write("policy.yaml", &closed);
    node.start(&[]);

    assert!(reaches(&node.host, &db, "10.32.0.3:80"), "{}", node.log());
    assert!(reaches(&db, &node.host, "10.32.0.1:80"), "{}", node.log());

    node.kill();
    node.start(&["--filter-own-node"]);
    assert!(reaches(&node.host, &db, "10.32.0.3:81"), "{}", node.log());
    assert!(!reaches(&db, &node.host, "10.32.0.1:81"), "{}", node.log());
}
