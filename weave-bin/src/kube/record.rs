//! The peer list that all nodes share: one ConfigMap, in the bytes Weave Net writes.
//!
//! ```text
//!   annotations  kube-peers.weave.works/peers           {"Peers":[{"PeerName":…,"NodeName":…},…]}
//!                kube-peers.weave.works/<peer name>     who is removing that peer (the lock)
//!   data         node-uids                              {"<peer name>":"<UID of its Node>",…}
//!                ring-seeds                             ["<peer name>",…]
//!                ring-seeds-ipv6                        the same, where there are two families
//! ```
//!
//! Annotations are Weave Net's; its pods rewrite them and leave `data` as it is, so what they do
//! not know is kept there. Invariant: whatever an edit does not name stays byte for byte, and a
//! list that cannot be read is never written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A peer of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The peer name as text.
    #[serde(rename = "PeerName", default)]
    pub peer: String,
    /// The name of its Node.
    #[serde(rename = "NodeName", default)]
    pub node: String,
    /// Fields of programs to come.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A peer of the list as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// The peer name as text.
    pub peer: String,
    /// The name of our Node.
    pub node: String,
    /// The UID of our Node, when it is known.
    pub uid: Option<String>,
}

/// The content of the ConfigMap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    annotations: BTreeMap<String, String>,
    data: BTreeMap<String, String>,
    list: List,
    uids: BTreeMap<String, String>,
    seeds: Vec<String>,
    seeds6: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct List {
    #[serde(rename = "Peers", default)]
    peers: Option<Vec<Entry>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The ConfigMap holds something else than it should. It is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ConfigMap's {key} cannot be read ({reason}): correct or delete it")]
pub struct Malformed {
    /// Which annotation or datum.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Record {
    /// Reads a ConfigMap's `annotations` and `data`.
    ///
    /// # Errors
    /// One of the values we know is not what it should be.
    pub fn read(
        annotations: BTreeMap<String, String>,
        data: BTreeMap<String, String>,
    ) -> Result<Self, Malformed> {
        let list = parse(PEERS, annotations.get(PEERS))?;
        let uids = parse(UIDS, data.get(UIDS))?;
        let seeds = parse(SEEDS, data.get(SEEDS))?;
        let seeds6 = parse(SEEDS6, data.get(SEEDS6))?;
        Ok(Self {
            annotations,
            data,
            list,
            uids,
            seeds,
            seeds6,
        })
    }

    /// The annotations and the data to write.
    pub fn into_parts(self) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        (self.annotations, self.data)
    }

    /// The peers in the order they joined.
    pub fn entries(&self) -> &[Entry] {
        self.list.peers.as_deref().unwrap_or_default()
    }

    /// The entry of `peer`.
    pub fn entry(&self, peer: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.peer == peer)
    }

    /// Who is removing `peer`.
    pub fn lock(&self, peer: &str) -> Option<&str> {
        self.annotations.get(&lock_key(peer)).map(String::as_str)
    }

    /// The UID of the Node that `peer` joined with, when it told.
    pub fn uid(&self, peer: &str) -> Option<&str> {
        self.uids.get(peer).map(String::as_str)
    }

    /// The peers that start the ring; empty when that was not decided here.
    pub fn seeds(&self) -> &[String] {
        &self.seeds
    }

    /// The peers that start the IPv6 ring beside one of IPv4; empty when that was not decided here.
    pub fn seeds6(&self) -> &[String] {
        &self.seeds6
    }

    /// Adds `me`, or corrects my entry; whether anything changed. A lock on me is released.
    pub fn join(&mut self, me: &Me) -> bool {
        let before = self.clone();
        let peers = self.list.peers.get_or_insert_default();
        match peers.iter_mut().find(|entry| entry.peer == me.peer) {
            Some(entry) => entry.node.clone_from(&me.node),
            None => peers.push(Entry {
                peer: me.peer.clone(),
                node: me.node.clone(),
                others: Map::new(),
            }),
        }
        if let Some(uid) = &me.uid {
            self.uids.insert(me.peer.clone(), uid.clone());
        }
        self.annotations.remove(&lock_key(&me.peer));
        self.write(&before);
        *self != before
    }

    /// Notes that `holder` removes `peer`.
    pub fn set_lock(&mut self, peer: &str, holder: &str) {
        self.annotations.insert(lock_key(peer), holder.to_owned());
    }

    /// Notes that nobody removes `peer`.
    pub fn release_lock(&mut self, peer: &str) {
        self.annotations.remove(&lock_key(peer));
    }

    /// Removes `peer` with its lock and the locks it holds.
    pub fn remove(&mut self, peer: &str) {
        let before = self.clone();
        self.annotations.remove(&lock_key(peer));
        self.annotations
            .retain(|key, value| key == PEERS || !key.starts_with(PREFIX) || value != peer);
        if let Some(peers) = &mut self.list.peers {
            peers.retain(|entry| entry.peer != peer);
        }
        self.write(&before);
    }

    /// Decides who starts the ring.
    pub fn set_seeds(&mut self, seeds: Vec<String>) {
        let before = self.clone();
        self.seeds = seeds;
        self.write(&before);
    }

    /// Decides who starts the IPv6 ring beside one of IPv4.
    pub fn set_seeds6(&mut self, seeds: Vec<String>) {
        let before = self.clone();
        self.seeds6 = seeds;
        self.write(&before);
    }

    /// Renders what differs from `before`, and forgets the UIDs of peers that are gone.
    fn write(&mut self, before: &Self) {
        let listed = self.list.peers.as_deref().unwrap_or_default();
        self.uids
            .retain(|peer, _| listed.iter().any(|entry| entry.peer == *peer));
        // Weave Net writes an empty list as null.
        if self.list.peers.as_ref().is_some_and(Vec::is_empty) {
            self.list.peers = None;
        }
        if self.list != before.list {
            self.annotations.insert(PEERS.to_owned(), json(&self.list));
        }
        if self.uids != before.uids {
            self.data.insert(UIDS.to_owned(), json(&self.uids));
        }
        if self.seeds != before.seeds {
            self.data.insert(SEEDS.to_owned(), json(&self.seeds));
        }
        if self.seeds6 != before.seeds6 {
            self.data.insert(SEEDS6.to_owned(), json(&self.seeds6));
        }
    }
}

fn parse<T: Default + for<'a> Deserialize<'a>>(
    key: &'static str,
    text: Option<&String>,
) -> Result<T, Malformed> {
    text.map_or_else(
        || Ok(T::default()),
        |text| {
            serde_json::from_str(text).map_err(|error| Malformed {
                key,
                reason: error.to_string(),
            })
        },
    )
}

/// `value` as Go writes JSON: characters of HTML escaped.
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("invariant: the record has only string keys");
    // These three occur inside strings only, so replacing them everywhere is safe.
    text.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
}

/// The annotation that tells who removes `peer` (Weave Net Kubernetes add-on, "Peer list").
fn lock_key(peer: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let name: String = peer
        .chars()
        .map(|c| if is_kept(c) { c } else { '_' })
        .collect();
    format!("{PREFIX}{name}")
}

const PREFIX: &str = "kube-peers.weave.works/";
const PEERS: &str = "kube-peers.weave.works/peers";
const UIDS: &str = "node-uids";
const SEEDS: &str = "ring-seeds";
const SEEDS6: &str = "ring-seeds-ipv6";

#[cfg(test)]
mod tests;
