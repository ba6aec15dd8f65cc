//! Digests and deltas between nodes, and what neighbours without them get.

use super::net::{MS, Net, S, config, name};
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

/// Law C3.
#[test]
fn a_record_that_keeps_changing_is_announced_every_three_seconds() {
    let hosts: Vec<usize> = (1..=10).collect();
    let mut net = full_mesh(&hosts, |_| true);
    let told = |net: &mut Net| {
        let report = net.report(2);
        let record = report.peers.iter().find(|peer| peer.name == name(1));
        record.unwrap().version
    };

    let (mut last, mut silent, mut longest, mut count) = (told(&mut net), 0, 0, 0);
    for round in 0..60 {
        let other = name(3 + round % 8);
        net.with(1, |node, now| {
            if let Some(id) = node.connection_with(other) {
                node.handle_overlay_failed(now, id, "test".to_owned());
            }
        });
        net.run(500 * MS);
        let now = told(&mut net);
        silent = if now == last { silent + 1 } else { 0 };
        count += usize::from(now != last);
        longest = longest.max(silent);
        last = now;
    }

    assert!(longest <= 6, "nothing was told for {longest} half seconds");
    assert!(count <= 30, "{count} of more than 60 versions were told");
}
