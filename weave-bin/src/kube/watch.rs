//! The Nodes as they are known at this time, for whoever needs all of them.
//!
//! Invariant: the published set changes only when something that is used of a Node has changed;
//! heartbeats of kubelets wake nobody.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::api::node::NodeObject;
use super::api::{Api, NODES};
use super::follow::{self, Kind, News};
use super::nodes::{Node, Nodes};
use super::state::Board;

/// The Nodes; nothing until the first list.
pub type Known = Option<Arc<Nodes>>;

/// Publishes the Nodes in `known`, for ever.
pub async fn follow(api: &Api, board: &Board, known: &watch::Sender<Known>) {
    let (sender, receiver) = mpsc::channel(CHANGES);
    tokio::join!(
        follow::follow(api, board, KIND, sender),
        publish_all(receiver, board, known),
    );
}

async fn publish_all(
    mut news: mpsc::Receiver<News<NodeObject>>,
    board: &Board,
    known: &watch::Sender<Known>,
) {
    let mut nodes = Nodes::default();
    while let Some(one) = news.recv().await {
        apply(&mut nodes, one);
        // What has piled up is one change to whoever reads.
        while let Ok(more) = news.try_recv() {
            apply(&mut nodes, more);
        }
        publish(board, known, &nodes);
    }
}

fn apply(nodes: &mut Nodes, news: News<NodeObject>) {
    match news {
        News::All(all) => *nodes = all.into_iter().map(Node::from).collect(),
        News::Set(node) => nodes.insert(node.into()),
        News::Gone(node) => nodes.remove(node.name()),
    }
}

fn publish(board: &Board, known: &watch::Sender<Known>, nodes: &Nodes) {
    let is_changed = known.send_if_modified(|known| {
        let is_same = known.as_deref() == Some(nodes);
        if !is_same {
            *known = Some(Arc::new(nodes.clone()));
        }
        !is_same
    });
    if is_changed {
        board.update(|cluster| cluster.nodes = Some(nodes.iter().count()));
    }
}

const KIND: Kind = Kind {
    path: NODES,
    what: "list of nodes",
    may_be_absent: false,
};
/// Changes that wait to be applied.
const CHANGES: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, version: &str) -> NodeObject {
        let object = json!({"metadata": {"name": name, "resourceVersion": version}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_what_is_used_wakes_readers() {
        let (board, _reader) = Board::new("n");
        let (sender, mut known) = watch::channel(None);
        let mut nodes = Nodes::default();

        apply(&mut nodes, News::All(vec![node("a", "1"), node("b", "1")]));
        publish(&board, &sender, &nodes);
        assert!(known.has_changed().unwrap());
        known.mark_unchanged();
        apply(&mut nodes, News::Set(node("a", "2")));
        publish(&board, &sender, &nodes);
        assert!(!known.has_changed().unwrap());
        apply(&mut nodes, News::Gone(node("b", "3")));
        publish(&board, &sender, &nodes);

        assert!(known.has_changed().unwrap());
        assert_eq!(board.read().nodes, Some(1));
    }
}
