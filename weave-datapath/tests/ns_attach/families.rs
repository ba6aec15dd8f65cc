//! Pods with IPv6 addresses, alone or beside IPv4.

use weave_datapath::{attach, netlink};

use super::scratch::{Scratch, attached, exchange, host, request, root};
use super::{ip, net};

/// A host whose bridge has these addresses; `None`, said loudly, where there is no IPv6.
async fn host_at(addresses: &[&str]) -> Option<Scratch> {
    if !root() {
        return None;
    }
    let (host, bridge) = host().await;
    if host.sysctl("ipv6/conf/weave/accept_ra").is_err() {
        println!("skipped: needs IPv6");
        return None;
    }
    for address in addresses {
        let netlink = host.netlink();
        let added = netlink.add_address(bridge.index, net(address)).await;
        added.unwrap();
    }
    Some(host)
}

/// The pod has these default routes.
async fn assert_default(pod: &Scratch, wanted: &[(&str, &str)]) {
    let routes = pod.netlink().routes().await.unwrap();
    for (dst, via) in wanted {
        let is_there = |r: &netlink::Route| r.dst == net(dst) && r.via == Some(ip(via));
        assert!(routes.iter().any(is_there), "{routes:?}");
    }
}

#[tokio::test]
async fn ipv6_addresses_work_at_once() {
    let Some(host) = host_at(&["fd00:32::1/64"]).await else {
        return;
    };
    let (one, two) = (Scratch::new("one"), Scratch::new("two"));
    for (pod, id, address) in [
        (&one, "six0001", "fd00:32::2/64"),
        (&two, "six0002", "fd00:32::3/64"),
    ] {
        let mut request = request(pod, id, address);
        request.gateways = vec![ip("fd00:32::1")];
        attached(&host, &request).await;
    }

    let (a, b) = (one.udp("[fd00:32::2]:0"), two.udp("[fd00:32::3]:0"));

    exchange(&a, &b, b.local_addr().unwrap()).unwrap();
    assert_default(&one, &[("::/0", "fd00:32::1")]).await;
}

#[tokio::test]
async fn a_pod_of_two_families_uses_both_at_once_even_where_ipv6_was_off() {
    let Some(host) = host_at(&["10.32.0.1/12", "fd00:32::1/64"]).await else {
        return;
    };
    let (one, two) = (Scratch::new("one"), Scratch::new("two"));
    // As some runtimes leave it for new interfaces.
    let off = || std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    one.namespace.run(off).unwrap().unwrap();
    for (pod, id, last) in [(&one, "dual001", 2), (&two, "dual002", 3)] {
        let mut request = request(pod, id, &format!("10.32.0.{last}/12"));
        let six = format!("fd00:32::{last}/64");
        request.addresses.push(net(&six));
        request.gateways = vec![ip("fd00:32::1"), ip("10.32.0.1")];
        attached(&host, &request).await;
        assert_eq!(attached(&host, &request).await.changes, []);
    }

    for (from, to) in [
        ("10.32.0.2:0", "10.32.0.3:0"),
        ("[fd00:32::2]:0", "[fd00:32::3]:0"),
    ] {
        let (a, b) = (one.udp(from), two.udp(to));
        exchange(&a, &b, b.local_addr().unwrap()).unwrap();
    }
    assert_default(&one, &[("0.0.0.0/0", "10.32.0.1"), ("::/0", "fd00:32::1")]).await;
}

#[tokio::test]
async fn a_bridge_too_narrow_for_ipv6_is_named() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    let mut request = request(&pod, "narrow1", "fd00:32::2/64");
    request.mtu = Some(1279);

    let error = attach::attach_from(&host.namespace, &request).await;

    let text = error.unwrap_err().to_string();
    assert_eq!(text, "MTU 1279 is less than the 1280 bytes that IPv6 needs");
}
