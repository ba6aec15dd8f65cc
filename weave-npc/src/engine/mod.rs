//! The engine of a controller: events in, transactions out.
//!
//! ```text
//! Event ─▶ World ─▶ touched ─┐
//! Claim ─▶ claims, holds ────┴─ poll_change ─▶ Transaction   (the shell commits it)
//! ```
//!
//! It holds what the sources said and the rules that follow from it. A change waits [`COALESCE`] for
//! others that belong to it. Nothing comes out before every kind was listed once, so rules are never
//! made from half a world.
//!
//! Invariants, E1 to E5 of `ALGORITHM.md`: the rules are those of the world that the events describe;
//! an object that cannot be used leaves in force what was known of it; an address that is held is
//! closed until its pod is placed or the time is over.

mod claims;
mod event;
#[cfg(test)]
mod tests;
mod tighten;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::compile::{Compiler, Options};
use crate::model::{Host, Key, Object, ObjectError, ObjectName, ObjectRef, Pod, Touched, World};
use crate::ruleset::{Table, TableId, Transaction};

pub use claims::Claim;
use claims::Claims;
pub use event::{Event, Kind, Listing};
pub use tighten::may_tighten;

/// What a node's controller knows, and the rules that follow.
///
/// ```
/// use std::time::Duration;
/// use weave_npc::compile::Options;
/// use weave_npc::engine::{Engine, Event, Listing};
///
/// let mut engine = Engine::new("n1", Options::default());
/// assert!(engine.poll_change(Duration::from_secs(1)).is_none(), "nothing is known yet");
///
/// let everything = Listing::whole(vec![], vec![]);
/// engine.handle_event(Duration::from_secs(1), Event::Listed(everything));
/// assert!(engine.poll_change(Duration::from_secs(2)).is_some());
/// ```
#[derive(Debug)]
pub struct Engine {
    world: World,
    compiler: Compiler,
    missing: BTreeSet<Kind>,
    touched: Touched,
    refused: BTreeMap<ObjectRef, ObjectError>,
    claims: Claims,
    /// Addresses that are closed, and until when.
    held: BTreeMap<IpAddr, Duration>,
    /// Those of `held` that the rules do not have yet.
    unheld: BTreeSet<IpAddr>,
    due: Option<Duration>,
    is_started: bool,
    revision: u64,
    events: u64,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(node: impl Into<Arc<str>>, options: Options) -> Self {
        Self {
            world: World::new(),
            compiler: Compiler::new(node, options),
            missing: Kind::ALL.into(),
            touched: Touched::default(),
            refused: BTreeMap::new(),
            claims: Claims::default(),
            held: BTreeMap::new(),
            unheld: BTreeSet::new(),
            due: None,
            is_started: false,
            revision: 0,
            events: 0,
        }
    }

    /// Takes over what a source says.
    pub fn handle_event(&mut self, now: Duration, event: Event) {
        self.events += 1;
        match event {
            Event::Applied(object) => {
                self.refused.remove(&reference(&object));
                self.apply(object);
            }
            Event::Removed(key) => {
                if let Some(name) = self.reference_of(&key) {
                    self.refused.remove(&name);
                }
                self.remove(&key);
            }
            Event::Refused(error) => {
                self.refused.insert(error.object.clone(), error);
            }
            Event::Listed(listing) => self.list(listing),
            Event::Unlisted(kind) => {
                self.missing.remove(&kind);
            }
        }
        self.schedule(now);
    }

    /// Takes over the addresses that a pod was given. Until the pod is known they are closed, but
    /// not longer than `hold`.
    pub fn handle_claim(&mut self, now: Duration, claim: Claim, hold: Duration) {
        for &address in &claim.addresses {
            self.hold(now, address, hold);
        }
        let name = claim.pod.clone();
        if let Some(pod) = self.claims.put(claim) {
            self.apply(Object::Pod(pod));
        }
        let known: Vec<Pod> = self.world.pods_named(&name).cloned().collect();
        for pod in known {
            self.apply(Object::Pod(pod));
        }
        self.due = Some(now);
    }

    /// Takes back addresses that a pod was given.
    pub fn handle_release(&mut self, now: Duration, pod: &ObjectName, addresses: &[IpAddr]) {
        for address in addresses {
            if let Some(until) = self.held.get_mut(address) {
                *until = now;
            }
        }
        if let Some(pod) = self.claims.take(pod, addresses) {
            self.apply(Object::Pod(pod));
        }
        self.schedule(now);
    }

    /// Closes addresses that an earlier controller isolated and nobody has yet: a pod that the
    /// world does not show so far may have them. They open when their owner is known, or after
    /// `hold`.
    pub fn handle_carried(
        &mut self,
        now: Duration,
        addresses: impl IntoIterator<Item = IpAddr>,
        hold: Duration,
    ) {
        for address in addresses {
            self.hold(now, address, hold);
        }
        self.schedule(now);
    }

    /// The next change of the rules, if it is time for one. The first one is the whole table.
    pub fn poll_change(&mut self, now: Duration) -> Option<Transaction> {
        if !self.is_synced() || self.poll_timeout().is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        let mut changes = Vec::new();
        let opened: Vec<IpAddr> = self
            .held
            .iter()
            .filter(|(address, until)| **until <= now || self.is_owned(**address))
            .map(|(address, _)| *address)
            .collect();
        for address in opened {
            self.held.remove(&address);
            self.unheld.remove(&address);
            if !self.is_owned(address) {
                self.claims.expire(address);
            }
            changes.extend(self.compiler.release(address).changes);
        }
        let touched = std::mem::take(&mut self.touched);
        changes.extend(self.compiler.update(&self.world, &touched).changes);
        for address in std::mem::take(&mut self.unheld) {
            let left = self.held.get(&address).map(|until| *until - now);
            let timeout = left.map(|left| left + MARGIN);
            changes.extend(self.compiler.hold(address, timeout).changes);
        }
        let is_first = !std::mem::replace(&mut self.is_started, true);
        if changes.is_empty() && !is_first {
            return None;
        }
        self.revision += 1;
        Some(Transaction { changes })
    }

    /// When [`Engine::poll_change`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if !self.is_synced() {
            return None;
        }
        let first = self.held.values().min().copied();
        self.due.into_iter().chain(first).min()
    }

    /// The world as the sources tell it.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The rules.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// The table as it should be, with its name.
    pub fn table(&self) -> (&TableId, &Table) {
        let id = self.compiler.table();
        let table = self.compiler.ruleset().tables.get(id);
        (id, table.expect("invariant: a compiler has its table"))
    }

    /// True if every kind was listed once.
    pub fn is_synced(&self) -> bool {
        self.missing.is_empty()
    }

    /// The kinds that were not listed yet.
    pub fn missing(&self) -> impl Iterator<Item = Kind> {
        self.missing.iter().copied()
    }

    /// How many changes of the rules there were.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// True if the rules say everything that the events said.
    pub fn is_settled(&self) -> bool {
        self.is_started && self.touched.is_empty() && self.unheld.is_empty()
    }

    /// True if the rules know `addresses` as those of `pod`.
    pub fn is_placed(&self, pod: &ObjectName, addresses: &[IpAddr]) -> bool {
        let is_its = |address: &IpAddr| match self.world.host(*address) {
            Host::Pod(owner) => owner.name == *pod,
            Host::Node(_) | Host::Outside => false,
        };
        self.is_settled() && addresses.iter().all(is_its)
    }

    /// The objects that cannot be used, by name.
    pub fn refused(&self) -> impl Iterator<Item = &ObjectError> {
        self.refused.values()
    }

    /// The addresses that are closed because nobody is known to have them.
    pub fn held(&self) -> impl Iterator<Item = IpAddr> {
        self.held.keys().copied()
    }

    /// The pods whose objects do not show the addresses they were given.
    pub fn claimed(&self) -> impl Iterator<Item = &ObjectName> {
        self.claims.pods()
    }

    // ===== the world =====

    fn apply(&mut self, object: Object) {
        let object = match object {
            Object::Pod(pod) => Object::Pod(self.claims.complete(pod)),
            other => other,
        };
        if !self.has(&object) {
            self.touched.merge(self.world.apply(object));
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Key::Pod(uid) = key
            && let Some(pod) = self.world.pod(uid)
        {
            self.claims.forget(pod);
        }
        self.touched.merge(self.world.remove(key));
    }

    /// True if the world has exactly this object.
    fn has(&self, object: &Object) -> bool {
        match object {
            Object::Namespace(new) => self.world.namespace(&new.name) == Some(new),
            Object::Node(new) => self.world.node(&new.name) == Some(new),
            Object::Pod(new) => self.world.pod(&new.uid).is_some_and(|old| **old == *new),
            Object::Policy(new) => self.world.policy(&new.name) == Some(new),
            Object::ClusterPolicy(new) => self.world.cluster_policy(&new.name) == Some(new),
        }
    }

    /// What is not in the listing goes, unless the listing has something in its place that cannot be
    /// read.
    fn list(&mut self, listing: Listing) {
        let is_torn = listing.is_torn();
        let Listing {
            kinds,
            objects,
            refused,
        } = listing;
        let keeps = |error: &ObjectRef| Kind::of_ref(error).is_none_or(|k| kinds.contains(&k));
        self.refused.retain(|object, _| !keeps(object));
        let named = refused
            .into_iter()
            .map(|error| (error.object.clone(), error));
        self.refused.extend(named);
        let there: BTreeSet<Key> = objects.iter().map(Object::key).collect();
        let gone: Vec<Key> = self
            .keys(&kinds)
            .into_iter()
            .filter(|key| !there.contains(key) && !is_torn && !self.is_refused(key))
            .collect();
        for key in gone {
            self.remove(&key);
        }
        for object in objects {
            self.apply(object);
        }
        self.missing.retain(|kind| !kinds.contains(kind));
    }

    fn is_refused(&self, key: &Key) -> bool {
        let name = self.reference_of(key);
        name.is_some_and(|name| self.refused.contains_key(&name))
    }

    fn keys(&self, kinds: &BTreeSet<Kind>) -> Vec<Key> {
        let everything = self.world.everything();
        let mut keys: Vec<Key> = Vec::new();
        keys.extend(everything.namespaces.into_iter().map(Key::Namespace));
        keys.extend(everything.nodes.into_iter().map(Key::Node));
        keys.extend(everything.pods.into_iter().map(Key::Pod));
        keys.extend(everything.policies.into_iter().map(Key::Policy));
        let cluster = everything.cluster_policies.into_iter();
        keys.extend(cluster.map(Key::ClusterPolicy));
        keys.retain(|key| kinds.contains(&Kind::of_key(key)));
        keys
    }

    /// How errors name the object with this key.
    fn reference_of(&self, key: &Key) -> Option<ObjectRef> {
        let kind = Kind::of_key(key);
        Some(match key {
            Key::Namespace(name) | Key::Node(name) | Key::ClusterPolicy(name) => {
                naming(kind, "", name)
            }
            Key::Policy(name) => naming(kind, name.namespace(), name.name()),
            Key::Pod(uid) => {
                let name = &self.world.pod(uid)?.name;
                naming(kind, name.namespace(), name.name())
            }
        })
    }

    // ===== time =====

    fn schedule(&mut self, now: Duration) {
        if !self.touched.is_empty() || !self.unheld.is_empty() || !self.is_started {
            self.due.get_or_insert(now + COALESCE);
        }
    }

    fn hold(&mut self, now: Duration, address: IpAddr, hold: Duration) {
        if !self.is_owned(address) {
            self.held.insert(address, now + hold);
            self.unheld.insert(address);
        }
    }

    fn is_owned(&self, address: IpAddr) -> bool {
        !matches!(self.world.host(address), Host::Outside)
    }
}

fn reference(object: &Object) -> ObjectRef {
    match object {
        Object::Namespace(it) => naming(Kind::Namespace, "", &it.name),
        Object::Node(it) => naming(Kind::Node, "", &it.name),
        Object::Pod(it) => naming(Kind::Pod, it.name.namespace(), it.name.name()),
        Object::Policy(it) => naming(Kind::Policy, it.name.namespace(), it.name.name()),
        Object::ClusterPolicy(it) => naming(Kind::ClusterPolicy, "", &it.name),
    }
}

fn naming(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        kind: kind.as_str().to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// How long a change waits for others that belong to it.
pub const COALESCE: Duration = Duration::from_millis(2);
/// The kernel keeps an address closed a little longer than we do, so that it is ours to open.
const MARGIN: Duration = Duration::from_secs(10);
