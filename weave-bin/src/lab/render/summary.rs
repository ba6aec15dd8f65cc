//! The lines under the table and the picture: counts, times and the verdict.

use std::fmt::Write as _;

use crate::lab::outcome::Outcome;
use crate::lab::stats::Percentiles;

/// The summary of `outcome`, ending with one line that says pass or fail.
pub(crate) fn draw(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:<13} {value}");
    };
    line(
        "pods",
        format!(
            "{} of {} pairs reach each other",
            outcome.reachable, outcome.pairs
        ),
    );
    line(
        "hosts",
        format!(
            "{} of {} host-pod pairs",
            outcome.host_reachable, outcome.host_pairs
        ),
    );
    if let Some(families) = &outcome.families {
        line(
            "IPv6",
            format!(
                "{} of {} pairs reach each other",
                families.reachable, families.pairs
            ),
        );
        line(
            "TCP",
            format!(
                "{} of {} connections over both families",
                families.tcp_reachable, families.tcp_pairs
            ),
        );
    }
    line("broadcast", verdict(outcome.broadcast_ok).to_owned());
    line("multicast", verdict(outcome.multicast_ok).to_owned());
    line("connections", connections(outcome));
    line(
        "addresses",
        format!("{} duplicate", outcome.duplicate_addresses),
    );
    line(
        "rings",
        if outcome.rings_equal {
            "equal"
        } else {
            "DIFFER"
        }
        .to_owned(),
    );
    if let Some(times) = outcome.cni_add_ms {
        let calls = outcome.cni_adds;
        line(
            "CNI ADD",
            format!(
                "p50 {:.1} ms, p99 {:.1} ms ({calls} calls)",
                times.p50, times.p99
            ),
        );
    }
    let rtts = [
        ("same host", outcome.rtt_same_host_ms),
        ("across hosts", outcome.rtt_cross_host_ms),
    ];
    for (label, rtt) in rtts {
        if let Some(Percentiles { p50, p99 }) = rtt {
            line(
                label,
                format!("round trip p50 {p50:.3} ms, p99 {p99:.3} ms"),
            );
        }
    }
    if let Some(kib) = outcome.daemon_rss_kib {
        line(
            "memory",
            format!(
                "{}.{} MiB in the largest daemon",
                kib / 1024,
                kib % 1024 * 10 / 1024
            ),
        );
    }
    let settled = outcome.settled_s;
    line(
        "time",
        format!(
            "{:.1} s, all answers after {settled:.2} s",
            outcome.elapsed_s
        ),
    );
    for failure in outcome.failed.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "  {} to {}: {}",
            failure.from, failure.to, failure.why
        );
    }
    if outcome.failed.len() > SHOWN {
        let _ = writeln!(text, "  and {} more", outcome.failed.len() - SHOWN);
    }
    for fault in outcome
        .cast_faults
        .iter()
        .chain(&outcome.duplicates)
        .take(SHOWN)
    {
        let _ = writeln!(text, "  {fault}");
    }
    let trouble = outcome.trouble();
    if trouble.is_empty() {
        text.push_str("PASS\n");
    } else {
        let _ = writeln!(text, "FAIL: {}", trouble.join("; "));
    }
    text
}

fn verdict(ok: bool) -> &'static str {
    if ok { "ok" } else { "FAILED" }
}

fn connections(outcome: &Outcome) -> String {
    let all = outcome.connections.len();
    let up = outcome
        .connections
        .iter()
        .filter(|connection| connection.established)
        .count();
    let mut overlays: Vec<&str> = outcome
        .connections
        .iter()
        .map(|connection| connection.overlay.as_str())
        .collect();
    overlays.sort_unstable();
    overlays.dedup();
    let over = if overlays.is_empty() {
        String::new()
    } else {
        format!(", {}", overlays.join(" and "))
    };
    format!("{up} of {all} established{over}")
}

/// Failures listed one by one.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::outcome::{Failure, tests::good};

    #[test]
    fn a_good_run_ends_with_pass() {
        assert_eq!(
            draw(&good()),
            "pods          30 of 30 pairs reach each other\n\
             hosts         36 of 36 host-pod pairs\n\
             broadcast     ok\n\
             multicast     ok\n\
             connections   1 of 1 established, fastdp\n\
             addresses     0 duplicate\n\
             rings         equal\n\
             CNI ADD       p50 9.2 ms, p99 14.0 ms (6 calls)\n\
             same host     round trip p50 0.020 ms, p99 0.030 ms\n\
             across hosts  round trip p50 0.050 ms, p99 0.080 ms\n\
             memory        9.0 MiB in the largest daemon\n\
             time          3.5 s, all answers after 0.25 s\n\
             PASS\n"
        );
    }

    #[test]
    fn a_bad_run_says_which_pairs_and_what() {
        let failure = Failure {
            from: "1/1".to_owned(),
            to: "2/1".to_owned(),
            why: "no answer to ARP".to_owned(),
        };
        let outcome = Outcome {
            reachable: 9,
            failed: vec![failure; 21],
            rings_equal: false,
            ..good()
        };

        let text = draw(&outcome);

        assert!(text.contains("  1/1 to 2/1: no answer to ARP\n"));
        assert!(text.contains("  and 1 more\n"));
        assert!(text.ends_with("FAIL: 21 of 30 pairs of pods; rings differ\n"));
    }
}
