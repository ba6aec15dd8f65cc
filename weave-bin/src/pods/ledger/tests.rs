use super::*;

const OLD: &str = "aaaaaaaaaaaaaaaa1";

fn net() -> Mark {
    Mark {
        plugin: Plugin::Net,
        network: Some("weave".to_owned()),
    }
}

fn ids(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|id| (*id).to_owned()).collect()
}

fn links(aliases: &[&str], names: &[&str]) -> Links {
    Links {
        ids: ids(aliases),
        names: ids(names),
    }
}

#[test]
fn an_address_whose_link_is_gone_is_freed_after_the_grace_time() {
    let mut ledger = Ledger::default();
    ledger.mark("c1", net());
    ledger.mark("c2", net());
    let owned = ids(&["c1", "c2"]);
    let at = Duration::from_secs;

    assert_eq!(ledger.look(at(0), &owned, &links(&["c1"], &[])), [""; 0]);
    assert_eq!(ledger.look(at(299), &owned, &links(&[], &[])), [""; 0]);
    assert_eq!(ledger.look(at(300), &owned, &links(&["c1"], &[])), ["c2"]);
    assert_eq!(ledger.look(at(500), &owned, &links(&[], &[])), ["c2"]);
    assert_eq!(ledger.look(at(800), &owned, &links(&[], &[])), ["c1", "c2"]);
}

#[test]
fn a_pod_that_is_added_again_has_the_whole_grace_time() {
    let mut ledger = Ledger::default();
    ledger.mark("c1", net());
    let at = Duration::from_secs;
    ledger.look(at(0), &ids(&["c1"]), &links(&[], &[]));
    assert!(ledger.is_leaked(at(300), "c1"));

    ledger.mark("c1", net());

    assert!(!ledger.is_leaked(at(300), "c1"));
    let leaked = ledger.look(at(310), &ids(&["c1"]), &links(&[], &[]));
    assert_eq!(leaked, [""; 0]);
}

#[test]
fn what_was_never_attached_is_never_freed() {
    let mut ledger = Ledger::default();
    let other = Mark {
        plugin: Plugin::Ipam,
        network: Some("macvlan".to_owned()),
    };
    ledger.mark("c3", other);
    let owned = ids(&["c3", "by-hand", "weave:expose"]);

    for second in [0, 1000, 2000] {
        let now = Duration::from_secs(second);
        assert_eq!(ledger.look(now, &owned, &links(&[], &[])), [""; 0]);
    }
}

#[test]
fn a_pod_that_was_there_before_is_learnt_from_its_link() {
    let mut ledger = Ledger::default();
    let owned = ids(&[OLD, "c1"]);

    ledger.look(
        Duration::ZERO,
        &owned,
        &links(&["c1"], &["vethweplaaaaaaa"]),
    );
    assert!(ledger.take_changed());
    ledger.look(Duration::from_secs(1), &owned, &links(&[], &[]));
    let leaked = ledger.look(Duration::from_secs(301), &owned, &links(&[], &[]));

    assert_eq!(leaked, [OLD, "c1"]);
    // Its network is not known, so nobody's list says that it is not valid.
    assert_eq!(ledger.unlisted("weave", &BTreeSet::new()), [""; 0]);
}

#[test]
fn a_mark_goes_only_when_its_address_is_missed_twice() {
    let mut ledger = Ledger::default();
    ledger.mark("c1", net());
    let look = |ledger: &mut Ledger, owned: &[&str]| {
        ledger.look(Duration::ZERO, &ids(owned), &links(&["c1"], &[]));
    };

    look(&mut ledger, &[]);
    look(&mut ledger, &["c1"]);
    look(&mut ledger, &[]);
    assert_eq!(ledger.unlisted("weave", &ids(&[])), ["c1"]);
    look(&mut ledger, &[]);

    assert_eq!(ledger.unlisted("weave", &ids(&[])), [""; 0]);
}

#[test]
fn only_unlisted_containers_of_the_network_are_found() {
    let mut ledger = Ledger::default();
    ledger.mark("c1", net());
    ledger.mark("c2", net());
    let other = Mark {
        network: Some("other".to_owned()),
        ..net()
    };
    ledger.mark("c3", other);

    assert_eq!(ledger.unlisted("weave", &ids(&["c2"])), ["c1"]);
    ledger.forget("c1");
    assert_eq!(ledger.unlisted("weave", &ids(&["c2"])), [""; 0]);
}

#[test]
fn marks_are_read_as_they_were_written() {
    let mut ledger = Ledger::default();
    ledger.mark("c1", net());
    assert!(ledger.take_changed());

    let mut read = Ledger::from_json(&ledger.to_json()).unwrap();

    assert!(!read.take_changed());
    assert_eq!(read.to_json(), ledger.to_json());
    assert_eq!(read.unlisted("weave", &ids(&[])), ["c1"]);
    assert!(Ledger::from_json("[]").is_err());
}
