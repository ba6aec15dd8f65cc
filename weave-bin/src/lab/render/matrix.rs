//! Round-trip times of all pairs as a table.
//!
//! Up to [`MAX_COLUMNS`] pods every pair has a cell; above that a cell is the median of all pairs
//! between two hosts. A pair that did not answer always shows, also within a median.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::lab::stats::median;

/// What one probe of a pair found: the round trip in milliseconds, or `None` without an answer.
pub(crate) type Cell = Option<f64>;

/// A pod by host and number.
pub(crate) type Pod = (usize, usize);

/// Draws the table of `pairs`; rows ping columns.
pub(crate) fn draw(pods: &[Pod], pairs: &BTreeMap<(Pod, Pod), Cell>) -> String {
    if pods.len() <= MAX_COLUMNS {
        return pod_table(pods, pairs);
    }
    host_table(pods, pairs)
}

fn pod_table(pods: &[Pod], pairs: &BTreeMap<(Pod, Pod), Cell>) -> String {
    let labels: Vec<String> = pods
        .iter()
        .map(|(host, pod)| format!("{host}/{pod}"))
        .collect();
    let mut text = "round trip in ms, row to column\n".to_owned();
    table(&mut text, &labels, |row, column| {
        if row == column {
            return "-".to_owned();
        }
        match pairs.get(&(pods[row], pods[column])) {
            None => String::new(),
            Some(None) => "FAIL".to_owned(),
            Some(Some(rtt)) => format!("{rtt:.3}"),
        }
    });
    text
}

fn host_table(pods: &[Pod], pairs: &BTreeMap<(Pod, Pod), Cell>) -> String {
    let mut hosts: Vec<usize> = pods.iter().map(|(host, _)| *host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut between: BTreeMap<(usize, usize), Vec<Cell>> = BTreeMap::new();
    for (((from, _), (to, _)), cell) in pairs {
        between.entry((*from, *to)).or_default().push(*cell);
    }
    let labels: Vec<String> = hosts.iter().map(usize::to_string).collect();
    let mut text =
        "median round trip in ms between the pods of two hosts, row to column\n".to_owned();
    table(&mut text, &labels, |row, column| {
        let Some(cells) = between.get(&(hosts[row], hosts[column])) else {
            return "-".to_owned();
        };
        let failed = cells.iter().filter(|cell| cell.is_none()).count();
        let rtts: Vec<f64> = cells.iter().copied().flatten().collect();
        match median(&rtts) {
            Some(rtt) if failed == 0 => format!("{rtt:.3}"),
            _ => format!("FAIL {failed}/{}", cells.len()),
        }
    });
    text
}

fn table(text: &mut String, labels: &[String], cell: impl Fn(usize, usize) -> String) {
    let cells: Vec<Vec<String>> = (0..labels.len())
        .map(|row| (0..labels.len()).map(|column| cell(row, column)).collect())
        .collect();
    let head = labels.iter().map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..labels.len())
        .map(|column| {
            let widest = cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
            widest.max(labels[column].len())
        })
        .collect();
    let row = |text: &mut String, first: &str, cells: &[String]| {
        // Writing to a string cannot fail.
        let _ = write!(text, "  {first:head$}");
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    };
    row(text, "", labels);
    for (label, cells) in labels.iter().zip(&cells) {
        row(text, label, cells);
    }
}

/// Columns that fit a terminal.
const MAX_COLUMNS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pods_have_a_cell_a_pair() {
        let pods = [(1, 1), (1, 2), (2, 1)];
        let pairs = BTreeMap::from([
            (((1, 1), (1, 2)), Some(0.0214)),
            (((1, 1), (2, 1)), Some(0.1)),
            (((1, 2), (1, 1)), Some(12.5)),
            (((1, 2), (2, 1)), None),
            (((2, 1), (1, 1)), Some(0.0999)),
        ]);

        assert_eq!(
            draw(&pods, &pairs),
            "round trip in ms, row to column\n\
             \x20         1/1    1/2    2/1\n\
             \x20 1/1       -  0.021  0.100\n\
             \x20 1/2  12.500      -   FAIL\n\
             \x20 2/1   0.100             -\n"
        );
    }

    #[test]
    fn many_pods_are_summed_up_by_host() {
        let pods: Vec<Pod> = (1..=2)
            .flat_map(|host| (1..=7).map(move |pod| (host, pod)))
            .collect();
        let mut pairs: BTreeMap<(Pod, Pod), Cell> = BTreeMap::new();
        for from in &pods {
            for to in pods.iter().filter(|to| *to != from) {
                pairs.insert((*from, *to), Some(if from.0 == to.0 { 0.02 } else { 0.06 }));
            }
        }
        pairs.insert(((2, 3), (1, 1)), None);

        assert_eq!(
            draw(&pods, &pairs),
            "median round trip in ms between the pods of two hosts, row to column\n\
             \x20            1      2\n\
             \x20 1      0.020  0.060\n\
             \x20 2  FAIL 1/49  0.020\n"
        );
    }

    #[test]
    fn a_host_with_one_pod_has_no_pair_with_itself() {
        let pods: Vec<Pod> = (1..=13).map(|host| (host, 1)).collect();

        assert!(draw(&pods, &BTreeMap::new()).contains("  1   -"));
    }
}
