//! Chains: lists of rules, reached from a hook of the kernel or from other chains.
//!
//! Invariant: none of its own; hooks that a family lacks are found by
//! [`Ruleset::check`](super::Ruleset::check).

use super::name::IfName;
use super::rule::Rule;

/// A list of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// Where the kernel enters it; a chain without is entered by jumps only.
    pub base: Option<Base>,
    /// The rules in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// A chain that is jumped to.
    pub fn new() -> Self {
        Self::default()
    }

    /// A chain that the kernel enters.
    pub fn at(base: Base) -> Self {
        Self {
            base: Some(base),
            rules: Vec::new(),
        }
    }

    /// Appends a rule.
    #[must_use]
    pub fn with(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }
}

/// Where and how the kernel enters a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// What the chain may do.
    pub kind: ChainType,
    /// The point of a packet's path.
    pub hook: Hook,
    /// Order among the chains of one hook: smaller is earlier.
    pub priority: i32,
    /// What happens at the end of the chain.
    pub policy: Policy,
    /// The device, for [`Hook::Ingress`] and [`Hook::Egress`].
    pub device: Option<IfName>,
}

impl Base {
    /// A `filter` chain that accepts at its end.
    pub fn filter(hook: Hook, priority: i32) -> Self {
        Self {
            kind: ChainType::Filter,
            hook,
            priority,
            policy: Policy::Accept,
            device: None,
        }
    }

    /// A `nat` chain that accepts at its end.
    pub fn nat(hook: Hook, priority: i32) -> Self {
        Self {
            kind: ChainType::Nat,
            ..Self::filter(hook, priority)
        }
    }

    /// With another policy.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// At one device.
    #[must_use]
    pub fn device(mut self, device: IfName) -> Self {
        self.device = Some(device);
        self
    }
}

/// What a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainType {
    /// Accept and drop.
    Filter,
    /// Translate addresses; sees only the first packet of a connection.
    Nat,
    /// Packets of this host are routed again if the chain changes them.
    Route,
}

impl ChainType {
    /// The name in `nft` syntax and in the kernel.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// A point of a packet's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Just arrived.
    Prerouting,
    /// For this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// About to leave.
    Postrouting,
    /// At a device, before everything else (netdev tables).
    Ingress,
    /// At a device, after everything else (netdev tables).
    Egress,
}

impl Hook {
    /// The name in `nft` syntax.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// What happens to a packet that reaches the end of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// It goes on to the next base chain.
    Accept,
    /// It is gone.
    Drop,
}
