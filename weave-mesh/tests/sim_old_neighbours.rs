//! Old routers as neighbours: what they collect, they are told again.
//!
//! A Weave Net router collects, one second after an update, every peer that it cannot reach in the
//! graph that it then has. A record that comes before the record that lists it is lost there, and
//! its peer returns as a placeholder without nickname and connections.

#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::net::SocketAddr;
use std::time::Duration;

use weave_mesh::node::Config;
use weave_mesh::peer::PeerName;
use weave_mesh::sim::{HostId, Settings, Simulation};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn config(n: u8, peers: &[u8]) -> Config {
    Config::default()
        .name(PeerName::from_bytes([10, 0, 0, 0, 0, n]))
        .nickname(format!("peer-{n}"))
        .seed(u64::from(n) << 8)
        .listen(SocketAddr::from(([10, 0, 0, n], 6783)))
        .peers(peers.iter().map(|peer| format!("10.0.0.{peer}")))
        .discovery(false)
        .overlays(["sleeve"])
}

/// A line of hosts, each connected to the one before; `true` is one of ours. Host n starts `gap`
/// after host n - 1.
fn line(ours: &[bool], gap: Duration, seed: u64) -> (Simulation, Vec<HostId>) {
    let mut simulation = Simulation::new(Settings::default().seed(seed));
    let mut hosts = Vec::new();
    for (n, is_ours) in (1..).zip(ours) {
        let before = if n == 1 { vec![] } else { vec![n - 1] };
        let at = gap * u32::from(n - 1);
        hosts.push(if *is_ours {
            simulation.start(at, config(n, &before), []).unwrap()
        } else {
            simulation.start_old(at, config(n, &before))
        });
    }
    (simulation, hosts)
}

/// What `host` knows of each peer: nickname, version, established connections.
fn view(simulation: &Simulation, host: HostId) -> Vec<(String, u64, usize)> {
    let topology = simulation.topology(host).unwrap();
    let records = topology.records();
    let mut view: Vec<_> = records
        .map(|record| {
            let links = record.connections.values();
            let established = links.filter(|link| link.established).count();
            (record.nickname.to_string(), record.version, established)
        })
        .collect();
    view.sort();
    view
}

/// Runs until all hosts have the same view of a line of `hosts`; when that was.
fn settle(simulation: &mut Simulation, hosts: &[HostId], limit: Duration) -> Duration {
    let ends = 2 * (hosts.len() - 1);
    loop {
        let views: Vec<_> = hosts.iter().map(|host| view(simulation, *host)).collect();
        let links: usize = views[0].iter().map(|(_, _, established)| established).sum();
        let is_whole = views[0].len() == hosts.len() && links == ends;
        if is_whole && views.iter().all(|view| *view == views[0]) {
            return simulation.now();
        }
        assert!(simulation.now() < limit, "{views:#?}");
        let next = simulation.now() + 100 * MS;
        simulation.run_until(next);
    }
}

#[test]
fn two_old_routers_behind_one_of_ours_know_each_other_within_seconds() {
    for gap in [0, 300, 700, 1100, 2500] {
        for seed in 0..8 {
            let gap = gap * MS;
            let (mut simulation, hosts) = line(&[false, true, false], gap, seed);

            // Without being told again they wait for a complete state: half a minute and more.
            settle(&mut simulation, &hosts, 2 * gap + 10 * S);
        }
    }
}

#[test]
fn old_routers_far_apart_in_a_mixed_line_know_each_other_within_seconds() {
    for gap in [0, 300, 1100] {
        for seed in 0..8 {
            let gap = gap * MS;
            let (mut simulation, hosts) = line(&[false, true, true, true, false], gap, seed);

            settle(&mut simulation, &hosts, 4 * gap + 12 * S);
        }
    }
}
