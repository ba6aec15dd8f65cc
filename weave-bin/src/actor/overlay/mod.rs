//! The task that drives the data path: mesh on one side, kernel and sleeve on the other.
//!
//! Confirmed connections, control messages, routes, heartbeats and time go into the engine; map
//! updates, heartbeats, control messages and verdicts on connections come out. Maps are updated
//! before anything is sent, since the answer to a heartbeat is let in by the new maps. Frames of
//! pods never pass here.

mod confirm;
mod room;
mod served;
mod sleeve;
mod task;
mod view;
mod wire;

use tokio::sync::{mpsc, oneshot};

pub use room::Room;
pub use task::{Surroundings, start};
pub use view::{Carried, Mac, Port, SwitchCount, Switched, View};
pub use wire::{Arrival, SleeveWire, Wire, WireError};

/// A handle to the data path's task.
#[derive(Debug, Clone)]
pub struct Overlay {
    questions: mpsc::Sender<oneshot::Sender<View>>,
}

impl Overlay {
    /// What the data path says about itself; `None` when the daemon stops.
    pub async fn view(&self) -> Option<View> {
        let (reply, answer) = oneshot::channel();
        self.questions.send(reply).await.ok()?;
        answer.await.ok()
    }
}

/// Name of the fast overlay in the handshake.
pub const FASTDP: &str = "fastdp";
/// Name of the overlay in user space.
pub const SLEEVE: &str = "sleeve";

#[cfg(test)]
mod tests;
