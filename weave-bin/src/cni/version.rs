//! The versions of the CNI specification the plugins speak.
//!
//! A version decides the shape of the result only; the invariant is that every supported version
//! describes the same attachment.

use std::fmt;

use super::error::{Code, Error};

/// A version of the CNI specification, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V010,
    V020,
    V030,
    V031,
    V040,
    V100,
    V110,
}

impl Version {
    /// All of them, oldest first.
    pub(super) const ALL: [Self; 7] = [
        Self::V010,
        Self::V020,
        Self::V030,
        Self::V031,
        Self::V040,
        Self::V100,
        Self::V110,
    ];

    /// The version named by a configuration; a configuration that names none is of 0.1.0.
    ///
    /// # Errors
    /// [`Code::IncompatibleVersion`], naming both sides.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::V010);
        }
        let known = Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text);
        known.ok_or_else(|| {
            let names: Vec<String> = Self::ALL.iter().map(|v| format!("\"{v}\"")).collect();
            Error::new(Code::IncompatibleVersion, "incompatible CNI versions").with_details(
                format!("config is {text:?}, plugin supports [{}]", names.join(" ")),
            )
        })
    }

    /// The newest version.
    pub(super) const fn newest() -> Self {
        Self::V110
    }

    /// As it stands in `cniVersion`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::V010 => "0.1.0",
            Self::V020 => "0.2.0",
            Self::V030 => "0.3.0",
            Self::V031 => "0.3.1",
            Self::V040 => "0.4.0",
            Self::V100 => "1.0.0",
            Self::V110 => "1.1.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_version_means_the_first_one() {
        assert_eq!(Version::parse("").unwrap(), Version::V010);
    }

    #[test]
    fn every_version_parses_to_itself() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()).unwrap(), version);
        }
    }

    #[test]
    fn an_unknown_version_names_both_sides() {
        let error = Version::parse("2.0.0").unwrap_err();

        assert_eq!(error.code(), Code::IncompatibleVersion);
        assert_eq!(
            error.to_json("2.0.0")["details"],
            "config is \"2.0.0\", plugin supports [\"0.1.0\" \"0.2.0\" \"0.3.0\" \"0.3.1\" \
             \"0.4.0\" \"1.0.0\" \"1.1.0\"]"
        );
    }
}
