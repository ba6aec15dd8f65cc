//! What an address costs: `POST /ip/<id>` on a daemon with its real state file, beside a bare
//! `fdatasync` of the same disk, taken in turns.
//!
//! ```text
//! cargo bench -p weave-bin --bench ip_latency -- --dir /var/tmp [--pods 1000] [--rounds 200] [--json]
//! ```

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;
use weave_bin::args::daemon::Settings;
use weave_bin::daemon::{Daemon, Plumbing};
use weave_bin::http::client::Client;

/// Measures the latency of an allocation over HTTP.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory on the disk to measure; a directory of our own is made there and removed.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Addresses owned while measuring.
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// Measurements of each kind.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Keep the directory, to look at the state file.
    #[arg(long)]
    keep: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
}

#[derive(Debug, Serialize)]
struct Outcome {
    owned: usize,
    rounds: usize,
    /// Size of the state file in bytes.
    state_file: u64,
    /// `fdatasync` of one page of 4096 bytes, overwritten in place.
    fdatasync: Latency,
    /// `POST /ip/<id>`, connecting included.
    allocate: Latency,
    /// `DELETE /ip/<id>`, likewise.
    release: Latency,
    syncs_per_allocation: f64,
    syncs_per_release: f64,
    /// Medians: allocation by `fdatasync`.
    ratio: f64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let dir = arguments
        .dir
        .join(format!("weave-ip-latency-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let outcome = measure(&arguments, &dir);
    if arguments.keep {
        eprintln!("kept {}", dir.display());
    } else {
        fs::remove_dir_all(&dir)?;
    }
    print(&outcome?, arguments.json)?;
    Ok(())
}

fn measure(arguments: &Arguments, dir: &Path) -> Result<Outcome, Failure> {
    let running = Running::start(dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = Client::new(&running.address);
    runtime.block_on(fill(&client, arguments.pods))?;

    let bare = Bare::new(dir)?;
    let (mut synced, mut allocated, mut released) = (Vec::new(), Vec::new(), Vec::new());
    let (mut allocate_syncs, mut release_syncs) = (0, 0);
    for round in 0..arguments.rounds {
        if round % 50 == 0 {
            eprintln!("round {round} of {}", arguments.rounds);
        }
        synced.push(timed(|| bare.sync())?);
        let path = format!("/ip/{:064x}", 0xface_0000_usize + round);
        let before = running.syncs()?;
        allocated.push(timed(|| runtime.block_on(answered(client.post(&path))))?);
        let between = running.syncs()?;
        synced.push(timed(|| bare.sync())?);
        let after = running.syncs()?;
        released.push(timed(|| runtime.block_on(answered(client.delete(&path))))?);
        allocate_syncs += between - before;
        release_syncs += running.syncs()? - after;
    }

    let (fdatasync, allocate) = (Latency::of(synced), Latency::of(allocated));
    let rounds = u32::try_from(arguments.rounds)?;
    let each = |syncs: u64| u32::try_from(syncs).map(|syncs| f64::from(syncs) / f64::from(rounds));
    Ok(Outcome {
        owned: arguments.pods,
        rounds: arguments.rounds,
        state_file: fs::metadata(dir.join("weavedata.db"))?.len(),
        ratio: allocate.p50 / fdatasync.p50,
        fdatasync,
        allocate,
        release: Latency::of(released),
        syncs_per_allocation: each(allocate_syncs)?,
        syncs_per_release: each(release_syncs)?,
    })
}

async fn fill(client: &Client, pods: usize) -> Result<(), Failure> {
    eprintln!("allocating {pods} addresses");
    let mut next = 0;
    while next < pods {
        let mut batch = tokio::task::JoinSet::new();
        for pod in next..pods.min(next + 64) {
            let client = client.clone();
            batch.spawn(async move { answered(client.post(&format!("/ip/{pod:064x}"))).await });
        }
        next += 64;
        while let Some(done) = batch.join_next().await {
            done??;
        }
    }
    Ok(())
}

async fn answered(
    request: impl Future<
        Output = Result<weave_bin::http::client::Response, weave_bin::http::client::Error>,
    >,
) -> Result<(), Failure> {
    let answer = request.await?;
    if answer.is_success() {
        Ok(())
    } else {
        Err(format!("{}: {}", answer.status, answer.body).into())
    }
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

/// A daemon without a network, on a thread of its own as in production.
struct Running {
    address: String,
    questions: tokio::sync::mpsc::UnboundedSender<mpsc::Sender<u64>>,
}

impl Running {
    fn start(dir: &Path) -> Result<Self, Failure> {
        let words: Vec<String> = [
            format!("--db-prefix={}", dir.join("weave").display()),
            "--name=0a:00:00:00:00:01".to_owned(),
            "--nickname=bench".to_owned(),
            "--ipalloc-range=10.32.0.0/12".to_owned(),
            "--ipalloc-init=seed=0a:00:00:00:00:01".to_owned(),
            "--host=127.0.0.1".to_owned(),
            "--port=0".to_owned(),
            "--no-dns".to_owned(),
            "--http-addr=127.0.0.1:0".to_owned(),
        ]
        .into();
        let settings = Settings::read(&words, |_| None)?;
        let (report, started) = mpsc::channel();
        let (questions, mut asked) = tokio::sync::mpsc::unbounded_channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let daemon = match Daemon::start(settings, Plumbing::None).await {
                    Ok(daemon) => daemon,
                    Err(error) => {
                        let _ = report.send(Err(error.to_string()));
                        return;
                    }
                };
                let address = daemon.http_address().map(ToString::to_string);
                let _ = report.send(Ok(address.unwrap_or_default()));
                while let Some(question) = asked.recv().await {
                    let question: mpsc::Sender<u64> = question;
                    let _ = question.send(daemon.syncs());
                }
                daemon.stop().await;
            });
        });
        let address = started.recv()??;
        Ok(Self { address, questions })
    }

    fn syncs(&self) -> Result<u64, Failure> {
        let (answer, answered) = mpsc::channel();
        self.questions.send(answer)?;
        Ok(answered.recv()?)
    }
}

/// A file of one page that is overwritten and synced.
struct Bare(fs::File);

impl Bare {
    fn new(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .open(dir.join("bare"))?;
        file.write_all_at(&[1; 4096], 0)?;
        file.sync_all()?;
        Ok(Self(file))
    }

    fn sync(&self) -> Result<(), Failure> {
        self.0.write_all_at(&[2; 4096], 0)?;
        Ok(self.0.sync_data()?)
    }
}

impl Latency {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times
                .get(index)
                .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Self {
            p50: at(50),
            p90: at(90),
            p99: at(99),
        }
    }
}

fn print(outcome: &Outcome, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(outcome)?);
        return Ok(());
    }
    println!(
        "{} addresses owned, state file of {} KiB, {} rounds; milliseconds",
        outcome.owned,
        outcome.state_file / 1024,
        outcome.rounds
    );
    println!("{:<28}{:>8}{:>8}{:>8}", "", "p50", "p90", "p99");
    let rows = [
        ("fdatasync of one page", &outcome.fdatasync),
        ("POST /ip/<id>", &outcome.allocate),
        ("DELETE /ip/<id>", &outcome.release),
    ];
    for (name, latency) in rows {
        let Latency { p50, p90, p99 } = latency;
        println!("{name:<28}{p50:>8.2}{p90:>8.2}{p99:>8.2}");
    }
    println!(
        "syncs per allocation {:.2}, per release {:.2}",
        outcome.syncs_per_allocation, outcome.syncs_per_release
    );
    println!(
        "an allocation takes {:.2} times a bare fdatasync",
        outcome.ratio
    );
    Ok(())
}
