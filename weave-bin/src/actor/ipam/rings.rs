//! The rings of both families as one allocator.
//!
//! Each ring has its own task; this joins their answers. Invariant (D3, D4): a request for every
//! family has an address of each, or none that it did not have before, and what is released is
//! released in each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use tracing::warn;
use weave_ipam::Status;

use super::{Failure, Grant, Ipam};

/// The allocators of one family or of two.
#[derive(Debug, Clone)]
pub struct Rings {
    first: Ipam,
    second: Option<Ipam>,
}

/// Which addresses a request speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// One of the primary family, in its default subnet.
    Primary,
    /// One of each family, each in its default subnet.
    All,
    /// One in this subnet.
    In(IpNet),
}

impl Rings {
    /// The rings in the order in which addresses of pods are told; `None` without any. The families
    /// differ, so that there are two at most.
    pub fn new(rings: impl IntoIterator<Item = Ipam>) -> Option<Self> {
        let mut rings = rings.into_iter();
        Some(Self {
            first: rings.next()?,
            second: rings.next(),
        })
    }

    /// The subnets of requests that name none, the primary one first.
    pub fn default_subnets(&self) -> Vec<IpNet> {
        self.ranked().map(Ipam::default_subnet).collect()
    }

    /// Addresses for `ident`, the same again for the same ident. Waits while there are none.
    ///
    /// # Errors
    /// See [`Failure`]; nothing that `ident` did not have before stays with it then.
    ///
    /// # Cancel safety
    /// Dropping the future gives the request up; what was given meanwhile stays with `ident`.
    pub async fn allocate(
        &self,
        ident: String,
        asked: Asked,
        is_container: bool,
    ) -> Result<Vec<Grant>, Failure> {
        let (ring, subnet) = match (asked, &self.second) {
            (Asked::All, Some(second)) => return self.both(second, ident, is_container).await,
            (Asked::All | Asked::Primary, _) => (self.primary(), None),
            (Asked::In(subnet), _) => (self.of(subnet.addr()), Some(subnet)),
        };
        let granted = ring.allocate(ident, subnet, is_container).await?;
        Ok(vec![granted])
    }

    async fn both(
        &self,
        second: &Ipam,
        ident: String,
        is_container: bool,
    ) -> Result<Vec<Grant>, Failure> {
        let before = self.held(&ident).await?;
        let given = tokio::try_join!(
            self.first.allocate(ident.clone(), None, is_container),
            second.allocate(ident.clone(), None, is_container),
        );
        match given {
            Ok((first, second)) => Ok(vec![first, second]),
            Err(failure) => {
                self.take_back(&ident, &before).await;
                Err(failure)
            }
        }
    }

    /// Frees what `ident` has in the default subnets beyond `before`. A request that one ring still
    /// works at is given up by now: the ring sweeps before it does what is asked here.
    async fn take_back(&self, ident: &str, before: &[IpNet]) {
        let Ok(held) = self.held(ident).await else {
            return;
        };
        for address in held.into_iter().filter(|one| !before.contains(one)) {
            if let Err(failure) = self.free(ident.to_owned(), address.addr()).await {
                warn!("cannot take {address} back from {ident}: {failure}");
            }
        }
    }

    async fn held(&self, ident: &str) -> Result<Vec<IpNet>, Failure> {
        self.lookup(ident.to_owned(), Asked::All).await
    }

    /// Claims `address` for `ident`, as [`Ipam::claim`].
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn claim(
        &self,
        ident: String,
        address: IpNet,
        is_container: bool,
    ) -> Result<(), Failure> {
        let ring = self.of(address.addr());
        ring.claim(ident, address, is_container).await
    }

    /// Claims an address that is in use already, as [`Ipam::reclaim`].
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn reclaim(
        &self,
        ident: String,
        address: IpNet,
        is_container: bool,
    ) -> Result<(), Failure> {
        let ring = self.of(address.addr());
        ring.reclaim(ident, address, is_container).await
    }

    /// Waits until there is every ring.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn prime(&self) -> Result<(), Failure> {
        let outcomes = self.each(|ring| async move { ring.prime().await }).await;
        outcomes.into_iter().collect()
    }

    /// Frees one address of `ident`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn free(&self, ident: String, address: IpAddr) -> Result<(), Failure> {
        self.of(address).free(ident, address).await
    }

    /// Frees every address of `ident`, of every family.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::Refused`] when it has none of any family.
    pub async fn delete(&self, ident: String) -> Result<(), Failure> {
        let outcomes = self
            .each(|ring| {
                let ident = ident.clone();
                async move { ring.delete(ident).await }
            })
            .await;
        let mut refused = Ok(());
        let mut is_freed = false;
        for outcome in outcomes {
            match outcome {
                Ok(()) => is_freed = true,
                Err(failure @ Failure::Refused(_)) => refused = refused.and(Err(failure)),
                Err(failure) => return Err(failure),
            }
        }
        if is_freed { Ok(()) } else { refused }
    }

    /// The addresses of `ident` as asked for.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn lookup(&self, ident: String, asked: Asked) -> Result<Vec<IpNet>, Failure> {
        match asked {
            Asked::Primary => self.primary().lookup(ident, None).await,
            Asked::In(subnet) => self.of(subnet.addr()).lookup(ident, Some(subnet)).await,
            Asked::All => {
                let found = self
                    .each(|ring| {
                        let ident = ident.clone();
                        async move { ring.lookup(ident, None).await }
                    })
                    .await;
                Ok(all(found)?.into_iter().flatten().collect())
            }
        }
    }

    /// Every ident with its addresses.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn owned(&self) -> Result<Vec<(String, Vec<IpNet>)>, Failure> {
        let Some(second) = &self.second else {
            return self.first.owned().await;
        };
        let (first, second) = tokio::try_join!(self.first.owned(), second.owned())?;
        let mut merged: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        for (ident, addresses) in first.into_iter().chain(second) {
            merged.entry(ident).or_default().extend(addresses);
        }
        Ok(merged.into_iter().collect())
    }

    /// What the allocators say about themselves, the primary one first.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn statuses(&self) -> Result<Vec<Box<Status>>, Failure> {
        let mut statuses = Vec::new();
        for ring in self.ranked() {
            statuses.push(ring.status().await?);
        }
        Ok(statuses)
    }

    /// Takes over the ranges of `peer` in every ring, as [`Ipam::take_over`]; how many addresses all
    /// together.
    ///
    /// # Errors
    /// As [`Ipam::take_over`]; the other ring may have taken over its part.
    pub async fn take_over(&self, peer: String) -> Result<u128, Failure> {
        let gained = self
            .each(|ring| {
                let peer = peer.clone();
                async move { ring.take_over(peer).await }
            })
            .await;
        let gained = all(gained)?;
        Ok(gained.into_iter().fold(0, u128::saturating_add))
    }

    /// Gives our ranges to other peers and stops allocating.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn leave(&self) -> Result<(), Failure> {
        let outcomes = self.each(|ring| async move { ring.leave().await }).await;
        outcomes.into_iter().collect()
    }

    /// Tells how many other peers were given, from which a quorum follows when none is set.
    pub async fn set_targets(&self, count: usize) {
        self.each(|ring| async move { ring.set_targets(count).await })
            .await;
    }

    /// The ring of IPv4, where there is one.
    fn primary(&self) -> &Ipam {
        match &self.second {
            Some(second) if second.is_v4() => second,
            _ => &self.first,
        }
    }

    /// The rings, the primary one first.
    fn ranked(&self) -> impl Iterator<Item = &Ipam> {
        let is_swapped = self.second.as_ref().is_some_and(Ipam::is_v4);
        let (one, other) = (Some(&self.first), self.second.as_ref());
        let ranked = if is_swapped {
            [other, one]
        } else {
            [one, other]
        };
        ranked.into_iter().flatten()
    }

    /// The ring of the family of `address`; where there is none, the one that says so.
    fn of(&self, address: IpAddr) -> &Ipam {
        match &self.second {
            Some(second) if second.is_v4() == address.is_ipv4() => second,
            _ => &self.first,
        }
    }

    /// Asks every ring at the same time, so that one write serves them all.
    async fn each<F: Future>(&self, ask: impl Fn(Ipam) -> F) -> Vec<F::Output> {
        match self.second.clone() {
            None => vec![ask(self.first.clone()).await],
            Some(second) => {
                let (first, second) = tokio::join!(ask(self.first.clone()), ask(second));
                vec![first, second]
            }
        }
    }
}

fn all<T>(outcomes: Vec<Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    outcomes.into_iter().collect()
}

#[cfg(test)]
mod tests;
