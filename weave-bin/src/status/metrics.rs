//! The report as metrics, in the text exposition format 0.0.4.
//!
//! Names, help texts and the spelling of numbers are Weave Net's, because alert rules and
//! dashboards go by them. A family is only there when the thing it measures is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::model::{Ipam, Report};
use super::{dns, traffic};
use crate::pods::Counts;

/// The kind of answer this is, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every family there is a value for.
pub fn page(report: &Report) -> String {
    let mut page = String::new();
    traffic::connections(&mut page, &report.router);
    addresses(&mut page, report.ipam.as_ref(), report.ipam6.as_ref());
    if let Some(names) = &report.dns {
        dns::measures(&mut page, names, &report.router.name);
    }
    if let Some(pods) = &report.pods {
        given_back(&mut page, pods);
    }
    traffic::overlays(&mut page, &report.router);
    page
}

/// The second family has the label `family="ipv6"`, the first is as ever.
fn addresses(page: &mut String, first: Option<&Ipam>, second: Option<&Ipam>) {
    let (first, second) = (first.map(gauges), second.map(gauges));
    for (index, (name, help, labels)) in GAUGES.iter().enumerate() {
        let Some(value) = first.map(|values| values[index]) else {
            continue;
        };
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
        let braced = |labels: &[&str]| match labels.join(",") {
            none if none.is_empty() => none,
            some => format!("{{{some}}}"),
        };
        let _ = writeln!(page, "{name}{} {}", braced(labels), number(value));
        if let Some(value) = second.map(|values| values[index]) {
            let labels = braced(&[labels, &["family=\"ipv6\""][..]].concat());
            let _ = writeln!(page, "{name}{labels} {}", number(value));
        }
    }
}

/// The values of [`GAUGES`].
#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating point numbers"
)]
fn gauges(ipam: &Ipam) -> [f64; 6] {
    let unreachable = || ipam.entries.iter().filter(|entry| !entry.is_known_peer);
    let owners: BTreeSet<&str> = unreachable().map(|entry| entry.peer.as_str()).collect();
    let lost: u128 = unreachable().map(|entry| entry.size).sum();
    [
        ipam.pending_allocates.len() as f64,
        ipam.pending_claims.len() as f64,
        owners.len() as f64,
        lost as f64 / ipam.range_num_ips.max(1) as f64 * 100.0,
        ipam.active_ips as f64,
        ipam.range_num_ips as f64,
    ]
}

/// Name, help and labels of what is said of each family.
const GAUGES: [(&str, &str, &[&str]); 6] = [
    (
        "weave_ipam_pending_allocates",
        "Number of pending allocates.",
        &[],
    ),
    (
        "weave_ipam_pending_claims",
        "Number of pending claims.",
        &[],
    ),
    (
        "weave_ipam_unreachable_count",
        "Number of unreachable peers.",
        &[],
    ),
    (
        "weave_ipam_unreachable_percentage",
        "Percentage of IP addresses owned  by unreachable peers.",
        &[],
    ),
    (
        "weave_ips",
        "Number of IP addresses.",
        &["state=\"local-used\""],
    ),
    (
        "weave_max_ips",
        "Size of IP address space used by allocator.",
        &[],
    ),
];

/// Weave Net has no such family: there a leak lasts until somebody looks.
fn given_back(page: &mut String, pods: &Counts) {
    let name = "weave_ips_given_back_total";
    let help = "Number of containers whose IP addresses were freed without a DEL in time.";
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter");
    for (reason, count) in [
        ("leaked", pods.leaked),
        ("replayed", pods.replayed),
        ("unlisted", pods.collected),
    ] {
        let _ = writeln!(page, "{name}{{reason=\"{reason}\"}} {count}");
    }
}

/// A number with as many digits as it needs, and an exponent of two digits or more from a million
/// up and below a ten thousandth.
fn number(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent >= 6 => format!("{digits}e+{exponent:02}"),
        Ok(exponent) if exponent < -4 => format!("{digits}e-{:02}", exponent.abs()),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_spelled_as_dashboards_know_them() {
        for (value, text) in [
            (0.0, "0"),
            (5.0, "5"),
            (524_288.0, "524288"),
            (1_048_576.0, "1.048576e+06"),
            (49.999_904_632_568_36, "49.99990463256836"),
            (0.000_02, "2e-05"),
            (1.0e100, "1e+100"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
