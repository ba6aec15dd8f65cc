//! What waits for a connection that does not keep up.

use bytes::Bytes;
use weave_mesh::node::Transmit;
use weave_mesh::wire::frame::FrameReader;
use weave_mesh::wire::message::Message;

use crate::alone::Alone;
use crate::net::{S, Words, config, name};

/// A connection that was introduced and has one chunk on its way, and the size of that.
fn stalled(words: &Words) -> (Alone, usize) {
    let mut alone = Alone::with_channel(config(1, &[]), words.clone());
    alone.introduce(None);
    let _ = alone.written();
    words.add("first");
    alone.node.relay_gossip("words");
    let Some(Transmit::Data { bytes, .. }) = alone.node.poll_transmit(S) else {
        panic!("the first chunk goes out");
    };
    (alone, bytes.len())
}

fn messages(bytes: &[u8]) -> Vec<Bytes> {
    let mut frames = FrameReader::new();
    frames.push(bytes);
    let messages = std::iter::from_fn(|| frames.pop().unwrap()).collect();
    assert!(frames.is_between_frames());
    messages
}

#[test]
fn a_stalled_connection_gets_the_newest_state_once_and_control_first() {
    let words = Words::default();
    let (mut alone, in_flight) = stalled(&words);
    for n in 0..1000 {
        words.add(&format!("w{n}"));
        alone.node.relay_gossip("words");
        assert_eq!(alone.node.poll_transmit(S), None, "one chunk at a time");
    }
    alone.node.unicast("words", name(9), b"between").unwrap();
    alone.node.handle_written(15 * S, alone.id, in_flight - 1);
    assert_eq!(alone.node.poll_transmit(15 * S), None);
    alone.node.handle_timeout(30 * S);
    alone.node.handle_written(30 * S, alone.id, 1);

    let sent = messages(&alone.written());
    let sent: Vec<_> = sent
        .iter()
        .map(|frame| Message::parse(frame).unwrap())
        .collect();
    assert_eq!(sent[0], Message::Heartbeat);
    assert!(matches!(
        sent[1],
        Message::Unicast {
            payload: b"between",
            ..
        }
    ));
    let states: Vec<_> = sent
        .iter()
        .filter_map(|message| match message {
            Message::Gossip {
                channel: "words",
                payload,
                ..
            } => Some(*payload),
            _ => None,
        })
        .collect();
    assert_eq!(states.len(), 1, "a thousand changes are one message");
    assert_eq!(states[0].split(|byte| *byte == b' ').count(), 1001);
}

#[test]
fn unicasts_to_a_stalled_connection_are_refused_when_too_many_wait() {
    let (mut alone, _) = stalled(&Words::default());
    let payload = vec![0; 1 << 20];
    let mut send = || alone.node.unicast("words", name(9), &payload);

    let accepted = std::iter::from_fn(|| send().ok()).take(100).count();

    assert_eq!(accepted, 3, "4 MiB with envelopes");
    assert_eq!(
        send().unwrap_err().to_string(),
        "connection to relay peer 0a:00:00:00:00:09 is congested"
    );
    let too_large = vec![0; 10 << 20];
    let error = alone
        .node
        .unicast("words", name(9), &too_large)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unicast of 10485760 bytes exceeds the maximum message size"
    );
}

#[test]
fn progress_keeps_a_slow_connection_alive() {
    let (mut alone, in_flight) = stalled(&Words::default());
    for second in 1..in_flight.min(40) {
        let now = 20 * S * u32::try_from(second).unwrap();
        alone.message(now, &[0]);
        alone.node.handle_written(now, alone.id, 1);
        alone.node.handle_timeout(now);
    }
    assert!(!alone.is_closed());

    let stop = 20 * S * u32::try_from(in_flight.min(40)).unwrap();
    alone.message(stop, &[0]);
    alone.node.handle_timeout(stop + 30 * S);

    assert!(alone.is_closed());
    assert_eq!(alone.node.report(stop).counters.write_timeout, 1);
}

#[test]
fn a_state_over_the_message_size_is_counted_and_the_connection_lives() {
    let words = Words::default();
    words.add(&"x".repeat(10 << 20));
    let mut alone = Alone::with_channel(config(1, &[]), words);
    alone.introduce(None);

    let sent = alone.written();

    assert!(sent.len() < 10_000);
    assert_eq!(alone.node.report(S).counters.message_too_large, 1);
    assert!(!alone.is_closed());
}
