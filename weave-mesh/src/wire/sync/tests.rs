use super::*;
use crate::peer::{MAX_ADDRESS, Uid};

fn name(last: u8) -> PeerName {
    PeerName::from_bytes([10, 0, 0, 0, 0, last])
}

fn head(last: u8, version: u64) -> Head {
    Head {
        name: name(last),
        uid: Uid(258),
        version,
        has_short_id: false,
    }
}

fn link(address: &str) -> Link {
    Link {
        address: address.into(),
        outbound: true,
        established: true,
    }
}

fn delta(changed: Vec<(PeerName, Link)>) -> Sync<'static> {
    let body = Body::Since {
        base: 1,
        changed,
        removed: vec![name(3)],
    };
    Sync::Records(vec![RecordUpdate {
        head: head(1, 300),
        short_id: None,
        body,
    }])
}

/// The layout in the module's text, spelled out.
#[test]
fn messages_have_the_documented_bytes() {
    assert_eq!(Sync::Digest(1).emit(), b"\0\0\0\0\0\0\0\0\x01");
    let heads = Sync::Heads {
        is_complete: true,
        heads: vec![head(1, 300)],
    };
    let expected = b"\x01\x01\x01\x0a\0\0\0\0\x01\0\0\0\0\0\0\x01\x02\0\xac\x02";
    assert_eq!(heads.emit(), expected);
    let wants = Sync::Wants(vec![(name(1), 5)]);
    assert_eq!(wants.emit(), b"\x02\x01\x0a\0\0\0\0\x01\x05");
    let expected = b"\x03\x01\x0a\0\0\0\0\x01\0\0\0\0\0\0\x01\x02\0\xac\x02\
        \x01\x01\x01\x0a\0\0\0\0\x02\x07\x0a\0\0\x02\x1a\x7f\x01\x0a\0\0\0\0\x03";
    let records = delta(vec![(name(2), link("10.0.0.2:6783"))]);
    assert_eq!(records.emit(), expected);
    let channel = Sync::Channel {
        channel: "ab",
        digest: 2,
        is_answer_wanted: true,
    };
    assert_eq!(channel.emit(), b"\x04\x01\x02ab\0\0\0\0\0\0\0\x02");
}

#[test]
fn addresses_come_back_as_they_were_written() {
    for address in [
        "10.0.0.2:6783",
        "[fd00::1]:6783",
        "[fe80::1%3]:6783",
        "10.0.0.2:06783",
        "[FD00::1]:6783",
        "host:1",
        "",
    ] {
        let records = delta(vec![(name(2), link(address))]);
        assert_eq!(
            Sync::parse(&records.emit()),
            Ok(records.clone()),
            "{address}"
        );
    }
}

#[test]
fn unknown_kinds_are_told_and_more_bytes_ignored() {
    assert_eq!(Sync::parse(b"\x09anything"), Ok(Sync::Unknown(9)));
    assert_eq!(
        Sync::parse(b"\0\0\0\0\0\0\0\0\x01more"),
        Ok(Sync::Digest(1))
    );
}

#[test]
fn every_way_to_be_wrong_is_named() {
    assert_eq!(Sync::parse(b""), Err(SyncError::CutOff));
    assert_eq!(Sync::parse(b"\0\0\0"), Err(SyncError::CutOff));
    let many = b"\x02\xff\xff\xff\xff\x0f";
    assert_eq!(Sync::parse(many), Err(SyncError::Count(0xffff_ffff)));
    let wide = b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
    assert_eq!(Sync::parse(wide), Err(SyncError::Number));
    let latin = Sync::parse(b"\x04\0\x01\xff\0\0\0\0\0\0\0\0");
    assert_eq!(latin, Err(SyncError::Text("channel name")));
    let record = b"\x03\x01\x0a\0\0\0\0\x01\0\0\0\0\0\0\x01\x02";
    let id = [&record[..], b"\x01\x01\x10\0\x01"].concat();
    assert_eq!(Sync::parse(&id), Err(SyncError::ShortId(4096)));
    let body = [&record[..], b"\0\x01\x07"].concat();
    assert_eq!(Sync::parse(&body), Err(SyncError::Body(7)));
    let long = delta(vec![(name(2), link(&"a".repeat(MAX_ADDRESS + 1)))]);
    assert!(matches!(
        Sync::parse(&long.emit()),
        Err(SyncError::Length {
            what: "address",
            ..
        })
    ));
}
