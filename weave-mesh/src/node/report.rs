//! What an operator may ask: the state of peers, connections and targets at one moment.
//!
//! The structs follow the `Router` object of Weave Net's status report; names and layout of JSON
//! and text are up to the caller.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::ChannelTraffic;
use crate::peer::{PeerName, ShortId, Uid};

/// The state of one peer of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Lowest protocol version this peer accepts.
    pub protocol_min_version: u8,
    /// Highest protocol version this peer accepts.
    pub protocol_max_version: u8,
    /// Whether a password is configured.
    pub encryption: bool,
    /// Whether peers known from gossip are dialled.
    pub discovery: bool,
    /// Name of this peer.
    pub name: PeerName,
    /// Nickname of this peer.
    pub nickname: String,
    /// TCP port of this peer.
    pub port: u16,
    /// Every known peer, this one included, by name.
    pub peers: Vec<PeerReport>,
    /// Destination and next hop; our own entry has [`PeerName::UNKNOWN`] as hop.
    pub unicast_routes: Vec<(PeerName, PeerName)>,
    /// Source and next hops.
    pub broadcast_routes: Vec<(PeerName, Vec<PeerName>)>,
    /// Live connections, then targets that are not connected.
    pub connections: Vec<ConnectionReport>,
    /// Connections that ended since the start.
    pub termination_count: u64,
    /// Direct peers, as given.
    pub targets: Vec<String>,
    /// Trusted subnets in CIDR notation.
    pub trusted_subnets: Vec<String>,
    /// Which passwords are in use; `None` without any.
    pub passwords: Option<PasswordReport>,
    /// Hosts whose connections were refused before they were introduced, the last one first.
    pub refusals: Vec<RefusalReport>,
    /// Unknown gossip channels that are relayed.
    pub surrogate_channels: Vec<String>,
    /// What was dropped, refused or computed.
    pub counters: Counters,
    /// Gossip since the start, by channel.
    pub traffic: BTreeMap<String, ChannelTraffic>,
}

impl Report {
    /// The report of a mesh that has stopped: it names this peer and nothing else.
    #[must_use]
    pub fn stopped(name: PeerName) -> Self {
        Self {
            protocol_min_version: 0,
            protocol_max_version: 0,
            encryption: false,
            discovery: false,
            name,
            nickname: String::new(),
            port: 0,
            peers: Vec::new(),
            unicast_routes: Vec::new(),
            broadcast_routes: Vec::new(),
            connections: Vec::new(),
            termination_count: 0,
            targets: Vec::new(),
            trusted_subnets: Vec::new(),
            passwords: None,
            refusals: Vec::new(),
            surrogate_channels: Vec::new(),
            counters: Counters::default(),
            traffic: BTreeMap::new(),
        }
    }
}

/// How many live connections use which passwords. An old password may be dropped once no
/// connection attempt needs it: when every peer prefers the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordReport {
    /// Passwords that are accepted, the current one included.
    pub accepted: usize,
    /// Connections with the current password.
    pub with_current: usize,
    /// Connections with another accepted password.
    pub with_other: usize,
    /// Connections with a password that was dropped since they began.
    pub with_dropped: usize,
}

/// A host whose connections were refused during the introduction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusalReport {
    /// The host.
    pub address: IpAddr,
    /// Why the last one was refused.
    pub reason: String,
    /// How many were refused.
    pub count: u64,
    /// How long ago the last one was.
    pub ago: Duration,
}

/// One peer of the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerReport {
    /// Its name.
    pub name: PeerName,
    /// Its nickname.
    pub nickname: String,
    /// Its incarnation.
    pub uid: Uid,
    /// Its short id, if it has one.
    pub short_id: Option<ShortId>,
    /// Version of its record.
    pub version: u64,
    /// Its connections by remote name.
    pub connections: Vec<LinkReport>,
}

/// One connection of one peer, as that peer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkReport {
    /// Name of the remote peer.
    pub name: PeerName,
    /// Nickname of the remote peer; empty if it is not known.
    pub nickname: String,
    /// Address of the remote end.
    pub address: String,
    /// Whether the reporting peer dialled.
    pub outbound: bool,
    /// Whether the data overlay works.
    pub established: bool,
}

/// One live connection, or one target that is not connected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionReport {
    /// `ip:port` of the remote end; the text as given while a name is not resolved.
    pub address: String,
    /// Whether this peer dialled.
    pub outbound: bool,
    /// What it is doing.
    pub state: ConnectionState,
    /// The remote peer of a live connection.
    pub remote: Option<(PeerName, String)>,
    /// Whether data is to be sealed; `None` without a password, and for targets.
    pub encrypted: Option<bool>,
    /// The data overlay in use, if it is known.
    pub overlay: Option<String>,
    /// What the overlay tells about itself, `name` included; `None` for targets.
    pub attributes: Option<BTreeMap<String, String>>,
    /// Why the last attempt on a target ended.
    pub error: Option<String>,
    /// When a waiting target is tried again.
    pub retry: Option<Retry>,
}

impl ConnectionReport {
    /// The text in the `Info` column; `time` writes a moment that lies this far ahead.
    #[must_use]
    pub fn info(&self, time: impl Fn(Duration) -> String) -> String {
        if let Some((name, nickname)) = &self.remote {
            let overlay = self.overlay.as_deref().unwrap_or("none");
            let encryption = match self.encrypted {
                Some(true) => "encrypted   ",
                Some(false) => "unencrypted ",
                None => "",
            };
            return format!("{encryption}{overlay:<6} {name}({nickname})");
        }
        let error = self.error.as_deref().unwrap_or_default();
        let retry = match self.retry {
            Some(Retry::In(wait)) => time(wait),
            Some(Retry::Never) | None => "never".to_owned(),
        };
        match self.state {
            ConnectionState::Waiting => format!("until: {retry}"),
            ConnectionState::Failed => format!("{error}, retry: {retry}"),
            _ => error.to_owned(),
        }
    }
}

/// State of a connection or target. `Display` is the word used in status output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionState {
    /// Live, and the data overlay works.
    Established,
    /// Live, and the data overlay does not work yet.
    Pending,
    /// First attempt under way.
    Connecting,
    /// Attempt under way after a failed one.
    Retrying,
    /// To be tried later, without a failure so far.
    Waiting,
    /// To be tried later, after a failure.
    Failed,
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Established => "established",
            Self::Pending => "pending",
            Self::Connecting => "connecting",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        })
    }
}

/// When a target is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After this time.
    In(Duration),
    /// Not before a user asks for it.
    Never,
}

/// How often something was dropped or refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Unicasts to relay without a route, or with a full queue on the way.
    pub unicast_relay_failed: u64,
    /// Unicasts to us on a channel we do not know.
    pub unicast_unknown_channel: u64,
    /// Messages on more unknown channels than are relayed.
    pub surrogate_refused: u64,
    /// Gossip payloads that did not fit the queue of a slow connection.
    pub gossip_dropped: u64,
    /// States and payloads over the largest message size.
    pub message_too_large: u64,
    /// Overlay control messages from peers that name no overlay or have no tag.
    pub control_malformed: u64,
    /// Overlay control messages of ours that would harm the remote or are for nobody.
    pub control_refused: u64,
    /// Overlay control messages that the data plane was too slow to take.
    pub control_dropped: u64,
    /// Protocol tags this version does not know.
    pub unknown_tag: u64,
    /// Inbound connections refused because too many are being introduced.
    pub introduction_refused: u64,
    /// Connections that lost against another one with the same peer.
    pub duplicate: u64,
    /// Connections ended because nothing could be written for too long.
    pub write_timeout: u64,
    /// Connections ended because nothing was received for too long.
    pub read_timeout: u64,
    /// Connections refused, or refused to us, because the passwords differ.
    pub password_refused: u64,
    /// Connections refused because one side has a password and the other has none.
    pub password_missing: u64,
    /// Connections that ended during the introduction for any other reason.
    pub introduction_failed: u64,
    /// Connections ended because a message did not open: changed, repeated, out of order.
    pub message_not_opened: u64,
    /// Connections ended because a message was over the limit for its moment.
    pub message_oversized: u64,
    /// Connections ended because a message could not be decoded.
    pub message_malformed: u64,
    /// Messages not sent or passed on because they crash a Weave Net router.
    pub hazard_withheld: u64,
    /// Tables of next hops and broadcast trees that were computed from the graph.
    pub route_calculations: u64,
    /// Topology updates, whole or as deltas, that were merged.
    pub updates_merged: u64,
    /// Records that were taken over from them.
    pub records_merged: u64,
    /// Things to send that were merged into what waited for the same connection already.
    pub gossip_coalesced: u64,
    /// Records and states that were not sent because the neighbour is known to hold them.
    pub gossip_known: u64,
    /// Digests of neighbours that differed from ours.
    pub digests_differed: u64,
    /// Records taken over as a delta.
    pub deltas_applied: u64,
    /// Deltas from a version that is not known here; the whole record was asked for.
    pub deltas_missed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(state: ConnectionState, error: Option<&str>, retry: Option<Retry>) -> String {
        let report = ConnectionReport {
            address: String::new(),
            outbound: true,
            state,
            remote: None,
            encrypted: None,
            overlay: None,
            attributes: None,
            error: error.map(str::to_owned),
            retry,
        };
        report.info(|wait| format!("in {wait:?}"))
    }

    #[test]
    fn info_reads_as_the_reference_writes_it() {
        let soon = Some(Retry::In(Duration::from_secs(3)));

        assert_eq!(target(ConnectionState::Connecting, None, None), "");
        assert_eq!(target(ConnectionState::Retrying, Some("EOF"), None), "EOF");
        assert_eq!(target(ConnectionState::Waiting, None, soon), "until: in 3s");
        assert_eq!(
            target(ConnectionState::Failed, Some("EOF"), soon),
            "EOF, retry: in 3s"
        );
        let never = target(ConnectionState::Failed, Some("EOF"), Some(Retry::Never));
        assert_eq!(never, "EOF, retry: never");
    }

    #[test]
    fn info_of_a_live_connection_names_overlay_and_peer() {
        let mut report = ConnectionReport {
            address: "10.0.0.2:6783".into(),
            outbound: true,
            state: ConnectionState::Established,
            remote: Some((PeerName::from_bytes([10, 0, 0, 0, 0, 2]), "beta".into())),
            encrypted: None,
            overlay: Some("fastdp".into()),
            attributes: None,
            error: None,
            retry: None,
        };

        assert_eq!(
            report.info(|_| String::new()),
            "fastdp 0a:00:00:00:00:02(beta)"
        );
        report.encrypted = Some(false);
        assert_eq!(
            report.info(|_| String::new()),
            "unencrypted fastdp 0a:00:00:00:00:02(beta)"
        );
        (report.encrypted, report.overlay) = (Some(true), None);
        assert_eq!(
            report.info(|_| String::new()),
            "encrypted   none   0a:00:00:00:00:02(beta)"
        );
    }
}
