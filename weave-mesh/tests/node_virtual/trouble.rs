//! What happens when things break: crashes, partitions, silence.

use weave_mesh::node::ConnectionState;

use crate::net::{MS, Net, S, Words, config, name};

fn mesh(hosts: usize) -> (Net, Vec<Words>) {
    let mut net = Net::new(5 * MS);
    let words: Vec<_> = (0..=hosts).map(|_| Words::default()).collect();
    for (n, channel) in words.iter().enumerate().skip(1) {
        let peers: &[usize] = if n == 1 { &[] } else { &[1] };
        net.start(n, config(n, peers), vec![("words", channel.clone())]);
    }
    let all: Vec<_> = (1..=hosts).collect();
    net.run_until(15 * S, |net| net.is_full_mesh(&all));
    net.run(5 * S);
    (net, words)
}

#[test]
fn a_peer_that_stops_is_removed_and_told_about() {
    let (mut net, words) = mesh(3);

    net.stop(3, false);
    net.run(5 * S);

    assert!(
        net.host(1)
            .has_logged("Removed unreachable peer 0a:00:00:00:00:03(host3)")
    );
    assert!(net.host(1).has_logged(
        "|0a:00:00:00:00:03(host3)]: connection shutting down due to error: connection reset by peer"
    ));
    assert!(
        net.host(1)
            .has_logged("|0a:00:00:00:00:03(host3)]: connection deleted")
    );
    assert_eq!(*words[1].gone.lock().unwrap(), [name(3)]);
    assert!(
        !net.host(1)
            .routes
            .as_ref()
            .unwrap()
            .known
            .contains(&name(3))
    );
    assert_eq!(net.report(1).termination_count, 1);
}

#[test]
fn a_restarted_peer_is_back_at_once_although_its_old_connection_still_stands() {
    for seed in 0..10 {
        let (mut net, words) = mesh(3);
        words[1].add("kept");

        net.stop(2, true);
        let fresh = Words::default();
        let again = config(2, &[1, 3]).seed(1000 + seed);
        net.start(2, again, vec![("words", fresh.clone())]);

        let took = net.run_until(5 * S, |net| net.is_full_mesh(&[1, 2, 3]));
        assert!(took < 3 * S, "seed {seed}: {took:?}");
        assert!(
            net.host(1).has_logged("connection added (restarted peer)"),
            "seed {seed}"
        );
        assert_eq!(fresh.all(), ["kept"]);
    }
}

#[test]
fn a_partition_is_noticed_and_heals() {
    let (mut net, words) = mesh(3);
    for n in [1, 2] {
        net.set_path(n, 3, false);
    }
    words[3].add("alone");

    let took = net.run_until(100 * S, |net| net.neighbours(1) == [name(2)]);
    assert!(took > 25 * S && took < 70 * S, "{took:?}");
    net.run(90 * S);
    assert!(net.neighbours(3).is_empty());
    let waiting = net.report(3).connections;
    assert!(
        waiting
            .iter()
            .all(|c| c.state >= ConnectionState::Connecting)
    );

    for n in [1, 2] {
        net.set_path(n, 3, true);
    }
    net.run_until(400 * S, |net| net.is_full_mesh(&[1, 2, 3]));
    net.run(2 * S);
    assert_eq!(words[1].all(), ["alone"]);
}

#[test]
fn what_cannot_be_written_ends_the_connection_after_half_a_minute() {
    let (mut net, _) = mesh(2);
    net.set_path(1, 2, false);

    // The first heartbeat that does not get through starts the deadline.
    net.run(65 * S);

    let reports = [net.report(1), net.report(2)];
    assert!(
        reports
            .iter()
            .any(|report| report.counters.write_timeout == 1)
    );
    assert!(
        reports
            .iter()
            .all(|report| report.counters.write_timeout + report.counters.read_timeout == 1)
    );
    assert!(net.host(1).has_logged("i/o timeout"));
}

#[test]
fn idle_connections_are_kept_alive() {
    let mut net = Net::new(5 * MS);
    let slow = 10_000 * S;
    net.start(1, config(1, &[]).gossip_interval(slow), vec![]);
    net.start(2, config(2, &[1]).gossip_interval(slow), vec![]);
    net.run(5 * S);
    let before = net.host(1).bytes_sent;

    net.run(600 * S);

    assert!(net.is_full_mesh(&[1, 2]));
    assert_eq!(
        net.host(1).bytes_sent - before,
        20 * 5,
        "twenty heartbeats of five bytes"
    );
}

#[test]
fn a_lost_connection_is_redialled() {
    let (mut net, _) = mesh(2);
    let id = *net.host(2).confirmed.keys().next().unwrap();

    net.with(2, |node, now| node.handle_closed(now, id, "EOF".to_owned()));
    net.run(10 * S);

    assert!(net.is_full_mesh(&[1, 2]));
    assert!(
        net.host(2)
            .has_logged("connection shutting down due to error: EOF")
    );
}

#[test]
fn an_overlay_that_fails_ends_its_connection() {
    let (mut net, _) = mesh(2);
    let id = *net.host(1).confirmed.keys().next().unwrap();
    let reason = "no working forwarders to 0a:00:00:00:00:02(host2)";

    net.with(1, |node, now| {
        node.handle_overlay_failed(now, id, reason.to_owned());
    });
    net.run(10 * MS);

    assert!(net.host(1).has_logged(reason));
    assert!(net.neighbours(1).is_empty());
    net.run(20 * S);
    assert!(net.is_full_mesh(&[1, 2]));
}

#[test]
fn the_middle_of_a_line_may_be_replaced() {
    let mut net = Net::new(5 * MS);
    let words: Vec<_> = (0..=3).map(|_| Words::default()).collect();
    let start = |net: &mut Net, n: usize, seed: u64| {
        let peers: &[usize] = if n == 2 { &[1, 3] } else { &[] };
        let config = config(n, peers).discovery(false).seed(seed);
        net.start(n, config, vec![("words", words[n].clone())]);
    };
    for n in 1..=3 {
        start(&mut net, n, n as u64);
    }
    net.run(5 * S);
    net.stop(2, false);
    net.run(5 * S);
    assert_eq!(net.report(1).peers.len(), 1);

    start(&mut net, 2, 99);
    net.run(5 * S);

    net.with(1, |node, _| node.unicast("words", name(3), b"again"))
        .unwrap();
    net.run(S);
    assert_eq!(words[3].unicasts.lock().unwrap().len(), 1);
}
