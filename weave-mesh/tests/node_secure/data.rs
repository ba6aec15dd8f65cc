//! What the data plane is told: trust, encryption, and which overlays are offered.

use ipnet::IpNet;
use weave_mesh::node::{Config, ConfigError, Node};

use super::world::{World, config, name};

fn subnets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|subnet| subnet.parse().unwrap()).collect()
}

fn host(n: usize, words: &[&str], peers: &[usize], trusted: &[&str]) -> Config {
    config(n, words, peers)
        .trusted_subnets(subnets(trusted))
        .overlays(["fastdp", "sleeve"])
        .plain_overlays(["fastdp"])
}

/// Connects two hosts and returns what each is told, and how each reports the connection.
fn connect(one: Config, two: Config) -> Vec<(bool, Vec<String>, Option<bool>, String)> {
    let mut world = World::default();
    world.start(1, one);
    world.start(2, two);
    world.advance(super::world::S);
    let mut outcome = Vec::new();
    for n in [1, 2] {
        let (_, overlay) = world.overlays.iter().find(|(host, _)| *host == n).unwrap();
        assert_eq!(overlay.encrypted, overlay.session_key.is_some());
        let (encrypted, overlays) = (overlay.encrypted, overlay.overlays.clone());
        let now = world.now;
        let report = world.node(n).report(now);
        let connection = &report.connections[0];
        let attribute = connection
            .attributes
            .as_ref()
            .and_then(|all| all.get("encrypted"));
        assert_eq!(attribute.is_some(), encrypted);
        let info = connection.info(|_| String::new());
        outcome.push((encrypted, overlays, connection.encrypted, info));
    }
    outcome
}

#[test]
fn both_ends_get_the_same_key_for_data() {
    let mut world = World::default();
    world.start(1, host(1, &["secret"], &[], &[]));
    world.start(2, host(2, &["secret"], &[1], &["10.0.0.0/24"]));
    world.advance(super::world::S);

    let [(_, one), (_, two)] = world.overlays.as_slice() else {
        panic!("{:?}", world.overlays)
    };
    assert!(one.session_key.is_some());
    assert_eq!(one.session_key, two.session_key);
    assert_eq!(one.connection_uid, two.connection_uid);
}

#[test]
fn data_is_encrypted_unless_both_ends_trust_the_network() {
    for (one, two, encrypted) in [
        (&[][..], &[][..], true),
        (&["10.0.0.0/24"], &[], true),
        (&[], &["10.0.0.0/24"], true),
        (&["10.0.0.0/24"], &["192.168.0.0/16"], true),
        (&["10.0.0.0/24"], &["192.168.0.0/16", "10.0.0.1/32"], false),
    ] {
        let told = connect(
            host(1, &["secret"], &[], one),
            host(2, &["secret"], &[1], two),
        );
        for (is_encrypted, overlays, reported, info) in told {
            assert_eq!(is_encrypted, encrypted, "{one:?} {two:?}");
            assert_eq!(reported, Some(encrypted));
            let prefix = if encrypted {
                "encrypted   none   "
            } else {
                "unencrypted none   "
            };
            assert!(info.starts_with(prefix), "{info}");
            let expected: &[&str] = if encrypted {
                &["sleeve"]
            } else {
                &["fastdp", "sleeve"]
            };
            assert_eq!(overlays, expected, "{one:?} {two:?}");
        }
    }
}

#[test]
fn without_a_password_trust_changes_nothing() {
    let told = connect(host(1, &[], &[], &[]), host(2, &[], &[1], &["10.0.0.0/8"]));

    for (is_encrypted, overlays, reported, info) in told {
        assert_eq!((is_encrypted, reported), (false, None));
        assert_eq!(overlays, ["fastdp", "sleeve"]);
        assert!(info.starts_with("none   "), "{info}");
    }
}

/// An empty list would end the connection, and gossip is worth having without data.
#[test]
fn a_peer_with_nothing_but_plain_overlays_offers_them_and_is_told_not_to_use_them() {
    let only = |n, peers: &[usize]| host(n, &["secret"], peers, &[]).overlays(["fastdp"]);

    let told = connect(only(1, &[]), only(2, &[1]));

    for (is_encrypted, overlays, ..) in told {
        assert!(is_encrypted);
        assert_eq!(overlays, ["fastdp"]);
    }
}

#[test]
fn the_report_names_the_trusted_subnets() {
    let mut node = Node::new(host(1, &[], &[], &["10.0.0.0/8", "fd00::/8"]), []).unwrap();

    let report = node.report(super::world::S);

    assert_eq!(report.trusted_subnets, ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(report.name, name(1));
}

#[test]
fn a_configuration_that_routers_read_differently_is_refused() {
    let order = config(1, &[], &[]).overlays(["sleeve", "fastdp"]);
    let version = config(1, &[], &[]).min_version(3);

    assert_eq!(Node::new(order, []).unwrap_err(), ConfigError::OverlayOrder);
    assert_eq!(
        Node::new(version, []).unwrap_err(),
        ConfigError::MinVersion(3)
    );
}
