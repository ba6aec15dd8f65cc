//! A strict reader of the text exposition format 0.0.4, for tests: what it takes, a scraper takes.
//!
//! Stricter than the format where pages of ours keep order: every family has its help and its type, in
//! this order, once, directly before its samples; no series comes twice; the last line ends.

use std::collections::{BTreeMap, BTreeSet};

/// A family of a page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    /// Values by name and labels, as written.
    pub(crate) samples: BTreeMap<String, f64>,
    /// The names of all labels.
    pub(crate) labels: BTreeSet<String>,
}

/// The families of `page` by name.
///
/// # Panics
/// The page breaks a rule; the message shows the line.
pub(crate) fn parse(page: &str) -> BTreeMap<String, Family> {
    assert!(
        page.is_empty() || page.ends_with('\n'),
        "the last line does not end"
    );
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut helped = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            assert!(is_name(name) && !help.is_empty(), "{line}");
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(helped.take().as_deref(), Some(name), "{line}");
            assert!(
                ["counter", "gauge", "histogram", "summary"].contains(&kind),
                "{line}"
            );
            let family = Family {
                kind: kind.to_owned(),
                samples: BTreeMap::new(),
                labels: BTreeSet::new(),
            };
            assert_eq!(
                families.insert(name.to_owned(), family),
                None,
                "twice: {line}"
            );
            name.clone_into(&mut current);
        } else {
            assert_eq!(helped, None, "a type is missing before {line}");
            let family = families.get_mut(&current).expect(line);
            sample(&current, family, line);
        }
    }
    families.values().for_each(check_histogram);
    families
}

fn sample(name: &str, family: &mut Family, line: &str) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let value: f64 = match value {
        "+Inf" => f64::INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("no number: {line}")),
    };
    let (base, labels) = series
        .strip_suffix('}')
        .map_or((series, ""), |rest| rest.split_once('{').expect(line));
    let suffix = base
        .strip_prefix(name)
        .unwrap_or_else(|| panic!("alien: {line}"));
    let suffixes: &[&str] = match family.kind.as_str() {
        "histogram" => &["_bucket", "_sum", "_count"],
        "summary" => &["", "_sum", "_count"],
        _ => &[""],
    };
    assert!(suffixes.contains(&suffix), "{line}");
    assert!(family.kind != "counter" || value >= 0.0, "{line}");
    let mut seen = BTreeSet::new();
    for label in labels_of(labels, line) {
        assert!(is_label(&label) && seen.insert(label.clone()), "{line}");
        family.labels.insert(label);
    }
    assert_eq!(
        family.samples.insert(series.to_owned(), value),
        None,
        "twice: {line}"
    );
}

/// The names of labels in `text`, each followed by a value in quotes.
fn labels_of(text: &str, line: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect(line);
        names.push(name.to_owned());
        let mut escaped = false;
        let end = after.find(|next| {
            let is_end = next == '"' && !escaped;
            assert!(!escaped || "\\\"n".contains(next), "bad escape: {line}");
            escaped = next == '\\' && !escaped;
            is_end
        });
        rest = &after[end.expect(line) + 1..];
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').expect(line);
            assert!(!rest.is_empty(), "a comma at the end: {line}");
        }
    }
    names
}

fn check_histogram(family: &Family) {
    if family.kind != "histogram" {
        return;
    }
    let at = |part: &str| {
        let mut all = family.samples.iter();
        all.find(|(series, _)| series.contains(part))
            .map(|(_, value)| *value)
    };
    assert_eq!(at("le=\"+Inf\""), at("_count"), "{family:?}");
    assert!(at("_sum").is_some(), "{family:?}");
}

fn is_name(text: &str) -> bool {
    let is_part = |one: char| one.is_ascii_alphanumeric() || one == '_' || one == ':';
    !text.is_empty()
        && !text.starts_with(|one: char| one.is_ascii_digit())
        && text.chars().all(is_part)
}

fn is_label(text: &str) -> bool {
    is_name(text) && !text.contains(':') && !text.starts_with("__")
}
