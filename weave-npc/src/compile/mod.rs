//! From the world to the rules of one node, kept up to date change by change.
//!
//! ```text
//! World ─▶ index ─▶ profile (which policies speak about a pod) ─▶ build (chains of a profile)
//!              └──▶ sets (shared members of peers)  ──────────────▶ draft ─▶ Transaction
//! ```
//!
//! Only pods of this node get chains, and only sets that those chains use exist. A packet takes one
//! look-up per direction to find the chain of the pod's profile, whatever the number of pods and
//! policies.
//!
//! Invariants C1 to C4 of `ALGORITHM.md`: the walk of a packet through the rules of both nodes is
//! what [`decide`](crate::decide) says; what came out of changes is what comes out at once.

mod base;
mod build;
mod canon;
mod clause;
mod closed;
mod denial;
mod draft;
mod family;
mod guard;
mod options;
mod ports;
mod profile;
mod query;
mod ranges;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::index::{Changes, Index, View};
use crate::model::{Direction, ObjectName, Touched, Uid, World};
use crate::ruleset::{
    Datum, Entry, Family as TableFamily, Key, Name, Ruleset, Table, TableId, Transaction, Value,
    Verdict,
};

use build::{Built, Ground};
pub use closed::closed;
pub use denial::{Denial, DeniedBy};
use draft::Draft;
use family::Family;
pub use guard::{GuardedPort, guard, guarded_in};
pub use options::Options;
use profile::Profile;
use sets::Sets;

/// The rules of one node.
///
/// ```
/// use weave_npc::compile::{Compiler, Options};
/// use weave_npc::model::{NetworkPolicy, Object, ObjectName, Pod, Uid, World};
/// use weave_npc::Selector;
///
/// let pod = Pod::new(ObjectName::new("shop", "web"), Uid::new("1"))
///     .with_addresses([[10, 32, 0, 1].into()])
///     .on_node("n1");
/// let closed = NetworkPolicy::new(ObjectName::new("shop", "closed"), Selector::everything());
/// let mut world = World::from_iter([Object::Pod(pod)]);
/// let mut compiler = Compiler::of("n1", &world, Options::default());
///
/// let touched = world.apply(Object::Policy(closed.with_ingress([])));
/// let transaction = compiler.update(&world, &touched);
///
/// assert!(!transaction.is_empty());
/// assert!(compiler.ruleset().to_string().contains("10.32.0.1 : jump in-"));
/// ```
#[derive(Debug)]
pub struct Compiler {
    node: Arc<str>,
    options: Options,
    index: Index,
    sets: Sets,
    profiles: BTreeMap<Arc<Profile>, Installed>,
    names: HashMap<Name, Arc<Profile>>,
    local: BTreeMap<Uid, Local>,
    draft: Draft,
}

/// A profile in the table.
#[derive(Debug)]
struct Installed {
    name: Name,
    users: usize,
    built: Built,
}

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Local {
    addresses: Vec<IpAddr>,
    profiles: [Option<Arc<Profile>>; 2],
}

impl Compiler {
    /// The rules of `node` for an empty world.
    pub fn new(node: impl Into<Arc<str>>, options: Options) -> Self {
        let id = TableId::new(TableFamily::Inet, canon::fixed(TABLE));
        let mut draft = Draft::new(id);
        base::sets(&mut draft);
        base::chains(&mut draft, &options, false);
        let _ = draft.finish();
        Self {
            node: node.into(),
            options,
            index: Index::default(),
            sets: Sets::default(),
            profiles: BTreeMap::new(),
            names: HashMap::new(),
            local: BTreeMap::new(),
            draft,
        }
    }

    /// The rules of `node` for `world`.
    pub fn of(node: impl Into<Arc<str>>, world: &World, options: Options) -> Self {
        let mut compiler = Self::new(node, options);
        let _ = compiler.update(world, &world.everything());
        compiler
    }

    /// The rules as they should be now. Nothing but this compiler may change the table in it.
    pub fn ruleset(&self) -> &Ruleset {
        self.draft.ruleset()
    }

    /// What the table is called.
    pub fn table(&self) -> &TableId {
        self.draft.id()
    }

    /// True if a chain of ours decides about packets of a local pod with this address.
    pub fn is_isolated(&self, address: IpAddr) -> bool {
        let family = Family::of(address);
        let sought = key([address]);
        Direction::BOTH.into_iter().any(|direction| {
            let map = self.draft.set(&base::dispatch(direction, family));
            map.is_some_and(|map| map.elements.contains_key(&sought))
        })
    }

    /// How many pods of this node the rules know.
    pub fn local_pods(&self) -> usize {
        self.local.len()
    }

    /// What is denied with the log prefix `prefix`.
    pub fn denial(&self, prefix: &str) -> Option<&Denial> {
        let chain = prefix.trim_end().split_once(' ')?.1;
        // The first two parts of the chain's name are the name of the profile's main chain, or the
        // first three if its hash was taken.
        let dashes = chain.match_indices('-').map(|(at, _)| at);
        dashes
            .skip(1)
            .filter_map(|at| self.names.get(&chain[..at]))
            .filter_map(|profile| self.profiles.get(profile))
            .find_map(|installed| installed.built.denials.get(prefix.trim_end()))
    }

    /// Takes over what was touched in `world`, and says what that changes in the rules.
    #[must_use]
    pub fn update(&mut self, world: &World, touched: &Touched) -> Transaction {
        let changes = self.index.update(world, touched);
        self.sets.follow(&self.index, &changes, &mut self.draft);
        if !touched.nodes.is_empty() {
            self.sets.follow_nodes(&self.index, world, &mut self.draft);
        }
        let known: Vec<Arc<Profile>> = self
            .profiles
            .keys()
            .filter(|profile| profile.involves(&touched.policies, &touched.cluster_policies))
            .cloned()
            .collect();
        let pods = self.stale_pods(world, touched, &changes);
        self.renew(world, &pods);
        let stale: Vec<Arc<Profile>> = known
            .into_iter()
            .filter(|profile| self.profiles.contains_key(profile))
            .collect();
        for profile in stale {
            self.rebuild(world, &profile);
        }
        let is_guarded = !self.profiles.is_empty();
        base::chains(&mut self.draft, &self.options, is_guarded);
        self.draft.finish()
    }

    /// Closes `address` for a pod that is being made: nothing passes until the pod is known, or
    /// `timeout` is over, or [`Compiler::release`] is called.
    #[must_use]
    pub fn hold(&mut self, address: IpAddr, timeout: Option<Duration>) -> Transaction {
        let entry = Entry {
            timeout,
            ..Entry::default()
        };
        let set = base::pending(Family::of(address));
        self.draft.put(&set, key([address]), entry);
        self.draft.finish()
    }

    /// Opens an address that was closed by [`Compiler::hold`].
    #[must_use]
    pub fn release(&mut self, address: IpAddr) -> Transaction {
        let set = base::pending(Family::of(address));
        self.draft.drop_elements(&set, [key([address])]);
        self.draft.finish()
    }

    // ===== pods =====

    /// The pods whose place in the maps may have changed.
    fn stale_pods(&self, world: &World, touched: &Touched, changes: &Changes) -> BTreeSet<Uid> {
        let mut stale = BTreeSet::new();
        for change in &changes.pods {
            for view in change.before.iter().chain(&change.after) {
                if *view.pod.node == *self.node {
                    stale.insert(view.pod.uid.clone());
                }
            }
        }
        let is_everybody = !touched.cluster_policies.is_empty()
            || (!changes.namespaces.is_empty() && world.cluster_policies().next().is_some());
        let namespaces: BTreeSet<&Arc<str>> =
            touched.policies.iter().map(ObjectName::namespace).collect();
        if is_everybody {
            stale.extend(self.local.keys().cloned());
        } else if !namespaces.is_empty() {
            for uid in self.local.keys() {
                let view = self.index.view(uid);
                if view.is_some_and(|view| namespaces.contains(view.pod.name.namespace())) {
                    stale.insert(uid.clone());
                }
            }
        }
        stale
    }

    /// Gives each of `pods` the profiles it should have.
    fn renew(&mut self, world: &World, pods: &BTreeSet<Uid>) {
        let mut moves = Vec::new();
        for uid in pods {
            let new = self.local_of(world, uid);
            let old = self.local.get(uid);
            if old != new.as_ref() {
                for profile in new.iter().flat_map(|local| local.profiles.iter().flatten()) {
                    self.acquire(world, profile);
                }
                let old = self.local.remove(uid);
                moves.push((uid, old, new));
            }
        }
        for (_, old, _) in &moves {
            if let Some(old) = old {
                self.unplace(old);
            }
        }
        for (uid, _, new) in &moves {
            if let Some(new) = new {
                self.place(new);
                self.local.insert((*uid).clone(), new.clone());
            }
        }
        for (_, old, _) in moves {
            for profile in old.iter().flat_map(|local| local.profiles.iter().flatten()) {
                self.give_back(profile);
            }
        }
    }

    fn local_of(&self, world: &World, uid: &Uid) -> Option<Local> {
        let is_here = |view: &&View| *view.pod.node == *self.node;
        let view = self.index.view(uid).filter(is_here)?;
        let profiles = profile::of(world, &self.index, view, &self.options);
        let shared = |profile: Profile| match self.profiles.get_key_value(&profile) {
            Some((shared, _)) => shared.clone(),
            None => Arc::new(profile),
        };
        Some(Local {
            addresses: view.addresses.clone(),
            profiles: profiles.map(|profile| profile.map(shared)),
        })
    }

    /// Puts a pod into the maps.
    fn place(&mut self, local: &Local) {
        for &address in &local.addresses {
            let family = Family::of(address);
            self.draft
                .drop_elements(&base::pending(family), [key([address])]);
            for profile in local.profiles.iter().flatten() {
                let Some(installed) = self.profiles.get(profile) else {
                    continue;
                };
                let entry = Entry {
                    data: Some(Datum::Verdict(Verdict::Jump(installed.name.clone()))),
                    ..Entry::default()
                };
                let map = base::dispatch(profile.direction, family);
                self.draft.put(&map, key([address]), entry);
            }
        }
        if let Some((set, pairs)) = local.pairs() {
            for (family, pair) in pairs {
                self.draft.put_elements(&set(family), [pair]);
            }
        }
    }

    /// Takes a pod out of the maps.
    fn unplace(&mut self, local: &Local) {
        for &address in &local.addresses {
            for profile in local.profiles.iter().flatten() {
                let map = base::dispatch(profile.direction, Family::of(address));
                self.draft.drop_elements(&map, [key([address])]);
            }
        }
        if let Some((set, pairs)) = local.pairs() {
            for (family, pair) in pairs {
                self.draft.drop_elements(&set(family), [pair]);
            }
        }
    }

    // ===== profiles =====

    /// Takes one more use of a profile, which is built if nobody used it.
    fn acquire(&mut self, world: &World, profile: &Arc<Profile>) {
        if let Some(installed) = self.profiles.get_mut(profile) {
            installed.users += 1;
            return;
        }
        let prefix = match profile.direction {
            Direction::Ingress => "in",
            Direction::Egress => "eg",
        };
        let id = profile.id();
        let name = (0..)
            .map(|attempt| canon::name(prefix, &id, attempt))
            .find(|name| !self.names.contains_key(name))
            .expect("invariant: there are more numbers than profiles");
        self.names.insert(name.clone(), profile.clone());
        let installed = Installed {
            name,
            users: 1,
            built: Built::default(),
        };
        self.profiles.insert(profile.clone(), installed);
        self.rebuild(world, profile);
    }

    /// Gives one use back. A profile that nobody uses is removed.
    fn give_back(&mut self, profile: &Arc<Profile>) {
        let Some(installed) = self.profiles.get_mut(profile) else {
            return;
        };
        installed.users -= 1;
        if installed.users > 0 {
            return;
        }
        if let Some(installed) = self.profiles.remove(profile) {
            self.names.remove(&installed.name);
            self.replace(installed.built, &Built::default());
        }
    }

    /// Writes the chains of a profile from its policies as they are.
    fn rebuild(&mut self, world: &World, profile: &Arc<Profile>) {
        let Some(installed) = self.profiles.get_mut(profile) else {
            return;
        };
        let old = std::mem::take(&mut installed.built);
        let name = installed.name.clone();
        let ground = Ground {
            options: &self.options,
            world,
            index: &self.index,
            sets: &mut self.sets,
            draft: &mut self.draft,
        };
        let new = build::build(profile, &name, ground);
        self.replace(old, &new);
        if let Some(installed) = self.profiles.get_mut(profile) {
            installed.built = new;
        }
    }

    /// Puts `new` into the table in place of `old`.
    fn replace(&mut self, old: Built, new: &Built) {
        for (name, chain) in &new.chains {
            self.draft.add_chain(name, chain.clone());
        }
        for (name, set) in &new.sets {
            if old.sets.get(name) != Some(set) {
                self.draft.add_set(name, set.clone());
            }
        }
        for name in old
            .chains
            .keys()
            .filter(|name| !new.chains.contains_key(*name))
        {
            self.draft.remove_chain(name);
        }
        for name in old.sets.keys().filter(|name| !new.sets.contains_key(*name)) {
            self.draft.remove_set(name);
        }
        for what in old.uses {
            self.sets.release(&what, &mut self.draft);
        }
    }
}

/// The name of one of the two sets of pairs.
type SetOf = fn(Family) -> Name;

impl Local {
    /// The pairs of the pod with itself, and the sets they belong to; nothing if it is not
    /// isolated.
    fn pairs(&self) -> Option<(SetOf, Vec<(Family, Key)>)> {
        let profile = self.profiles.iter().flatten().next()?;
        let set: SetOf = if profile.is_self_judged {
            base::late_self_pairs
        } else {
            base::self_pairs
        };
        let mut pairs = Vec::new();
        for &source in &self.addresses {
            let family = Family::of(source);
            for &destination in self.addresses.iter().filter(|a| Family::of(**a) == family) {
                pairs.push((family, key([source, destination])));
            }
        }
        Some((set, pairs))
    }
}

/// The addresses that a table of rules, read back from the kernel perhaps, isolates.
pub fn isolated_in(table: &Table) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for family in Family::BOTH {
        for direction in Direction::BOTH {
            let map = table.sets.get(&base::dispatch(direction, family));
            let keys = map.iter().flat_map(|map| map.elements.keys());
            found.extend(keys.filter_map(|key| match key.parts().first()?.first() {
                Value::Ipv4(address) => Some(IpAddr::from(address)),
                Value::Ipv6(address) => Some(IpAddr::from(address)),
                _ => None,
            }));
        }
    }
    found
}

fn key<const N: usize>(addresses: [IpAddr; N]) -> Key {
    Key::concat(addresses.map(|address| Value::from(address).into()))
}

/// The name of the table.
const TABLE: &str = "weave-npc";
