//! Our place in the shared list: before the daemon starts, and while it runs.
//!
//! Before it starts, the list tells whether what this host remembers still holds. Somebody who
//! removes us holds our lock; whoever writes our entry without finding a lock makes that one's
//! write fail. So either we are seen to be alive before our addresses are taken, or we see that
//! they are being taken and wait for the end of it.

use std::time::Duration;

use tracing::{debug, info};

use super::api::{Api, ApiError, Stored};
use super::backoff::{chance, share};
use super::nodes::Nodes;
use super::quorum::{self, Decision, Start};
use super::record::{Me, Record};

/// What the list says of what this host remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// We are listed: what is remembered holds.
    Listed,
    /// We are not: somebody has removed us, or we never were.
    Absent,
    /// This peer removes us: ask again soon.
    BeingRemovedBy(String),
    /// Another Node, which exists, has a peer of our name.
    SameNameAs(String),
}

/// Judges what `record` says of `me`.
pub fn standing(record: &Record, me: &Me, nodes: &Nodes) -> Standing {
    let Some(entry) = record.entry(&me.peer) else {
        return Standing::Absent;
    };
    if entry.node != me.node && nodes.find(&entry.node).is_some() {
        return Standing::SameNameAs(entry.node.clone());
    }
    match record.lock(&me.peer) {
        Some(holder) if holder != me.peer && record.entry(holder).is_some() => {
            Standing::BeingRemovedBy(holder.to_owned())
        }
        _ => Standing::Listed,
    }
}

/// Adds `me` to the list, or corrects my entry, and releases a lock on me.
///
/// # Errors
/// The API server does not do it. A conflict is no error: the list is read again.
pub async fn join(api: &Api, me: &Me) -> Result<Stored, ApiError> {
    loop {
        let found = api.record().await?;
        let mut record = found
            .as_ref()
            .map(|stored| stored.record.clone())
            .unwrap_or_default();
        let is_changed = record.join(me);
        let written = match found {
            Some(stored) if !is_changed => return Ok(stored),
            Some(stored) => api.replace(&stored, record).await,
            None => api.create(record).await,
        };
        match written {
            Ok(stored) => {
                info!(
                    "[kube] Added myself to peer list: {} as {}",
                    me.peer, me.node
                );
                return Ok(stored);
            }
            Err(ApiError::Conflict) => pause().await,
            Err(error) => return Err(error),
        }
    }
}

/// Reads or creates the ConfigMap, and decides how the ring starts.
///
/// # Errors
/// The API server does not do it.
pub async fn decide(
    api: &Api,
    me: &Me,
    nodes: &Nodes,
    seeds: Option<&[String]>,
) -> Result<(Record, Start), ApiError> {
    loop {
        let found = api.record().await?.map(|stored| stored.record);
        match (quorum::decide(found.as_ref(), me, nodes, seeds), found) {
            (Decision::Follow(start), found) => return Ok((found.unwrap_or_default(), start)),
            (Decision::Create(record, start), _) => match api.create(record).await {
                Ok(stored) => {
                    info!("[kube] Created the peer list; the ring starts with {start}");
                    return Ok((stored.record, start));
                }
                Err(ApiError::Conflict) => debug!("[kube] somebody else created the peer list"),
                Err(error) => return Err(error),
            },
        }
    }
}

/// How the IPv6 ring beside one of IPv4 starts: from the peer that first asked, whichever that is. A host
/// that cannot have IPv6 addresses must not ask.
///
/// # Errors
/// The API server does not answer, or there is no ConfigMap.
pub async fn decide_ipv6(api: &Api, me: &Me, nodes: &Nodes) -> Result<Start, ApiError> {
    loop {
        let stored = api.record().await?.ok_or(ApiError::Missing)?;
        if let Some(start) = quorum::decide_ipv6(&stored.record, me, nodes) {
            if start == Start::Observer {
                info!(
                    "[kube] This peer began the IPv6 ring and has lost it: waiting to hear it from \
                     the others; if none of them has IPv6, delete ring-seeds-ipv6 in the ConfigMap"
                );
            }
            return Ok(start);
        }
        let mut record = stored.record.clone();
        let seeds = vec![me.peer.clone()];
        record.set_seeds6(seeds.clone());
        match api.replace(&stored, record).await {
            Ok(_) => {
                info!("[kube] The IPv6 ring starts with this peer");
                return Ok(Start::Seed(seeds));
            }
            Err(ApiError::Conflict) => pause().await,
            Err(error) => return Err(error),
        }
    }
}

/// The pause after a conflict: long enough that many writers do not meet again.
pub async fn pause() {
    let spread = share(CONFLICT_SPREAD, chance());
    tokio::time::sleep(CONFLICT_PAUSE + spread).await;
}

const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
const CONFLICT_SPREAD: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::nodes::Node;

    fn me() -> Me {
        Me {
            peer: "p".to_owned(),
            node: "n".to_owned(),
            uid: None,
        }
    }

    fn with_node(name: &str) -> Nodes {
        let node = Node {
            name: name.to_owned(),
            uid: String::new(),
            address: None,
            available: None,
        };
        [node].into_iter().collect()
    }

    #[test]
    fn the_list_tells_whether_memory_holds() {
        let mut record = Record::default();
        let nodes = with_node("n");
        assert_eq!(standing(&record, &me(), &nodes), Standing::Absent);

        record.join(&me());
        assert_eq!(standing(&record, &me(), &nodes), Standing::Listed);
        record.set_lock("p", "gone");
        assert_eq!(standing(&record, &me(), &nodes), Standing::Listed);
        record.join(&Me {
            peer: "q".to_owned(),
            node: "m".to_owned(),
            uid: None,
        });
        record.set_lock("p", "q");

        let removed = Standing::BeingRemovedBy("q".to_owned());
        assert_eq!(standing(&record, &me(), &nodes), removed);
    }

    #[test]
    fn two_machines_of_one_identity_are_named() {
        let mut record = Record::default();
        record.join(&Me {
            node: "twin".to_owned(),
            ..me()
        });

        let clash = standing(&record, &me(), &with_node("twin"));
        let moved = standing(&record, &me(), &with_node("n"));

        assert_eq!(clash, Standing::SameNameAs("twin".to_owned()));
        assert_eq!(moved, Standing::Listed);
    }
}
