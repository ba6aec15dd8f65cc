//! The queue of events, which others cannot fill.

use std::collections::VecDeque;

use super::Event;

/// Events kept for the caller, answers to requests not counted.
const MAX_EVENTS: usize = 1024;

/// Events in order. Invariant: answers are never left out, others beyond [`MAX_EVENTS`] are.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    others: usize,
    dropped: u64,
}

impl Events {
    pub(super) fn push_back(&mut self, event: Event) {
        if !matches!(event, Event::Settled { .. }) {
            if self.others >= MAX_EVENTS {
                self.dropped += 1;
                return;
            }
            self.others += 1;
        }
        self.queue.push_back(event);
    }

    pub(super) fn pop_front(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        if !matches!(event, Event::Settled { .. }) {
            self.others -= 1;
        }
        Some(event)
    }

    /// How many were left out.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
