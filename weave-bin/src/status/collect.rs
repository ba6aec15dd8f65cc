//! The report, gathered from mesh, allocator and data path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::watch;
use weave_mesh::node::{ChannelTraffic, ConnectionReport, LinkReport, PeerReport};
use weave_mesh::tokio::Mesh;

use super::drops;
use super::model::{
    BroadcastRoute, Cidr, Connection, Donated, Exposed, Gossip, Host, Ipam, Mac, Node, Passwords,
    Paxos, Peer, PeerConnection, PendingClaim, Refused, Report, RingEntry, Router, UnicastRoute,
    VersionCheck,
};
use crate::actor::ipam::Rings;
use crate::actor::overlay::{self, Carried, Overlay, SwitchCount, View};
use crate::daemon::LeftOut;
use crate::dns::server::Service;
use crate::host::Firewall;
use crate::kube::state::Cluster;
use crate::logging::{rfc3339, timestamp};
use crate::pods::Pods;

/// Gathers reports.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// The mesh.
    pub mesh: Mesh,
    /// The allocators, when addresses are allocated.
    pub ipam: Option<Rings>,
    /// The data path, when there is one.
    pub overlay: Option<Overlay>,
    /// The name server, when there is one.
    pub dns: Option<Arc<Service>>,
    /// The packet filter, when there is one.
    pub firewall: Option<Firewall>,
    /// The cluster side, when there is one.
    pub cluster: Option<watch::Receiver<Cluster>>,
    /// The pods, when addresses are allocated.
    pub pods: Option<Pods>,
    /// How the daemon was started.
    pub node: Node,
    /// The IPv6 range, where it is not used.
    pub left_out: Option<LeftOut>,
}

impl Reporter {
    /// The report at this moment; `None` when the daemon stops.
    pub async fn report(&self) -> Option<Report> {
        let mesh = self.mesh.report().await;
        let statuses = match &self.ipam {
            Some(rings) => rings.statuses().await.ok()?,
            None => Vec::new(),
        };
        let mut rings = statuses.iter().map(|status| ipam(status));
        let view = match &self.overlay {
            Some(overlay) => overlay.view().await,
            None => None,
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Some(Report {
            ready: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            version_check: VersionCheck::disabled(),
            router: router(&mesh, view.as_ref(), now),
            ipam: rings.next(),
            ipam6: rings.next(),
            left_out: self.left_out.clone(),
            dns: self.dns.as_deref().map(super::dns::collect),
            host: self.firewall.as_ref().map(|one| host(&one.view())),
            cluster: self.cluster.as_ref().map(|one| one.borrow().clone()),
            node: Some(self.node.clone()),
            pods: self.pods.as_ref().map(Pods::counts),
        })
    }
}

fn router(mesh: &weave_mesh::node::Report, view: Option<&View>, now: Duration) -> Router {
    Router {
        protocol: "weave".to_owned(),
        protocol_min_version: mesh.protocol_min_version,
        protocol_max_version: mesh.protocol_max_version,
        encryption: mesh.encryption,
        passwords: mesh.passwords.map(|passwords| Passwords {
            accepted: passwords.accepted,
            with_current: passwords.with_current,
            with_other: passwords.with_other,
            with_dropped: passwords.with_dropped,
        }),
        refused: mesh
            .refusals
            .iter()
            .map(|host| Refused {
                address: host.address.to_string(),
                reason: host.reason.clone(),
                count: host.count,
                last: rfc3339(now.saturating_sub(host.ago)),
            })
            .collect(),
        peer_discovery: mesh.discovery,
        name: mesh.name.to_string(),
        nick_name: mesh.nickname.clone(),
        port: mesh.port,
        peers: mesh.peers.iter().map(peer).collect(),
        unicast_routes: mesh
            .unicast_routes
            .iter()
            .map(|(dest, via)| UnicastRoute {
                dest: dest.to_string(),
                via: via.to_string(),
            })
            .collect(),
        broadcast_routes: mesh
            .broadcast_routes
            .iter()
            .map(|(source, via)| BroadcastRoute {
                source: source.to_string(),
                via: via.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        connections: mesh
            .connections
            .iter()
            .map(|one| connection(one, now))
            .collect(),
        termination_count: mesh.termination_count,
        targets: mesh.targets.clone(),
        overlay_diagnostics: view.map(|view| diagnostics(view, now)).unwrap_or_default(),
        trusted_subnets: mesh.trusted_subnets.clone(),
        gossip: gossip(&mesh.traffic),
        dropped_messages: drops::messages(&mesh.counters),
        lost_connections: drops::connections(&mesh.counters),
        interface: view.map_or_else(|| "none".to_owned(), |view| view.interface.clone()),
        capture_stats: None,
        macs: view.map(|view| macs(view, mesh, now)).unwrap_or_default(),
    }
}

fn gossip(traffic: &BTreeMap<String, ChannelTraffic>) -> BTreeMap<String, Gossip> {
    let counted = |one: &ChannelTraffic| Gossip {
        messages_sent: one.messages_sent,
        bytes_sent: one.bytes_sent,
        messages_received: one.messages_received,
        bytes_received: one.bytes_received,
    };
    let all = traffic.iter();
    all.map(|(channel, one)| (channel.clone(), counted(one)))
        .collect()
}

fn peer(peer: &PeerReport) -> Peer {
    Peer {
        name: peer.name.to_string(),
        nick_name: peer.nickname.clone(),
        uid: peer.uid.0,
        short_id: peer.short_id.map_or(0, u16::from),
        version: peer.version,
        connections: peer.connections.iter().map(peer_connection).collect(),
    }
}

fn peer_connection(link: &LinkReport) -> PeerConnection {
    PeerConnection {
        name: link.name.to_string(),
        nick_name: link.nickname.clone(),
        address: link.address.clone(),
        outbound: link.outbound,
        established: link.established,
    }
}

fn connection(one: &ConnectionReport, now: Duration) -> Connection {
    Connection {
        address: one.address.clone(),
        outbound: one.outbound,
        state: one.state.to_string(),
        info: one.info(|ahead| moment(now + ahead)),
        attrs: one.attributes.as_ref().map(|attributes| {
            attributes
                .iter()
                .map(|(key, text)| (key.clone(), attribute(key, text)))
                .collect()
        }),
    }
}

/// Numbers and truth values are JSON's own, as Weave Net writes them; the name stays text.
fn attribute(key: &str, text: &str) -> Value {
    match (key, text, text.parse::<u64>()) {
        ("name", ..) => json!(text),
        (_, "true", _) => json!(true),
        (_, "false", _) => json!(false),
        (_, _, Ok(number)) => json!(number),
        _ => json!(text),
    }
}

/// What each overlay says about itself, as Weave Net has it, and beside them which connection uses
/// which, since when and why.
fn diagnostics(view: &View, now: Duration) -> BTreeMap<String, Value> {
    let ports: Vec<Value> = view
        .ports
        .iter()
        .map(|port| json!({ "ID": port.index, "Name": port.name, "TypeName": port.kind }))
        .collect();
    let fastdp = json!({ "Vports": ports, "Flows": null, "Counters": view.counters });
    BTreeMap::from([
        (overlay::FASTDP.to_owned(), fastdp),
        ("switches".to_owned(), switches(view, now)),
    ])
}

fn switches(view: &View, now: Duration) -> Value {
    let carried = |one: &Carried| {
        let changes = one.changes.iter().map(|change| {
            json!({
                "Time": rfc3339(now.saturating_sub(change.age)),
                "From": change.from,
                "To": change.to,
                "Cause": change.cause.name(),
                "Why": change.why,
            })
        });
        json!({
            "Peer": one.peer.to_string(),
            "Overlay": one.overlay,
            "Reason": one.reason,
            "Switched": one.switched,
            "Changes": changes.collect::<Vec<_>>(),
        })
    };
    let count =
        |one: &SwitchCount| json!({ "To": one.to, "Cause": one.cause.name(), "Count": one.count });
    json!({
        "Connections": view.carriers.iter().map(carried).collect::<Vec<_>>(),
        "Counts": view.switches.iter().map(count).collect::<Vec<_>>(),
    })
}

fn macs(view: &View, mesh: &weave_mesh::node::Report, now: Duration) -> Vec<Mac> {
    view.macs
        .iter()
        .filter_map(|mac| {
            let owner = mesh.peers.iter().find(|peer| match mac.owner {
                Some(id) => peer.short_id.map(u16::from) == Some(u16::from(id)),
                None => peer.name == mesh.name,
            })?;
            let [a, b, c, d, e, f] = mac.address;
            Some(Mac {
                mac: format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
                name: owner.name.to_string(),
                nick_name: owner.nickname.clone(),
                last_seen: rfc3339(now.saturating_sub(mac.age)),
            })
        })
        .collect()
}

pub(super) fn host(view: &crate::host::view::View) -> Host {
    let (backend, reason) = match view.backend {
        Some((backend, reason)) => (backend.to_string(), reason.to_owned()),
        None => (String::new(), String::new()),
    };
    let last = view.last.as_ref();
    Host {
        iptables: backend,
        iptables_reason: reason,
        exposed: view
            .exposed
            .iter()
            .map(|(address, masquerade)| Exposed {
                address: address.to_string(),
                masquerade: *masquerade,
            })
            .collect(),
        rule_repairs: view.rule_repairs,
        link_repairs: view.link_repairs,
        last_repair: last.map(|(_, text)| text.clone()),
        last_repair_at: last.map(|(at, _)| rfc3339(*at)),
        faults: view.faults(),
    }
}

fn ipam(status: &weave_ipam::Status) -> Ipam {
    Ipam {
        paxos: status.paxos.map(|paxos| Paxos {
            elector: paxos.is_elector,
            known_nodes: paxos.known_nodes,
            quorum: paxos.quorum,
        }),
        range: status.universe.to_string(),
        range_num_ips: status.universe_size,
        active_ips: status.active,
        default_subnet: status.default_subnet.to_string(),
        entries: status
            .entries
            .iter()
            .map(|entry| RingEntry {
                token: entry.token,
                size: entry.size,
                peer: entry.peer.to_string(),
                nickname: entry.nickname.clone(),
                is_known_peer: entry.is_known_peer,
                version: entry.version,
                free: Some(entry.free),
            })
            .collect(),
        pending_claims: status
            .pending_claims
            .iter()
            .map(|(ident, address)| PendingClaim {
                ident: ident.clone(),
                cidr: Cidr {
                    addr: address.addr(),
                    prefix_len: address.prefix_len(),
                },
            })
            .collect(),
        pending_allocates: status
            .pending_allocates
            .iter()
            .map(|(ident, subnet)| format!("{ident} {subnet}"))
            .collect(),
        conflicts: status
            .conflicts
            .iter()
            .chain(&status.refusals)
            .cloned()
            .chain(status.doubt.map(|doubt| doubt.to_string()))
            .collect(),
        held: status.holds.iter().map(ToString::to_string).collect(),
        renumber: status.renumber.iter().map(ToString::to_string).collect(),
        donated: Some(Donated {
            ranges: status.donated.ranges,
            addresses: status.donated.addresses,
        }),
    }
}

/// A moment for people, as `2026-11-20 21:48:53 +0000 UTC`.
fn moment(since_epoch: Duration) -> String {
    let text: String = timestamp(since_epoch)
        .replace('/', "-")
        .chars()
        .take(19)
        .collect();
    text + " +0000 UTC"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_json_types() {
        assert_eq!(attribute("mtu", "1376"), json!(1376));
        assert_eq!(attribute("encrypted", "true"), json!(true));
        assert_eq!(attribute("name", "7"), json!("7"));
        assert_eq!(attribute("path", "direct"), json!("direct"));
    }

    #[test]
    fn every_change_of_overlay_is_told_with_time_and_reason() {
        let view = View {
            carriers: vec![Carried {
                peer: "00:00:00:00:00:02".parse().unwrap(),
                overlay: Some("sleeve".to_owned()),
                reason: Some("fastdp: no heartbeat for 2.5 s".to_owned()),
                switched: 1,
                changes: vec![overlay::Switched {
                    age: Duration::from_secs(3),
                    from: Some("fastdp".to_owned()),
                    to: Some("sleeve".to_owned()),
                    cause: weave_datapath::overlay::Cause::Silent,
                    why: "fastdp: no heartbeat for 2.5 s".to_owned(),
                }],
            }],
            ..View::default()
        };

        let told = switches(&view, Duration::from_secs(1_795_211_717));

        let change = &told["Connections"][0]["Changes"][0];
        assert_eq!(change["Time"], "2026-11-20T21:55:14.000000Z");
        assert_eq!(change["Cause"], "silent");
        assert_eq!(told["Counts"], json!([]));
    }

    #[test]
    fn moments_are_written_for_people_and_programs() {
        let time = Duration::new(1_795_211_714, 347_372_000);

        assert_eq!(moment(time), "2026-11-20 21:55:14 +0000 UTC");
        assert_eq!(rfc3339(time), "2026-11-20T21:55:14.347372Z");
    }
}
