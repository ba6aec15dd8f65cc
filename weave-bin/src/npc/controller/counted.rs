//! How often each rule of a policy decided, as the kernel counts it.
//!
//! Only the first packets of connections come that far. A rule that stands in several profiles, or
//! was written once for each protocol, is added up. Invariant: what is shown was read from the kernel
//! in one state; a rule that is made anew begins at 0.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use weave_npc::netlink::Seen;
use weave_npc::ruleset::{Name, Rule, Statement, Verdict};

/// What some equal rules have counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::npc) struct Counted {
    /// `ingress` or `egress`, as the pod of this node sees it.
    pub(in crate::npc) direction: String,
    /// `allowed`, `denied`, or `passed` for what goes on to the next tier.
    pub(in crate::npc) outcome: String,
    /// The policies and the numbers of their rules, or the policies that isolate.
    pub(in crate::npc) rule: String,
    /// Packets that matched.
    pub(in crate::npc) packets: u64,
    /// Their bytes, with network headers.
    pub(in crate::npc) bytes: u64,
}

/// The counts of all rules of policies.
pub(super) fn counted(seen: &Seen) -> Vec<Counted> {
    let mut sums: BTreeMap<(&str, String, &str), (u64, u64)> = BTreeMap::new();
    for (chain, counts) in &seen.counts {
        let Some((direction, rules)) = direction(chain).zip(seen.table.chains.get(chain)) else {
            continue;
        };
        for (rule, count) in rules.rules.iter().zip(counts) {
            let (Some(note), Some(count)) = (rule.note(), count) else {
                continue;
            };
            let key = (direction, note.as_str().to_owned(), outcome(rule));
            let sum = sums.entry(key).or_default();
            sum.0 += count.packets;
            sum.1 += count.bytes;
        }
    }
    let one = |((direction, rule, outcome), (packets, bytes)): ((&str, String, &str), _)| Counted {
        direction: direction.to_owned(),
        outcome: outcome.to_owned(),
        rule,
        packets,
        bytes,
    };
    sums.into_iter().map(one).collect()
}

/// The counts as people read them.
pub(in crate::npc) fn text(all: &[Counted]) -> String {
    let mut text = format!("{:>12} {:>14}\n", "packets", "bytes");
    for one in all {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>12} {:>14}  {:<7}  {:<7}  {}",
            one.packets, one.bytes, one.direction, one.outcome, one.rule
        );
    }
    text
}

fn direction(chain: &Name) -> Option<&'static str> {
    match chain.as_str().split_once('-')?.0 {
        "in" => Some("ingress"),
        "eg" => Some("egress"),
        _ => None,
    }
}

fn outcome(rule: &Rule) -> &'static str {
    match rule.statements().last() {
        Some(Statement::Verdict(Verdict::Return | Verdict::Accept)) => "allowed",
        Some(Statement::Verdict(Verdict::Drop)) => "denied",
        _ => "passed",
    }
}
