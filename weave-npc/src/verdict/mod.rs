//! The reference interpreter: what the text of the policies says about one connection.
//!
//! It reads the [`World`] and nothing else, one question after the other as the Kubernetes text
//! puts them, without index and without cleverness. The compiled ruleset must agree with it: that is
//! law V1 of `ALGORITHM.md`.
//!
//! Invariant: every decision names what decided it, at both ends.

mod answer;
mod cluster;
mod matching;
mod reason;
mod side;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::model::{Direction, Host, Transport, World};

pub use answer::{Answer, Difference, ask, compare, ports_of_interest};
pub use reason::{Closest, ClusterMatch, Condition, Place, Reason, RuleMatch, WouldDeny};
pub use table::{End, IpFamily, Table};

/// The first packet of a connection, as the hook that filters sees it: behind the translation of
/// destinations, before that of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Protocol and destination port.
    pub transport: Transport,
    /// True if the client asked for the address of a service. It only matters for a pod that
    /// reaches itself: to its own address it talks without leaving.
    pub is_through_service: bool,
}

impl Flow {
    /// A connection to the destination's own address.
    pub fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        Self {
            source,
            destination,
            transport,
            is_through_service: false,
        }
    }

    /// The same connection, made through a service.
    #[must_use]
    pub fn through_service(mut self) -> Self {
        self.is_through_service = true;
        self
    }
}

/// What the policies at one end say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Side {
    /// Which direction was asked.
    pub direction: Direction,
    /// The verdict.
    pub allowed: bool,
    /// What decided.
    pub reason: Reason,
    /// Policies in audit mode that would have denied.
    pub would_deny: Vec<WouldDeny>,
}

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// True if both ends allow it.
    pub allowed: bool,
    /// What the source's policies say.
    pub egress: Side,
    /// What the destination's policies say. It is also told where the source denies already.
    pub ingress: Side,
}

/// What is left to each implementation by the Kubernetes text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// True if a pod's egress rules also hold for traffic to its own node. The text exempts it.
    pub filter_own_node: bool,
    /// True if a pod that NetworkPolicies isolate for one direction is beyond the Baseline tier for
    /// both. By default each direction is judged on its own.
    pub isolation_covers_both: bool,
}

/// Decides `flow` with default [`Options`].
///
/// ```
/// use weave_npc::model::{NetworkPolicy, Object, ObjectName, Pod, Protocol, Transport, Uid, World};
/// use weave_npc::{Flow, Selector, decide};
///
/// let pod = |name: &str, address: [u8; 4]| {
///     Object::Pod(
///         Pod::new(ObjectName::new("shop", name), Uid::new(name)).with_addresses([address.into()]),
///     )
/// };
/// let closed = NetworkPolicy::new(ObjectName::new("shop", "closed"), Selector::everything());
/// let world: World = [
///     pod("web", [10, 32, 0, 1]),
///     pod("db", [10, 32, 0, 2]),
///     Object::Policy(closed.with_ingress([])),
/// ]
/// .into_iter()
/// .collect();
///
/// let port = Transport::Port(Protocol::Tcp, 5432);
/// let decision = decide(&world, &Flow::new([10, 32, 0, 1].into(), [10, 32, 0, 2].into(), port));
///
/// assert!(!decision.allowed);
/// assert_eq!(
///     decision.to_string(),
///     "denied: ingress of shop/db is isolated by shop/closed, which has no rules"
/// );
/// ```
#[must_use]
pub fn decide(world: &World, flow: &Flow) -> Decision {
    decide_with(world, flow, Options::default())
}

/// Decides `flow`.
#[must_use]
pub fn decide_with(world: &World, flow: &Flow, options: Options) -> Decision {
    let ends = Ends {
        world,
        flow,
        source: world.host(flow.source),
        destination: world.host(flow.destination),
        options,
    };
    let egress = ends.ask(Direction::Egress);
    let ingress = ends.ask(Direction::Ingress);
    Decision {
        allowed: egress.allowed && ingress.allowed,
        egress,
        ingress,
    }
}

/// A flow with both its ends looked up.
#[derive(Clone, Copy)]
struct Ends<'w> {
    world: &'w World,
    flow: &'w Flow,
    source: Host<'w>,
    destination: Host<'w>,
    options: Options,
}

impl<'w> Ends<'w> {
    /// The end whose policies speak for `direction`.
    fn subject(&self, direction: Direction) -> Host<'w> {
        match direction {
            Direction::Ingress => self.destination,
            Direction::Egress => self.source,
        }
    }

    /// The end that the rules of `direction` call the peer.
    fn peer(&self, direction: Direction) -> Host<'w> {
        match direction {
            Direction::Ingress => self.source,
            Direction::Egress => self.destination,
        }
    }

    /// The peer's address.
    fn peer_address(&self, direction: Direction) -> IpAddr {
        match direction {
            Direction::Ingress => self.flow.source,
            Direction::Egress => self.flow.destination,
        }
    }

    /// True if a pod talks to itself.
    fn is_self(&self) -> bool {
        match (self.source, self.destination) {
            (Host::Pod(a), Host::Pod(b)) => a.uid == b.uid,
            _ => false,
        }
    }
}
