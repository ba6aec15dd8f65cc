//! Pods with addresses of two families.

use serde_json::json;

use super::fake::{FakeDaemon, Host};
use super::{PLAIN, POD1, add_pod, weave_net};
use crate::cni::Code;
use crate::cni::edge::Seen;

const BOTH: &str = "10.32.0.2/12 fd00:32::2/64";

/// A host whose bridge has an address of each family, and one of the link.
fn host() -> Host {
    let host = Host::with_bridge();
    let six: [ipnet::IpNet; 2] = ["fe80::1/64", "fd00:32::1/64"].map(|net| net.parse().unwrap());
    host.bridge_addresses.borrow_mut().extend(six);
    host
}

#[test]
fn add_reports_an_address_a_gateway_and_a_default_route_of_each_family() {
    let (host, daemon) = (host(), FakeDaemon::start(&[("c1", BOTH)]));

    let reply = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);

    let object = reply.stdout.unwrap();
    assert_eq!(
        object["ips"],
        json!([
            {"interface": 1, "address": "10.32.0.2/12", "gateway": "10.32.0.1"},
            {"interface": 1, "address": "fd00:32::2/64", "gateway": "fd00:32::1"},
        ])
    );
    assert_eq!(
        object["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "10.32.0.1"}, {"dst": "::/0", "gw": "fd00:32::1"}])
    );
    assert_eq!(
        host.wishes.borrow()[0],
        "mtu None gateways [10.32.0.1, fd00:32::1] routes None hairpin true"
    );
    let requests = daemon.book.lock().unwrap().requests.clone();
    let asked = "POST /ip/c1?plugin=weave-net&network=weave&family=all";
    assert_eq!(requests, [asked], "one request for both");
}

#[test]
fn the_oldest_shape_has_both_families() {
    let (host, daemon) = (host(), FakeDaemon::start(&[("c1", BOTH)]));
    let input = r#"{"cniVersion":"0.2.0","name":"weave"}"#;

    let reply = weave_net("ADD", "c1", POD1, input, &host, &daemon.address);

    let object = reply.stdout.unwrap();
    assert_eq!(object["ip4"]["ip"], "10.32.0.2/12");
    assert_eq!(object["ip6"]["ip"], "fd00:32::2/64");
    assert_eq!(object["ip6"]["gateway"], "fd00:32::1");
}

#[test]
fn an_address_of_the_link_is_no_gateway() {
    let host = host();
    host.bridge_addresses.borrow_mut().pop();
    let daemon = FakeDaemon::start(&[("c1", BOTH), ("weave:expose", "fd00:32::9/64")]);

    let reply = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);

    assert_eq!(reply.stdout.unwrap()["ips"][1]["gateway"], "fd00:32::9");
    let requests = daemon.book.lock().unwrap().requests.clone();
    assert_eq!(
        requests[1..],
        [
            "POST /ip/weave:expose/fd00:32::/64",
            "POST /expose/fd00:32::9/64"
        ]
    );
}

#[test]
fn a_failed_attachment_gives_both_addresses_back() {
    let host = Host {
        attach_fails: true,
        ..host()
    };
    let daemon = FakeDaemon::start(&[("c1", BOTH)]);

    let reply = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);

    assert_eq!(reply.stdout.unwrap()["code"], Code::Attach.number());
    let requests = daemon.book.lock().unwrap().requests.clone();
    for address in ["10.32.0.2", "fd00:32::2"] {
        let freed = format!("DELETE /ip/c1/{address}");
        assert!(requests.contains(&freed), "{requests:?}");
    }
}

#[test]
fn policies_and_guard_know_both_addresses() {
    let (host, daemon) = (host(), FakeDaemon::start(&[("c1", BOTH)]));
    daemon.book.lock().unwrap().controller = Some(daemon.address.clone());

    let reply = add_pod(&host, &daemon);

    assert!(!reply.failed, "{:?}", reply.stdout);
    let told = daemon.book.lock().unwrap().told.clone();
    let addresses = "address=10.32.0.2&address=fd00:32::2";
    assert!(told[0].contains(addresses), "{told:?}");
    assert!(told[1].starts_with("/guard ") && told[1].ends_with(addresses));
}

#[test]
fn a_pod_that_lost_one_family_differs() {
    let (host, daemon) = (host(), FakeDaemon::start(&[("c1", BOTH)]));
    let added = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);
    let input = json!({
        "cniVersion": "1.1.0",
        "name": "weave",
        "prevResult": added.stdout.unwrap(),
    });
    let check = || {
        let input = input.to_string();
        weave_net("CHECK", "c1", POD1, &input, &host, &daemon.address)
    };
    let nets = |text: &str| text.split(' ').map(|net| net.parse().unwrap()).collect();
    *host.seen.borrow_mut() = Seen {
        is_up: true,
        is_on_bridge: true,
        addresses: nets(BOTH),
        default_routes: vec!["10.32.0.1".parse().unwrap(), "fd00:32::1".parse().unwrap()],
    };
    assert!(!check().failed, "{:?}", check().stdout);

    host.seen.borrow_mut().default_routes.pop();
    let text = check().stdout.unwrap()["msg"].to_string();
    assert!(text.contains("lost its default route"), "{text}");
    host.seen.borrow_mut().addresses.pop();
    let text = check().stdout.unwrap()["msg"].to_string();
    assert!(text.contains("lost its address fd00:32::2/64"), "{text}");
}
