//! A mesh of hundreds of peers in one process and in virtual time.
//!
//! ```text
//! cargo run --release --example mesh_simulation -- --nodes 200 --loss 5%
//! ```
//!
//! Peers start within one second, form a mesh, rest, and then lose single connections. What is
//! modelled, and how, is written in the documentation of `weave_mesh::sim`.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use weave_mesh::sim::{Outcome, Progress, Scenario};

const HELP: &str = "\
Usage: mesh_simulation [OPTIONS]

  --nodes N        peers (200)
  --old N          how many of them are fake routers of Weave Net 2.x (0)
  --loss P         TCP segments lost: 5% or 0.05 (0)
  --starved P      peers with a starved processor: 25% or 0.25 (0)
  --limit N        connections of a peer, 0 for no limit (200, as the daemon)
  --latency-ms N   one way (5)
  --all-addresses  give every peer all addresses, not only the first
  --cores N        all hosts share so many cores (each has its own)
  --window S       seconds of rest that are measured (120)
  --changes N      connections that are reset, one after another (10)
  --patience S     seconds after which forming is given up (300)
  --seed N         another run (0)
  --json           one JSON object instead of a table
";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{HELP}");
        return Ok(());
    }
    let (scenario, as_json) = parse(&arguments).map_err(|error| format!("{error}\n\n{HELP}"))?;
    let started = Instant::now();
    let mut last = Instant::now();
    let outcome = scenario.run(|progress| {
        if last.elapsed() >= Duration::from_secs(1) {
            last = Instant::now();
            report(progress, scenario.nodes);
        }
    });
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let rows = rows(&outcome, started.elapsed());
    if as_json {
        let fields: Vec<_> = rows
            .iter()
            .map(|(key, value)| format!("\"{key}\": {value}"))
            .collect();
        println!("{{{}}}", fields.join(", "));
    } else {
        for (key, value) in &rows {
            println!("{key:<24} {value}");
        }
    }
    if outcome.formed.is_none() {
        return Err(format!("no mesh within {:?} of virtual time", scenario.patience).into());
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<(Scenario, bool), String> {
    let mut scenario = Scenario::new(200);
    let mut as_json = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            "--all-addresses" => scenario.all_addresses = true,
            name => {
                let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
                set(&mut scenario, name, value)?;
            }
        }
    }
    if scenario.nodes < 2 || scenario.old > scenario.nodes {
        return Err("at least two peers are needed, and no more old ones than peers".to_owned());
    }
    Ok((scenario, as_json))
}

fn set(scenario: &mut Scenario, name: &str, value: &str) -> Result<(), String> {
    let wrong = || format!("{name}: {value} is not what this option takes");
    let number = || value.parse::<u64>().map_err(|_| wrong());
    let size = || value.parse::<usize>().map_err(|_| wrong());
    let seconds = || number().map(Duration::from_secs);
    let settings = scenario.settings.clone();
    match name {
        "--nodes" => scenario.nodes = size()?,
        "--old" => scenario.old = size()?,
        "--loss" => scenario.settings = settings.loss(share(value).ok_or_else(wrong)?),
        "--starved" => scenario.starved = share(value).ok_or_else(wrong)?,
        "--limit" => scenario.connection_limit = size()?,
        "--latency-ms" => {
            let latency = Duration::from_millis(number()?);
            scenario.settings = settings.latency(latency).overlay_delay(3 * latency);
        }
        "--cores" => scenario.settings = settings.shared_cores(size()?),
        "--window" => scenario.window = seconds()?,
        "--changes" => scenario.changes = size()?,
        "--patience" => scenario.patience = seconds()?,
        "--seed" => scenario.settings = settings.seed(number()?),
        _ => return Err(format!("{name} is not an option")),
    }
    Ok(())
}

/// A share: with a percent sign, or as a number; a number above 1 is a percentage too.
fn share(text: &str) -> Option<f64> {
    let (digits, is_percent) = match text.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let value: f64 = digits.parse().ok()?;
    let value = if is_percent || value > 1.0 {
        value / 100.0
    } else {
        value
    };
    (0.0..1.0).contains(&value).then_some(value)
}

fn report(progress: &Progress, nodes: usize) {
    let mut stderr = std::io::stderr();
    let end = if stderr.is_terminal() { "\r" } else { "\n" };
    let line = format!(
        "{:>8.1} s  {:<9} {}/{nodes} peers know the mesh, {} MB sent  {end}",
        progress.now.as_secs_f64(),
        progress.phase,
        progress.complete,
        progress.bytes / 1_000_000,
    );
    // Progress that cannot be shown is no reason to stop.
    let _ = stderr.write_all(line.as_bytes());
}

/// What was measured, as JSON values.
fn rows(outcome: &Outcome, elapsed: Duration) -> Vec<(&'static str, String)> {
    let seconds = |span: Option<Duration>| {
        span.map_or_else(
            || "null".to_owned(),
            |span| format!("{:.3}", span.as_secs_f64()),
        )
    };
    vec![
        ("nodes", outcome.nodes.to_string()),
        ("old", outcome.old.to_string()),
        ("formed_s", seconds(outcome.formed)),
        ("failed_connections", outcome.failed_connections.to_string()),
        ("failed_at_rest", outcome.failed_at_rest.to_string()),
        ("change_p99_s", seconds(outcome.change_p99)),
        ("change_p50_s", seconds(outcome.change_p50)),
        (
            "bytes_per_s_per_node",
            format!("{:.1}", outcome.bytes_per_second),
        ),
        ("largest_message_bytes", outcome.largest_message.to_string()),
        ("elapsed_s", seconds(Some(elapsed))),
        ("connections", outcome.connections.to_string()),
        ("fewest_connections", outcome.fewest_connections.to_string()),
        ("lost_connections", outcome.lost_connections.to_string()),
        (
            "refused_connections",
            outcome.refused_connections.to_string(),
        ),
        ("forming_bytes", outcome.forming_bytes.to_string()),
        ("forming_failures", outcome.forming_failures.to_string()),
        ("forming_routes", outcome.forming_routes.to_string()),
        ("forming_cpu_s", seconds(Some(outcome.forming_cpu))),
        (
            "messages_per_s_per_node",
            format!("{:.2}", outcome.messages_per_second),
        ),
        ("rest_routes", outcome.rest_routes.to_string()),
        (
            "rest_cpu_ms_per_s_per_node",
            format!("{:.3}", outcome.rest_cpu.as_secs_f64() * 1e3),
        ),
        ("events", outcome.happenings.to_string()),
    ]
}
