//! What the steps of a cluster's life work with: machines, Nodes, pods, and waiting for daemons.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use nix::sys::signal::Signal;
use weave_datapath::netns::Namespace;

use super::Arguments;
use super::books;
use super::machine::Machine;
use super::outcome::{Member, Outcome, Timeline};
use super::server::Server;
use super::server::relay::Relay;
use crate::lab::args::Target;
use crate::lab::error::Error;
use crate::lab::probe::{Endpoint, probe};
use crate::lab::record::{Record, StateDir};
use crate::lab::{build, daemons, pods, survey, underlay};
use crate::status::model::Report;

/// A cluster and what was noted of it.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) timeline: Timeline<'a>,
    pub(super) relay: Relay,
    /// Seconds until what a deleted node had was others'.
    pub(super) reclaim_s: Vec<f64>,
    /// Hosts whose weave containers are meant to run.
    pub(super) running: BTreeSet<usize>,
    state: &'a StateDir,
    record: Record,
    server: Server,
    kubeconfig: String,
    stop: Arc<AtomicBool>,
}

impl<'a> Stage<'a> {
    /// Makes machines that have never run, their network and the API server.
    ///
    /// # Errors
    /// What could not be made.
    pub(super) async fn build(
        arguments: &'a Arguments,
        state: &'a StateDir,
        mut record: Record,
        stop: &Arc<AtomicBool>,
        timeline: Timeline<'a>,
    ) -> Result<Self, Error> {
        timeline.begin("making machines and an API server");
        build::make_files(state, &record)?;
        state.save(&record)?;
        build::make_room_for_neighbours(&mut record, timeline.progress());
        state.save(&record)?;
        underlay::build(&record.plan).await?;
        let token = match &arguments.token_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(Error::file(file))?),
            None => None,
        };
        let token = token.map(|token| token.trim().to_owned());
        let server = Server::start(&arguments.apiserver, state.path(), token).await?;
        let address = switch_address(&record)?;
        let switch = underlay::address_switch(&record.plan, address).await?;
        let port = SocketAddr::new(address.addr().into(), API_PORT);
        let mut relay = Relay::new(switch, port, server.location());
        relay.open().map_err(Error::file("API server"))?;
        let stage = Self {
            kubeconfig: server.kubeconfig(relay.address()),
            arguments,
            timeline,
            relay,
            reclaim_s: Vec::new(),
            running: BTreeSet::new(),
            state,
            record,
            server,
            stop: Arc::clone(stop),
        };
        for number in 1..=stage.record.plan.hosts.len() {
            stage
                .machine(number)
                .install(&fresh_id()?, &stage.kubeconfig)?;
        }
        Ok(stage)
    }

    /// The machine of host `number`.
    pub(super) fn machine(&self, number: usize) -> Machine<'a> {
        Machine::new(self.state, number)
    }

    // ===== nodes =====

    /// A kubelet registers and starts the weave container.
    pub(super) async fn join(&mut self, number: usize) -> Result<(), Error> {
        let _child = self.register(number).await?;
        self.running.insert(number);
        Ok(())
    }

    /// The same without expecting that it goes well.
    pub(super) async fn register(&self, number: usize) -> Result<Child, Error> {
        let machine = self.machine(number);
        let address = self.address(number)?.to_string();
        let admin = self.server.admin();
        admin.add_node(&machine.name(), &address).await?;
        machine.start(&self.record).await
    }

    /// Starts the weave container of a Node that is there.
    pub(super) async fn start(&mut self, number: usize) -> Result<(), Error> {
        let _child = self.machine(number).start(&self.record).await?;
        self.running.insert(number);
        Ok(())
    }

    /// Ends the weave container.
    pub(super) async fn stop(&mut self, number: usize, signal: Signal) -> Result<(), Error> {
        self.running.remove(&number);
        self.machine(number).stop(signal).await
    }

    /// Deletes the Node.
    pub(super) async fn delete(&self, number: usize) -> Result<(), Error> {
        let name = self.machine(number).name();
        Ok(self.server.admin().delete_node(&name).await?)
    }

    /// Puts a machine that nobody knows in the place of host `number`; with the machine id of
    /// another if one is given. Pods of the one before are gone without a DEL.
    pub(super) async fn replace(&mut self, number: usize, id: Option<String>) -> Result<(), Error> {
        for pod in self.record.pods.iter().filter(|pod| pod.host == number) {
            let gone = Namespace::delete_named(&pod.namespace);
            gone.map_err(|error| Error::kernel(&pod.namespace, error))?;
        }
        self.record.pods.retain(|pod| pod.host != number);
        underlay::replace_host(&self.record.plan, number).await?;
        let id = match id {
            Some(id) => id,
            None => fresh_id()?,
        };
        self.machine(number).install(&id, &self.kubeconfig)
    }

    fn address(&self, number: usize) -> Result<Ipv4Addr, Error> {
        let own = |cable: &&crate::lab::plan::Cable| cable.a.host == Some(number);
        let cable = self.record.plan.cables.iter().find(own);
        let address = cable.and_then(|cable| cable.a.address);
        let missing = || Error::State(format!("host {number} has no address"));
        address.map(|net| net.addr()).ok_or_else(missing)
    }

    // ===== pods =====

    /// Adds a pod to a node.
    pub(super) async fn add(&mut self, number: usize) -> Result<(), Error> {
        let runtime = self.machine(number).runtime()?;
        pods::add_by(&runtime, &mut self.record, number)
            .await
            .map(drop)
    }

    /// Removes the oldest pod of a node; whether there was one.
    pub(super) async fn remove(&mut self, number: usize) -> Result<bool, Error> {
        let oldest = self.record.pods.iter().find(|pod| pod.host == number);
        let Some(pod) = oldest.map(|pod| pod.number) else {
            return Ok(false);
        };
        let runtime = self.machine(number).runtime()?;
        pods::remove_by(&runtime, &mut self.record, number, pod).await?;
        Ok(true)
    }

    /// How many pods a node has.
    pub(super) fn pods(&self, number: usize) -> usize {
        let pods = self.record.pods.iter();
        pods.filter(|pod| pod.host == number).count()
    }

    /// Has every pod reach every other; how many pairs that are.
    ///
    /// # Errors
    /// Who does not reach whom.
    pub(super) async fn reach(&self) -> Result<usize, Error> {
        let mut endpoints = Vec::new();
        for pod in &self.record.pods {
            endpoints.push(Endpoint {
                target: Target {
                    host: pod.host,
                    pod: Some(pod.number),
                },
                address: pod.address.addr(),
                namespace: underlay::open(&pod.namespace)?,
            });
        }
        let (token, stop) = (survey::token()?, Arc::clone(&self.stop));
        let work = move || probe(&endpoints, &[], token, PATIENCE, &stop);
        let failed = |reason: String| Error::kernel("probe", reason);
        let found = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(failed)?;
        match found.failed.first() {
            None => Ok(found.pods.len()),
            Some(first) => Err(Error::State(format!(
                "{} of {} pairs of pods do not reach each other; {} to {}: {}",
                found.failed.len(),
                found.pods.len(),
                first.from,
                first.to,
                first.why
            ))),
        }
    }

    // ===== waiting =====

    /// Waits until `ask` says no more why not; how long that took.
    ///
    /// # Errors
    /// The last reason, when the time is up.
    pub(super) async fn until(
        &self,
        what: &str,
        limit: Duration,
        mut ask: impl AsyncFnMut(&Self) -> Result<(), String>,
    ) -> Result<Duration, Error> {
        let begun = Instant::now();
        self.timeline.begin(&format!("waiting: {what}"));
        while let Err(reason) = ask(self).await {
            if begun.elapsed() > limit {
                let limit = limit.as_secs();
                return Err(Error::State(format!(
                    "not within {limit} s: {what}; {reason}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(begun.elapsed())
    }

    /// Waits until all nodes serve pods and know one ring.
    ///
    /// # Errors
    /// What is missing when the time is up.
    pub(super) async fn settled(&self) -> Result<Duration, Error> {
        let what = "all nodes serve pods and know one ring";
        self.until(what, READY_LIMIT, async |stage| {
            let reports = stage.reports().await?;
            for (number, report) in &reports {
                if let Some(lack) = books::lack(report, reports.len()) {
                    return Err(format!("node-{number} {lack}"));
                }
                stage
                    .machine(*number)
                    .runtime()
                    .map_err(|error| error.to_string())?;
            }
            match books::rings(reports.values()) {
                1 => Ok(()),
                count => Err(format!("there are {count} rings")),
            }
        })
        .await
    }

    /// Waits until nobody says that `peer` owns anything, and notes how long that took.
    ///
    /// # Errors
    /// Who says it still when the time is up.
    pub(super) async fn reclaimed(&mut self, peer: &str) -> Result<f64, Error> {
        let what = format!("what {peer} had is others'");
        let took = self
            .until(&what, READY_LIMIT, async |stage| {
                let reports = stage.reports().await?;
                let left = reports
                    .iter()
                    .find(|(_, report)| !books::is_without(report, peer));
                left.map_or(Ok(()), |(number, _)| {
                    Err(format!("it is not as node-{number} knows"))
                })
            })
            .await?;
        let seconds = took.as_secs_f64();
        self.reclaim_s.push(seconds);
        Ok(seconds)
    }

    /// The name of the peer of a node.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn peer(&self, number: usize) -> Result<String, Error> {
        let reports = self.reports().await.map_err(Error::State)?;
        let report = reports.get(&number);
        let missing = || Error::State(format!("node-{number} does not run"));
        report
            .map(|report| report.router.name.clone())
            .ok_or_else(missing)
    }

    /// The reports of all daemons that are meant to run.
    pub(super) async fn reports(&self) -> Result<BTreeMap<usize, Report>, String> {
        let mut all = BTreeMap::new();
        for (number, report) in daemons::reports(&self.record).await {
            if !self.running.contains(&number) {
                continue;
            }
            let silent = |reason| format!("node-{number} does not answer: {reason}");
            all.insert(number, report.map_err(silent)?);
        }
        Ok(all)
    }

    // ===== the end =====

    /// Looks into the books and leaves the API server.
    pub(super) async fn finish(mut self) -> Outcome {
        let reports = self.reports().await.unwrap_or_else(|reason| {
            self.timeline.note(false, reason);
            BTreeMap::new()
        });
        let owned = survey::owned(&self.record).await;
        let member = |(number, report): (&usize, &Report)| {
            let cluster = report.cluster.clone().unwrap_or_default();
            Member {
                node: self.machine(*number).name(),
                peer: report.router.name.clone(),
                bridge: cluster.exposed,
                pods: self.pods(*number),
                reclaimed: cluster.reclaimed,
            }
        };
        let nodes = reports.iter().map(member).collect();
        let hosts = 1..=self.record.plan.hosts.len();
        let names = hosts.map(|number| self.machine(number).name());
        self.server.leave(names).await;
        Outcome {
            apiserver: self.arguments.apiserver.to_string(),
            nodes,
            rings: books::rings(reports.values()),
            duplicate_addresses: survey::duplicates(&self.record, &owned),
            reclaim_s: self.reclaim_s,
            leaked: books::leaks(&self.record.pods, &owned),
            adds: self.record.cni_add_ms.len(),
            elapsed_s: self.timeline.elapsed_s(),
            events: self.timeline.into_events(),
        }
    }
}

/// The address of the switch: above those of all hosts.
fn switch_address(record: &Record) -> Result<Ipv4Net, Error> {
    let plugs = record.plan.cables.iter().map(|cable| &cable.a);
    let host = plugs.filter_map(|plug| plug.address).next();
    let net = host.and_then(|host| {
        let address = u32::from(host.network()).checked_add(SWITCH_OFFSET)?;
        Ipv4Net::new(address.into(), host.prefix_len()).ok()
    });
    net.ok_or_else(|| Error::State("the hosts have no network".to_owned()))
}

/// A machine id as `machine-id(5)` has it: 32 hexadecimal digits.
fn fresh_id() -> Result<String, Error> {
    let id = pods::fresh_id().map_err(|reason| Error::kernel("random numbers", reason))?;
    Ok(id.chars().take(32).collect())
}

/// Where an API server usually listens.
const API_PORT: u16 = 6443;
/// More than there are hosts.
const SWITCH_OFFSET: u32 = 254;
/// For the slowest: five seconds of spread, three of settling, and a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// For an answer between pods, while routes settle.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
