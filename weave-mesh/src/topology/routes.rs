//! Ways through the graph: next hops, broadcast trees, whom to gossip with.
//!
//! All peers that hold the same records compute the same routes: among shortest paths the one is
//! taken that the lowest-named peer of the previous level finds, level by level (mesh protocol,
//! "breadth-first search"). A broadcast therefore reaches every peer once.

use std::collections::{BTreeMap, BTreeSet};

use super::Topology;
use crate::peer::PeerName;
use crate::random::Random;

pub use super::graph::Graph;
pub use super::router::{Changed, Router};

/// Which connections count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Every connection somebody lists, in the direction from the lister. For gossip.
    All,
    /// Connections that both ends list as established. For data.
    Established,
}

/// What a peer needs to send and to relay, as of one state of the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// The peer the routes start from.
    pub us: PeerName,
    /// Next hop to each peer that data can reach; our own entry is [`PeerName::UNKNOWN`].
    pub unicast: BTreeMap<PeerName, PeerName>,
    /// Next hop to each peer that gossip can reach; our own entry is [`PeerName::UNKNOWN`].
    pub unicast_all: BTreeMap<PeerName, PeerName>,
}

impl Routes {
    /// The routes from the peer that holds `topology`.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        Self {
            us: topology.local().name,
            unicast: unicast(topology, Relation::Established),
            unicast_all: unicast(topology, Relation::All),
        }
    }
}

/// Next hop to each peer that can be reached; our own entry is [`PeerName::UNKNOWN`].
#[must_use]
pub fn unicast(topology: &Topology, relation: Relation) -> BTreeMap<PeerName, PeerName> {
    Graph::new(topology, relation).unicast(topology.local().name)
}

/// The neighbours to which we pass on what `source` broadcasts; none if its broadcasts do not
/// reach us.
#[must_use]
pub fn broadcast_hops(
    topology: &Topology,
    relation: Relation,
    source: PeerName,
) -> BTreeSet<PeerName> {
    Graph::new(topology, relation).broadcast_hops(topology.local().name, source)
}

/// Draws the neighbours to gossip with, given the next hops of [`Relation::All`].
///
/// About twice the logarithm of the number of peers, each draw in proportion to
/// [`gossip_weights`].
#[must_use]
pub fn gossip_targets(
    unicast_all: &BTreeMap<PeerName, PeerName>,
    except: PeerName,
    random: &mut Random,
) -> Vec<PeerName> {
    let candidates = gossip_weights(unicast_all, except).into_iter().collect();
    draw(candidates, unicast_all.len(), random)
}

/// Draws of `candidates`, neighbours with how many peers each leads to, those to gossip with if
/// `peers` can be reached.
#[must_use]
pub fn draw(
    mut candidates: Vec<(PeerName, u64)>,
    peers: usize,
    random: &mut Random,
) -> Vec<PeerName> {
    let mut total: u64 = candidates.iter().map(|(_, weight)| weight).sum();
    let mut targets = Vec::new();
    for _ in 0..gossip_fanout(peers, candidates.len()) {
        let mut drawn = random.below(total);
        let hit = candidates.iter().position(|(_, weight)| {
            let is_hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_hit
        });
        let Some(hit) = hit else { break };
        let (target, weight) = candidates.swap_remove(hit);
        total -= weight;
        targets.push(target);
    }
    targets
}

/// How many peers each neighbour but `except` leads to.
#[must_use]
pub fn gossip_weights(
    unicast_all: &BTreeMap<PeerName, PeerName>,
    except: PeerName,
) -> BTreeMap<PeerName, u64> {
    let mut weights = BTreeMap::new();
    for hop in unicast_all
        .values()
        .filter(|hop| **hop != PeerName::UNKNOWN && **hop != except)
    {
        *weights.entry(*hop).or_default() += 1;
    }
    weights
}

/// How many neighbours to gossip with: 2·log₂ of the number of peers that can be reached, us
/// included, rounded down, and at most as many as there are.
#[must_use]
pub fn gossip_fanout(peers: usize, candidates: usize) -> usize {
    let peers = peers as u64;
    let twice_log2 = peers.saturating_mul(peers).checked_ilog2().unwrap_or(0);
    usize::try_from(twice_log2).map_or(candidates, |needed| needed.min(candidates))
}
