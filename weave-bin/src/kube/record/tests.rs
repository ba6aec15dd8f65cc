use super::*;

fn me(peer: &str, node: &str) -> Me {
    Me {
        peer: peer.to_owned(),
        node: node.to_owned(),
        uid: None,
    }
}

fn record(pairs: &[(&str, &str)]) -> Record {
    let annotations = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Record::read(annotations.collect(), BTreeMap::new()).unwrap()
}

/// The annotations of every PUT of a recording, in order.
fn writes(recording: &str) -> Vec<BTreeMap<String, String>> {
    let lines = recording
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["method"] == "PUT")
        .map(|line| {
            serde_json::from_value(line["body"]["metadata"]["annotations"].clone()).unwrap()
        })
        .collect()
}

#[test]
fn joining_writes_the_recorded_bytes() {
    let recorded = writes(include_str!(
        "../../../tests/vectors/kubernetes/api-bootstrap-three-nodes.jsonl"
    ));
    let mut record = Record::default();

    let written: Vec<_> = [
        me("62:d6:c4:97:8d:3a", "host-0"),
        me("d6:4a:61:1c:09:ff", "host-1"),
        me("9a:44:a2:5e:23:25", "host-2"),
    ]
    .iter()
    .map(|me| {
        assert!(record.join(me));
        record.clone().into_parts().0
    })
    .collect();

    assert_eq!(written, recorded);
}

#[test]
fn removing_a_node_writes_the_recorded_bytes() {
    let recorded = writes(include_str!(
        "../../../tests/vectors/kubernetes/api-node-deleted.jsonl"
    ));
    let (first, last) = (recorded.first().unwrap(), recorded.last().unwrap());
    let mut before = first.clone();
    before.remove("kube-peers.weave.works/9a_44_a2_5e_23_25");
    let mut record = Record::read(before, BTreeMap::new()).unwrap();

    record.set_lock("9a:44:a2:5e:23:25", "d6:4a:61:1c:09:ff");
    assert_eq!(&record.clone().into_parts().0, first);
    assert_eq!(record.lock("9a:44:a2:5e:23:25"), Some("d6:4a:61:1c:09:ff"));
    record.remove("9a:44:a2:5e:23:25");

    // Weave Net needs three writes for what is one here; the end is the same.
    assert_eq!(&record.into_parts().0, last);
}

#[test]
fn joining_twice_changes_nothing() {
    let mut record = Record::default();
    record.join(&me("a", "n"));

    assert!(!record.join(&me("a", "n")));
    assert_eq!(record.entries().len(), 1);
}

#[test]
fn a_changed_uid_or_node_corrects_the_entry() {
    let mut record = Record::default();
    record.join(&me("a", "n"));
    let moved = Me {
        uid: Some("u2".to_owned()),
        ..me("a", "m")
    };

    assert!(record.join(&moved));
    assert_eq!(record.entry("a").unwrap().node, "m");
    assert_eq!(record.uid("a"), Some("u2"));
    record.remove("a");
    assert_eq!(record.uid("a"), None);
}

#[test]
fn what_others_wrote_stays() {
    let list = r#"{"Peers":[{"PeerName":"a","NodeName":"n","Zone":"<z>"}],"Epoch":7}"#;
    let mut record = record(&[
        (PEERS, list),
        ("example.com/x", "b"),
        ("kube-peers.weave.works/c", "b"),
    ]);

    record.join(&me("b", "m"));
    let joined = record.clone().into_parts().0;
    record.remove("b");
    let (removed, _) = record.into_parts();

    assert_eq!(
        joined[PEERS],
        r#"{"Peers":[{"PeerName":"a","NodeName":"n","Zone":"\u003cz\u003e"},{"PeerName":"b","NodeName":"m"}],"Epoch":7}"#
    );
    assert_eq!(removed["example.com/x"], "b");
    assert!(!removed.contains_key("kube-peers.weave.works/c"));
}

#[test]
fn the_seed_of_the_second_ring_changes_nothing_else() {
    let mut record = Record::default();
    record.join(&me("a", "n"));
    record.set_seeds(vec!["a".to_owned()]);
    let (annotations, before) = record.clone().into_parts();

    record.set_seeds6(vec!["b".to_owned()]);
    let (same, mut after) = record.into_parts();

    assert_eq!(same, annotations);
    let read = Record::read(same, after.clone()).unwrap();
    assert_eq!(
        (read.seeds(), read.seeds6()),
        (&["a".to_owned()][..], &["b".to_owned()][..])
    );
    assert_eq!(after.remove(SEEDS6).as_deref(), Some(r#"["b"]"#));
    assert_eq!(after, before);
}

#[test]
fn an_empty_list_is_read_in_each_form_and_written_as_null() {
    for text in [r#"{"Peers":null}"#, r#"{"Peers":[]}"#, "{}"] {
        assert!(record(&[(PEERS, text)]).entries().is_empty());
    }
    let mut record = Record::default();
    record.join(&me("a", "n"));

    record.remove("a");

    assert_eq!(record.into_parts().0[PEERS], r#"{"Peers":null}"#);
}

#[test]
fn nonsense_is_refused_and_named() {
    let annotations = BTreeMap::from([(PEERS.to_owned(), "[".to_owned())]);

    let refused = Record::read(annotations, BTreeMap::new()).unwrap_err();

    assert_eq!(refused.key, PEERS);
}
