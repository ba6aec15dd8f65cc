//! The MTU of the network on this host: found at the start, and followed while the daemon runs.
//!
//! Invariant: an MTU that was given is never changed. Without one the bridge has what the ways to the
//! peers allow, and pods that are attached take it from the bridge; with IPv6 addresses it is 1280 at
//! least, since the kernel takes IPv6 off a link below.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weave_datapath::{mtu, plane};

use super::host::Host;
use crate::args::daemon::Settings;

/// The MTU to start with: the one given, else what the ways to the known peers allow, and the way to
/// everywhere else. Nothing is sent for it.
pub(super) fn at_start(settings: &Settings, peers: &[String]) -> u16 {
    if !settings.auto_mtu {
        return settings.mtu;
    }
    let port = settings.listen.port();
    let known = peers.iter().filter_map(|peer| address(peer));
    let ways = known
        .chain([ELSEWHERE])
        .filter_map(|ip| plane::path_mtu(SocketAddrV4::new(ip, port)).ok());
    let Some(narrowest) = ways.min() else {
        return settings.mtu;
    };
    let found = mtu::of_path(narrowest).max(settings.least_mtu());
    if found != settings.mtu {
        info!("The network has MTU {found}: a way carries packets of {narrowest} bytes only");
    }
    found
}

/// The IPv4 address of a peer as given, with or without a port; names are left for the mesh.
fn address(peer: &str) -> Option<Ipv4Addr> {
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
    match host.parse() {
        Ok(IpAddr::V4(ip)) => Some(ip),
        _ => None,
    }
}

/// Gives the bridge each MTU that is found, but never less than `least`, until `stop`. It does not end
/// before, though nobody may be left who finds one.
pub(super) async fn follow(
    host: Host,
    least: u16,
    mut found: watch::Receiver<u16>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = found.changed() => {}
            else => return stop.cancelled().await,
        }
        let mtu = (*found.borrow_and_update()).max(least);
        match host.set_mtu(mtu).await {
            Ok(()) => info!("Bridge has MTU {mtu}, and so have pods attached from now on"),
            Err(error) => warn!("cannot set the MTU of the bridge to {mtu}: {error}"),
        }
    }
}

/// Stands for all that is not near: an address of a documentation network (RFC 5737).
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_addresses_with_and_without_a_port() {
        let ip = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!(address("10.0.0.1"), Some(ip));
        assert_eq!(address("10.0.0.1:6783"), Some(ip));
        assert_eq!(address("host-1"), None);
        assert_eq!(address("[::1]:6783"), None);
    }

    #[test]
    fn an_mtu_that_was_given_is_used() {
        let words = ["--mtu", "900"].map(str::to_owned);
        let settings = Settings::read(&words, |_| None).unwrap();

        assert_eq!(at_start(&settings, &["127.0.0.1".to_owned()]), 900);
    }
}
