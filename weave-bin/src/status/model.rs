//! The report, in the field names, order and null rules of Weave Net's JSON.
//!
//! Empty lists are `null` except `TrustedSubnets`; [`Report::to_json`] writes four blanks of
//! indent and escapes `<`, `>` and `&` as Go's encoder does, so that a diff against an old
//! daemon's report shows only facts.

mod ours;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::daemon::LeftOut;
use crate::kube::state::Cluster;
use crate::pods::Counts;
use crate::template::Value;

pub use self::ours::{DnsCounters, Donated, Exposed, Gossip, Host, Node, Passwords, Refused};

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    /// Whether every service of the daemon works; the status pages answer 503 while not.
    pub ready: bool,
    /// Version of the daemon.
    pub version: String,
    /// State of the check for newer versions.
    pub version_check: VersionCheck,
    /// The mesh and the data path.
    pub router: Router,
    /// Address allocation; absent when it is off.
    #[serde(rename = "IPAM", default, skip_serializing_if = "Option::is_none")]
    pub ipam: Option<Ipam>,
    /// Allocation of IPv6 addresses beside IPv4 ones; absent in old reports, and when there is one
    /// family.
    #[serde(rename = "IPAM6", default, skip_serializing_if = "Option::is_none")]
    pub ipam6: Option<Ipam>,
    /// The IPv6 range that is not used, and why; absent when there is none.
    #[serde(
        rename = "IPAM6LeftOut",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub left_out: Option<LeftOut>,
    /// The name server; absent when it is off.
    #[serde(rename = "DNS", default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// The host's packet filter and bridge; absent without a bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// The cluster side; absent outside Kubernetes, as in old reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// How the daemon was started; absent in old reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// Addresses given back without a DEL; absent in old reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Counts>,
}

impl Report {
    /// The report as JSON text: four blanks of indent, no newline at the end.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// The report for templates, which may also ask for parts that only Docker has.
    pub fn to_value(&self) -> Value {
        let value = Value::of(self).expect("invariant: the report has only string keys");
        match value {
            Value::Struct(mut fields) => {
                fields.extend(["Proxy", "Plugin"].map(|name| (name, Value::Absent)));
                Value::Struct(fields)
            }
            other => other,
        }
    }
}

/// `value` as the daemon writes JSON: four blanks of indent, HTML characters escaped.
pub fn to_json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    value
        .serialize(&mut serializer)
        .expect("invariant: the report has only string keys");
    let text = String::from_utf8(bytes).expect("invariant: serde_json writes UTF-8");
    // These three occur inside strings only, so replacing them everywhere is safe.
    text.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
}

/// Whether newer versions are looked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionCheck {
    /// Whether the check is on.
    pub enabled: bool,
    /// Whether the last check worked.
    pub success: bool,
    /// A newer version, or empty.
    pub new_version: String,
    /// When the next check happens, RFC 3339.
    pub next_check_at: String,
}

impl VersionCheck {
    /// No check is made.
    pub fn disabled() -> Self {
        Self {
            enabled: false,
            success: false,
            new_version: String::new(),
            next_check_at: "0001-01-01T00:00:00Z".to_owned(),
        }
    }
}

/// The mesh and the data path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Router {
    /// `weave`.
    pub protocol: String,
    /// Lowest protocol version spoken.
    pub protocol_min_version: u8,
    /// Highest protocol version spoken.
    pub protocol_max_version: u8,
    /// Whether a password is set.
    pub encryption: bool,
    /// Which passwords connections use; absent without encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passwords: Option<Passwords>,
    /// Hosts that were refused before they were introduced; absent when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// Whether peers are learned from other peers.
    pub peer_discovery: bool,
    /// Our peer name.
    pub name: String,
    /// Our nickname.
    pub nick_name: String,
    /// Our mesh port.
    pub port: u16,
    /// Every peer of the topology, ourselves included.
    pub peers: Vec<Peer>,
    /// First hop towards each peer.
    pub unicast_routes: Vec<UnicastRoute>,
    /// Next hops of broadcasts by source.
    pub broadcast_routes: Vec<BroadcastRoute>,
    /// Connections and targets being tried.
    #[serde(with = "null_when_empty")]
    pub connections: Vec<Connection>,
    /// Connections ended since start.
    pub termination_count: u64,
    /// Peers given by command line or request, as given.
    #[serde(with = "null_when_empty")]
    pub targets: Vec<String>,
    /// What each overlay says about itself.
    pub overlay_diagnostics: BTreeMap<String, Json>,
    /// Networks whose connections need no encryption.
    pub trusted_subnets: Vec<String>,
    /// Gossip since the start, by channel; left out when empty, since old reports do not have it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gossip: BTreeMap<String, Gossip>,
    /// Messages that were not passed on, by reason; left out when empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped_messages: BTreeMap<String, u64>,
    /// Connections that were refused or broke, by reason; left out when empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost_connections: BTreeMap<String, u64>,
    /// How frames enter the overlay.
    pub interface: String,
    /// Counters of the capturing interface, if any.
    #[serde(with = "null_map")]
    pub capture_stats: Option<BTreeMap<String, u64>>,
    /// MAC addresses and the peers that have them.
    #[serde(rename = "MACs", with = "null_when_empty")]
    pub macs: Vec<Mac>,
}

/// One peer of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Peer {
    /// Peer name.
    pub name: String,
    /// Nickname.
    pub nick_name: String,
    /// Identity of this run of the peer.
    #[serde(rename = "UID")]
    pub uid: u64,
    /// Short id, 12 bits.
    #[serde(rename = "ShortID")]
    pub short_id: u16,
    /// Version of the peer's record.
    pub version: u64,
    /// The peer's connections as it tells them.
    #[serde(with = "null_when_empty")]
    pub connections: Vec<PeerConnection>,
}

/// A connection as its owner gossips it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerConnection {
    /// Name of the other end.
    pub name: String,
    /// Nickname of the other end.
    pub nick_name: String,
    /// Address of the other end.
    pub address: String,
    /// Whether the owner dialled.
    pub outbound: bool,
    /// Whether data may cross it.
    pub established: bool,
}

/// A unicast route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnicastRoute {
    /// Destination peer.
    pub dest: String,
    /// Neighbour, or all zero for ourselves.
    pub via: String,
}

/// A broadcast route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BroadcastRoute {
    /// Peer where the broadcast starts.
    pub source: String,
    /// Our next hops for it.
    #[serde(with = "null_when_empty")]
    pub via: Vec<String>,
}

/// A connection of ours, or a target without one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Connection {
    /// Address and port of the other end.
    pub address: String,
    /// Whether we dial.
    pub outbound: bool,
    /// `established`, `pending`, `retrying`, `failed`, `connecting` or `waiting`.
    pub state: String,
    /// Overlay and peer, or the error.
    pub info: String,
    /// What the overlay says; absent for targets.
    #[serde(with = "null_map")]
    pub attrs: Option<BTreeMap<String, Json>>,
}

/// A MAC address seen on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mac {
    /// The address.
    pub mac: String,
    /// The peer that has it.
    pub name: String,
    /// Its nickname.
    pub nick_name: String,
    /// When it was last seen, RFC 3339.
    pub last_seen: String,
}

/// Address allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    /// The vote under way, if any.
    pub paxos: Option<Paxos>,
    /// The whole range.
    pub range: String,
    /// Addresses in it.
    #[serde(rename = "RangeNumIPs")]
    pub range_num_ips: u128,
    /// Addresses in use on this host.
    #[serde(rename = "ActiveIPs")]
    pub active_ips: u128,
    /// Subnet of requests that name none.
    pub default_subnet: String,
    /// The ring, one entry per token in address order.
    #[serde(with = "null_when_empty")]
    pub entries: Vec<RingEntry>,
    /// Claims that wait.
    #[serde(with = "null_when_empty")]
    pub pending_claims: Vec<PendingClaim>,
    /// Allocations that wait, as `ident subnet`.
    #[serde(with = "null_when_empty")]
    pub pending_allocates: Vec<String>,
    /// What peers say that cannot be true together with what we know, in words; left out when
    /// empty, since old reports do not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// What of our own addresses is not given at this time, and why, in words; left out when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// Addresses in use here that other peers own, in words; left out when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renumber: Vec<String>,
    /// What was given to peers that asked for space; absent in old reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donated: Option<Donated>,
}

/// A vote on who starts the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Paxos {
    /// Whether we vote.
    pub elector: bool,
    /// Voters known so far.
    pub known_nodes: usize,
    /// Voters needed.
    pub quorum: usize,
}

/// A part of the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RingEntry {
    /// First address.
    pub token: IpAddr,
    /// Addresses up to the next token.
    pub size: u128,
    /// Owner.
    pub peer: String,
    /// Owner's nickname.
    pub nickname: String,
    /// Whether the mesh knows the owner.
    pub is_known_peer: bool,
    /// Version of the entry.
    pub version: u32,
    /// Free addresses as the owner reported them last. Not in the JSON, whose entries are Weave
    /// Net's.
    #[serde(skip)]
    pub free: Option<u32>,
}

/// A claim that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PendingClaim {
    /// Who claims.
    pub ident: String,
    /// What is claimed.
    #[serde(rename = "CIDR")]
    pub cidr: Cidr,
}

/// An address and its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cidr {
    /// The address.
    pub addr: IpAddr,
    /// The prefix length.
    pub prefix_len: u8,
}

/// The name server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Dns {
    /// The domain, with its final dot.
    pub domain: String,
    /// Servers that answer what we do not know.
    #[serde(with = "null_when_empty")]
    pub upstream: Vec<String>,
    /// Where we listen.
    pub address: String,
    /// Time to live of our answers, in seconds.
    #[serde(rename = "TTL")]
    pub ttl: u32,
    /// Names known, dead ones included.
    #[serde(with = "null_when_empty")]
    pub entries: Vec<DnsEntry>,
    /// What the name server counts; absent in old reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<DnsCounters>,
}

/// A name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DnsEntry {
    /// The full name.
    pub hostname: String,
    /// The peer that registered it.
    pub origin: String,
    /// The container it names.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Its address.
    pub address: String,
    /// Version of the entry.
    pub version: i64,
    /// When it was deleted, in seconds since 1970; 0 while it lives.
    pub tombstone: i64,
}

/// Lists that are `null` when empty.
mod null_when_empty {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::template::EMPTY_LIST;

    pub(super) fn serialize<T, S>(list: &[T], serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize,
        S: Serializer,
    {
        if list.is_empty() {
            serializer.serialize_unit_struct(EMPTY_LIST)
        } else {
            list.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
    }
}

/// Maps that are `null` when there is none.
mod null_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::template::EMPTY_MAP;

    type Map<T> = Option<BTreeMap<String, T>>;

    pub(super) fn serialize<T, S>(map: &Map<T>, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize,
        S: Serializer,
    {
        match map {
            None => serializer.serialize_unit_struct(EMPTY_MAP),
            Some(map) => map.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Map<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Option::deserialize(deserializer)
    }
}
