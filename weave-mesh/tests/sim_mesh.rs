//! Whole meshes in virtual time: the targets at sizes that fit a test run, trouble, old peers.
//!
//! Larger meshes are run with the example `mesh_simulation`; the README has the figures.

#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::net::SocketAddr;
use std::time::Duration;

use weave_mesh::node::Config;
use weave_mesh::peer::PeerName;
use weave_mesh::sim::{HostId, Outcome, Scenario, Settings, Simulation};

const S: Duration = Duration::from_secs(1);

fn run(scenario: &Scenario) -> Outcome {
    scenario.run(|_| ())
}

fn short(nodes: usize) -> Scenario {
    let mut scenario = Scenario::new(nodes);
    scenario.window = 60 * S;
    scenario.changes = 5;
    scenario
}

fn name(n: u8) -> PeerName {
    PeerName::from_bytes([10, 0, 0, 0, 0, n])
}

fn config(n: u8) -> Config {
    Config::default()
        .name(name(n))
        .seed(n.into())
        .listen(SocketAddr::from(([10, 0, 0, n], 6783)))
        .peers((n > 1).then_some("10.0.0.1"))
        .overlays(["sleeve"])
}

/// So many peers of this crate, started at once.
fn start(settings: Settings, peers: u8) -> (Simulation, Vec<HostId>) {
    let mut simulation = Simulation::new(settings);
    let hosts = (1..=peers)
        .map(|n| simulation.start(Duration::ZERO, config(n), []).unwrap())
        .collect();
    (simulation, hosts)
}

/// Whether these hosts know each other, all connected and established, and nobody else.
fn is_full_mesh(simulation: &Simulation, hosts: &[HostId]) -> bool {
    hosts.iter().all(|host| {
        let topology = simulation.topology(*host).unwrap();
        topology.len() == hosts.len()
            && topology.records().all(|record| {
                record.connections.len() + 1 == hosts.len()
                    && record.connections.values().all(|link| link.established)
            })
    })
}

#[test]
fn a_mesh_forms_spreads_changes_and_rests_within_the_targets_despite_loss() {
    let outcome = run(&short(30).loss(0.05));

    assert!(outcome.formed.unwrap() <= 10 * S, "{outcome:?}");
    assert_eq!(outcome.failed_connections, 0, "{outcome:?}");
    assert_eq!(outcome.connections, 30 * 29 / 2);
    assert!(outcome.change_p99.unwrap() <= 3 * S, "{outcome:?}");
    assert!(outcome.bytes_per_second <= 4096.0, "{outcome:?}");
    assert_eq!(outcome.lost_connections, 0, "{outcome:?}");
}

#[test]
fn a_starved_quarter_disconnects_no_other_pair() {
    let outcome = run(&short(24).starved(0.25));

    assert!(outcome.formed.is_some(), "{outcome:?}");
    assert_eq!(outcome.lost_connections, 0, "{outcome:?}");
}

#[test]
fn with_a_connection_limit_nobody_is_shut_out() {
    for all_addresses in [false, true] {
        let mut scenario = short(24);
        scenario.connection_limit = 8;
        scenario.all_addresses = all_addresses;

        let outcome = run(&scenario);

        assert!(outcome.formed.unwrap() <= 60 * S, "{outcome:?}");
        assert!(outcome.connections <= 24 * 8 / 2);
        assert!(outcome.fewest_connections >= 8 / 4, "{outcome:?}");
        assert!(outcome.change_p99.unwrap() <= 5 * S, "{outcome:?}");
    }
}

#[test]
fn a_mesh_of_few_connections_each_shuts_nobody_out() {
    let mut scenario = short(60);
    scenario.connection_limit = 6;
    scenario.patience = 60 * S;

    let outcome = run(&scenario);

    assert!(outcome.formed.is_some(), "{outcome:?}");
    assert_eq!(outcome.lost_connections, 0, "{outcome:?}");
}

#[test]
fn a_mesh_at_its_connection_limit_comes_to_rest() {
    let outcomes: Vec<_> = (0..4)
        .map(|seed| {
            let mut scenario = short(30);
            scenario.connection_limit = 20;
            scenario.settings = scenario.settings.seed(seed);
            run(&scenario)
        })
        .collect();

    // Nobody dials whom there is no room for, on either side, so few connections come and go, and
    // a peer that was asked for and is part of the mesh is no failure. Two that dial a third for its
    // last place are told apart by a refusal, more of them or fewer from run to run.
    let refused: usize = outcomes.iter().map(|o| o.refused_connections).sum();
    assert!(refused < 4 * 20, "{outcomes:?}");
    for outcome in &outcomes {
        assert_eq!(outcome.lost_connections, 0, "{outcome:?}");
        assert_eq!(outcome.failed_at_rest, 0, "{outcome:?}");
        assert!(outcome.connections <= 30 * 20 / 2);
        assert!(outcome.connections >= 30 * 20 / 2 - 30, "{outcome:?}");
        assert!(outcome.bytes_per_second < 100.0, "{outcome:?}");
    }
}

#[test]
fn while_a_mesh_forms_everybody_is_told_of_each_connection_about_once() {
    let outcome = run(&short(40));

    // Each end of a connection takes 13 bytes in a record that goes to everybody. Who joins is told
    // the records of the moment whole, and then what changes.
    let least = 13 * 40 * 39 * 39;
    assert!(2 * outcome.forming_bytes < 5 * least, "{outcome:?}");
}

#[test]
fn equal_seeds_give_equal_outcomes_and_other_seeds_do_not() {
    let outcome = |seed| {
        let mut scenario = short(10).loss(0.1);
        scenario.settings = scenario.settings.seed(seed);
        run(&scenario)
    };

    assert_eq!(outcome(1), outcome(1));
    assert_ne!(outcome(1), outcome(2));
}

#[test]
fn a_mesh_of_old_peers_sends_its_whole_topology_over_and_over() {
    let (ours, old) = (run(&short(16)), run(&short(16).old(16)));

    // The complete topology to ⌊2·log₂ 16⌋ = 8 neighbours every 30 s.
    let whole = 8.0 * (old.largest_message as f64) / 30.0;
    assert!(old.formed.is_some(), "{old:?}");
    assert!(
        (0.8 * whole..1.3 * whole).contains(&old.bytes_per_second),
        "{whole} {old:?}"
    );
    assert!(ours.bytes_per_second * 20.0 < old.bytes_per_second);
}

#[test]
fn old_peers_and_ours_form_one_mesh() {
    let outcome = run(&short(16).old(8));

    assert!(outcome.formed.unwrap() <= 60 * S, "{outcome:?}");
    assert_eq!(outcome.connections, 16 * 15 / 2);
    assert_eq!(outcome.failed_connections, 0, "{outcome:?}");
}

#[test]
fn a_mesh_heals_after_a_partition() {
    let (mut simulation, hosts) = start(Settings::default(), 10);
    simulation.run_until(20 * S);
    assert!(is_full_mesh(&simulation, &hosts));
    let (near, far) = hosts.split_at(5);

    simulation.partition(far.iter().copied());
    simulation.run_until(200 * S);
    assert!(is_full_mesh(&simulation, near), "each side by itself");
    assert!(is_full_mesh(&simulation, far));

    simulation.heal();
    let mut took = Duration::ZERO;
    while !is_full_mesh(&simulation, &hosts) {
        took += S;
        assert!(took < 400 * S, "back-off is at most six minutes");
        simulation.run_until(200 * S + took);
    }
}

#[test]
fn a_machine_that_dies_is_forgotten_after_the_read_timeout() {
    let (mut simulation, hosts) = start(Settings::default(), 6);
    simulation.run_until(20 * S);

    simulation.stop(hosts[3], true);
    simulation.run_until(120 * S);

    let rest: Vec<_> = simulation.hosts().collect();
    assert_eq!(rest.len(), 5);
    assert!(is_full_mesh(&simulation, &rest));
}

#[test]
fn a_connection_that_is_reset_is_dialled_again() {
    let (mut simulation, hosts) = start(Settings::default(), 4);
    simulation.run_until(20 * S);

    assert!(simulation.reset(hosts[1], hosts[2]));
    assert!(!simulation.reset(hosts[1], hosts[1]), "there is none");
    simulation.run_until(21 * S);
    assert_eq!(simulation.ended().len(), 1);
    simulation.run_until(40 * S);

    assert!(is_full_mesh(&simulation, &hosts));
}

#[test]
fn hosts_that_share_one_core_take_longer() {
    let form = |settings: Settings| {
        let (mut simulation, hosts) = start(settings, 16);
        while !is_full_mesh(&simulation, &hosts) {
            let next = simulation.now() + Duration::from_millis(10);
            assert!(next < 60 * S);
            simulation.run_until(next);
        }
        simulation.now()
    };

    assert!(form(Settings::default().shared_cores(1)) >= form(Settings::default()));
}
