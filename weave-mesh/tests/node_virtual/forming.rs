//! How meshes form: dialling, discovery, duplicates, routes, overlays.

use weave_mesh::node::ConnectionState;

use crate::net::{MS, Net, S, address, config, name};

#[test]
fn two_peers_connect_and_list_each_other() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[]), vec![]);
    net.start(2, config(2, &[1]), vec![]);

    net.run_until(3 * S, |net| net.is_full_mesh(&[1, 2]));

    let log = &net.host(2).log;
    for line in [
        "->[10.0.0.1:6783] attempting connection",
        "->[10.0.0.1:6783|0a:00:00:00:00:01(host1)]: connection ready; using protocol version 2",
        "->[10.0.0.1:6783|0a:00:00:00:00:01(host1)]: connection added (new peer)",
        "->[10.0.0.1:6783|0a:00:00:00:00:01(host1)]: connection fully established",
    ] {
        assert!(
            log.iter().any(|logged| logged == line),
            "{line} in {log:#?}"
        );
    }
    let report = net.report(1);
    assert!(!report.connections[0].outbound);
    assert_eq!(
        report.connections[0].info(|_| String::new()),
        "none   0a:00:00:00:00:02(host2)"
    );
    assert_eq!(report.unicast_routes[1], (name(2), name(2)));
    assert_eq!(report.broadcast_routes, [(name(1), vec![name(2)])]);
    assert_eq!(net.report(2).targets, ["10.0.0.1"]);
}

#[test]
fn peers_that_know_one_peer_discover_the_others() {
    let mut net = Net::new(5 * MS);
    let hosts: Vec<usize> = (1..=5).collect();
    net.start(1, config(1, &[]), vec![]);
    for &n in &hosts[1..] {
        net.start(n, config(n, &[1]), vec![]);
    }

    let took = net.run_until(10 * S, |net| net.is_full_mesh(&hosts));

    assert!(took < 8 * S, "{took:?}");
    let duplicates: u64 = hosts
        .iter()
        .map(|&n| net.report(n).counters.duplicate)
        .sum();
    assert_eq!(duplicates, 0, "the lower name dials, the other waits");
}

#[test]
fn without_discovery_only_direct_peers_are_connected() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[]).discovery(false), vec![]);
    net.start(2, config(2, &[1]).discovery(false), vec![]);
    net.start(3, config(3, &[2]).discovery(false), vec![]);

    net.run(30 * S);

    assert_eq!(net.neighbours(1), [name(2)]);
    assert_eq!(net.neighbours(2), [name(1), name(3)]);
    assert!(net.report(3).unicast_routes.contains(&(name(1), name(2))));
}

#[test]
fn peers_that_dial_each_other_at_once_keep_one_connection() {
    for seed in 0..20 {
        let mut net = Net::new(5 * MS);
        net.start(1, config(1, &[2]).seed(2 * seed), vec![]);
        net.start(2, config(2, &[1]).seed(2 * seed + 1), vec![]);

        net.run(20 * S);

        assert!(net.is_full_mesh(&[1, 2]), "seed {seed}: {:#?}", net.logs());
        assert!(
            net.host(1).has_logged("Multiple connections to"),
            "seed {seed}"
        );
        for n in [1, 2] {
            assert!(net.report(n).refusals.is_empty(), "seed {seed}");
        }
        let ids: Vec<u64> = [1, 2]
            .iter()
            .flat_map(|&n| net.host(n).confirmed.values().map(|c| c.connection_uid))
            .collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0], ids[1], "both ends keep the same connection");
    }
}

#[test]
fn overlays_are_confirmed_and_decide_when_a_connection_is_established() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[]).overlays(["fastdp", "sleeve"]), vec![]);
    net.start(2, config(2, &[1]).overlays(["fastdp"]), vec![]);
    net.run(2 * S);

    let (&id1, confirmed) = net.host(1).confirmed.first_key_value().unwrap();
    assert_eq!(confirmed.overlays, ["fastdp"]);
    assert_eq!(confirmed.remote, name(2));
    assert!(confirmed.remote_short_id.is_some());
    assert_eq!(net.report(1).connections[0].state, ConnectionState::Pending);
    assert!(net.host(1).routes.as_ref().unwrap().unicast.is_empty());

    let (&id2, _) = net.host(2).confirmed.first_key_value().unwrap();
    net.with(2, |node, now| node.send_control(now, id2, &[0, 0]));
    net.run(S);
    assert_eq!(net.host(1).controls, [(id1, vec![0, 0].into())]);

    net.with(1, |node, now| node.handle_established(now, id1));
    net.run(2 * S);
    let routes = net.host(1).routes.clone().unwrap();
    assert!(routes.unicast.is_empty(), "one end is not enough");

    net.with(2, |node, now| node.handle_established(now, id2));
    net.with(1, |node, _| {
        node.set_overlay(
            id1,
            "fastdp".into(),
            [("mtu".to_owned(), "1376".to_owned())].into(),
        );
    });
    net.run(2 * S);
    let routes = net.host(1).routes.clone().unwrap();
    assert_eq!(routes.unicast.get(&name(2)), Some(&name(2)));
    assert_eq!(routes.broadcast[&name(1)], [name(2)]);
    assert_eq!(routes.broadcast[&name(2)], []);
    assert_eq!(routes.known.len(), 2);
    assert_eq!(routes.nicknames[&name(2)], "host2");
    assert_eq!(routes.short_ids.len(), 2);
    let connection = net.report(1).connections.remove(0);
    assert_eq!(connection.state, ConnectionState::Established);
    assert_eq!(connection.attributes.as_ref().unwrap()["name"], "fastdp");
    assert_eq!(
        connection.info(|_| String::new()),
        "fastdp 0a:00:00:00:00:02(host2)"
    );
}

#[test]
fn the_route_table_is_replaced_only_when_it_differs() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[]), vec![]);
    net.start(2, config(2, &[1]), vec![]);
    net.run(5 * S);

    let before = net.host(1).routes.clone().unwrap();
    net.run(300 * S);

    let after = net.host(1).routes.clone().unwrap();
    assert!(std::sync::Arc::ptr_eq(&before, &after));
}

#[test]
fn contested_short_ids_end_up_different() {
    let mut net = Net::new(5 * MS);
    let id = weave_mesh::peer::ShortId::try_from(77).unwrap();
    for n in 1..=3 {
        net.start(
            n,
            config(n, if n == 1 { &[] } else { &[1] }).short_id(id),
            vec![],
        );
    }

    net.run(20 * S);

    let routes = net.host(3).routes.clone().unwrap();
    let distinct: std::collections::BTreeSet<_> = routes.short_ids.values().collect();
    assert_eq!(distinct.len(), 3, "{:?}", routes.short_ids);
    assert_eq!(routes.short_ids[&name(1)], id, "the lowest name keeps it");
}

#[test]
fn connect_adds_and_replace_forgets_direct_peers() {
    let mut net = Net::new(5 * MS);
    for n in 1..=3 {
        net.start(n, config(n, &[]).discovery(false), vec![]);
    }
    net.run(S);

    let errors = net.with(1, |node, now| {
        node.connect(
            now,
            vec![address(2).to_string(), "no such:thing".into()],
            false,
        )
    });
    assert_eq!(
        errors,
        ["invalid peer name \"no such:thing\", should be host[:port]"]
    );
    net.run(S);
    assert_eq!(net.neighbours(1), [name(2)]);

    net.with(1, |node, now| {
        node.connect(now, vec!["10.0.0.3".into()], true)
    });
    net.run(S);
    assert_eq!(net.neighbours(1), [name(2), name(3)], "connections stay");
    assert_eq!(net.report(1).targets, ["10.0.0.3"]);

    net.stop(2, false);
    net.run(60 * S);
    assert_eq!(net.neighbours(1), [name(3)]);
    assert_eq!(
        net.report(1).connections.len(),
        1,
        "a forgotten peer is not dialled again"
    );

    net.with(1, |node, now| node.forget(now, &["10.0.0.3".to_owned()]));
    assert!(net.report(1).targets.is_empty());
    assert_eq!(net.neighbours(1), [name(3)]);
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = || {
        let mut net = Net::new(5 * MS);
        for n in 1..=4 {
            net.start(n, config(n, &[1 + n % 4]), vec![]);
        }
        net.run(90 * S);
        let logs: Vec<_> = (1..=4).map(|n| net.host(n).log.clone()).collect();
        let bytes: Vec<_> = (1..=4).map(|n| net.host(n).bytes_sent).collect();
        (logs, bytes)
    };

    assert_eq!(run(), run());
}

#[test]
fn twenty_peers_started_at_once_all_know_everything_within_seconds() {
    let mut net = Net::new(5 * MS);
    let hosts: Vec<usize> = (1..=20).collect();
    for &n in &hosts {
        let peers: &[usize] = if n == 1 { &[] } else { &[1] };
        net.start(n, config(n, peers), vec![]);
    }

    net.run(4 * S);

    assert!(net.is_full_mesh(&hosts), "before the first periodic gossip");
}
