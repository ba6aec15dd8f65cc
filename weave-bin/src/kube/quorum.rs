//! How the ring of a cluster starts, so that there is one.
//!
//! Weave Net lets the nodes vote, and each counts the voters when it starts: two groups of nodes
//! that start at different times, or apart, can both find a majority. Here the first peer of a
//! cluster creates the shared ConfigMap, which succeeds for one peer only, and names itself in it
//! as the seed of the ring; every later peer starts with that seed. A ring from a seed is the same
//! wherever it is made, so cutting the network makes no second one. A node of Weave Net that joins
//! gives its vote up when it hears of the ring.
//!
//! Where the ConfigMap is there without a seed, Weave Net's nodes have started the cluster, and
//! the vote is taken as they take it.

use super::nodes::Nodes;
use super::record::{Me, Record};

/// How this peer starts the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// From these peers.
    Seed(Vec<String>),
    /// By a vote among so many.
    Consensus(usize),
    /// Not at all: it is heard from the others.
    Observer,
}

impl std::fmt::Display for Start {
    /// As the flag `--ipalloc-init` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seed(peers) => write!(f, "seed={}", peers.join(",")),
            Self::Consensus(count) => write!(f, "consensus={count}"),
            Self::Observer => f.write_str("observer"),
        }
    }
}

/// What to do about the ConfigMap.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It is there: start like this.
    Follow(Start),
    /// It is not: create it like this; when somebody else was faster, read it and decide again.
    Create(Record, Start),
}

/// Decides for `me` with the ConfigMap `found`. `stored` are the seeds of the ring in the state
/// file; `None` without a ring.
pub fn decide(
    found: Option<&Record>,
    me: &Me,
    nodes: &Nodes,
    stored: Option<&[String]>,
) -> Decision {
    let voters = nodes.voters().max(1);
    if let Some(record) = found {
        let start = match (stored, record.seeds()) {
            // Whoever has a ring needs no start; the vote changes nothing then.
            (Some(_), _) | (None, []) => Start::Consensus(voters.max(record.entries().len())),
            // What we had as the seed is long given away, or taken over after we were gone.
            (None, seeds) if seeds.contains(&me.peer) && has_others(record, me, nodes) => {
                Start::Observer
            }
            (None, seeds) => Start::Seed(seeds.to_vec()),
        };
        return Decision::Follow(start);
    }
    let mut record = Record::default();
    let is_used = nodes
        .iter()
        .any(|node| node.name != me.node && node.is_up_by_weave());
    match stored {
        Some(seeds) => {
            // The ConfigMap was deleted: what the ring says of its start is written again.
            record.set_seeds(seeds.to_vec());
            Decision::Create(record, Start::Consensus(voters))
        }
        // Some other node has had Weave up, so there may be a ring without a ConfigMap.
        None if is_used => Decision::Create(record, Start::Consensus(voters)),
        None => {
            let seeds = vec![me.peer.clone()];
            record.set_seeds(seeds.clone());
            Decision::Create(record, Start::Seed(seeds))
        }
    }
}

/// How the IPv6 ring starts at `me`, who has none; `None` while nobody is named as its seed.
pub fn decide_ipv6(record: &Record, me: &Me, nodes: &Nodes) -> Option<Start> {
    match record.seeds6() {
        [] => None,
        seeds if seeds.contains(&me.peer) && has_others(record, me, nodes) => Some(Start::Observer),
        seeds => Some(Start::Seed(seeds.to_vec())),
    }
}

/// Whether another peer with a Node is on the list, which started from the same seed and has the ring.
fn has_others(record: &Record, me: &Me, nodes: &Nodes) -> bool {
    let mut others = record.entries().iter().filter(|one| one.peer != me.peer);
    others.any(|other| other.node != me.node && nodes.find(&other.node).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::nodes::Node;

    fn me(name: &str) -> Me {
        Me {
            peer: format!("peer-{name}"),
            node: name.to_owned(),
            uid: None,
        }
    }

    fn nodes(names: &[&str], available: Option<&str>) -> Nodes {
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            uid: String::new(),
            address: Some([10, 0, 0, 1].into()),
            available: available.map(str::to_owned),
        };
        names.iter().map(node).collect()
    }

    #[test]
    fn the_first_peer_is_the_seed_of_all() {
        let all = nodes(&["a", "b", "c"], None);

        let first = decide(None, &me("b"), &all, None);

        let Decision::Create(record, start) = first else {
            panic!("{first:?}")
        };
        assert_eq!(start.to_string(), "seed=peer-b");
        for other in ["a", "b", "c"] {
            let follow = decide(Some(&record), &me(other), &all, None);
            assert_eq!(follow, Decision::Follow(start.clone()));
        }
    }

    #[test]
    fn whoever_comes_second_never_decides() {
        // Whatever two peers see of the cluster, at most one of two creations succeeds, and the
        // other one follows the record of the first.
        for seen in [&["a"][..], &["a", "b"], &["a", "b", "c", "d"]] {
            let seen = nodes(seen, None);
            let Decision::Create(record, start) = decide(None, &me("a"), &seen, None) else {
                panic!("not created")
            };

            assert_eq!(
                decide(Some(&record), &me("b"), &nodes(&["b"], None), None),
                Decision::Follow(start)
            );
        }
    }

    #[test]
    fn a_seed_that_lost_its_ring_hears_it_from_the_others() {
        let all = nodes(&["a", "b"], None);
        let Decision::Create(mut record, seed) = decide(None, &me("a"), &all, None) else {
            panic!("not created")
        };
        record.join(&me("a"));
        let again = |record: &Record, nodes: &Nodes| decide(Some(record), &me("a"), nodes, None);
        assert_eq!(again(&record, &all), Decision::Follow(seed.clone()));

        record.join(&me("b"));

        assert_eq!(again(&record, &all), Decision::Follow(Start::Observer));
        assert_eq!(Start::Observer.to_string(), "observer");
        // Nobody is left to hear it from.
        let alone = nodes(&["a"], None);
        assert_eq!(again(&record, &alone), Decision::Follow(seed));
    }

    #[test]
    fn the_seed_of_the_ipv6_ring_that_lost_it_hears_it_from_the_others() {
        let all = nodes(&["a", "b"], None);
        let mut record = Record::default();
        record.join(&me("a"));
        assert_eq!(decide_ipv6(&record, &me("a"), &all), None);

        record.set_seeds6(vec![me("a").peer]);
        let seed = Start::Seed(vec![me("a").peer]);
        assert_eq!(decide_ipv6(&record, &me("a"), &all), Some(seed.clone()));

        record.join(&me("b"));

        assert_eq!(decide_ipv6(&record, &me("b"), &all), Some(seed.clone()));
        let again = decide_ipv6(&record, &me("a"), &all);
        assert_eq!(again, Some(Start::Observer));
        let alone = nodes(&["a"], None);
        assert_eq!(decide_ipv6(&record, &me("a"), &alone), Some(seed));
    }

    #[test]
    fn a_cluster_of_old_nodes_votes_as_they_do() {
        let mut record = Record::default();
        record.join(&me("a"));
        let all = nodes(&["a", "b", "c", "d"], None);

        let start = decide(Some(&record), &me("b"), &all, None);

        assert_eq!(start, Decision::Follow(Start::Consensus(4)));
        assert_eq!(Start::Consensus(4).to_string(), "consensus=4");
    }

    #[test]
    fn a_deleted_list_starts_no_second_ring() {
        let used = nodes(&["a", "b"], Some("WeaveIsUp"));
        let seeds = ["peer-x".to_owned()];

        let fresh = decide(None, &me("a"), &used, None);
        let kept = decide(None, &me("a"), &used, Some(&seeds));

        assert_eq!(
            fresh,
            Decision::Create(Record::default(), Start::Consensus(2))
        );
        let Decision::Create(record, _) = kept else {
            panic!("{kept:?}")
        };
        assert_eq!(record.seeds(), seeds);
    }

    #[test]
    fn a_cluster_of_one_has_a_quorum() {
        let record = Record::default();

        let start = decide(Some(&record), &me("a"), &Nodes::default(), None);

        assert_eq!(start, Decision::Follow(Start::Consensus(1)));
    }
}
