//! `weave lab policy`: what manifests mean, seen by real packets.
//!
//! Hosts and pods of the manifests become namespaces, each host gets the real policy controller,
//! and every pair of pods tries every port. What is seen is drawn as a table beside what `decide`
//! says. Steps change the manifests under the live controllers; with restarts, controllers end and
//! start again under a storm of datagrams.
//!
//! ```text
//! objects (manifests, steps) ─┬▶ controller (one a host) ─▶ kernel
//!                             └▶ decide ──▶ outcome ◀── probe ◀── scene (hosts, pods)
//! ```

mod controller;
mod objects;
mod outcome;
mod probe;
pub(super) mod scene;
mod sctp;
mod storm;
mod streams;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::Signal;
use weave_npc::model::{Protocol, Transport, World};
use weave_npc::verdict::{self, End, IpFamily};

use self::controller::Controllers;
use self::objects::{Objects, Step};
use self::outcome::{Outcome, Probed, StepOutcome};
use self::probe::{Ask, probe};
use self::scene::Scene;
use self::storm::{Running, Storm};
use super::error::Error;
use super::once::once;
use super::progress::Progress;
use super::record::StateDir;

/// `weave lab policy`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Manifests with Namespaces, Nodes, Pods (with spec.nodeName and status.podIPs),
    /// NetworkPolicies and ClusterNetworkPolicies.
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The ports to try, as 80/TCP,53/UDP [default: those that policies and pods name].
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    ports: Vec<Transport>,
    /// Manifests that are applied one after the other on the live controllers.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    steps: Vec<PathBuf>,
    /// Milliseconds after which a connection without an answer counts as closed.
    #[arg(long, default_value_t = 400, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(50..=60_000))]
    wait: u64,
    /// End and start all controllers this often, by SIGTERM and SIGKILL in turn, while all pairs
    /// send datagrams at the UDP ports and streams over the TCP ports go on.
    #[arg(long, default_value_t = 0, value_name = "N")]
    restarts: usize,
    /// Print one JSON object instead of pictures.
    #[arg(long)]
    json: bool,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-policy", value_name = "NAME")]
    name: String,
}

/// Makes a lab, probes, and removes the lab whatever happens.
///
/// # Errors
/// Why there is no lab, or a controller that does not do its work.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let state = StateDir::named(&arguments.name);
    let stop = AtomicBool::new(false);
    let work = measured(arguments, &state, &progress);
    once(&state, &progress, arguments.json, &stop, work).await
}

/// A lab with its manifests.
struct Lab<'a> {
    arguments: &'a Arguments,
    scene: Scene,
    controllers: Controllers,
    manifests: PathBuf,
    ports: Vec<Transport>,
    progress: &'a Progress,
}

async fn measured(
    arguments: &Arguments,
    state: &StateDir,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let start = Objects::read(&arguments.files)?;
    let steps = Step::read(&arguments.steps)?;
    let worlds = worlds(&start, &steps)?;
    let ports = ports(arguments, &worlds)?;
    let manifests = state.path().join("manifests");
    fs::create_dir_all(&manifests).map_err(Error::file(&manifests))?;
    start.write(&manifests)?;

    let nodes = nodes(&worlds);
    progress.step(&format!("making {} hosts", nodes.len()));
    let mut scene = Scene::build(&arguments.name, nodes).await?;
    scene.follow(&worlds[0]).await?;
    progress.step("starting the controllers");
    let controllers = Controllers::start(state, &scene, manifests.clone())?;
    let mut lab = Lab {
        arguments,
        scene,
        controllers,
        manifests,
        ports,
        progress,
    };
    let mut found = vec![lab.look("start", &start, &worlds[0]).await?];
    let mut objects = start.clone();
    for (step, world) in steps.iter().zip(&worlds[1..]) {
        if step.is_fresh {
            objects = start.clone();
        }
        objects.take(step);
        found.push(lab.look(&step.label, &objects, world).await?);
    }
    let storm = match worlds.last() {
        Some(world) if arguments.restarts > 0 => Some(lab.storm(world).await?),
        _ => None,
    };
    let is_as_decided = found.iter().all(|step| step.differences == 0);
    Ok(Outcome {
        passed: is_as_decided && storm.as_ref().is_none_or(Storm::passed),
        hosts: lab.scene.hosts.len(),
        steps: found,
        storm,
        elapsed_s: begun.elapsed().as_secs_f64(),
    })
}

/// The world at the beginning and after each step.
fn worlds(start: &Objects, steps: &[Step]) -> Result<Vec<World>, Error> {
    let mut worlds = vec![start.world()?];
    let mut objects = start.clone();
    for step in steps {
        if step.is_fresh {
            objects = start.clone();
        }
        objects.take(step);
        worlds.push(objects.world()?);
    }
    Ok(worlds)
}

/// The nodes of all worlds, also those that only pods name.
fn nodes(worlds: &[World]) -> BTreeSet<Arc<str>> {
    let named = worlds.iter().flat_map(|world| {
        let nodes = world.nodes().map(|node| node.name.clone());
        nodes.chain(world.pods().map(|pod| pod.node.clone()))
    });
    named.filter(|name| !name.is_empty()).collect()
}

/// The ports to try.
fn ports(arguments: &Arguments, worlds: &[World]) -> Result<Vec<Transport>, Error> {
    let is_tried = |port: &Transport| matches!(port, Transport::Port(_, number) if *number > 0);
    if let Some(other) = arguments.ports.iter().find(|port| !is_tried(port)) {
        let reason = format!("{other} cannot be tried: name ports as 80/TCP, 53/UDP or 9003/SCTP");
        return Err(Error::State(reason));
    }
    if !arguments.ports.is_empty() {
        return Ok(arguments.ports.clone());
    }
    let named: BTreeSet<Transport> = worlds
        .iter()
        .flat_map(verdict::ports_of_interest)
        .filter(is_tried)
        .collect();
    Ok(named.into_iter().collect())
}

impl Lab<'_> {
    /// Puts `objects` in force and tries everything.
    async fn look(
        &mut self,
        label: &str,
        objects: &Objects,
        world: &World,
    ) -> Result<StepOutcome, Error> {
        self.progress
            .step(&format!("{label}: waiting for the controllers"));
        self.scene.follow(world).await?;
        objects.write(&self.manifests)?;
        let enforced = self.controllers.sync().await?;
        self.progress.step(&format!("{label}: probing"));
        let (mut answers, asks) = self.questions(world);
        let patience = Duration::from_millis(self.arguments.wait);
        let tried: Vec<Ask> = asks.iter().flatten().copied().collect();
        let mut seen = probe(&self.scene.places(), &tried, patience)
            .await?
            .into_iter();
        for (answer, ask) in answers.iter_mut().zip(&asks) {
            answer.observed = ask.and_then(|_| seen.next());
        }
        self.ask_again(&mut answers, &asks).await?;
        let differences = answers.iter().filter(|found| found.differs()).count();
        Ok(StepOutcome {
            step: label.to_owned(),
            pods: self.scene.pods(),
            enforced_ms: enforced.as_secs_f64() * 1000.0,
            probes: tried.len(),
            differences,
            answers,
        })
    }

    /// What is allowed but was not answered is asked once more, with patience: on a busy machine
    /// an answer may take long. What arrived though it is denied stays a leak.
    async fn ask_again(&self, answers: &mut [Probed], asks: &[Option<Ask>]) -> Result<(), Error> {
        let late: Vec<(usize, Ask)> = answers
            .iter()
            .zip(asks)
            .enumerate()
            .filter(|(_, (found, _))| found.answer.allowed && found.differs())
            .filter_map(|(index, (_, ask))| Some((index, (*ask)?)))
            .collect();
        let again: Vec<Ask> = late.iter().map(|(_, ask)| *ask).collect();
        let patience = LONG.max(Duration::from_millis(self.arguments.wait));
        let seen = probe(&self.scene.places(), &again, patience).await?;
        for ((index, _), seen) in late.into_iter().zip(seen) {
            answers[index].observed = Some(seen);
        }
        Ok(())
    }

    /// Every pair at every port in every family, decided; with what to try, but for a pod's own
    /// address.
    fn questions(&self, world: &World) -> (Vec<Probed>, Vec<Option<Ask>>) {
        let ends = End::all(world);
        let (mut answers, mut asks) = (Vec::new(), Vec::new());
        for &transport in &self.ports {
            for family in IpFamily::BOTH {
                for (from, to) in ends
                    .iter()
                    .flat_map(|from| ends.iter().map(move |to| (from, to)))
                {
                    let Some((source, destination)) = from.address(family).zip(to.address(family))
                    else {
                        continue;
                    };
                    let one = |end: &End, address| {
                        let mut only = end.clone();
                        only.addresses = vec![address];
                        only
                    };
                    let (from, to) = (one(from, source), one(to, destination));
                    let options = verdict::Options::default();
                    let answer = verdict::ask(world, &[from], &[to], &[transport], options);
                    for answer in answer {
                        let observed = None;
                        answers.push(Probed { answer, observed });
                        asks.push((source != destination).then_some(Ask {
                            source,
                            destination,
                            transport,
                        }));
                    }
                }
            }
        }
        (answers, asks)
    }

    /// Restarts the controllers under a storm.
    async fn storm(&self, world: &World) -> Result<Storm, Error> {
        let (answers, asks) = self.questions(world);
        let flows: Vec<(Ask, bool)> = answers
            .iter()
            .zip(asks)
            .filter_map(|(found, ask)| Some((ask?, found.answer.allowed)))
            .collect();
        let is_udp = |port: &Transport| matches!(port, Transport::Port(Protocol::Udp, _));
        if !flows.iter().any(|(ask, _)| is_udp(&ask.transport)) {
            let reason = "a storm needs a UDP port: name one with --ports";
            return Err(Error::State(reason.to_owned()));
        }
        let running = Running::start(&self.scene.places(), &flows, BEAT)?;
        let total = self.arguments.restarts;
        for number in 0..total {
            let signal = if number.is_multiple_of(2) {
                Signal::SIGTERM
            } else {
                Signal::SIGKILL
            };
            self.progress
                .update(&format!("restart {} of {total}", number + 1));
            self.controllers.restart(signal).await?;
            self.controllers.sync().await?;
        }
        running.finish(total)
    }
}

/// For answers that did not come in time.
const LONG: Duration = Duration::from_secs(3);
/// Between two datagrams of one flow in a storm.
const BEAT: Duration = Duration::from_millis(5);
