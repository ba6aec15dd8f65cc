//! Passwords that differ, and passwords that change.

use weave_mesh::crypto::KeyringError;
use weave_mesh::node::{Config, ConfigError, Node};

use super::world::{S, World, address, config, keyring, name};

#[test]
fn peers_with_one_password_connect_and_gossip() {
    let mut world = World::default();
    world.start(1, config(1, &["secret"], &[]));
    world.start(2, config(2, &["secret"], &[1]));
    world.start(3, config(3, &["secret"], &[2]));

    world.advance(5 * S);

    assert!(world.connected(1, 2) && world.connected(2, 1));
    let known = world.node(1).topology().get(name(3)).cloned();
    assert!(known.is_some(), "gossip passes a sealed connection");
    let report = world.node(1).report(5 * S);
    assert!(report.encryption);
    assert_eq!(report.passwords.unwrap().with_current, 1);
}

#[test]
fn a_wrong_password_is_refused_counted_and_named_on_both_sides() {
    let mut world = World::default();
    world.start(1, config(1, &["right"], &[]));
    world.start(2, config(2, &["wrong"], &[1]));

    world.advance(S);

    assert!(!world.connected(1, 2));
    let acceptor = world.node(1).report(S);
    let [host] = acceptor.refusals.as_slice() else {
        panic!("{:?}", acceptor.refusals)
    };
    assert_eq!(host.address, address(2).ip());
    assert_eq!(host.reason, "Unable to decrypt TCP msg");
    assert!(host.count >= 1);
    assert_eq!(acceptor.counters.password_refused, host.count);
    assert!(
        acceptor.peers.len() == 1,
        "a stranger is not in the topology"
    );
    let dialler = world.node(2).report(S);
    let error = dialler.connections[0].error.clone().unwrap();
    assert_eq!(error, "EOF (the remote may have another password)");
    assert!(dialler.counters.password_refused >= 1);
    let lines = "connection shutting down due to error during handshake: Unable to decrypt TCP msg";
    assert!(world.count(lines) >= 1);
}

#[test]
fn a_peer_without_password_is_refused_counted_and_named() {
    let mut world = World::default();
    world.start(1, config(1, &["right"], &[]));
    world.start(2, config(2, &[], &[1]));

    world.advance(S);

    let report = world.node(1).report(S);
    assert!(report.counters.password_missing >= 1);
    assert_eq!(
        report.refusals[0].reason,
        "password specified, but peer requested an unencrypted connection"
    );
    let report = world.node(2).report(S);
    assert!(!report.encryption);
    assert_eq!(
        report.connections[0].error.as_deref(),
        Some("no password specificed, but peer requested an encrypted connection")
    );
}

/// One host after another takes each step, and one new host joins at every moment in between.
#[test]
fn a_password_changes_in_three_steps_without_losing_a_connection() {
    const HOSTS: usize = 6;
    let steps = [&["old"][..], &["old", "new"], &["new", "old"], &["new"]];
    let mut world = World::default();
    for n in 1..=HOSTS {
        let others: Vec<_> = (1..=HOSTS).filter(|&other| other != n).collect();
        world.start(n, config(n, steps[0], &others));
    }
    world.advance(10 * S);
    let mut newcomer = 50;
    for pair in steps.windows(2) {
        for n in 1..=HOSTS {
            world.node(n).set_keyring(keyring(pair[1])).unwrap();
            world.advance(S);
            // Whoever starts in the middle of a step finds peers of both sides of it.
            for words in pair {
                newcomer += 1;
                let all: Vec<_> = (1..=HOSTS).collect();
                world.start(newcomer, config(newcomer, words, &all));
                world.advance(S);
                for other in 1..=HOSTS {
                    assert!(world.connected(newcomer, other), "{words:?}: {other}");
                }
                world.stop(newcomer);
            }
        }
        for (a, b) in (1..=HOSTS).flat_map(|a| (1..a).map(move |b| (a, b))) {
            assert!(world.connected(a, b), "{a} and {b} after {pair:?}");
        }
    }

    let ended: Vec<_> = world
        .log
        .iter()
        .filter(|(_, line)| line.contains("shutting down") && !line.contains("EOF"))
        .filter(|(_, line)| !line.contains("Multiple connections"))
        .collect();
    assert!(ended.is_empty(), "{ended:?}");
    let now = world.now;
    let report = world.node(1).report(now).passwords.unwrap();
    assert_eq!((report.accepted, report.with_dropped), (1, HOSTS - 1));
}

/// The acceptor says who it is before it refuses, so nobody blames the password.
#[test]
fn a_refusal_for_another_reason_is_not_taken_for_a_wrong_password() {
    let mut world = World::default();
    world.start(1, config(1, &["secret"], &[]).connection_limit(1));
    world.start(2, config(2, &["secret"], &[1]));
    world.advance(S);
    world.start(3, config(3, &["secret"], &[1]));
    world.advance(S);

    assert_eq!(world.count(": refused: Connection limit reached (1)"), 1);
    assert_eq!(world.count("Connection limit reached (1)"), 2);
    assert_eq!(world.count("another password"), 0);
    let now = world.now;
    assert_eq!(world.node(3).report(now).counters.password_refused, 0);
}

#[test]
fn a_dialler_that_prefers_what_was_dropped_already_goes_on_to_its_next_password() {
    let mut world = World::default();
    world.start(1, config(1, &["new"], &[]));
    world.start(2, config(2, &["old", "new"], &[1]));

    world.advance(4 * S);

    assert!(world.connected(2, 1));
    let refused = world.node(1).report(4 * S).counters.password_refused;
    assert_eq!(refused, 1, "the second attempt has the right one");
}

#[test]
fn a_password_that_worked_is_used_again_until_the_keyring_changes() {
    let mut world = World::default();
    world.start(1, config(1, &["new"], &[]));
    world.start(2, config(2, &["old", "new"], &[1]));
    world.advance(4 * S);
    world.stop(1);
    world.start(1, config(1, &["new"], &[]));
    world.advance(20 * S);

    assert!(world.connected(2, 1));
    let now = world.now;
    assert_eq!(world.node(1).report(now).counters.password_refused, 0);

    world.node(2).set_keyring(keyring(&["new", "old"])).unwrap();
    world.stop(1);
    world.start(1, config(1, &["new"], &[]));
    world.advance(20 * S);
    let now = world.now;
    assert_eq!(world.node(1).report(now).counters.password_refused, 0);
    assert!(world.connected(2, 1));
}

#[test]
fn a_running_mesh_is_not_switched_between_encrypted_and_plain() {
    let mut world = World::default();
    world.start(1, config(1, &["secret"], &[]));
    world.start(2, config(2, &[], &[]));

    let lost = world.node(1).set_keyring(keyring(&[]));
    let gained = world.node(2).set_keyring(keyring(&["secret"]));

    assert_eq!(lost, Err(KeyringError::Switched));
    assert_eq!(gained, Err(KeyringError::Switched));
    assert!(world.node(1).report(S).encryption);
}

#[test]
fn an_engine_without_a_source_of_keys_does_not_start_with_a_password() {
    let config = Config::default()
        .name(name(1))
        .keyring(keyring(&["secret"]));

    let error = Node::new(config, []).unwrap_err();

    assert_eq!(error, ConfigError::Keyring(KeyringError::NoSeed));
}
