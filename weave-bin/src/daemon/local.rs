//! Where pods of this host are, told to the packet filter: traffic to them keeps its source.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use tokio_util::sync::CancellationToken;
use weave_ipam::{PeerId, Status};

use crate::actor::ipam::Rings;
use crate::host::Firewall;

/// Tells `firewall` whenever it changed, until `stop`.
pub(super) async fn follow(ipam: Rings, us: PeerId, firewall: Firewall, stop: CancellationToken) {
    let mut told = Vec::new();
    loop {
        let known = (ipam.statuses().await, ipam.owned().await);
        if let (Ok(statuses), Ok(owned)) = known {
            let containers = owned
                .into_iter()
                .filter(|(ident, _)| ident != super::EXPOSE);
            let held = containers.flat_map(|(_, addresses)| addresses);
            let local = places(&statuses, us, held.map(|address| address.addr()));
            if local != told {
                firewall.set_local(local.clone()).await;
                told = local;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// The ranges that `us` owns in the rings, and what containers here hold besides: Weave Net knew the
/// ranges only, so pods it had given addresses of a range that went to another peer were forgotten.
fn places(statuses: &[Box<Status>], us: PeerId, held: impl Iterator<Item = IpAddr>) -> Vec<IpNet> {
    let entries = statuses.iter().flat_map(|status| &status.entries);
    let own = entries.filter(|entry| entry.peer == us);
    let mut nets: Vec<IpNet> = own
        .flat_map(|entry| subnets(entry.token, entry.size))
        .collect();
    nets.extend(held.map(IpNet::from));
    IpNet::aggregate(&nets)
}

/// The networks that `size` addresses from `first` on make up.
fn subnets(first: IpAddr, size: u128) -> Vec<IpNet> {
    let Some(ahead) = size.checked_sub(1) else {
        return Vec::new();
    };
    match first {
        IpAddr::V4(first) => {
            let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
            let last = u32::from(first).saturating_add(ahead);
            Ipv4Subnets::new(first, last.into(), 0)
                .map(IpNet::V4)
                .collect()
        }
        IpAddr::V6(first) => {
            let last = u128::from(first).saturating_add(ahead);
            Ipv6Subnets::new(first, last.into(), 0)
                .map(IpNet::V6)
                .collect()
        }
    }
}

/// A range that came is in force this much later at most.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_addresses_is_some_networks() {
        let shown = |first: &str, size| -> Vec<String> {
            let nets = subnets(first.parse().unwrap(), size);
            nets.iter().map(IpNet::to_string).collect()
        };

        assert_eq!(shown("10.32.0.0", 1 << 20), ["10.32.0.0/12"]);
        assert_eq!(shown("10.32.0.255", 2), ["10.32.0.255/32", "10.32.1.0/32"]);
        assert_eq!(shown("10.32.0.0", 3), ["10.32.0.0/31", "10.32.0.2/32"]);
        assert_eq!(shown("10.32.0.0", 0), [""; 0]);
        assert_eq!(shown("fd00::", 1 << 16), ["fd00::/112"]);
    }
}
