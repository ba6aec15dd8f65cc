//! The chains of one profile: Admin tier, NetworkPolicies, Baseline tier, in this order.
//!
//! Invariant: in a chain of a profile `return` means allowed in this direction, so the other
//! direction is asked next; everything else ends in a chain that drops.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Options;
use super::base;
use super::canon::{Canon, fixed};
use super::clause::{Clause, PartPorts, Term};
use super::denial::{Denial, DeniedBy};
use super::draft::Draft;
use super::family::Family;
use super::ports::PortSet;
use super::profile::Profile;
use super::query::Query;
use super::ranges::Ranges;
use super::sets::{Sets, Use};
use crate::index::Index;
use crate::model::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPeers, ClusterPort, ClusterRule, Direction,
    Mode, NetworkPolicy, ObjectName, Peer, Ports, Rule as PolicyRule, World,
};
use crate::ruleset::{Chain, Comment, CtState, Field, Name, Rule, Set, Verdict};

/// Everything a profile put into the table.
#[derive(Debug, Default)]
pub(super) struct Built {
    /// Its chains.
    pub(super) chains: BTreeMap<Name, Chain>,
    /// Sets of its own.
    pub(super) sets: BTreeMap<Name, Set>,
    /// Its uses of shared sets.
    pub(super) uses: Vec<Use>,
    /// What its chains deny, by the prefix of the log.
    pub(super) denials: BTreeMap<String, Denial>,
}

/// Builds the chains of one profile.
pub(super) struct Builder<'a> {
    profile: &'a Profile,
    main: &'a Name,
    options: &'a Options,
    world: &'a World,
    index: &'a Index,
    sets: &'a mut Sets,
    draft: &'a mut Draft,
    built: Built,
}

/// What a compiler lends to a builder.
pub(super) struct Ground<'a> {
    pub(super) options: &'a Options,
    pub(super) world: &'a World,
    pub(super) index: &'a Index,
    pub(super) sets: &'a mut Sets,
    pub(super) draft: &'a mut Draft,
}

/// Builds the chains of `profile`; the first is called `main`.
pub(super) fn build(profile: &Profile, main: &Name, ground: Ground<'_>) -> Built {
    let Ground {
        options,
        world,
        index,
        sets,
        draft,
    } = ground;
    let mut builder = Builder {
        profile,
        main,
        options,
        world,
        index,
        sets,
        draft,
        built: Built::default(),
    };
    builder.run();
    builder.built
}

impl Builder<'_> {
    /// The direction of the profile.
    pub(super) fn direction(&self) -> Direction {
        self.profile.direction
    }

    /// The families its pods have.
    pub(super) fn families(&self) -> impl Iterator<Item = Family> + use<> {
        self.profile.families.clone().into_iter()
    }

    /// From how many rules on networks boxes are made.
    pub(super) fn box_above(&self) -> usize {
        self.options.box_above
    }

    /// The name of a shared set, which is used from now on.
    pub(super) fn shared(&mut self, query: &Query, family: Family) -> Name {
        let what = (query.clone(), family);
        let name = self.sets.acquire(&what, self.index, self.world, self.draft);
        self.built.uses.push(what);
        name
    }

    /// Adds a set of the profile's own.
    pub(super) fn own_set(&mut self, family: Family, set: Set) -> Name {
        let count = self.built.sets.len();
        let name = fixed(&format!("{}-x{count}-{}", self.main, family.digit()));
        self.built.sets.insert(name.clone(), set);
        name
    }

    fn run(&mut self) {
        let mut tail = Vec::new();
        self.policies(&mut tail);
        let baseline = self.cluster(&self.profile.baseline);
        for policy in &baseline {
            self.cluster_policy(policy, &Verdict::Return, &mut tail);
        }
        let admin = self.cluster(&self.profile.admin);
        let mut rules = Vec::new();
        let is_passing = admin.iter().any(|policy| {
            let mut rules = policy.rules(self.profile.direction).iter();
            policy.mode == Mode::Enforce && rules.any(|rule| rule.action == Action::Pass)
        });
        if is_passing {
            let name = self.part("t");
            let next = Verdict::Goto(name.clone());
            for policy in &admin {
                self.cluster_policy(policy, &next, &mut rules);
            }
            rules.push(Rule::new().verdict(next));
            self.add(name, tail);
        } else {
            for policy in &admin {
                self.cluster_policy(policy, &Verdict::Return, &mut rules);
            }
            rules.append(&mut tail);
        }
        self.add(self.main.clone(), rules);
    }

    // ===== NetworkPolicies =====

    fn policies(&mut self, rules: &mut Vec<Rule>) {
        if !self.profile.policies.is_empty() {
            self.skip_self(rules);
            let clause = self.clause(&self.profile.policies);
            rules.extend(clause.write(self, &Verdict::Return));
            let by = DeniedBy::Isolation(self.profile.policies.clone());
            // Not a chain of its own: the kernel looks through every chain that an element leads to
            // whenever a rule comes, and this is the part that all profiles would have twice.
            let name = self.part("d");
            rules.push(self.show(&name, by, false));
            rules.push(drop_of(rules));
        } else if !self.profile.audited.is_empty() {
            let mut audit = Vec::new();
            self.skip_self(&mut audit);
            let clause = self.clause(&self.profile.audited);
            audit.extend(clause.write(self, &Verdict::Return));
            let by = DeniedBy::Isolation(self.profile.audited.clone());
            let name = self.part("a");
            audit.push(self.show(&name, by, true));
            self.add(name.clone(), audit);
            rules.push(Rule::new().verdict(Verdict::Jump(name)));
        }
    }

    /// No NetworkPolicy forbids what a pod sends to itself.
    fn skip_self(&self, rules: &mut Vec<Rule>) {
        if self.profile.is_self_judged {
            for family in self.families() {
                let set = base::late_self_pairs(family);
                rules.push(base::same(family, &set).verdict(Verdict::Return));
            }
        }
    }

    fn clause(&self, names: &[ObjectName]) -> Clause {
        let mut clause = Clause::default();
        let policies = names.iter().filter_map(|name| self.world.policy(name));
        for policy in policies {
            self.add_policy(policy, &mut clause);
        }
        clause
    }

    fn add_policy(&self, policy: &NetworkPolicy, clause: &mut Clause) {
        let rules = policy.rules(self.profile.direction).unwrap_or_default();
        for (index, rule) in rules.iter().enumerate() {
            let origin = format!("{}#{index}", policy.name);
            clause.add(&terms(&rule.peers), &self.ports(rule), &origin);
        }
    }

    fn ports(&self, rule: &PolicyRule) -> PartPorts {
        let mut part = PartPorts::default();
        if rule.ports.is_empty() {
            part.numbers = PortSet::all();
        }
        for port in &rule.ports {
            match &port.ports {
                Ports::All => part.numbers.add_protocol(port.protocol),
                Ports::Range(first, last) => part.numbers.add(port.protocol, *first, *last),
                Ports::Named(name) => self.named(name, Some(port.protocol), &mut part),
            }
        }
        part
    }

    /// A name: what the pod itself calls so, or whatever the other end calls so.
    fn named(
        &self,
        name: &Arc<str>,
        protocol: Option<crate::model::Protocol>,
        part: &mut PartPorts,
    ) {
        if self.profile.direction == Direction::Egress {
            part.names.push((name.clone(), protocol));
            return;
        }
        for (own, of, number) in &self.profile.ports {
            if own == name && protocol.is_none_or(|protocol| protocol == *of) {
                part.numbers.add(*of, *number, *number);
            }
        }
    }

    // ===== ClusterNetworkPolicies =====

    fn cluster(&self, names: &[Arc<str>]) -> Vec<ClusterNetworkPolicy> {
        let policies = names
            .iter()
            .filter_map(|name| self.world.cluster_policy(name));
        policies.cloned().collect()
    }

    /// Writes the rules of a policy; `pass` leads behind its tier.
    fn cluster_policy(
        &mut self,
        policy: &ClusterNetworkPolicy,
        pass: &Verdict,
        rules: &mut Vec<Rule>,
    ) {
        if policy.mode == Mode::Enforce {
            for index in 0..policy.rules(self.profile.direction).len() {
                self.cluster_rule(policy, index, pass, rules);
            }
            return;
        }
        let name = self.part(&format!(
            "u-{}",
            Canon::new("audit").text(&policy.name).id()
        ));
        let mut audit = Vec::new();
        for index in 0..policy.rules(self.profile.direction).len() {
            self.cluster_rule(policy, index, &Verdict::Return, &mut audit);
        }
        self.add(name.clone(), audit);
        rules.push(Rule::new().verdict(Verdict::Jump(name)));
    }

    fn cluster_rule(
        &mut self,
        policy: &ClusterNetworkPolicy,
        index: usize,
        pass: &Verdict,
        rules: &mut Vec<Rule>,
    ) {
        let rule = &policy.rules(self.profile.direction)[index];
        let mut clause = Clause::default();
        let origin = format!("{}#{index} {}", policy.name, rule.name);
        clause.add(
            &cluster_terms(rule),
            &self.cluster_ports(rule),
            origin.trim_end(),
        );
        let verdict = match rule.action {
            Action::Accept => Verdict::Return,
            Action::Pass => pass.clone(),
            Action::Deny => {
                let by = DeniedBy::Cluster {
                    policy: policy.name.clone(),
                    tier: policy.tier,
                    rule: index,
                };
                let id = Canon::new("deny").text(&policy.name).part(index).id();
                let target = match policy.mode {
                    Mode::Enforce => self.deny(&format!("d-{id}"), by),
                    Mode::Audit => {
                        let name = self.part(&format!("w-{id}"));
                        let show = self.show(&name, by, true);
                        self.add(name.clone(), vec![show]);
                        name
                    }
                };
                Verdict::Goto(target)
            }
        };
        rules.extend(clause.write(self, &verdict));
    }

    fn cluster_ports(&self, rule: &ClusterRule) -> PartPorts {
        let mut part = PartPorts::default();
        if rule.ports.is_empty() {
            part.numbers = PortSet::all();
        }
        for port in &rule.ports {
            match port {
                ClusterPort::All(protocol) => part.numbers.add_protocol(*protocol),
                ClusterPort::Range(protocol, first, last) => {
                    part.numbers.add(*protocol, *first, *last);
                }
                ClusterPort::Named(name) => self.named(name, None, &mut part),
            }
        }
        part
    }

    // ===== chains that end =====

    /// A chain that shows and drops.
    fn deny(&mut self, suffix: &str, by: DeniedBy) -> Name {
        let name = self.part(suffix);
        let show = self.show(&name, by, false);
        let mut rules = vec![show];
        rules.push(drop_of(&rules));
        self.add(name.clone(), rules);
        name
    }

    /// A rule that shows new connections, at a limited rate; `name` is what the log calls it.
    fn show(&mut self, name: &Name, by: DeniedBy, is_audit: bool) -> Rule {
        let prefix = format!("{} {name}", if is_audit { "audit" } else { "deny" });
        let denial = Denial {
            direction: self.profile.direction,
            by,
            is_audit,
        };
        let comment = Comment::lossy(&denial.to_string());
        let rule = Rule::new()
            .when(Field::CtState.is(CtState::NEW))
            .limit(self.options.limit())
            .log(self.options.log(&prefix))
            .comment(comment);
        self.built.denials.insert(prefix, denial);
        rule
    }

    fn part(&self, suffix: &str) -> Name {
        fixed(&format!("{}-{suffix}", self.main))
    }

    fn add(&mut self, name: Name, rules: Vec<Rule>) {
        let chain = Chain { base: None, rules };
        self.built.chains.insert(name, chain);
    }
}

/// The rule that drops what the one before shows, with its comment.
fn drop_of(rules: &[Rule]) -> Rule {
    let fate = Rule::new().counter().verdict(Verdict::Drop);
    match rules.last().and_then(Rule::note) {
        Some(note) => fate.comment(note.clone()),
        None => fate,
    }
}

/// The other ends of a rule of a NetworkPolicy.
fn terms(peers: &[Peer]) -> Vec<Term> {
    if peers.is_empty() {
        return vec![Term::Anyone];
    }
    peers
        .iter()
        .filter_map(|peer| match peer {
            Peer::Pods(pods) => Some(Term::Pods(pods.clone())),
            Peer::Block(block) => {
                let ranges = Ranges::of_block(block);
                let family = Family::of(block.cidr.network());
                (!ranges.is_empty()).then_some(Term::Block(family, ranges))
            }
        })
        .collect()
}

/// The other ends of a rule of a cluster policy.
fn cluster_terms(rule: &ClusterRule) -> Vec<Term> {
    let peers = match &rule.peers {
        ClusterPeers::Everybody => return vec![Term::Anyone],
        ClusterPeers::AnyOf(peers) => peers,
    };
    peers
        .iter()
        .flat_map(|peer| match peer {
            ClusterPeer::Pods(pods) => vec![Term::Pods(pods.clone())],
            ClusterPeer::Nodes(selector) => vec![Term::Nodes(selector.clone())],
            ClusterPeer::Networks(nets) => nets
                .iter()
                .map(|net| Term::Block(Family::of(net.network()), Ranges::of_net(*net)))
                .collect(),
        })
        .collect()
}
