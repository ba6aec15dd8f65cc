//! Our own daemon, asked over its control interface, as the helper of Weave Net asks its.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::reclaim::View;
use crate::http::client::{Client, Error, Response, encode_component};

/// The daemon of this host.
#[derive(Debug, Clone)]
pub struct Daemon {
    client: Client,
    /// Without a limit: some requests wait until there is a ring.
    patient: Client,
}

/// Why the daemon did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// It did not answer.
    #[error("{0}")]
    Silent(String),
    /// It refused, in these words.
    #[error("{0}")]
    Refused(String),
}

impl Daemon {
    /// The daemon that listens at `address`.
    pub fn new(address: &str) -> Self {
        let patient = Client::new(address);
        let client = patient.clone().with_limit(LIMIT);
        Self { client, patient }
    }

    /// Whether it answers at all, with whatever status.
    pub async fn answers(&self) -> bool {
        self.client.get("/status").await.is_ok()
    }

    /// What it sees of the mesh and the ring.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn view(&self) -> Result<View, DaemonError> {
        let body = body(self.client.get_json("/report").await)?;
        let report: Value = serde_json::from_str(&body)
            .map_err(|error| DaemonError::Refused(format!("its report is not JSON: {error}")))?;
        Ok(view(&report))
    }

    /// Takes over what `peer` has; how many addresses that were.
    ///
    /// # Errors
    /// It refuses, because the peer is connected; or it does not answer.
    pub async fn take_over(&self, peer: &str) -> Result<u128, DaemonError> {
        let path = format!("/peer/{}", encode_component(peer));
        let body = body(self.client.delete(&path).await)?;
        let count = body.split_whitespace().next();
        count
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| DaemonError::Refused(format!("an odd answer: {body}")))
    }

    /// Connects to `targets` and to nobody else that was given before.
    ///
    /// # Errors
    /// It refuses one of them, or does not answer.
    pub async fn connect(&self, targets: &[String]) -> Result<(), DaemonError> {
        let mut form = vec![("replace", "true")];
        form.extend(targets.iter().map(|target| ("peer", target.as_str())));
        body(self.client.post_form("/connect", &form).await).map(drop)
    }

    /// Puts an address of each family on the bridge and masquerades what pods send out: `wanted`, and
    /// those that are allocated. Waits until there is a ring.
    ///
    /// # Errors
    /// It refuses or does not answer.
    pub async fn expose(&self, wanted: Option<IpNet>) -> Result<Vec<IpNet>, DaemonError> {
        let mut addresses = Vec::new();
        if let Some(address) = wanted {
            let path = format!("/ip/{EXPOSE}/{address}");
            match self.patient.put(&path).await {
                // Without allocation nobody else can have been given the address.
                Ok(answer) if answer.status.as_u16() == 404 => {}
                answer => drop(body(answer)?),
            }
            addresses.push(address);
        }
        addresses.extend(self.allocated(wanted).await?);
        for address in &addresses {
            body(self.client.post(&format!("/expose/{address}")).await)?;
        }
        Ok(addresses)
    }

    /// Addresses of the bridge, but of the family that is `given`.
    async fn allocated(&self, given: Option<IpNet>) -> Result<Vec<IpNet>, DaemonError> {
        let Some(given) = given else {
            let path = format!("/ip/{EXPOSE}?family=all");
            return nets(&body(self.patient.post(&path).await)?);
        };
        let subnets = match self.client.get("/ipinfo/defaultsubnet?family=all").await {
            Ok(answer) if answer.status.as_u16() == 404 => Vec::new(),
            answer => nets(&body(answer)?)?,
        };
        let is_other = |net: &IpNet| net.addr().is_ipv4() != given.addr().is_ipv4();
        let mut addresses = Vec::new();
        for subnet in subnets.into_iter().filter(is_other) {
            let path = format!("/ip/{EXPOSE}/{subnet}");
            addresses.extend(nets(&body(self.patient.post(&path).await)?)?);
        }
        Ok(addresses)
    }
}

fn nets(body: &str) -> Result<Vec<IpNet>, DaemonError> {
    let words: Vec<&str> = body.split_whitespace().collect();
    let parsed: Result<Vec<IpNet>, _> = words.iter().map(|word| word.parse()).collect();
    match parsed {
        Ok(nets) if !nets.is_empty() => Ok(nets),
        _ => Err(DaemonError::Refused(format!(
            "no address was given: {body}"
        ))),
    }
}

/// The body of an answer that is a success.
fn body(answer: Result<Response, Error>) -> Result<String, DaemonError> {
    match answer {
        Ok(answer) if answer.is_success() => Ok(answer.body),
        Ok(answer) => Err(DaemonError::Refused(answer.body.trim_end().to_owned())),
        Err(error) => Err(DaemonError::Silent(error.to_string())),
    }
}

fn view(report: &Value) -> View {
    let peers = report["Router"]["Peers"].as_array();
    let names = peers
        .into_iter()
        .flatten()
        .filter_map(|peer| peer["Name"].as_str());
    View {
        connected: names.map(str::to_owned).collect(),
        // Without allocation there is nothing to take over, and nothing to lose.
        has_ring: ["IPAM", "IPAM6"].iter().all(|family| {
            let ipam = report.get(family);
            ipam.is_none_or(|ipam| ipam["Entries"].is_array())
        }),
    }
}

/// Whether `address` is one of this host: a socket can be bound to those only.
pub fn is_local(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Who holds the addresses of the bridge.
const EXPOSE: &str = "weave:expose";
const LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_tells_who_is_connected_and_whether_there_is_a_ring() {
        let with = |ipam: Value| json!({"Router": {"Peers": [{"Name": "a"}, {"Name": "b"}]}, "IPAM": ipam});

        let ready = view(&with(json!({"Entries": [{"Token": "10.32.0.0"}]})));
        let early = view(&with(json!({"Entries": null})));

        assert_eq!(ready.connected.len(), 2);
        assert!(ready.has_ring && !early.has_ring);
        let with_second = |entries: Value| {
            let mut report = json!({"Router": {}, "IPAM": {"Entries": []}});
            report["IPAM6"] = json!({ "Entries": entries });
            view(&report)
        };
        assert!(with_second(json!([])).has_ring);
        assert!(!with_second(json!(null)).has_ring, "the other family waits");
        assert!(view(&json!({"Router": {"Peers": null}})).has_ring);
    }
}
