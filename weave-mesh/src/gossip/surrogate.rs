//! Stands in for channels this peer does not know, so that their gossip passes through.
//!
//! Broadcasts and unicasts of such a channel are relayed as they are. Gossip has no tree and would
//! circle for ever, so a payload that was seen within the last gossip interval is not relayed
//! again (Weave Net mesh protocol, section 6.5). What is remembered is bounded by count, bytes and
//! age, and so is the number of channels.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// The unknown channels that were seen.
#[derive(Debug, Default)]
pub(crate) struct Surrogates {
    channels: BTreeMap<Arc<str>, Surrogate>,
}

/// Payloads seen lately on one unknown channel, oldest first.
#[derive(Debug, Default)]
struct Surrogate {
    seen: VecDeque<(Duration, Bytes)>,
    bytes: usize,
}

impl Surrogates {
    /// The shared name of an unknown channel, or `None` if there are too many of them already.
    pub(crate) fn channel(&mut self, name: &str) -> Option<Arc<str>> {
        if let Some((known, _)) = self.channels.get_key_value(name) {
            return Some(Arc::clone(known));
        }
        if self.channels.len() >= MAX_CHANNELS || name.len() > MAX_NAME {
            return None;
        }
        let name: Arc<str> = Arc::from(name);
        self.channels
            .insert(Arc::clone(&name), Surrogate::default());
        Some(name)
    }

    /// True if `payload` was not seen on `channel` within `memory` and is to be relayed.
    pub(crate) fn is_news(
        &mut self,
        now: Duration,
        memory: Duration,
        channel: &str,
        payload: &[u8],
    ) -> bool {
        let Some(surrogate) = self.channels.get_mut(channel) else {
            return false;
        };
        surrogate.forget_older_than(now.saturating_sub(memory));
        if surrogate.seen.iter().any(|(_, seen)| seen == payload) {
            return false;
        }
        surrogate.remember(now, payload);
        true
    }

    /// Names of the unknown channels, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.channels.keys().map(|name| &**name)
    }
}

impl Surrogate {
    fn forget_older_than(&mut self, limit: Duration) {
        while self.seen.front().is_some_and(|(at, _)| *at < limit) {
            self.forget_oldest();
        }
    }

    fn remember(&mut self, now: Duration, payload: &[u8]) {
        self.bytes += payload.len();
        self.seen.push_back((now, Bytes::copy_from_slice(payload)));
        while self.seen.len() > 1
            && (self.seen.len() > MAX_REMEMBERED || self.bytes > MAX_REMEMBERED_BYTES)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, payload)) = self.seen.pop_front() {
            self.bytes -= payload.len();
        }
    }
}

/// Unknown channels at a time. Weave Net has three channels in all.
const MAX_CHANNELS: usize = 64;
/// Bytes in the name of an unknown channel.
const MAX_NAME: usize = 255;
/// Payloads remembered per channel.
const MAX_REMEMBERED: usize = 256;
/// Bytes remembered per channel; one payload may be larger.
const MAX_REMEMBERED_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(30);

    #[test]
    fn a_payload_is_news_once_per_interval() {
        let mut surrogates = Surrogates::default();
        let channel = surrogates.channel("x").unwrap();
        let mut news = |secs, payload: &[u8]| {
            surrogates.is_news(Duration::from_secs(secs), MEMORY, &channel, payload)
        };

        assert!(news(0, b"a"));
        assert!(!news(1, b"a"));
        assert!(news(2, b"b"));
        assert!(!news(30, b"a"));
        assert!(news(31, b"a"));
    }

    #[test]
    fn memory_is_bounded_by_count_and_bytes() {
        let mut surrogates = Surrogates::default();
        let channel = surrogates.channel("x").unwrap();

        for i in 0..2 * MAX_REMEMBERED {
            let payload = i.to_string();
            assert!(surrogates.is_news(Duration::ZERO, MEMORY, &channel, payload.as_bytes()));
        }
        assert_eq!(surrogates.channels["x"].seen.len(), MAX_REMEMBERED);

        let large = vec![1; MAX_REMEMBERED_BYTES];
        assert!(surrogates.is_news(Duration::ZERO, MEMORY, &channel, &large));
        assert_eq!(surrogates.channels["x"].bytes, MAX_REMEMBERED_BYTES);
    }

    #[test]
    fn channels_are_bounded() {
        let mut surrogates = Surrogates::default();
        for i in 0..MAX_CHANNELS {
            assert!(surrogates.channel(&i.to_string()).is_some());
        }

        assert!(surrogates.channel("one more").is_none());
        assert!(surrogates.channel("0").is_some());
        assert!(!surrogates.is_news(Duration::ZERO, MEMORY, "one more", b"a"));
        assert!(
            Surrogates::default()
                .channel(&"n".repeat(MAX_NAME + 1))
                .is_none()
        );
    }
}
