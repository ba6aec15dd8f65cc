//! Three peers on loopback count together.
//!
//! The state is a grow-only counter: how often each peer has counted. Two states merge by taking
//! the larger count of each peer, so it does not matter in which order, or how often, they arrive.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use weave_mesh::gossip::{Channel, ChannelError, Relay};
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::{Config, Mesh, start};

const CHANNEL: &str = "example-counter";
const PORT: u16 = 16783;

/// One peer's copy of the counter, shared with the mesh.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<BTreeMap<u8, u8>>>);

impl Counter {
    fn count(&self, peer: u8) {
        let mut counts = self.0.lock().expect("invariant: no holder panics");
        let count = counts.entry(peer).or_default();
        *count = count.saturating_add(1);
    }

    fn total(&self) -> u32 {
        let counts = self.0.lock().expect("invariant: no holder panics");
        counts.values().copied().map(u32::from).sum()
    }
}

impl Channel for Counter {
    fn state(&mut self) -> Option<Bytes> {
        let counts = self.0.lock().expect("invariant: no holder panics");
        Some(
            counts
                .iter()
                .flat_map(|(peer, count)| [*peer, *count])
                .collect(),
        )
    }

    fn handle_gossip(&mut self, payload: &[u8]) -> Result<Relay, ChannelError> {
        let mut counts = self.0.lock().expect("invariant: no holder panics");
        let mut is_news = false;
        for pair in payload.chunks_exact(2) {
            let ours = counts.entry(pair[0]).or_default();
            is_news |= pair[1] > *ours;
            *ours = pair[1].max(*ours);
        }
        Ok(Relay::state_if(is_news))
    }

    fn handle_broadcast(&mut self, _: PeerName, payload: &[u8]) -> Result<Relay, ChannelError> {
        self.handle_gossip(payload)
    }

    fn handle_unicast(&mut self, _: PeerName, _: &[u8]) -> Result<(), ChannelError> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Peers 2 and 3 are told of peer 1 only and find each other.
    let mut peers = Vec::new();
    for n in 1..=3_u8 {
        let counter = Counter::default();
        let mesh = join(n, counter.clone()).await?;
        peers.push((n, mesh, counter));
    }

    for (n, mesh, counter) in &peers {
        for _ in 0..*n {
            counter.count(*n);
        }
        mesh.broadcast(CHANNEL).await;
    }

    for _ in 0..100 {
        let totals: Vec<u32> = peers
            .iter()
            .map(|(_, _, counter)| counter.total())
            .collect();
        println!("totals: {totals:?}");
        if totals == [6, 6, 6] {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err("the peers did not agree within 20 s".into())
}

async fn join(n: u8, counter: Counter) -> Result<Mesh, Box<dyn Error>> {
    let config = Config::default()
        .name(PeerName::from_bytes([2, 0, 0, 0, 0, n]))
        .nickname(format!("peer{n}"))
        .listen(SocketAddr::from(([127, 0, 0, n], PORT)))
        .peers((n > 1).then(|| format!("127.0.0.1:{PORT}")));
    let (mesh, _overlay_events) =
        start(config, vec![(CHANNEL.to_owned(), Box::new(counter))]).await?;
    Ok(mesh)
}
