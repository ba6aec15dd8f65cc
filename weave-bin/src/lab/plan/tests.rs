//! Plans of every topology, and choices that cannot be built.

use super::*;

fn choice(hosts: usize, topology: Topology) -> Choice {
    Choice {
        topology,
        ..Choice::full("weave-lab", hosts, 2)
    }
}

fn plan(hosts: usize, topology: Topology) -> Plan {
    Plan::new(&choice(hosts, topology)).unwrap()
}

fn neighbours(plan: &Plan, host: usize) -> Vec<usize> {
    plan.host(host)
        .unwrap()
        .neighbours
        .iter()
        .map(|neighbour| neighbour.number)
        .collect()
}

#[test]
fn networks_are_those_of_the_own_cables() {
    let full = plan(3, Topology::Full);
    let line = plan(3, Topology::Line);

    assert_eq!(full.networks(2), "198.18.0.0/16");
    assert_eq!(line.networks(1), "198.18.0.4/30");
    assert_eq!(line.networks(2), "198.18.0.4/30,198.18.0.8/30");
}

#[test]
fn on_a_switch_everyone_is_a_neighbour() {
    let plan = plan(3, Topology::Full);

    assert_eq!(neighbours(&plan, 2), [1, 3]);
    assert_eq!(plan.switch().unwrap(), "weave-lab-switch");
    assert_eq!(
        plan.cables[2].a.address,
        Some("198.18.0.3/16".parse().unwrap())
    );
    assert_eq!(plan.cables[2].b.device, "port3");
}

#[test]
fn in_a_line_only_the_next_hosts_are_neighbours() {
    let plan = plan(4, Topology::Line);

    assert_eq!(neighbours(&plan, 1), [2]);
    assert_eq!(neighbours(&plan, 2), [1, 3]);
    assert_eq!(neighbours(&plan, 4), [3]);
    assert_eq!(plan.switch(), None);
    let cable = &plan.cables[1];
    assert_eq!(
        (cable.a.device.as_str(), cable.b.device.as_str()),
        ("to-3", "to-2")
    );
    assert_eq!(cable.a.address, Some("198.18.0.9/30".parse().unwrap()));
    assert_eq!(cable.b.address, Some("198.18.0.10/30".parse().unwrap()));
}

#[test]
fn in_a_star_host_one_is_in_the_middle() {
    let plan = plan(4, Topology::Star);

    assert_eq!(neighbours(&plan, 1), [2, 3, 4]);
    assert_eq!(neighbours(&plan, 3), [1]);
}

#[test]
fn one_host_alone_is_a_lab() {
    for topology in [Topology::Full, Topology::Line, Topology::Star] {
        assert!(neighbours(&plan(1, topology), 1).is_empty());
    }
}

#[test]
fn addresses_and_interface_names_never_repeat() {
    for topology in [Topology::Full, Topology::Line, Topology::Star] {
        let plan = plan(MAX_HOSTS, topology);
        let plugs: Vec<&Plug> = plan
            .cables
            .iter()
            .flat_map(|cable| [&cable.a, &cable.b])
            .collect();

        let addresses: Vec<Ipv4Net> = plugs.iter().filter_map(|plug| plug.address).collect();
        let distinct: BTreeSet<Ipv4Addr> = addresses.iter().map(Ipv4Net::addr).collect();
        assert_eq!(distinct.len(), addresses.len(), "{topology}");

        let names: BTreeSet<(Option<usize>, &str)> = plugs
            .iter()
            .map(|plug| (plug.host, plug.device.as_str()))
            .collect();
        assert_eq!(names.len(), plugs.len(), "{topology}");
        assert!(plugs.iter().all(|plug| plug.device.len() <= 15));
    }
}

#[test]
fn the_two_ends_of_a_direct_cable_share_a_network() {
    let plan = plan(MAX_HOSTS, Topology::Line);

    for cable in &plan.cables {
        let (a, b) = (cable.a.address.unwrap(), cable.b.address.unwrap());
        assert_eq!(a.trunc(), b.trunc());
        assert!(a.addr() != a.network() && b.addr() != b.broadcast());
    }
}

#[test]
fn the_underlay_moves_out_of_the_way_of_the_range() {
    let mut choice = choice(3, Topology::Full);
    for range in [
        "198.16.0.0/14",
        "198.18.128.0/24",
        "172.16.0.0/12",
        "192.0.0.0/3",
    ] {
        choice.range = range.parse().unwrap();

        let plan = Plan::new(&choice).unwrap();

        for cable in &plan.cables {
            let address = cable.a.address.unwrap().addr();
            assert!(!choice.range.contains(&address), "{range} {address}");
            assert!(!net(DEFAULT_RANGE).contains(&address));
        }
    }
}

#[test]
fn choices_that_cannot_be_built_say_why() {
    let good = choice(3, Topology::Full);
    let range = |text: &str| text.parse().unwrap();
    let cases = [
        (
            Choice {
                hosts: 0,
                ..good.clone()
            },
            "--hosts must be from 1 to 200, not 0",
        ),
        (
            Choice {
                pods: 201,
                ..good.clone()
            },
            "--pods must be from 0 to 200, not 201",
        ),
        (
            Choice {
                mtu: Some(100),
                ..good.clone()
            },
            "--mtu must be from 576 to 65000, not 100",
        ),
        (
            Choice {
                name: "a/b".to_owned(),
                ..good.clone()
            },
            "--name \"a/b\" must be 1 to 40 letters, digits and '-', beginning with a letter",
        ),
        (
            Choice {
                range: range("10.32.0.0/29"),
                ..good.clone()
            },
            "--ipalloc-range 10.32.0.0/29 has room for 6 addresses, the lab needs 9",
        ),
        (
            Choice {
                range: range("127.1.0.0/16"),
                ..good.clone()
            },
            "--ipalloc-range 127.1.0.0/16 is not a range for hosts: it overlaps 127.0.0.0/8",
        ),
        (
            Choice {
                range: range("128.0.0.0/1"),
                ..good.clone()
            },
            "--ipalloc-range 128.0.0.0/1 is not a range for hosts: it overlaps 224.0.0.0/3",
        ),
    ];
    for (choice, expected) in cases {
        assert_eq!(Plan::new(&choice).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_cut_takes_the_cables_between_the_sides_only() {
    let line = plan(4, Topology::Line);
    let cut = line.cables_across(&BTreeSet::from([3, 4]));
    assert_eq!(cut.len(), 1);
    assert_eq!(cut[0].a.host, Some(2));

    let full = plan(3, Topology::Full);
    let cut = full.cables_across(&BTreeSet::from([3]));
    assert_eq!(cut.len(), 1);
    assert_eq!(cut[0].b.device, "port3");
}

#[test]
fn cables_are_wide_enough_for_the_chosen_mtu() {
    let mut choice = choice(2, Topology::Full);
    assert_eq!(Plan::new(&choice).unwrap().underlay_mtu, 1500);
    choice.mtu = Some(8950);
    assert_eq!(Plan::new(&choice).unwrap().underlay_mtu, 9000);
}
