//! The part of the table that does not depend on policies: sets, maps and the chains at the hooks.
//!
//! Invariant: packets of established connections take the first rule and no other.

use super::canon::fixed;
use super::family::Family;
use super::{Options, draft::Draft};
use crate::model::Direction;
use crate::ruleset::{Base, Chain, CtState, Field, Hook, Name, NfProto, Rule, Set, Value, Verdict};

/// The verdict map of isolated local pods.
pub(super) fn dispatch(direction: Direction, family: Family) -> Name {
    let prefix = match direction {
        Direction::Ingress => "in",
        Direction::Egress => "eg",
    };
    fixed(&format!("{prefix}{}", family.digit()))
}

/// Pairs of a local pod with itself, for pods that only NetworkPolicies isolate.
pub(super) fn self_pairs(family: Family) -> Name {
    fixed(&format!("self{}", family.digit()))
}

/// Pairs of a local pod with itself, for pods that cluster policies speak about as well: they are
/// looked up behind the Admin tier.
pub(super) fn late_self_pairs(family: Family) -> Name {
    fixed(&format!("own{}", family.digit()))
}

/// Addresses of pods that are being made.
pub(super) fn pending(family: Family) -> Name {
    fixed(&format!("pend{}", family.digit()))
}

/// Adds the sets that are always there.
pub(super) fn sets(draft: &mut Draft) {
    for family in Family::BOTH {
        let kind = family.kind();
        for direction in Direction::BOTH {
            let name = dispatch(direction, family);
            draft.add_set(&name, Set::verdict_map([kind]));
        }
        draft.add_set(&self_pairs(family), Set::of([kind, kind]));
        draft.add_set(&late_self_pairs(family), Set::of([kind, kind]));
        draft.add_set(&pending(family), Set::of([kind]).with_timeouts());
    }
}

/// Adds the chains at the hooks. `is_guarded` is set once a local pod is isolated.
pub(super) fn chains(draft: &mut Draft, options: &Options, is_guarded: bool) {
    let mut forward = Chain::at(Base::filter(Hook::Forward, PRIORITY));
    forward.rules.extend(common());
    if is_guarded && options.guard_link_local {
        forward.rules.push(
            Rule::new()
                .when(Field::Icmpv6Type.one_of(ROUTER_TYPES.map(Value::Icmpv6)))
                .counter()
                .verdict(Verdict::Drop),
        );
    }
    if options.allow_multicast {
        for (family, net) in [(Family::V4, "224.0.0.0/4"), (Family::V6, "ff00::/8")] {
            forward.rules.push(
                Rule::new()
                    .when(family.destination().in_net(network(net)))
                    .verdict(Verdict::Accept),
            );
        }
    }
    if is_guarded && options.guard_link_local {
        for field in [Field::Ip6Saddr, Field::Ip6Daddr] {
            forward.rules.push(
                Rule::new()
                    .when(field.in_net(network("fe80::/10")))
                    .counter()
                    .verdict(Verdict::Drop),
            );
        }
    }
    for family in Family::BOTH {
        for field in [family.source(), family.destination()] {
            let held = Rule::new().when(field.in_set(&pending(family)));
            forward.rules.push(held.counter().verdict(Verdict::Drop));
        }
    }
    for family in Family::BOTH {
        forward
            .rules
            .push(same(family, &self_pairs(family)).verdict(Verdict::Accept));
    }
    forward.rules.extend(dispatched(Direction::Egress));
    forward.rules.extend(dispatched(Direction::Ingress));
    draft.add_chain(&fixed("forward"), forward);
    if options.verdict.filter_own_node {
        let mut input = Chain::at(Base::filter(Hook::Input, PRIORITY));
        input.rules.extend(common());
        input.rules.extend(dispatched(Direction::Egress));
        draft.add_chain(&fixed("input"), input);
    }
}

/// A rule for packets whose two addresses are a pair of `set`.
pub(super) fn same(family: Family, set: &Name) -> Rule {
    use crate::ruleset::{Match, SetRef};
    let fields = [family.source(), family.destination()];
    Rule::new().when(Match::concat(fields, SetRef::Named(set.clone())))
}

/// Connections that were decided, and the neighbour discovery without which IPv6 has no addresses.
pub(super) fn common() -> [Rule; 2] {
    let known = CtState::ESTABLISHED.or(CtState::RELATED);
    [
        Rule::new()
            .when(Field::CtState.is(known))
            .verdict(Verdict::Accept),
        Rule::new()
            .when(Field::NfProto.is(NfProto::Ipv6))
            .when(Field::Icmpv6Type.one_of(NEIGHBOUR_TYPES.map(Value::Icmpv6)))
            .verdict(Verdict::Accept),
    ]
}

fn dispatched(direction: Direction) -> [Rule; 2] {
    Family::BOTH
        .map(|family| Rule::new().vmap([family.own(direction)], &dispatch(direction, family)))
}

fn network(text: &str) -> ipnet::IpNet {
    text.parse().expect("invariant: a network of this file")
}

/// Before the `filter` chains of others (`NF_IP_PRI_FILTER` is 0), so that none accepts before us.
pub(super) const PRIORITY: i32 = -10;
/// Router solicitation, neighbour solicitation and advertisement (RFC 4861).
const NEIGHBOUR_TYPES: [u8; 3] = [133, 135, 136];
/// Router advertisement and redirect (RFC 4861): pods do not route.
const ROUTER_TYPES: [u8; 2] = [134, 137];
