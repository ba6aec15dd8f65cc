//! Echo requests at a steady rate between the pods of every pair of hosts.
//!
//! Each pair has one sender; the answer makes it a test of both directions. Every host has one
//! thread: it sends a round of requests to the hosts after it, reads what came, and sleeps until
//! the next round is due. A round that is late is sent all the same and counted.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::outcome::{Pair, Traffic};
use crate::lab::error::Error;
use crate::lab::probe::reach::{EchoSocket, Received, plain, reach};
use crate::lab::record::Record;
use crate::lab::underlay;

/// Senders at work.
#[derive(Debug)]
pub(super) struct Senders {
    threads: Vec<JoinHandle<Vec<Pair>>>,
}

/// Waits until every pair has answered once, then lets all hosts of `record` send until `stop`.
///
/// # Errors
/// A pair that never answers, or a socket that cannot be opened.
pub(super) async fn start(
    record: &Record,
    interval: Duration,
    stop: &Arc<AtomicBool>,
) -> Result<Senders, Error> {
    let failed = |reason: String| Error::kernel("ping", reason);
    let hosts = record.plan.hosts.len();
    let mut senders = Vec::new();
    for host in 1..=hosts {
        let pod = record.pod(host, 1)?;
        let namespace = underlay::open(&pod.namespace)?;
        let token = u64::from(std::process::id()) << 16 | u64::try_from(host).unwrap_or(0);
        let socket = EchoSocket::open(&namespace, pod.address.addr(), token).map_err(failed)?;
        // A round of answers must fit even when this thread has to wait for a processor.
        socket
            .make_room(ROOM)
            .map_err(|error| failed(plain(&error)))?;
        let mut targets = Vec::new();
        for target in targets_of(host, hosts) {
            targets.push((target, record.pod(target, 1)?.address.addr()));
        }
        senders.push(Sender {
            host,
            socket,
            targets,
        });
    }
    let mut warm = Vec::new();
    for sender in senders {
        let stop = Arc::clone(stop);
        warm.push(tokio::task::spawn_blocking(move || sender.warm_up(&stop)));
    }
    let mut threads = Vec::new();
    let mut ready = Vec::new();
    for warmed in warm {
        let sender = warmed.await.map_err(|error| failed(error.to_string()))?;
        ready.push(sender.map_err(failed)?);
    }
    for sender in ready {
        let stop = Arc::clone(stop);
        threads.push(tokio::task::spawn_blocking(move || {
            sender.send(interval, &stop)
        }));
    }
    Ok(Senders { threads })
}

impl Senders {
    /// Waits for all senders, which were told to stop, and adds up.
    ///
    /// # Errors
    /// When a sender ended before.
    pub(super) async fn finish(self) -> Result<Traffic, Error> {
        let mut pairs = Vec::new();
        for thread in self.threads {
            let counted = thread.await;
            pairs.extend(counted.map_err(|error| Error::kernel("ping", error))?);
        }
        Ok(Traffic::of(&pairs))
    }
}

/// The hosts that `host` of `hosts` sends to: of the two ways round the circle of all hosts, those
/// that are nearer forwards. Every pair is in exactly one list, and the lists are equally long but
/// for one.
fn targets_of(host: usize, hosts: usize) -> Vec<usize> {
    (1..hosts)
        .filter(|ahead| ahead * 2 < hosts || (ahead * 2 == hosts && host <= *ahead))
        .map(|ahead| (host - 1 + ahead) % hosts + 1)
        .collect()
}

struct Sender {
    host: usize,
    socket: EchoSocket,
    targets: Vec<(usize, Ipv4Addr)>,
}

impl Sender {
    /// Goes on until every target has answered.
    fn warm_up(self, stop: &AtomicBool) -> Result<Self, String> {
        let addresses: Vec<Ipv4Addr> = self.targets.iter().map(|(_, address)| *address).collect();
        let found = reach(&self.socket, &addresses, Instant::now() + WARM_UP, stop);
        let silent = found.iter().position(|target| !target.answered);
        match silent.and_then(|index| self.targets.get(index)) {
            Some((target, _)) if !stop.load(Ordering::Relaxed) => {
                Err(format!("host {target} does not answer host {}", self.host))
            }
            _ => Ok(self),
        }
    }

    /// Sends a round every `interval` until `stop`, then waits for the last answers.
    fn send(self, interval: Duration, stop: &AtomicBool) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = self
            .targets
            .iter()
            .map(|(target, _)| Pair::new(self.host, *target))
            .collect();
        if let Err(error) = self.socket.set_nonblocking(true) {
            for pair in &mut pairs {
                pair.complaint = Some(plain(&error));
            }
        }
        let mut due = Instant::now();
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            for (slot, (_, address)) in self.targets.iter().enumerate() {
                pairs[slot].answered.push(false);
                let sent = self.socket.send(*address, self.index(round, slot));
                if let Err(error) = sent {
                    pairs[slot].complaint = Some(plain(&error));
                }
            }
            round += 1;
            due += interval;
            self.collect(&mut pairs);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let last = Instant::now();
        while last.elapsed() < STRAGGLERS && pairs.iter().any(|pair| pair.lost() > 0) {
            self.collect(&mut pairs);
            std::thread::sleep(interval.min(Duration::from_millis(10)));
        }
        pairs
    }

    /// The number of the request to target `slot` in `round`.
    fn index(&self, round: usize, slot: usize) -> u32 {
        let number = FIRST + round * self.targets.len() + slot;
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn collect(&self, pairs: &mut [Pair]) {
        let width = self.targets.len();
        loop {
            match self.socket.receive() {
                Ok(Received::Answer(index)) => {
                    // Answers to the warm-up have numbers below the first.
                    let number = usize::try_from(index).ok();
                    let Some(number) = number.and_then(|number| number.checked_sub(FIRST)) else {
                        continue;
                    };
                    let pair = pairs.get_mut(number % width);
                    let answered = pair.and_then(|pair| pair.answered.get_mut(number / width));
                    if let Some(answered) = answered {
                        *answered = true;
                    }
                }
                Ok(Received::Other) => {}
                Ok(Received::Nothing) | Err(_) => return,
            }
        }
    }
}

/// Number of the first counted request; the warm-up counts targets from 0.
const FIRST: usize = 1 << 16;
/// Bytes of answers that may wait for a thread.
const ROOM: usize = 8 << 20;
/// How long the first answers may take.
const WARM_UP: Duration = Duration::from_secs(20);
/// How long the last answers may take.
const STRAGGLERS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pair_has_exactly_one_sender() {
        for hosts in 2..=9 {
            let mut pairs = BTreeSet::new();
            for host in 1..=hosts {
                for target in targets_of(host, hosts) {
                    assert_ne!(host, target);
                    let new = pairs.insert((host.min(target), host.max(target)));
                    assert!(new, "{host} and {target} of {hosts} twice");
                }
            }
            assert_eq!(pairs.len(), hosts * (hosts - 1) / 2);
        }
    }
}
