//! A host that ran a Weave Net: bridge, pods and addresses stay, the rest is taken over.

use weave_datapath::attach::{self, Request};
use weave_datapath::netlink::Netlink;

use crate::ip;
use crate::node::{BRIDGE, HOST, Node, OUTSIDE, block_on, seen_by};

const MAC: [u8; 6] = [0xda, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f];

/// Bridge, capture pair and a pod as the plain mode of Weave Net made them.
async fn old_weave(node: &Node, pod: &weave_datapath::netns::Namespace) {
    let netlink = Netlink::open_in(&node.host).unwrap();
    netlink
        .create_bridge("weave", Some(MAC), 1376)
        .await
        .unwrap();
    let bridge = netlink.require_link("weave").await.unwrap().index;
    let pair = netlink.create_veth("vethwe-bridge", "vethwe-pcap", 1376);
    pair.await.unwrap();
    let port = netlink.require_link("vethwe-bridge").await.unwrap().index;
    netlink.set_master(port, Some(bridge)).await.unwrap();
    let address = format!("{BRIDGE}/12").parse().unwrap();
    netlink.add_address(bridge, address).await.unwrap();
    netlink.set_up(bridge).await.unwrap();
    let mut request = Request::new("0123456789", pod.clone(), "eth0");
    request.addresses = vec!["10.32.0.5/12".parse().unwrap()];
    request.gateways = vec![BRIDGE.parse().unwrap()];
    attach::attach_from(&node.host, &request).await.unwrap();
    // Weave Net gave the host's ends no alias.
    let port = netlink.require_link("vethwepl0123456").await.unwrap();
    netlink.set_alias(port.index, "").await.unwrap();
}

#[test]
fn bridge_pods_and_name_of_a_weave_net_stay() {
    let Some(mut node) = Node::new("adopt", &[]) else {
        return;
    };
    let pod = node.namespace("pod");
    block_on(old_weave(&node, &pod));
    let index = |node: &Node| {
        block_on(async {
            let netlink = Netlink::open_in(&node.host).unwrap();
            netlink.require_link("weave").await.unwrap()
        })
    };
    let before = index(&node);
    assert_eq!(seen_by(&pod, &node.host, BRIDGE), ip("10.32.0.5"));

    node.start_as(None, &["--mtu=1376"]);

    let after = index(&node);
    assert_eq!(
        (after.index, after.mac, after.mtu),
        (before.index, Some(MAC), 1376)
    );
    assert_eq!(node.report().router.name, "da:1b:2c:3d:4e:5f");
    assert_eq!(seen_by(&pod, &node.outside, OUTSIDE), ip(HOST));
    assert!(
        node.ask("GET", "/ip").contains(BRIDGE),
        "the bridge's address is claimed"
    );
    assert_eq!(node.state().exposed.len(), 1);
    let gone = block_on(async {
        let netlink = Netlink::open_in(&node.host).unwrap();
        netlink.link_by_name("vethwe-pcap").await.unwrap()
    });
    assert!(gone.is_none(), "the end that captured is no more");
}

#[test]
fn sets_of_a_weave_net_go_and_those_of_others_stay() {
    let Some(mut node) = Node::new("sets", &["ipset"]) else {
        return;
    };
    let sets = |node: &Node| node.run("ipset list -name");
    for name in ["weaver-no-masq-local", "weave-abc", "mine"] {
        node.run(&format!("ipset create {name} hash:net"));
    }

    node.start(&["--expect-npc"]);
    assert_eq!(
        sets(&node),
        "mine\nweave-abc\n"
            .split_inclusive('\n')
            .rev()
            .collect::<String>()
    );
    node.stop(false);
    node.start(&[]);

    assert_eq!(sets(&node), "mine\n");
}

#[test]
fn a_host_without_anything_of_a_weave_net_is_no_trouble() {
    let Some(node) = Node::new("none", &[]) else {
        return;
    };
    let gone = node
        .host
        .run(|| weave_datapath::leftover::destroy_ip_set("no-such-set"));
    let datapath = node
        .host
        .run(|| weave_datapath::leftover::delete_datapath("no-such"));

    assert!(!gone.unwrap().unwrap());
    assert!(!datapath.unwrap().unwrap());
}
