//! `weave lab bench`: what the overlay and policies cost, measured against the kernel's own means.
//!
//! Invariant: numbers that are compared come from one run, one pair of hosts and one machine, taken
//! in turns (see [`plan`]); a path that breaks ends the run with an error instead of a number.
//!
//! [`paths`] makes what the overlay is compared with, [`load`] puts load on a path, [`measure`]
//! turns load into samples, [`rounds`] repeats that, [`stats`] and [`report`] say what it means.

mod cni;
mod load;
mod measure;
mod paths;
mod plan;
mod policy;
mod report;
mod rounds;
mod stats;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use self::load::Placement;
use self::paths::{Ends, Host};
use self::report::{Conditions, Report};
use self::rounds::Paths;
use super::error::Error;
use super::once::once;
use super::plan::{Choice, OverlayChoice, Plan, Topology};
use super::progress::Progress;
use super::record::{Protection, Record, StateDir};
use super::{build, daemons, underlay};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;

/// `weave lab bench`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) what: What,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Pod to pod across two hosts: our overlay, a kernel VXLAN made by hand, and plain routing.
    Overlay(Overlay),
    /// Two pods of one host: our rules for some numbers of policies, and linear ones.
    Policy(policy::Arguments),
    /// ADD and DEL of pods: our plugin, and bridge with host-local where they are installed.
    Cni(cni::Arguments),
}

/// `weave lab bench overlay`.
#[derive(Debug, Args)]
pub(crate) struct Overlay {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Rounds; each takes one sample of everything on every path.
    #[arg(long, default_value_t = 7, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Seconds counted in each sample.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Our overlay: sleeve has its own, and is what carries encrypted frames.
    #[arg(long, value_enum, default_value_t = OverlayChoice::Fastdp)]
    pub(crate) overlay: OverlayChoice,
    /// Encrypt connections between daemons with this password.
    #[arg(long, value_name = "WORD")]
    pub(crate) password: Option<String>,
    /// MTU of the pods [default: the daemon's].
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u16>,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-bench", value_name = "NAME")]
    pub(crate) name: String,
}

/// Does what `weave lab bench` asks for.
///
/// # Errors
/// Why there is no lab, or which path broke.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    match &arguments.what {
        What::Overlay(overlay) => bench_overlay(overlay).await,
        What::Policy(policy) => policy::run(policy).await,
        What::Cni(cni) => cni::run(cni).await,
    }
}

/// Makes a lab of two hosts, measures, and removes it whatever happens.
async fn bench_overlay(overlay: &Overlay) -> Result<ExitCode, Error> {
    let begun = Instant::now();
    let progress = Progress::new();
    let state = StateDir::named(&overlay.name);
    let mut record = Record::new(Plan::new(&choice(overlay))?, "info".to_owned());
    record.password.clone_from(&overlay.password);
    let protection = Protection { trusted: false };
    record.protection = overlay.password.is_some().then_some(protection);
    let stop = AtomicBool::new(false);
    let work = measure_overlay(overlay, &state, &mut record, begun, &progress);
    once(&state, &progress, overlay.json, &stop, work).await
}

async fn measure_overlay(
    overlay: &Overlay,
    state: &StateDir,
    record: &mut Record,
    begun: Instant,
    progress: &Progress,
) -> Result<Report, Error> {
    build::build(state, record, true, progress).await?;
    progress.step("making the paths to compare with");
    let hosts = hosts(&record.plan)?;
    let ours = ours(record)?;
    let mtu = pod_mtu(&ours.client).await?;
    let made = |error| Error::kernel("make the paths to compare with", error);
    let paths = Paths {
        vxlan: paths::vxlan(&hosts, mtu).await.map_err(made)?,
        plain: paths::plain(&hosts, mtu).await.map_err(made)?,
        ours,
    };
    let placement =
        Placement::of_this_process().map_err(|error| Error::kernel("choose processors", error))?;
    let sample = Duration::from_secs_f64(overlay.seconds);
    let samples = rounds::run(&paths, overlay.rounds, sample, &placement, progress).await?;
    let conditions = Conditions {
        rounds: overlay.rounds,
        seconds: overlay.seconds,
        hosts: hosts.len(),
        mtu,
        overlay: overlays(record)
            .await
            .into_iter()
            .collect::<Vec<_>>()
            .join("+"),
        encrypted: overlay.password.is_some(),
        processors: placement.processors(),
        kernel: kernel_release(),
        elapsed_s: begun.elapsed().as_secs_f64(),
    };
    Report::new(samples, conditions)
        .ok_or_else(|| Error::State("a sample is missing; nothing to compare".to_owned()))
}

/// Two hosts on one cable with a pod each.
fn choice(overlay: &Overlay) -> Choice {
    let mut choice = Choice {
        topology: Topology::Line,
        mtu: overlay.mtu,
        ..Choice::full(&overlay.name, 2, 1)
    };
    choice.conditions.overlay = overlay.overlay;
    choice
}

/// The hosts as the paths need them; pods 2 and 3 of each are those of the other paths.
fn hosts(plan: &Plan) -> Result<[Host; 2], Error> {
    let host = |own: usize, other: usize| -> Result<Host, Error> {
        let address = |from: usize, to: usize| {
            let neighbours = plan.host(from)?.neighbours.iter();
            neighbours
                .into_iter()
                .find(|next| next.number == to)
                .map(|next| next.address)
        };
        let missing = || Error::State(format!("host {own} is not cabled to host {other}"));
        Ok(Host {
            namespace: underlay::open(&plan.host(own).ok_or_else(missing)?.namespace)?,
            underlay: address(other, own).ok_or_else(missing)?,
            vxlan_pod: plan.pod_namespace(own, 2),
            plain_pod: plan.pod_namespace(own, 3),
        })
    };
    Ok([host(1, 2)?, host(2, 1)?])
}

/// The pods that the CNI plugin attached.
fn ours(record: &Record) -> Result<Ends, Error> {
    let (client, server) = (record.pod(1, 1)?, record.pod(2, 1)?);
    Ok(Ends {
        client: underlay::open(&client.namespace)?,
        server: underlay::open(&server.namespace)?,
        address: server.address.addr(),
    })
}

/// The MTU our pods really have: the other paths get the same.
async fn pod_mtu(pod: &Namespace) -> Result<u32, Error> {
    let failed = |error| Error::kernel("read the MTU of a pod", error);
    let netlink = Netlink::open_in(pod).map_err(failed)?;
    let link = netlink.link_by_name("eth0").await.map_err(failed)?;
    Ok(link
        .ok_or_else(|| Error::kernel("read the MTU of a pod", "it has no eth0"))?
        .mtu)
}

/// Names of the overlays the daemons say they use.
async fn overlays(record: &Record) -> BTreeSet<String> {
    let reports = daemons::reports(record).await;
    let reports = reports.into_values().flatten();
    reports
        .flat_map(|report| daemons::connections(&report))
        .map(|found| found.overlay)
        .collect()
}

fn kernel_release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    text.map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number from 0.1 to 60".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        bench: Arguments,
    }

    fn parse(line: &str) -> Result<Overlay, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let What::Overlay(overlay) = Line::try_parse_from(words)?.bench.what else {
            panic!("another command");
        };
        Ok(overlay)
    }

    #[test]
    fn the_defaults_are_seven_rounds_of_a_second() {
        let overlay = parse("overlay").unwrap();

        assert_eq!(
            (overlay.rounds, overlay.seconds, overlay.json),
            (7, 1.0, false)
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "underlay",
            "overlay --rounds 0",
            "overlay --rounds many",
            "overlay --seconds 0",
            "overlay --seconds NaN",
            "overlay --seconds 1e9",
            "overlay --seconds -1",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_hosts_share_one_cable_that_is_no_pods_range() {
        let plan = Plan::new(&choice(&parse("overlay --mtu 1400").unwrap())).unwrap();

        assert_eq!(plan.switch(), None);
        assert_eq!(plan.cables.len(), 1);
        assert_eq!((plan.mtu, plan.pods_per_host), (Some(1400), 1));
    }
}
