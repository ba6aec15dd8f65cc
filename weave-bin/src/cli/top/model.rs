//! From two readings to rates: what `weave top` shows, as values.
//!
//! Counters that went back belong to a daemon or a device that started anew: they have no rate.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::status::Report;
use crate::status::links::{Health, links};

/// A reading.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// When, on a clock that never goes back.
    pub(super) at: Duration,
    /// The report of the daemon.
    pub(super) report: Report,
    /// What devices of this host counted.
    pub(super) devices: BTreeMap<String, Counts>,
    /// Round trips to peers by the address of their hosts, in milliseconds.
    pub(super) pings: BTreeMap<std::net::IpAddr, f64>,
}

/// What a device counted since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) bytes_received: u64,
    pub(super) frames_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) frames_sent: u64,
    pub(super) dropped: u64,
}

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Top {
    /// The time between the readings, in seconds.
    pub(super) seconds: f64,
    /// This host.
    pub(super) node: Node,
    /// A row for each connection, trouble first.
    pub(super) peers: Vec<Row>,
}

/// This host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) nickname: String,
    pub(super) version: String,
    /// Peers of the mesh, this one included.
    pub(super) peers: usize,
    pub(super) connections: usize,
    pub(super) established: usize,
    /// Addresses in use here, by range.
    pub(super) addresses: BTreeMap<String, u128>,
    /// Hardware addresses that frames are forwarded to.
    pub(super) macs: usize,
    pub(super) devices: BTreeMap<String, Traffic>,
    pub(super) gossip: BTreeMap<String, Gossip>,
    /// Frames a second by what became of them; those that began to be counted between the readings
    /// included.
    pub(super) frames: BTreeMap<String, f64>,
}

/// What a device carries, each a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Traffic {
    pub(super) bytes_received: Option<f64>,
    pub(super) frames_received: Option<f64>,
    pub(super) bytes_sent: Option<f64>,
    pub(super) frames_sent: Option<f64>,
    pub(super) dropped: Option<f64>,
}

/// Gossip of a channel, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Gossip {
    pub(super) received: Option<f64>,
    pub(super) sent: Option<f64>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    /// The nickname of the peer, or its address while it has not said one.
    pub(super) peer: String,
    pub(super) name: Option<String>,
    pub(super) address: String,
    pub(super) state: String,
    pub(super) overlay: Option<String>,
    pub(super) mtu: Option<u64>,
    pub(super) encrypted: bool,
    /// To the host of the peer and back, past the overlay.
    pub(super) ping_ms: Option<f64>,
    /// Hardware addresses that are there.
    pub(super) macs: usize,
    /// Changes of the overlay.
    pub(super) switched: u64,
    /// When the overlay changed last, RFC 3339.
    pub(super) since: Option<String>,
    /// Why nothing better carries frames, or why there is no connection.
    pub(super) why: Option<String>,
    #[serde(skip)]
    pub(super) health: Option<Health>,
}

impl Top {
    /// What happened from `before` to `after`.
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.at.saturating_sub(before.at).as_secs_f64();
        Self {
            seconds,
            node: node(before, after, seconds),
            peers: rows(after),
        }
    }
}

fn node(before: &Sample, after: &Sample, seconds: f64) -> Node {
    let router = &after.report.router;
    let ipams = [&after.report.ipam, &after.report.ipam6];
    let addresses = ipams.into_iter().flatten();
    let established = router
        .connections
        .iter()
        .filter(|one| one.state == "established");
    Node {
        name: router.name.clone(),
        nickname: router.nick_name.clone(),
        version: after.report.version.clone(),
        peers: router.peers.len(),
        connections: router.connections.len(),
        established: established.count(),
        addresses: addresses
            .map(|ipam| (ipam.range.clone(), ipam.active_ips))
            .collect(),
        macs: router.macs.len(),
        devices: devices(before, after, seconds),
        gossip: gossip(before, after, seconds),
        frames: frames(before, after, seconds),
    }
}

fn devices(before: &Sample, after: &Sample, seconds: f64) -> BTreeMap<String, Traffic> {
    let traffic = |(name, now): (&String, &Counts)| {
        let then = before.devices.get(name);
        let of = |read: fn(&Counts) -> u64| rate(then.map(read), read(now), seconds);
        let traffic = Traffic {
            bytes_received: of(|counts| counts.bytes_received),
            frames_received: of(|counts| counts.frames_received),
            bytes_sent: of(|counts| counts.bytes_sent),
            frames_sent: of(|counts| counts.frames_sent),
            dropped: of(|counts| counts.dropped),
        };
        (name.clone(), traffic)
    };
    after.devices.iter().map(traffic).collect()
}

fn gossip(before: &Sample, after: &Sample, seconds: f64) -> BTreeMap<String, Gossip> {
    let earlier = &before.report.router.gossip;
    let channels = after.report.router.gossip.iter();
    channels
        .map(|(channel, now)| {
            let then = earlier.get(channel);
            let gossip = Gossip {
                received: rate(
                    then.map(|one| one.bytes_received),
                    now.bytes_received,
                    seconds,
                ),
                sent: rate(then.map(|one| one.bytes_sent), now.bytes_sent, seconds),
            };
            (channel.clone(), gossip)
        })
        .collect()
}

/// Counters of the data path that moved.
fn frames(before: &Sample, after: &Sample, seconds: f64) -> BTreeMap<String, f64> {
    let counters = |sample: &Sample| -> BTreeMap<String, u64> {
        let fastdp = sample.report.router.overlay_diagnostics.get("fastdp");
        let counters = fastdp.and_then(|fastdp| fastdp["Counters"].as_object());
        let counted = counters.into_iter().flatten();
        counted
            .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
            .collect()
    };
    let earlier = counters(before);
    let moved = counters(after).into_iter().filter_map(|(name, now)| {
        let then = earlier.get(&name).copied().unwrap_or(0);
        let rate = rate(Some(then), now, seconds).filter(|rate| *rate > 0.0)?;
        Some((name, rate))
    });
    moved.collect()
}

fn rows(sample: &Sample) -> Vec<Row> {
    let router = &sample.report.router;
    let mut rows: Vec<Row> = links(router)
        .iter()
        .map(|link| {
            let connection = link.connection;
            let nickname = link.peer.and_then(|name| {
                let mut peers = router.peers.iter();
                peers.find(|peer| peer.name == name)
            });
            let host = connection.address.parse().ok();
            let host = host.map(|address: std::net::SocketAddr| address.ip());
            let is_up = connection.state == "established";
            let why = link
                .reason
                .or_else(|| (!is_up).then_some(connection.info.as_str()));
            let there = |mac: &&crate::status::model::Mac| Some(mac.name.as_str()) == link.peer;
            Row {
                peer: nickname
                    .map_or(&connection.address, |peer| &peer.nick_name)
                    .clone(),
                name: link.peer.map(str::to_owned),
                address: connection.address.clone(),
                state: connection.state.clone(),
                overlay: link.overlay.map(str::to_owned),
                mtu: link.mtu,
                encrypted: link.is_encrypted,
                ping_ms: host.and_then(|host| sample.pings.get(&host).copied()),
                macs: router.macs.iter().filter(there).count(),
                switched: link.switched,
                since: link.since.map(str::to_owned),
                why: why.map(str::to_owned),
                health: Some(link.health()),
            }
        })
        .collect();
    rows.sort_by(|a, b| b.health.cmp(&a.health).then_with(|| a.peer.cmp(&b.peer)));
    rows
}

/// Steps a second; nothing is known of a counter that was not there or went back.
fn rate(then: Option<u64>, now: u64, seconds: f64) -> Option<f64> {
    let steps = now.checked_sub(then?)?;
    (seconds > 0.0).then(|| float(steps) / seconds)
}

/// A count as a number with a point; beyond 2^53 the last digits do not matter here.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is shown with three digits"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::recorded;

    pub(in crate::cli::top) fn sample(seconds: u64, name: &str) -> Sample {
        Sample {
            at: Duration::from_secs(seconds),
            report: recorded::report(name),
            devices: BTreeMap::new(),
            pings: BTreeMap::new(),
        }
    }

    fn counts(bytes: u64) -> Counts {
        Counts {
            bytes_received: bytes,
            frames_received: bytes / 100,
            ..Counts::default()
        }
    }

    #[test]
    fn rates_are_steps_a_second() {
        let (mut before, mut after) = (
            sample(10, "04-three-peers-host0"),
            sample(12, "04-three-peers-host0"),
        );
        before
            .devices
            .insert("vxlan-6784".to_owned(), counts(1_000));
        after.devices.insert("vxlan-6784".to_owned(), counts(5_000));
        after.devices.insert("new".to_owned(), counts(1));
        let counters = |sent: u64| json!({ "Counters": { "sent": sent, "drop_stp": 3 } });
        before
            .report
            .router
            .overlay_diagnostics
            .insert("fastdp".to_owned(), counters(10));
        after
            .report
            .router
            .overlay_diagnostics
            .insert("fastdp".to_owned(), counters(40));

        let top = Top::between(&before, &after);

        let device = top.node.devices["vxlan-6784"];
        assert_eq!(
            (device.bytes_received, device.frames_received),
            (Some(2_000.0), Some(20.0))
        );
        assert_eq!(device.bytes_sent, Some(0.0));
        assert_eq!(top.node.devices["new"].bytes_received, None);
        assert_eq!(top.node.frames, BTreeMap::from([("sent".to_owned(), 15.0)]));
    }

    #[test]
    fn a_counter_that_went_back_has_no_rate() {
        assert_eq!(rate(Some(7), 5, 1.0), None);
        assert_eq!(rate(None, 5, 1.0), None);
        assert_eq!(rate(Some(5), 5, 0.0), None);
        assert_eq!(rate(Some(5), 7, 2.0), Some(1.0));
    }

    #[test]
    fn trouble_comes_first_and_has_its_reason() {
        let mut after = sample(1, "07-password-host0");
        after.pings.insert("192.168.77.2".parse().unwrap(), 0.25);

        let top = Top::between(&after, &after);

        let states: Vec<&str> = top.peers.iter().map(|row| row.state.as_str()).collect();
        assert_eq!(states, ["failed", "failed", "established"]);
        assert!(
            top.peers[1].why.as_ref().unwrap().contains("read tcp"),
            "{:?}",
            top.peers[0]
        );
        assert_eq!(
            (&*top.peers[2].peer, top.peers[2].ping_ms),
            ("host-1", Some(0.25))
        );
        assert_eq!((top.node.connections, top.node.established), (3, 1));
    }
}
