//! The peers that were given: how many of them are others.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// How many of `targets` (`host[:port]`) are other hosts.
///
/// The list of a cluster usually names the host itself too, and a quorum is counted from the
/// others. A target is this host when all its addresses are local; one that cannot be resolved
/// counts as another host.
pub async fn others(targets: &[String]) -> usize {
    let mut count = 0;
    for target in targets {
        let host = host_of(target);
        let found: Vec<IpAddr> = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => match tokio::net::lookup_host((host, 0)).await {
                Ok(addresses) => addresses.map(|address| address.ip()).collect(),
                Err(_) => Vec::new(),
            },
        };
        if found.is_empty() || !found.iter().copied().all(is_local) {
            count += 1;
        }
    }
    count
}

/// A socket can be bound to local addresses only.
fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

fn host_of(target: &str) -> &str {
    let host = match target.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') || host.ends_with(']') => host,
        _ => target,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_addresses_do_not_count() {
        let targets = [
            "127.0.0.1",
            "127.0.0.1:6783",
            "203.0.113.1",
            "203.0.113.2:9",
            "no.such.host.invalid",
        ];
        let targets = targets.map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();

        assert_eq!(runtime.block_on(others(&targets)), 3);
    }

    #[test]
    fn the_host_of_a_target_is_found() {
        for (target, host) in [
            ("a", "a"),
            ("a:1", "a"),
            ("[::1]:1", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(host_of(target), host);
        }
    }
}
