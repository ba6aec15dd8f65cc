//! Echo requests from this host: how long hosts and pods take to answer, and how large a packet may
//! be.
//!
//! The sockets are raw, which needs `CAP_NET_RAW`. Answers are told apart by a random token, so
//! strangers cannot make up round trips.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use weave_datapath::netns::Namespace;

use crate::lab::probe::reach::{EchoSocket, Received};

/// A socket that asks hosts of one family.
pub(super) fn open(is_v4: bool) -> Result<EchoSocket, String> {
    let here = Namespace::current().map_err(|error| error.to_string())?;
    let any: IpAddr = if is_v4 {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    EchoSocket::open(&here, any, token()?)
}

/// What tells our answers from those of others.
pub(super) fn token() -> Result<u64, String> {
    getrandom::u64().map_err(|error| error.to_string())
}

/// Round trips to those of `hosts` that answer within `wait`, in milliseconds, one request each and
/// all at once.
pub(super) fn round_trips(hosts: &BTreeSet<IpAddr>, wait: Duration) -> BTreeMap<IpAddr, f64> {
    let mut found = BTreeMap::new();
    for is_v4 in [true, false] {
        let asked: Vec<IpAddr> = hosts
            .iter()
            .copied()
            .filter(|host| host.is_ipv4() == is_v4)
            .collect();
        if asked.is_empty() {
            continue;
        }
        if let Ok(socket) = open(is_v4) {
            found.extend(ask(&socket, &asked, wait));
        }
    }
    found
}

fn ask(socket: &EchoSocket, hosts: &[IpAddr], wait: Duration) -> BTreeMap<IpAddr, f64> {
    let mut found = BTreeMap::new();
    let mut sent = Vec::with_capacity(hosts.len());
    for (index, host) in (0u32..).zip(hosts) {
        sent.push(Instant::now());
        // A host without a route is one that does not answer.
        let _ = socket.send(*host, index);
    }
    let begun = Instant::now();
    while found.len() < hosts.len() && begun.elapsed() < wait {
        let Ok(received) = socket.receive() else {
            continue;
        };
        let Received::Answer(index) = received else {
            continue;
        };
        let Ok(index) = usize::try_from(index) else {
            continue;
        };
        if let (Some(host), Some(at)) = (hosts.get(index), sent.get(index)) {
            found
                .entry(*host)
                .or_insert_with(|| at.elapsed().as_secs_f64() * 1000.0);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers() {
        if !nix::unistd::Uid::effective().is_root() {
            println!("skipped: needs root");
            return;
        }
        let hosts = [Ipv4Addr::LOCALHOST.into()].into_iter().collect();

        let found = round_trips(&hosts, Duration::from_secs(2));

        assert!(found[&IpAddr::from(Ipv4Addr::LOCALHOST)] < 2_000.0);
    }
}
