//! How the controller is: one model, as JSON, as text, and as metrics.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Everything `weave npc status` shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The version of the program.
    pub(in crate::npc) version: String,
    /// This node.
    pub(in crate::npc) node: String,
    /// Where objects come from.
    pub(in crate::npc) source: String,
    /// True once every kind of object was listed.
    pub(in crate::npc) synced: bool,
    /// The kinds that were not listed yet.
    pub(in crate::npc) missing: Vec<String>,
    /// True if the kernel has the rules that follow from everything that is known.
    pub(in crate::npc) programmed: bool,
    /// How many changes of the rules there were.
    pub(in crate::npc) revision: u64,
    /// What keeps things from being as they should be.
    pub(crate) faults: Vec<String>,
    /// Objects that cannot be used; what was known of them before stays in force.
    pub(crate) refused: Vec<String>,
    /// What is odd about objects that are used.
    pub(in crate::npc) notices: Vec<String>,
    /// How many objects are known.
    pub(in crate::npc) objects: Objects,
    /// Addresses that are closed because nobody is known to have them.
    pub(in crate::npc) held: Vec<String>,
    /// Pods whose objects do not show the address they were given.
    pub(in crate::npc) claimed: Vec<String>,
    /// Ports of the bridge that are held to their addresses.
    pub(in crate::npc) guarded: Vec<String>,
    /// What was done so far.
    pub(in crate::npc) counts: Counts,
}

/// Objects by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::npc) struct Objects {
    pub(in crate::npc) namespaces: usize,
    pub(in crate::npc) nodes: usize,
    pub(in crate::npc) pods: usize,
    pub(in crate::npc) local_pods: usize,
    pub(in crate::npc) policies: usize,
    pub(in crate::npc) cluster_policies: usize,
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::npc) struct Counts {
    pub(in crate::npc) events: u64,
    pub(in crate::npc) commits: u64,
    pub(in crate::npc) failed_commits: u64,
    pub(in crate::npc) repairs: u64,
    pub(in crate::npc) source_errors: u64,
    pub(in crate::npc) last_commit_us: u64,
    pub(in crate::npc) commit_seconds: f64,
    pub(in crate::npc) cut_connections: u64,
    #[serde(default)]
    pub(in crate::npc) latency: super::latency::Latency,
    #[serde(default)]
    pub(in crate::npc) scrapes: u64,
    pub(in crate::npc) blocked: u64,
    pub(in crate::npc) audited: u64,
    pub(in crate::npc) log_suppressed: u64,
    pub(in crate::npc) log_passed_over: u64,
    pub(in crate::npc) log_lost: u64,
}

impl Status {
    /// As a person reads it.
    pub(in crate::npc) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:>10}: {value}");
        };
        line("Version", self.version.clone());
        line("Node", self.node.clone());
        line("Source", self.source.clone());
        let state = match (self.synced, self.programmed) {
            (false, _) => format!("waiting for {}", self.missing.join(", ")),
            (true, false) => "the kernel does not have the last change".to_owned(),
            (true, true) => format!("in force (revision {})", self.revision),
        };
        line("Rules", state);
        let Objects {
            namespaces,
            nodes,
            pods,
            local_pods,
            policies,
            cluster_policies,
        } = self.objects;
        line(
            "Objects",
            format!(
                "{pods} pods ({local_pods} here), {policies} policies, {cluster_policies} cluster \
                 policies, {namespaces} namespaces, {nodes} nodes"
            ),
        );
        let counts = &self.counts;
        line(
            "Kernel",
            format!(
                "{} commits, last {} us; {} failed, {} repairs, {} connections cut",
                counts.commits,
                counts.last_commit_us,
                counts.failed_commits,
                counts.repairs,
                counts.cut_connections
            ),
        );
        line(
            "Blocked",
            format!(
                "{} connections ({} in audit mode); {} lines suppressed, {} packets lost",
                counts.blocked, counts.audited, counts.log_suppressed, counts.log_lost
            ),
        );
        line("Guard", format!("{} ports", self.guarded.len()));
        for (name, list) in [
            ("Held", &self.held),
            ("Claimed", &self.claimed),
            ("Refused", &self.refused),
            ("Notice", &self.notices),
            ("Fault", &self.faults),
        ] {
            for entry in list {
                line(name, entry.clone());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_and_refused_objects_are_shown_by_name() {
        let status = Status {
            synced: true,
            programmed: true,
            revision: 7,
            refused: vec!["NetworkPolicy shop/db: spec: is missing".to_owned()],
            faults: vec!["the API server does not answer".to_owned()],
            ..Status::default()
        };

        let text = status.text();

        assert!(
            text.contains("     Rules: in force (revision 7)\n"),
            "{text}"
        );
        assert!(text.contains("   Refused: NetworkPolicy shop/db: spec: is missing\n"));
        assert!(text.ends_with("     Fault: the API server does not answer\n"));
    }

    #[test]
    fn what_is_waited_for_is_named() {
        let status = Status {
            missing: vec!["Pod".to_owned(), "NetworkPolicy".to_owned()],
            ..Status::default()
        };

        assert!(status.text().contains("waiting for Pod, NetworkPolicy"));
    }
}
