//! What was tried, what came of it, and how it is shown.

use serde::Serialize;

/// Something that was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Probe {
    /// From where: `host`, or a pod of it.
    pub(super) from: String,
    /// To whom.
    pub(super) to: String,
    /// How.
    pub(super) by: &'static str,
    /// At which address.
    pub(super) at: String,
    #[serde(flatten)]
    pub(super) found: Found,
    /// What to do about it.
    pub(super) advice: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub(super) enum Found {
    /// It works.
    Ok {
        /// There and back, in milliseconds.
        ms: Option<f64>,
        /// The largest packet that is known to pass, in bytes.
        mtu: Option<u16>,
        /// What else there is to know.
        note: Option<String>,
    },
    /// It works, not as well as it could.
    Slow {
        /// Why.
        why: String,
        /// The largest packet that is known to pass, in bytes.
        mtu: Option<u16>,
    },
    /// It does not work.
    Failed {
        /// In words.
        why: String,
    },
    /// It cannot be told.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl Found {
    fn word(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::Slow { .. } => "slow",
            Self::Failed { .. } => "FAILED",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// Exit status: 1 when something does not work.
pub(super) fn code(probes: &[Probe]) -> u8 {
    let is_failed = |probe: &Probe| matches!(probe.found, Found::Failed { .. });
    u8::from(probes.iter().any(is_failed))
}

/// A table, what to do, and a line that sums it up.
pub(super) fn text(probes: &[Probe]) -> String {
    let clean = |text: &str| -> String {
        let shown = |one: char| {
            if crate::picture::is_unfit(one) {
                '?'
            } else {
                one
            }
        };
        text.chars().map(shown).collect()
    };
    let mut rows =
        vec![["FROM", "TO", "BY", "AT", "RESULT", "TIME", "MTU", "NOTE"].map(str::to_owned)];
    for probe in probes {
        let (ms, mtu, note) = match &probe.found {
            Found::Ok { ms, mtu, note } => (*ms, *mtu, note.clone().unwrap_or_default()),
            Found::Slow { why, mtu } => (None, *mtu, why.clone()),
            Found::Failed { why } | Found::Unknown { why } => (None, None, why.clone()),
        };
        let dash = || "-".to_owned();
        rows.push([
            clean(&probe.from),
            clean(&probe.to),
            probe.by.to_owned(),
            clean(&probe.at),
            probe.found.word().to_owned(),
            ms.map_or_else(dash, |ms| format!("{ms:.2} ms")),
            mtu.map_or_else(dash, |mtu| mtu.to_string()),
            clean(&note),
        ]);
    }
    let mut text = aligned(&rows);
    let mut advice: Vec<&str> = Vec::new();
    for one in probes.iter().filter_map(|probe| probe.advice.as_deref()) {
        if !advice.contains(&one) {
            advice.push(one);
        }
    }
    if !advice.is_empty() {
        text.push_str("\nWhat to do:\n");
        for one in advice {
            text.push_str(&format!("  - {}\n", clean(one)));
        }
    }
    let count = |word| {
        probes
            .iter()
            .filter(|probe| probe.found.word() == word)
            .count()
    };
    text.push_str(&format!(
        "\n{} ok, {} slow, {} failed, {} unknown\n",
        count("ok"),
        count("slow"),
        count("FAILED"),
        count("unknown")
    ));
    text
}

/// Columns as wide as their widest cell, but for the last.
fn aligned(rows: &[[String; 8]]) -> String {
    let mut widths = [0; 8];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The same for programs.
pub(super) fn json(probes: &[Probe]) -> String {
    let text = serde_json::to_string_pretty(probes);
    text.expect("invariant: every key is text") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(to: &str, found: Found, advice: Option<&str>) -> Probe {
        Probe {
            from: "host".to_owned(),
            to: to.to_owned(),
            by: "TCP",
            at: "192.0.2.1:6783".to_owned(),
            found,
            advice: advice.map(str::to_owned),
        }
    }

    fn probes() -> Vec<Probe> {
        let failed = |why: &str| Found::Failed {
            why: why.to_owned(),
        };
        let ok = Found::Ok {
            ms: Some(0.25),
            mtu: Some(1376),
            note: None,
        };
        vec![
            probe("host-2", ok, None),
            probe("a\u{1b}[2J", failed("connection refused"), Some("open it")),
            probe("host-4", failed("connection refused"), Some("open it")),
        ]
    }

    #[test]
    fn the_table_has_results_and_each_advice_once() {
        let text = text(&probes());

        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = [
            "host",
            "host-2",
            "TCP",
            "192.0.2.1:6783",
            "ok",
            "0.25",
            "ms",
            "1376",
        ];
        assert_eq!(words, expected);
        assert_eq!(text.matches("  - open it\n").count(), 1, "{text}");
        assert!(
            text.ends_with("\n1 ok, 0 slow, 2 failed, 0 unknown\n"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_failure_is_status_1() {
        assert_eq!(code(&probes()), 1);
        assert_eq!(code(&probes()[..1]), 0);
        let unknown = Found::Unknown {
            why: "no pod".to_owned(),
        };
        assert_eq!(code(&[probe("x", unknown, None)]), 0);
    }

    #[test]
    fn programs_get_the_result_as_a_field() {
        let read: serde_json::Value = serde_json::from_str(&json(&probes())).unwrap();

        assert_eq!(
            (&read[0]["result"], &read[0]["mtu"]),
            (&"ok".into(), &1376.into())
        );
        assert_eq!(read[1]["why"], "connection refused");
    }
}
