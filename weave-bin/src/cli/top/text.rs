//! The table as lines.

use std::fmt::Write as _;

use super::model::{Row, Top, Traffic};

/// How large the paper is, in characters; `None` is without end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Paper {
    pub(super) columns: Option<usize>,
    pub(super) rows: Option<usize>,
}

/// The table on `paper`; peers that have no room are counted.
pub(super) fn table(top: &Top, paper: Paper) -> String {
    let mut lines = node(top);
    lines.push(String::new());
    lines.push(heading());
    // One line says how many are left out, and the last one of the terminal stays empty.
    let room = paper.rows.map(|rows| rows.saturating_sub(lines.len() + 2));
    let shown = room.map_or(top.peers.len(), |room| room.min(top.peers.len()));
    lines.extend(top.peers.iter().take(shown).map(row));
    let hidden = top.peers.len() - shown;
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    // A terminal that is too low for all of it would scroll.
    lines.truncate(paper.rows.map_or(usize::MAX, |rows| rows.saturating_sub(1)));
    let mut text = String::new();
    for line in lines {
        let cut = fitting(&line, paper.columns);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", cut.trim_end());
    }
    text
}

fn node(top: &Top) -> Vec<String> {
    let node = &top.node;
    let addresses: Vec<String> = node
        .addresses
        .iter()
        .map(|(range, used)| format!("{used} of {range}"))
        .collect();
    let mut lines = vec![
        format!(
            "{} {}  weave {}",
            clean(&node.nickname),
            node.name,
            node.version
        ),
        format!(
            "{:<16} {} of {} up, {} peers, {} MACs; addresses {}",
            "Connections",
            node.established,
            node.connections,
            node.peers,
            node.macs,
            if addresses.is_empty() {
                "-".to_owned()
            } else {
                addresses.join(", ")
            }
        ),
    ];
    for (name, traffic) in &node.devices {
        lines.push(device(name, traffic));
    }
    for (channel, gossip) in &node.gossip {
        let (received, sent) = (bytes(gossip.received), bytes(gossip.sent));
        lines.push(format!(
            "{:<16} in {received:>10}  out {sent:>10}  gossip",
            clean(channel)
        ));
    }
    let (dropped, frames): (Vec<_>, Vec<_>) = node
        .frames
        .iter()
        .partition(|(what, _)| what.starts_with("drop_"));
    for (label, list) in [("Frames", frames), ("Dropped", dropped)] {
        let list: Vec<String> = list
            .iter()
            .map(|(what, rate)| {
                format!(
                    "{} {}/s",
                    what.trim_start_matches("drop_"),
                    count(Some(**rate))
                )
            })
            .collect();
        if !list.is_empty() {
            lines.push(format!("{label:<16} {}", list.join(", ")));
        }
    }
    lines
}

fn device(name: &str, traffic: &Traffic) -> String {
    let mut line = format!(
        "{name:<16} in {:>10} {:>7} f/s  out {:>10} {:>7} f/s",
        bytes(traffic.bytes_received),
        count(traffic.frames_received),
        bytes(traffic.bytes_sent),
        count(traffic.frames_sent),
    );
    if traffic.dropped.is_some_and(|dropped| dropped > 0.0) {
        let _ = write!(line, "  dropped {}/s", count(traffic.dropped));
    }
    line
}

fn heading() -> String {
    columns(
        [
            "PEER", "ADDRESS", "STATE", "OVERLAY", "PING", "MTU", "MACS", "CHANGED",
        ],
        "WHY",
    )
}

fn row(row: &Row) -> String {
    let overlay = row.overlay.as_deref().unwrap_or("-");
    let lock = if row.encrypted { "+" } else { "" };
    let ping = row
        .ping_ms
        .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2} ms"));
    columns(
        [
            &clean(&row.peer),
            &clean(&row.address),
            &row.state,
            &format!("{overlay}{lock}"),
            &ping,
            &row.mtu
                .map_or_else(|| "-".to_owned(), |mtu| mtu.to_string()),
            &row.macs.to_string(),
            &row.switched.to_string(),
        ],
        &clean(row.why.as_deref().unwrap_or("")),
    )
}

fn columns(cells: [&str; 8], last: &str) -> String {
    let [peer, address, state, overlay, ping, mtu, macs, changed] = cells;
    format!(
        "{:<16} {:<21} {state:<11} {overlay:<8} {ping:>9} {mtu:>5} {macs:>4} {changed:>7} {last}",
        fitting(peer, Some(16)),
        fitting(address, Some(21)),
    )
}

/// A text of peers without what would move the cursor or turn the line.
fn clean(text: &str) -> String {
    let shown = |one: char| {
        if crate::picture::is_unfit(one) {
            '?'
        } else {
            one
        }
    };
    text.chars().map(shown).collect()
}

fn fitting(text: &str, most: Option<usize>) -> String {
    match most {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

/// Bytes a second.
fn bytes(rate: Option<f64>) -> String {
    scaled(rate, 1000.0, &["B/s", "kB/s", "MB/s", "GB/s"], " ")
}

/// Things a second.
fn count(rate: Option<f64>) -> String {
    scaled(rate, 1000.0, &["", "k", "M", "G"], "")
}

fn scaled(rate: Option<f64>, step: f64, units: &[&str], gap: &str) -> String {
    let Some(mut rate) = rate else {
        return "-".to_owned();
    };
    let mut units = units.iter().peekable();
    let mut unit = units.next().copied().unwrap_or_default();
    while rate >= step
        && let Some(next) = units.next()
    {
        rate /= step;
        unit = next;
    }
    let digits = usize::from(rate < 100.0 && rate.fract() != 0.0);
    format!("{rate:.digits$}{gap}{unit}")
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::sample;
    use super::*;

    fn top() -> Top {
        let mut after = sample(2, "07-password-host0");
        after.report.router.peers[0].nick_name = "bad\u{1b}[2Jname".to_owned();
        Top::between(&sample(1, "07-password-host0"), &after)
    }

    #[test]
    fn a_row_has_state_overlay_and_reason() {
        let text = table(&top(), Paper::default());

        let line = text
            .lines()
            .find(|line| line.starts_with("host-1"))
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words[2..],
            ["established", "sleeve+", "-", "1414", "0", "0"]
        );
        let failed = text
            .lines()
            .find(|line| line.starts_with("192.168.77.3"))
            .unwrap();
        assert!(failed.ends_with("+0000 UTC m=+13.019470502"), "{failed}");
        assert!(text.contains("Connections      1 of 3 up"), "{text}");
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let lines = node(&top()).len() + 2;
        let paper = Paper {
            columns: Some(40),
            rows: Some(lines + 3),
        };

        let text = table(&top(), paper);

        assert!(text.ends_with("and 2 more\n"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
        assert_eq!(text.lines().count(), lines + 2);
        let low = Paper {
            columns: None,
            rows: Some(4),
        };
        assert_eq!(table(&top(), low).lines().count(), 3);
    }

    #[test]
    fn names_of_peers_move_no_cursor() {
        let text = table(&top(), Paper::default());

        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn rates_have_units() {
        for (rate, text) in [
            (None, "-"),
            (Some(0.0), "0 B/s"),
            (Some(1.5), "1.5 B/s"),
            (Some(999.0), "999 B/s"),
            (Some(12_345.0), "12.3 kB/s"),
            (Some(1.5e12), "1500 GB/s"),
        ] {
            assert_eq!(bytes(rate), text);
        }
        assert_eq!(count(Some(1_000_000.0)), "1M");
    }
}
