//! The data path's task between two meshes on loopback, with a kernel made of channels.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weave_datapath::PeerName as DataName;
use weave_datapath::fastdp::{Engine, EngineConfig, Heartbeat, TableUpdate, Tables};
use weave_mesh::node::ConnectionState;
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::{Config, Mesh};

use super::*;

mod sealed;

/// A tunnel end that hands datagrams to the other end.
struct FakeWire {
    tables: Arc<Mutex<Tables>>,
    outbox: mpsc::UnboundedSender<Heartbeat>,
    inbox: mpsc::UnboundedReceiver<Heartbeat>,
}

impl Wire for FakeWire {
    fn apply(&mut self, update: &TableUpdate) -> Result<(), WireError> {
        self.tables.lock().unwrap().apply(update);
        Ok(())
    }

    fn send(
        &mut self,
        local: Ipv4Addr,
        remote: Ipv4Addr,
        _port: u16,
        payload: &[u8],
    ) -> Result<(), WireError> {
        let heartbeat = parse(local, remote, payload);
        self.outbox
            .send(heartbeat)
            .map_err(|_| WireError("the other end is gone".to_owned()))
    }

    fn sleeve(&mut self) -> Option<&mut dyn SleeveWire> {
        None
    }

    async fn open_port(&mut self, _port: u16) -> Result<(), WireError> {
        Ok(())
    }

    async fn close_ports(&mut self, _but: &BTreeSet<u16>) -> Result<(), WireError> {
        Ok(())
    }

    async fn next_event(&mut self) -> Result<Arrival, WireError> {
        match self.inbox.recv().await {
            Some(heartbeat) => Ok(Arrival::Heartbeat(heartbeat)),
            None => std::future::pending().await,
        }
    }

    fn sweep(&mut self) -> Result<(), WireError> {
        Ok(())
    }

    fn view(&self) -> View {
        View {
            interface: "fake".to_owned(),
            ..View::default()
        }
    }
}

/// What the kernel makes of a datagram: VXLAN header, then the frame.
fn parse(local: Ipv4Addr, remote: Ipv4Addr, payload: &[u8]) -> Heartbeat {
    let vni = u32::from_be_bytes([0, payload[4], payload[5], payload[6]]);
    let frame = &payload[8..];
    let mut head = [0; 24];
    head.copy_from_slice(&frame[..24]);
    Heartbeat {
        origin: (vni & 0xfff).try_into().unwrap(),
        destination: (vni >> 12).try_into().unwrap(),
        outer_src: local,
        outer_dst: remote,
        frame_len: u32::try_from(frame.len()).unwrap(),
        head,
    }
}

struct Peer {
    mesh: Mesh,
    overlay: Overlay,
    tables: Arc<Mutex<Tables>>,
    stop: CancellationToken,
}

async fn peer(
    number: u64,
    listen: SocketAddr,
    outbox: mpsc::UnboundedSender<Heartbeat>,
    inbox: mpsc::UnboundedReceiver<Heartbeat>,
) -> Peer {
    let config = Config::default()
        .name(PeerName::try_from(number).unwrap())
        .nickname(format!("host-{number}"))
        .listen(listen)
        .overlays([FASTDP]);
    let (mesh, events) = weave_mesh::tokio::start(config, Vec::new()).await.unwrap();
    let tables = Arc::new(Mutex::new(Tables::default()));
    let wire = FakeWire {
        tables: Arc::clone(&tables),
        outbox,
        inbox,
    };
    let engine = Engine::new(EngineConfig {
        us: DataName(number),
        mtu: 1376,
        port: mesh.listen_address().port() + 1,
    });
    let stop = CancellationToken::new();
    let around = Surroundings {
        mesh: mesh.clone(),
        events,
        us: PeerName::try_from(number).unwrap(),
        room: Room {
            mtu: 1376,
            found: None,
        },
        stop: stop.clone(),
    };
    let (overlay, task) = start(engine, wire, around);
    tokio::spawn(task);
    Peer {
        mesh,
        overlay,
        tables,
        stop,
    }
}

async fn pair() -> (Peer, Peer) {
    let (to_b, at_b) = mpsc::unbounded_channel();
    let (to_a, at_a) = mpsc::unbounded_channel();
    // As two hosts: addresses of their own, and the same port.
    let a = peer(1, SocketAddr::from(([127, 0, 0, 1], 0)), to_b, at_a).await;
    let port = a.mesh.listen_address().port();
    let b = peer(2, SocketAddr::from(([127, 0, 0, 2], port)), to_a, at_b).await;
    (a, b)
}

/// Waits until `done` holds, for ten seconds at most.
async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} does not happen");
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

#[test]
fn heartbeats_establish_a_connection_and_fill_the_tables() {
    run(async {
        let (a, b) = pair().await;
        let target = b.mesh.listen_address().to_string();
        assert!(a.mesh.connect(vec![target], false).await.is_empty());

        eventually("established at both ends", async || {
            let mut all = Vec::new();
            for peer in [&a, &b] {
                all.extend(peer.mesh.report().await.connections);
            }
            let up = |one: &&weave_mesh::node::ConnectionReport| {
                one.state == ConnectionState::Established
            };
            all.iter().filter(up).count() == 2
        })
        .await;
        eventually("a tree with one hop", async || {
            let tables = a.tables.lock().unwrap();
            tables
                .us
                .is_some_and(|us| tables.trees.get(&us).is_some_and(|hops| hops.len() == 1))
        })
        .await;

        let report = a.mesh.report().await;
        let attributes = report.connections[0].attributes.clone().unwrap();
        assert_eq!(attributes["mtu"], "1376");
        assert_eq!(a.overlay.view().await.unwrap().interface, "fake");
    });
}

#[test]
fn a_stopped_task_answers_nobody() {
    run(async {
        let (a, _b) = pair().await;
        a.stop.cancel();

        eventually("no answer", async || a.overlay.view().await.is_none()).await;
    });
}
