//! What is wrong on this host, why it matters and what to type against it.
//!
//! ```text
//!   daemon, kernel, files, peers ─▶ collect ─▶ Evidence ─▶ checks ─▶ Finding, Finding, …
//!                                                 │
//!                                                 └─▶ audit ─▶ every address and whose it is
//! ```
//!
//! Invariant (law X1): [`examine`] looks at nothing but the [`Evidence`], which is plain data, so what was
//! found on one host can be found again anywhere from a file. Law X2: a healthy host gives no finding;
//! where evidence is missing or can be read in two ways, nothing is found.

pub mod audit;
mod checks;
pub(crate) mod collect;
mod command;
pub mod evidence;
pub mod filter;
pub mod finding;

pub use self::evidence::Evidence;
pub use self::finding::{Finding, Severity};

pub(crate) use self::command::{Doctor, Ipam, Said, parse, parse_ipam, run, run_ipam};

/// Everything that the evidence shows to be wrong, the worst first.
#[must_use]
pub fn examine(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = checks::all(evidence);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}
