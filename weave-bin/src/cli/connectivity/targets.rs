//! What there is to try: peers of the report, and addresses in the overlay where they may answer.
//!
//! Nobody is told the addresses of other hosts' pods. Some are known all the same: names in the
//! name server have an origin, and who was spoken to lately is in the neighbour table with a
//! hardware address, whose peer the data path knows. Beyond those the first addresses of the ranges
//! of a peer are tried, since they are given out first: such a guess proves something only if it
//! answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::status::Report;
use crate::status::links::{Health, links};

/// A peer, or an address where one is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The nickname, or the address while nobody has answered there.
    pub(super) label: String,
    /// Where its mesh listens, as far as this host knows.
    pub(super) mesh: Option<SocketAddr>,
    /// What the daemon says about the connection.
    pub(super) link: Link,
    /// Addresses in the overlay that are surely there.
    pub(super) known: Vec<IpAddr>,
    /// Addresses that may be in use.
    pub(super) guessed: Vec<IpAddr>,
}

/// What the daemon says about the connection to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Frames cross it.
    Up {
        overlay: String,
        mtu: Option<u16>,
        /// Why nothing better carries them.
        reason: Option<String>,
        is_fast: bool,
    },
    /// There is one, and frames do not cross it.
    Down {
        /// In words.
        why: String,
    },
    /// There is none, and frames go through another peer.
    Through(String),
}

/// Everybody but this peer.
pub(super) fn targets(report: &Report, neighbours: &BTreeMap<Ipv4Addr, String>) -> Vec<Target> {
    let router = &report.router;
    let links = links(router);
    let mut targets = Vec::new();
    for link in &links {
        let connection = link.connection;
        // A peer that reached itself, or one that is listed beside its working connection.
        let is_echo = connection.info.contains("cannot connect to ourself");
        let peer = link
            .peer
            .and_then(|name| router.peers.iter().find(|peer| peer.name == name));
        if is_echo || peer.is_some_and(|peer| peer.name == router.name) {
            continue;
        }
        let address: Option<SocketAddr> = connection.address.parse().ok();
        let mesh = address.map(|address| {
            let port = if connection.outbound {
                address.port()
            } else {
                router.port
            };
            SocketAddr::new(address.ip(), port)
        });
        let name = link.peer.unwrap_or_default();
        targets.push(Target {
            label: peer
                .map_or(&connection.address, |peer| &peer.nick_name)
                .clone(),
            mesh,
            link: match link.health() {
                Health::Bad => Link::Down {
                    why: format!("{}: {}", connection.state, connection.info),
                },
                health => Link::Up {
                    overlay: link.overlay.unwrap_or("unknown").to_owned(),
                    mtu: link.mtu.and_then(|mtu| mtu.try_into().ok()),
                    reason: link.reason.map(str::to_owned),
                    is_fast: health == Health::Good,
                },
            },
            known: known(report, neighbours, name),
            guessed: guessed(report, name),
        });
    }
    let is_linked = |name: &str| links.iter().any(|link| link.peer == Some(name));
    for peer in &router.peers {
        if peer.name == router.name || is_linked(&peer.name) {
            continue;
        }
        let route = router
            .unicast_routes
            .iter()
            .find(|route| route.dest == peer.name);
        let via = route.and_then(|route| router.peers.iter().find(|one| one.name == route.via));
        targets.push(Target {
            label: peer.nick_name.clone(),
            mesh: None,
            link: match via {
                Some(via) => Link::Through(via.nick_name.clone()),
                None => Link::Down {
                    why: "no established connection leads to it".to_owned(),
                },
            },
            known: known(report, neighbours, &peer.name),
            guessed: guessed(report, &peer.name),
        });
    }
    targets
}

fn known(report: &Report, neighbours: &BTreeMap<Ipv4Addr, String>, peer: &str) -> Vec<IpAddr> {
    let names = report.dns.iter().flat_map(|dns| &dns.entries);
    let named = names
        .filter(|entry| entry.origin == peer && entry.tombstone == 0)
        .filter_map(|entry| entry.address.parse().ok());
    let spoken = neighbours.iter().filter(|(_, mac)| {
        let mut macs = report.router.macs.iter();
        macs.any(|one| one.name == peer && one.mac.eq_ignore_ascii_case(mac))
    });
    let spoken = spoken.map(|(address, _)| IpAddr::from(*address));
    let mut all: Vec<IpAddr> = spoken.chain(named).collect();
    all.dedup();
    all.truncate(KNOWN);
    all
}

fn guessed(report: &Report, peer: &str) -> Vec<IpAddr> {
    let rings = [&report.ipam, &report.ipam6].into_iter().flatten();
    let entries = rings.flat_map(|ipam| &ipam.entries);
    let entries = entries.filter(|entry| entry.peer == peer);
    let firsts = entries.take(RANGES).flat_map(|entry| {
        let second = (entry.size > 1).then(|| next(entry.token)).flatten();
        [Some(entry.token), second]
    });
    firsts.flatten().collect()
}

fn next(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().checked_add(1)?).into(),
        IpAddr::V6(address) => {
            std::net::Ipv6Addr::from_bits(address.to_bits().checked_add(1)?).into()
        }
    })
}

/// The neighbours on the device `bridge` in a table as `/proc/net/arp` has it (`arp(7)`): IP
/// address, type, flags, hardware address, mask, device.
pub(super) fn neighbours(table: &str, bridge: &str) -> BTreeMap<Ipv4Addr, String> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[address, _, flags, mac, _, device] = words.as_slice() else {
            return None;
        };
        // 0x2: the entry is complete.
        let is_complete = flags == "0x2" || flags == "0x6";
        let address = address.parse().ok()?;
        (device == bridge && is_complete).then(|| (address, mac.to_owned()))
    };
    table.lines().filter_map(row).collect()
}

/// Known addresses of one peer that are tried.
const KNOWN: usize = 3;
/// Ranges of one peer whose first addresses are tried.
const RANGES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::model::Mac;
    use crate::status::recorded::report;

    #[test]
    fn every_peer_and_every_target_is_tried_once() {
        let targets = targets(&report("07-password-host0"), &BTreeMap::new());

        let found: Vec<(&str, bool)> = targets
            .iter()
            .map(|target| {
                (
                    target.label.as_str(),
                    matches!(target.link, Link::Up { .. }),
                )
            })
            .collect();
        let expected = [
            ("host-1", true),
            ("192.168.77.3:6783", false),
            ("192.168.77.200:6783", false),
        ];
        assert_eq!(found, expected);
        assert_eq!(targets[0].mesh, Some("192.168.77.2:6783".parse().unwrap()));
        assert_eq!(
            targets[0].guessed[..2],
            ["10.40.0.0", "10.40.0.1"].map(|text| text.parse::<IpAddr>().unwrap())
        );
    }

    #[test]
    fn a_peer_without_a_connection_is_reached_through_another() {
        let mut report = report("04-three-peers-host0");
        report.router.connections.truncate(1);
        for route in &mut report.router.unicast_routes {
            if route.dest == "00:00:00:00:00:03" {
                route.via = "00:00:00:00:00:02".to_owned();
            }
        }

        let targets = targets(&report, &BTreeMap::new());

        assert_eq!(targets[1].label, "host-2");
        assert_eq!(targets[1].link, Link::Through("host-1".to_owned()));
    }

    #[test]
    fn neighbours_on_the_bridge_belong_to_the_peer_that_has_their_mac() {
        let table = "\
IP address       HW type     Flags       HW address            Mask     Device
10.40.0.7        0x1         0x2         9A:00:00:00:00:07     *        weave
10.40.0.8        0x1         0x0         00:00:00:00:00:00     *        weave
192.0.2.1        0x1         0x2         9a:00:00:00:00:09     *        eth0
";
        let mut report = report("04-three-peers-host0");
        report.router.macs = vec![Mac {
            mac: "9a:00:00:00:00:07".to_owned(),
            name: "00:00:00:00:00:02".to_owned(),
            nick_name: "host-1".to_owned(),
            last_seen: String::new(),
        }];

        let targets = targets(&report, &neighbours(table, "weave"));

        assert_eq!(targets[0].known, ["10.40.0.7".parse::<IpAddr>().unwrap()]);
        assert!(targets[1].known.is_empty());
    }
}
