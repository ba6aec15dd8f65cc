//! `weave lab bench policy`: what policies cost a new connection and a stream.
//!
//! For each number of policies there is a host of its own with two pods on its bridge, once with our
//! rules in the kernel and once with a linear list of iptables rules that means the same; all are
//! measured in turns. Invariant: hosts differ in their rules and in nothing else, and numbers that
//! are compared come from the same rounds or turns.

mod interval;
mod report;
mod turns;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use socket2::SockRef;
use weave_datapath::netns::Namespace;
use weave_npc::compile::{Compiler, Options};
use weave_npc::model::World;
use weave_npc::netlink::{Keeper, Nft};

use self::report::{Report, Samples};
use self::turns::alternate;
use self::world::Policies;
use super::load::{self, Placement};
use super::paths::Ends;
use super::stats::nearest_rank;
use crate::lab::error::Error;
use crate::lab::once::once;
use crate::lab::policy::scene::Scene;
use crate::lab::progress::Progress;
use crate::lab::record::StateDir;
use crate::lab::underlay::write_setting;

/// `weave lab bench policy`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Rounds; each takes one sample of new connections to every host.
    #[arg(long, default_value_t = 41, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Connections in each sample.
    #[arg(long, default_value_t = 500, value_name = "N",
          value_parser = clap::value_parser!(u32).range(10..=20_000))]
    connections: u32,
    /// Turns in which a stream of each host and one without policies are compared: four windows.
    #[arg(long, default_value_t = 60, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    turns: u32,
    /// Milliseconds of each window of a stream.
    #[arg(long, default_value_t = 40, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(5..=10_000))]
    window: u64,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-bench-policy", value_name = "NAME")]
    name: String,
}

/// The rules of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// None at all, and no connection tracking.
    Bare,
    /// Ours, for this many policies.
    Ours(u32),
    /// A linear list of iptables rules for this many policies.
    Linear(u32),
}

impl Rules {
    const ALL: [Self; 8] = [
        Self::Bare,
        Self::Ours(0),
        Self::Ours(100),
        Self::Ours(1000),
        Self::Ours(5000),
        Self::Linear(100),
        Self::Linear(1000),
        Self::Linear(5000),
    ];

    fn policies(self) -> u32 {
        match self {
            Self::Bare => 0,
            Self::Ours(count) | Self::Linear(count) => count,
        }
    }
}

/// A host with its rules in force.
struct Host {
    ends: Ends,
    listener: TcpListener,
}

/// Makes the hosts, measures, and removes them whatever happens.
///
/// # Errors
/// Why there is nothing to measure.
pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let state = StateDir::named(&arguments.name);
    let stop = AtomicBool::new(false);
    let work = measured(arguments, &progress);
    once(&state, &progress, arguments.json, &stop, work).await
}

async fn measured(arguments: &Arguments, progress: &Progress) -> Result<Report, Error> {
    let begun = Instant::now();
    let policies: Vec<Policies> = (0_u8..).zip(Rules::ALL).map(place).collect();
    let pods: World = policies.iter().flat_map(Policies::ends).collect();
    progress.step("making the hosts");
    let nodes = policies.iter().map(|policies| policies.node.clone());
    let mut scene = Scene::build(&arguments.name, nodes).await?;
    scene.follow(&pods).await?;
    progress.step("putting rules in force");
    let mut hosts = Vec::new();
    for (rules, policies) in Rules::ALL.into_iter().zip(&policies) {
        hosts.push(host(&scene, rules, policies).await?);
    }
    let placement =
        Placement::of_this_process().map_err(|error| Error::kernel("choose processors", error))?;
    let broken = |error| Error::kernel("a path that is measured", error);
    let mut samples = vec![Samples::default(); hosts.len()];
    for round in 0..=arguments.rounds {
        progress.update(&format!("round {round} of {}", arguments.rounds));
        for at in order(round, hosts.len()) {
            let one = newcomers(&hosts[at], arguments.connections, &placement).map_err(broken)?;
            // The first round warms caches and learns neighbours.
            if round > 0 {
                samples[at].connections.push(one);
            }
        }
    }
    let base = hosts
        .iter()
        .zip(Rules::ALL)
        .find(|(_, rules)| *rules == Rules::Ours(0));
    let (base, _) = base.ok_or_else(|| Error::State("there is nothing to compare".to_owned()))?;
    for ((host, samples), number) in hosts.iter().zip(&mut samples).zip(1..) {
        progress.update(&format!("stream {number} of {}", Rules::ALL.len()));
        samples.streams = streams([base, host], arguments, &placement).map_err(broken)?;
    }
    let pairs = Rules::ALL.into_iter().zip(samples);
    let counts = (arguments.rounds, arguments.turns);
    Report::new(pairs, counts, begun.elapsed())
        .ok_or_else(|| Error::State("a sample is missing; nothing to compare".to_owned()))
}

/// The order in which hosts are visited: each round begins with another one, and every second goes
/// backwards, so that none always follows the same neighbour.
fn order(round: u32, count: usize) -> Vec<usize> {
    let first = usize::try_from(round).unwrap_or(0) % count.max(1);
    let mut order: Vec<usize> = (0..count).map(|at| (at + first) % count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// Where a host and its pods are.
fn place((number, rules): (u8, Rules)) -> Policies {
    Policies {
        node: Arc::from(format!("node-{number}")),
        count: rules.policies(),
        client: Ipv4Addr::new(10, 32, number, 1),
        server: Ipv4Addr::new(10, 32, number, 2),
    }
}

async fn host(scene: &Scene, rules: Rules, policies: &Policies) -> Result<Host, Error> {
    let places = scene.places();
    let pod = |address: Ipv4Addr| {
        let found = places.get(&address.into()).cloned();
        found.ok_or_else(|| Error::State(format!("there is no pod {address}")))
    };
    let ends = Ends {
        client: pod(policies.client)?,
        server: pod(policies.server)?,
        address: policies.server,
    };
    let namespace = &scene.hosts[&policies.node].namespace;
    match rules {
        Rules::Bare => {}
        Rules::Ours(_) => enforce(namespace, policies)?,
        Rules::Linear(_) => restore(namespace, policies)?,
    }
    if rules != Rules::Bare {
        // Connections that were reset are forgotten soon: the table stays short.
        let setting = "net/netfilter/nf_conntrack_tcp_timeout_close";
        write_setting(namespace, setting, "1").await?;
    }
    let address = SocketAddr::new(policies.server.into(), 0);
    let listener = ends
        .server
        .run(|| TcpListener::bind(address))
        .map_err(|error| Error::kernel("listen", error))?
        .map_err(|error| Error::kernel("listen", error))?;
    Ok(Host { ends, listener })
}

/// Puts our rules into the kernel of a host.
fn enforce(namespace: &Namespace, policies: &Policies) -> Result<(), Error> {
    let compiler = Compiler::of(policies.node.clone(), &policies.world(), Options::default());
    let failed = |error: String| Error::kernel("rules of policies", error);
    let nft = namespace
        .run(Nft::open)
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    let mut keeper = Keeper::new(nft, compiler.table().clone());
    let table = compiler.ruleset().tables.get(compiler.table());
    let table = table.ok_or_else(|| failed("the compiler made no table".to_owned()))?;
    keeper
        .set(table)
        .map(|_| ())
        .map_err(|error| failed(error.to_string()))
}

/// Puts a linear list into the kernel of a host, by the program whose lists are looked through one
/// rule after the other.
fn restore(namespace: &Namespace, policies: &Policies) -> Result<(), Error> {
    let text = policies.linear();
    let outcome = namespace
        .run(|| feed("iptables-legacy-restore", &text).or_else(|_| feed("iptables-restore", &text)))
        .map_err(|error| Error::kernel("iptables-restore", error))?;
    outcome.map_err(|error| Error::kernel("iptables-restore (install iptables)", error))
}

fn feed(program: &str, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(words))
}

/// Microseconds of a new connection.
fn newcomers(host: &Host, count: u32, placement: &Placement) -> io::Result<f64> {
    let target = host.listener.local_addr()?;
    let mut times = host
        .ends
        .client
        .run(|| connect(&host.listener, target, count, placement))
        .map_err(io::Error::other)??;
    // The median: what else runs on the machine lengthens a few of them by much.
    Ok(nearest_rank(&mut times, 50).map_or(f64::NAN, |time| f64::from(time) / 1e3))
}

/// Bytes a second of a stream of each host, by turn.
fn streams(
    [base, other]: [&Host; 2],
    arguments: &Arguments,
    placement: &Placement,
) -> io::Result<Vec<turns::Turn>> {
    let (one, two) = (base.ends.connections(1)?, other.ends.connections(1)?);
    let window = Duration::from_millis(arguments.window);
    match (one.first(), two.first()) {
        (Some(one), Some(two)) => alternate([one, two], placement, arguments.turns, window),
        _ => Err(io::Error::other("no stream was opened")),
    }
}

/// Connects again and again; nanoseconds of each time.
fn connect(
    listener: &TcpListener,
    target: SocketAddr,
    count: u32,
    placement: &Placement,
) -> io::Result<Vec<u32>> {
    placement.bind(0, load::Side::Client)?;
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let client = TcpStream::connect_timeout(&target, PATIENCE)?;
        let (_server, _) = listener.accept()?;
        times.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
        // Ends by a reset: nothing waits behind.
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    }
    Ok(times)
}

/// For a path that is broken.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_visits_all_hosts_in_another_order() {
        assert_eq!(order(0, 3), [0, 1, 2]);
        assert_eq!(order(1, 3), [0, 2, 1]);
        assert_eq!(order(2, 3), [2, 0, 1]);
    }
}
