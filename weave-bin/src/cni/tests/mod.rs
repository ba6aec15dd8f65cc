//! Whole calls, from the environment to the printed object, on a host and a daemon in memory.

mod dual;
mod fake;
mod recorded;
mod upkeep;

use std::time::Duration;

use serde_json::json;

use super::daemon::Daemon;
use super::*;
use fake::{FakeDaemon, Host, nowhere};

/// One call of `plugin` with the given variables and standard input.
fn play(plugin: Plugin, env: &[(&str, &str)], input: &str, host: &Host, daemon: &str) -> Reply {
    let variable = |name: &str| {
        env.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let call = match Call::parse(variable) {
        Ok(call) => call.expect("a command"),
        Err(error) => return Reply::failure(Version::newest(), &error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let spool = env.iter().find(|(key, _)| *key == SPOOL_VARIABLE);
    let world = World {
        edge: host,
        client: Client::new(daemon),
        spool: spool.map_or("/nonexistent/spool", |(_, path)| path).into(),
    };
    runtime.block_on(answer(plugin, &call, input.as_bytes(), world))
}

fn weave_net(
    command: &str,
    id: &str,
    netns: &str,
    input: &str,
    host: &Host,
    daemon: &str,
) -> Reply {
    let env = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", id),
        ("CNI_NETNS", netns),
        ("CNI_IFNAME", "eth0"),
    ];
    play(Plugin::Net, &env, input, host, daemon)
}

const POD1: &str = "/var/run/netns/pod1";
const PLAIN: &str = r#"{"cniVersion":"1.1.0","name":"weave"}"#;

#[test]
fn add_reports_both_ends_the_address_and_the_default_route() {
    let (host, daemon) = (
        Host::with_bridge(),
        FakeDaemon::start(&[("c1", "10.32.0.2/12")]),
    );

    let reply = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);

    assert_eq!(
        reply.stdout.unwrap(),
        json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "vethweplc1", "mac": "02:00:00:00:00:01", "mtu": 1376},
                {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1376, "sandbox": POD1},
            ],
            "ips": [{"interface": 1, "address": "10.32.0.2/12", "gateway": "10.32.0.1"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.32.0.1"}],
            "dns": {},
        })
    );
}

#[test]
fn a_bridge_without_an_address_is_exposed_once_the_pod_needs_a_gateway() {
    let host = Host::with_bridge();
    host.bridge_addresses.borrow_mut().clear();
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12"), ("weave:expose", "10.32.0.1/12")]);

    let reply = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);

    assert_eq!(reply.stdout.unwrap()["ips"][0]["gateway"], "10.32.0.1");
    let requests = daemon.book.lock().unwrap().requests.clone();
    assert_eq!(
        requests[1..],
        [
            "POST /ip/weave:expose?family=all",
            "POST /expose/10.32.0.1/12"
        ]
    );
}

#[test]
fn an_empty_list_of_routes_needs_no_gateway() {
    let host = Host::with_bridge();
    host.bridge_addresses.borrow_mut().clear();
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12")]);
    let input = r#"{"cniVersion":"1.0.0","name":"weave","ipam":{"routes":[]}}"#;

    let reply = weave_net("ADD", "c1", POD1, input, &host, &daemon.address);

    let object = reply.stdout.unwrap();
    assert!(object.get("routes").is_none());
    assert!(object["ips"][0].get("gateway").is_none());
    assert_eq!(
        host.wishes.borrow()[0],
        "mtu None gateways [] routes Some([]) hairpin true"
    );
}

#[test]
fn a_failed_attachment_gives_the_address_back() {
    let host = Host {
        attach_fails: true,
        ..Host::with_bridge()
    };
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12")]);

    let reply = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);

    assert_eq!(reply.stdout.unwrap()["code"], Code::Attach.number());
    assert_eq!(daemon.owned("c1"), None);
}

#[test]
fn a_failed_attachment_keeps_an_address_of_an_earlier_call() {
    let host = Host {
        attach_fails: true,
        ..Host::with_bridge()
    };
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12")]);
    daemon
        .book
        .lock()
        .unwrap()
        .owned
        .insert("c1".to_owned(), "10.32.0.2/12".to_owned());

    let reply = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);

    assert!(reply.failed);
    assert_eq!(daemon.owned("c1").as_deref(), Some("10.32.0.2/12"));
}

#[test]
fn a_bad_namespace_costs_no_address() {
    let (host, daemon) = (
        Host::with_bridge(),
        FakeDaemon::start(&[("c1", "10.32.0.2/12")]),
    );

    for netns in ["/var/run/netns/nosuch", "/proc/1/ns/net"] {
        let reply = weave_net("ADD", "c1", netns, PLAIN, &host, &daemon.address);

        assert_eq!(reply.stdout.unwrap()["code"], 8);
    }
    assert!(daemon.book.lock().unwrap().requests.is_empty());
}

#[test]
fn a_refusal_of_the_daemon_is_passed_on() {
    let (host, daemon) = (Host::with_bridge(), FakeDaemon::start(&[]));
    let input = r#"{"name":"weave","ipam":{"subnet":"1.2.3.0/24"}}"#;

    let reply = weave_net("ADD", "c1", POD1, input, &host, &daemon.address);

    let object = reply.stdout.unwrap();
    assert_eq!(
        object["msg"],
        "unable to allocate IP address: 400 Bad Request: range 1.2.3.0/24 out of bounds"
    );
    assert_eq!(object["code"], 100);
    assert_eq!(
        daemon.book.lock().unwrap().requests,
        ["POST /ip/c1/1.2.3.0/24?plugin=weave-net&network=weave"]
    );
}

#[test]
fn a_grant_without_an_answer_is_left_to_del() {
    let (host, daemon) = (
        Host::with_bridge(),
        FakeDaemon::start(&[("c1", "10.32.0.2/12")]),
    );
    daemon.book.lock().unwrap().silent = true;
    let env = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", POD1),
    ];
    let call = Call::parse(|name| {
        let found = env
            .iter()
            .chain(&[("CNI_IFNAME", "eth0")])
            .find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    let call = call.unwrap().unwrap();
    let network = Network::parse(PLAIN.as_bytes()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();

    let outcome = runtime.block_on(async {
        let mut scene = Scene {
            plugin: Plugin::Net,
            call: &call,
            input: PLAIN.as_bytes(),
            network: &network,
            daemon: Daemon::new(Client::new(&daemon.address), Duration::from_millis(200)),
            edge: &host,
            spool: "/nonexistent/spool".into(),
            log: Vec::new(),
        };
        net::add(&mut scene).await
    });

    assert_eq!(outcome.unwrap_err().code(), Code::TryAgain);
    assert!(daemon.owned("c1").is_some());
    weave_net("DEL", "c1", POD1, PLAIN, &host, &daemon.address);
    assert_eq!(daemon.owned("c1"), None);
}

#[test]
fn an_address_of_a_daemon_of_weave_net_is_left_to_del() {
    let host = Host {
        attach_fails: true,
        ..Host::with_bridge()
    };
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12")]);
    daemon.book.lock().unwrap().is_old = true;

    let reply = weave_net("ADD", "c1", POD1, PLAIN, &host, &daemon.address);

    assert!(reply.failed);
    assert!(daemon.owned("c1").is_some());
}

#[test]
fn del_never_removes_an_interface_of_the_host() {
    let (host, daemon) = (Host::with_bridge(), FakeDaemon::start(&[]));
    host.interfaces
        .borrow_mut()
        .insert(("/proc/1/ns/net".to_owned(), "eth0".to_owned()));

    let reply = weave_net("DEL", "c1", "/proc/1/ns/net", PLAIN, &host, &daemon.address);

    assert!(!reply.failed);
    assert_eq!(host.interfaces.borrow().len(), 1);
}

#[test]
fn del_with_a_configuration_that_add_refuses_succeeds() {
    let host = Host::with_bridge();

    let reply = weave_net(
        "DEL",
        "c1",
        "",
        r#"{"name":"weave","mtu":"big"}"#,
        &host,
        &nowhere(),
    );

    assert!(!reply.failed);
    assert!(reply.log[0].contains("\"mtu\" must be"), "{:?}", reply.log);
}

/// ADD for the pod shop/db.
fn add_pod(host: &Host, daemon: &FakeDaemon) -> Reply {
    let env = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", POD1),
        ("CNI_IFNAME", "eth0"),
        (
            "CNI_ARGS",
            "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=db;K8S_POD_UID=7",
        ),
    ];
    play(Plugin::Net, &env, PLAIN, host, &daemon.address)
}

#[test]
fn a_pod_is_connected_when_its_policies_are_in_force() {
    let (host, daemon) = (
        Host::with_bridge(),
        FakeDaemon::start(&[("c1", "10.32.0.2/12")]),
    );
    {
        let mut book = daemon.book.lock().unwrap();
        book.controller = Some(daemon.address.clone());
        book.unknown = 1;
    }

    let reply = add_pod(&host, &daemon);

    assert!(!reply.failed, "{:?}", reply.stdout);
    let book = daemon.book.lock().unwrap();
    let [refused, placed, guarded] = book.told.as_slice() else {
        panic!("{:?}", book.told);
    };
    let form = "/pod namespace=shop&name=db&uid=7&address=10.32.0.2&wait=";
    assert!(
        refused.starts_with(form) && placed.starts_with(form),
        "{placed}"
    );
    let (mac, address) = ("02:00:00:00:00:02", "10.32.0.2");
    let form = format!("/guard port=vethweplc1&mac={mac}&address={address}");
    assert_eq!(*guarded, form);
}

#[test]
fn without_a_controller_to_expect_nobody_is_told() {
    let (host, daemon) = (
        Host::with_bridge(),
        FakeDaemon::start(&[("c1", "10.32.0.2/12")]),
    );

    let reply = add_pod(&host, &daemon);

    assert!(!reply.failed, "{:?}", reply.stdout);
    assert!(daemon.book.lock().unwrap().told.is_empty());
}

#[test]
fn a_pod_that_cannot_be_connected_takes_its_addresses_back() {
    let host = Host {
        attach_fails: true,
        ..Host::with_bridge()
    };
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12")]);
    daemon.book.lock().unwrap().controller = Some(daemon.address.clone());

    let reply = add_pod(&host, &daemon);

    assert!(reply.failed);
    let book = daemon.book.lock().unwrap();
    let path = "DELETE /pod?namespace=shop&name=db&uid=7&address=10.32.0.2";
    assert!(
        book.requests.iter().any(|one| one == path),
        "{:?}",
        book.requests
    );
    assert!(!book.owned.contains_key("c1"));
}
