//! What the cluster side says about itself, for `weave status` and the log.
//!
//! One value, replaced whole; every loop writes its own lines of it. A line is logged when it
//! changes and not while it stays, so an API server that is away for an hour is two lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

/// The cluster as this peer sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cluster {
    /// The name of our Node.
    pub node: String,
    /// Nodes in the cluster; absent until the API server has told.
    pub nodes: Option<usize>,
    /// Peers in the shared list; absent until the API server has told.
    pub peers: Option<usize>,
    /// The bridge's address, once it has one.
    pub exposed: Option<String>,
    /// Whether the Node's network was reported as available.
    pub available: bool,
    /// Peers whose Nodes are gone and whose addresses are not yet taken over, and why.
    pub lost: Vec<String>,
    /// Peers whose addresses this one took over.
    pub reclaimed: u64,
    /// What does not work at this time, by what was tried.
    pub problems: BTreeMap<String, String>,
}

/// Where the cluster side writes what it knows.
#[derive(Debug, Clone)]
pub struct Board(watch::Sender<Cluster>);

impl Board {
    /// A board for our Node called `node`, and where it is read.
    pub fn new(node: &str) -> (Self, watch::Receiver<Cluster>) {
        let cluster = Cluster {
            node: node.to_owned(),
            ..Cluster::default()
        };
        let (sender, receiver) = watch::channel(cluster);
        (Self(sender), receiver)
    }

    /// Changes what is known.
    pub fn update(&self, change: impl FnOnce(&mut Cluster)) {
        self.0.send_modify(change);
    }

    /// Notes how trying `what` went. Logs when that has changed, and tells whether it has.
    pub fn note<T, E: std::fmt::Display>(&self, what: &str, outcome: &Result<T, E>) -> bool {
        match outcome {
            Ok(_) => self.solved(what),
            Err(error) => self.problem(what, &error.to_string()),
        }
    }

    /// Notes that `what` does not work.
    pub fn problem(&self, what: &str, reason: &str) -> bool {
        self.0.send_if_modified(|cluster| {
            let problems = &mut cluster.problems;
            let is_new = problems.get(what).is_none_or(|known| known != reason);
            // The same trouble in other words, such as another port, is not worth a line.
            if problems
                .get(what)
                .is_none_or(|known| kind(known) != kind(reason))
            {
                warn!("[kube] {what}: {reason}; trying again");
            }
            problems.insert(what.to_owned(), reason.to_owned());
            is_new
        })
    }

    /// Notes that `what` works.
    pub fn solved(&self, what: &str) -> bool {
        self.0.send_if_modified(|cluster| {
            let was_broken = cluster.problems.remove(what).is_some();
            if was_broken {
                info!("[kube] {what}: works again");
            }
            was_broken
        })
    }

    /// What is known now.
    pub fn read(&self) -> Cluster {
        self.0.borrow().clone()
    }
}

/// The first words of a reason, which stay while the trouble stays.
fn kind(reason: &str) -> &str {
    reason.split(':').next().unwrap_or(reason)
}

impl Cluster {
    /// In a word or two, for the status page.
    pub fn summary(&self) -> &'static str {
        if self.problems.is_empty() && self.nodes.is_some() && self.available {
            "ready"
        } else if self.problems.is_empty() {
            "starting"
        } else {
            "impaired"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once_until_it_changes() {
        let (board, reader) = Board::new("n");

        assert!(board.problem("nodes", "no answer"));
        assert!(!board.problem("nodes", "no answer"));
        assert!(board.problem("nodes", "refused"));
        assert_eq!(reader.borrow().summary(), "impaired");
        assert!(board.solved("nodes"));
        assert!(!board.solved("nodes"));
        assert_eq!(reader.borrow().summary(), "starting");
    }
}
