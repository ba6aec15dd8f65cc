//! Any update is merged or refused; merging it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_mesh::peer::{Links, PeerName, PeerRecord, ShortId, Uid};
use weave_mesh::topology::Topology;
use weave_mesh::wire::update;

fuzz_target!(|bytes: &[u8]| {
    let Ok(records) = update::decode(bytes) else {
        return;
    };
    let local = PeerRecord {
        name: PeerName::from_bytes([2, 0, 0, 0, 0, 1]),
        nickname: "us".to_owned(),
        uid: Uid(1),
        version: 1,
        short_id: ShortId::try_from(7).ok(),
        connections: Links::new(),
    };
    let mut topology = Topology::new(local, 1);
    let _ = topology.merge(records.clone());
    let again = topology.merge(records);
    assert!(again.news.is_empty());
    let _ = topology.collect_garbage();
    let _ = update::decode(&update::encode(topology.records())).expect("our own update decodes");
});
