//! The allocator's task with a real mesh on loopback and a real state file.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weave_ipam::{Allocator, Config, InitMode, OwnerStatus, PeerId};
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::{Config as MeshConfig, Mesh, OverlayEvents};

use super::*;
use crate::actor::keeper::Keeper;
use crate::store::tests::Scratch;
use crate::store::{self, State, StateFile, Store};

/// One host without a network: mesh, allocator, state file.
struct Peer {
    ipam: Ipam,
    mesh: Mesh,
    stop: CancellationToken,
    store: Store,
    _events: OverlayEvents,
}

impl Peer {
    async fn start(number: u64, seeds: &[u64], scratch: &Scratch) -> Self {
        let range: IpNet = "10.32.0.0/24".parse().unwrap();
        let store = Store::new(&scratch.path(&format!("weave-{number}")));
        let file = open(&store).await;
        let snapshot = file.stored().and_then(|state| state.ipam.clone());
        let name = PeerName::try_from(number).unwrap();
        let keeper = Keeper::start(
            file,
            State {
                range: Some(range),
                ipam: snapshot.clone(),
                ..State::new(&name.to_string())
            },
        )
        .unwrap();
        let seeds = seeds.iter().map(|seed| PeerId(*seed)).collect();
        let config = Config::new(range, PeerId(number))
            .init(InitMode::Seed(seeds))
            .uid(number);
        let allocator = Allocator::new(config, snapshot).unwrap();

        let (channel, inbox) = pair();
        let mesh_config = MeshConfig::default()
            .name(name)
            .nickname(format!("host-{number}"))
            .listen("127.0.0.1:0".parse().unwrap());
        let channels: Vec<(String, Box<dyn weave_mesh::gossip::Channel>)> =
            vec![(weave_ipam::mesh::CHANNEL.to_owned(), Box::new(channel))];
        let (mesh, events) = weave_mesh::tokio::start(mesh_config, channels)
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let around = Surroundings {
            us: name,
            default_subnet: range,
            channel: weave_ipam::mesh::CHANNEL,
            mesh: mesh.clone(),
            keeper,
            targets: 1,
            stop: stop.clone(),
        };
        let (ipam, task) = start(allocator, inbox, around);
        tokio::spawn(task);
        Self {
            ipam,
            mesh,
            stop,
            store,
            _events: events,
        }
    }

    async fn join(&self, other: &Self) {
        let errors = self
            .mesh
            .connect(vec![other.mesh.listen_address().to_string()], false)
            .await;
        assert!(errors.is_empty(), "{errors:?}");
    }

    async fn allocate(&self, ident: &str) -> IpNet {
        let request = self.ipam.allocate(ident.to_owned(), None, false);
        tokio::time::timeout(Duration::from_secs(20), request)
            .await
            .unwrap()
            .unwrap()
            .address
    }
}

/// A stopped peer keeps its file until its last task has ended.
async fn open(store: &Store) -> StateFile {
    loop {
        match store.open() {
            Err(store::Error::Locked(_)) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

#[test]
fn an_address_is_on_disk_when_it_is_answered() {
    run(async {
        let scratch = Scratch::new();
        let peer = Peer::start(1, &[1], &scratch).await;

        let address = peer.allocate("pod").await;

        let saved = peer.store.load().unwrap().unwrap().ipam.unwrap();
        assert_eq!(saved.owned["pod"].addresses, [address]);
    });
}

#[test]
fn a_restart_finds_the_addresses_again() {
    run(async {
        let scratch = Scratch::new();
        let first = Peer::start(1, &[1], &scratch).await;
        let address = first.allocate("pod").await;
        first.stop.cancel();

        let second = Peer::start(1, &[1], &scratch).await;

        assert_eq!(
            second.ipam.lookup("pod".to_owned(), None).await.unwrap(),
            [address]
        );
        assert_eq!(second.allocate("pod").await, address);
        assert_ne!(second.allocate("other").await, address);
    });
}

#[test]
fn a_peer_without_space_is_given_some() {
    run(async {
        let scratch = Scratch::new();
        let rich = Peer::start(1, &[1], &scratch).await;
        let poor = Peer::start(2, &[1], &scratch).await;
        rich.join(&poor).await;

        let address = poor.allocate("pod").await;

        assert_ne!(rich.allocate("pod").await, address);
        let status = poor.ipam.status().await.unwrap();
        assert!(
            status
                .owners
                .iter()
                .any(|owner| owner.is_local && owner.addresses > 0)
        );
    });
}

#[test]
fn an_abandoned_request_takes_no_address() {
    run(async {
        let scratch = Scratch::new();
        // The ring is another peer's, who is not there: requests wait.
        let lonely = Peer::start(2, &[1], &scratch).await;
        let request = lonely.ipam.allocate("pod".to_owned(), None, false);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), request)
                .await
                .is_err()
        );

        let status = lonely.ipam.status().await.unwrap();

        assert!(
            status.pending_allocates.is_empty(),
            "{:?}",
            status.pending_allocates
        );
    });
}

#[test]
fn an_address_that_cannot_be_saved_is_not_given() {
    run(async {
        let scratch = Scratch::new();
        let peer = Peer::start(1, &[1], &scratch).await;
        peer.ipam.prime().await.unwrap();
        // Nothing is written to a file that would not be found after a restart.
        let aside = peer.store.path().with_extension("aside");
        std::fs::rename(peer.store.path(), &aside).unwrap();

        let refused = peer.ipam.allocate("pod".to_owned(), None, false).await;
        std::fs::rename(&aside, peer.store.path()).unwrap();
        let address = peer.allocate("pod").await;

        assert!(matches!(refused, Err(Failure::NotSaved(_))), "{refused:?}");
        let saved = peer.store.load().unwrap().unwrap().ipam.unwrap();
        assert_eq!(saved.owned["pod"].addresses, [address]);
    });
}

#[test]
fn after_leaving_requests_are_cancelled() {
    run(async {
        let scratch = Scratch::new();
        let peer = Peer::start(1, &[1], &scratch).await;
        peer.allocate("pod").await;

        peer.ipam.leave().await.unwrap();

        let refused = peer.ipam.allocate("late".to_owned(), None, false).await;
        assert_eq!(refused, Err(Failure::Cancelled));
    });
}

#[test]
fn a_stopped_task_answers_nobody() {
    run(async {
        let scratch = Scratch::new();
        let peer = Peer::start(2, &[1], &scratch).await;
        let waiting = peer.ipam.clone();
        // The ring is another peer's, who is not there: the request waits.
        let request = async move { waiting.allocate("pod".to_owned(), None, false).await };
        let waiting = tokio::spawn(request);

        peer.stop.cancel();

        let end = tokio::time::timeout(Duration::from_secs(5), waiting)
            .await
            .unwrap()
            .unwrap();
        let late = peer.ipam.status().await.map(drop);
        assert_eq!(
            (end.map(drop), late),
            (Err(Failure::Stopping), Err(Failure::Stopping))
        );
    });
}

#[test]
fn a_peer_in_the_network_is_not_taken_over_and_the_answer_says_why() {
    run(async {
        let scratch = Scratch::new();
        let one = Peer::start(1, &[1, 2], &scratch).await;
        let two = Peer::start(2, &[1, 2], &scratch).await;
        one.join(&two).await;
        two.allocate("pod").await;
        let is_two = |owner: &OwnerStatus| owner.peer == PeerId(2) && owner.is_reachable;
        while !one.ipam.status().await.unwrap().owners.iter().any(is_two) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        let name = "00:00:00:00:00:02";
        let refused = one.ipam.take_over(name.to_owned()).await;
        let unknown = one.ipam.take_over("nobody".to_owned()).await;

        let text = format!("{name} is not taken over: the peer is alive: stop it first");
        assert_eq!(refused, Err(Failure::Refused(text)));
        assert_eq!(unknown, Ok(0), "as Weave Net answers");
    });
}
