//! Who holds which address.
//!
//! Invariant: an address has at most one holder. Addresses outside the universe may be noted here
//! too; the space knows nothing of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::span::AddressRange;

/// The ident of a holder without an id: its address is filed under the address's own text.
pub const ANONYMOUS: &str = "_";

/// The addresses of one ident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Holding {
    /// Whether the ident names a container that was known to run.
    pub is_container: bool,
    /// The addresses, each with the prefix length of the subnet it was asked from.
    pub addresses: Vec<IpNet>,
}

impl Holding {
    /// The `addresses` of one ident.
    #[must_use]
    pub fn new(is_container: bool, addresses: Vec<IpNet>) -> Self {
        Self {
            is_container,
            addresses,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    holdings: BTreeMap<String, Holding>,
    holders: BTreeMap<IpAddr, String>,
}

impl Ledger {
    /// Notes a holder. The address must not have one.
    pub(crate) fn record(&mut self, ident: &str, address: IpNet, is_container: bool) {
        let holding = self.holdings.entry(ident.to_owned()).or_default();
        holding.is_container = is_container;
        holding.addresses.push(address);
        self.holders.insert(address.addr(), ident.to_owned());
    }

    /// Forgets one address of an ident; whether it held it.
    pub(crate) fn release(&mut self, ident: &str, address: IpAddr) -> bool {
        let Some(holding) = self.holdings.get_mut(ident) else {
            return false;
        };
        let Some(index) = holding
            .addresses
            .iter()
            .position(|held| held.addr() == address)
        else {
            return false;
        };
        holding.addresses.remove(index);
        if holding.addresses.is_empty() {
            self.holdings.remove(ident);
        }
        self.holders.remove(&address);
        true
    }

    /// Forgets an ident; the addresses it held.
    pub(crate) fn release_all(&mut self, ident: &str) -> Vec<IpNet> {
        let addresses = self.holdings.remove(ident).unwrap_or_default().addresses;
        for address in &addresses {
            self.holders.remove(&address.addr());
        }
        addresses
    }

    pub(crate) fn holding(&self, ident: &str) -> Option<&Holding> {
        self.holdings.get(ident)
    }

    pub(crate) fn holder(&self, address: IpAddr) -> Option<&str> {
        self.holders.get(&address).map(String::as_str)
    }

    /// What an ident holds inside a range, in the order it got them.
    pub(crate) fn held_in(&self, ident: &str, range: AddressRange) -> impl Iterator<Item = IpNet> {
        let held = self
            .holdings
            .get(ident)
            .map_or(&[][..], |holding| &holding.addresses);
        held.iter().copied().filter(move |address| {
            let host = IpNet::from(address.addr());
            let AddressRange { family, span } = AddressRange::of(host);
            family == range.family && range.span.covers(span)
        })
    }

    pub(crate) fn holdings(&self) -> impl Iterator<Item = (&str, &Holding)> {
        self.holdings
            .iter()
            .map(|(ident, holding)| (ident.as_str(), holding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_by_holder_and_by_number() {
        let mut ledger = Ledger::default();
        let address: IpNet = "10.32.0.5/12".parse().unwrap();

        ledger.record("pod", address, true);

        assert_eq!(ledger.holder(address.addr()), Some("pod"));
        let inside = AddressRange::of("10.32.0.0/24".parse().unwrap());
        let outside = AddressRange::of("10.33.0.0/24".parse().unwrap());
        assert_eq!(ledger.held_in("pod", inside).collect::<Vec<_>>(), [address]);
        assert_eq!(ledger.held_in("pod", outside).count(), 0);
    }

    #[test]
    fn the_last_release_forgets_the_ident() {
        let mut ledger = Ledger::default();
        let address: IpNet = "10.32.0.5/12".parse().unwrap();
        ledger.record("pod", address, false);

        assert!(!ledger.release("other", address.addr()));
        assert!(ledger.release("pod", address.addr()));

        assert_eq!(ledger, Ledger::default());
    }
}
