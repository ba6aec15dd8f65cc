//! The standard experiment: a mesh forms, rests, and changes.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Counts, HostId, Settings, Simulation};
use crate::node::Config;
use crate::peer::PeerName;
use crate::random::Random;
use crate::topology::Topology;
use crate::topology::routes::{self, Relation};

/// A mesh whose peers start within one second, all but the first with the address of the first:
/// how long it takes to form, what it sends at rest, how fast a change spreads.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scenario {
    /// Peers.
    pub nodes: usize,
    /// How many of them are fake old peers, spread evenly.
    pub old: usize,
    /// Share of the peers, from 0 to 1, whose processor is starved from the start.
    pub starved: f64,
    /// What a starved host gets of a processor, in thousandths.
    pub starved_share: u32,
    /// Connections of a peer at a time; 0 is unlimited.
    pub connection_limit: usize,
    /// Whether every peer is given the addresses of all, not only of the first.
    pub all_addresses: bool,
    /// Time after which a mesh that has not formed is given up.
    pub patience: Duration,
    /// Time for which the mesh is left alone before it is measured at rest.
    pub settling: Duration,
    /// Time over which the mesh is measured at rest.
    pub window: Duration,
    /// Connections that are reset, one after another, to see how the change spreads.
    pub changes: usize,
    /// The network and the machines.
    pub settings: Settings,
}

impl Scenario {
    /// So many peers of this crate on a quiet network, with the connection limit of the daemon.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            nodes,
            old: 0,
            starved: 0.0,
            starved_share: 20,
            connection_limit: Config::default().connection_limit,
            all_addresses: false,
            patience: Duration::from_secs(300),
            settling: Duration::from_secs(30),
            window: Duration::from_secs(120),
            changes: 10,
            settings: Settings::default(),
        }
    }

    /// Makes so many of the peers fake old ones.
    #[must_use]
    pub fn old(self, old: usize) -> Self {
        Self { old, ..self }
    }

    /// Loses this share of all TCP segments.
    #[must_use]
    pub fn loss(self, loss: f64) -> Self {
        let settings = self.settings.loss(loss);
        Self { settings, ..self }
    }

    /// Starves this share of the hosts.
    #[must_use]
    pub fn starved(self, starved: f64) -> Self {
        Self { starved, ..self }
    }

    /// Starts, measures and changes the mesh; `progress` is called about every 100 ms of virtual
    /// time.
    pub fn run(&self, progress: impl FnMut(&Progress)) -> Outcome {
        Experiment::new(self, progress).run()
    }

    fn config(&self, number: usize) -> Config {
        let given = if self.all_addresses { self.nodes } else { 1 };
        let peers = (0..given).filter(|peer| *peer != number);
        let seed = Random::new(self.settings.seed ^ wide(number)).next_u64();
        Config::default()
            .name(name(number))
            .nickname(format!("host{number}"))
            .seed(seed)
            .listen(address(number))
            .peers(peers.map(|peer| address(peer).ip().to_string()))
            .overlays(["fastdp", "sleeve"])
            .connection_limit(self.connection_limit)
    }

    fn is_old(&self, number: usize) -> bool {
        let before = |number: usize| number * self.old / self.nodes.max(1);
        before(number + 1) > before(number)
    }

    fn is_starved(&self, number: usize) -> bool {
        // The first peer, which all others are given, is starved last.
        #[expect(
            clippy::cast_precision_loss,
            reason = "host numbers are far below 2^52"
        )]
        let before = |number: usize| (number as f64 * self.starved).floor();
        before(number + 1) > before(number)
    }
}

/// How far an experiment is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Virtual time.
    pub now: Duration,
    /// What is being done.
    pub phase: &'static str,
    /// Peers that know the whole mesh.
    pub complete: usize,
    /// Bytes sent so far.
    pub bytes: u64,
}

/// What an experiment measured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// Peers.
    pub nodes: usize,
    /// How many of them were fake old ones.
    pub old: usize,
    /// Time from the start of the first peer until every peer knew the whole mesh; without a limit
    /// on connections in the way also until each pair was connected and each connection
    /// established. `None`: not within the scenario's patience.
    pub formed: Option<Duration>,
    /// Targets that had failed and waited at the end of the forming.
    pub failed_connections: usize,
    /// Targets that had failed and waited when the mesh had settled.
    pub failed_at_rest: usize,
    /// Connections at the end, each counted once.
    pub connections: usize,
    /// Connections at the end of the peer that has the fewest.
    pub fewest_connections: usize,
    /// Bytes sent by all while the mesh formed.
    pub forming_bytes: u64,
    /// Connections that were refused, replaced or failed while the mesh formed, counted at each
    /// end.
    pub forming_failures: u64,
    /// Route calculations of all while the mesh formed.
    pub forming_routes: u64,
    /// Processor time of all while the mesh formed, by the cost model.
    pub forming_cpu: Duration,
    /// Bytes sent at rest for each peer and second.
    pub bytes_per_second: f64,
    /// Messages sent at rest for each peer and second, heartbeats included.
    pub messages_per_second: f64,
    /// Route calculations at rest of all.
    pub rest_routes: u64,
    /// Processor time at rest for each peer and second, by the cost model.
    pub rest_cpu: Duration,
    /// Connections between hosts with a whole processor that were part of the topology at both
    /// ends, and ended at rest.
    pub lost_connections: usize,
    /// Connections between such hosts that one end took for made and the other refused, at rest.
    pub refused_connections: usize,
    /// Time after which half of all peers knew of a change, over all changes.
    pub change_p50: Option<Duration>,
    /// Time after which 99 of 100 peers knew of a change, over all changes. `None` if more than
    /// one of 100 did not hear of one within a minute.
    pub change_p99: Option<Duration>,
    /// The largest message anybody sent.
    pub largest_message: u64,
    /// Events handled by the simulation.
    pub happenings: u64,
}

/// A scenario under way.
struct Experiment<'s, P> {
    scenario: &'s Scenario,
    simulation: Simulation,
    progress: P,
    /// Hosts before this one knew the whole mesh when they were last looked at.
    complete: usize,
    random: Random,
}

impl<'s, P: FnMut(&Progress)> Experiment<'s, P> {
    fn new(scenario: &'s Scenario, progress: P) -> Self {
        let mut simulation = Simulation::new(scenario.settings.clone());
        let mut random = Random::new(scenario.settings.seed.wrapping_add(1));
        for number in 0..scenario.nodes {
            let at = match number {
                0 => Duration::ZERO,
                _ => Duration::from_micros(random.below(1_000_000)),
            };
            let config = scenario.config(number);
            let host = if scenario.is_old(number) {
                simulation.start_old(at, config)
            } else {
                simulation
                    .start(at, config, [])
                    .expect("invariant: the names and addresses made here are valid")
            };
            if scenario.is_starved(number) {
                simulation.starve(host, scenario.starved_share);
            }
        }
        Self {
            scenario,
            simulation,
            progress,
            complete: 0,
            random,
        }
    }

    fn run(mut self) -> Outcome {
        let formed = self.form();
        let forming = self.total();
        let failed_connections = self.sum(Simulation::failed_targets);
        let (ended, refused) = (self.ended(true), self.ended(false));
        if formed.is_some() {
            self.pass(self.scenario.settling, "settling");
        }
        let failed_at_rest = self.sum(Simulation::failed_targets);
        let (at_rest, rested) = match formed {
            Some(_) => self.rest(),
            None => (Counts::default(), Counts::default()),
        };
        let lost_connections = self.ended(true) - ended;
        let refused_connections = self.ended(false) - refused;
        let mut delays = if formed.is_some() {
            self.change()
        } else {
            Vec::new()
        };
        delays.sort_unstable();
        let peers = self.scenario.nodes.max(1);
        let per_second = |count: u64| rate(count, peers, self.scenario.window);
        Outcome {
            nodes: self.scenario.nodes,
            old: self.scenario.old,
            formed,
            failed_connections,
            failed_at_rest,
            connections: self.sum(connections) / 2,
            fewest_connections: {
                let hosts = self.simulation.hosts();
                let each = hosts.map(|host| connections(&self.simulation, host));
                each.min().unwrap_or_default()
            },
            forming_bytes: forming.bytes_sent,
            forming_failures: forming.attempts_failed + forming.connections_ended,
            forming_routes: forming.route_calculations,
            forming_cpu: forming.cpu,
            bytes_per_second: per_second(rested.bytes_sent - at_rest.bytes_sent),
            messages_per_second: per_second(rested.messages_sent - at_rest.messages_sent),
            rest_routes: rested.route_calculations - at_rest.route_calculations,
            rest_cpu: (rested.cpu - at_rest.cpu)
                .div_f64(self.scenario.window.as_secs_f64().max(1.0))
                / u32::try_from(peers).unwrap_or(u32::MAX),
            lost_connections,
            refused_connections,
            change_p50: percentile(&delays, 50),
            change_p99: percentile(&delays, 99),
            largest_message: self.total().largest_message,
            happenings: self.simulation.happenings(),
        }
    }

    /// Runs until the mesh has formed.
    fn form(&mut self) -> Option<Duration> {
        while self.simulation.now() < self.scenario.patience {
            self.step("forming");
            if self.is_formed() {
                return Some(self.simulation.now());
            }
        }
        None
    }

    /// Lets the mesh rest; returns the counts before and after the window.
    fn rest(&mut self) -> (Counts, Counts) {
        let before = self.total();
        self.pass(self.scenario.window, "at rest");
        (before, self.total())
    }

    /// Resets connections one after another; returns how long each peer took to learn of each,
    /// the largest duration if it did not.
    fn change(&mut self) -> Vec<Duration> {
        let mut delays = Vec::new();
        for _ in 0..self.scenario.changes {
            let Some((peer, version)) = self.reset_any() else {
                continue;
            };
            let begin = self.simulation.now();
            self.simulation.watch(peer, version + 1);
            let hosts: Vec<_> = self.simulation.hosts().collect();
            while self.simulation.now() < begin + SPREADING
                && self.simulation.seen().len() < hosts.len()
            {
                self.step("changing");
            }
            let seen = self.simulation.seen();
            delays.extend(hosts.iter().map(|host| {
                seen.get(host)
                    .map_or(Duration::MAX, |at| at.saturating_sub(begin))
            }));
            self.pass(PAUSE, "changing");
        }
        delays
    }

    /// Resets a connection of a random host; returns the host's name and the version of its record
    /// before that.
    fn reset_any(&mut self) -> Option<(PeerName, u64)> {
        let hosts: Vec<_> = self.simulation.hosts().collect();
        let pick = self.random.below(wide(hosts.len()));
        let host = *hosts.get(usize::try_from(pick).ok()?)?;
        let record = self.simulation.topology(host)?.local();
        let (local, version) = (record.name, record.version);
        let remotes: Vec<_> = record.connections.keys().copied().collect();
        let pick = self.random.below(wide(remotes.len()));
        let remote = *remotes.get(usize::try_from(pick).ok()?)?;
        let other = hosts.iter().find(|host| name(host.number()) == remote)?;
        self.simulation
            .reset(host, *other)
            .then_some((local, version))
    }

    fn step(&mut self, phase: &'static str) {
        let next = self.simulation.now() + STEP;
        self.simulation.run_until(next);
        let progress = Progress {
            now: next,
            phase,
            complete: self.complete,
            bytes: self.total().bytes_sent,
        };
        (self.progress)(&progress);
    }

    fn pass(&mut self, span: Duration, phase: &'static str) {
        let end = self.simulation.now() + span;
        while self.simulation.now() < end {
            self.step(phase);
        }
    }

    /// Looks at the hosts in turn, from the first that was not complete, and at all of them before
    /// it says yes.
    fn is_formed(&mut self) -> bool {
        let hosts: Vec<_> = self.simulation.hosts().collect();
        let is_complete = |host: &HostId| {
            let topology = self.simulation.topology(*host);
            topology.is_some_and(|topology| self.is_complete(topology))
        };
        let mut complete = self.complete;
        while hosts.get(complete).is_some_and(&is_complete) {
            complete += 1;
        }
        let is_formed = complete == hosts.len() && hosts.iter().all(is_complete);
        self.complete = if complete == hosts.len() && !is_formed {
            0
        } else {
            complete
        };
        is_formed
    }

    fn is_complete(&self, topology: &Topology) -> bool {
        let nodes = self.scenario.nodes;
        if topology.len() != nodes {
            return false;
        }
        let limit = self.scenario.connection_limit;
        if limit != 0 && nodes > limit + 1 {
            return routes::unicast(topology, Relation::Established).len() == nodes;
        }
        topology.records().all(|record| {
            record.connections.len() + 1 == nodes
                && record.connections.values().all(|link| link.established)
        })
    }

    /// Connections between hosts that are not starved that ended so far, at both ends or at one.
    fn ended(&self, is_mutual: bool) -> usize {
        let ended = self.simulation.ended().iter();
        ended
            .filter(|ended| !ended.is_starved && ended.is_mutual == is_mutual)
            .count()
    }

    fn total(&self) -> Counts {
        let all = self.simulation.hosts();
        let counts = all.filter_map(|host| self.simulation.counts(host));
        counts.fold(Counts::default(), |sum, one| sum.plus(&one))
    }

    fn sum(&self, of: impl Fn(&Simulation, HostId) -> usize) -> usize {
        let hosts = self.simulation.hosts();
        hosts.map(|host| of(&self.simulation, host)).sum()
    }
}

fn connections(simulation: &Simulation, host: HostId) -> usize {
    let topology = simulation.topology(host);
    topology.map_or(0, |topology| topology.local().connections.len())
}

/// The value below which this part of a sorted list lies; `None` if that is no real one.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let index = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
    sorted
        .get(index)
        .copied()
        .filter(|delay| *delay != Duration::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate for people needs no more than 52 bits"
)]
fn rate(count: u64, peers: usize, span: Duration) -> f64 {
    count as f64 / peers as f64 / span.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn name(number: usize) -> PeerName {
    let [.., a, b, c, d] = (wide(number) + 1).to_be_bytes();
    PeerName::from_bytes([0x0a, 0, a, b, c, d])
}

fn address(number: usize) -> SocketAddr {
    let [.., b, c, d] = (wide(number) + 1).to_be_bytes();
    SocketAddr::from(([10, b, c, d], 6783))
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Time between two looks.
const STEP: Duration = Duration::from_millis(100);
/// Time within which a change has to reach everybody.
const SPREADING: Duration = Duration::from_secs(60);
/// Time between two changes.
const PAUSE: Duration = Duration::from_secs(3);
