//! What the samples of all hosts mean together.
//!
//! Invariant: everything is compared with our rules for no policy, within each round; the figure is
//! the median over the rounds.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::Rules;
use crate::lab::bench::stats::{median, paired_difference, paired_ratio};
use crate::lab::once::Finding;

/// The samples of one host, by round.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    connections: Vec<f64>,
    streams: Vec<f64>,
}

impl Samples {
    /// Adds a round: microseconds of a connection, bytes a second of a stream.
    pub(super) fn add(&mut self, (connection, stream): (f64, f64)) {
        self.connections.push(connection);
        self.streams.push(stream);
    }
}

/// All figures.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    rounds: u32,
    rows: Vec<Row>,
    elapsed_s: f64,
}

/// The figures of one host.
#[derive(Debug, Serialize)]
struct Row {
    /// `bare`, `ours` or `linear`.
    rules: &'static str,
    policies: u32,
    /// Microseconds of a new connection, from its first packet to its acceptance.
    connection_us: f64,
    /// Microseconds more than with our rules for no policy.
    added_us: f64,
    /// Gigabits a second of one stream.
    stream_gbit: f64,
    /// The stream, as a part of that with our rules for no policy.
    stream_ratio: f64,
}

impl Report {
    /// The figures; nothing if a sample is missing.
    pub(super) fn new(
        samples: impl IntoIterator<Item = (Rules, Samples)>,
        rounds: u32,
        elapsed: Duration,
    ) -> Option<Self> {
        let samples: Vec<(Rules, Samples)> = samples.into_iter().collect();
        let (_, base) = samples.iter().find(|(rules, _)| *rules == Rules::Ours(0))?;
        let row = |(rules, own): &(Rules, Samples)| {
            Some(Row {
                rules: match rules {
                    Rules::Bare => "bare",
                    Rules::Ours(_) => "ours",
                    Rules::Linear(_) => "linear",
                },
                policies: rules.policies(),
                connection_us: median(&own.connections)?,
                added_us: paired_difference(&own.connections, &base.connections)?,
                stream_gbit: median(&own.streams)? * 8.0 / 1e9,
                stream_ratio: paired_ratio(&own.streams, &base.streams)?.middle,
            })
        };
        Some(Self {
            rounds,
            rows: samples.iter().map(row).collect::<Option<_>>()?,
            elapsed_s: elapsed.as_secs_f64(),
        })
    }
}

impl Finding for Report {
    /// A measurement fails only by an error.
    fn passed(&self) -> bool {
        true
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    fn text(&self) -> String {
        let mut text =
            String::from("rules   policies  new connection      added  one stream  to no policy\n");
        for row in &self.rows {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(
                text,
                "{:<7} {:>8}  {:>11.2} us  {:>+6.2} us  {:>5.2} Gb/s  {:>12.3}",
                row.rules,
                row.policies,
                row.connection_us,
                row.added_us,
                row.stream_gbit,
                row.stream_ratio
            );
        }
        let _ = writeln!(
            text,
            "medians of {} rounds, compared within each; linear is one iptables rule a policy, the \
             admitting one in the middle; {:.0} s",
            self.rounds, self.elapsed_s
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(connection: f64, stream: f64) -> Samples {
        let mut samples = Samples::default();
        for drift in [0.0, 10.0, 20.0] {
            samples.add((connection + drift, stream));
        }
        samples
    }

    #[test]
    fn hosts_are_compared_within_each_round() {
        let pairs = [
            (Rules::Ours(0), samples(40.0, 1e9)),
            (Rules::Ours(5000), samples(40.5, 0.99e9)),
        ];
        let report = Report::new(pairs, 3, Duration::from_secs(1)).unwrap();

        let last = &report.rows[1];
        assert!((last.added_us - 0.5).abs() < 1e-9);
        assert!((last.stream_ratio - 0.99).abs() < 1e-9);
        assert!(report.text().contains("ours        5000        50.50 us"));
        assert!(report.to_json().contains("\"policies\":5000"));
    }

    #[test]
    fn nothing_is_compared_with_a_sample_that_is_missing() {
        let alone = [(Rules::Ours(100), samples(40.0, 1e9))];
        assert!(Report::new(alone, 3, Duration::ZERO).is_none());

        let short = [
            (Rules::Ours(0), samples(40.0, 1e9)),
            (Rules::Linear(100), Samples::default()),
        ];
        assert!(Report::new(short, 3, Duration::ZERO).is_none());
    }
}
