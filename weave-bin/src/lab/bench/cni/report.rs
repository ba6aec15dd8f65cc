//! What the calls of both plugins took.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::calls::Times;
use crate::lab::bench::stats::paired_ratio;
use crate::lab::once::Finding;
use crate::lab::stats::Percentiles;

/// The samples of one plugin.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    /// One pod at a time.
    pub(super) sequential: Vec<Times>,
    /// Many at once.
    pub(super) parallel: Vec<Times>,
}

/// All figures, in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    count: usize,
    parallel: usize,
    bursts: usize,
    plugins: Vec<Row>,
    /// Our ADD and DEL together as a part of the other plugin's, pod by pod: the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    elapsed_s: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    plugin: &'static str,
    add_ms: Percentiles,
    del_ms: Percentiles,
    add_and_del_ms: Percentiles,
    /// Absent when nothing was added at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_add_ms: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_del_ms: Option<Percentiles>,
}

impl Report {
    /// The figures, ours first; nothing if a sample is missing.
    pub(super) fn new(
        samples: impl IntoIterator<Item = (&'static str, Samples)>,
        (count, parallel, bursts): (usize, usize, usize),
        elapsed: Duration,
    ) -> Option<Self> {
        let samples: Vec<(&'static str, Samples)> = samples.into_iter().collect();
        let both = |samples: &Samples| times(&samples.sequential, |one| one.add + one.del);
        let row = |(plugin, samples): &(&'static str, Samples)| {
            let (one, many) = (&samples.sequential, &samples.parallel);
            Some(Row {
                plugin,
                add_ms: Percentiles::of(&times(one, |one| one.add))?,
                del_ms: Percentiles::of(&times(one, |one| one.del))?,
                add_and_del_ms: Percentiles::of(&both(samples))?,
                parallel_add_ms: Percentiles::of(&times(many, |one| one.add)),
                parallel_del_ms: Percentiles::of(&times(many, |one| one.del)),
            })
        };
        let ratio = match samples.as_slice() {
            [(_, ours), (_, theirs)] => paired_ratio(&both(ours), &both(theirs)),
            _ => None,
        };
        Some(Self {
            count,
            parallel,
            bursts,
            plugins: samples.iter().map(row).collect::<Option<_>>()?,
            ratio: ratio.map(|ratio| ratio.middle),
            elapsed_s: elapsed.as_secs_f64(),
        })
    }
}

fn times(all: &[Times], pick: impl Fn(&Times) -> f64) -> Vec<f64> {
    all.iter().map(pick).collect()
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
        let mut text = format!(
            "{} pods one at a time, {} times {} at once; milliseconds, p50 and p99\n\
             plugin           ADD            DEL        ADD + DEL    ADD at once    DEL at once\n",
            self.count, self.bursts, self.parallel
        );
        for row in &self.plugins {
            let cells = [
                Some(row.add_ms),
                Some(row.del_ms),
                Some(row.add_and_del_ms),
                row.parallel_add_ms,
                row.parallel_del_ms,
            ];
            let cells = cells.map(|cell| {
                let words = |cell: Percentiles| format!("{:.1} {:.1}", cell.p50, cell.p99);
                format!("{:>15}", cell.map_or_else(|| "-".to_owned(), words))
            });
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "{:<8}{}", row.plugin, cells.join(""));
        }
        if let Some(ratio) = self.ratio {
            let _ = writeln!(
                text,
                "ADD and DEL of ours take {ratio:.2} times as long as theirs"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(add: f64) -> Samples {
        Samples {
            sequential: vec![Times { add, del: 1.0 }; 3],
            parallel: Vec::new(),
        }
    }

    #[test]
    fn both_plugins_are_compared_pod_by_pod() {
        let all = [("weave", samples(3.0)), ("bridge", samples(7.0))];
        let report = Report::new(all, (3, 0, 0), Duration::ZERO).unwrap();

        assert_eq!(report.ratio, Some(0.5));
        assert!(
            report.text().contains("weave           3.0 3.0"),
            "{}",
            report.text()
        );
    }

    #[test]
    fn one_plugin_alone_has_no_ratio() {
        let report = Report::new([("weave", samples(3.0))], (3, 0, 0), Duration::ZERO).unwrap();

        assert_eq!(report.ratio, None);
        let none = Report::new([("weave", Samples::default())], (0, 0, 0), Duration::ZERO);
        assert!(none.is_none());
    }
}
