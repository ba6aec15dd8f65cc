//! What can be chosen about the rules.

use crate::ruleset::{Comment, Limit, Log, Unit};
use crate::verdict;

/// How rules are made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The answers to what the Kubernetes text leaves open.
    pub verdict: verdict::Options,
    /// True if packets to multicast groups pass, as Weave Net lets them (`--allow-mcast`).
    pub allow_multicast: bool,
    /// True if, as soon as a local pod is isolated, packets with link-local addresses and router
    /// advertisements do not pass between pods: policies cannot name those addresses.
    pub guard_link_local: bool,
    /// The group of listeners that denied packets are shown to.
    pub log_group: u16,
    /// How many bytes of a denied packet are shown.
    pub log_bytes: u32,
    /// How many denied packets each chain shows in a second.
    pub log_rate: u64,
    /// Networks of one profile with more than this many different sets of ports become one set of
    /// disjoint boxes (address, protocol, port): one lookup instead of one rule each.
    pub box_above: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verdict: verdict::Options::default(),
            allow_multicast: true,
            guard_link_local: true,
            log_group: 86,
            log_bytes: 128,
            log_rate: 10,
            box_above: 16,
        }
    }
}

impl Options {
    /// Sets the answers to what the Kubernetes text leaves open.
    #[must_use]
    pub fn with_verdict(mut self, verdict: verdict::Options) -> Self {
        self.verdict = verdict;
        self
    }

    /// Sets whether packets to multicast groups pass.
    #[must_use]
    pub fn with_multicast(mut self, is_allowed: bool) -> Self {
        self.allow_multicast = is_allowed;
        self
    }

    /// Sets from how many rules on networks boxes are made.
    #[must_use]
    pub fn with_box_above(mut self, rules: usize) -> Self {
        self.box_above = rules;
        self
    }

    /// The rate at which one chain shows packets.
    pub(super) fn limit(&self) -> Limit {
        Limit {
            rate: self.log_rate,
            per: Unit::Second,
            burst: 20,
            is_over: false,
        }
    }

    /// Shows a packet with `prefix`.
    pub(super) fn log(&self, prefix: &str) -> Log {
        Log {
            prefix: Some(Comment::lossy(prefix)),
            group: Some(self.log_group),
            snaplen: self.log_bytes,
        }
    }
}
