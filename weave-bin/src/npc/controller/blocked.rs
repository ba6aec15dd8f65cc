//! Connections that policies blocked: the old line, and a record of what blocked them.
//!
//! What comes from the kernel's log is data of strangers, so everything kept is bounded: flows that
//! are quiet for a while, records, ports that are counted on their own. Invariant: a packet that is
//! not shown is counted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weave_npc::Flow;
use weave_npc::compile::{Denial, DeniedBy};
use weave_npc::engine::Engine;
use weave_npc::model::{Direction, Host, Protocol, Transport};
use weave_npc::nflog::{self, Logged};
use weave_npc::verdict::{Options, Reason, decide_with};

/// A connection that was blocked, or would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// `TCP`, `UDP`, `SCTP`, `ICMP` or the number of the protocol.
    pub(crate) protocol: String,
    /// Who asked.
    pub(crate) from: IpAddr,
    /// From which port.
    pub(crate) from_port: Option<u16>,
    /// Whom.
    pub(crate) to: IpAddr,
    /// At which port.
    pub(crate) to_port: Option<u16>,
    /// The pod that asked, as `namespace/name`.
    pub(crate) from_pod: Option<String>,
    /// The pod that was asked.
    pub(crate) to_pod: Option<String>,
    /// `ingress` or `egress`, as the pod of this node sees it.
    pub(crate) direction: Option<String>,
    /// The policies that blocked it.
    pub(crate) policies: Vec<String>,
    /// The rule that blocked it, where a rule of a cluster policy did.
    pub(crate) rule: Option<usize>,
    /// What the rule that came closest asks for and did not find.
    pub(crate) missing: Option<String>,
    /// True if it passed, because the policies are in audit mode.
    pub(crate) audit: bool,
    /// All of it in words.
    pub(crate) reason: String,
}

impl Record {
    /// Weave Net's sentence.
    pub(crate) fn sentence(&self) -> String {
        let end = |address, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        let (from, to) = (end(self.from, self.from_port), end(self.to, self.to_port));
        let verb = if self.audit {
            "would be blocked"
        } else {
            "blocked"
        };
        let protocol = &self.protocol;
        format!("{protocol} connection from {from} to {to} {verb} by Weave NPC.")
    }
}

/// What was blocked lately.
#[derive(Debug, Default)]
pub(super) struct Journal {
    quiet: HashMap<nflog::Flow, Duration>,
    records: VecDeque<Record>,
    /// Blocked connections by protocol and destination port.
    pub(super) counts: BTreeMap<(String, String), u64>,
    /// Connections that would have been blocked.
    pub(super) audited: u64,
    /// Packets that were not shown, because their flow had been a moment before.
    pub(super) suppressed: u64,
    /// Packets that belong to no beginning of a connection, or cannot be read.
    pub(super) passed_over: u64,
    /// Packets that the kernel logged and nobody read.
    pub(super) lost: u64,
}

impl Journal {
    /// Takes over a logged packet. Gives a record if it is to be shown. `now` grows; `wall` is the
    /// time since 1970.
    pub(super) fn note(
        &mut self,
        now: Duration,
        wall: Duration,
        logged: &Logged,
        engine: &Engine,
        options: Options,
    ) -> Option<&Record> {
        let flow = logged.flow().filter(nflog::Flow::is_opening);
        let Some(flow) = flow else {
            self.passed_over += 1;
            return None;
        };
        let denial = engine.compiler().denial(&logged.prefix);
        let is_audit = denial.is_some_and(|denial| denial.is_audit);
        if is_audit {
            self.audited += 1;
        } else {
            self.count(&flow);
        }
        if self.is_quiet(now, flow) {
            self.suppressed += 1;
            return None;
        }
        if self.records.len() >= RECORDS {
            self.records.pop_front();
        }
        self.records
            .push_back(record(wall, &flow, denial, engine, options));
        self.records.back()
    }

    /// The records that are not older than `since`, the last ones at most.
    pub(super) fn since(&self, wall: Duration, since: Duration) -> Vec<Record> {
        let first = millis(wall.saturating_sub(since));
        let young = self.records.iter().filter(|record| record.at_ms >= first);
        young.cloned().collect()
    }

    /// How many blocked connections were seen.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    fn count(&mut self, flow: &nflog::Flow) {
        let (name, _, port) = ports(flow);
        let port = port.map_or_else(String::new, |port| port.to_string());
        let key = (name.to_lowercase(), port);
        let is_full = self.counts.len() >= PORTS && !self.counts.contains_key(&key);
        let key = if is_full {
            (key.0, "other".to_owned())
        } else {
            key
        };
        *self.counts.entry(key).or_default() += 1;
    }

    /// True if the flow was shown a moment before, or there are too many to tell.
    fn is_quiet(&mut self, now: Duration, flow: nflog::Flow) -> bool {
        if self.quiet.get(&flow).is_some_and(|until| *until > now) {
            return true;
        }
        if self.quiet.len() >= FLOWS {
            self.quiet.retain(|_, until| *until > now);
        }
        if self.quiet.len() >= FLOWS {
            return true;
        }
        self.quiet.insert(flow, now + QUIET);
        false
    }
}

fn record(
    wall: Duration,
    flow: &nflog::Flow,
    denial: Option<&Denial>,
    engine: &Engine,
    options: Options,
) -> Record {
    let (protocol, from_port, to_port) = ports(flow);
    let world = engine.world();
    let pod = |address| match world.host(address) {
        Host::Pod(pod) => Some(pod.name.to_string()),
        Host::Node(_) | Host::Outside => None,
    };
    let (from_pod, to_pod) = (pod(flow.source), pod(flow.destination));
    let transport = match (Protocol::from_number(flow.proto), to_port) {
        (Some(protocol), Some(port)) => Transport::Port(protocol, port),
        _ => Transport::Other(flow.proto),
    };
    let mut asked = Flow::new(flow.source, flow.destination, transport);
    asked.is_through_service = from_pod.is_some() && from_pod == to_pod;
    let decision = decide_with(world, &asked, options);
    let side = match denial.map(|denial| denial.direction) {
        Some(Direction::Egress) => &decision.egress,
        _ => &decision.ingress,
    };
    let missing = match &side.reason {
        Reason::Isolated { closest, .. } => closest.as_ref().map(ToString::to_string),
        _ => None,
    };
    let (policies, rule) = match denial.map(|denial| &denial.by) {
        Some(DeniedBy::Isolation(names)) => (names.iter().map(ToString::to_string).collect(), None),
        Some(DeniedBy::Cluster { policy, rule, .. }) => (vec![policy.to_string()], Some(*rule)),
        _ => (Vec::new(), None),
    };
    let said = denial.map_or_else(
        || "the policies have changed since".to_owned(),
        ToString::to_string,
    );
    let reason = match denial {
        Some(denial) if !side.allowed && !denial.is_audit => side.to_string(),
        _ => said,
    };
    Record {
        at_ms: millis(wall),
        protocol,
        from: flow.source,
        from_port,
        to: flow.destination,
        to_port,
        from_pod,
        to_pod,
        direction: denial.map(|denial| denial.direction.to_string()),
        policies,
        rule,
        missing,
        audit: denial.is_some_and(|denial| denial.is_audit),
        reason,
    }
}

/// The protocol's name, and both ports.
fn ports(flow: &nflog::Flow) -> (String, Option<u16>, Option<u16>) {
    let name = match flow.proto {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => other.to_string(),
    };
    match flow.transport {
        nflog::Transport::Tcp {
            source,
            destination,
            ..
        }
        | nflog::Transport::Ports {
            source,
            destination,
        } => (name, Some(source), Some(destination)),
        _ => (name, None, None),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A flow that was shown is quiet for this long.
const QUIET: Duration = Duration::from_secs(10);
/// Flows that are kept apart at a time.
const FLOWS: usize = 4096;
/// Records that are kept.
const RECORDS: usize = 1024;
/// Ports that are counted on their own.
const PORTS: usize = 1000;

#[cfg(test)]
mod tests {
    use weave_npc::compile;
    use weave_npc::engine::{COALESCE, Event, Listing};
    use weave_npc::manifest::Manifest;

    use super::*;

    const WORLD: &str = "
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.7}]}
---
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.11}]}
---
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: front}}}]}]
";

    fn engine(text: &str) -> Engine {
        let mut engine = Engine::new("n1", compile::Options::default());
        let objects = Manifest::read(text).objects;
        engine.handle_event(
            Duration::ZERO,
            Event::Listed(Listing::whole(objects, vec![])),
        );
        engine.poll_change(COALESCE).unwrap();
        engine
    }

    /// A packet from port 56648 of 10.32.0.7 to 10.32.0.11, as the rules of `engine` log it.
    fn packet(engine: &Engine, proto: u8, port: u16, flags: u8) -> Logged {
        let text = engine.compiler().ruleset().to_string();
        let prefix = text.split("log prefix \"").nth(1).unwrap();
        let mut payload = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0];
        payload.extend([10, 32, 0, 7, 10, 32, 0, 11]);
        payload.extend(56648u16.to_be_bytes());
        payload.extend(port.to_be_bytes());
        payload.extend([0; 9]);
        payload.push(flags);
        let mut logged = Logged::default();
        logged.prefix = prefix.split('"').next().unwrap().to_owned();
        logged.payload = payload;
        logged
    }

    fn note<'j>(
        journal: &'j mut Journal,
        engine: &Engine,
        now: u64,
        it: &Logged,
    ) -> Option<&'j Record> {
        let now = Duration::from_secs(now);
        journal.note(now, now, it, engine, Options::default())
    }

    #[test]
    fn the_line_is_the_old_one_and_the_record_names_the_label() {
        let engine = engine(WORLD);
        let mut journal = Journal::default();

        let record = note(&mut journal, &engine, 5, &packet(&engine, 6, 80, 2)).unwrap();

        assert_eq!(
            record.sentence(),
            "TCP connection from 10.32.0.7:56648 to 10.32.0.11:80 blocked by Weave NPC."
        );
        assert_eq!(record.from_pod.as_deref(), Some("shop/web"));
        assert_eq!(record.direction.as_deref(), Some("ingress"));
        assert_eq!(record.policies, ["shop/db"]);
        assert_eq!(
            record.missing.as_deref(),
            Some("shop/db rule 0: asks for pod label app=front, has app=web")
        );
        assert_eq!(record.at_ms, 5000);
        let record = note(&mut journal, &engine, 5, &packet(&engine, 17, 53, 0)).unwrap();
        assert!(
            record
                .sentence()
                .starts_with("UDP connection from 10.32.0.7:56648 to ")
        );
        let record = note(&mut journal, &engine, 5, &packet(&engine, 1, 0, 0)).unwrap();
        assert!(
            record
                .sentence()
                .starts_with("ICMP connection from 10.32.0.7 to 10.32.0.11 ")
        );
    }

    #[test]
    fn a_flow_is_shown_once_in_a_while_and_counted_always() {
        let engine = engine(WORLD);
        let mut journal = Journal::default();
        let syn = packet(&engine, 6, 80, 2);

        let shown = (0..30).filter(|now| note(&mut journal, &engine, *now, &syn).is_some());

        assert_eq!(shown.count(), 3);
        assert_eq!((journal.total(), journal.suppressed), (30, 27));
        let key = ("tcp".to_owned(), "80".to_owned());
        assert_eq!(journal.counts[&key], 30);
        let minutes = Duration::from_secs(15);
        assert_eq!(journal.since(Duration::from_secs(30), minutes).len(), 1);
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let engine = engine(WORLD);
        let mut journal = Journal::default();
        for port in 0..20_000 {
            let _ = note(&mut journal, &engine, 1, &packet(&engine, 6, port, 2));
        }

        assert_eq!(journal.quiet.len(), FLOWS);
        assert_eq!(journal.records.len(), RECORDS);
        assert!(journal.counts.len() <= PORTS + 1);
        assert_eq!(journal.total(), 20_000);
        assert!(note(&mut journal, &engine, 60, &packet(&engine, 6, 1, 2)).is_some());
    }

    #[test]
    fn what_opens_no_connection_is_passed_over() {
        let engine = engine(WORLD);
        let mut journal = Journal::default();

        assert!(note(&mut journal, &engine, 1, &packet(&engine, 6, 80, 0x10)).is_none());
        assert!(note(&mut journal, &engine, 1, &Logged::default()).is_none());

        assert_eq!((journal.passed_over, journal.total()), (2, 0));
    }

    #[test]
    fn a_policy_in_audit_mode_blocks_nothing() {
        let audit = "name: db, annotations: {policy.weave.works/mode: audit}";
        let text = WORLD.replacen(
            "shop, name: db}\nspec:\n  pod",
            &format!("shop, {audit}}}\nspec:\n  pod"),
            1,
        );
        let engine = engine(&text);
        let mut journal = Journal::default();

        let record = note(&mut journal, &engine, 1, &packet(&engine, 6, 80, 2)).unwrap();

        assert!(record.audit);
        assert!(
            record
                .sentence()
                .ends_with(" would be blocked by Weave NPC.")
        );
        assert_eq!((journal.total(), journal.audited), (0, 1));
    }
}
