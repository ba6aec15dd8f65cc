//! Digests and deltas between nodes, and what neighbours without them get.

use super::net::{MS, Net, S, address, config, name};
use weave_mesh::node::ChannelTraffic;

fn topology_traffic(net: &mut Net, n: usize) -> ChannelTraffic {
    net.report(n).traffic["topology"]
}

/// Whether these hosts know each other, nobody else, and each the same of all.
fn agree(net: &mut Net, hosts: &[usize]) -> bool {
    let first = net.report(hosts[0]).peers;
    first.len() == hosts.len() && hosts.iter().all(|&n| net.report(n).peers == first)
}

fn full_mesh(hosts: &[usize], is_sync: impl Fn(usize) -> bool) -> Net {
    let mut net = Net::new(5 * MS);
    for &n in hosts {
        let peers: &[usize] = if n == hosts[0] { &[] } else { &hosts[..1] };
        net.start(n, config(n, peers).sync(is_sync(n)), vec![]);
    }
    net.run_until(20 * S, |net| net.is_full_mesh(hosts));
    net.run(60 * S);
    net
}

/// Law X2.
#[test]
fn who_knows_the_same_exchanges_digests_and_nothing_else() {
    let hosts: Vec<usize> = (1..=8).collect();
    let mut net = full_mesh(&hosts, |_| true);

    for n in hosts.clone() {
        let before = topology_traffic(&mut net, n);
        let differed = net.report(n).counters.digests_differed;
        net.run(300 * S);
        let after = topology_traffic(&mut net, n);

        let messages = after.messages_sent - before.messages_sent;
        assert!((10..=80).contains(&messages), "{messages} digests");
        assert_eq!(after.bytes_sent - before.bytes_sent, 10 * messages);
        assert_eq!(net.report(n).counters.digests_differed, differed);
    }
}

/// Law X3.
#[test]
fn an_old_neighbour_is_told_nothing_that_it_holds() {
    let hosts: Vec<usize> = (1..=4).collect();
    let mut net = full_mesh(&hosts, |n| n == 1);

    let before = topology_traffic(&mut net, 1);
    net.run(60 * S);
    let soon = topology_traffic(&mut net, 1);
    net.run(600 * S);
    let late = topology_traffic(&mut net, 1);

    assert_eq!(soon.bytes_sent, before.bytes_sent, "nothing has changed");
    let renewals = late.messages_sent - soon.messages_sent;
    // Three neighbours, everything again every four to six minutes.
    assert!((3..=9).contains(&renewals), "{renewals}");
}

/// Law X4.
#[test]
fn deltas_go_to_those_who_take_them_and_all_converge() {
    let hosts: Vec<usize> = (1..=9).collect();
    let mut net = full_mesh(&hosts, |n| n % 3 != 0);

    net.stop(5, false);
    let left: Vec<usize> = hosts.iter().copied().filter(|n| *n != 5).collect();
    net.run_until(10 * S, |net| agree(net, &left));

    for n in left {
        let report = net.report(n);
        assert_eq!(report.counters.unknown_tag, 0, "host {n}");
        assert_eq!(report.peers.len(), 8);
        let is_sync = n % 3 != 0;
        assert_eq!(report.counters.deltas_applied > 0, is_sync, "host {n}");
    }
}

/// Law X5.
#[test]
fn news_passes_old_and_new_peers_along_a_line() {
    let mut net = Net::new(5 * MS);
    for n in 1..=7 {
        let peers: Vec<usize> = if n == 1 { vec![] } else { vec![n - 1] };
        let config = config(n, &peers).discovery(false).sync(n % 4 != 0);
        net.start(n, config, vec![]);
    }

    let took = net.run_until(40 * S, |net| {
        (1..=7).all(|n| {
            let peers = net.report(n).peers;
            peers.len() == 7 && peers.iter().all(|peer| !peer.connections.is_empty())
        })
    });

    assert!(took < 15 * S, "{took:?}");
    net.stop(7, false);
    let took = net.run_until(40 * S, |net| {
        (1..=6).all(|n| net.report(n).peers.iter().all(|peer| peer.name != name(7)))
    });
    assert!(took < 15 * S, "{took:?}");
}

/// The version of the record of `of` that host `n` knows.
fn known_version(net: &mut Net, n: usize, of: usize) -> u64 {
    let report = net.report(n);
    let record = report.peers.iter().find(|peer| peer.name == name(of));
    record.map_or(0, |record| record.version)
}

/// Ends the connection between two hosts; the one that dialled makes another.
fn cut(net: &mut Net, n: usize, other: usize) {
    net.with(n, |node, now| {
        if let Some(id) = node.connection_with(name(other)) {
            node.handle_overlay_failed(now, id, "test".to_owned());
        }
    });
}

/// Law C4.
#[test]
fn a_change_is_announced_at_once() {
    let hosts: Vec<usize> = (1..=10).collect();
    let mut net = full_mesh(&hosts, |n| n != 10);

    for (n, other) in [(1, 3), (4, 2), (9, 10)] {
        cut(&mut net, n, other);
        let version = known_version(&mut net, n, n);
        let took = net.run_until(5 * S, |net| {
            hosts.iter().all(|&by| known_version(net, by, n) >= version)
        });

        assert!(
            took <= 50 * MS,
            "{n} was cut off {other}, known after {took:?}"
        );
        net.run(20 * S);
    }
}

/// Law C4.
#[test]
fn two_peers_that_connect_know_it_of_each_other_at_once() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[]), vec![]);
    net.start(2, config(2, &[1]), vec![]);

    let took = net.run_until(5 * S, |net| {
        net.is_full_mesh(&[1, 2])
            && [1, 2].iter().all(|&n| {
                let routes = net.host(n).routes.clone();
                routes.is_some_and(|routes| routes.unicast.len() == 1)
            })
    });

    assert!(took <= 200 * MS, "data has a way after {took:?}");
}

/// Law C3.
#[test]
fn a_record_that_keeps_changing_is_announced_every_three_seconds() {
    let hosts: Vec<usize> = (1..=10).collect();
    let mut net = full_mesh(&hosts, |_| true);
    let change = |net: &mut Net, round: usize| {
        let other = 3 + round % 8;
        cut(net, 1, other);
        net.with(1, |node, now| {
            node.connect(now, vec![address(other).to_string()], false)
        });
        net.run(100 * MS);
    };
    // What may be told at once is spent first.
    (0..100).for_each(|round| change(&mut net, round));

    let begin = known_version(&mut net, 1, 1);
    let (mut last, mut silent, mut longest, mut count) = (0, 0, 0, 0);
    for round in 0..300 {
        change(&mut net, round);
        let now = known_version(&mut net, 2, 1);
        silent = if now == last { silent + 1 } else { 0 };
        count += u64::from(now != last);
        longest = longest.max(silent);
        last = now;
    }

    assert!(
        longest <= 31,
        "nothing was told for {longest} tenths of a second"
    );
    // 500 messages, nine for each that is told at once; and a comparison every second or two.
    let versions = known_version(&mut net, 1, 1) - begin;
    assert!(count <= 100, "{count} versions were told");
    assert!(versions > 2 * count, "of {versions}");
}
