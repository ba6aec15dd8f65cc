//! Two rings without disk and network, whose saves and answers fail when the test says so.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use tokio::sync::mpsc;
use weave_ipam::{Allocator, Config, InitMode, PeerId};
use weave_mesh::peer::PeerName;

use super::*;
use crate::actor::ipam::Command;
use crate::actor::ipam::core::Core;
use crate::actor::keeper::SaveError;

/// What one ring does to requests for addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// What it should.
    Well,
    /// It gives, and cannot save.
    Unsaved,
    /// It gives no answer.
    Silent,
}

/// A handle to a ring, and how it behaves.
struct Ring {
    handle: Ipam,
    mood: Rc<RefCell<Mood>>,
}

/// Serves the allocator of `range` on this thread.
fn ring(range: &str) -> Ring {
    let range: IpNet = range.parse().unwrap();
    let us = PeerName::try_from(1).unwrap();
    let config = Config::new(range, PeerId(1)).init(InitMode::Seed(vec![PeerId(1)]));
    let mut core = Core::new(Allocator::new(config, None).unwrap(), us, 0);
    let mood = Rc::new(RefCell::new(Mood::Well));
    let (commands, mut requests) = mpsc::channel(16);
    let now = Rc::clone(&mood);
    let serve = async move {
        let mut unanswered = Vec::new();
        while let Some(command) = requests.recv().await {
            let mood = *now.borrow();
            core.sweep();
            let is_allocation = matches!(command, Command::Allocate { .. });
            if is_allocation && mood == Mood::Silent {
                unanswered.push(command);
                continue;
            }
            core.handle_command(Duration::ZERO, command);
            core.take_events();
            let failed = SaveError::of("the disk is full");
            let outcome = if is_allocation && mood == Mood::Unsaved {
                Err(&failed)
            } else {
                Ok(())
            };
            core.give_answers(outcome);
        }
    };
    tokio::task::spawn_local(serve);
    let handle = Ipam {
        commands,
        abandoned: std::sync::Arc::default(),
        default_subnet: range,
    };
    Ring { handle, mood }
}

/// How long a caller waits before it goes away.
const PATIENCE: Duration = Duration::from_millis(2);

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    tokio::task::LocalSet::new().block_on(&runtime.unwrap(), test)
}

/// The idents with addresses of a ring.
async fn idents(ring: &Ring) -> BTreeSet<String> {
    let owned = ring.handle.owned().await.unwrap();
    owned.into_iter().map(|(ident, _)| ident).collect()
}

/// What happens to a container.
#[derive(Debug, Clone)]
enum Act {
    /// It asks for addresses while the rings behave so.
    Add(&'static str, Mood, Mood),
    /// It goes.
    Delete(&'static str),
}

fn act() -> impl Strategy<Value = Act> {
    let ident = || select(vec!["a", "b", "c", "d"]);
    let mood = || select(vec![Mood::Well, Mood::Well, Mood::Unsaved, Mood::Silent]);
    prop_oneof![
        3 => (ident(), mood(), mood()).prop_map(|(ident, one, two)| Act::Add(ident, one, two)),
        1 => ident().prop_map(Act::Delete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// D3 and D4: after every answer a container has an address of each family or of none; one whose
    /// caller went away may have one until its DEL, which frees both.
    #[test]
    fn no_container_has_half_of_its_addresses(acts in prop::collection::vec(act(), 1..24)) {
        run(async {
            let (four, six) = (ring("10.32.0.0/24"), ring("fd00:32::/64"));
            let rings = Rings::new([four.handle.clone(), six.handle.clone()]).unwrap();
            let mut given_up = BTreeSet::new();
            for act in acts {
                match act {
                    Act::Add(ident, one, two) => {
                        *four.mood.borrow_mut() = one;
                        *six.mood.borrow_mut() = two;
                        let asked = rings.allocate(ident.to_owned(), Asked::All, true);
                        let outcome = tokio::time::timeout(PATIENCE, asked).await;
                        match outcome {
                            Ok(Ok(granted)) => {
                                assert_eq!(granted.len(), 2);
                                given_up.remove(ident);
                            }
                            Ok(Err(_)) => {}
                            Err(_) => drop(given_up.insert(ident.to_owned())),
                        }
                    }
                    Act::Delete(ident) => {
                        // Refused when there is nothing.
                        let _ = rings.delete(ident.to_owned()).await;
                        given_up.remove(ident);
                    }
                }
                let (in_four, in_six) = (idents(&four).await, idents(&six).await);
                for half in in_four.symmetric_difference(&in_six) {
                    assert!(given_up.contains(half), "{half}: {in_four:?} {in_six:?}");
                }
            }
            for ident in ["a", "b", "c", "d"] {
                let _ = rings.delete(ident.to_owned()).await;
            }
            assert!(idents(&four).await.is_empty() && idents(&six).await.is_empty());
        });
    }
}

#[test]
fn a_failure_of_one_family_keeps_what_was_there_before() {
    run(async {
        let (four, six) = (ring("10.32.0.0/24"), ring("fd00:32::/64"));
        let rings = Rings::new([four.handle.clone(), six.handle.clone()]).unwrap();
        let alone = four.handle.allocate("pod".to_owned(), None, true).await;
        let before = alone.unwrap().address;

        *six.mood.borrow_mut() = Mood::Unsaved;
        let failed = rings.allocate("pod".to_owned(), Asked::All, true).await;
        assert!(matches!(failed, Err(Failure::NotSaved(_))), "{failed:?}");
        let held = rings.lookup("pod".to_owned(), Asked::All).await.unwrap();
        assert_eq!(held, [before]);

        *six.mood.borrow_mut() = Mood::Well;
        let granted = rings.allocate("pod".to_owned(), Asked::All, true).await;
        let fresh: Vec<bool> = granted.unwrap().iter().map(|one| one.is_fresh).collect();
        assert_eq!(fresh, [false, true]);
    });
}

#[test]
fn a_request_without_a_family_means_ipv4_where_there_is_one() {
    run(async {
        let (four, six) = (ring("10.32.0.0/24"), ring("fd00:32::/64"));
        let swapped = Rings::new([six.handle.clone(), four.handle.clone()]).unwrap();
        let alone = Rings::new([six.handle.clone()]).unwrap();
        let text = |net: &IpNet| net.to_string();

        let primary = |rings: Rings| async move {
            let granted = rings.allocate("pod".to_owned(), Asked::Primary, true).await;
            granted.unwrap()[0].address.to_string()
        };
        assert_eq!(primary(swapped.clone()).await, "10.32.0.1/24");
        assert_eq!(primary(alone).await, "fd00:32::1/64");

        let ranked: Vec<String> = swapped.default_subnets().iter().map(text).collect();
        assert_eq!(ranked, ["10.32.0.0/24", "fd00:32::/64"]);
        let all = swapped.lookup("pod".to_owned(), Asked::All).await.unwrap();
        let all: Vec<String> = all.iter().map(text).collect();
        assert_eq!(all, ["fd00:32::1/64", "10.32.0.1/24"], "in the order given");
        let owned = swapped.owned().await.unwrap();
        assert_eq!(owned.len(), 1);
        assert_eq!(owned[0].1.len(), 2);
        let missing = swapped.delete("nobody".to_owned()).await;
        assert!(matches!(missing, Err(Failure::Refused(_))), "{missing:?}");
    });
}
