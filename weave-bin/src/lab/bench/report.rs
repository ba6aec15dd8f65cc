//! What the benchmark found, for people and for programs.
//!
//! Invariant: both renderings come from one [`Report`], and a report holds every sample it was
//! computed from. A value is the median over rounds; a ratio is the median of the ratios within
//! each round (see [`super::stats`]), so it need not equal the quotient of the two values.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::plan::{Metric, Path};
use super::stats::{median, paired_difference, paired_ratio};
use crate::lab::once::Finding;

/// All samples of one metric, one for each round.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Runs {
    /// Samples of the overlay of the running daemons.
    pub(crate) ours: Vec<f64>,
    /// Samples of the kernel VXLAN set up by hand.
    pub(crate) vxlan: Vec<f64>,
    /// Samples of plain routing.
    pub(crate) plain: Vec<f64>,
}

impl Runs {
    /// The samples of one path.
    pub(crate) fn of(&self, path: Path) -> &[f64] {
        match path {
            Path::Ours => &self.ours,
            Path::Vxlan => &self.vxlan,
            Path::Plain => &self.plain,
        }
    }

    fn push(&mut self, path: Path, sample: f64) {
        match path {
            Path::Ours => self.ours.push(sample),
            Path::Vxlan => self.vxlan.push(sample),
            Path::Plain => self.plain.push(sample),
        }
    }
}

/// Samples of all metrics, gathered while rounds go by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    runs: BTreeMap<Metric, Runs>,
}

impl Samples {
    /// Adds the sample of one round.
    pub(crate) fn push(&mut self, metric: Metric, path: Path, sample: f64) {
        self.runs.entry(metric).or_default().push(path, sample);
    }

    /// The sample added last.
    pub(crate) fn latest(&self, metric: Metric, path: Path) -> Option<f64> {
        self.runs.get(&metric)?.of(path).last().copied()
    }
}

/// Under which conditions the samples were taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Conditions {
    /// Rounds, each of which visited every path once for every measurement.
    pub(crate) rounds: u32,
    /// Seconds counted in each sample.
    pub(crate) seconds: f64,
    /// Hosts in the lab.
    pub(crate) hosts: usize,
    /// Largest packet of the pods' interfaces in bytes, the same on every path.
    pub(crate) mtu: u32,
    /// How the kernel attached the programs of the overlay, or which overlay carried the traffic.
    pub(crate) overlay: String,
    /// Whether our overlay sealed what it carried.
    pub(crate) encrypted: bool,
    /// Processors the load could use.
    pub(crate) processors: usize,
    /// Release of the running kernel.
    pub(crate) kernel: String,
    /// Seconds from start to report.
    pub(crate) elapsed_s: f64,
}

/// One metric over all paths.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    /// Name of the metric.
    pub(crate) name: &'static str,
    /// Unit of values and samples.
    pub(crate) unit: &'static str,
    /// `higher` or `lower`: which values are better.
    pub(crate) better: &'static str,
    /// Median of the overlay of the running daemons.
    pub(crate) ours: f64,
    /// Median of the kernel VXLAN set up by hand.
    pub(crate) vxlan: f64,
    /// Median of plain routing.
    pub(crate) plain: f64,
    /// Median over rounds of `ours / vxlan`.
    pub(crate) ratio_vxlan: f64,
    /// Median over rounds of `ours / plain`.
    pub(crate) ratio_plain: f64,
    /// Lower and upper quartile of `ours / vxlan`.
    pub(crate) ratio_vxlan_quartiles: [f64; 2],
    /// Lower and upper quartile of `ours / plain`.
    pub(crate) ratio_plain_quartiles: [f64; 2],
    /// Microseconds added to the kernel VXLAN, of latencies: median over rounds of the difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) added_us_vxlan: Option<f64>,
    /// Microseconds added to plain routing, of latencies: median over rounds of the difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) added_us_plain: Option<f64>,
    /// Every sample.
    pub(crate) runs: Runs,
    #[serde(skip)]
    metric: Metric,
}

impl Line {
    fn new(metric: Metric, runs: Runs) -> Option<Self> {
        let vxlan = paired_ratio(&runs.ours, &runs.vxlan)?;
        let plain = paired_ratio(&runs.ours, &runs.plain)?;
        let added = |theirs: &[f64]| {
            metric
                .is_latency()
                .then(|| paired_difference(&runs.ours, theirs))
                .flatten()
        };
        Some(Self {
            name: metric.name(),
            unit: metric.unit(),
            better: if metric.is_cost() { "lower" } else { "higher" },
            ours: median(&runs.ours)?,
            vxlan: median(&runs.vxlan)?,
            plain: median(&runs.plain)?,
            ratio_vxlan: vxlan.middle,
            ratio_plain: plain.middle,
            ratio_vxlan_quartiles: [vxlan.low, vxlan.high],
            ratio_plain_quartiles: [plain.low, plain.high],
            added_us_vxlan: added(&runs.vxlan),
            added_us_plain: added(&runs.plain),
            metric,
            runs,
        })
    }

    fn value(&self, path: Path) -> f64 {
        match path {
            Path::Ours => self.ours,
            Path::Vxlan => self.vxlan,
            Path::Plain => self.plain,
        }
    }
}

/// Everything the benchmark found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// The metrics, in the order of [`Metric`].
    pub(crate) metrics: Vec<Line>,
    /// How they were measured.
    #[serde(flatten)]
    pub(crate) conditions: Conditions,
}

impl Finding for Report {
    /// A measurement that ended is one.
    fn passed(&self) -> bool {
        true
    }

    fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("invariant: plain numbers and names serialise")
    }

    fn text(&self) -> String {
        self.table()
    }
}

impl Report {
    /// The report on `samples`.
    ///
    /// `None` when a path lacks samples of a metric, or a sample that is divided by is zero.
    pub(crate) fn new(samples: Samples, conditions: Conditions) -> Option<Self> {
        let lines = samples
            .runs
            .into_iter()
            .map(|(metric, runs)| Line::new(metric, runs));
        let metrics: Vec<Line> = lines.collect::<Option<_>>()?;
        (!metrics.is_empty()).then_some(Self {
            metrics,
            conditions,
        })
    }

    /// A table for people, with a line on how to read it.
    pub(crate) fn table(&self) -> String {
        let conditions = &self.conditions;
        let mut text = format!(
            "pod to pod on {} hosts, overlay {}{}, MTU {}; {} x {} s a sample, {} processors, {:.0} s in all\n\n",
            conditions.hosts,
            conditions.overlay,
            if conditions.encrypted {
                " (encrypted)"
            } else {
                ""
            },
            conditions.mtu,
            conditions.rounds,
            conditions.seconds,
            conditions.processors,
            conditions.elapsed_s,
        );
        let _ = writeln!(
            text,
            "{:<29}{:>9}{:>9}{:>9}   {:<20}{:<20}added to vxlan",
            "", "ours", "vxlan", "plain", "ours/vxlan", "ours/plain"
        );
        for line in &self.metrics {
            let _ = write!(text, "{:<19}{:<10}", line.metric.title(), line.unit);
            for path in Path::ALL {
                let _ = write!(text, "{:>9}", value(line.metric, line.value(path)));
            }
            let added = line.added_us_vxlan.map(|added| format!("{added:+.1} us"));
            let row = format!(
                "   {:<20}{:<20}{}",
                ratio(line.ratio_vxlan, line.ratio_vxlan_quartiles),
                ratio(line.ratio_plain, line.ratio_plain_quartiles),
                added.unwrap_or_default(),
            );
            let _ = writeln!(text, "{}", row.trim_end());
        }
        text.push_str(
            "\nvalues: median over rounds; ratios: median of the ratios within a round (quartiles)\n",
        );
        text
    }
}

/// A sample with as many digits as mean something.
pub(super) fn value(metric: Metric, sample: f64) -> String {
    match metric {
        Metric::Tcp1 | Metric::Tcp4 | Metric::Cpu1 | Metric::Cpu4 => format!("{sample:.2}"),
        Metric::UdpPackets => format!("{sample:.0}"),
        Metric::RoundTripMedian | Metric::RoundTripP99 => format!("{sample:.1}"),
    }
}

fn ratio(middle: f64, [low, high]: [f64; 2]) -> String {
    format!("{middle:.3} ({low:.2}-{high:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions() -> Conditions {
        Conditions {
            rounds: 3,
            seconds: 1.0,
            hosts: 2,
            mtu: 1376,
            overlay: "fastdp".to_owned(),
            encrypted: false,
            processors: 2,
            kernel: "6.1.0".to_owned(),
            elapsed_s: 12.5,
        }
    }

    fn samples() -> Samples {
        let mut samples = Samples::default();
        for (ours, vxlan, plain) in [(9.0, 10.0, 20.0), (8.0, 10.0, 20.0), (4.5, 5.0, 10.0)] {
            for (path, sample) in Path::ALL.into_iter().zip([ours, vxlan, plain]) {
                samples.push(Metric::Tcp1, path, sample);
                samples.push(Metric::RoundTripMedian, path, sample + 10.0);
            }
        }
        samples
    }

    #[test]
    fn json_has_every_field_a_reader_needs() {
        let report = Report::new(samples(), conditions()).unwrap();

        let json = serde_json::to_value(&report).unwrap();

        assert_eq!(json["rounds"], 3);
        assert_eq!(json["hosts"], 2);
        assert_eq!(json["mtu"], 1376);
        assert_eq!(json["elapsed_s"], 12.5);
        let tcp = &json["metrics"][0];
        assert_eq!(tcp["name"], "tcp_1_stream");
        assert_eq!(tcp["unit"], "Gbit/s");
        assert_eq!(tcp["ours"], 8.0);
        assert_eq!(tcp["vxlan"], 10.0);
        assert_eq!(tcp["plain"], 20.0);
        assert_eq!(tcp["ratio_vxlan"], 0.9);
        assert_eq!(tcp["ratio_plain"], 0.45);
        assert_eq!(tcp["runs"]["ours"], serde_json::json!([9.0, 8.0, 4.5]));
        assert_eq!(tcp.get("added_us_vxlan"), None);
        assert_eq!(json["metrics"][1]["better"], "lower");
        assert_eq!(json["metrics"][1]["added_us_vxlan"], -1.0);
        assert_eq!(json["metrics"][1]["added_us_plain"], -11.0);
    }

    #[test]
    fn the_table_shows_each_path_and_both_ratios() {
        let table = Report::new(samples(), conditions()).unwrap().table();

        let line = table
            .lines()
            .find(|line| line.starts_with("TCP, 1 stream"))
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words[3..],
            [
                "Gbit/s",
                "8.00",
                "10.00",
                "20.00",
                "0.900",
                "(0.85-0.90)",
                "0.450",
                "(0.43-0.45)"
            ]
        );
        assert!(table.contains("-1.0 us"), "{table}");
        assert!(table.lines().all(|line| line.trim_end() == line), "{table}");
    }

    #[test]
    fn a_path_without_samples_gives_no_report() {
        let mut samples = samples();
        samples.push(Metric::UdpPackets, Path::Ours, 1.0);

        assert_eq!(Report::new(samples, conditions()), None);
        assert_eq!(Report::new(Samples::default(), conditions()), None);
    }
}
