//! The peers that were given: which can be found, and how many of them are others.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::timeout;

/// Parts `targets` (`host[:port]`) into those whose host has an address, and one line for each of
/// the others.
pub async fn findable(targets: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for target in targets {
        let (host, port) = split(&target);
        if port.bytes().all(|byte| byte.is_ascii_digit())
            && !port.is_empty()
            && port.parse::<u16>().is_err()
        {
            errors.push(format!("address {port}: invalid port"));
            continue;
        }
        match addresses(host).await {
            Ok(_) => found.push(target),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                errors.push(format!("lookup {host}: no answer from the name server"));
            }
            Err(_) => errors.push(format!("lookup {host}: no such host")),
        }
    }
    (found, errors)
}

/// How many of `targets` (`host[:port]`) are other hosts.
///
/// The list of a cluster usually names the host itself too, and a quorum is counted from the
/// others. A target is this host when all its addresses are local; one that cannot be resolved
/// counts as another host.
pub async fn others(targets: &[String]) -> usize {
    let mut count = 0;
    for target in targets {
        let found = addresses(split(target).0).await;
        if !found.is_ok_and(|found| found.into_iter().all(is_local)) {
            count += 1;
        }
    }
    count
}

/// The addresses of `host`, at least one.
async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = timeout(LOOKUP_LIMIT, tokio::net::lookup_host((host, 0))).await??;
    let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    if found.is_empty() {
        Err(io::ErrorKind::NotFound.into())
    } else {
        Ok(found)
    }
}

/// A socket can be bound to local addresses only.
fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

/// Host without brackets, and port; an empty port is none.
fn split(target: &str) -> (&str, &str) {
    let (host, port) = match target.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => (target, ""),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

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
    fn host_and_port_of_a_target_are_found() {
        for (target, host, port) in [
            ("a", "a", ""),
            ("a:1", "a", "1"),
            ("[::1]:1", "::1", "1"),
            ("[::1]", "::1", ""),
            ("::1", "::1", ""),
        ] {
            assert_eq!(split(target), (host, port));
        }
    }

    #[test]
    fn targets_that_cannot_be_found_get_a_line_each() {
        let targets = ["10.0.0.1", "1.2.3.4:99999", "bad..host", "[::1]:7"].map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();

        let (found, errors) = runtime.block_on(findable(targets.to_vec()));

        assert_eq!(found, ["10.0.0.1", "[::1]:7"]);
        assert_eq!(
            errors,
            [
                "address 99999: invalid port",
                "lookup bad..host: no such host"
            ]
        );
    }
}
