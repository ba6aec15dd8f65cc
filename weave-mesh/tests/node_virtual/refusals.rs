//! Who is refused, and with what words; and what a remote may send without harm.

use std::time::Duration;

use weave_mesh::node::{Config, ConnectionState, Event, Node, OverlayEvent, Retry};
use weave_mesh::wire::intro::Features;
use weave_mesh::wire::message::Message;

use crate::alone::{Alone, features};
use crate::net::{MS, Net, S, address, config, name};

fn handshake_error(reason: &str) -> String {
    format!("->[10.0.0.9:50000] connection shutting down due to error during handshake: {reason}")
}

#[test]
fn both_sides_may_send_first() {
    let mut alone = Alone::accepting(config(1, &[]));

    assert_eq!(
        alone.written(),
        b"weave\x02\x02",
        "the header goes out unasked"
    );
    alone.send(S, b"weave\x01\x02");
    let rest = alone.written();
    assert_eq!(rest[0], 0, "no encryption");
    let ours = Features::decode(&rest[5..]).unwrap();
    assert_eq!((ours.name, ours.overlays), (name(1), None));
}

#[test]
fn bad_introductions_are_refused_in_known_words() {
    let map = features(9).encode();
    for (bytes, reason) in [
        (
            &b"WEAVE\x01\x02"[..],
            "remote protocol header not recognised: [87 69 65 86 69]",
        ),
        (
            b"weave\x01\x01",
            "remote version range [1,1] is incompatible with ours [2,2]",
        ),
        (
            b"weave\x01\x02\x01",
            "no password specificed, but peer requested an encrypted connection",
        ),
        (b"weave\x01\x02\x02", "Bad encryption flag 2"),
        (
            b"weave\x01\x02\x00\x00\xa0\x00\x01",
            "incoming message exceeds maximum size: 10485761 > 10485760",
        ),
    ] {
        let mut alone = Alone::accepting(config(1, &[]));
        alone.send(S, bytes);
        assert_eq!(alone.log(), [handshake_error(reason)]);
        assert!(alone.is_closed());
        alone.message(S, &map);
        assert!(alone.log().is_empty(), "nothing follows the end");
    }
}

#[test]
fn a_stream_that_breaks_off_is_named_by_what_was_missing() {
    for (bytes, reason) in [
        (&b""[..], "failed to receive remote protocol header: EOF"),
        (
            b"weav",
            "received incomplete remote protocol header (4 octets instead of 7): \
             [119 101 97 118]; error: unexpected EOF",
        ),
        (b"weave\x01\x02", "EOF"),
        (b"weave\x01\x02\x00\x00\x00", "unexpected EOF"),
    ] {
        let mut alone = Alone::accepting(config(1, &[]));
        alone.send(S, bytes);
        alone.node.handle_closed(S, alone.id, "EOF".to_owned());
        assert_eq!(alone.log(), [handshake_error(reason)]);
    }
}

#[test]
fn a_silent_remote_has_ten_seconds_for_its_header_and_a_minute_for_the_rest() {
    let mut alone = Alone::accepting(config(1, &[]));
    alone.node.handle_timeout(9 * S);
    assert!(alone.log().is_empty());
    alone.node.handle_timeout(10 * S);
    let reason = "failed to receive remote protocol header: \
                  read tcp 10.0.0.1:6783->10.0.0.9:50000: i/o timeout";
    assert_eq!(alone.log(), [handshake_error(reason)]);

    let mut alone = Alone::accepting(config(1, &[]));
    let _ = alone.written();
    alone.send(5 * S, b"weave\x01\x02");
    let _ = alone.written();
    alone.node.handle_timeout(64 * S);
    assert!(alone.log().is_empty());
    alone.node.handle_timeout(65 * S);
    let reason = "read tcp 10.0.0.1:6783->10.0.0.9:50000: i/o timeout";
    assert_eq!(alone.log(), [handshake_error(reason)]);
}

#[test]
fn a_dribbled_message_must_be_complete_within_a_minute() {
    let mut alone = Alone::accepting(config(1, &[]));
    alone.introduce(None);
    let _ = (alone.written(), alone.log());
    // A length of 256 and then less than 256 bytes.
    for second in 1..60 {
        alone.send(second * S, &[u8::from(second == 3)]);
        alone.node.handle_timeout(second * S);
        let _ = alone.written();
    }
    assert!(alone.log().is_empty());

    alone.node.handle_timeout(60 * S);

    assert!(alone.log().iter().any(|line| line.ends_with("i/o timeout")));
}

#[test]
fn missing_and_malformed_features_are_refused() {
    for (features, reason) in [
        (
            Features {
                name: name(1),
                ..features(9)
            },
            "local \"0a:00:00:00:00:01(host1)\" and remote \"0a:00:00:00:00:01(host9)\" \
             peer names collision",
        ),
        (
            Features {
                overlays: Some(vec![]),
                ..features(9)
            },
            "no overlays in common with peer",
        ),
        (
            Features {
                overlays: Some(vec!["sleeve".into()]),
                ..features(9)
            },
            "no overlays in common with peer",
        ),
        (
            Features {
                overlays: None,
                ..features(9)
            },
            "no overlays in common with peer",
        ),
    ] {
        let mut alone = Alone::accepting(config(1, &[]).overlays(["fastdp"]));
        alone.send(S, b"weave\x01\x02\x00");
        alone.message(S, &features.encode());
        assert_eq!(alone.log(), [handshake_error(reason)]);
    }
}

#[test]
fn a_peer_does_not_connect_to_itself_and_waits_for_a_user() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[1]), vec![]);
    net.run(600 * S);

    let report = net.report(1);
    assert_eq!(
        report.connections[0].error.as_deref(),
        Some("cannot connect to ourself")
    );
    assert_eq!(report.connections[0].state, ConnectionState::Failed);
    assert_eq!(report.connections[0].retry, Some(Retry::Never));
    assert_eq!(report.termination_count, 0);
    let attempts = net
        .host(1)
        .log
        .iter()
        .filter(|line| line.ends_with("attempting connection"));
    assert_eq!(attempts.count(), 1);
}

#[test]
fn peers_with_one_name_stay_apart() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[]), vec![]);
    net.start(2, config(2, &[1]).name(name(1)), vec![]);
    net.run(100 * S);

    let report = net.report(2);
    assert!(
        report.connections[0]
            .error
            .as_ref()
            .unwrap()
            .ends_with("peer names collision")
    );
    assert_eq!(report.connections[0].retry, Some(Retry::Never));
    assert_eq!(net.report(1).peers.len(), 1);
}

#[test]
fn the_connection_limit_holds_on_both_sides() {
    let mut net = Net::new(5 * MS);
    net.start(
        1,
        config(1, &[]).connection_limit(1).discovery(false),
        vec![],
    );
    net.start(2, config(2, &[1]).discovery(false), vec![]);
    net.run(5 * S);
    net.start(3, config(3, &[1]).discovery(false), vec![]);
    net.run(20 * S);

    assert_eq!(net.neighbours(1), [name(2)]);
    assert!(net.neighbours(3).is_empty());
    assert!(net.host(1).has_logged("Connection limit reached (1)"));

    net.with(1, |node, now| {
        node.connect(now, vec![address(3).to_string()], false)
    });
    net.run(S);
    let report = net.report(1);
    let target = report
        .connections
        .iter()
        .find(|c| c.remote.is_none())
        .unwrap();
    assert_eq!(
        target.error.as_deref(),
        Some("Connection limit reached (1)")
    );
}

/// Listing a connection and losing it again costs everybody in the mesh two updates.
#[test]
fn who_is_refused_for_want_of_room_never_lists_the_connection() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[]).connection_limit(1), vec![]);
    net.start(2, config(2, &[1]).discovery(false), vec![]);
    net.start(3, config(3, &[2]).discovery(false), vec![]);
    net.run(5 * S);
    let version = |net: &mut Net| net.with(3, |node, _| node.topology().local().version);
    let before = version(&mut net);

    net.with(3, |node, now| {
        node.connect(now, vec![address(1).to_string()], false)
    });
    net.run(S);

    assert!(
        net.host(3)
            .has_logged("refused: Connection limit reached (1)")
    );
    assert_eq!(version(&mut net), before);
}

#[test]
fn a_discovered_address_must_lead_to_a_known_peer() {
    let mut net = Net::new(5 * MS);
    net.start(1, config(1, &[]), vec![]);
    net.start(2, config(2, &[1]), vec![]);
    net.run(5 * S);
    // Host 3 is known by name 9 through host 2, but another peer answers at its address.
    net.start(3, config(3, &[2]).name(name(9)).discovery(false), vec![]);
    net.set_path(1, 3, false);
    net.run(5 * S);
    net.stop(3, true);
    net.start(3, config(3, &[]).name(name(8)).discovery(false), vec![]);
    net.set_path(1, 3, true);
    net.run(40 * S);

    let unknown = "Found unknown remote name: 0a:00:00:00:00:08 at 10.0.0.3:6783";
    assert!(net.host(1).has_logged(unknown), "{:#?}", net.logs());
}

#[test]
fn malformed_overlay_messages_of_a_remote_are_counted_and_dropped() {
    let mut alone = Alone::accepting(config(1, &[]).overlays(["fastdp", "sleeve"]));
    alone.introduce(Some(&["fastdp", "sleeve"]));
    for message in [
        &[7][..],
        &[7, 0],
        &[7, 2, 0],
        &[7, 255, 0],
        &[1],
        &[2],
        &[3, 5, 9],
    ] {
        alone.message(S, message);
    }
    alone.message(S, &[7, 1, 3, 5, 0x9e]);

    let mut controls = Vec::new();
    while let Some(event) = alone.node.poll_event() {
        if let Event::Overlay(OverlayEvent::Control { body, .. }) = event {
            controls.push(body.to_vec());
        }
    }
    assert_eq!(controls, [vec![1, 3, 5, 0x9e]]);
    assert_eq!(alone.node.report(S).counters.control_malformed, 7);
    assert!(!alone.is_closed());
}

#[test]
fn overlay_messages_that_crash_a_router_never_go_out() {
    let mut alone = Alone::accepting(config(1, &[]).overlays(["fastdp", "sleeve"]));
    alone.introduce(Some(&["fastdp"]));
    let _ = alone.written();
    for body in [&[][..], &[0], &[1, 0], &[9, 9]] {
        alone.node.send_control(S, alone.id, body);
    }
    assert!(alone.written().is_empty());
    assert_eq!(alone.node.report(S).counters.control_refused, 4);

    alone.node.send_control(S, alone.id, &[0, 0]);
    assert_eq!(alone.written(), [0, 0, 0, 3, 7, 0, 0]);
}

#[test]
fn a_remote_without_overlays_speaks_bare_sleeve() {
    let mut alone = Alone::accepting(config(1, &[]).overlays(["fastdp", "sleeve"]));
    alone.introduce(None);
    let _ = alone.written();
    alone.message(S, &[1]);
    alone.node.send_control(S, alone.id, &[0, 3, 5, 0x9e]);

    assert_eq!(alone.written(), [0, 0, 0, 3, 3, 5, 0x9e]);
    let mut saw = (false, false);
    while let Some(event) = alone.node.poll_event() {
        match event {
            Event::Overlay(OverlayEvent::Confirmed(connection)) => {
                assert!(connection.compatibility);
                assert_eq!(connection.overlays, ["sleeve"]);
                saw.0 = true;
            }
            Event::Overlay(OverlayEvent::Control { body, .. }) => {
                assert_eq!(body, vec![0, 1]);
                saw.1 = true;
            }
            _ => {}
        }
    }
    assert_eq!(saw, (true, true));
}

#[test]
fn messages_end_a_connection_only_where_they_must() {
    let unicast = Message::Unicast {
        channel: "topology",
        source: name(9),
        destination: name(1),
        payload: &[1, 2],
    };
    let update = Message::Gossip {
        channel: "topology",
        sender: name(9),
        payload: &[1, 2, 3],
    };
    for (message, reason) in [
        (
            unicast.emit(),
            Some("unexpected topology gossip unicast: [1 2]"),
        ),
        (update.emit(), Some("")),
        (vec![4, 1, 2], Some("")),
        (vec![], None),
        (vec![0], None),
        (vec![200, 1, 2, 3], None),
    ] {
        let mut alone = Alone::accepting(config(1, &[]));
        alone.introduce(None);
        let _ = alone.log();
        alone.message(S, &message);
        let log = alone.log();
        match reason {
            None => assert!(!alone.is_closed(), "{message:?}: {log:?}"),
            Some(reason) => {
                let line = format!(
                    "->[10.0.0.9:50000|0a:00:00:00:00:09(host9)]: \
                     connection shutting down due to error: {reason}"
                );
                assert!(log[0].starts_with(&line), "{log:?}");
                assert!(alone.is_closed());
            }
        }
    }
}

#[test]
fn connections_under_introduction_are_bounded() {
    let mut node = Node::new(config(1, &[]), []).unwrap();
    for port in 1..=300 {
        let remote = std::net::SocketAddr::from(([10, 0, 0, 9], port));
        node.handle_accepted(Duration::ZERO, address(1), remote);
    }

    assert_eq!(node.report(S).counters.introduction_refused, 44);
}

#[test]
fn configurations_that_cannot_work_are_named() {
    let refuse = |config: Config| Node::new(config, []).unwrap_err().to_string();

    assert_eq!(refuse(Config::default()), "no peer name is configured");
    assert_eq!(
        refuse(config(1, &[]).peers(["a b"])),
        "invalid peer name \"a b\", should be host[:port]"
    );
    assert_eq!(
        refuse(config(1, &[]).overlays([""])),
        "overlay name \"\" is empty or contains a space"
    );
}
