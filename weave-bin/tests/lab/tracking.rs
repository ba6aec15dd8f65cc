//! Rules of the host that ask conntrack about packets of the fast overlay get an answer.

use std::time::Duration;

use weave_datapath::netns::{Namespace, named_path};
use weave_npc::netlink::{Keeper, Nft};
use weave_npc::ruleset::{
    Base, Chain, CtState, Family, Field, Hook, Name, Rule, Table, TableId, Value, Verdict,
};

use crate::bed::{Lab, can_run};
use crate::outage::wait_for;

/// As many an old host has them: each connection is let in by its first packet.
fn stateful() -> (TableId, Table) {
    let name = |text: &str| Name::new(text).unwrap();
    let tunnel = || {
        Rule::new()
            .when(Field::L4Proto.is(Value::Proto(17)))
            .when(Field::DestPort.is(Value::Port(6784)))
    };
    let asked = CtState::NEW.or(CtState::ESTABLISHED);
    let chain = Chain::at(Base::filter(Hook::Input, 0))
        .with(
            tunnel()
                .when(Field::CtState.is(asked))
                .verdict(Verdict::Accept),
        )
        .with(tunnel().verdict(Verdict::Drop));
    let mut table = Table::new();
    table.add_chain(name("input"), chain);
    (TableId::new(Family::Inet, name("hardened")), table)
}

#[test]
fn a_firewall_that_asks_for_a_state_keeps_the_fast_overlay() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("tracking");
    lab.ok(&["up", "--hosts", "3", "--pods", "1"]);
    wait_for(&lab, "fastdp", Duration::from_secs(20));
    let host = Namespace::open(named_path(&lab.namespace("1"))).unwrap();
    let untracked = || {
        host.run(|| chains().contains(&"overlay-out".to_owned()))
            .unwrap()
    };
    assert!(untracked());

    host.run(|| {
        let (id, table) = stateful();
        Keeper::new(Nft::open().unwrap(), id).set(&table).unwrap();
    })
    .unwrap();
    wait_for(&lab, "sleeve", Duration::from_secs(10));
    let back = wait_for(&lab, "fastdp", Duration::from_secs(25));
    println!("back on the fast overlay after {back:?}");
    // A trial that helped ends with the next look.
    std::thread::sleep(Duration::from_secs(12));
    assert!(!untracked());

    // The next daemon knows.
    lab.ok(&["kill", "1"]);
    lab.ok(&["start", "1"]);
    wait_for(&lab, "fastdp", Duration::from_secs(5));
    assert!(!untracked());
}

/// The chains of our table here.
fn chains() -> Vec<String> {
    let id = TableId::new(Family::Inet, Name::new("weave").unwrap());
    let left = Nft::open().unwrap().read(&id).unwrap();
    let table = left.map(|left| left.table).unwrap_or_default();
    table.chains.keys().map(ToString::to_string).collect()
}
