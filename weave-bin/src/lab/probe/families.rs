//! Pods with addresses of two families: echo over IPv6 and TCP over both, every pod with every other.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use weave_datapath::netns::Namespace;

use super::reach::{EchoSocket, plain, reach};
use crate::lab::outcome::Failure;

/// A pod with both addresses.
#[derive(Debug, Clone)]
pub(crate) struct Dual {
    /// As a person names it.
    pub(crate) label: String,
    /// Its IPv4 address and its IPv6 address.
    pub(crate) addresses: [IpAddr; 2],
    /// The namespace it is in.
    pub(crate) namespace: Namespace,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Families {
    /// Pods with both addresses.
    pub(crate) pods: usize,
    /// Ordered pairs of them, asked for echo over IPv6.
    pub(crate) pairs: usize,
    /// Those that answered.
    pub(crate) reachable: usize,
    /// TCP connections tried, over either family.
    pub(crate) tcp_pairs: usize,
    /// Those that carried a byte there and back.
    pub(crate) tcp_reachable: usize,
}

impl Families {
    /// What failed, one line each.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let counts = [
            (self.pairs, self.reachable, "pairs of pods over IPv6"),
            (self.tcp_pairs, self.tcp_reachable, "TCP connections"),
        ];
        let missing = counts.iter().filter(|(all, good, _)| all != good);
        missing
            .map(|(all, good, what)| format!("{} of {all} {what}", all - good))
            .collect()
    }
}

/// Probes every pair of `pods`; failures with their reasons beside the counts.
///
/// # Errors
/// When a socket cannot be opened: that is the lab's failure, not the network's.
pub(crate) fn probe(
    pods: &[Dual],
    token: u64,
    patience: Duration,
    stop: &AtomicBool,
) -> Result<(Families, Vec<Failure>), String> {
    let deadline = Instant::now() + patience;
    let mut found = Families {
        pods: pods.len(),
        ..Families::default()
    };
    let mut failed = Vec::new();
    for from in pods {
        let others: Vec<&Dual> = pods.iter().filter(|one| one.label != from.label).collect();
        let socket = EchoSocket::open(&from.namespace, from.addresses[1], token)?;
        let targets: Vec<IpAddr> = others.iter().map(|one| one.addresses[1]).collect();
        let own = deadline.max(Instant::now() + LEAST);
        let reached = reach(&socket, &targets, own, stop);
        for (to, reached) in others.iter().zip(reached) {
            found.pairs += 1;
            if reached.answered {
                found.reachable += 1;
                continue;
            }
            let complaint = reached.complaint.unwrap_or_else(|| "no answer".to_owned());
            failed.push(failure(from, to, format!("IPv6 echo: {complaint}")));
        }
    }
    for to in pods {
        for (index, address) in to.addresses.iter().enumerate() {
            let listener = listen(&to.namespace, *address)?;
            for from in pods.iter().filter(|one| one.label != to.label) {
                if stop.load(Ordering::Relaxed) {
                    return Ok((found, failed));
                }
                found.tcp_pairs += 1;
                match connect(&from.namespace, from.addresses[index], &listener) {
                    Ok(()) => found.tcp_reachable += 1,
                    Err(error) => {
                        let why = format!("TCP to {address}: {}", plain(&error));
                        failed.push(failure(from, to, why));
                    }
                }
            }
        }
    }
    Ok((found, failed))
}

fn failure(from: &Dual, to: &Dual, why: String) -> Failure {
    Failure {
        from: from.label.clone(),
        to: to.label.clone(),
        why,
    }
}

fn listen(namespace: &Namespace, address: IpAddr) -> Result<TcpListener, String> {
    let bound = namespace
        .run(|| TcpListener::bind((address, 0)))
        .map_err(|error| error.to_string())?;
    bound.map_err(|error| format!("TCP socket at {address}: {error}"))
}

/// One byte from `source` to `listener` and back.
fn connect(namespace: &Namespace, source: IpAddr, listener: &TcpListener) -> io::Result<()> {
    let target = SockAddr::from(listener.local_addr()?);
    let open = || -> io::Result<Socket> {
        let source = SocketAddr::new(source, 0);
        let socket = Socket::new(Domain::for_address(source), Type::STREAM, None)?;
        socket.bind(&SockAddr::from(source))?;
        socket.connect_timeout(&target, TCP_LIMIT)?;
        Ok(socket)
    };
    let mut there = namespace.run(open).map_err(io::Error::other)??;
    // The connection is there, so that this does not wait.
    let (mut here, _) = listener.accept()?;
    let mut byte = [0];
    for limited in [
        there.set_read_timeout(Some(TCP_LIMIT)),
        here.set_read_timeout(Some(TCP_LIMIT)),
    ] {
        limited?;
    }
    there.write_all(b"x")?;
    here.read_exact(&mut byte)?;
    here.write_all(&byte)?;
    there.read_exact(&mut byte)
}

/// Least time a source has.
const LEAST: Duration = Duration::from_secs(1);
/// Between namespaces of one machine a connection takes a millisecond.
const TCP_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_on_one_machine_reach_each_other_over_both_families() {
        let namespace = Namespace::current().unwrap();
        let pod = |label: &str| Dual {
            label: label.to_owned(),
            addresses: ["127.0.0.1", "::1"].map(|address| address.parse().unwrap()),
            namespace: namespace.clone(),
        };
        if !nix::unistd::geteuid().is_root() || TcpListener::bind("[::1]:0").is_err() {
            println!("skipped: needs root and IPv6");
            return;
        }

        let pods = [pod("1/1"), pod("2/1")];
        let stop = AtomicBool::new(false);
        let (found, failed) = probe(&pods, 7, Duration::from_secs(5), &stop).unwrap();

        assert_eq!(failed, []);
        assert_eq!((found.pairs, found.reachable), (2, 2));
        assert_eq!((found.tcp_pairs, found.tcp_reachable), (4, 4));
        assert_eq!(found.trouble(), [""; 0]);
    }
}
