//! What the kernel counts: bytes on cables, processor time and memory of daemons.

use std::fs;
use std::time::Duration;

use super::super::error::Error;
use super::super::plan::Plan;
use super::super::process::Process;
use super::super::record::StateDir;
use super::super::underlay;

/// Bytes that the switch has received from each host since it was made: Ethernet frames, headers
/// and acknowledgements included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cables {
    received: u64,
}

impl Cables {
    /// Reads the counters of the switch.
    ///
    /// # Errors
    /// When there is no switch or the kernel does not tell.
    pub(super) async fn read(plan: &Plan) -> Result<Self, Error> {
        let name = plan.switch().unwrap_or_default();
        let switch = underlay::open(&name)?;
        let failed = |reason: String| Error::kernel(format!("counters of {name}"), reason);
        // The file shows the namespace of the thread that opens it.
        let text = switch
            .run_async(|| fs::read_to_string("/proc/thread-self/net/dev"))
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        let ports: Vec<&str> = plan
            .cables
            .iter()
            .map(|cable| cable.b.device.as_str())
            .collect();
        let received = received(&text, &ports);
        Ok(Self { received })
    }

    /// Bytes between an earlier moment and this one.
    pub(super) fn since(&self, earlier: &Self) -> u64 {
        self.received.saturating_sub(earlier.received)
    }
}

/// Bytes received by `ports`, from the table of `proc_pid_net(5)`.
fn received(table: &str, ports: &[&str]) -> u64 {
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let ours = rows.filter(|(device, _)| ports.contains(&device.trim()));
    ours.filter_map(|(_, columns)| columns.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Processor time each daemon has used since it began.
///
/// # Errors
/// [`Error::Daemon`] when one has ended.
pub(super) fn processor(state: &StateDir, hosts: usize) -> Result<Vec<Duration>, Error> {
    of_all(state, hosts, Process::processor_time)
}

/// Resident memory of each daemon in KiB.
///
/// # Errors
/// [`Error::Daemon`] when one has ended.
pub(super) fn memory_kib(state: &StateDir, hosts: usize) -> Result<Vec<u64>, Error> {
    of_all(state, hosts, Process::resident_kib)
}

fn of_all<T>(
    state: &StateDir,
    hosts: usize,
    value: impl Fn(Process) -> Option<T>,
) -> Result<Vec<T>, Error> {
    (1..=hosts)
        .map(|host| {
            let found = Process::written(&state.pid(host)).and_then(&value);
            found.ok_or_else(|| Error::Daemon {
                host,
                reason: "it ended".to_owned(),
            })
        })
        .collect()
}

/// A count as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of bytes here are far below 2^52"
)]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ports_of_the_hosts_count() {
        let table = "Inter-|   Receive                            |  Transmit\n \
            face |bytes    packets errs\n    \
            lo:     100       1    0    0    0     0          0         0      100       1\n\
            host1: 5000       9    0    0    0     0          0         0      700       3\n\
            host2:70000      10    0    0    0     0          0         0      900       4\n";

        assert_eq!(received(table, &["host1", "host2"]), 75_000);
        assert_eq!(received(table, &["host3"]), 0);
    }
}
