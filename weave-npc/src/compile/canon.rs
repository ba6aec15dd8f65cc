//! Stable names: a hash of what a set or chain stands for.
//!
//! Invariant: each part is preceded by its length, so different things never have one text; equal
//! things have equal names on every node and in every run.

use std::fmt::Write as _;

use crate::ruleset::Name;

/// The canonical form of something, hashed as it is written.
#[derive(Clone, Debug)]
pub(super) struct Canon {
    state: u128,
}

impl Canon {
    /// The form of a thing of some kind.
    pub(super) fn new(kind: &str) -> Self {
        Self { state: OFFSET }.text(kind)
    }

    /// Adds a text.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.bytes(&(text.len() as u64).to_be_bytes());
        self.bytes(text.as_bytes());
        self
    }

    /// Adds the form of anything whose `Display` or `Debug` loses nothing.
    pub(super) fn part(self, part: impl std::fmt::Display) -> Self {
        self.text(&part.to_string())
    }

    /// Adds a list, its length first.
    pub(super) fn list<T: std::fmt::Display>(self, parts: impl IntoIterator<Item = T>) -> Self {
        let parts: Vec<T> = parts.into_iter().collect();
        let start = self.part(parts.len());
        parts.into_iter().fold(start, Self::part)
    }

    /// 16 hexadecimal digits.
    pub(super) fn id(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(text, "{:032x}", self.state);
        text.split_off(16)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state ^= u128::from(*byte);
            self.state = self.state.wrapping_mul(PRIME);
        }
    }
}

/// The name `<prefix>-<id>`, with a number behind it in the second and later try.
pub(super) fn name(prefix: &str, id: &str, attempt: usize) -> Name {
    let text = match attempt {
        0 => format!("{prefix}-{id}"),
        _ => format!("{prefix}-{id}-{attempt}"),
    };
    fixed(&text)
}

/// A name that is known to be one.
pub(super) fn fixed(text: &str) -> Name {
    Name::new(text).expect("invariant: letters, digits and '-' are a name")
}

/// Start and factor of the 128-bit FNV-1a hash (RFC 9923).
const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_read_alike_when_joined_have_different_names() {
        let a = Canon::new("s").text("x=1").text("2y=3");
        let b = Canon::new("s").text("x=12").text("y=3");

        assert_ne!(a.id(), b.id());
        assert_ne!(
            Canon::new("s").list(["a", "b"]).id(),
            Canon::new("s").list(["ab"]).id()
        );
    }

    #[test]
    fn a_name_does_not_change_between_versions() {
        assert_eq!(
            Canon::new("s").text("x=1").id(),
            Canon::new("s").text("x=1").id()
        );
        assert_eq!(
            name("s4", "0123456789abcdef", 0).as_str(),
            "s4-0123456789abcdef"
        );
        assert_eq!(
            name("s4", "0123456789abcdef", 2).as_str(),
            "s4-0123456789abcdef-2"
        );
    }
}
