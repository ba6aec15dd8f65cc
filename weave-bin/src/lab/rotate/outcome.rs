//! What a rotation did: requests without an answer, connections that did not last, passwords.
//!
//! Passed means: no request lost, every connection is the one it was before, the old password is
//! refused and the new one accepted.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::lab::once::Finding;
use crate::status::model::Report;

/// Everything a rotation found.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Number of hosts.
    pub(super) hosts: usize,
    /// Whether only mesh messages were encrypted.
    pub(super) trusted: bool,
    /// Milliseconds between requests of a pair.
    pub(super) interval_ms: u64,
    /// The steps in order.
    pub(super) steps: Vec<Step>,
    /// Requests and answers.
    #[serde(flatten)]
    pub(super) traffic: Traffic,
    /// Connections of the mesh.
    pub(super) connections: Connections,
    /// Whether a daemon with nothing but the old password stays alone, and is named by another.
    pub(super) old_refused: bool,
    /// Whether a daemon with nothing but the new password joins.
    pub(super) new_accepted: bool,
    /// Seconds from the first namespace to the last check.
    pub(super) elapsed_s: f64,
}

/// A change of passwords everywhere.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// `add`, `prefer` or `drop`.
    pub(super) name: &'static str,
    /// Seconds until every daemon said it took it.
    pub(super) took_s: f64,
}

/// Requests from one host to another.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    from: usize,
    to: usize,
    /// Whether request n was answered.
    pub(super) answered: Vec<bool>,
    /// The last complaint of our own kernel.
    pub(super) complaint: Option<String>,
}

impl Pair {
    /// Nothing sent yet.
    pub(super) fn new(from: usize, to: usize) -> Self {
        Self {
            from,
            to,
            answered: Vec::new(),
            complaint: None,
        }
    }

    /// Requests without an answer.
    pub(super) fn lost(&self) -> usize {
        self.answered.iter().filter(|answered| !**answered).count()
    }

    fn longest_gap(&self) -> usize {
        let gaps = self.answered.split(|answered| *answered).map(<[_]>::len);
        gaps.max().unwrap_or(0)
    }
}

/// All pairs together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Traffic {
    /// Pairs of hosts.
    pub(super) pairs: usize,
    /// Requests.
    pub(super) sent: usize,
    /// Requests without an answer.
    pub(super) lost: usize,
    /// The longest run of lost requests of one pair.
    pub(super) longest_gap: usize,
    /// Pairs that lost something, worst first, as `from-to: lost`.
    pub(super) losers: Vec<String>,
}

impl Traffic {
    /// The sum of `pairs`.
    pub(super) fn of(pairs: &[Pair]) -> Self {
        let mut losers: Vec<&Pair> = pairs.iter().filter(|pair| pair.lost() > 0).collect();
        losers.sort_by_key(|pair| std::cmp::Reverse(pair.lost()));
        let words = losers.iter().map(|pair| {
            let complaint = pair.complaint.as_deref().unwrap_or_default();
            let text = format!("{}-{}: {} {complaint}", pair.from, pair.to, pair.lost());
            text.trim_end().to_owned()
        });
        Self {
            pairs: pairs.len(),
            sent: pairs.iter().map(|pair| pair.answered.len()).sum(),
            lost: pairs.iter().map(Pair::lost).sum(),
            longest_gap: pairs.iter().map(Pair::longest_gap).max().unwrap_or(0),
            losers: words.collect(),
        }
    }
}

/// The connections of one host at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Links {
    /// Remote addresses with ports: another number is another connection.
    live: BTreeSet<String>,
    /// Connections ended since the daemon started.
    ended: u64,
}

impl Links {
    /// As the daemon reports them.
    pub(super) fn of(report: &Report) -> Self {
        let router = &report.router;
        let established = router
            .connections
            .iter()
            .filter(|connection| connection.state == "established");
        Self {
            live: established
                .map(|connection| connection.address.clone())
                .collect(),
            ended: router.termination_count,
        }
    }

    /// What became of the connections of `before`; each is seen from both ends.
    pub(super) fn compare(
        before: &BTreeMap<usize, Self>,
        after: &BTreeMap<usize, Self>,
    ) -> Connections {
        let count = |links: &BTreeMap<usize, Self>| links.values().map(|one| one.live.len()).sum();
        let mut lost = 0;
        let mut ended = 0;
        for (host, then) in before {
            let Some(now) = after.get(host) else {
                lost += then.live.len();
                continue;
            };
            lost += then.live.difference(&now.live).count();
            ended += now.ended.saturating_sub(then.ended);
        }
        Connections {
            before: count(before),
            after: count(after),
            lost,
            ended,
        }
    }
}

/// Ends of connections; a connection has two.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Connections {
    /// Before the first step.
    pub(super) before: usize,
    /// After the last.
    pub(super) after: usize,
    /// Of those before, the ones that are not there any more.
    pub(super) lost: usize,
    /// Connections that daemons saw end meanwhile.
    pub(super) ended: u64,
}

impl Finding for Outcome {
    /// Whether the rotation went unnoticed.
    fn passed(&self) -> bool {
        let Connections {
            before,
            after,
            lost,
            ended,
        } = self.connections;
        let all = self.hosts * (self.hosts - 1);
        let lasting = before == all && after == all && lost == 0 && ended == 0;
        let answered = self.traffic.sent > 0 && self.traffic.lost == 0;
        lasting && answered && self.old_refused && self.new_accepted
    }

    /// One JSON object.
    fn to_json(&self) -> String {
        let mut value = serde_json::json!(self);
        if let Some(object) = value.as_object_mut() {
            object.insert("passed".to_owned(), self.passed().into());
        }
        format!("{value:#}")
    }

    /// For a person.
    fn text(&self) -> String {
        let frames = if self.trusted { "plain" } else { "encrypted" };
        let mut text = format!(
            "{} hosts, {} pairs pinging every {} ms, frames {frames}\n",
            self.hosts, self.traffic.pairs, self.interval_ms
        );
        for step in &self.steps {
            let Step { name, took_s } = step;
            text.push_str(&format!("{name:<7} taken by all after {took_s:.2} s\n"));
        }
        text.push_str(&format!(
            "pings   {} sent, {} lost, {} in a row\n",
            self.traffic.sent, self.traffic.lost, self.traffic.longest_gap
        ));
        for loser in self.traffic.losers.iter().take(10) {
            text.push_str(&format!("        {loser}\n"));
        }
        let Connections {
            before,
            after,
            lost,
            ended,
        } = self.connections;
        text.push_str(&format!(
            "links   {before} ends before, {after} after, {lost} lost, {ended} ended\n"
        ));
        let word = |yes: bool| if yes { "yes" } else { "NO" };
        text.push_str(&format!(
            "old password refused: {}, new password accepted: {}\n{}\n",
            word(self.old_refused),
            word(self.new_accepted),
            if self.passed() { "PASS" } else { "FAIL" }
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(addresses: &[&str], ended: u64) -> Links {
        Links {
            live: addresses.iter().map(|one| (*one).to_owned()).collect(),
            ended,
        }
    }

    fn perfect() -> Outcome {
        let before = BTreeMap::from([(1, links(&["b:1"], 0)), (2, links(&["a:6783"], 3))]);
        let mut pair = Pair::new(1, 2);
        pair.answered = vec![true; 5];
        Outcome {
            hosts: 2,
            trusted: true,
            interval_ms: 10,
            steps: Vec::new(),
            traffic: Traffic::of(&[pair]),
            connections: Links::compare(&before, &before),
            old_refused: true,
            new_accepted: true,
            elapsed_s: 1.0,
        }
    }

    #[test]
    fn nothing_lost_is_passed() {
        let outcome = perfect();

        assert!(outcome.passed());
        assert!(outcome.text().ends_with("PASS\n"), "{}", outcome.text());
        assert!(outcome.to_json().contains("\"lost\": 0"));
    }

    #[test]
    fn one_lost_request_fails_and_names_its_pair() {
        let mut pair = Pair::new(1, 2);
        pair.answered = vec![true, false, false, true];
        let outcome = Outcome {
            traffic: Traffic::of(&[pair]),
            ..perfect()
        };

        assert!(!outcome.passed());
        assert_eq!((outcome.traffic.lost, outcome.traffic.longest_gap), (2, 2));
        assert_eq!(outcome.traffic.losers, ["1-2: 2"]);
    }

    #[test]
    fn a_connection_that_came_back_is_a_lost_one() {
        let before = BTreeMap::from([(1, links(&["b:1"], 0)), (2, links(&["a:6783"], 0))]);
        let after = BTreeMap::from([(1, links(&["b:2"], 1)), (2, links(&["a:6783"], 1))]);

        let found = Links::compare(&before, &after);

        assert_eq!((found.lost, found.ended), (1, 2));
        let outcome = Outcome {
            connections: found,
            ..perfect()
        };
        assert!(!outcome.passed());
    }

    #[test]
    fn both_passwords_count() {
        for (old_refused, new_accepted) in [(false, true), (true, false)] {
            let outcome = Outcome {
                old_refused,
                new_accepted,
                ..perfect()
            };
            assert!(!outcome.passed());
        }
    }
}
