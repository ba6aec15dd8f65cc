//! The checks, one family a file. Each is a function of the evidence alone.

mod addresses;
mod connections;
mod files;
mod firewall;
mod foreign;
mod host;
mod overlays;
mod service;

use super::{Evidence, Finding};

/// What all checks find. One that explains what another would find comes first, and the other is silent.
pub(super) fn all(evidence: &Evidence) -> Vec<Finding> {
    let mut found = service::check(evidence);
    found.extend(files::check(evidence));
    found.extend(host::check(evidence));
    found.extend(foreign::check(evidence));
    let blocked = firewall::check(evidence);
    let narrow = overlays::mtu(evidence);
    found.extend(addresses::check(evidence));
    found.extend(connections::check(evidence, &blocked));
    found.extend(overlays::check(evidence, &blocked, !narrow.is_empty()));
    found.extend(blocked.findings);
    found.extend(narrow);
    found
}

#[cfg(test)]
pub(in crate::doctor) mod tests;
