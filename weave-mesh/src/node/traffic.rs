//! How much gossip goes and comes, by channel.

use std::collections::BTreeMap;

use super::Node;
use crate::wire::message::Message;

/// Gossip on one channel since the start: messages and their bytes, without frames and seals.
/// Digests and deltas count for the channel they are about, the topology's for `topology`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelTraffic {
    /// Messages sent.
    pub messages_sent: u64,
    /// Bytes of the messages sent.
    pub bytes_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Bytes of the messages received.
    pub bytes_received: u64,
}

/// The traffic of all channels.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    channels: BTreeMap<String, ChannelTraffic>,
}

impl Traffic {
    /// A message about `channel` was handed to a connection.
    pub(super) fn sent(&mut self, channel: &str, bytes: usize) {
        let traffic = self.of(channel);
        traffic.messages_sent += 1;
        traffic.bytes_sent += bytes as u64;
    }

    /// A message about `channel` came.
    pub(super) fn received(&mut self, channel: &str, bytes: usize) {
        let traffic = self.of(channel);
        traffic.messages_received += 1;
        traffic.bytes_received += bytes as u64;
    }

    pub(super) fn by_channel(&self) -> BTreeMap<String, ChannelTraffic> {
        self.channels.clone()
    }

    fn of(&mut self, channel: &str) -> &mut ChannelTraffic {
        let is_known = self.channels.contains_key(channel) || self.channels.len() < MAX_CHANNELS;
        let name = if is_known { channel } else { OTHER };
        if !self.channels.contains_key(name) {
            self.channels
                .insert(name.to_owned(), ChannelTraffic::default());
        }
        self.channels
            .get_mut(name)
            .expect("invariant: the channel was added if it was missing")
    }
}

impl Node {
    /// Counts a message that came, if it is gossip.
    pub(super) fn count_received(&mut self, message: &Message<'_>, bytes: usize) {
        match message {
            Message::Gossip { channel, .. }
            | Message::Unicast { channel, .. }
            | Message::Broadcast { channel, .. } => self.traffic.received(channel, bytes),
            _ => {}
        }
    }
}

/// Channels that are counted by name, more than a mesh relays.
const MAX_CHANNELS: usize = 96;
/// What the others are counted under: not a channel's name, which has no spaces.
const OTHER: &str = "(other channels)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_beyond_the_bound_are_counted_together() {
        let mut traffic = Traffic::default();
        for n in 0..2 * MAX_CHANNELS {
            traffic.received(&n.to_string(), 10);
        }
        traffic.sent("0", 7);

        let by_channel = traffic.by_channel();
        assert_eq!(by_channel.len(), MAX_CHANNELS + 1);
        assert_eq!(by_channel["0"].bytes_sent, 7);
        assert_eq!(by_channel["0"].messages_received, 1);
        assert_eq!(by_channel[OTHER].bytes_received, 10 * MAX_CHANNELS as u64);
    }
}
