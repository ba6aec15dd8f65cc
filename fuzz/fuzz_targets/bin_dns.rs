//! Any bytes are answered within the asker's limit, or not at all; any payload of a peer is merged or
//! refused, and what was learnt is told again in bytes that teach nothing more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_bin::dns::answer::{self, Transport, Verdict, Zone};
use weave_bin::dns::store::Store;
use weave_bin::dns::{gossip, upstream};
use weave_mesh::peer::PeerName;

const NOW: i64 = 1_795_211_400;

fn known() -> std::collections::BTreeSet<PeerName> {
    (1..=64).filter_map(|n| PeerName::try_from(n).ok()).collect()
}

fn store() -> Store {
    let mut store = Store::new(PeerName::from_bytes([0, 0, 0, 0, 0, 1]));
    let _ = store.set_known(NOW, known());
    store
}

fn question(bytes: &[u8], store: &Store) {
    let zone = Zone::new("weave.local.", 1).expect("a domain");
    for transport in [Transport::Udp, Transport::Tcp] {
        match answer::answer(bytes, &zone, store, transport, 7) {
            Verdict::Reply(reply) | Verdict::Malformed(reply) => {
                assert_eq!(reply[..2], bytes[..2]);
                assert!(reply.len() <= answer::limit(bytes, transport));
                assert!(!matches!(
                    answer::answer(&reply, &zone, store, transport, 7),
                    Verdict::Reply(_) | Verdict::Malformed(_) | Verdict::Forward
                ));
            }
            Verdict::Forward => assert!(answer::failure(bytes).is_some()),
            Verdict::Ignore => {}
        }
    }
    let _ = answer::addresses(bytes);
    let _ = answer::is_answer(bytes, bytes);
    if let Some((first, second)) = bytes.split_at_checked(bytes.len() / 2) {
        let _ = answer::is_answer(first, second);
    }
}

fn payload(bytes: &[u8]) {
    let Ok(message) = gossip::decode(bytes) else {
        return;
    };
    let mut store = store();
    let _ = store.merge(NOW, message.entries.clone());
    let again = store.merge(NOW, message.entries);
    assert!(!again.is_news && !again.is_regained);
    let told = gossip::decode(&gossip::encode(NOW, &store)).expect("what we tell can be read");
    let mut other = self::store();
    let _ = other.merge(NOW, told.entries.clone());
    assert_eq!(told.entries.len(), store.iter().count());
    let back = store.merge(NOW, told.entries);
    assert!(!back.is_news && !back.is_regained && back.refused == 0);
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    match choice % 3 {
        0 => {
            let mut store = store();
            for n in 0..40 {
                let address = std::net::Ipv4Addr::new(10, 32, 0, n);
                let _ = store.add("web.weave.local.", &n.to_string(), address);
            }
            question(bytes, &store);
        }
        1 => payload(bytes),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            assert!(upstream::parse(&text).len() <= 8);
            let _ = answer::parse_name(&answer::qualified(&text));
        }
    }
});
