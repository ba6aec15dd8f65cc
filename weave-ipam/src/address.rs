//! Reading addresses, networks and subnets from text, with the error texts Weave Net gives.
//!
//! A *subnet* is what an allocation may be asked from: no host bits set and at least four
//! addresses, so that two remain after the first and the last are set aside.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::span::{AddressRange, Span};

pub use crate::span::{coalesce, number};

/// Reads a network or an address with a prefix length. Host bits may be set.
///
/// # Errors
///
/// [`AddressError::Cidr`] if the text is neither.
pub fn parse_cidr(text: &str) -> Result<IpNet, AddressError> {
    let network = text.split_once('/').and_then(|(address, length)| {
        let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.parse().ok().filter(|_| is_number)?;
        IpNet::new(address.parse().ok()?, length).ok()
    });
    network.ok_or_else(|| AddressError::Cidr(text.to_owned()))
}

/// Reads a subnet.
///
/// # Errors
///
/// [`AddressError::Cidr`], or what [`check_subnet`] finds.
pub fn parse_subnet(text: &str) -> Result<IpNet, AddressError> {
    let network = parse_cidr(text)?;
    check_subnet(network)?;
    Ok(network)
}

/// Reads a bare address.
///
/// # Errors
///
/// [`AddressError::Address`] if the text is not an address.
pub fn parse_address(text: &str) -> Result<IpAddr, AddressError> {
    text.parse()
        .map_err(|_| AddressError::Address(text.to_owned()))
}

/// Whether addresses can be allocated from a network of this shape.
///
/// # Errors
///
/// [`AddressError::TooSmall`] below four addresses, [`AddressError::HostBits`] if bits after the
/// prefix are set; the size is looked at first.
pub fn check_subnet(network: IpNet) -> Result<(), AddressError> {
    if network.max_prefix_len() - network.prefix_len() < 2 {
        return Err(AddressError::TooSmall(network.to_string()));
    }
    if network.addr() != network.network() {
        return Err(AddressError::HostBits(network.to_string()));
    }
    Ok(())
}

/// The addresses of a subnet that may be handed out: all but its first and last.
#[must_use]
pub fn host_range(subnet: IpNet) -> AddressRange {
    let AddressRange { family, span } = AddressRange::of(subnet);
    let span = Span::between(span.start().saturating_add(1), span.end() - 1);
    AddressRange { family, span }
}

/// Two lists of networks without what is in both, each in ascending order.
///
/// A watcher of ranges applies the difference between what was and what is.
#[must_use]
pub fn difference(before: &[IpNet], after: &[IpNet]) -> (Vec<IpNet>, Vec<IpNet>) {
    let old: BTreeSet<_> = before.iter().copied().collect();
    let new: BTreeSet<_> = after.iter().copied().collect();
    (
        old.difference(&new).copied().collect(),
        new.difference(&old).copied().collect(),
    )
}

/// Text that is not the address, network or subnet it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not `address/length`.
    #[error("invalid CIDR address: {0}")]
    Cidr(String),
    /// Not an address.
    #[error("invalid IP Address: {0}")]
    Address(String),
    /// A subnet must be given by its first address.
    #[error("invalid subnet - bits after network prefix are not all zero: {0}")]
    HostBits(String),
    /// Fewer than four addresses.
    #[error("invalid subnet - smaller than minimum size 4: {0}")]
    TooSmall(String),
}
