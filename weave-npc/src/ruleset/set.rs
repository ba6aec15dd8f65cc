//! Sets, maps and verdict maps.
//!
//! Invariant: elements are kept in order of their keys, so equal contents make equal sets whatever
//! the order of insertion. Types and overlaps are judged by [`Ruleset::check`](super::Ruleset::check).

use std::collections::BTreeMap;
use std::time::Duration;

use super::name::{Comment, Name};
use super::value::{Key, Span, Type, Value};

/// A named or anonymous set, map or verdict map.
///
/// The fields are open: whoever builds a ruleset changes `elements` in place.
///
/// ```
/// use weave_npc::ruleset::{Key, Set, Type, Value};
///
/// let mut web = Set::of([Type::Ipv4]).interval();
/// web.insert("10.32.0.0/12".parse::<ipnet::IpNet>().unwrap());
/// assert!(web.find(&[Value::from(std::net::Ipv4Addr::new(10, 40, 0, 1))]).is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set {
    /// The types of the key's parts; more than one makes a concatenation.
    pub key: Vec<Type>,
    /// What an element leads to.
    pub data: DataType,
    /// True if keys may be ranges.
    pub is_interval: bool,
    /// True if elements may expire.
    pub has_timeout: bool,
    /// The elements.
    pub elements: BTreeMap<Key, Entry>,
}

/// What the elements of a set lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// Nothing: a set.
    None,
    /// A verdict: a verdict map.
    Verdict,
    /// A value: a map.
    Value(Type),
}

/// What a set keeps with a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The verdict or value, in maps.
    pub data: Option<Datum>,
    /// When the element goes away by itself, counted from its insertion; in sets with timeouts.
    pub timeout: Option<Duration>,
    /// Shown by the `nft` program.
    pub comment: Option<Comment>,
}

/// What an element of a map leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datum {
    /// In a verdict map.
    Verdict(Verdict),
    /// In a map.
    Value(Value),
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The base chain ends and lets the packet go on to the next one.
    Accept,
    /// The packet is gone.
    Drop,
    /// Back to the chain that jumped here; at the end of a base chain its policy decides.
    Return,
    /// Into a chain, and back here when that returns or ends.
    Jump(Name),
    /// Into a chain, and back to where this chain was jumped from.
    Goto(Name),
}

impl Verdict {
    /// The chain it leads to.
    pub fn target(&self) -> Option<&Name> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

impl Set {
    /// An empty set of exact keys.
    pub fn of(key: impl IntoIterator<Item = Type>) -> Self {
        Self {
            key: key.into_iter().collect(),
            data: DataType::None,
            is_interval: false,
            has_timeout: false,
            elements: BTreeMap::new(),
        }
    }

    /// An empty verdict map of exact keys.
    pub fn verdict_map(key: impl IntoIterator<Item = Type>) -> Self {
        Self {
            data: DataType::Verdict,
            ..Self::of(key)
        }
    }

    /// An empty map of exact keys to values.
    pub fn map(key: impl IntoIterator<Item = Type>, data: Type) -> Self {
        Self {
            data: DataType::Value(data),
            ..Self::of(key)
        }
    }

    /// Keys may be ranges.
    #[must_use]
    pub fn interval(mut self) -> Self {
        self.is_interval = true;
        self
    }

    /// Elements may expire.
    #[must_use]
    pub fn with_timeouts(mut self) -> Self {
        self.has_timeout = true;
        self
    }

    /// Adds an element without data; false if it was there.
    pub fn insert(&mut self, key: impl Into<Key>) -> bool {
        self.elements.insert(key.into(), Entry::default()).is_none()
    }

    /// Adds an element with its verdict, in place of one with the same key.
    pub fn insert_verdict(&mut self, key: impl Into<Key>, verdict: Verdict) {
        let entry = Entry {
            data: Some(Datum::Verdict(verdict)),
            ..Entry::default()
        };
        self.elements.insert(key.into(), entry);
    }

    /// Adds an element with its value, in place of one with the same key.
    pub fn insert_value(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let entry = Entry {
            data: Some(Datum::Value(value.into())),
            ..Entry::default()
        };
        self.elements.insert(key.into(), entry);
    }

    /// Takes an element out; false if it was not there.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.elements.remove(key).is_some()
    }

    /// The element that covers these values, one per part of the key.
    ///
    /// One comparison per level of a tree for exact keys and for ranges of one part; concatenated
    /// ranges are searched from the first that can match.
    pub fn find(&self, values: &[Value]) -> Option<(&Key, &Entry)> {
        if !self.is_interval {
            let key = Key::concat(values.iter().map(|value| (*value).into()));
            return self.elements.get_key_value(&key);
        }
        let first = *values.first()?;
        if !first.kind().is_ordered() {
            return self.elements.iter().find(|(key, _)| key.contains(values));
        }
        let mut below = self
            .elements
            .range(..=Key::concat([Span::ceiling(first)]))
            .rev();
        match values {
            [_] => below.next().filter(|(key, _)| key.contains(values)),
            _ => below.find(|(key, _)| key.contains(values)),
        }
    }
}
