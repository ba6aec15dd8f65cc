//! What a run found, as one value with two renderings: JSON and the summary for people.
//!
//! [`Outcome::trouble`] is the only place that decides between pass and fail.

use serde::Serialize;

use super::plan::Topology;
use super::probe::families::Families;
use super::stats::Percentiles;

/// Everything a run or a probe found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    /// Hosts of the lab.
    pub(crate) hosts: usize,
    /// Pods each host started with.
    pub(crate) pods: usize,
    /// All pods of the lab.
    pub(crate) pods_total: usize,
    /// How the hosts are cabled.
    pub(crate) topology: Topology,
    /// Ordered pairs of pods probed.
    pub(crate) pairs: usize,
    /// Pairs that answered.
    pub(crate) reachable: usize,
    /// Probes between a host and a pod, both ways.
    pub(crate) host_pairs: usize,
    /// Those that answered.
    pub(crate) host_reachable: usize,
    /// Probes without an answer, pods and hosts.
    pub(crate) failed: Vec<Failure>,
    /// Whether an ARP request was answered across hosts and a broadcast reached all pods once.
    pub(crate) broadcast_ok: bool,
    /// Whether a multicast datagram reached all pods once.
    pub(crate) multicast_ok: bool,
    /// What went wrong with broadcast or multicast.
    pub(crate) cast_faults: Vec<String>,
    /// What pods with addresses of two families do; absent with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) families: Option<Families>,
    /// Rounds of broadcast and multicast repeated until all went well.
    pub(crate) cast_repeats: u64,
    /// Connections between daemons.
    pub(crate) connections: Vec<Connection>,
    /// Addresses held by more than one.
    pub(crate) duplicate_addresses: usize,
    /// Which those are.
    pub(crate) duplicates: Vec<String>,
    /// Whether all daemons report the same ring.
    pub(crate) rings_equal: bool,
    /// Daemons that did not answer.
    pub(crate) silent_daemons: Vec<String>,
    /// Wall time of a CNI ADD in milliseconds; absent when none was made.
    pub(crate) cni_add_ms: Option<Percentiles>,
    /// Calls behind it.
    pub(crate) cni_adds: usize,
    /// Round trips in milliseconds between pods of one host.
    pub(crate) rtt_same_host_ms: Option<Percentiles>,
    /// Round trips in milliseconds between pods of different hosts.
    pub(crate) rtt_cross_host_ms: Option<Percentiles>,
    /// Resident memory of the largest daemon in KiB.
    pub(crate) daemon_rss_kib: Option<u64>,
    /// Time from the first probe until every pair had answered, in seconds.
    pub(crate) settled_s: f64,
    /// Time of the whole command in seconds.
    pub(crate) elapsed_s: f64,
}

/// A probe without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// Who asked.
    pub(crate) from: String,
    /// Who did not answer.
    pub(crate) to: String,
    /// What is known about the reason.
    pub(crate) why: String,
}

/// A connection as one of its ends reports it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Connection {
    /// The end that reports.
    pub(crate) from: String,
    /// The other end.
    pub(crate) to: String,
    /// `fastdp`, `sleeve`, or `none`.
    pub(crate) overlay: String,
    /// Whether frames may cross it.
    pub(crate) established: bool,
}

impl Outcome {
    /// What failed, one line each; empty when everything passed.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.reachable != self.pairs {
            lines.push(format!(
                "{} of {} pairs of pods",
                self.pairs - self.reachable,
                self.pairs
            ));
        }
        if self.host_reachable != self.host_pairs {
            let missing = self.host_pairs - self.host_reachable;
            lines.push(format!(
                "{missing} of {} pairs of host and pod",
                self.host_pairs
            ));
        }
        if let Some(families) = &self.families {
            lines.extend(families.trouble());
        }
        if !self.broadcast_ok {
            lines.push("broadcast".to_owned());
        }
        if !self.multicast_ok {
            lines.push("multicast".to_owned());
        }
        if self.duplicate_addresses > 0 {
            lines.push(format!("{} duplicate addresses", self.duplicate_addresses));
        }
        if !self.rings_equal {
            lines.push("rings differ".to_owned());
        }
        if !self.silent_daemons.is_empty() {
            lines.push(format!(
                "no answer from daemon {}",
                self.silent_daemons.join(", ")
            ));
        }
        lines
    }

    /// Whether everything passed.
    pub(crate) fn passed(&self) -> bool {
        self.trouble().is_empty()
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("invariant: an outcome has only text keys")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Everything went well on three hosts with two pods each.
    pub(crate) fn good() -> Outcome {
        Outcome {
            hosts: 3,
            pods: 2,
            pods_total: 6,
            topology: Topology::Full,
            pairs: 30,
            reachable: 30,
            host_pairs: 36,
            host_reachable: 36,
            failed: Vec::new(),
            broadcast_ok: true,
            multicast_ok: true,
            cast_faults: Vec::new(),
            families: None,
            cast_repeats: 0,
            connections: vec![Connection {
                from: "host-1".to_owned(),
                to: "host-2".to_owned(),
                overlay: "fastdp".to_owned(),
                established: true,
            }],
            duplicate_addresses: 0,
            duplicates: Vec::new(),
            rings_equal: true,
            silent_daemons: Vec::new(),
            cni_add_ms: Some(Percentiles {
                p50: 9.25,
                p99: 14.0,
            }),
            cni_adds: 6,
            rtt_same_host_ms: Some(Percentiles {
                p50: 0.02,
                p99: 0.03,
            }),
            rtt_cross_host_ms: Some(Percentiles {
                p50: 0.05,
                p99: 0.08,
            }),
            daemon_rss_kib: Some(9216),
            settled_s: 0.25,
            elapsed_s: 3.5,
        }
    }

    #[test]
    fn every_kind_of_trouble_fails_the_run() {
        assert!(good().passed());
        let bad = [
            Outcome {
                reachable: 29,
                ..good()
            },
            Outcome {
                host_reachable: 35,
                ..good()
            },
            Outcome {
                broadcast_ok: false,
                ..good()
            },
            Outcome {
                families: Some(Families {
                    pods: 6,
                    pairs: 30,
                    reachable: 30,
                    tcp_pairs: 60,
                    tcp_reachable: 59,
                }),
                ..good()
            },
            Outcome {
                multicast_ok: false,
                ..good()
            },
            Outcome {
                duplicate_addresses: 1,
                ..good()
            },
            Outcome {
                rings_equal: false,
                ..good()
            },
            Outcome {
                silent_daemons: vec!["host-2".to_owned()],
                ..good()
            },
        ];
        for outcome in bad {
            assert_eq!(outcome.trouble().len(), 1, "{outcome:?}");
        }
    }

    #[test]
    fn json_has_the_promised_keys_on_one_line() {
        let text = good().to_json();
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();

        assert!(!text.contains('\n'));
        assert_eq!(object["hosts"], 3);
        assert_eq!(object["pods"], 2);
        assert_eq!(object["topology"], "full");
        assert_eq!(object["pairs"], 30);
        assert_eq!(object["reachable"], 30);
        assert_eq!(object["failed"], serde_json::json!([]));
        assert_eq!(object["broadcast_ok"], true);
        assert_eq!(object["multicast_ok"], true);
        assert_eq!(
            object["connections"][0],
            serde_json::json!(
                {"from": "host-1", "to": "host-2", "overlay": "fastdp", "established": true})
        );
        assert_eq!(object["duplicate_addresses"], 0);
        assert_eq!(object["cni_add_ms"]["p50"], 9.25);
        assert_eq!(object["elapsed_s"], 3.5);
    }
}
