//! Label selectors: which pods or namespaces a policy, a rule or a peer speaks of.
//!
//! Invariant: a [`Selector`] is kept in one canonical form (requirements sorted, values sorted and
//! unique), so two selectors that are written differently but ask for the same requirements are
//! equal. Equality is of structure, never of concatenated text: `x=1` with `2y=3` and `x=12` with
//! `y=3` stay different.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::Labels;

/// A conjunction of [`Requirement`]s. The empty selector matches everything.
///
/// The text form is that of `kubectl -l`: `app=web,tier in (a,b),!legacy`.
///
/// ```
/// use weave_npc::{Labels, Selector};
///
/// let selector: Selector = "app=web,env notin (dev)".parse()?;
/// let labels: Labels = [("app", "web")].into_iter().collect();
/// assert!(selector.matches(&labels), "an absent key satisfies `notin`");
/// # Ok::<(), weave_npc::ParseSelectorError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    requirements: BTreeSet<Requirement>,
}

/// One condition on one key (Kubernetes `LabelSelectorRequirement`; `matchLabels` entries are
/// [`Requirement::In`] with one value).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// The key is present and its value is one of the set.
    In(String, BTreeSet<String>),
    /// The key is absent, or its value is none of the set.
    NotIn(String, BTreeSet<String>),
    /// The key is present.
    Exists(String),
    /// The key is absent.
    DoesNotExist(String),
}

impl Selector {
    /// The selector that matches every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Adds a condition; the result asks for all of them.
    #[must_use]
    pub fn and(mut self, requirement: Requirement) -> Self {
        self.requirements.insert(requirement);
        self
    }

    /// True if `labels` satisfies every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(labels))
    }

    /// True if there is no requirement.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements in canonical order.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter()
    }
}

impl FromIterator<Requirement> for Selector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        Self {
            requirements: requirements.into_iter().collect(),
        }
    }
}

impl Requirement {
    /// The key it speaks of.
    pub fn key(&self) -> &str {
        match self {
            Self::In(key, _)
            | Self::NotIn(key, _)
            | Self::Exists(key)
            | Self::DoesNotExist(key) => key,
        }
    }

    /// True if `labels` satisfies this condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels
                .value(key)
                .is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels
                .value(key)
                .is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.value(key).is_some(),
            Self::DoesNotExist(key) => labels.value(key).is_none(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| {
            values
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(",")
        };
        match self {
            Self::In(key, values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Self::In(key, values) => write!(f, "{key} in ({})", list(values)),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", list(values)),
            Self::Exists(key) => write!(f, "{key}"),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
        }
    }
}

/// Text that is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSelectorError {
    /// A key is empty or holds a character that no label key may hold.
    #[error("label key {0:?} is not valid: letters, digits, '-', '_', '.' and one '/' are")]
    Key(String),
    /// A value holds a character that no label value may hold.
    #[error("label value {0:?} is not valid: letters, digits, '-', '_' and '.' are")]
    Value(String),
    /// A value list has no closing parenthesis, or text follows it.
    #[error("value list {0:?} must look like (a,b)")]
    List(String),
    /// Neither `k`, `!k`, `k=v`, `k!=v`, `k in (..)` nor `k notin (..)`.
    #[error("cannot read {0:?}: write k, !k, k=v, k!=v, 'k in (a,b)' or 'k notin (a,b)'")]
    Form(String),
}

impl FromStr for Selector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self::everything());
        }
        split_outside_parentheses(text).map(str::parse).collect()
    }
}

impl FromStr for Requirement {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some(key) = text.strip_prefix('!') {
            return Ok(Self::DoesNotExist(parse_key(key)?));
        }
        if let Some((key, value)) = text.split_once("!=") {
            return Ok(Self::NotIn(
                parse_key(key)?,
                BTreeSet::from([parse_value(value)?]),
            ));
        }
        if let Some((key, value)) = text.split_once('=') {
            let value = value.strip_prefix('=').unwrap_or(value);
            return Ok(Self::In(
                parse_key(key)?,
                BTreeSet::from([parse_value(value)?]),
            ));
        }
        let Some((key, rest)) = text.split_once(char::is_whitespace) else {
            return Ok(Self::Exists(parse_key(text)?));
        };
        let rest = rest.trim_start();
        if let Some(list) = rest.strip_prefix("notin") {
            return Ok(Self::NotIn(parse_key(key)?, parse_list(list)?));
        }
        if let Some(list) = rest.strip_prefix("in") {
            return Ok(Self::In(parse_key(key)?, parse_list(list)?));
        }
        Err(ParseSelectorError::Form(text.to_owned()))
    }
}

fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
}

fn parse_list(text: &str) -> Result<BTreeSet<String>, ParseSelectorError> {
    text.trim()
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| ParseSelectorError::List(text.trim().to_owned()))?
        .split(',')
        .map(parse_value)
        .collect()
}

fn parse_key(text: &str) -> Result<String, ParseSelectorError> {
    let text = text.trim();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if text.is_empty() || !text.chars().all(is_allowed) || text.matches('/').count() > 1 {
        return Err(ParseSelectorError::Key(text.to_owned()));
    }
    Ok(text.to_owned())
}

fn parse_value(text: &str) -> Result<String, ParseSelectorError> {
    let text = text.trim();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.chars().all(is_allowed) {
        return Err(ParseSelectorError::Value(text.to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> Selector {
        text.parse().unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn empty_selector_matches_everything() {
        assert!(selector("").matches(&labels(&[])));
        assert!(selector(" ").is_everything());
    }

    #[test]
    fn every_operator_treats_an_absent_key_as_kubernetes_does() {
        let none = labels(&[]);

        assert!(!selector("a=1").matches(&none));
        assert!(!selector("a in (1,2)").matches(&none));
        assert!(!selector("a").matches(&none));
        assert!(selector("a notin (1)").matches(&none));
        assert!(selector("a!=1").matches(&none));
        assert!(selector("!a").matches(&none));
    }

    #[test]
    fn every_operator_looks_at_the_value_of_a_present_key() {
        let one = labels(&[("a", "1")]);

        assert!(selector("a=1").matches(&one));
        assert!(selector("a==1").matches(&one));
        assert!(selector("a in (1,2)").matches(&one));
        assert!(selector("a").matches(&one));
        assert!(!selector("a notin (1)").matches(&one));
        assert!(!selector("a!=1").matches(&one));
        assert!(!selector("!a").matches(&one));
        assert!(!selector("a=1,a=2").matches(&one));
    }

    #[test]
    fn order_and_repetition_do_not_make_a_different_selector() {
        assert_eq!(selector("b,a in (2,1,2)"), selector("a in (1,2),b,b"));
    }

    #[test]
    fn selectors_with_the_same_concatenated_text_stay_different() {
        assert_ne!(selector("x=1,2y=3"), selector("x=12,y=3"));
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let error = |text: &str| text.parse::<Selector>().unwrap_err();

        assert!(matches!(error("a in (1"), ParseSelectorError::List(_)));
        assert!(matches!(error("a b c"), ParseSelectorError::Form(_)));
        assert!(matches!(error("=1"), ParseSelectorError::Key(_)));
        assert!(matches!(error("a=ü"), ParseSelectorError::Value(_)));
        assert!(matches!(error("a,,b"), ParseSelectorError::Key(_)));
    }
}
