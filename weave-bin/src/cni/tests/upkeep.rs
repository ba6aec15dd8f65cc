//! CHECK, STATUS, GC, and DEL without a daemon.

use std::path::Path;

use serde_json::{Value, json};

use super::fake::{FakeDaemon, Host, nowhere};
use super::{PLAIN, POD1, play, weave_net};
use crate::cni::edge::Seen;
use crate::cni::{Code, Plugin, Reply, SPOOL_VARIABLE};
use crate::store::tests::Scratch;

fn as_added() -> Seen {
    Seen {
        is_up: true,
        is_on_bridge: true,
        addresses: vec!["10.32.0.2/12".parse().unwrap()],
        default_routes: vec!["10.32.0.1".parse().unwrap()],
    }
}

/// A pod after ADD, and the configuration that CHECK gets.
fn added(version: &str) -> (Host, FakeDaemon, String) {
    let host = Host::with_bridge();
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12")]);
    let config = json!({"cniVersion": version, "name": "weave"});
    let reply = weave_net(
        "ADD",
        "c1",
        POD1,
        &config.to_string(),
        &host,
        &daemon.address,
    );
    *host.seen.borrow_mut() = as_added();
    let mut config = config;
    config["prevResult"] = reply.stdout.unwrap();
    (host, daemon, config.to_string())
}

fn code(reply: &Reply) -> Value {
    let stdout = reply.stdout.as_ref().expect("an error is told");
    stdout["code"].clone()
}

#[test]
fn check_is_content_with_what_add_left() {
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let (host, daemon, config) = added(version);

        let reply = weave_net("CHECK", "c1", POD1, &config, &host, &daemon.address);

        assert!(!reply.failed, "{version}: {reply:?}");
        assert_eq!(reply.stdout, None);
    }
}

#[test]
fn check_names_what_has_changed() {
    type Damage = fn(&mut Seen);
    let damages: [(&str, Damage); 4] = [
        ("is down", |seen| seen.is_up = false),
        ("is not attached", |seen| seen.is_on_bridge = false),
        ("lost its address 10.32.0.2/12", |seen| {
            seen.addresses.clear();
        }),
        ("lost its default route", |seen| seen.default_routes.clear()),
    ];
    for (words, damage) in damages {
        let (host, daemon, config) = added("1.1.0");
        damage(&mut host.seen.borrow_mut());

        let reply = weave_net("CHECK", "c1", POD1, &config, &host, &daemon.address);

        assert_eq!(code(&reply), Code::Differs.number(), "{words}");
        let message = reply.stdout.unwrap()["msg"].to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn check_finds_a_lost_interface_and_a_lost_allocation() {
    let (host, daemon, config) = added("1.1.0");
    daemon.book.lock().unwrap().owned.clear();
    let reply = weave_net("CHECK", "c1", POD1, &config, &host, &daemon.address);
    let message = reply.stdout.unwrap()["msg"].to_string();
    assert!(message.contains("is not allocated to"), "{message}");

    host.interfaces.borrow_mut().clear();
    let reply = weave_net("CHECK", "c1", POD1, &config, &host, &daemon.address);

    let message = reply.stdout.unwrap()["msg"].to_string();
    assert!(message.contains("has no interface"), "{message}");
}

#[test]
fn check_is_refused_where_the_version_has_none() {
    let (host, daemon, config) = added("0.3.1");

    let reply = weave_net("CHECK", "c1", POD1, &config, &host, &daemon.address);

    assert_eq!(code(&reply), Code::IncompatibleVersion.number());
}

fn status(plugin: Plugin, host: &Host, daemon: &str) -> Reply {
    play(plugin, &[("CNI_COMMAND", "STATUS")], PLAIN, host, daemon)
}

#[test]
fn status_says_whether_a_pod_could_be_connected_now() {
    let (host, daemon) = (Host::with_bridge(), FakeDaemon::start(&[]));
    let say = |state: &str| daemon.book.lock().unwrap().state = state.to_owned();

    for state in ["ready", "idle"] {
        say(state);
        let reply = status(Plugin::Net, &host, &daemon.address);
        assert!(!reply.failed, "{state}: {reply:?}");
    }
    for state in [
        "awaiting consensus (quorum: 2, known: 1)",
        "waiting for IP(s) to become available",
    ] {
        say(state);
        assert_eq!(code(&status(Plugin::Net, &host, &daemon.address)), 50);
    }
    assert_eq!(code(&status(Plugin::Net, &host, &nowhere())), 51);

    say("ready");
    let input = r#"{"cniVersion":"1.1.0","name":"weave","bridge":"nobr"}"#;
    let env = [("CNI_COMMAND", "STATUS")];
    let without = |plugin| play(plugin, &env, input, &host, &daemon.address);
    assert_eq!(code(&without(Plugin::Net)), 50);
    assert!(!without(Plugin::Ipam).failed, "it needs no bridge");
}

fn gc(list: &Value, host: &Host, daemon: &FakeDaemon) -> Reply {
    let mut input = json!({"cniVersion": "1.1.0", "name": "weave"});
    if !list.is_null() {
        input["cni.dev/valid-attachments"] = list.clone();
    }
    let env = [("CNI_COMMAND", "GC")];
    play(Plugin::Net, &env, &input.to_string(), host, &daemon.address)
}

#[test]
fn gc_frees_what_is_not_listed_and_sweeps_its_interface() {
    let host = Host::with_bridge();
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12"), ("c2", "10.32.0.3/12")]);
    for id in ["c1", "c2"] {
        weave_net("ADD", id, POD1, PLAIN, &host, &daemon.address);
    }
    let requests = daemon.book.lock().unwrap().requests.clone();
    assert_eq!(
        requests[0],
        "POST /ip/c1?plugin=weave-net&network=weave&family=all"
    );

    assert!(!gc(&Value::Null, &host, &daemon).failed);
    assert!(daemon.owned("c1").is_some(), "no list is no news");
    let list = json!([{"containerID": "c2", "ifname": "eth0"}]);
    let reply = gc(&list, &host, &daemon);

    assert!(!reply.failed, "{reply:?}");
    assert_eq!(
        (daemon.owned("c1"), host.swept.take()),
        (None, vec!["c1".to_owned()])
    );
    assert!(daemon.owned("c2").is_some());
    let told = daemon.book.lock().unwrap().told.last().cloned().unwrap();
    assert_eq!(told, "/gc network=weave&valid=c2");
}

fn with_spool(plugin: Plugin, command: &str, host: &Host, daemon: &str, spool: &Path) -> Reply {
    let spool = spool.display().to_string();
    let env = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", POD1),
        ("CNI_IFNAME", "eth0"),
        (SPOOL_VARIABLE, &*spool),
    ];
    play(plugin, &env, PLAIN, host, daemon)
}

#[test]
fn del_without_a_daemon_leaves_a_note_that_the_next_add_takes_back() {
    let scratch = Scratch::new();
    let spool = scratch.path("cni-pending");
    let host = Host::with_bridge();
    let daemon = FakeDaemon::start(&[("c1", "10.32.0.2/12")]);
    with_spool(Plugin::Net, "ADD", &host, &daemon.address, &spool);

    for plugin in [Plugin::Net, Plugin::Ipam] {
        let reply = with_spool(plugin, "DEL", &host, &nowhere(), &spool);

        assert!(!reply.failed, "{reply:?}");
        let last = reply.log.last().unwrap();
        assert!(last.starts_with("the address is released later"), "{last}");
    }
    assert!(host.interfaces.borrow().is_empty());
    assert!(spool.join("c1").exists());

    with_spool(Plugin::Net, "ADD", &host, &daemon.address, &spool);
    assert!(!spool.join("c1").exists());
}

#[test]
fn del_without_a_daemon_fails_where_nothing_can_be_noted() {
    let host = Host::with_bridge();
    let spool = Path::new("/nonexistent/spool");

    let reply = with_spool(Plugin::Net, "DEL", &host, &nowhere(), spool);

    assert_eq!(code(&reply), Code::TryAgain.number());
}
