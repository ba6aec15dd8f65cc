//! What `weave lab mesh` found, as text and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::lab::once::Finding;

/// The figures of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// Daemons.
    pub(super) hosts: usize,
    /// Whether connections are encrypted.
    pub(super) encrypted: bool,
    /// Seconds it took to start all daemons.
    pub(super) starting_s: f64,
    /// Seconds from the start of the first daemon until each was connected to all others.
    pub(super) connected_s: Option<f64>,
    /// Bytes on the cables until then, headers included.
    pub(super) forming_bytes: u64,
    /// Established connections at the end, each counted once.
    pub(super) connections: usize,
    /// Bytes on the cables at rest, all hosts together.
    pub(super) bytes_per_minute: f64,
    /// Processor seconds a minute of the daemon in the middle.
    pub(super) cpu_median_s_per_minute: f64,
    /// Processor seconds a minute of the busiest daemon.
    pub(super) cpu_max_s_per_minute: f64,
    /// Resident memory of the daemon in the middle.
    pub(super) rss_median_mib: f64,
    /// Resident memory of the largest daemon.
    pub(super) rss_max_mib: f64,
    /// Seconds the whole command took.
    pub(super) elapsed_s: f64,
}

impl Finding for Outcome {
    /// Whether all were connected, and still were at the end.
    fn passed(&self) -> bool {
        self.connected_s.is_some() && self.connections == self.pairs()
    }

    /// One line of JSON.
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("invariant: plain numbers serialise")
    }

    /// Lines for people.
    fn text(&self) -> String {
        let mut text = String::new();
        let sealed = if self.encrypted { ", encrypted" } else { "" };
        let (hosts, pairs) = (self.hosts, self.pairs());
        let mut line = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        let Some(connected) = self.connected_s else {
            line(format!(
                "{hosts} daemons{sealed}: not all connected in time"
            ));
            line(format!(
                "  on the cables   {}",
                size(self.forming_bytes_real())
            ));
            return text;
        };
        line(format!(
            "{hosts} daemons{sealed}, {} of {pairs} connections established",
            self.connections
        ));
        line(format!(
            "  all connected   {connected:.1} s after the first start (starting took {:.1} s)",
            self.starting_s
        ));
        line(format!(
            "  on the cables   {} while forming, {} a minute at rest, all together",
            size(self.forming_bytes_real()),
            size(self.bytes_per_minute)
        ));
        line(format!(
            "  processor       {:.3} s a minute in the middle, {:.3} s at most, each",
            self.cpu_median_s_per_minute, self.cpu_max_s_per_minute
        ));
        line(format!(
            "  memory          {:.1} MiB in the middle, {:.1} MiB at most, each",
            self.rss_median_mib, self.rss_max_mib
        ));
        text
    }
}

impl Outcome {
    fn pairs(&self) -> usize {
        self.hosts * self.hosts.saturating_sub(1) / 2
    }

    fn forming_bytes_real(&self) -> f64 {
        super::measure::real(self.forming_bytes)
    }
}

/// The value in the middle and the largest; zeros if there is none.
pub(super) fn spread(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied();
    (
        middle.unwrap_or_default(),
        values.last().copied().unwrap_or_default(),
    )
}

fn size(bytes: f64) -> String {
    if bytes < 1e6 {
        format!("{:.1} kB", bytes / 1e3)
    } else {
        format!("{:.1} MB", bytes / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_passes_only_with_every_connection() {
        let mut outcome = Outcome {
            hosts: 4,
            connected_s: Some(1.0),
            connections: 6,
            ..Outcome::default()
        };

        assert!(outcome.passed());
        assert!(outcome.text().contains("6 of 6 connections"));
        outcome.connections = 5;
        assert!(!outcome.passed());
        outcome.connected_s = None;
        assert!(outcome.text().contains("not all connected"));
        assert!(outcome.to_json().contains("\"connected_s\":null"));
    }

    #[test]
    fn the_middle_is_not_the_mean() {
        assert_eq!(spread(vec![9.0, 1.0, 2.0]), (2.0, 9.0));
        assert_eq!(spread(Vec::new()), (0.0, 0.0));
    }
}
