//! Thousands of networks of allocators, with everything that goes wrong, in virtual time.
//!
//! ```text
//! cargo run --release --example ipam_sim -- --seeds 10000
//! cargo run --release --example ipam_sim -- --seed 77            # one run with its log
//! ```
//!
//! `--nodes N` fixes the number of hosts, `--faults a,b` allows only those faults, `--from S` begins
//! with another seed, `--planted NAME` puts in a defect, `--threads N` uses so many threads, `--json`
//! prints the result as JSON. The status is 1 if a law was broken.

use std::cell::Cell;
use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weave_ipam::sim::{Fault, FaultSet, Options, Planted, Run, Tally, run};

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    tell_the_seed_of_a_panic();
    let result = match arguments.seed {
        Some(seed) => replay(seed, &arguments),
        None => Total::run(&arguments),
    };
    println!("{}", result.text(arguments.is_json));
    ExitCode::from(u8::from(!result.violations.is_empty()))
}

struct Arguments {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    threads: usize,
    is_json: bool,
    options: Options,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let cores = std::thread::available_parallelism();
        let mut arguments = Self {
            seeds: 1000,
            from: 0,
            seed: None,
            threads: cores.map_or(1, std::num::NonZero::get),
            is_json: false,
            options: Options::default(),
        };
        while let Some(word) = words.next() {
            if word == "--json" {
                arguments.is_json = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word}: {USAGE}"))?;
            let wrong = |_| format!("{word} {value}: not a number; {USAGE}");
            match word.as_str() {
                "--seeds" => arguments.seeds = value.parse().map_err(wrong)?,
                "--from" => arguments.from = value.parse().map_err(wrong)?,
                "--seed" => arguments.seed = Some(value.parse().map_err(wrong)?),
                "--threads" => arguments.threads = value.parse::<usize>().map_err(wrong)?.max(1),
                "--nodes" => arguments.options.nodes = Some(value.parse().map_err(wrong)?),
                "--faults" => arguments.options.faults = faults(&value)?,
                "--planted" => arguments.options.planted = Some(planted(&value)?),
                _ => return Err(format!("{word}: {USAGE}")),
            }
        }
        Ok(arguments)
    }
}

fn faults(names: &str) -> Result<FaultSet, String> {
    match names {
        "all" => return Ok(FaultSet::all()),
        "none" => return Ok(FaultSet::NONE),
        "ordinary" => return Ok(FaultSet::ordinary()),
        _ => {}
    }
    let find = |name: &str| {
        let found = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        let known = || Fault::ALL.map(Fault::name).join(" ");
        found.ok_or_else(|| format!("{name} is no fault; known: all none ordinary {}", known()))
    };
    names.split(',').map(find).collect()
}

fn planted(name: &str) -> Result<Planted, String> {
    let found = Planted::ALL
        .into_iter()
        .find(|planted| format!("{planted:?}") == name);
    found.ok_or_else(|| format!("{name} is no defect; known: {:?}", Planted::ALL))
}

/// One seed with its log.
fn replay(seed: u64, arguments: &Arguments) -> Total {
    let mut options = arguments.options;
    options.is_logged = true;
    let begun = Instant::now();
    SEED.set(seed);
    let run = run(seed, &options);
    for line in &run.log {
        println!("{line}");
    }
    let mut total = Total::default();
    total.add(&run);
    total.elapsed = begun.elapsed();
    total
}

#[derive(Default)]
struct Total {
    seeds: u64,
    violations: Vec<String>,
    faults: Tally,
    simulated: Duration,
    steps: u64,
    doubles: u64,
    elapsed: Duration,
}

impl Total {
    fn run(arguments: &Arguments) -> Self {
        let begun = Instant::now();
        let next = AtomicU64::new(0);
        let total = Mutex::new(Self::default());
        std::thread::scope(|scope| {
            for _ in 0..arguments.threads {
                scope.spawn(|| work(arguments, &next, &total));
            }
            show_progress(arguments, &next, begun);
        });
        let mut total = total
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        total.elapsed = begun.elapsed();
        total
    }

    fn add(&mut self, run: &Run) {
        self.seeds += 1;
        self.faults.add(&run.faults);
        self.simulated += run.simulated;
        self.steps += run.steps;
        self.doubles += run.doubles;
        for violation in &run.violations {
            let text = format!("seed {}: {violation}", run.seed);
            eprintln!("{text}");
            self.violations.push(text);
        }
    }

    fn text(&self, is_json: bool) -> String {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        let elapsed = self.elapsed.as_secs_f64();
        let mut text = String::new();
        let counts = self.faults.iter().map(|(fault, count)| match is_json {
            true => format!("\"{fault}\":{count}"),
            false => format!("{fault} {count}"),
        });
        let counts: Vec<String> = counts.collect();
        // Writing to a string does not fail.
        let _ = if is_json {
            let violations: Vec<String> = self
                .violations
                .iter()
                .map(|text| format!("{text:?}"))
                .collect();
            write!(
                text,
                "{{\"seeds\":{},\"violations\":{},\"violated\":[{}],\"faults\":{{{}}},\
                 \"simulated_hours\":{hours:.1},\"steps\":{},\"unavoidable_doubles\":{},\
                 \"elapsed_s\":{elapsed:.1}}}",
                self.seeds,
                self.violations.len(),
                violations.join(","),
                counts.join(","),
                self.steps,
                self.doubles,
            )
        } else {
            write!(
                text,
                "seeds {}\nviolations {}\nfaults {}\nsimulated_hours {hours:.1}\nsteps {}\n\
                 unavoidable_doubles {}\nelapsed_s {elapsed:.1}",
                self.seeds,
                self.violations.len(),
                counts.join(", "),
                self.steps,
                self.doubles,
            )
        };
        text
    }
}

fn work(arguments: &Arguments, next: &AtomicU64, total: &Mutex<Total>) {
    loop {
        let count = next.fetch_add(1, Ordering::Relaxed);
        if count >= arguments.seeds {
            return;
        }
        let seed = arguments.from + count;
        SEED.set(seed);
        let run = run(seed, &arguments.options);
        let mut total = total
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        total.add(&run);
    }
}

fn show_progress(arguments: &Arguments, next: &AtomicU64, begun: Instant) {
    let is_terminal = std::io::stderr().is_terminal();
    let mut shown = 0;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let done = next.load(Ordering::Relaxed).min(arguments.seeds);
        let seconds = begun.elapsed().as_secs();
        if is_terminal {
            eprint!("\r{done}/{} seeds, {seconds} s ", arguments.seeds);
        } else if seconds >= shown + 10 {
            shown = seconds;
            eprintln!("{done}/{} seeds, {seconds} s", arguments.seeds);
        }
        if done == arguments.seeds {
            if is_terminal {
                eprintln!();
            }
            return;
        }
    }
}

/// Where a panic ends the process, the seed is to be known.
fn tell_the_seed_of_a_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("seed {}: panic", SEED.get());
        usual(info);
    }));
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

const USAGE: &str = "usage: ipam_sim [--seeds N] [--seed S] [--from S] [--nodes N] [--faults LIST] \
                     [--planted NAME] [--threads N] [--json]";
