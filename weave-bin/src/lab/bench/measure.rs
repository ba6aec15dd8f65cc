//! Samples: a load put on a path for a moment, and the metrics several such moments yield.
//!
//! Invariant: sockets are made for each moment and gone after it, so nothing one path leaves in a
//! buffer reaches the next. A sample is made of [`TURNS`] moments, between which the other paths
//! have theirs: what disturbs the machine for longer than a moment then disturbs all paths alike.
//! Shorter moments make this truer; much shorter ones would be all warm-up.

use std::io;
use std::time::Duration;

use super::load::{self, Placement, Rate, Span};
use super::paths::Ends;
use super::plan::{Measurement, Metric};
use super::stats::nearest_rank;

/// Moments a sample is made of.
pub(crate) const TURNS: u32 = 8;

/// How much of a sample one moment is, after a warm-up long enough for TCP to fill the path.
pub(crate) fn moment(sample: Duration) -> Span {
    Span {
        warm_up: Duration::from_millis(30),
        window: sample / TURNS,
    }
}

/// What one path showed in the moments of one sample.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Bytes or packets a second, of each moment.
    rates: Vec<Rate>,
    /// Nanoseconds of each round trip.
    times: Vec<u32>,
}

impl Gathered {
    /// Runs `measurement` between `ends`; blocks for as long as `span` says.
    ///
    /// # Errors
    ///
    /// The path is broken, or stopped carrying data in the middle.
    pub(crate) fn add(
        &mut self,
        ends: &Ends,
        measurement: Measurement,
        placement: &Placement,
        span: Span,
    ) -> io::Result<()> {
        match measurement {
            Measurement::Tcp(streams) => {
                let connections = ends.connections(streams)?;
                self.rates
                    .push(load::tcp::sample(&connections, placement, span)?);
            }
            Measurement::Udp => {
                let (client, server) = ends.datagrams()?;
                self.rates
                    .push(load::udp::sample(&client, &server, placement, span)?);
            }
            Measurement::RoundTrip => {
                for connection in ends.connections(1)? {
                    self.times
                        .extend(load::round_trip::sample(&connection, placement, span)?);
                }
            }
        }
        Ok(())
    }

    /// The metrics that `measurement` yields; none when nothing was added.
    pub(crate) fn metrics(mut self, measurement: Measurement) -> Vec<(Metric, f64)> {
        let mut metrics = Vec::new();
        match measurement {
            Measurement::Tcp(streams) => {
                let metric = if streams == 1 {
                    Metric::Tcp1
                } else {
                    Metric::Tcp4
                };
                metrics.extend(mean(&self.rates).map(|bytes| (metric, bytes * 8.0 / 1e9)));
                let cpu = if streams == 1 {
                    Metric::Cpu1
                } else {
                    Metric::Cpu4
                };
                metrics.extend(cost(&self.rates).map(|seconds| (cpu, seconds * 1e9)));
            }
            Measurement::Udp => {
                metrics.extend(mean(&self.rates).map(|packets| (Metric::UdpPackets, packets)));
            }
            Measurement::RoundTrip => {
                for (metric, percent) in [(Metric::RoundTripMedian, 50), (Metric::RoundTripP99, 99)]
                {
                    let time = nearest_rank(&mut self.times, percent);
                    metrics.extend(time.map(|time| (metric, f64::from(time) / 1e3)));
                }
            }
        }
        metrics
    }
}

/// Moments are equally long, so the mean of their rates is the rate over all of them.
fn mean(rates: &[Rate]) -> Option<f64> {
    let count = u32::try_from(rates.len()).ok().filter(|count| *count > 0)?;
    Some(rates.iter().map(|rate| rate.per_second).sum::<f64>() / f64::from(count))
}

/// Seconds of processor time for each thing counted, over all moments.
fn cost(rates: &[Rate]) -> Option<f64> {
    let busy: f64 = rates.iter().map(|rate| rate.busy).sum();
    let counted: f64 = rates.iter().map(|rate| rate.per_second).sum();
    (counted > 0.0).then_some(busy / counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_add_up_to_the_sample() {
        let sample = Duration::from_secs(1);

        assert_eq!(moment(sample).window * TURNS, sample);
    }

    #[test]
    fn rates_of_all_moments_are_averaged() {
        let gathered = || Gathered {
            rates: [1e9, 3e9]
                .map(|per_second| Rate {
                    per_second,
                    busy: 1.0,
                })
                .to_vec(),
            times: vec![],
        };

        assert_eq!(
            gathered().metrics(Measurement::Tcp(1)),
            [(Metric::Tcp1, 16.0), (Metric::Cpu1, 0.5)]
        );
        assert_eq!(
            gathered().metrics(Measurement::Tcp(4)),
            [(Metric::Tcp4, 16.0), (Metric::Cpu4, 0.5)]
        );
        assert_eq!(
            gathered().metrics(Measurement::Udp),
            [(Metric::UdpPackets, 2e9)]
        );
    }

    #[test]
    fn round_trips_of_all_moments_are_ranked_together() {
        let gathered = Gathered {
            rates: vec![],
            times: (1..=100).map(|t| t * 1000).collect(),
        };

        let metrics = gathered.metrics(Measurement::RoundTrip);

        assert_eq!(
            metrics,
            [
                (Metric::RoundTripMedian, 50.0),
                (Metric::RoundTripP99, 99.0)
            ]
        );
    }

    #[test]
    fn nothing_gathered_yields_no_metric() {
        for measurement in Measurement::ALL {
            assert_eq!(Gathered::default().metrics(measurement), []);
        }
    }
}
