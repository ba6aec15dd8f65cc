//! Whatever arrives at the port of sleeve, in clear, sealed or over the control connection, is read or
//! refused; what a link answers stays bounded; what is read is built again the same.
#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use weave_datapath::PeerName;
use weave_datapath::sleeve::fragment::fragment;
use weave_datapath::sleeve::icmp::too_big;
use weave_datapath::sleeve::link::{Config, Link};
use weave_datapath::sleeve::packet::{append, records, split_sender};
use weave_datapath::sleeve::seal::{Opener, Sealer, SessionKey, Side, Stream};
use weave_datapath::sleeve::special::Special;
use weave_datapath::sleeve::stream::{Path, choose};

const UID: u64 = 7;

fuzz_target!(|bytes: &[u8]| {
    payload(bytes);
    sealed(bytes);
    link(bytes);
});

/// A payload in clear.
fn payload(bytes: &[u8]) {
    let Some((PeerName(name), body)) = split_sender(bytes) else {
        return;
    };
    assert!(name < 1 << 48);
    let mut again = Vec::new();
    for record in records(body) {
        let Ok(record) = record else { break };
        assert!(append(&mut again, record));
        frame(record.frame);
    }
    assert!(body.starts_with(&again));
}

/// A frame on its way out.
fn frame(bytes: &[u8]) {
    for fragments_arrive in [false, true] {
        let path = Path {
            mtu: 552,
            fragments_arrive,
        };
        let _ = choose(bytes, bytes.len(), path, false);
    }
    let pieces = fragment(bytes, 552);
    assert!(
        pieces
            .iter()
            .all(|piece| piece.len() <= 14 + 552 || pieces.len() == 1)
    );
    if let Some(answer) = too_big(bytes, 1280) {
        assert!(answer.len() <= 14 + 1280);
        assert_eq!(too_big(&answer, 1280), None, "nobody answers an answer");
    }
}

/// Forged bytes open to nothing and leave no trace.
fn sealed(bytes: &[u8]) {
    let key = SessionKey::new([7; 32]);
    let mut opener = Opener::new(key.clone(), Side::Dialler);
    let mut body = Vec::new();
    assert!(opener.open(bytes, &mut body).is_err());
    assert!(body.is_empty());
    let mut good = Vec::new();
    Sealer::new(key, Side::Dialler).seal(bytes, Stream::Whole, 0, &mut good);
    assert!(opener.open(&good, &mut body).is_ok());
    assert_eq!(body, bytes);
}

/// Everything that can happen to a link, as the bytes say.
fn link(bytes: &[u8]) {
    let home = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6783);
    let mut link = Link::new(Config {
        uid: UID,
        remote: bytes
            .first()
            .is_some_and(|byte| byte & 1 == 1)
            .then_some(home),
        sealed: false,
    });
    let mut now = Duration::ZERO;
    link.confirm(now);
    for chunk in bytes.chunks(6) {
        now += Duration::from_millis(u64::from(chunk[0]) * 40);
        let port = u16::from(*chunk.get(2).unwrap_or(&1)).max(1);
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let word = u16::from_be_bytes([*chunk.get(3).unwrap_or(&0), *chunk.get(4).unwrap_or(&0)]);
        match chunk.get(1).unwrap_or(&0) % 6 {
            0 => link.handle_special(now, Special::Heartbeat { uid: UID }, from),
            1 => link.handle_special(now, Special::LargeProbe, from),
            2 => link.handle_special(now, Special::SizeProbe { mtu: word }, from),
            3 => link.handle_control(now, &chunk[2.min(chunk.len())..]),
            4 => link.handle_path_mtu(now, word),
            _ => link.handle_timeout(now),
        }
        let sent = std::iter::from_fn(|| link.poll_transmit()).count();
        assert!(sent < 100, "{sent} transmits follow one event");
        while link.poll_event().is_some() {}
        assert!(link.mtu() >= 552 && link.max_payload() <= 65_507);
    }
}
