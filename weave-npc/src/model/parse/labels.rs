//! Labels, selectors and names, with the syntax rules of the API server.

use std::collections::{BTreeMap, BTreeSet};

use super::super::raw::{LabelSelector, LabelSelectorRequirement};
use super::{At, Problem};
use crate::{Labels, Requirement, Selector};

/// Longest name part of a label key, and longest label value (Kubernetes label syntax).
const LONGEST_LABEL: usize = 63;
/// Longest prefix of a label key: a DNS subdomain.
const LONGEST_PREFIX: usize = 253;
/// Longest port name (IANA service name).
const LONGEST_PORT_NAME: usize = 15;

/// Labels of an object. The server has checked those of stored objects; a value that breaks the
/// syntax can only fail to match.
pub(super) fn labels(raw: Option<&BTreeMap<String, String>>) -> Labels {
    raw.into_iter().flatten().collect()
}

/// A selector; absent means empty, which matches everything.
pub(super) fn selector(raw: Option<&LabelSelector>, at: At<'_>) -> Result<Selector, Problem> {
    let Some(raw) = raw else {
        return Ok(Selector::everything());
    };
    let mut selector = Selector::everything();
    for (key, value) in raw.match_labels.iter().flatten() {
        let at = at.field("matchLabels");
        check_key(key, at)?;
        check_value(value, at.field(key))?;
        selector = selector.and(Requirement::In(
            key.clone(),
            BTreeSet::from([value.clone()]),
        ));
    }
    for (index, raw) in raw.match_expressions.iter().flatten().enumerate() {
        let at = at.field("matchExpressions");
        selector = selector.and(requirement(raw, at.index(index))?);
    }
    Ok(selector)
}

fn requirement(raw: &LabelSelectorRequirement, at: At<'_>) -> Result<Requirement, Problem> {
    let key = raw.key.clone();
    check_key(&key, at.field("key"))?;
    let values: BTreeSet<String> = raw.values.iter().flatten().cloned().collect();
    let needs_values = match raw.operator.as_str() {
        "In" | "NotIn" => true,
        "Exists" | "DoesNotExist" => false,
        other => {
            let reason = format!("is {other:?}: write In, NotIn, Exists or DoesNotExist");
            return Err(at.field("operator").wrong(reason));
        }
    };
    if needs_values == values.is_empty() {
        let reason = if needs_values {
            "must hold a value for In and NotIn"
        } else {
            "must be empty for Exists and DoesNotExist"
        };
        return Err(at.field("values").wrong(reason));
    }
    for (index, value) in raw.values.iter().flatten().enumerate() {
        check_value(value, at.field("values").index(index))?;
    }
    Ok(match raw.operator.as_str() {
        "In" => Requirement::In(key, values),
        "NotIn" => Requirement::NotIn(key, values),
        "Exists" => Requirement::Exists(key),
        _ => Requirement::DoesNotExist(key),
    })
}

/// The name of a port in a policy.
pub(super) fn check_port_name(name: &str, at: At<'_>) -> Result<(), Problem> {
    let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_fine = !name.is_empty()
        && name.len() <= LONGEST_PORT_NAME
        && name.bytes().all(is_allowed)
        && name.bytes().any(|c| c.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if is_fine {
        return Ok(());
    }
    Err(at.wrong(format!(
        "{name:?} is not a port name: at most 15 of a-z, 0-9 and single '-' inside, with a letter"
    )))
}

fn check_key(key: &str, at: At<'_>) -> Result<(), Problem> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_fine = is_label_text(name)
        && !name.is_empty()
        && prefix.is_none_or(|p| !p.is_empty() && p.len() <= LONGEST_PREFIX && is_subdomain(p));
    if is_fine {
        return Ok(());
    }
    Err(at.wrong(format!("{key:?} is not a label key")))
}

fn check_value(value: &str, at: At<'_>) -> Result<(), Problem> {
    if is_label_text(value) {
        return Ok(());
    }
    Err(at.wrong(format!("{value:?} is not a label value")))
}

/// Up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; or empty.
fn is_label_text(text: &str) -> bool {
    let is_end = |c: Option<u8>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= LONGEST_LABEL
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
        && is_end(text.bytes().next())
        && is_end(text.bytes().last())
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|part| {
        let is_end =
            |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        part.bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && is_end(part.bytes().next())
            && is_end(part.bytes().last())
    })
}
