use std::collections::BTreeMap;

use super::*;
use crate::doctor::checks::tests::healthy;
use crate::doctor::evidence::{Cached, Daemon};

fn states(audit: &Audit) -> Vec<(String, State)> {
    let rows = audit.addresses.iter();
    rows.map(|row| (row.address.to_string(), row.state))
        .collect()
}

#[test]
fn a_healthy_host_is_clean_and_pods_have_their_names() {
    let mut evidence = healthy();
    let cached = Cached {
        pod: Some("default/web".to_owned()),
        addresses: vec!["10.32.0.2/12".parse().unwrap()],
        ..Cached::default()
    };
    evidence.cached = Some(BTreeMap::from([("c0ffee".to_owned(), cached)]));

    let audit = audit(&evidence);

    assert!(audit.clean, "{audit:#?}");
    assert_eq!(states(&audit), [("10.32.0.2".to_owned(), State::Attached)]);
    let text = text(&audit);
    assert!(
        text.contains("c0ffee       vethweplc0ffee  default/web"),
        "{text}"
    );
    assert!(
        text.contains("524288 addresses in 1 parts, 50.00 %\n"),
        "{text}"
    );
    assert!(
        text.ends_with("off: 0, owners that are gone: 0, faults of the ring: 0\n"),
        "{text}"
    );
}

#[test]
fn what_leaked_is_unknown_or_doubled_is_off() {
    let mut evidence = healthy();
    let mut again = evidence.owners[0].clone();
    again.id = "again".to_owned();
    evidence.owners.push(again);
    let mut gone = evidence.owners[0].clone();
    gone.id = "gone".to_owned();
    gone.addresses = vec!["10.32.0.3/12".parse().unwrap()];
    evidence.owners.push(gone);
    // A namespace with an address that nobody was asked for.
    let mut stray = evidence.links[3].clone();
    stray.alias = None;
    stray.name = "veth0".to_owned();
    stray.inside = Some(vec![
        "10.32.0.9/12".parse().unwrap(),
        "172.16.0.1/16".parse().unwrap(),
    ]);
    evidence.links.push(stray);

    let audit = audit(&evidence);

    let expected = [
        ("10.32.0.2", State::Doubled),
        ("10.32.0.2", State::Doubled),
        ("10.32.0.3", State::Leaked),
        ("10.32.0.9", State::Unknown),
    ];
    assert!(!audit.clean);
    assert_eq!(
        states(&audit),
        expected.map(|(address, state)| (address.to_owned(), state))
    );
}

#[test]
fn claims_are_nobodys_fault_and_the_bridge_has_its_own() {
    let mut evidence = healthy();
    evidence.owners[0].mark = None;
    evidence.owners[0].id = "by-hand".to_owned();
    let mut bridge = evidence.owners[0].clone();
    bridge.id = "weave:expose".to_owned();
    bridge.addresses = vec!["10.32.0.1/12".parse().unwrap()];
    evidence.owners.push(bridge);
    let Daemon::Up(report) = &mut evidence.daemon else {
        panic!("the daemon is down");
    };
    let exposed = crate::status::model::Exposed {
        address: "10.32.0.1/12".to_owned(),
        masquerade: true,
    };
    report.host.as_mut().unwrap().exposed = vec![exposed];

    let audit = audit(&evidence);

    assert!(audit.clean, "{audit:#?}");
    let expected = [("10.32.0.1", State::Bridge), ("10.32.0.2", State::Claimed)];
    assert_eq!(
        states(&audit),
        expected.map(|(address, state)| (address.to_owned(), state))
    );
}

#[test]
fn a_ring_with_a_hole_or_an_owner_that_is_gone_is_off() {
    let change = |change: fn(&mut Ipam)| {
        let mut evidence = healthy();
        let Daemon::Up(report) = &mut evidence.daemon else {
            panic!("the daemon is down");
        };
        change(report.ipam.as_mut().unwrap());
        audit(&evidence)
    };

    let gone = change(|ipam| ipam.entries[1].is_known_peer = false);
    assert!(!gone.clean);
    assert!(text(&gone).contains("50.00 % UNREACHABLE"));
    let hole = change(|ipam| drop(ipam.entries.pop()));
    assert_eq!(hole.faults, ["the ring does not cover its range"]);
    assert!(change(|ipam| ipam.entries.clear()).clean);
}

#[test]
fn parts_of_large_ranges_have_a_size_too() {
    assert_eq!(percent(1 << 127, u128::MAX), 50.0);
    assert_eq!(percent(1, 3), 33.33);
    assert_eq!(percent(0, 0), 0.0);
}
