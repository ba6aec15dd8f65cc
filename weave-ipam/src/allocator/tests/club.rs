//! Some allocators that hear each other at once, and what they said.

use super::*;

/// Allocators by name. Messages are delivered until nobody has anything to say.
pub(super) struct Club {
    pub(super) members: BTreeMap<PeerId, Allocator>,
    pub(super) now: Duration,
    /// Events since they were last taken.
    pub(super) events: Vec<(PeerId, Event)>,
    /// Peers that neither hear nor are heard.
    cut: BTreeSet<PeerId>,
}

impl Club {
    pub(super) fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            now: START,
            events: Vec::new(),
            cut: BTreeSet::new(),
        }
    }

    /// The first `count` peers with a ring shared out among them.
    pub(super) fn seeded(universe: &str, count: u64) -> Self {
        let seeds: Vec<PeerId> = (1..=count).map(PeerId).collect();
        let mut club = Self::new();
        for peer in &seeds {
            club.start(*peer, universe, InitMode::Seed(seeds.clone()), None);
        }
        club.settle();
        club
    }

    pub(super) fn start(
        &mut self,
        peer: PeerId,
        universe: &str,
        init: InitMode,
        snapshot: Option<Snapshot>,
    ) {
        self.start_as(peer, peer, universe, init, snapshot);
    }

    /// Starts a process at `place` that has the name `name`.
    pub(super) fn start_as(
        &mut self,
        place: PeerId,
        name: PeerId,
        universe: &str,
        init: InitMode,
        snapshot: Option<Snapshot>,
    ) {
        let config = Config::new(net(universe), name).uid(place.0 * 7).init(init);
        let allocator = Allocator::new(config, snapshot).unwrap();
        self.members.insert(place, allocator);
        self.meet();
    }

    pub(super) fn stop(&mut self, place: PeerId) -> Snapshot {
        let allocator = self.members.remove(&place).unwrap();
        self.meet();
        allocator.snapshot()
    }

    pub(super) fn cut(&mut self, peer: PeerId) {
        self.cut.insert(peer);
        self.meet();
    }

    pub(super) fn join(&mut self) {
        self.cut.clear();
        self.meet();
    }

    pub(super) fn at(&mut self, place: PeerId) -> &mut Allocator {
        self.members.get_mut(&place).unwrap()
    }

    pub(super) fn allocate(&mut self, place: PeerId, ident: &str) -> Outcome<IpNet> {
        let now = self.now;
        let outcome = self.at(place).allocate(now, ident, None, true).unwrap();
        self.settle();
        outcome
    }

    pub(super) fn take_events(&mut self) -> Vec<(PeerId, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Lets time pass: timers, and gossip of everybody to everybody every half minute.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += Duration::from_millis(500);
            for allocator in self.members.values_mut() {
                if allocator.poll_timeout().is_some_and(|at| at <= self.now) {
                    allocator.handle_timeout(self.now);
                }
            }
            if self.now.as_millis().is_multiple_of(30_000) {
                self.gossip();
            }
            self.settle();
        }
    }

    /// Everyone hears everyone's state, as on a new connection.
    pub(super) fn gossip(&mut self) {
        let states: Vec<(PeerId, State)> = self
            .members
            .iter()
            .map(|(place, allocator)| (*place, allocator.state(0)))
            .collect();
        let now = self.now;
        for (from, state) in states {
            for to in self.listeners(from) {
                self.at(to).handle_gossip(now, state.clone());
            }
        }
        self.settle();
    }

    /// Delivers until it is quiet.
    pub(super) fn settle(&mut self) {
        for _ in 0..1000 {
            let places: Vec<PeerId> = self.members.keys().copied().collect();
            let mut is_quiet = true;
            for place in places {
                while let Some(event) = self.at(place).poll_event() {
                    self.events.push((place, event));
                }
                while let Some(transmit) = self.at(place).poll_transmit() {
                    is_quiet = false;
                    self.deliver(place, transmit);
                }
            }
            if is_quiet {
                return;
            }
        }
        panic!("they never stop talking");
    }

    fn deliver(&mut self, from: PeerId, transmit: Transmit) {
        let now = self.now;
        let name = self.name(from);
        match transmit {
            Transmit::Broadcast => {
                let state = self.at(from).state(0);
                for to in self.listeners(from) {
                    // A process with the same name takes it as its own and ignores it.
                    if self.name(to) == name {
                        self.at(to).handle_gossip(now, state.clone());
                    } else {
                        self.at(to).handle_broadcast(now, name, state.clone());
                    }
                }
            }
            Transmit::Unicast { to, message } => {
                let listeners = self.listeners(from);
                let to = listeners.into_iter().find(|place| self.name(*place) == to);
                if let Some(to) = to {
                    self.at(to).handle_unicast(now, name, message);
                }
            }
        }
    }

    fn name(&self, place: PeerId) -> PeerId {
        self.members[&place].config.peer
    }

    fn listeners(&self, from: PeerId) -> Vec<PeerId> {
        let is_cut = |place: &PeerId| self.cut.contains(place);
        let places = self.members.keys().copied();
        places
            .filter(|place| *place != from && !is_cut(place) && !is_cut(&from))
            .collect()
    }

    fn meet(&mut self) {
        let places: Vec<PeerId> = self.members.keys().copied().collect();
        for place in places {
            let listeners = self.listeners(place);
            let names = listeners.iter().map(|place| self.name(*place)).collect();
            let now = self.now;
            self.at(place).handle_reachable(now, names, 2);
        }
        self.gossip();
    }

    /// No address is in use at two places, but for those named to be renumbered or asked for.
    pub(super) fn check_no_duplicates(&self) {
        let mut seen: BTreeMap<IpAddr, PeerId> = BTreeMap::new();
        for (place, allocator) in &self.members {
            let unsettled = allocator.status().renumber;
            for address in allocator.owned().flat_map(|(_, addresses)| addresses) {
                if unsettled.iter().any(|one| one.address == *address) {
                    continue;
                }
                let other = seen.insert(address.addr(), *place);
                assert_eq!(other, None, "{address} is in use at {place} too");
            }
        }
    }
}
