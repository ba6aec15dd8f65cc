//! Reading: the report over HTTP, the devices of this host from `/proc`, round trips by ICMP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::run::Outcome;
use super::model::{Counts, Sample};
use crate::cli::echo;
use crate::http::client::Client;
use crate::status::Report;

/// Where readings come from.
#[derive(Debug)]
pub(super) struct Reader {
    client: Client,
    started: Instant,
}

impl Reader {
    /// The daemon of `client`.
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone().with_limit(PATIENCE),
            started: Instant::now(),
        }
    }

    /// A reading; the failure of the command when the daemon does not answer.
    pub(super) async fn sample(&self) -> Result<Sample, Outcome> {
        let body = Outcome::of(self.client.get_json("/report").await).into_body()?;
        let at = self.started.elapsed();
        let bad = |error| Outcome::failure(1, format!("the daemon's answer is no report: {error}"));
        let report: Report = serde_json::from_str(&body).map_err(bad)?;
        let is_here = self.client.is_local();
        let devices = if is_here {
            devices(&report)
        } else {
            BTreeMap::new()
        };
        let hosts: BTreeSet<IpAddr> = report
            .router
            .connections
            .iter()
            .filter(|connection| connection.state == "established")
            .filter_map(|connection| connection.address.parse().ok())
            .map(|address: SocketAddr| address.ip())
            .filter(|_| is_here)
            .take(HOSTS)
            .collect();
        // Without the right to open such a socket there are no round trips, and the rest is as good.
        let asked = tokio::task::spawn_blocking(move || echo::round_trips(&hosts, WAIT));
        let pings = asked.await.unwrap_or_default();
        Ok(Sample {
            at,
            report,
            devices,
            pings,
        })
    }
}

/// What the devices of the overlay counted.
fn devices(report: &Report) -> BTreeMap<String, Counts> {
    // Unlike sysfs, which shows the namespace it was mounted in, this is our own.
    let table = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let fastdp = report.router.overlay_diagnostics.get("fastdp");
    let ports = fastdp.and_then(|fastdp| fastdp["Vports"].as_array());
    let ports = ports.into_iter().flatten();
    let names: BTreeSet<&str> = ports
        .filter_map(|port| port["Name"].as_str())
        .chain([SLEEVE_DEVICE])
        .collect();
    let mut counted = counts(&table);
    counted.retain(|name, _| names.contains(name.as_str()));
    counted
}

/// The counters of all devices in a table as `/proc/net/dev` has it (`proc_pid_net(5)`): eight
/// columns of what was received, eight of what was sent, each beginning with bytes, packets,
/// errors, drops.
fn counts(table: &str) -> BTreeMap<String, Counts> {
    let row = |line: &str| {
        let (name, columns) = line.split_once(':')?;
        let columns: Vec<u64> = columns
            .split_whitespace()
            .map_while(|column| column.parse().ok())
            .collect();
        let &[bytes_received, frames_received, _, lost, ..] = columns.as_slice() else {
            return None;
        };
        let &[bytes_sent, frames_sent, _, dropped, ..] = columns.get(8..)? else {
            return None;
        };
        let counts = Counts {
            bytes_received,
            frames_received,
            bytes_sent,
            frames_sent,
            dropped: lost.saturating_add(dropped),
        };
        Some((name.trim().to_owned(), counts))
    };
    table.lines().filter_map(row).collect()
}

const SLEEVE_DEVICE: &str = "vethwe-sleeve";
/// A report takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Hosts that are asked for a round trip at each reading.
const HOSTS: usize = 256;
/// An answer that comes later than this is none.
const WAIT: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_its_counters() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0
vxlan-6784: 5000    40    1    3    0     0          0         0     7000      50    0    4    0
";

        let found = counts(table);

        let expected = Counts {
            bytes_received: 5000,
            frames_received: 40,
            bytes_sent: 7000,
            frames_sent: 50,
            dropped: 7,
        };
        assert_eq!(found["vxlan-6784"], expected);
        assert_eq!(found.len(), 2, "{found:?}");
        let own = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        assert!(counts(&own).contains_key("lo"));
    }
}
