//! What became of frames and packets, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One of the things that are counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl Counter {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Name, as metrics show it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

counters! {
    /// Frames of our bridge that were sent to a peer.
    Sent = "sent",
    /// Frames of peers that went into our bridge.
    Delivered = "delivered",
    /// Frames of one peer that were passed on to another.
    Relayed = "relayed",
    /// Copies of broadcasts sent to hops.
    Copied = "copied",
    /// UDP payloads sent.
    PayloadsSent = "payloads_sent",
    /// UDP payloads received.
    PayloadsReceived = "payloads_received",
    /// Frames answered with "fragmentation needed".
    AnsweredTooBig = "answered_too_big",
    /// Dropped: no way to the peer.
    DropNoRoute = "drop_no_route",
    /// Dropped: the peer has not called yet.
    DropNoContact = "drop_no_contact",
    /// Dropped: too large for a flood.
    DropTooBig = "drop_too_big",
    /// Dropped: the socket has no room.
    DropSocketFull = "drop_socket_full",
    /// Dropped: the kernel refused to send.
    DropSendError = "drop_send_error",
    /// Dropped: a payload of nobody we are connected to.
    DropUnknownSender = "drop_unknown_sender",
    /// Dropped: a frame from or for a peer we do not know.
    DropUnknownPeer = "drop_unknown_peer",
    /// Dropped: a payload that cannot be opened.
    DropForged = "drop_forged",
    /// Dropped: a payload that came twice or late.
    DropReplayed = "drop_replayed",
    /// Dropped: a payload or frame that makes no sense.
    DropMalformed = "drop_malformed",
    /// Dropped: our own frame came back.
    DropOwn = "drop_own",
    /// Dropped: it would go back to where it came from.
    DropBounce = "drop_bounce",
    /// Dropped: its source belongs to a peer, or its destination is here.
    DropConflict = "drop_conflict",
    /// Dropped: frames of the TAP device itself, which has no business here.
    DropUntagged = "drop_untagged",
    /// Dropped: spanning tree stays on its host.
    DropStp = "drop_stp",
    /// Dropped: the bridge did not take it.
    DropBridge = "drop_bridge",
    /// Special frames that the control plane had no room for.
    DropControl = "drop_control",
}

/// All counters.
#[derive(Debug)]
pub(super) struct Counters([AtomicU64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    pub(super) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    pub(super) fn add(&self, counter: Counter, amount: u64) {
        self.0[counter as usize].fetch_add(amount, Relaxed);
    }

    pub(super) fn read(&self) -> Vec<(Counter, u64)> {
        Counter::ALL
            .iter()
            .map(|counter| (*counter, self.0[*counter as usize].load(Relaxed)))
            .collect()
    }
}
