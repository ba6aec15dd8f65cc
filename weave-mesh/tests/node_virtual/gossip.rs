//! How state and messages travel.

use weave_mesh::node::ConnectionId;
use weave_mesh::wire::frame;
use weave_mesh::wire::message::Message;

use crate::net::{MS, Net, S, Words, config, name};

/// A line of hosts 1 – 2 – … – `length`, each with a channel unless it is in `without`.
fn line(length: usize, without: &[usize]) -> (Net, Vec<Words>) {
    let mut net = Net::new(5 * MS);
    let words: Vec<_> = (0..=length).map(|_| Words::default()).collect();
    for (n, channel) in words.iter().enumerate().skip(1) {
        let peers: &[usize] = if n == 1 { &[] } else { &[n - 1] };
        let channels = if without.contains(&n) {
            vec![]
        } else {
            vec![("words", channel.clone())]
        };
        net.start(n, config(n, peers).discovery(false), channels);
    }
    net.run(10 * S);
    (net, words)
}

#[test]
fn a_joining_peer_gets_the_state_of_every_channel() {
    let mut net = Net::new(5 * MS);
    let (old, new) = (Words::default(), Words::default());
    old.add("old");
    net.start(1, config(1, &[]), vec![("words", old)]);
    net.start(2, config(2, &[1]), vec![("words", new.clone())]);

    let took = net.run_until(S, |_| new.all() == ["old"]);

    assert!(took <= 100 * MS, "{took:?}");
}

#[test]
fn gossip_reaches_everybody_along_a_line() {
    let (mut net, words) = line(5, &[]);
    words[1].add("hello");
    net.with(1, |node, _| node.relay_gossip("words"));

    net.run(S);

    assert!((1..=5).all(|n| words[n].all() == ["hello"]));
}

#[test]
fn periodic_gossip_heals_what_was_never_announced() {
    let (mut net, words) = line(3, &[]);
    words[3].add("quiet");

    net.run(70 * S);

    assert_eq!(words[1].all(), ["quiet"]);
}

#[test]
fn a_broadcast_reaches_everybody_once() {
    let mut net = Net::new(5 * MS);
    let words: Vec<_> = (0..=5).map(|_| Words::default()).collect();
    for (n, channel) in words.iter().enumerate().skip(1) {
        let peers: &[usize] = if n == 1 { &[] } else { &[1] };
        net.start(n, config(n, peers), vec![("words", channel.clone())]);
    }
    net.run_until(10 * S, |net| net.is_full_mesh(&[1, 2, 3, 4, 5]));
    net.run(5 * S);

    words[2].add("news");
    net.with(2, |node, _| node.broadcast("words"));
    net.run(S);

    for n in [1, 3, 4, 5] {
        assert_eq!(*words[n].broadcasts.lock().unwrap(), [name(2)], "host {n}");
        assert_eq!(words[n].all(), ["news"]);
    }
    assert!(words[2].broadcasts.lock().unwrap().is_empty());
}

#[test]
fn a_broadcast_is_relayed_along_a_line() {
    let (mut net, words) = line(4, &[]);
    words[4].add("far");

    net.with(4, |node, _| node.broadcast("words"));
    net.run(S);

    assert_eq!(*words[1].broadcasts.lock().unwrap(), [name(4)]);
    assert_eq!(words[1].all(), ["far"]);
}

#[test]
fn a_unicast_takes_as_many_hops_as_needed() {
    let (mut net, words) = line(4, &[]);

    net.with(1, |node, _| node.unicast("words", name(4), b"for you"))
        .unwrap();
    net.run(S);

    assert_eq!(
        *words[4].unicasts.lock().unwrap(),
        [(name(1), "for you".to_owned())]
    );
    assert!(words[2].unicasts.lock().unwrap().is_empty());
    let nowhere = net
        .with(1, |node, _| node.unicast("words", name(9), b"x"))
        .unwrap_err();
    assert_eq!(
        nowhere.to_string(),
        "unknown relay destination: 0a:00:00:00:00:09"
    );
    assert!(
        net.with(1, |node, _| node.unicast("words", name(1), b"x"))
            .is_err()
    );
}

#[test]
fn a_unicast_works_as_soon_as_the_topology_shows_a_way() {
    let mut net = Net::new(5 * MS);
    let words = Words::default();
    net.start(
        1,
        config(1, &[]).discovery(false),
        vec![("words", Words::default())],
    );
    net.start(
        2,
        config(2, &[1]).discovery(false),
        vec![("words", Words::default())],
    );
    net.run(10 * S);
    net.start(
        3,
        config(3, &[2]).discovery(false),
        vec![("words", words.clone())],
    );

    // Ask for the routes of before, and then for the new one before any recalculation.
    net.run_until(5 * S, |net| {
        net.with(1, |node, _| {
            let way = node
                .topology()
                .get(name(2))
                .unwrap()
                .connections
                .contains_key(&name(3));
            assert!(way || node.unicast("words", name(3), b"early").is_err());
            way
        })
    });
    net.with(1, |node, _| node.unicast("words", name(3), b"x"))
        .unwrap();
    net.run(S);

    assert_eq!(words.unicasts.lock().unwrap().len(), 1);
}

#[test]
fn unknown_channels_pass_through() {
    let (mut net, words) = line(4, &[2, 3]);
    words[1].add("hidden");
    net.with(1, |node, _| node.relay_gossip("words"));
    net.run(S);
    assert_eq!(words[4].all(), ["hidden"]);
    assert_eq!(net.report(2).surrogate_channels, ["words"]);

    words[4].add("back");
    net.with(4, |node, _| node.broadcast("words"));
    net.run(S);
    assert_eq!(words[1].all(), ["back", "hidden"]);

    net.with(1, |node, _| node.unicast("words", name(4), b"through"))
        .unwrap();
    net.with(1, |node, _| node.unicast("words", name(2), b"nobody"))
        .unwrap();
    net.run(S);
    assert_eq!(words[4].unicasts.lock().unwrap().len(), 1);
    assert_eq!(net.report(2).counters.unicast_unknown_channel, 1);
}

#[test]
fn a_quiet_mesh_says_little() {
    let mut net = Net::new(5 * MS);
    let hosts: Vec<usize> = (1..=5).collect();
    for &n in &hosts {
        net.start(n, config(n, if n == 1 { &[] } else { &[1] }), vec![]);
    }
    net.run(60 * S);
    let before: usize = hosts.iter().map(|&n| net.host(n).bytes_sent).sum();

    net.run(300 * S);

    let after: usize = hosts.iter().map(|&n| net.host(n).bytes_sent).sum();
    let per_minute = (after - before) / 5;
    // 5 peers gossip a state of about 1.2 kB to 4 neighbours twice a minute, and heartbeats.
    assert!(
        per_minute < 5 * 2 * 4 * 2_000,
        "{per_minute} bytes per minute"
    );
}

#[test]
fn a_channel_that_refuses_a_payload_ends_that_connection_alone() {
    let (mut net, words) = line(3, &[]);
    words[1].set.lock().unwrap().insert("poison".to_owned());
    net.with(1, |node, _| node.relay_gossip("words"));

    net.run(S);

    assert!(
        net.host(2)
            .has_logged("connection shutting down due to error: poisoned")
    );
    assert_eq!(net.neighbours(2), [name(3)]);
    words[1].set.lock().unwrap().clear();
    net.run(20 * S);
    assert_eq!(
        net.neighbours(2),
        [name(1), name(3)],
        "the dialler comes back"
    );
}

/// Three connected hosts, and on host 2 its connection with host 1.
fn triangle() -> (Net, ConnectionId) {
    let mut net = Net::new(5 * MS);
    for n in 1..=3 {
        let peers: &[usize] = if n == 1 { &[] } else { &[1] };
        net.start(n, config(n, peers), vec![]);
    }
    net.run_until(10 * S, |net| net.is_full_mesh(&[1, 2, 3]));
    net.run(5 * S);
    let confirmed = &net.host(2).confirmed;
    let id = confirmed
        .values()
        .find(|connection| connection.remote == name(1))
        .unwrap()
        .id;
    (net, id)
}

fn inject(net: &mut Net, id: ConnectionId, message: &Message<'_>) {
    let frame = frame::encode(&message.emit()).unwrap();
    net.with(2, |node, now| node.handle_bytes(now, id, &frame));
}

#[test]
fn gossip_of_an_unknown_channel_does_not_circle() {
    let (mut net, id) = triangle();
    let sent = |net: &Net| (1..=3).map(|n| net.host(n).bytes_sent).sum::<usize>();
    let before = sent(&net);
    let payload = [7; 10_000];

    inject(
        &mut net,
        id,
        &Message::Gossip {
            channel: "x",
            sender: name(1),
            payload: &payload,
        },
    );
    net.run(2 * S);

    assert_eq!(net.report(3).surrogate_channels, ["x"]);
    let copies = (sent(&net) - before) / payload.len();
    assert!((1..=4).contains(&copies), "{copies} copies");
}

#[test]
fn a_broadcast_of_ours_that_comes_back_is_not_sent_again() {
    let (mut net, id) = triangle();

    inject(
        &mut net,
        id,
        &Message::Broadcast {
            channel: "x",
            source: name(2),
            payload: b"old",
        },
    );
    net.run(2 * S);
    assert!(net.report(3).surrogate_channels.is_empty());

    // Nor is one whose source is not known: it has no tree.
    inject(
        &mut net,
        id,
        &Message::Broadcast {
            channel: "x",
            source: name(9),
            payload: b"?",
        },
    );
    net.run(2 * S);
    assert!(net.report(3).surrogate_channels.is_empty());
}
