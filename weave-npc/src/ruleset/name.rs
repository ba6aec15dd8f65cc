//! Names that the kernel and the `nft` program both accept: tables, chains, sets, interfaces, and
//! the comments they show.
//!
//! Invariant: a value of these types can be printed into `nft` syntax and parsed back unchanged.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a table, chain or set.
///
/// A letter, then letters, digits and `_ - . /`, 128 characters at most (the kernel takes 255). A
/// word of the `nft` language (`drop`, `set`) is a legal name for the kernel but not in text; it is
/// refused.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks and keeps a name.
    ///
    /// # Errors
    ///
    /// [`NameError`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
        if !first || !rest || text.len() > NAME_LIMIT {
            return Err(NameError::Name(text.chars().take(NAME_LIMIT).collect()));
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of a network interface, or the first characters of several (`weave*`).
///
/// 1 to 15 bytes without white space, `/`, `:`, `*`, quotes or backslash (kernel
/// `dev_valid_name`, plus what text cannot carry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName([u8; IFNAMSIZ]);

impl IfName {
    /// What the kernel compares where a packet has no such device.
    pub(super) const NONE: Self = Self([0; IFNAMSIZ]);

    /// Checks and keeps a name.
    ///
    /// # Errors
    ///
    /// [`NameError`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let legal = |byte: u8| byte.is_ascii_graphic() && !b"/:*\"'\\".contains(&byte);
        if text.is_empty() || text.len() >= IFNAMSIZ || !text.bytes().all(legal) {
            return Err(NameError::Interface(
                text.chars().take(NAME_LIMIT).collect(),
            ));
        }
        let mut bytes = [0; IFNAMSIZ];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let len = self
            .0
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(IFNAMSIZ);
        std::str::from_utf8(&self.0[..len]).expect("invariant: interface names are ASCII")
    }

    /// The name padded with zeros, as the kernel compares it.
    pub fn padded(&self) -> &[u8; IFNAMSIZ] {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for IfName {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What `nft list` shows as `comment "…"` behind a rule or an element.
///
/// Printable ASCII without `"` and `\`, 127 bytes at most (the `nft` program keeps 128 with the
/// final zero). [`Comment::lossy`] makes one of any text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Comment(Arc<str>);

impl Comment {
    /// Makes a comment of any text: what cannot be shown becomes `?`, what is too long is cut and
    /// ends in `..`.
    pub fn lossy(text: &str) -> Self {
        let mut kept: String = text
            .chars()
            .map(|c| if is_printable(c) { c } else { '?' })
            .take(COMMENT_LIMIT + 1)
            .collect();
        if kept.len() > COMMENT_LIMIT {
            kept.truncate(COMMENT_LIMIT - 2);
            kept.push_str("..");
        }
        Self(kept.into())
    }

    /// A comment of exactly this text, if there can be one.
    pub fn exact(text: &str) -> Option<Self> {
        let comment = Self::lossy(text);
        (comment.as_str() == text).then_some(comment)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A character or the length is not allowed in a table, chain or set name.
    #[error("`{0}` is no name: use a letter, then up to 127 letters, digits or _ - . /")]
    Name(String),
    /// The word means something in the `nft` language.
    #[error("`{0}` is a word of the nft language: choose another name")]
    Reserved(String),
    /// A character or the length is not allowed in an interface name.
    #[error("`{0}` is no interface name: 1 to 15 printable characters without / : * or quotes")]
    Interface(String),
}

fn is_printable(c: char) -> bool {
    (c.is_ascii_graphic() || c == ' ') && c != '"' && c != '\\'
}

/// Length of an interface name with its final zero (linux/if.h).
const IFNAMSIZ: usize = 16;
const NAME_LIMIT: usize = 128;
const COMMENT_LIMIT: usize = 127;

/// Words that the `nft` grammar keeps for itself where a name may stand.
const RESERVED: [&str; 82] = [
    "accept",
    "add",
    "ah",
    "and",
    "arp",
    "bridge",
    "chain",
    "comment",
    "comp",
    "constant",
    "continue",
    "counter",
    "counters",
    "create",
    "ct",
    "daddr",
    "dccp",
    "define",
    "delete",
    "describe",
    "destroy",
    "devices",
    "dnat",
    "drop",
    "dup",
    "elements",
    "esp",
    "ether",
    "exists",
    "expires",
    "export",
    "fib",
    "flags",
    "flowtable",
    "flush",
    "fwd",
    "goto",
    "helper",
    "hook",
    "icmp",
    "icmpv6",
    "igmp",
    "import",
    "include",
    "inet",
    "insert",
    "ip",
    "ip6",
    "jhash",
    "jump",
    "limit",
    "list",
    "log",
    "map",
    "mark",
    "masquerade",
    "meta",
    "missing",
    "monitor",
    "netdev",
    "notrack",
    "numgen",
    "or",
    "policy",
    "queue",
    "quota",
    "redirect",
    "reject",
    "rename",
    "replace",
    "reset",
    "return",
    "rule",
    "ruleset",
    "set",
    "snat",
    "table",
    "tcp",
    "timeout",
    "type",
    "udp",
    "vmap",
];
