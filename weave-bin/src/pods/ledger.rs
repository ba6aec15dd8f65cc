//! Which containers the plugins asked for, and which of them have lost their link.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weave_datapath::attach::host_names;
use weave_datapath::netlink::Link;

/// How long a pod's link must have been missing before its addresses are freed. An ADD that is
/// still at it takes less, and so does a runtime that calls DEL after a reboot.
pub const GRACE: Duration = Duration::from_secs(300);

/// Which plugin asked for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Plugin {
    /// `weave-net`, whose pods have a link on this host.
    #[serde(rename = "weave-net")]
    Net,
    /// `weave-ipam`: what the address is used for is another plugin's business.
    #[serde(rename = "weave-ipam")]
    Ipam,
}

impl Plugin {
    /// The plugin called `name`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "weave-net" => Some(Self::Net),
            "weave-ipam" => Some(Self::Ipam),
            _ => None,
        }
    }
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Who asked.
    pub plugin: Plugin,
    /// The network of the configuration; unknown of pods that were there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// The ends of pods' links on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Aliases: whole ids.
    ids: BTreeSet<String>,
    /// Names of those without alias, as Weave Net makes them.
    names: BTreeSet<String>,
}

impl FromIterator<Link> for Links {
    fn from_iter<I: IntoIterator<Item = Link>>(all: I) -> Self {
        let mut links = Self::default();
        for link in all.into_iter().filter(|link| link.is_kind("veth")) {
            match link.alias.filter(|alias| !alias.is_empty()) {
                Some(id) => links.ids.insert(id),
                None => links.names.insert(link.name),
            };
        }
        links
    }
}

impl Links {
    /// Whether one of them is of the container `id`.
    pub fn has(&self, id: &str) -> bool {
        let is_old = || {
            let name = host_names(id).next();
            name.is_some_and(|name| self.names.contains(&name))
        };
        self.ids.contains(id) || is_old()
    }
}

/// The containers by id.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
    is_changed: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    mark: Mark,
    /// Since when the link is missing.
    missing: Option<Duration>,
    /// Whether the last look found that it has no address.
    is_bare: bool,
}

impl Ledger {
    /// What [`Ledger::to_json`] wrote.
    ///
    /// # Errors
    /// The text is something else.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let marks: BTreeMap<String, Mark> = serde_json::from_str(text)?;
        let mut ledger = Self::default();
        for (id, mark) in marks {
            ledger.mark(&id, mark);
        }
        ledger.is_changed = false;
        Ok(ledger)
    }

    /// The marks, for the next start.
    pub fn to_json(&self) -> String {
        let marks: BTreeMap<&str, &Mark> = self
            .entries
            .iter()
            .map(|(id, entry)| (id.as_str(), &entry.mark))
            .collect();
        serde_json::to_string(&marks).expect("invariant: texts become JSON")
    }

    /// Whether there is something to write since the last time this was asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// What was to be written was not.
    pub fn set_changed(&mut self) {
        self.is_changed = true;
    }

    /// The container `id` gets an address. Whatever was missing of it before does not count.
    pub fn mark(&mut self, id: &str, mark: Mark) {
        if let Some(known) = self.entries.get_mut(id).filter(|known| known.mark == mark) {
            known.missing = None;
            known.is_bare = false;
            return;
        }
        let entry = Entry {
            mark,
            missing: None,
            is_bare: false,
        };
        self.entries.insert(id.to_owned(), entry);
        self.is_changed = true;
    }

    /// What is known of the container `id`.
    pub fn marked(&self, id: &str) -> Option<&Mark> {
        self.entries.get(id).map(|entry| &entry.mark)
    }

    /// The addresses of `id` were released.
    pub fn forget(&mut self, id: &str) {
        self.is_changed |= self.entries.remove(id).is_some();
    }

    /// The containers of `network` that are not among `valid`.
    pub fn unlisted(&self, network: &str, valid: &BTreeSet<String>) -> Vec<String> {
        let is_unlisted = |(id, entry): &(&String, &Entry)| {
            entry.mark.network.as_deref() == Some(network) && !valid.contains(*id)
        };
        let found = self.entries.iter().filter(is_unlisted);
        found.map(|(id, _)| id.clone()).collect()
    }

    /// Whether the link of `id` is missing for the whole grace time at time `now`.
    pub fn is_leaked(&self, now: Duration, id: &str) -> bool {
        let entry = self.entries.get(id);
        entry.is_some_and(|entry| entry.missing.is_some_and(|since| now >= since + GRACE))
    }

    /// Compares with what is there at time `now`; the containers whose addresses leaked. `owned` are
    /// the ids that have addresses.
    pub fn look(&mut self, now: Duration, owned: &BTreeSet<String>, links: &Links) -> Vec<String> {
        for id in owned.iter().filter(|id| links.has(id)) {
            if !self.entries.contains_key(id) {
                let mark = Mark {
                    plugin: Plugin::Net,
                    network: None,
                };
                self.mark(id, mark);
            }
        }
        let before = self.entries.len();
        self.entries.retain(|id, entry| {
            if !owned.contains(id) {
                // An address may have come after `owned` was asked for: only twice is certain.
                return !std::mem::replace(&mut entry.is_bare, true);
            }
            entry.is_bare = false;
            if entry.mark.plugin == Plugin::Ipam || links.has(id) {
                entry.missing = None;
            } else {
                entry.missing.get_or_insert(now);
            }
            true
        });
        self.is_changed |= self.entries.len() != before;
        let ids = self.entries.keys();
        ids.filter(|id| owned.contains(*id) && self.is_leaked(now, id))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests;
