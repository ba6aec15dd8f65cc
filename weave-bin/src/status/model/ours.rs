//! Parts of the report that Weave Net's does not have.

use serde::{Deserialize, Serialize};

/// How the daemon was started, as far as whoever looks for faults has to know. Nothing of it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// Path and first part of the name of the state file.
    #[serde(rename = "DBPrefix")]
    pub db_prefix: String,
    /// Where the daemon sees the host's `/`.
    pub host_root: String,
    /// The bridge.
    pub bridge: String,
    /// Most connections at a time; 0 is no limit.
    #[serde(rename = "ConnLimit")]
    pub connection_limit: usize,
    /// The file with passwords, when they come from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// TCP port of status HTTP where other hosts reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_port: Option<u16>,
}

/// How many connections use which passwords, so that it can be seen when an old one may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Passwords {
    /// Passwords that are accepted.
    pub accepted: usize,
    /// Connections with the one in use.
    pub with_current: usize,
    /// Connections with another accepted one.
    pub with_other: usize,
    /// Connections with one that is no longer accepted.
    pub with_dropped: usize,
}

impl Passwords {
    /// Whether not all connections have one and the same password, or need not have.
    pub fn is_changing(self) -> bool {
        self.accepted > 1 || self.with_other > 0 || self.with_dropped > 0
    }
}

/// Gossip of one channel since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Gossip {
    /// Messages handed to connections.
    pub messages_sent: u64,
    /// Bytes of them.
    pub bytes_sent: u64,
    /// Messages that came.
    pub messages_received: u64,
    /// Bytes of them.
    pub bytes_received: u64,
}

/// A host whose connections were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Refused {
    /// Its address.
    pub address: String,
    /// Why the last one was refused.
    pub reason: String,
    /// How many were refused.
    pub count: u64,
    /// When the last one was, RFC 3339.
    pub last: String,
}

/// Space given to peers that asked for it, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Donated {
    /// Ranges given.
    pub ranges: u64,
    /// Addresses in them.
    pub addresses: u128,
}

/// What the name server counts, since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DnsCounters {
    /// Questions answered from the names of the mesh.
    pub local: u64,
    /// Questions answered by another server.
    pub forwarded: u64,
    /// Questions that no other server answered.
    pub failed: u64,
    /// Messages that are no question.
    pub malformed: u64,
    /// Questions and connections beyond what is served at a time.
    pub busy: u64,
    /// Messages of peers dropped because they came too fast.
    pub gossip_dropped: u64,
    /// Messages of peers refused for their clock.
    pub gossip_skewed: u64,
    /// Names of peers refused: without sense, or without room.
    pub gossip_refused: u64,
}

/// The host's packet filter and bridge, as far as the daemon looks after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Host {
    /// The back end of iptables that has rules of ours: `nft` or `legacy`.
    pub iptables: String,
    /// Why that one.
    pub iptables_reason: String,
    /// The addresses on the bridge.
    pub exposed: Vec<Exposed>,
    /// How often rules were put back that others had changed.
    pub rule_repairs: u64,
    /// How often the bridge or its ports were.
    pub link_repairs: u64,
    /// What was put back last, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_repair: Option<String>,
    /// When that was, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_repair_at: Option<String>,
    /// What is wrong and could not be repaired, in words.
    pub faults: Vec<String>,
}

/// An address of this host on the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Exposed {
    /// The address with the length of its subnet.
    pub address: String,
    /// Whether traffic in and out of its subnet is masqueraded.
    pub masquerade: bool,
}
