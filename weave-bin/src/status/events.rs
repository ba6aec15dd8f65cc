//! The last state changes and troubles of the daemon, for the status page and `/events`.
//!
//! They are the lines of the log at info and above. The log owns the journal and is the only one
//! that writes it; its size is bounded, and what is older falls out.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::logging::{rfc3339, without_ports};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Event {
    /// When, RFC 3339.
    pub time: String,
    /// `info`, `warning` or `error`.
    pub level: String,
    /// What, in words.
    pub text: String,
    /// How often, if it came again shortly after; the time is that of the last.
    #[serde(default = "once")]
    pub count: u64,
}

impl Event {
    /// `text` said at `level`, at a time since 1970; a long text is cut.
    pub fn new(since_epoch: Duration, level: &str, text: &str) -> Self {
        let mut shown: String = text.chars().take(LONGEST).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self {
            time: rfc3339(since_epoch),
            level: level.to_owned(),
            text: shown,
            count: 1,
        }
    }
}

/// The last events.
#[derive(Debug, Default)]
pub struct Journal {
    events: VecDeque<Event>,
}

impl Journal {
    /// Adds an event; the oldest falls out when there are [`MOST`]. One that says the same as one of
    /// the last few takes its place: a host that is tried in vain for hours is two lines, not all.
    pub fn push(&mut self, mut event: Event) {
        let same = |old: &Event| {
            old.level == event.level && without_ports(&old.text) == without_ports(&event.text)
        };
        let late = self.events.len().saturating_sub(NEAR);
        let found = self.events.range(late..).position(same);
        if let Some(old) = found.and_then(|place| self.events.remove(late + place)) {
            event.count = event.count.saturating_add(old.count);
        }
        if self.events.len() >= MOST {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// All of them, oldest first.
    pub fn recent(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }
}

/// What an event without a count stands for.
fn once() -> u64 {
    1
}

/// Among so many of the last an event is looked for that says the same.
const NEAR: usize = 6;
/// Events that are kept.
pub const MOST: usize = 256;
/// Characters of an event that are kept.
const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept_in_order() {
        let mut journal = Journal::default();
        for number in 0..MOST + 3 {
            let time = Duration::from_secs(number.try_into().unwrap());
            journal.push(Event::new(time, "info", &number.to_string()));
        }

        let recent = journal.recent();

        assert_eq!(recent.len(), MOST);
        assert_eq!((&*recent[0].text, &*recent[MOST - 1].text), ("3", "258"));
    }

    #[test]
    fn what_comes_again_shortly_after_is_counted() {
        let mut journal = Journal::default();
        for second in 0..20 {
            let time = Duration::from_secs(second);
            let port = 40_000 + second;
            journal.push(Event::new(
                time,
                "info",
                &format!("->[10.0.0.1:{port}] attempting"),
            ));
            journal.push(Event::new(
                time,
                "info",
                &format!("->[10.0.0.1:{port}] no route"),
            ));
        }

        let recent = journal.recent();

        assert_eq!(recent.len(), 2);
        assert_eq!(
            (recent[1].count, &*recent[1].text),
            (20, "->[10.0.0.1:40019] no route")
        );
        assert!(recent[1].time.starts_with("1970-01-01T00:00:19"));
        assert!(recent[0].time <= recent[1].time);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let event = Event::new(Duration::ZERO, "warning", &"é".repeat(LONGEST + 1));

        assert_eq!(event.text.chars().count(), LONGEST + 1);
        assert!(event.text.ends_with("é…"));
    }
}
