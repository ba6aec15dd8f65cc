//! The rules of a node about whose policies nothing is known yet.
//!
//! Without them a node that starts is open until its controller knows the cluster; with them it is
//! closed so long. They are for those who want that, and only where no earlier controller left
//! rules that are better.
//!
//! Invariant: what is established, and what finds neighbours, passes; no new connection enters or
//! leaves by the bridge of the pods. The node reaches its own pods throughout: that is not forwarded.

use super::base;
use super::canon::fixed;
use super::{Compiler, Options};
use crate::ruleset::{Base, Chain, Field, Hook, IfName, Rule, Table, TableId, Value, Verdict};

/// The table of a node that is closed, in place of the one a [`Compiler`] with these options makes.
///
/// ```
/// use weave_npc::compile::{Options, closed};
/// use weave_npc::ruleset::{IfName, Ruleset};
///
/// let (id, table) = closed(IfName::new("weave")?, &Options::default());
/// let ruleset = Ruleset::new().with(id, table);
///
/// assert!(ruleset.check().is_ok());
/// assert!(ruleset.to_string().contains("iifname \"weave\" counter drop"));
/// # Ok::<(), weave_npc::ruleset::NameError>(())
/// ```
pub fn closed(bridge: IfName, options: &Options) -> (TableId, Table) {
    let id = Compiler::new("", options.clone()).table().clone();
    let mut table = Table::new();
    let fields = [Field::IifName, Field::OifName];
    table.add_chain(fixed("forward"), chain(Hook::Forward, &fields, bridge));
    if options.verdict.filter_own_node {
        table.add_chain(fixed("input"), chain(Hook::Input, &fields[..1], bridge));
    }
    (id, table)
}

fn chain(hook: Hook, fields: &[Field], bridge: IfName) -> Chain {
    let mut chain = Chain::at(Base::filter(hook, base::PRIORITY));
    chain.rules.extend(base::common());
    for field in fields {
        let rule = Rule::new().when(field.is(Value::IfName(bridge)));
        chain.rules.push(rule.counter().verdict(Verdict::Drop));
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{CtState, Fate, Packet, Ruleset, Transport, Walk};

    fn fate(hook: Hook, state: CtState, options: &Options) -> Fate {
        let (id, table) = closed(IfName::new("weave").unwrap(), options);
        let ruleset = Ruleset::new().with(id, table);
        ruleset.check().unwrap();
        let ends = [[10, 32, 0, 1], [10, 32, 0, 2]].map(Into::into);
        let mut packet = Packet::new(ends[0], ends[1], 6, Transport::Ports(40_000, 80));
        packet.ct_state = state;
        packet.iif = IfName::new("weave").ok();
        Walk::new(&ruleset).run(hook, &packet).fate
    }

    #[test]
    fn only_what_is_established_is_forwarded() {
        let options = Options::default();

        assert_eq!(fate(Hook::Forward, CtState::NEW, &options), Fate::Drop);
        let known = fate(Hook::Forward, CtState::ESTABLISHED, &options);
        assert_eq!(known, Fate::Accept);
    }

    #[test]
    fn the_node_itself_is_reached_unless_pods_are_filtered_there() {
        let mut options = Options::default();
        assert_eq!(fate(Hook::Input, CtState::NEW, &options), Fate::Accept);

        options.verdict.filter_own_node = true;
        assert_eq!(fate(Hook::Input, CtState::NEW, &options), Fate::Drop);
    }

    #[test]
    fn it_has_the_place_of_the_table_that_follows() {
        let (id, table) = closed(IfName::new("weave").unwrap(), &Options::default());
        let compiler = Compiler::new("n1", Options::default());
        let next = &compiler.ruleset().tables[compiler.table()];

        assert_eq!(&id, compiler.table());
        assert_eq!(table.chains["forward"].base, next.chains["forward"].base);
    }
}
