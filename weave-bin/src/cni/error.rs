//! What a plugin says when it fails: a number a runtime acts on and a sentence a person reads.
//!
//! Codes 1–99 are those of the CNI specification 1.1.0 (section "Error"), from 100 on they are
//! this plugin's own. Sentences that people search for keep the wording of Weave Net.

use serde_json::{Map, Value, json};

/// Why a call failed, ready to be printed on standard output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    code: Code,
    message: String,
    details: Option<String>,
}

impl Error {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
        }
    }

    /// Adds what a runtime shows in the second place.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Puts `context` and a colon in front of the message.
    #[must_use]
    pub fn within(mut self, context: &str) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The number a runtime acts on.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The object printed on standard output, with `version` as `cniVersion`.
    pub(super) fn to_json(&self, version: &str) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".to_owned(), json!(version));
        object.insert("code".to_owned(), json!(self.code.number()));
        object.insert("msg".to_owned(), json!(self.message));
        if let Some(details) = &self.details {
            object.insert("details".to_owned(), json!(details));
        }
        Value::Object(object)
    }
}

/// The kinds of failure, by who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The configuration asks for a version of the result this plugin cannot give.
    IncompatibleVersion,
    /// A `CNI_*` variable is missing, malformed or names a command that is not supported.
    Environment,
    /// Reading, writing or running something failed on this host.
    Io,
    /// The configuration is not a JSON object.
    Decode,
    /// The configuration is JSON but cannot be served.
    Configuration,
    /// `CNI_NETNS` names no namespace, or the host's own.
    Namespace,
    /// The daemon is down or has no address yet; the runtime tries again.
    TryAgain,
    /// The daemon answered with a refusal.
    Refused,
    /// The bridge is not there.
    NoBridge,
    /// The interface could not be made or configured.
    Attach,
    /// STATUS: a pod could not be connected now.
    Unavailable,
    /// STATUS: neither that, and pods that run may not reach other hosts.
    Limited,
    /// CHECK: something is not as ADD left it.
    Differs,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::Environment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::Configuration => 7,
            Self::Namespace => 8,
            Self::TryAgain => 11,
            Self::Refused => 100,
            Self::NoBridge => 101,
            Self::Attach => 102,
            Self::Unavailable => 50,
            Self::Limited => 51,
            Self::Differs => 103,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_code_message_and_details() {
        let error = Error::new(Code::TryAgain, "daemon is down").with_details("refused");

        let object = error
            .within("unable to allocate IP address")
            .to_json("1.0.0");

        assert_eq!(
            object,
            json!({
                "cniVersion": "1.0.0",
                "code": 11,
                "msg": "unable to allocate IP address: daemon is down",
                "details": "refused",
            })
        );
    }
}
