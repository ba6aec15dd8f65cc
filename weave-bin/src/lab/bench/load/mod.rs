//! The load generator: threads that push bytes through sockets somebody else connected.
//!
//! A socket stays in the network namespace it was created in, so the threads here need not enter
//! any: [`open`] connects pairs of sockets between two namespaces, and the measurements run on any
//! thread. Invariant: what is counted is what the receiver got within a window that starts after a
//! warm-up, measured by the clock and not by the wish; every socket has the same options and every
//! thread the same processor whichever path is measured.

pub(crate) mod open;
pub(crate) mod round_trip;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// How long a sample takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Load runs this long before anything is counted.
    pub(crate) warm_up: Duration,
    /// Then it is counted for this long.
    pub(crate) window: Duration,
}

/// The two sides of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Sends bulk data, or asks.
    Client,
    /// Receives bulk data, or answers.
    Server,
}

/// Which processors the load's threads run on: neighbours for the two sides of a stream, so that
/// sender and receiver do not share one unless there is only one.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    processors: Vec<usize>,
}

impl Placement {
    /// Placement on the processors this process may use.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell which those are.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        let mut processors = Vec::new();
        for processor in 0..CpuSet::count() {
            if set.is_set(processor)? {
                processors.push(processor);
            }
        }
        Ok(Self { processors })
    }

    /// How many processors there are to use.
    pub(crate) fn processors(&self) -> usize {
        self.processors.len()
    }

    /// The processor for one side of stream number `stream`, from 0.
    fn processor(&self, stream: usize, side: Side) -> Option<usize> {
        let slot = 2 * stream + usize::from(side == Side::Server);
        self.processors
            .get(slot.checked_rem(self.processors.len())?)
            .copied()
    }

    /// Binds the calling thread to its processor.
    ///
    /// # Errors
    ///
    /// The processor has been taken from this process meanwhile.
    pub(crate) fn bind(&self, stream: usize, side: Side) -> io::Result<()> {
        let Some(processor) = self.processor(stream, side) else {
            return Ok(());
        };
        let mut set = CpuSet::new();
        set.set(processor)?;
        sched_setaffinity(Pid::from_raw(0), &set)?;
        Ok(())
    }
}

/// What was counted in a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// Things a second.
    pub(crate) per_second: f64,
    /// Processors that were busy, of the whole machine: 1.0 is one all the time.
    pub(crate) busy: f64,
}

/// Sleeps through warm-up and window, reading `count` at both ends of the window, raises `stop`,
/// and gives the count a second. A window in which nothing was counted goes on, up to ten times
/// its length and at least [`PATIENCE`]: on a busy machine the threads may not have run at all.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] when nothing was counted.
fn count_per_second(span: Span, stop: &AtomicBool, count: impl Fn() -> u64) -> io::Result<Rate> {
    std::thread::sleep(span.warm_up);
    let busy_before = processor_time()?;
    let (before, start) = (count(), Instant::now());
    let (after, elapsed) = loop {
        std::thread::sleep(span.window);
        let (after, elapsed) = (count(), start.elapsed());
        if after != before || elapsed >= PATIENCE.max(span.window * 10) {
            break (after, elapsed);
        }
    };
    stop.store(true, Ordering::Relaxed);
    if after == before {
        let why = format!("nothing arrived within {:.1} s", elapsed.as_secs_f64());
        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
    }
    let busy = processor_time()?.saturating_sub(busy_before);
    Ok(Rate {
        per_second: per_second(after - before, elapsed),
        busy: busy.as_secs_f64() / elapsed.as_secs_f64(),
    })
}

/// Time that the processors of this machine have been busy, together, since it started.
fn processor_time() -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    busy_time(&stat).ok_or_else(|| io::Error::other("/proc/stat has no sum of all processors"))
}

/// User, nice and system time and that of interrupts: fields 1 to 3, 6 and 7 of the first line
/// (`proc_stat(5)`), in hundredths of a second.
fn busy_time(stat: &str) -> Option<Duration> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let busy = [0, 1, 2, 5, 6].into_iter().map(|at| ticks.get(at).copied());
    Some(Duration::from_millis(10 * busy.sum::<Option<u64>>()?))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 bytes take days at any rate a host has"
)]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// How long nothing may arrive before a path counts as broken.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    pub(super) fn short() -> Span {
        Span {
            warm_up: Duration::from_millis(20),
            window: Duration::from_millis(80),
        }
    }

    #[test]
    fn the_ends_of_a_stream_are_neighbours() {
        let placement = Placement {
            processors: vec![3, 5, 8, 9],
        };
        let both =
            |stream| [Side::Client, Side::Server].map(|side| placement.processor(stream, side));

        assert_eq!(both(0), [Some(3), Some(5)]);
        assert_eq!(both(1), [Some(8), Some(9)]);
        assert_eq!(both(2), [Some(3), Some(5)]);
    }

    #[test]
    fn one_processor_serves_both_ends() {
        let placement = Placement {
            processors: vec![6],
        };

        assert_eq!(placement.processor(0, Side::Client), Some(6));
        assert_eq!(placement.processor(3, Side::Server), Some(6));
    }

    #[test]
    fn this_process_may_bind_where_it_runs() {
        let placement = Placement::of_this_process().unwrap();

        assert!(!placement.processors.is_empty());
        placement.bind(0, Side::Server).unwrap();
    }

    #[test]
    fn busy_time_leaves_idle_processors_out() {
        let stat = "cpu  100 20 30 9999 88 5 6 0 0 0\ncpu0 1 2 3\n";

        assert_eq!(busy_time(stat), Some(Duration::from_millis(1610)));
        assert_eq!(busy_time("intr 1"), None);
        assert!(processor_time().unwrap() > Duration::ZERO);
    }

    #[test]
    fn a_silent_path_is_an_error() {
        let stop = AtomicBool::new(false);

        let error = count_per_second(short(), &stop, || 7).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(stop.load(Ordering::Relaxed));
    }

    #[test]
    fn a_late_start_is_measured_over_the_time_it_took() {
        let stop = AtomicBool::new(false);
        let calls = Cell::new(0);

        // Nothing at both ends of the first window, something at the end of the second.
        let rate = count_per_second(short(), &stop, || {
            calls.set(calls.get() + 1);
            if calls.get() < 3 { 0 } else { 100 }
        });

        assert!(rate.unwrap().per_second <= 100.0 / 0.16);
        assert_eq!(calls.get(), 3);
    }
}
