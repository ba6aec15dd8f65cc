//! Templates over the report: the part of Go's `text/template` that scripts use.
//!
//! `weave report -f` sends one; the daemon parses it, runs it over the report as a [`Value`] and answers
//! with text. Names, print forms and the words of parse errors are Go's. A template comes from whoever may
//! ask the daemon, so work is bounded: nesting while parsing, steps and bytes ([`Limits`]) while running.
//!
//! Left out: `define`, `template`, `block`, `break`, `continue`, `call`, `slice` and complex numbers.

mod escape;
mod eval;
mod format;
mod functions;
mod lex;
mod parse;
mod serialize;
mod value;

pub use serialize::{EMPTY_LIST, EMPTY_MAP, SerializeError};
pub use value::Value;

/// A template that was parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Parses `source`.
    ///
    /// # Errors
    /// The first thing that is no template, in Go's words.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        parse::parse(source).map(|nodes| Self { nodes })
    }

    /// Runs the template over `data`.
    ///
    /// # Errors
    /// The first thing that cannot be evaluated, or the limit that was reached.
    pub fn render(&self, data: &Value, limits: Limits) -> Result<String, RunError> {
        eval::run(&self.nodes, data, limits)
    }
}

/// How much a template may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nodes, operands and passes evaluated.
    pub steps: usize,
    /// Bytes written, those of texts in between included.
    pub bytes: usize,
}

impl Default for Limits {
    /// Room for the whole report of a mesh of some thousand peers.
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            bytes: 32 << 20,
        }
    }
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: format:{line}: {reason}")]
pub struct ParseError {
    /// The line, from 1.
    line: usize,
    /// What is wrong with it.
    reason: String,
}

/// Why a template does not run to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A name that the value does not have.
    #[error("can't evaluate field {field} in type {kind}")]
    NoField {
        /// The name.
        field: String,
        /// What it was looked for in.
        kind: &'static str,
    },
    /// A name of something that is not there.
    #[error("nil pointer evaluating field {0}")]
    NilField(String),
    /// A function does not take what it is given.
    #[error("error calling {name}: {reason}")]
    Call {
        /// The function.
        name: &'static str,
        /// What it does not take.
        reason: String,
    },
    /// An operand where none makes sense.
    #[error("{0}")]
    Misplaced(String),
    /// The template does more than it may.
    #[error("the template takes more than {0}")]
    Limit(&'static str),
}

#[cfg(test)]
mod tests;
