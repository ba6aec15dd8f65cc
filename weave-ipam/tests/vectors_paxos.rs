//! Votes step by step, with the messages that carried them.
#![cfg(feature = "mesh")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod vector;

use std::collections::BTreeMap;

use serde_json::Value;
use vector::{hex, list, load, peer, proposal, text, uid, votes};
use weave_ipam::PeerId;
use weave_ipam::consensus::{NodeId, Participant, Votes};
use weave_ipam::mesh::decode_state;

fn sorted(votes: &Votes) -> Votes {
    let mut votes = votes.clone();
    votes
        .values_mut()
        .for_each(|claims| claims.value.peers.sort_unstable());
    votes
}

fn check_decision(participant: &Participant, step: &Value) {
    let decided = participant.decided();
    assert_eq!(
        decided.is_some(),
        step["consensus"].as_bool().unwrap(),
        "{step}"
    );
    if let Some(value) = decided {
        let mut peers = value.peers.clone();
        peers.sort_unstable();
        assert_eq!(
            peers,
            vector::peers(&step["consensus_value_sorted"]),
            "{step}"
        );
        assert_eq!(value.origin, proposal(&step["consensus_origin"]), "{step}");
    }
}

#[test]
fn every_recorded_vote_comes_out_the_same() {
    for sequence in list(&load("paxos"), "sequences") {
        let quorum = usize::try_from(sequence["quorum"].as_u64().unwrap()).unwrap();
        let uids = sequence["nodes_uid"].as_object().unwrap();
        let elector = |name: &str, uid: u64| {
            Participant::elector(
                NodeId {
                    name: name.parse().unwrap(),
                    uid,
                },
                Some(quorum),
            )
        };
        let mut nodes: BTreeMap<PeerId, Participant> = uids
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), elector(name, uid(value))))
            .collect();
        for (index, step) in list(sequence, "steps").iter().enumerate() {
            // "In the restart scenario the UID of node 0a changes from 1 to 99 after the second
            // step": it starts over as another voter.
            if text(sequence, "name").starts_with("restart") && index == 2 {
                let restarted = "00:00:00:00:00:0a";
                nodes.insert(restarted.parse().unwrap(), elector(restarted, 99));
            }
            let node = text(step, "node");
            let participant = nodes.get_mut(&peer(&step["node"])).unwrap();
            match text(step, "op") {
                "propose" => participant.propose(),
                "update" => {
                    let message = decode_state(&hex(text(step, "message_gossip_hex"))).unwrap();
                    let changed = participant.update(&message.votes.unwrap());
                    assert_eq!(changed, step["changed"].as_bool().unwrap(), "{step}");
                }
                "think" => {
                    let changed = participant.think();
                    assert_eq!(changed, step["changed"].as_bool().unwrap(), "{step}");
                }
                other => panic!("unknown operation {other}"),
            }
            let expected = votes(&step["node_state_after"][node]);
            assert_eq!(sorted(participant.votes()), expected, "{step}");
            check_decision(participant, step);
        }
    }
}
