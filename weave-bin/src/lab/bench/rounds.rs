//! Going round the paths, again and again, and saying how far it is.

use std::time::{Duration, Instant};

use super::load::Placement;
use super::measure::{Gathered, TURNS, moment};
use super::paths::Ends;
use super::plan::{Measurement, Metric, Path};
use super::report::{Samples, value};
use crate::lab::error::Error;
use crate::lab::progress::Progress;

/// The pods at both ends of each path.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// Pods attached to the overlay of the running daemons.
    pub(crate) ours: Ends,
    /// Pods on the kernel VXLAN set up by hand.
    pub(crate) vxlan: Ends,
    /// Pods on the routed path.
    pub(crate) plain: Ends,
}

impl Paths {
    fn ends(&self, path: Path) -> &Ends {
        match path {
            Path::Ours => &self.ours,
            Path::Vxlan => &self.vxlan,
            Path::Plain => &self.plain,
        }
    }
}

/// Takes a sample of every measurement on every path in each of `rounds` rounds; each counts for
/// `sample` in all.
///
/// # Errors
///
/// A path is broken; the message says which and what was measured.
///
/// # Cancel safety
///
/// Dropping the future ends the measurement after the moment that is running, at most a second of
/// whose load goes on without anybody listening.
pub(crate) async fn run(
    paths: &Paths,
    rounds: u32,
    sample: Duration,
    placement: &Placement,
    progress: &Progress,
) -> Result<Samples, Error> {
    let mut samples = Samples::default();
    let mut clock = Clock::start(rounds);
    for round in 0..rounds {
        progress.step(&format!("round {} of {rounds}{}", round + 1, clock.left()));
        for measurement in Measurement::ALL {
            let head = format!(
                "round {} of {rounds}: {measurement}{}",
                round + 1,
                clock.left()
            );
            progress.update(&head);
            for (path, metrics) in visit(paths, measurement, round, sample, placement).await? {
                for (metric, value) in metrics {
                    samples.push(metric, path, value);
                }
            }
            progress.update(&format!("{head}; {}", latest(&samples, measurement)));
            clock.tick();
        }
    }
    Ok(samples)
}

/// One sample of every path, in moments that take turns.
async fn visit(
    paths: &Paths,
    measurement: Measurement,
    round: u32,
    sample: Duration,
    placement: &Placement,
) -> Result<Vec<(Path, Vec<(Metric, f64)>)>, Error> {
    let mut gathered = Path::ALL.map(|path| (path, Gathered::default()));
    for turn in 0..TURNS {
        for path in Path::order(round * TURNS + turn) {
            let ends = paths.ends(path).clone();
            let placement = placement.clone();
            let Some((_, so_far)) = gathered.iter_mut().find(|(of, _)| *of == path) else {
                continue;
            };
            let mut taken = std::mem::take(so_far);
            let moment = tokio::task::spawn_blocking(move || {
                taken
                    .add(&ends, measurement, &placement, moment(sample))
                    .map(|()| taken)
            });
            *so_far = moment
                .await
                .map_err(|error| broken(path, measurement, error))?
                .map_err(|error| broken(path, measurement, error))?;
        }
    }
    Ok(gathered
        .into_iter()
        .map(|(path, taken)| (path, taken.metrics(measurement)))
        .collect())
}

fn broken(path: Path, measurement: Measurement, error: impl std::fmt::Display) -> Error {
    Error::kernel(format!("{measurement} over the path {path:?}"), error)
}

/// What the last sample of each path was.
fn latest(samples: &Samples, measurement: Measurement) -> String {
    let metric = match measurement {
        Measurement::Tcp(1) => Metric::Tcp1,
        Measurement::Tcp(_) => Metric::Tcp4,
        Measurement::Udp => Metric::UdpPackets,
        Measurement::RoundTrip => Metric::RoundTripMedian,
    };
    let texts = Path::ALL.map(|path| match samples.latest(metric, path) {
        Some(sample) => format!("{path} {}", value(metric, sample)),
        None => format!("{path} ?"),
    });
    format!("{} {}", texts.join(", "), metric.unit())
}

/// How long what is left will take, if it goes on as so far.
struct Clock {
    started: Instant,
    steps: u32,
    done: u32,
}

impl Clock {
    /// For this many rounds, every measurement of which is a step.
    fn start(rounds: u32) -> Self {
        let steps = Measurement::ALL.map(|_| rounds).into_iter().sum();
        Self {
            started: Instant::now(),
            steps,
            done: 0,
        }
    }

    fn tick(&mut self) {
        self.done += 1;
    }

    /// `, 38 s left`, or nothing before the first step is done.
    fn left(&self) -> String {
        let left = remaining(self.started.elapsed(), self.done, self.steps);
        left.map(|left| format!(", {} s left", left.as_secs()))
            .unwrap_or_default()
    }
}

/// The time `steps - done` steps take when `done` took `elapsed`; `None` when none is done.
fn remaining(elapsed: Duration, done: u32, steps: u32) -> Option<Duration> {
    (elapsed * steps.saturating_sub(done)).checked_div(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_time_gone() {
        let minute = Duration::from_secs(60);

        assert_eq!(remaining(minute, 7, 28), Some(minute * 3));
        assert_eq!(remaining(minute, 28, 28), Some(Duration::ZERO));
        assert_eq!(remaining(minute, 0, 28), None);
    }

    #[test]
    fn what_was_seen_last_is_shown_with_its_unit() {
        let mut samples = Samples::default();
        samples.push(Metric::Tcp4, Path::Ours, 1.0);
        samples.push(Metric::Tcp4, Path::Ours, 12.345);
        samples.push(Metric::Tcp4, Path::Plain, 20.0);

        let text = latest(&samples, Measurement::Tcp(4));

        assert_eq!(text, "ours 12.35, vxlan ?, plain 20.00 Gbit/s");
    }
}
