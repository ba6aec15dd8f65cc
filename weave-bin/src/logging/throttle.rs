//! Which of many equal warnings are written: the first at once, then one a minute with the count.
//!
//! Invariant: a warning that is not written is in the count of a line that is, sooner or later.
//! Memory is bounded by [`KEYS`] messages; those beyond are written as they come.

use std::collections::HashMap;
use std::time::Duration;

use super::line::Line;

/// What was written lately.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    slots: HashMap<String, Slot>,
}

#[derive(Debug)]
struct Slot {
    /// When a line of this key was written last.
    since: Duration,
    /// How many came since.
    more: u64,
    /// The last of them.
    last: Line,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written as it is.
    Write,
    /// It is written, with how many were not in the time before.
    Counted {
        /// How many, this one not among them.
        more: u64,
        /// Since when.
        over: Duration,
    },
    /// It is counted.
    Skip,
}

impl Throttle {
    /// What becomes of `line`, which comes `now`; that never goes back.
    pub(super) fn judge(&mut self, now: Duration, line: &Line) -> Verdict {
        let Some(key) = line.key() else {
            return Verdict::Write;
        };
        if let Some(slot) = self.slots.get_mut(&key) {
            let over = now.saturating_sub(slot.since);
            if over < PERIOD {
                slot.more += 1;
                slot.last = line.clone();
                return Verdict::Skip;
            }
            let more = std::mem::take(&mut slot.more);
            slot.since = now;
            return match more {
                0 => Verdict::Write,
                more => Verdict::Counted { more, over },
            };
        }
        if self.slots.len() >= KEYS {
            self.slots
                .retain(|_, slot| now.saturating_sub(slot.since) < PERIOD || slot.more > 0);
        }
        if self.slots.len() < KEYS {
            let slot = Slot {
                since: now,
                more: 0,
                last: line.clone(),
            };
            self.slots.insert(key, slot);
        }
        Verdict::Write
    }

    /// Lines for what was counted more than a minute ago and has not come again.
    pub(super) fn overdue(&mut self, now: Duration) -> Vec<Line> {
        self.counted(now, PERIOD * 2)
    }

    /// Lines for everything that was counted.
    pub(super) fn settle(&mut self, now: Duration) -> Vec<Line> {
        self.counted(now, Duration::ZERO)
    }

    fn counted(&mut self, now: Duration, age: Duration) -> Vec<Line> {
        let mut lines = Vec::new();
        for slot in self.slots.values_mut() {
            let over = now.saturating_sub(slot.since);
            if slot.more > 0 && over >= age {
                lines.push((slot.since, slot.last.counted(slot.more, over)));
                slot.more = 0;
                slot.since = now;
            }
        }
        // A map has no order of its own.
        lines.sort_by_key(|(since, _)| *since);
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// A warning is written at most once in this time.
const PERIOD: Duration = Duration::from_secs(60);
/// Warnings that are told apart.
const KEYS: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_is_written_and_then_one_a_minute_with_the_count() {
        let mut throttle = Throttle::default();
        let line = Line::warning("no route");

        let verdicts: Vec<Verdict> = (0..=60).map(|now| throttle.judge(at(now), &line)).collect();

        assert_eq!(verdicts[0], Verdict::Write);
        assert!(verdicts[1..60].iter().all(|one| *one == Verdict::Skip));
        let over = at(60);
        assert_eq!(verdicts[60], Verdict::Counted { more: 59, over });
        let text = line.counted(59, over).event(at(0)).text;
        assert_eq!(text, "no route (59 more in 60 s)");
    }

    #[test]
    fn a_warning_that_comes_seldom_is_written_each_time() {
        let mut throttle = Throttle::default();
        let line = Line::warning("seldom");

        for now in [0, 60, 200, 1_000] {
            assert_eq!(throttle.judge(at(now), &line), Verdict::Write);
        }
    }

    #[test]
    fn what_stops_coming_is_told_all_the_same() {
        let mut throttle = Throttle::default();
        let line = Line::warning("no route");
        for now in 0..3 {
            let _ = throttle.judge(at(now), &line);
        }

        assert!(throttle.overdue(at(100)).is_empty());
        let told = throttle.overdue(at(120));

        assert_eq!(told, [line.counted(2, at(120))]);
        assert!(throttle.settle(at(121)).is_empty());
    }

    #[test]
    fn other_warnings_are_not_held_back() {
        let mut throttle = Throttle::default();

        let one = throttle.judge(at(0), &Line::warning("one"));
        let two = throttle.judge(at(0), &Line::warning("two"));

        assert_eq!((one, two), (Verdict::Write, Verdict::Write));
    }

    #[test]
    fn many_messages_are_written_and_not_kept() {
        let mut throttle = Throttle::default();
        for number in 0..KEYS * 2 {
            let line = Line::warning(&format!("number {number}"));
            assert_eq!(throttle.judge(at(0), &line), Verdict::Write);
        }
        assert_eq!(throttle.slots.len(), KEYS);

        let _ = throttle.judge(at(61), &Line::warning("later"));

        assert_eq!(throttle.slots.len(), 1, "old ones make room");
    }

    proptest! {
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0u64..50, 0usize..4), 1..200)) {
            let mut throttle = Throttle::default();
            let (mut now, mut told, mut came) = (0, 0, 0);
            for (pause, which) in steps {
                now += pause;
                came += 1;
                told += match throttle.judge(at(now), &Line::warning(&format!("number {which}"))) {
                    Verdict::Write => 1,
                    Verdict::Counted { more, .. } => more + 1,
                    Verdict::Skip => 0,
                };
            }
            let left: u64 = throttle.slots.values().map(|slot| slot.more).sum();
            prop_assert_eq!(told + left, came);
        }
    }
}
