//! The connections of this peer as a person thinks of them: one to each neighbour, and what carries
//! frames over it.
//!
//! A pure reading of the report, also of one that Weave Net has made.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{Connection, Router};

/// A connection of this peer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link<'r> {
    /// The connection.
    pub(crate) connection: &'r Connection,
    /// The name of the peer at its other end, once it has said it.
    pub(crate) peer: Option<&'r str>,
    /// What carries frames.
    pub(crate) overlay: Option<&'r str>,
    /// Why nothing better does.
    pub(crate) reason: Option<&'r str>,
    /// The largest packet of a pod that fits, in bytes.
    pub(crate) mtu: Option<u64>,
    /// Whether frames are encrypted.
    pub(crate) is_encrypted: bool,
    /// How often the overlay has changed.
    pub(crate) switched: u64,
    /// When it changed last, RFC 3339.
    pub(crate) since: Option<&'r str>,
}

/// How well a link works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// In the kernel.
    Good,
    /// In user space, or in a way that is not known.
    Slow,
    /// Not at all, or not yet.
    Bad,
}

impl Link<'_> {
    /// How well it works.
    pub(crate) fn health(&self) -> Health {
        match (&*self.connection.state, self.overlay) {
            ("established", Some("fastdp")) => Health::Good,
            ("established", Some("none")) => Health::Bad,
            ("established", _) => Health::Slow,
            _ => Health::Bad,
        }
    }
}

/// Every connection of `router`, in the order of the report.
pub(crate) fn links(router: &Router) -> Vec<Link<'_>> {
    let carried = carried(router);
    let names: Vec<&str> = router.peers.iter().map(|peer| peer.name.as_str()).collect();
    let of = |connection: &'_ Connection| {
        // `encrypted   fastdp 0a:00:00:00:00:02(host-2)`: behind the name a nickname may say anything.
        let words = connection.info.split_whitespace();
        let mut named = words.filter_map(|word| word.split_once('('));
        named.find_map(|(name, _)| names.iter().copied().find(|known| *known == name))
    };
    let link = |connection| {
        let peer = of(connection);
        let carried = peer.and_then(|peer| carried.get(peer));
        let text = |key| attribute(connection, key).and_then(Value::as_str);
        let changes = carried.and_then(|one| one["Changes"].as_array()?.last());
        Link {
            connection,
            peer,
            overlay: text("name").or_else(|| carried?["Overlay"].as_str()),
            reason: carried
                .and_then(|one| one["Reason"].as_str())
                .or_else(|| text("reason")),
            mtu: attribute(connection, "mtu").and_then(Value::as_u64),
            is_encrypted: attribute(connection, "encrypted").and_then(Value::as_bool) == Some(true),
            switched: carried
                .and_then(|one| one["Switched"].as_u64())
                .unwrap_or(0),
            since: changes.and_then(|change| change["Time"].as_str()),
        }
    };
    router.connections.iter().map(link).collect()
}

fn attribute<'r>(connection: &'r Connection, key: &str) -> Option<&'r Value> {
    connection.attrs.as_ref()?.get(key)
}

/// What the data path says about each neighbour, by its name.
fn carried(router: &Router) -> BTreeMap<&str, &Value> {
    let list = router.overlay_diagnostics.get("switches");
    let list = list.and_then(|switches| switches["Connections"].as_array());
    let all = list.into_iter().flatten();
    all.filter_map(|one| Some((one["Peer"].as_str()?, one)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::recorded::report;

    #[test]
    fn the_links_of_a_recorded_report_have_their_peers_and_overlays() {
        let report = report("07-password-host0");

        let links = links(&report.router);

        let first = &links[0];
        assert_eq!(first.peer, Some("00:00:00:00:00:02"));
        assert_eq!((first.overlay, first.mtu), (Some("sleeve"), Some(1414)));
        assert!(first.is_encrypted && first.health() == Health::Slow);
        for target in &links[1..] {
            assert_eq!((target.peer, target.health()), (None, Health::Bad));
        }
        assert_eq!(links.len(), 3);
    }

    #[test]
    fn a_nickname_cannot_pass_for_another_peer() {
        let mut report = report("04-three-peers-host0");
        let other = "x 00:00:00:00:00:03(y";
        report.router.connections[0].info = format!("sleeve 00:00:00:00:00:02({other})");

        assert_eq!(links(&report.router)[0].peer, Some("00:00:00:00:00:02"));
    }
}
