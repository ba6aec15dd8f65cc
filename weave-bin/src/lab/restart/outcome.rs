//! What restarts did to the traffic.
//!
//! Passed means: the daemon always came back and ended within a second of SIGTERM, no stream broke,
//! the overlay stayed, and, unless frames cross by sleeve, not one echo request was lost.

use serde::Serialize;

use super::streams::Streams;
use crate::lab::once::Finding;
use crate::lab::ping::Tally;

/// How a daemon is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    /// SIGTERM: it may clean up.
    Terminate,
    /// SIGKILL: it may do nothing.
    Kill,
}

/// One restart; times count from the signal, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Restart {
    /// The signal.
    pub(super) way: Way,
    /// Until the process was gone.
    pub(super) ended_ms: f64,
    /// Until the new one answered requests.
    pub(super) answering_ms: f64,
    /// Until both daemons had their connection and routes.
    pub(super) ready_ms: f64,
}

/// Everything a run found.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The overlay of host 1's connection before the first restart.
    pub(super) overlay_before: String,
    /// And after the last.
    pub(super) overlay_after: String,
    /// Milliseconds between echo requests.
    pub(super) interval_ms: u64,
    /// The restarts in order.
    pub(super) restarts: Vec<Restart>,
    /// Echo requests.
    pub(super) pings: Tally,
    /// TCP streams.
    pub(super) streams: Streams,
    /// Seconds from the first namespace to the last count.
    pub(super) elapsed_s: f64,
}

impl Outcome {
    fn count(&self, way: Way) -> usize {
        self.restarts.iter().filter(|one| one.way == way).count()
    }

    /// The slowest of the restarts that `pick` chooses a time of.
    fn slowest(&self, pick: impl Fn(&Restart) -> Option<f64>) -> f64 {
        self.restarts.iter().filter_map(pick).fold(0.0, f64::max)
    }

    fn slowest_end(&self) -> f64 {
        self.slowest(|one| (one.way == Way::Terminate).then_some(one.ended_ms))
    }

    /// The longest run of lost requests as a time.
    fn gap_ms(&self) -> u64 {
        u64::from(self.pings.longest_gap).saturating_mul(self.interval_ms)
    }

    /// Whether the kernel alone carries frames.
    fn needs_no_daemon(&self) -> bool {
        self.overlay_before == "fastdp" && self.overlay_after == "fastdp"
    }
}

impl Finding for Outcome {
    fn passed(&self) -> bool {
        let pings = self.pings.sent > 0 && (self.pings.lost == 0 || !self.needs_no_daemon());
        let same = self.overlay_before == self.overlay_after;
        pings && same && self.streams.broken == 0 && self.slowest_end() < END_MS
    }

    fn to_json(&self) -> String {
        let mut value = serde_json::json!(self);
        if let Some(object) = value.as_object_mut() {
            object.insert("longest_gap_ms".to_owned(), self.gap_ms().into());
            object.insert("passed".to_owned(), self.passed().into());
        }
        format!("{value:#}")
    }

    fn text(&self) -> String {
        let Streams {
            opened,
            broken,
            blocks,
            longest_stall_ms,
            reasons,
        } = &self.streams;
        let mut text = format!(
            "{} restarts: {} by SIGTERM, {} by SIGKILL; frames by {}, then {}\n",
            self.restarts.len(),
            self.count(Way::Terminate),
            self.count(Way::Kill),
            self.overlay_before,
            self.overlay_after,
        );
        text.push_str(&format!(
            "slowest  end after SIGTERM {:.0} ms, answering {:.0} ms, connected {:.0} ms\n",
            self.slowest_end(),
            self.slowest(|one| Some(one.answering_ms)),
            self.slowest(|one| Some(one.ready_ms)),
        ));
        text.push_str(&format!(
            "pings    {}, longest gap {} ms\n",
            self.pings.line(),
            self.gap_ms()
        ));
        text.push_str(&format!(
            "streams  {opened} open, {broken} broken, {blocks} blocks there and back, \
             longest stall {longest_stall_ms:.0} ms\n"
        ));
        for reason in reasons {
            text.push_str(&format!("         {reason}\n"));
        }
        text.push_str(if self.passed() { "PASS\n" } else { "FAIL\n" });
        text
    }
}

/// A daemon that is asked to end does so within this many milliseconds.
const END_MS: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lost: u32, broken: usize, overlay: &str, ended_ms: f64) -> Outcome {
        Outcome {
            overlay_before: overlay.to_owned(),
            overlay_after: overlay.to_owned(),
            interval_ms: 2,
            restarts: vec![Restart {
                way: Way::Terminate,
                ended_ms,
                answering_ms: 80.0,
                ready_ms: 120.0,
            }],
            pings: Tally {
                sent: 100,
                received: 100 - lost,
                lost,
                longest_gap: lost,
                rtt_ms: None,
                complaint: None,
            },
            streams: Streams {
                opened: 3,
                broken,
                ..Streams::default()
            },
            elapsed_s: 1.0,
        }
    }

    #[test]
    fn one_lost_ping_fails_unless_frames_pass_the_daemon() {
        assert!(outcome(0, 0, "fastdp", 20.0).passed());
        assert!(!outcome(1, 0, "fastdp", 20.0).passed());
        assert!(outcome(1, 0, "sleeve", 20.0).passed());
    }

    #[test]
    fn a_broken_stream_or_a_slow_end_fails_always() {
        assert!(!outcome(0, 1, "sleeve", 20.0).passed());
        assert!(!outcome(0, 0, "fastdp", 1000.0).passed());
    }

    #[test]
    fn the_gap_is_told_as_a_time() {
        let found = outcome(7, 0, "sleeve", 20.0);

        assert!(
            found.text().contains("longest gap 14 ms"),
            "{}",
            found.text()
        );
        assert!(found.to_json().contains("\"longest_gap_ms\": 14"));
    }
}
