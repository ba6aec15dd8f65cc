//! Whether bridged packets pass the rules at all.
//!
//! Invariant: a switch that stands at 0 is set to 1, or reported; nothing else is written.

use std::fs;

/// Sees to it that packets between ports of a bridge pass the hooks of IP; what keeps them from it.
pub(super) fn ensure() -> Vec<String> {
    let families = [("IPv4", "iptables"), ("IPv6", "ip6tables")];
    let faults = families.map(|(family, name)| ensure_one(family, name));
    faults.into_iter().flatten().collect()
}

fn ensure_one(family: &str, name: &str) -> Option<String> {
    let path = format!("/proc/sys/net/bridge/bridge-nf-call-{name}");
    let trouble = match fs::read_to_string(&path) {
        Ok(value) if value.trim() == "0" => fs::write(&path, "1").err()?,
        Ok(_) => return None,
        Err(error) => error,
    };
    Some(format!(
        "{family} packets between pods of this node pass no rules: {path}: {trouble}; load \
         br_netfilter and set it to 1"
    ))
}
