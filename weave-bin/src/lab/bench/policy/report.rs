//! What the samples of all hosts mean together.
//!
//! Invariant: everything is compared with our rules for no policy, connections within each round
//! and streams within each turn; a figure is the median of those comparisons, between bounds.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::Rules;
use super::interval::Interval;
use super::turns::Turn;
use crate::lab::bench::stats::median;
use crate::lab::once::Finding;

/// The samples of one host.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    /// Microseconds of a new connection, by round.
    pub(super) connections: Vec<f64>,
    /// Bytes a second of streams, by turn: over our rules for no policy, and over this host's.
    pub(super) streams: Vec<Turn>,
}

/// All figures.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    rounds: u32,
    turns: u32,
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
    added_us: Interval,
    /// Gigabits a second of one stream.
    stream_gbit: f64,
    /// The stream, as a part of that with our rules for no policy. For those rules themselves it is
    /// a second stream of the same host, which shows what the method tells of two equal paths.
    stream_ratio: Interval,
}

impl Report {
    /// The figures; nothing if a sample is missing.
    pub(super) fn new(
        samples: impl IntoIterator<Item = (Rules, Samples)>,
        (rounds, turns): (u32, u32),
        elapsed: Duration,
    ) -> Option<Self> {
        let samples: Vec<(Rules, Samples)> = samples.into_iter().collect();
        let (_, base) = samples.iter().find(|(rules, _)| *rules == Rules::Ours(0))?;
        let row = |(rules, own): &(Rules, Samples)| {
            if own.connections.len() != base.connections.len() {
                return None;
            }
            let pairs = own.connections.iter().zip(&base.connections);
            let added: Vec<f64> = pairs.map(|(own, base)| own - base).collect();
            let ratios: Vec<f64> = own.streams.iter().map(|[base, own]| own / base).collect();
            let rates: Vec<f64> = own.streams.iter().map(|turn| turn[1]).collect();
            Some(Row {
                rules: match rules {
                    Rules::Bare => "bare",
                    Rules::Ours(_) => "ours",
                    Rules::Linear(_) => "linear",
                },
                policies: rules.policies(),
                connection_us: median(&own.connections)?,
                added_us: Interval::of(&added)?,
                stream_gbit: median(&rates)? * 8.0 / 1e9,
                stream_ratio: Interval::of(&ratios)?,
            })
        };
        Some(Self {
            rounds,
            turns,
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
        let mut text = String::from(
            "rules   policies  new connection      added   (95 of 100)  one stream  \
             to no policy  (95 of 100)\n",
        );
        for row in &self.rows {
            let (added, ratio) = (row.added_us, row.stream_ratio);
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(
                text,
                "{:<7} {:>8}  {:>11.2} us  {:>+6.2} us  {:>+5.2} {:>+5.2}  {:>5.2} Gb/s  \
                 {:>12.4}  {:.4} {:.4}",
                row.rules,
                row.policies,
                row.connection_us,
                added.middle,
                added.low,
                added.high,
                row.stream_gbit,
                ratio.middle,
                ratio.low,
                ratio.high
            );
        }
        let _ = writeln!(
            text,
            "medians of {} rounds and {} turns, compared within each; linear is one iptables rule a \
             policy, the admitting one in the middle; {:.0} s",
            self.rounds, self.turns, self.elapsed_s
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(connection: f64, ratio: f64) -> Samples {
        let drifts = [0.0, 10.0, 20.0];
        Samples {
            connections: drifts.map(|drift| connection + drift).to_vec(),
            streams: drifts
                .map(|drift| [(1.0 + drift) * 1e9, (1.0 + drift) * 1e9 * ratio])
                .to_vec(),
        }
    }

    #[test]
    fn hosts_are_compared_within_each_round_and_turn() {
        let pairs = [
            (Rules::Ours(0), samples(40.0, 1.0)),
            (Rules::Ours(5000), samples(40.5, 0.99)),
        ];
        let report = Report::new(pairs, (3, 3), Duration::from_secs(1)).unwrap();

        let last = &report.rows[1];
        assert!((last.added_us.middle - 0.5).abs() < 1e-9);
        assert!((last.stream_ratio.low - 0.99).abs() < 1e-9);
        assert!((last.stream_ratio.high - 0.99).abs() < 1e-9);
        assert!(report.text().contains("ours        5000        50.50 us"));
        assert!(report.to_json().contains("\"policies\":5000"));
    }

    #[test]
    fn nothing_is_compared_with_a_sample_that_is_missing() {
        let alone = [(Rules::Ours(100), samples(40.0, 1.0))];
        assert!(Report::new(alone, (3, 3), Duration::ZERO).is_none());

        let short = [
            (Rules::Ours(0), samples(40.0, 1.0)),
            (Rules::Linear(100), Samples::default()),
        ];
        assert!(Report::new(short, (3, 3), Duration::ZERO).is_none());
    }
}
