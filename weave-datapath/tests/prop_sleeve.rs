//! Laws of sleeve, named in `ALGORITHM.md`.
#![cfg(feature = "sleeve")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use serde_json::Value;
use weave_datapath::{
    PeerName,
    sleeve::{
        fragment::fragment,
        packet::{Record, append, records},
        pmtu::{FLOOR, Pmtu},
        replay::Window,
        seal::{Opener, Sealer, SessionKey, Side, Stream},
    },
};

fn name() -> impl Strategy<Value = PeerName> {
    (0..1_u64 << 48).prop_map(PeerName)
}

/// An Ethernet frame with an IPv4 packet that may be fragmented.
fn ipv4() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..3000);
    (payload, 5..=15_u8, 0..100_u16, any::<bool>()).prop_map(|(payload, words, offset, more)| {
        let header_len = usize::from(words) * 4;
        let mut payload = payload;
        if more {
            payload.truncate(payload.len() / 8 * 8);
        }
        let mut frame = vec![0_u8; 14 + header_len];
        frame[12] = 8;
        frame[14] = 0x40 | words;
        let total = u16::try_from(header_len + payload.len()).unwrap();
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        let field = offset | if more { 0x2000 } else { 0 };
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        frame.extend(payload);
        frame
    })
}

/// What a host makes of fragments: offset and bytes, and whether more is to come at the end.
fn reassemble(frames: &[Vec<u8>]) -> (u16, Vec<u8>, bool) {
    let field = |frame: &[u8]| u16::from_be_bytes([frame[20], frame[21]]);
    let start = field(&frames[0]) & 0x1fff;
    let (mut payload, mut more) = (Vec::new(), true);
    for frame in frames {
        assert!(more, "a piece follows the last one");
        let header_len = usize::from(frame[14] & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let at = u16::try_from(payload.len() / 8).unwrap();
        assert_eq!(field(frame) & 0x1fff, start + at);
        payload.extend_from_slice(&frame[14 + header_len..14 + total]);
        more = field(frame) & 0x2000 != 0;
    }
    (start, payload, more)
}

proptest! {
    /// S1: what is appended is read, in order; any bytes are read to an end.
    #[test]
    fn records_round_trip(
        frames in prop::collection::vec((name(), name(), prop::collection::vec(any::<u8>(), 0..99)), 0..9),
        garbage in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut body = Vec::new();
        for (origin, destination, frame) in &frames {
            let record = Record { origin: *origin, destination: *destination, frame };
            prop_assert!(append(&mut body, record));
        }
        body.extend(&garbage);
        let read: Vec<_> = records(&body).take(frames.len()).collect();
        prop_assert_eq!(read.len(), frames.len());
        for (read, (origin, destination, frame)) in read.into_iter().zip(&frames) {
            let record = Record { origin: *origin, destination: *destination, frame };
            prop_assert_eq!(read, Ok(record));
        }
        prop_assert!(records(&body).count() <= frames.len() + 1 + garbage.len() / 14);
    }

    /// S2: a changed packet opens to nothing; an unchanged one opens once.
    #[test]
    fn a_sealed_packet_opens_once_and_unchanged(
        body in prop::collection::vec(any::<u8>(), 0..200),
        sequence in 0..1_u64 << 63,
        whole in any::<bool>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let key = SessionKey::new([3; 32]);
        let stream = if whole { Stream::Whole } else { Stream::Fragmented };
        let mut sealed = Vec::new();
        Sealer::new(key.clone(), Side::Acceptor).seal(&body, stream, sequence, &mut sealed);
        let mut opener = Opener::new(key, Side::Acceptor);
        let at = flip.index(sealed.len() * 8);
        let mut changed = sealed.clone();
        changed[at / 8] ^= 1 << (at % 8);
        let mut out = Vec::new();
        prop_assert!(opener.open(&changed, &mut out).is_err());
        prop_assert!(out.is_empty());
        prop_assert_eq!(opener.open(&sealed, &mut out), Ok(stream));
        prop_assert_eq!(&out, &body);
        prop_assert!(opener.open(&sealed, &mut out).is_err());
    }

    /// S3: no number is accepted twice; in the block of the newest and the one before every fresh
    /// number is accepted.
    #[test]
    fn the_window_is_exact(numbers in prop::collection::vec((0..4_u64, 0..64_u64), 1..200)) {
        let mut window = Window::new();
        let (mut seen, mut newest) = (BTreeSet::new(), 0);
        for (block, offset) in numbers {
            let number = (block << 20) | (offset * 16_384);
            let old = block + 1 < newest;
            let fresh = !seen.contains(&number);
            let accepted = window.accept(number);
            prop_assert_eq!(accepted, fresh && !old, "{} in {:?}", number, seen);
            if accepted {
                newest = newest.max(block);
                seen.insert(number);
            }
        }
    }

    /// S4: pieces fit, and a host that puts them together has the packet.
    #[test]
    fn fragments_make_the_packet_again(frame in ipv4(), mtu in 68..1500_usize) {
        let pieces = fragment(&frame, mtu);
        prop_assert!(!pieces.is_empty());
        for piece in &pieces {
            let total = usize::from(u16::from_be_bytes([piece[16], piece[17]]));
            prop_assert!(total <= mtu && piece.len() >= 60);
            let header_len = usize::from(piece[14] & 0xf) * 4;
            let sum = weave_datapath::packet::checksum::of(&piece[14..14 + header_len]);
            prop_assert_eq!(sum, 0);
        }
        prop_assert_eq!(reassemble(&pieces), reassemble(&[frame]));
    }

    /// S4 for bytes that are no packet: no panic, nothing endless.
    #[test]
    fn any_bytes_can_be_offered_for_cutting(frame in prop::collection::vec(any::<u8>(), 0..120), mtu in 0..200_usize) {
        prop_assert!(fragment(&frame, mtu).len() <= 120);
        let _ = weave_datapath::sleeve::icmp::fragmentation_needed(&frame, 100);
    }

    /// S5: the search ends at what the path carries, whatever it loses on the way.
    #[test]
    fn the_search_finds_what_the_path_carries(carries in FLOOR..1600, lost in prop::collection::vec(any::<bool>(), 40)) {
        let (settled, _) = search(carries, 1500, &lost);
        prop_assert!(settled <= carries.max(FLOOR));
        if !lost.contains(&true) {
            prop_assert_eq!(settled, carries.min(1438));
        }
    }
}

/// Runs a search on a path that swallows what is larger than `carries`; the n-th probe is lost if
/// `lost` says so. The MTU it settles on and when.
fn search(carries: u16, path: u16, lost: &[bool]) -> (u16, Duration) {
    let mut pmtu = Pmtu::new(62);
    let mut now = Duration::ZERO;
    let mut probes = 0;
    pmtu.handle_too_big(now, path);
    loop {
        let mut acks = Vec::new();
        while let Some(probe) = pmtu.poll_probe() {
            let gone = lost.get(probes).copied().unwrap_or(false);
            probes += 1;
            if probe <= carries && !gone {
                acks.push(probe);
            }
        }
        now += Duration::from_millis(1);
        acks.into_iter().for_each(|ack| pmtu.handle_ack(now, ack));
        let Some(due) = pmtu.poll_timeout() else {
            return (pmtu.mtu(), now);
        };
        now = now.max(due);
        pmtu.handle_timeout(now);
        assert!(probes < 1000, "the search does not end");
    }
}

/// The recorded searches of Weave Net end where ours do; ours takes a fraction of their time, and
/// does not take the floor for granted (recorded `bh600`).
#[test]
fn searches_end_where_recorded_ones_do_and_sooner() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/pmtu_search.json")).unwrap();
    for scenario in vectors["scenarios"].as_array().unwrap() {
        let (carries, path, settled) = match scenario["id"].as_str().unwrap() {
            "clean1500" => (1438, 1500, 1438),
            "icmp1400" => (1338, 1400, 1338),
            "bh1000" => (938, 1500, 938),
            "bh600" => (538, 1500, FLOOR),
            "enc1500" => continue,
            unknown => panic!("{unknown} is a new recording"),
        };
        let events = scenario["events"].as_array().unwrap();
        if let Some(recorded) = events.iter().find(|event| event["event"] == "settled") {
            assert_eq!(recorded["mtu"], settled);
        }
        let (mtu, took) = search(carries, path, &[]);
        assert_eq!(mtu, settled, "{}", scenario["id"]);
        assert!(took < Duration::from_millis(2_500), "{took:?}");
    }
}

#[test]
fn the_mtu_grows_again_when_the_path_does() {
    let mut pmtu = Pmtu::new(62);
    pmtu.handle_too_big(Duration::ZERO, 1400);
    while let Some(probe) = pmtu.poll_probe() {
        pmtu.handle_ack(Duration::ZERO, probe);
    }
    assert_eq!((pmtu.mtu(), pmtu.is_verified()), (1338, true));
    pmtu.raise(Duration::from_secs(600), 1500);
    assert_eq!(pmtu.mtu(), 1338, "not before a larger one arrives");
    assert_eq!(pmtu.poll_probe(), Some(1438));
    pmtu.handle_ack(Duration::from_secs(600), 1438);
    assert_eq!(pmtu.mtu(), 1438);
}
