//! The laws of reclaiming, in random interleavings of peers of ours and of Weave Net.
//!
//! A small world: an API with one record that is written only at the version that was read, Nodes,
//! a mesh, and a ring of one range for each peer, of which every peer knows what gossip brought.
//! Peers act one atomic step at a time in an order that is drawn; Nodes are deleted and created
//! again, peers die, restart and live on without a Node. Peers of Weave Net behave as its helper
//! does: they lock, read again, take over without a look at the mesh, and remove in three writes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use weave_bin::kube::nodes::{Node, Nodes};
use weave_bin::kube::reclaim::{Reclaimer, Step, View};
use weave_bin::kube::record::{Entry, Me, Record};

/// Who owns each peer's range, with a version that grows at each change.
type Ring = BTreeMap<String, (u32, String)>;

struct World {
    record: Record,
    version: u64,
    nodes: Nodes,
    /// Peers whose daemons run and are connected.
    alive: BTreeSet<String>,
    /// Who took over whose range, in this life of the latter.
    claims: BTreeMap<String, BTreeSet<String>>,
    now: Duration,
}

struct Actor {
    me: Me,
    ring: Ring,
    part: Part,
}

enum Part {
    Ours {
        reclaimer: Box<Reclaimer>,
        seen: Option<Box<Seen>>,
    },
    Old(Old),
}

struct Seen {
    record: Record,
    version: u64,
    nodes: Nodes,
    view: View,
}

/// Where Weave Net's helper is.
enum Old {
    Idle,
    Lock {
        peer: String,
        record: Record,
        version: u64,
    },
    TakeOver(String),
    Remove {
        peer: String,
        round: u8,
        read: Option<(Record, u64)>,
    },
}

impl World {
    fn new(actors: &[Actor]) -> Self {
        let mut world = Self {
            record: Record::default(),
            version: 0,
            nodes: Nodes::default(),
            alive: BTreeSet::new(),
            claims: BTreeMap::new(),
            now: Duration::ZERO,
        };
        for actor in actors {
            world.nodes.insert(node(&actor.me));
            world.alive.insert(actor.me.peer.clone());
            world.record.join(&told(actor));
        }
        world
    }

    /// Writes `record` if nobody has since `version`.
    fn put(&mut self, record: Record, version: u64) -> Option<u64> {
        if version != self.version {
            return None;
        }
        self.record = record;
        self.version += 1;
        Some(self.version)
    }

    /// What the daemon of `actor` does when it is told to take over from `peer`.
    fn take_over(&mut self, actor: &mut Actor, peer: &str) -> u128 {
        let me = actor.me.peer.clone();
        let mut count = 0;
        for (range, (version, owner)) in &mut actor.ring {
            if owner == peer {
                (*version, *owner) = (*version + 1, me.clone());
                count += 1;
                self.claim(&me, range, peer);
            }
        }
        count
    }

    /// One heir: of the peers on the list, nobody else has this range. Who lost it to us is none.
    fn claim(&mut self, me: &str, range: &str, loser: &str) {
        let claims = self.claims.entry(range.to_owned()).or_default();
        claims.remove(loser);
        if self.record.entry(me).is_some() {
            let others: Vec<&String> = claims
                .iter()
                .filter(|other| *other != me && self.record.entry(other).is_some())
                .collect();
            assert!(
                others.is_empty(),
                "{me} takes {range}, which {others:?} took"
            );
        }
        claims.insert(me.to_owned());
    }
}

impl Actor {
    fn new(number: usize, is_old: bool) -> Self {
        let me = Me {
            peer: format!("peer-{number}"),
            node: format!("node-{number}"),
            uid: Some(format!("uid-{number}-0")),
        };
        let part = if is_old {
            Part::Old(Old::Idle)
        } else {
            Part::ours(&me)
        };
        Self {
            me,
            ring: Ring::new(),
            part,
        }
    }

    fn act(&mut self, world: &mut World) {
        match std::mem::replace(&mut self.part, Part::Old(Old::Idle)) {
            Part::Old(old) => {
                let next = self.act_old(world, old);
                self.part = Part::Old(next);
            }
            Part::Ours {
                mut reclaimer,
                seen,
            } => {
                let seen = match seen {
                    None => Some(Box::new(read(world))),
                    Some(seen) => self.act_ours(world, &mut reclaimer, *seen),
                };
                self.part = Part::Ours { reclaimer, seen };
            }
        }
    }

    fn act_ours(
        &mut self,
        world: &mut World,
        reclaimer: &mut Reclaimer,
        mut seen: Seen,
    ) -> Option<Box<Seen>> {
        match reclaimer.next(world.now, &seen.record, &seen.nodes, &seen.view) {
            Step::Lock { peer, record } => {
                assert!(!seen.view.connected.contains(&peer), "{peer} is connected");
                seen.version = world.put(record, seen.version)?;
                reclaimer.handle_locked(&peer);
                seen.record = world.record.clone();
                Some(Box::new(seen))
            }
            Step::TakeOver { peer, node } => {
                assert!(!seen.view.connected.contains(&peer), "{peer} is connected");
                match world.nodes.find(&node) {
                    Some(found) => seen.nodes.insert(found.clone()),
                    None => seen.nodes.remove(&node),
                }
                let is_lost = |entry: &Entry| entry.peer == peer;
                if !reclaimer.lost(&seen.record, &seen.nodes).any(is_lost) {
                    return Some(Box::new(seen));
                }
                // The daemon looks at the mesh itself.
                if world.alive.contains(&peer) {
                    reclaimer.handle_refused(&peer, "it is connected");
                } else {
                    let count = world.take_over(self, &peer);
                    reclaimer.handle_taken(world.now, &peer, count);
                }
                Some(Box::new(seen))
            }
            Step::Unlock { record, .. } | Step::Remove { record, .. } => {
                seen.version = world.put(record, seen.version)?;
                seen.record = world.record.clone();
                Some(Box::new(seen))
            }
            Step::Wait(_) => None,
            Step::Rest(_) => {
                reclaimer.begin();
                None
            }
        }
    }

    fn act_old(&mut self, world: &mut World, old: Old) -> Old {
        let me = self.me.peer.clone();
        match old {
            Old::Idle => self.choose(world),
            Old::Lock {
                peer,
                mut record,
                version,
            } => match record.lock(&peer).map(str::to_owned) {
                Some(holder) if holder == me => Old::TakeOver(peer),
                Some(holder) if record.entry(&holder).is_some() => Old::Idle,
                _ => {
                    record.set_lock(&peer, &me);
                    world
                        .put(record, version)
                        .map_or(Old::Idle, |_| Old::TakeOver(peer))
                }
            },
            Old::TakeOver(peer) => {
                if world.record.entry(&peer).is_none() {
                    return Old::Idle;
                }
                // It does not look whether the peer is connected.
                world.take_over(self, &peer);
                Old::Remove {
                    peer,
                    round: 0,
                    read: None,
                }
            }
            Old::Remove {
                peer,
                round,
                read: None,
            } => Old::Remove {
                peer,
                round,
                read: Some((world.record.clone(), world.version)),
            },
            Old::Remove {
                peer,
                round,
                read: Some((mut record, version)),
            } => {
                // Locks of the peer, its entry, the lock on it; we write all three at once, so the
                // first two writes change nothing here.
                if round == 2 {
                    record.remove(&peer);
                }
                match (world.put(record, version), round) {
                    (None, _) => Old::Remove {
                        peer,
                        round,
                        read: None,
                    },
                    (Some(_), 2) => Old::Idle,
                    (Some(_), _) => Old::Remove {
                        peer,
                        round: round + 1,
                        read: None,
                    },
                }
            }
        }
    }

    fn choose(&self, world: &World) -> Old {
        let record = &world.record;
        // A peer that is not on the list adds itself before it reclaims.
        if record.entry(&self.me.peer).is_none() {
            return Old::Idle;
        }
        let is_lost = |peer: &str, node: &str| {
            peer != self.me.peer && (world.nodes.find(node).is_none() || node == self.me.node)
        };
        let found = record
            .entries()
            .iter()
            .find(|entry| is_lost(&entry.peer, &entry.node));
        found.map_or(Old::Idle, |entry| Old::Lock {
            peer: entry.peer.clone(),
            record: record.clone(),
            version: world.version,
        })
    }
}

impl Part {
    fn ours(me: &Me) -> Self {
        Self::Ours {
            reclaimer: Box::new(Reclaimer::new(me.clone())),
            seen: None,
        }
    }

    fn is_old(&self) -> bool {
        matches!(self, Self::Old(_))
    }
}

fn read(world: &World) -> Seen {
    Seen {
        record: world.record.clone(),
        version: world.version,
        nodes: world.nodes.clone(),
        view: View {
            connected: world.alive.clone(),
            has_ring: true,
        },
    }
}

fn node(me: &Me) -> Node {
    Node {
        name: me.node.clone(),
        uid: me.uid.clone().unwrap(),
        address: None,
        available: None,
    }
}

/// What a peer tells of itself: Weave Net's know no UID.
fn told(actor: &Actor) -> Me {
    let uid = actor.me.uid.clone().filter(|_| !actor.part.is_old());
    Me {
        uid,
        ..actor.me.clone()
    }
}

/// Lets all living peers know the newest of each range.
fn gossip(world: &World, actors: &mut [Actor]) {
    let mut newest = Ring::new();
    let is_alive = |actor: &&mut Actor| world.alive.contains(&actor.me.peer);
    for actor in actors.iter_mut().filter(is_alive) {
        for (range, held) in &actor.ring {
            match newest.get(range) {
                Some(known) if known.0 >= held.0 => {}
                _ => {
                    newest.insert(range.clone(), held.clone());
                }
            }
        }
    }
    for actor in actors.iter_mut().filter(is_alive) {
        actor.ring.clone_from(&newest);
    }
}

/// One event of the drawn schedule.
fn happen(world: &mut World, actors: &mut [Actor], choice: u16) {
    let (what, who) = (choice % 32, usize::from(choice / 32) % actors.len());
    let (peer, node_name) = {
        let me = &actors[who].me;
        (me.peer.clone(), me.node.clone())
    };
    let is_alive = world.alive.contains(&peer);
    match what {
        // A tick is longer than gossip and shorter than the pause between two takeovers.
        0..4 => {
            world.now += Duration::from_secs(1);
            gossip(world, actors);
        }
        // The machine is gone: the daemon first, its Node after it. Peers of Weave Net have
        // spread what they took over before.
        4 if is_alive && world.alive.len() > 2 => {
            if actors[who].part.is_old() {
                gossip(world, actors);
            }
            world.alive.remove(&peer);
            world.nodes.remove(&node_name);
        }
        // The Node is deleted and the daemon lives on; only where nobody is of Weave Net, whose
        // pods would take its addresses.
        5 if !actors.iter().any(|actor| actor.part.is_old()) => world.nodes.remove(&node_name),
        // The Node comes back under another UID, and its living daemon tells.
        6 if is_alive && world.nodes.find(&node_name).is_none() => {
            actors[who].me.uid = Some(format!("uid-{who}-{}", world.version));
            world.nodes.insert(node(&actors[who].me));
            let told = told(&actors[who]);
            if world.record.entry(&peer).is_some() && world.record.join(&told) {
                world.version += 1;
            }
        }
        // The daemon's container starts again and has forgotten what it was doing.
        7 if is_alive && !actors[who].part.is_old() => {
            actors[who].part = Part::ours(&actors[who].me);
        }
        _ if is_alive => actors[who].act(world),
        _ => {}
    }
}

proptest! {
    #[test]
    fn a_range_has_one_heir_and_is_never_lost(
        old in proptest::collection::vec(any::<bool>(), 3..6),
        schedule in proptest::collection::vec(any::<u16>(), 0..600),
    ) {
        let mut actors: Vec<Actor> = old
            .iter()
            .enumerate()
            .map(|(number, is_old)| Actor::new(number, *is_old && number > 0))
            .collect();
        let ring: Ring = actors
            .iter()
            .map(|actor| (actor.me.peer.clone(), (0, actor.me.peer.clone())))
            .collect();
        for actor in &mut actors {
            actor.ring.clone_from(&ring);
        }
        let mut world = World::new(&actors);

        for choice in schedule {
            happen(&mut world, &mut actors, choice);
        }
        // Nothing more happens, and everybody goes on.
        for _ in 0..200 {
            world.now += Duration::from_secs(1);
            gossip(&world, &mut actors);
            for actor in &mut actors {
                if world.alive.contains(&actor.me.peer) {
                    actor.act(&mut world);
                }
            }
        }
        gossip(&world, &mut actors);

        let ours_alive = actors
            .iter()
            .any(|actor| !actor.part.is_old() && world.alive.contains(&actor.me.peer));
        if ours_alive {
            for entry in world.record.entries() {
                let is_alive = world.alive.contains(&entry.peer);
                prop_assert!(is_alive, "{} is on the list", entry.peer);
                prop_assert!(world.record.lock(&entry.peer).is_none()
                    || world.nodes.find(&entry.node).is_none(), "{} is locked", entry.peer);
            }
            let living = actors.iter().find(|actor| world.alive.contains(&actor.me.peer)).unwrap();
            for (range, (_, owner)) in &living.ring {
                prop_assert!(world.alive.contains(owner), "{range} is with {owner}, who is dead");
            }
        }
    }
}
