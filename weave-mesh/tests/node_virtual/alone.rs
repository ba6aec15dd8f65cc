//! One node, with the remote end of its only connection played by the test.

use std::time::Duration;

use weave_mesh::gossip::Channel;
use weave_mesh::node::{Config, ConnectionId, Event, Node, Transmit};
use weave_mesh::peer::{ShortId, Uid};
use weave_mesh::wire::frame;
use weave_mesh::wire::intro::Features;

use crate::net::{Words, address, name};

/// A node and one connection of it, whose remote end is played by the test.
pub(crate) struct Alone {
    pub(crate) node: Node,
    pub(crate) id: ConnectionId,
}

impl Alone {
    pub(crate) fn accepting(config: Config) -> Self {
        Self::with_channel(config, Words::default())
    }

    /// With `words` as the channel `words`.
    pub(crate) fn with_channel(config: Config, words: Words) -> Self {
        let channel: Box<dyn Channel> = Box::new(words);
        let mut node = Node::new(config, [("words".to_owned(), channel)]).unwrap();
        let remote = "10.0.0.9:50000".parse().unwrap();
        let id = node.handle_accepted(Duration::ZERO, address(1), remote);
        Self { node, id }
    }

    pub(crate) fn send(&mut self, now: Duration, bytes: &[u8]) {
        self.node.handle_bytes(now, self.id, bytes);
    }

    pub(crate) fn message(&mut self, now: Duration, message: &[u8]) {
        self.send(now, &frame::encode(message).unwrap());
    }

    /// Completes the introduction as host 9.
    pub(crate) fn introduce(&mut self, overlays: Option<&[&str]>) {
        self.send(Duration::ZERO, b"weave\x01\x02\x00");
        let overlays = overlays.map(|list| list.iter().map(|&name| name.to_owned()).collect());
        let features = Features {
            overlays,
            ..features(9)
        };
        self.message(Duration::ZERO, &features.encode());
    }

    /// Everything the node wants to write, taking it as written at once.
    pub(crate) fn written(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(transmit) = self.node.poll_transmit(Duration::ZERO) {
            if let Transmit::Data { connection, bytes } = transmit {
                assert_eq!(connection, self.id);
                out.extend_from_slice(&bytes);
                self.node
                    .handle_written(Duration::ZERO, connection, bytes.len());
            }
        }
        out
    }

    pub(crate) fn log(&mut self) -> Vec<String> {
        let mut log = Vec::new();
        while let Some(event) = self.node.poll_event() {
            if let Event::Notice(notice) = event {
                log.push(notice.to_string());
            }
        }
        log
    }

    /// Whether the node closes the connection, once its last words are written.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut is_closed = false;
        while let Some(transmit) = self.node.poll_transmit(Duration::ZERO) {
            match transmit {
                Transmit::Close { connection } => is_closed |= connection == self.id,
                Transmit::Data { connection, bytes } => {
                    self.node
                        .handle_written(Duration::ZERO, connection, bytes.len());
                }
                Transmit::Dial { .. } => {}
            }
        }
        is_closed
    }
}

pub(crate) fn features(n: usize) -> Features {
    Features {
        name: name(n),
        nickname: format!("host{n}"),
        uid: Uid(9),
        conn_id: 1,
        short_id: ShortId::try_from(9).ok(),
        trusted: false,
        overlays: None,
        sync: 0,
        refused: None,
        needy: false,
    }
}
