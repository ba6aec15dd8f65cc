//! Every netlink verb against the real kernel.
#![cfg(feature = "netlink")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::net::Ipv4Addr;

use ipnet::IpNet;
use scratch::{Scratch, root};
use weave_datapath::netlink::{Link, Netlink, Route, Scope};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

async fn link(netlink: &Netlink, name: &str) -> Link {
    netlink.require_link(name).await.unwrap()
}

#[tokio::test]
async fn a_bridge_has_the_address_and_mtu_it_was_given() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("bridge");
    let netlink = scratch.netlink();

    netlink
        .create_bridge("br", Some([2, 0, 0, 0, 0, 9]), 1400)
        .await
        .unwrap();

    let bridge = link(&netlink, "br").await;
    assert!(bridge.is_kind("bridge"));
    assert_eq!(bridge.mac, Some([2, 0, 0, 0, 0, 9]));
    assert_eq!(
        (bridge.mtu, bridge.up, bridge.stp),
        (1400, false, Some(false))
    );
    netlink.set_stp(bridge.index, true).await.unwrap();
    netlink.set_alias(bridge.index, "some text").await.unwrap();
    netlink
        .set_mac(bridge.index, [2, 0, 0, 0, 0, 8])
        .await
        .unwrap();
    let bridge = link(&netlink, "br").await;
    assert_eq!(bridge.stp, Some(true));
    assert_eq!(bridge.alias.as_deref(), Some("some text"));
    assert_eq!(bridge.mac, Some([2, 0, 0, 0, 0, 8]));
    assert!(
        netlink
            .create_bridge("br", None, 1400)
            .await
            .unwrap_err()
            .is_exists()
    );
}

#[tokio::test]
async fn ports_join_and_leave_a_bridge_and_carry_the_hairpin_flag() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("port");
    let netlink = scratch.netlink();
    netlink.create_bridge("br", None, 1500).await.unwrap();
    netlink.create_veth("left", "right", 1300).await.unwrap();
    let (bridge, left) = (link(&netlink, "br").await, link(&netlink, "left").await);

    netlink
        .set_master(left.index, Some(bridge.index))
        .await
        .unwrap();
    netlink.set_hairpin(left.index, true).await.unwrap();
    assert_eq!(link(&netlink, "left").await.flood, Some(true));
    netlink.set_flood(left.index, false).await.unwrap();
    assert_eq!(link(&netlink, "left").await.flood, Some(false));
    netlink.set_flood(left.index, true).await.unwrap();

    let joined = link(&netlink, "left").await;
    assert_eq!(
        (joined.master, joined.hairpin),
        (Some(bridge.index), Some(true))
    );
    assert_eq!(joined.peer_index, Some(link(&netlink, "right").await.index));
    assert_eq!((joined.mtu, joined.peer_elsewhere()), (1300, false));
    netlink.set_master(left.index, None).await.unwrap();
    assert_eq!(link(&netlink, "left").await.master, None);
    netlink.rename(left.index, "renamed").await.unwrap();
    netlink.delete_link(left.index).await.unwrap();
    assert_eq!(netlink.link_by_name("right").await.unwrap(), None);
    assert!(
        netlink
            .delete_link(left.index)
            .await
            .unwrap_err()
            .is_missing()
    );
}

#[tokio::test]
async fn a_pair_can_be_born_in_two_namespaces_or_be_moved_there() {
    if !root() {
        return;
    }
    let (here, there) = (Scratch::new("here"), Scratch::new("there"));
    let (netlink, other) = (here.netlink(), there.netlink());

    netlink
        .create_veth_into("born", "eth0", &there.namespace, 1300)
        .await
        .unwrap();
    netlink.create_veth("stays", "moves", 1300).await.unwrap();
    let moving = link(&netlink, "moves").await;
    netlink
        .move_to_netns(moving.index, &there.namespace)
        .await
        .unwrap();

    let (born, eth0) = (link(&netlink, "born").await, link(&other, "eth0").await);
    assert_eq!(
        (born.peer_index, born.peer_elsewhere()),
        (Some(eth0.index), true)
    );
    let number = netlink.namespace_id(&there.namespace).await.unwrap();
    assert_eq!(number, born.peer_namespace);
    let stranger = Scratch::new("stranger");
    let number = netlink.namespace_id(&stranger.namespace).await.unwrap();
    assert_eq!(number, None);
    assert_eq!((eth0.peer_index, eth0.mtu), (Some(born.index), 1300));
    assert!(link(&other, "moves").await.peer_elsewhere());
    let again = netlink
        .create_veth_into("born2", "eth0", &there.namespace, 1300)
        .await;
    assert!(again.unwrap_err().is_exists());
    assert_eq!(netlink.link_by_name("born2").await.unwrap(), None);
}

#[tokio::test]
async fn addresses_and_routes_say_whether_they_were_new() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("route");
    let netlink = scratch.netlink();
    netlink.create_veth("a", "b", 1500).await.unwrap();
    let (a, b) = (link(&netlink, "a").await, link(&netlink, "b").await);
    for index in [a.index, b.index] {
        netlink.set_up(index).await.unwrap();
    }

    let address = net("10.1.2.3/24");
    assert!(netlink.add_address(a.index, address).await.unwrap());
    assert!(!netlink.add_address(a.index, address).await.unwrap());
    assert!(
        netlink
            .add_address(a.index, net("fd00::3/64"))
            .await
            .unwrap()
    );
    let default = Route::via(net("0.0.0.0/0"), "10.1.2.1".parse().unwrap(), a.index);
    assert!(netlink.add_route(&default).await.unwrap());
    assert!(!netlink.add_route(&default).await.unwrap());
    assert!(
        netlink
            .add_route(&Route::on_link(net("10.9.0.1/32"), a.index))
            .await
            .unwrap()
    );

    let addresses = netlink.addresses(a.index).await.unwrap();
    assert!(addresses.contains(&address) && addresses.contains(&net("fd00::3/64")));
    let routes = netlink.routes().await.unwrap();
    assert!(routes.contains(&default), "{routes:?}");
    assert!(
        routes.contains(&Route::on_link(net("10.1.2.0/24"), a.index)),
        "{routes:?}"
    );
    assert!(
        routes
            .iter()
            .any(|r| r.dst == net("10.9.0.1/32") && r.scope == Scope::Link)
    );
    assert!(netlink.delete_route(&default).await.unwrap());
    assert!(!netlink.delete_route(&default).await.unwrap());
    assert!(netlink.delete_address(a.index, address).await.unwrap());
    assert!(!netlink.delete_address(a.index, address).await.unwrap());
    let unreachable = Route::via(net("0.0.0.0/0"), "192.0.2.1".parse().unwrap(), a.index);
    let error = netlink
        .add_route(&unreachable)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("add a route over interface {}", a.index)),
        "{error}"
    );
}

#[tokio::test]
async fn vxlan_devices_take_ports_and_forwarding_entries() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("vxlan");
    let netlink = scratch.netlink();

    netlink
        .create_vxlan_external("vxlan-6784", 6784, 1376)
        .await
        .unwrap();
    let vxlan = link(&netlink, "vxlan-6784").await;
    netlink.set_up(vxlan.index).await.unwrap();
    let plain = netlink
        .create_vxlan("vx0", 7, 4799, Ipv4Addr::LOCALHOST, 1400)
        .await
        .unwrap();

    assert!(vxlan.is_kind("vxlan") && plain.is_kind("vxlan"));
    assert_eq!((vxlan.mtu, plain.mtu), (1376, 1400));
    assert!(link(&netlink, "vxlan-6784").await.up);
    let one = Ipv4Addr::new(192, 0, 2, 1);
    let two = Ipv4Addr::new(192, 0, 2, 2);
    assert!(netlink.add_fdb(plain.index, [0; 6], one).await.unwrap());
    assert!(netlink.add_fdb(plain.index, [0; 6], two).await.unwrap());
    assert!(
        netlink
            .add_fdb(plain.index, [2, 0, 0, 0, 0, 1], one)
            .await
            .unwrap()
    );
    assert!(
        !netlink
            .add_fdb(plain.index, [2, 0, 0, 0, 0, 1], one)
            .await
            .unwrap()
    );
    assert!(
        netlink
            .delete_fdb(plain.index, [2, 0, 0, 0, 0, 1], one)
            .await
            .unwrap()
    );
    assert!(
        !netlink
            .delete_fdb(plain.index, [2, 0, 0, 0, 0, 1], one)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_dump_lists_more_links_than_one_message_holds() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("dump");
    let netlink = scratch.netlink();
    for number in 0..40 {
        let (left, right) = (format!("l{number}"), format!("r{number}"));
        netlink.create_veth(&left, &right, 1500).await.unwrap();
    }

    let links = netlink.links().await.unwrap();

    let veths = links.iter().filter(|link| link.is_kind("veth")).count();
    assert_eq!(veths, 80);
    assert!(netlink.link_by_index(99_999).await.unwrap().is_none());
}

#[test]
fn without_a_runtime_opening_is_an_error_and_no_panic() {
    assert!(Netlink::open().is_err());
}
