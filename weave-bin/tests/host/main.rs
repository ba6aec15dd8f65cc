//! Host plumbing with the real daemon on the real kernel: masquerading, exposing, firewalls of others,
//! repairs, take-over from a Weave Net. Firewalls are set up and looked at with their own programs.
//!
//! Needs root; else, or without a program, a test prints one line and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adoption;
mod commands;
mod feed;
mod firewalls;
mod ground;
mod node;
mod repairs;
mod reset;
mod services;
mod transcript;

use std::net::IpAddr;

use node::{BRIDGE, HOST, Node, OUTSIDE, seen_by};

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn pods_reach_the_outside_under_the_host_s_address() {
    let Some(mut node) = Node::new("masq", &[]) else {
        return;
    };
    node.start(&[]);
    let pod = node.pod("10.32.0.5");
    node.expose("");

    assert_eq!(seen_by(&pod, &node.outside, OUTSIDE), ip(HOST));
    assert_eq!(seen_by(&pod, &node.host, BRIDGE), ip("10.32.0.5"));
    assert_eq!(seen_by(&node.host, &pod, "10.32.0.5"), ip(BRIDGE));
    node.ask("DELETE", &format!("/expose/{BRIDGE}/12"));
    assert_eq!(node.state().exposed, []);
}

#[test]
fn what_comes_from_outside_is_seen_under_the_bridge_s_address() {
    let Some(mut node) = Node::new("in", &[]) else {
        return;
    };
    node.route_back();
    node.start(&[]);
    let pod = node.pod("10.32.0.5");
    node.expose("");

    assert_eq!(seen_by(&node.outside, &pod, "10.32.0.5"), ip(BRIDGE));
}

#[test]
fn pods_of_this_host_see_the_client_when_asked_to() {
    let Some(mut node) = Node::new("local", &[]) else {
        return;
    };
    node.route_back();
    node.start(&["--no-masq-local"]);
    let pod = node.pod("10.32.0.5");
    node.expose("");

    // The host owns the whole range, which is told within a second.
    node.until("the client is seen", |node| {
        seen_by(&node.outside, &pod, "10.32.0.5") == ip(OUTSIDE)
    });
    assert_eq!(node.ask("GET", "/ipinfo/tracker"), "no-masq-local\n");
    assert_eq!(seen_by(&pod, &node.outside, OUTSIDE), ip(HOST));
}

#[test]
fn exposing_without_masquerading_lasts_over_a_restart() {
    let Some(mut node) = Node::new("bare", &[]) else {
        return;
    };
    node.route_back();
    node.start(&[]);
    let pod = node.pod("10.32.0.5");
    node.expose("?skipNAT=true");
    let pod_is_seen = |node: &Node| seen_by(&pod, &node.outside, OUTSIDE) == ip("10.32.0.5");
    assert!(pod_is_seen(&node));

    let took = node.stop(false);
    assert!(took.as_millis() < 1000, "{took:?}");
    assert!(pod_is_seen(&node), "rules stay when the daemon ends");
    node.start(&[]);

    // Weave Net masqueraded from here on.
    assert!(pod_is_seen(&node));
    assert_eq!(node.state().exposed.len(), 1);
    assert!(!node.state().exposed[0].masquerade);
}

#[test]
fn only_this_host_reaches_the_control_port() {
    let Some(mut node) = Node::new("control", &["ip"]) else {
        return;
    };
    for namespace in [&node.host, &node.outside] {
        let write = || std::fs::write("/proc/sys/net/ipv4/conf/wire/route_localnet", "1");
        namespace.run(write).unwrap().unwrap();
    }
    // The outside takes 127.0.0.1 for an address on the wire, as an attacker would.
    let route = || {
        let words = ["route", "add", "127.0.0.0/8", "via", HOST, "dev", "wire"];
        std::process::Command::new("ip").args(words).status()
    };
    assert!(node.outside.run(route).unwrap().unwrap().success());
    node.start(&[]);

    assert_eq!(seen_by(&node.outside, &node.host, "127.0.0.1"), ip(OUTSIDE));
    let connect = || {
        let target = "127.0.0.1:6784".parse().unwrap();
        std::net::TcpStream::connect_timeout(&target, std::time::Duration::from_millis(700))
    };
    let refused = node.outside.run(connect).unwrap().unwrap_err();

    assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
    assert!(node.host.run(connect).unwrap().is_ok());
}
