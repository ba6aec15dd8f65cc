//! Whether a change may forbid what was allowed.
//!
//! Invariant: a transaction that forbids anything is told; one that is told may forbid nothing.

use crate::ruleset::{Change, Transaction};

/// True if connections may have lost permission by `transaction`, so that they are to be looked at.
///
/// Members that come to a peer's set, and pods that leave the maps, forbid nothing.
pub fn may_tighten(transaction: &Transaction) -> bool {
    transaction.changes.iter().any(|change| match change {
        Change::AddElements { set, .. } => MAPS.contains(&set.as_str()),
        Change::DeleteElements { set, .. } => {
            !MAPS.contains(&set.as_str()) && !HOLDS.contains(&set.as_str())
        }
        Change::InsertRule { .. }
        | Change::DeleteRule { .. }
        | Change::FlushChain { .. }
        | Change::SetPolicy { .. } => true,
        _ => false,
    })
}

/// The maps of isolated pods.
const MAPS: [&str; 4] = ["in4", "in6", "eg4", "eg6"];
/// The sets of addresses that are closed for a while.
const HOLDS: [&str; 2] = ["pend4", "pend6"];
