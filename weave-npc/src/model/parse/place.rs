//! Namespaces and nodes, and addresses as text.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::super::{Namespace, Node, raw};
use super::{At, Problem, labels};

/// A namespace.
pub(super) fn namespace(raw: &raw::Namespace) -> Result<Namespace, Problem> {
    let name = raw.metadata.checked_name()?;
    Ok(Namespace::new(
        name,
        labels::labels(raw.metadata.labels.as_ref()),
    ))
}

/// A node. Entries of `status.addresses` that are names are left out.
pub(super) fn node(raw: &raw::Node) -> Result<Node, Problem> {
    let name = raw.metadata.checked_name()?;
    let at = At::root("status");
    let at = at.field("addresses");
    let written = raw.status.iter().flat_map(|status| &status.addresses);
    let mut addresses = Vec::new();
    for (index, entry) in written.flatten().enumerate() {
        if matches!(entry.kind.as_str(), "InternalIP" | "ExternalIP") {
            addresses.push(address(&entry.address, at.index(index).field("address"))?);
        }
    }
    Ok(Node::new(name, labels::labels(raw.metadata.labels.as_ref())).with_addresses(addresses))
}

/// An address.
pub(super) fn address(text: &str, at: At<'_>) -> Result<IpAddr, Problem> {
    text.parse()
        .map_err(|_| at.wrong(format!("{text:?} is not an IP address")))
}

/// A network; host bits are cleared, an IPv4 network written as IPv6 becomes IPv4.
pub(super) fn network(text: &str, at: At<'_>) -> Result<IpNet, Problem> {
    let net: IpNet = text
        .parse()
        .map_err(|_| at.wrong(format!("{text:?} is not a network such as 10.0.0.0/8")))?;
    Ok(canonical(net.trunc()))
}

fn canonical(net: IpNet) -> IpNet {
    /// Bits in front of an IPv4 address in an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2).
    const MAPPED: u8 = 96;
    let IpNet::V6(six) = net else {
        return net;
    };
    let four = six.addr().to_ipv4_mapped();
    let length = six.prefix_len().checked_sub(MAPPED);
    match (four, length) {
        (Some(four), Some(length)) => {
            Ipv4Net::new(four, length).map_or(net, |four| IpNet::V4(four.trunc()))
        }
        _ => net,
    }
}
