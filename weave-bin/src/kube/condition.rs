//! The Node condition `NetworkUnavailable`, which clouds set to `True` on a new machine.
//!
//! It is set to `False` once pods of the node can talk, in the words of Weave Net, and again
//! whenever somebody else sets it to `True`.

use serde_json::{Value, json};

/// The reason we give.
pub const REASON: &str = "WeaveIsUp";
/// The type of the condition.
pub const KIND: &str = "NetworkUnavailable";

/// The strategic merge patch of a Node's status that says its network is available. `now` is
/// RFC 3339 with whole seconds.
pub fn patch(now: &str) -> Value {
    json!({"status": {"conditions": [{
        "type": KIND,
        "status": "False",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
        "reason": REASON,
        "message": "Weave pod has set this",
    }]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_is_the_recorded_one() {
        let recording =
            include_str!("../../tests/vectors/kubernetes/api-bootstrap-three-nodes.jsonl");
        let recorded: Vec<Value> = recording
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["method"] == "PATCH")
            .collect();

        assert_eq!(recorded.len(), 3);
        for line in recorded {
            assert_eq!(line["body"], patch("2026-11-20T21:55:55Z"));
        }
    }
}
