//! How long policies take: from news of an object to rules of the kernel that follow from it.
//!
//! News that comes while older news waits counts from the older one, so that no wait is left out. What
//! comes before the first rules are in force is not counted: there the API server sets the pace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::status::page::Page;

/// How often it took how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::npc) struct Latency {
    /// How often at most the bound of the same place, for each bound.
    within: [u64; BOUNDS.len()],
    /// How often at all.
    count: u64,
    /// The sum, in seconds.
    seconds: f64,
}

impl Latency {
    /// Notes one time.
    pub(super) fn note(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        for (within, bound) in self.within.iter_mut().zip(BOUNDS) {
            *within += u64::from(took <= bound);
        }
        self.count += 1;
        self.seconds += took;
    }

    /// Adds the family.
    pub(super) fn write(&self, page: &mut Page) {
        let help = "Time from news of an object to rules in the kernel.";
        let mut family = page.histogram("weavenpc_policy_latency_seconds", help);
        for (within, bound) in self.within.iter().zip(BOUNDS) {
            family.part("_bucket", &[("le", &bound.to_string())], within);
        }
        family
            .part("_bucket", &[("le", "+Inf")], self.count)
            .part("_sum", &[], self.seconds)
            .part("_count", &[], self.count);
    }
}

/// Upper bounds, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_for_its_bound_and_all_above() {
        let mut latency = Latency::default();

        latency.note(Duration::from_millis(20));
        latency.note(Duration::from_secs(9));

        let mut page = Page::default();
        latency.write(&mut page);
        let page = page.into_text();
        for line in [
            "weavenpc_policy_latency_seconds_bucket{le=\"0.01\"} 0",
            "weavenpc_policy_latency_seconds_bucket{le=\"0.025\"} 1",
            "weavenpc_policy_latency_seconds_bucket{le=\"5\"} 1",
            "weavenpc_policy_latency_seconds_bucket{le=\"+Inf\"} 2",
            "weavenpc_policy_latency_seconds_sum 9.02",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in {page}");
        }
    }
}
