//! Hosts with engines, joined by a mesh that sees only living daemons, and their data planes, which
//! live on: frames are followed through the tables as the kernel programs would send them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

use weave_datapath::{
    PeerName, ShortId,
    fastdp::{Connection, Engine, EngineConfig, PATIENCE, Route, Routes, Tables},
};

pub(crate) struct Fleet {
    hosts: Vec<Host>,
    links: BTreeSet<(usize, usize)>,
    now: Duration,
}

struct Host {
    /// `None`: the daemon is dead.
    engine: Option<Engine>,
    /// What the kernel has.
    tables: Tables,
}

impl Fleet {
    /// Hosts `0..hosts` in a line plus these links, all settled.
    pub(crate) fn new(hosts: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let line = (1..hosts).map(|host| (host - 1, host));
        let links = links.into_iter().filter(|(a, b)| a != b);
        let ordered = |(a, b): (usize, usize)| (a.min(b), a.max(b));
        let mut fleet = Self {
            hosts: Vec::new(),
            links: line.chain(links.map(ordered)).collect(),
            now: Duration::from_secs(1),
        };
        fleet.hosts.extend((0..hosts).map(|_| Host {
            engine: None,
            tables: Tables::default(),
        }));
        fleet.revive_all();
        fleet
    }

    /// Kills the daemon of a host, or starts it again. `between` sees the fleet while news of a
    /// death has reached only the neighbours, each of its own connection.
    pub(crate) fn toggle(&mut self, host: usize, between: impl FnOnce(&Self)) {
        if self.hosts[host].engine.take().is_none() {
            self.revive(host);
        }
        for near in self.neighbours(host, |_| true) {
            let living: Vec<bool> = (0..self.hosts.len())
                .map(|other| other == host || self.hosts[other].engine.is_some())
                .collect();
            let lost = (host.min(near), host.max(near));
            self.links.remove(&lost);
            let routes = self.routes(near, &living);
            self.links.insert(lost);
            let Host { engine, tables } = &mut self.hosts[near];
            if let Some(engine) = engine {
                engine.handle_closed(self.now, link_id(host, near));
                engine.handle_routes(self.now, routes);
                update(engine, tables, self.now);
            }
        }
        between(self);
        self.converge();
    }

    pub(crate) fn revive_all(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].engine.is_none() {
                self.revive(host);
            }
        }
        self.converge();
    }

    pub(crate) fn tables(&self) -> BTreeMap<usize, Tables> {
        let tables = self.hosts.iter().map(|host| host.tables.clone());
        tables.enumerate().collect()
    }

    /// Follows a broadcast from every host and a unicast between every two. With `complete` every
    /// host must be reached, else frames must only come to an end.
    pub(crate) fn check(&self, complete: bool) {
        for from in 0..self.hosts.len() {
            let reached = self.broadcast(from);
            let unicast = |to| self.unicast(from, to);
            let arrived = (0..self.hosts.len()).filter(|to| unicast(*to)).count();
            if complete {
                assert_eq!(reached.len(), self.hosts.len(), "broadcast of {from}");
                assert_eq!(arrived, self.hosts.len(), "unicast of {from}");
            }
        }
    }

    fn revive(&mut self, host: usize) {
        let mut engine = Engine::new(EngineConfig {
            us: name(host),
            mtu: 1376,
            port: 6784,
        });
        if self.hosts[host].tables != Tables::default() {
            engine.adopt(self.now, self.hosts[host].tables.clone());
        }
        self.hosts[host].engine = Some(engine);
    }

    /// Lets every living daemon have its connections and the routes over them.
    fn converge(&mut self) {
        let living: Vec<bool> = self
            .hosts
            .iter()
            .map(|host| host.engine.is_some())
            .collect();
        for host in 0..self.hosts.len() {
            let near = self.neighbours(host, |near| living[near]);
            let routes = self.routes(host, &living);
            let Host { engine, tables } = &mut self.hosts[host];
            let Some(engine) = engine else { continue };
            for near in near {
                engine.handle_connection(
                    self.now,
                    Connection {
                        id: link_id(host, near),
                        peer: name(near),
                        short_id: Some(short_id(near)),
                        local: address(host),
                        remote: address(near),
                        port: 6784,
                        uid: link_id(host, near),
                        encrypted: false,
                    },
                );
            }
            engine.handle_routes(self.now, routes);
            update(engine, tables, self.now);
            engine.handle_timeout(self.now + PATIENCE);
            update(engine, tables, self.now + PATIENCE);
        }
        self.now += PATIENCE;
    }

    fn neighbours(&self, of: usize, wanted: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let ends = self.links.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
        let near = ends.filter(|(a, _)| *a == of).map(|(_, b)| b);
        near.filter(|near| wanted(*near)).collect()
    }

    /// Routes among the living, as the mesh protocol's topology section computes them.
    fn routes(&self, us: usize, living: &[bool]) -> Routes {
        let order = self.search(us, living, None);
        let mut routes = Routes::default();
        for (host, first_hop) in &order {
            routes.short_ids.insert(name(*host), short_id(*host));
            if let Some(first_hop) = first_hop {
                routes.unicast.insert(name(*host), name(*first_hop));
            }
            let seen = self.search(*host, living, Some(us));
            let near = self.neighbours(us, |near| living[near]);
            let hops = near.into_iter().filter(|near| !seen.contains_key(near));
            routes
                .broadcast
                .insert(name(*host), hops.map(name).collect());
        }
        routes
    }

    /// Breadth first, ascending within a level: who is reached, each with the first hop on the
    /// way. Ends when `until` is about to be expanded.
    fn search(
        &self,
        from: usize,
        living: &[bool],
        until: Option<usize>,
    ) -> BTreeMap<usize, Option<usize>> {
        let mut reached = BTreeMap::from([(from, None)]);
        let mut level = BTreeSet::from([from]);
        while !level.is_empty() {
            let mut next = BTreeSet::new();
            for host in level {
                if until == Some(host) {
                    return reached;
                }
                for near in self.neighbours(host, |near| living[near]) {
                    let first_hop = reached[&host].or(Some(near));
                    if let std::collections::btree_map::Entry::Vacant(entry) = reached.entry(near) {
                        entry.insert(first_hop);
                        next.insert(near);
                    }
                }
            }
            level = next;
        }
        reached
    }

    /// Who gets a broadcast of `from`. Panics when it does not end.
    fn broadcast(&self, from: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([from]);
        let mut copies = VecDeque::from([(from, None::<Ipv4Addr>)]);
        let mut sent = 0;
        while let Some((at, outer_source)) = copies.pop_front() {
            reached.insert(at);
            let tables = &self.hosts[at].tables;
            for hop in tables.trees.get(&short_id(from)).into_iter().flatten() {
                let to = host(hop.path.remote);
                // Not back to where it came from, and an origin drops its own frames.
                if Some(hop.path.remote) != outer_source && to != from {
                    copies.push_back((to, Some(hop.path.local)));
                }
                sent += 1;
            }
            assert!(sent < 2000, "the broadcast of {from} goes round in circles");
        }
        reached
    }

    /// Whether a unicast of `from` arrives at `to`. Panics when it goes round in circles.
    fn unicast(&self, from: usize, to: usize) -> bool {
        let (mut at, mut outer_source) = (from, None);
        for _ in 0..100 {
            if at == to {
                return true;
            }
            let entry = self.hosts[at].tables.peers.get(&short_id(to));
            let Some(Route::Fastdp(path)) = entry.map(|entry| entry.route) else {
                return false;
            };
            // Not back to where it came from, and an origin drops its own frames.
            if Some(path.remote) == outer_source || host(path.remote) == from {
                return false;
            }
            (at, outer_source) = (host(path.remote), Some(path.local));
        }
        panic!("a unicast from {from} to {to} goes round in circles");
    }
}

fn update(engine: &mut Engine, tables: &mut Tables, now: Duration) {
    if let Some(update) = engine.poll_update(now) {
        tables.apply(&update);
    }
}

fn name(host: usize) -> PeerName {
    PeerName(u64::try_from(host).unwrap() + 1)
}

fn short_id(host: usize) -> ShortId {
    ShortId::try_from(u16::try_from(host).unwrap() + 100).unwrap()
}

fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(host).unwrap())
}

fn host(address: Ipv4Addr) -> usize {
    address.octets()[3].into()
}

fn link_id(a: usize, b: usize) -> u64 {
    u64::try_from(a.min(b) * 100 + a.max(b)).unwrap()
}
