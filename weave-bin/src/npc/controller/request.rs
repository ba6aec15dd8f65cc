//! Questions to the controller and the handle they are asked by.
//!
//! Invariant: a question is answered, or its asker learns that the controller is stopping; none waits
//! longer than it said.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use weave_npc::engine::Claim;
use weave_npc::model::Transport;
use weave_npc::verdict::Answer;

use super::blocked::Record;
use super::counted::Counted;
use super::status::Status;
use super::task::Input;

/// A question with the way of its answer.
#[derive(Debug)]
pub(super) enum Request {
    /// Answer when the rules know the addresses of a pod, until then.
    Place(Claim, Instant, oneshot::Sender<Result<(), String>>),
    /// Take addresses back.
    Release(Claim),
    /// Hold a port of the bridge to a MAC address and IP addresses.
    Guard(Port, oneshot::Sender<Result<(), String>>),
    /// Answer when everything that a source says now is in force, until then.
    Sync(Instant, oneshot::Sender<Result<(), String>>),
    /// How things are.
    Status(oneshot::Sender<Status>),
    /// The same as metrics.
    Metrics(oneshot::Sender<String>),
    /// Whether a connection is allowed, and why.
    Explain(Question, oneshot::Sender<Result<Vec<Answer>, String>>),
    /// How often each rule decided.
    Counted(oneshot::Sender<Result<Vec<Counted>, String>>),
    /// What was blocked since then.
    Blocked(Duration, oneshot::Sender<Vec<Record>>),
}

/// A port of the bridge and what belongs behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    /// The bridge's end of the pod's cable.
    pub(super) name: String,
    /// The pod's MAC address.
    pub(super) ether: [u8; 6],
    /// The pod's addresses.
    pub(super) addresses: Vec<IpAddr>,
}

/// A connection that is asked about.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// `namespace/pod` or an address.
    pub(super) from: String,
    /// The same for the server.
    pub(super) to: String,
    /// The port.
    pub(super) port: Transport,
}

/// A handle to the controller.
#[derive(Debug, Clone)]
pub(super) struct Handle(pub(super) mpsc::Sender<Input>);

/// The controller is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the controller is stopping")]
pub(super) struct Stopping;

impl Handle {
    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// The controller is stopping.
    pub(super) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(reply)).await?;
        answer.await.map_err(|_| Stopping)
    }

    /// Says something that needs no answer.
    ///
    /// # Errors
    /// The controller is stopping.
    pub(super) async fn tell(&self, request: Request) -> Result<(), Stopping> {
        let sent = self.0.send(Input::Request(request)).await;
        sent.map_err(|_| Stopping)
    }
}
