//! One flow, asked in two ways: what the policies say, and what becomes of the packet in the rules
//! of the nodes it passes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weave_npc::Flow;
use weave_npc::compile::{Compiler, Options};
use weave_npc::model::{Direction, Host, Transport, World};
use weave_npc::ruleset::{self, Fate, Hook, Packet, Walk};
use weave_npc::verdict::decide_with;

use super::draw::Draw;
use super::objects::{other_address, pod_address, transport};

/// The compiled nodes of a world.
pub(crate) struct Nodes {
    compilers: BTreeMap<Arc<str>, Compiler>,
    options: Options,
}

impl Nodes {
    /// Compiles the rules of each node that pods are on.
    pub(crate) fn of(world: &World, options: &Options) -> Self {
        let names = world.pods().map(|pod| pod.node.clone());
        let compilers = names
            .map(|name| {
                let compiler = Compiler::of(name.clone(), world, options.clone());
                if let Err(error) = compiler.ruleset().check() {
                    panic!("{error}\n{}", compiler.ruleset());
                }
                (name, compiler)
            })
            .collect();
        Self {
            compilers,
            options: options.clone(),
        }
    }

    /// Compares `decide` with the walk of the packet through the nodes on its way.
    pub(crate) fn check(&self, world: &World, flow: &Flow) -> Result<bool, String> {
        let flow = &flow.through_service();
        let decision = decide_with(world, flow, self.options.verdict);
        let mut walked = true;
        for (node, hook) in way(world, flow) {
            let Some(compiler) = self.compilers.get(&node) else {
                continue;
            };
            let outcome = Walk::new(compiler.ruleset()).run(hook, &packet(flow));
            let is_through = outcome.fate == Fate::Accept;
            walked &= is_through;
            for prefix in outcome.logged() {
                let denial = compiler
                    .denial(prefix)
                    .ok_or_else(|| format!("prefix {prefix:?} leads nowhere"))?;
                let side = match denial.direction {
                    Direction::Ingress => &decision.ingress,
                    Direction::Egress => &decision.egress,
                };
                let is_right = if denial.is_audit {
                    !side.would_deny.is_empty()
                } else {
                    !side.allowed && !is_through
                };
                if !is_right {
                    return Err(format!("{denial} logged, but {side}"));
                }
            }
            let is_logged = outcome
                .logged()
                .filter_map(|prefix| compiler.denial(prefix))
                .any(|denial| !denial.is_audit);
            if is_logged == is_through {
                return Err(format!("through: {is_through}, denial logged: {is_logged}"));
            }
        }
        if walked == decision.allowed {
            return Ok(walked);
        }
        let rules: String = self
            .compilers
            .iter()
            .map(|(node, compiler)| format!("--- {node}\n{}\n", compiler.ruleset()))
            .collect();
        Err(format!(
            "walk says {walked}; {decision}\n{flow:?}\n{world:#?}\n{rules}"
        ))
    }
}

/// True if a packet passes the rules of all nodes on its way.
pub(crate) fn walk(world: &World, compilers: &BTreeMap<Arc<str>, Compiler>, flow: &Flow) -> bool {
    way(world, flow).into_iter().all(|(node, hook)| {
        compilers.get(&node).is_none_or(|compiler| {
            let walk = Walk::new(compiler.ruleset());
            walk.run(hook, &packet(flow)).fate == Fate::Accept
        })
    })
}

/// The nodes and hooks that a packet passes.
fn way(world: &World, flow: &Flow) -> Vec<(Arc<str>, Hook)> {
    let mut way = Vec::new();
    let (source, destination) = (world.host(flow.source), world.host(flow.destination));
    if let Host::Pod(pod) = source {
        let is_own_node = matches!(destination, Host::Node(node) if *node == pod.node);
        let hook = if is_own_node {
            Hook::Input
        } else {
            Hook::Forward
        };
        way.push((pod.node.clone(), hook));
    }
    if let Host::Pod(pod) = destination {
        let is_own_node = matches!(source, Host::Node(node) if *node == pod.node);
        let stop = (pod.node.clone(), Hook::Forward);
        // What a node sends to its own pods passes the output hook, where there are no rules.
        if !is_own_node && !way.contains(&stop) {
            way.push(stop);
        }
    }
    way
}

fn packet(flow: &Flow) -> Packet {
    let (number, transport) = match flow.transport {
        Transport::Port(protocol, port) => {
            (protocol.number(), ruleset::Transport::Ports(40_000, port))
        }
        Transport::Other(number) => (number, ruleset::Transport::Icmp(8)),
    };
    Packet::new(flow.source, flow.destination, number, transport)
}

/// A flow between pods, or between a pod and something else.
pub(crate) fn any_flow(draw: &mut Draw, world: &World) -> Flow {
    let is_v4 = draw.chance(70);
    let owned: Vec<IpAddr> = world
        .pods()
        .flat_map(|pod| world.owned_addresses(pod))
        .filter(|address| address.is_ipv4() == is_v4)
        .collect();
    let end = |draw: &mut Draw| match draw.below(10) {
        0 => pod_address(draw, is_v4),
        1 => other_address(draw, is_v4),
        _ if owned.is_empty() => other_address(draw, is_v4),
        _ => draw.pick(&owned),
    };
    let (source, destination) = (end(draw), end(draw));
    Flow::new(source, destination, transport(draw))
}

/// Options, mostly the default ones.
pub(crate) fn any_options(draw: &mut Draw) -> Options {
    let mut verdict = weave_npc::verdict::Options::default();
    verdict.filter_own_node = draw.chance(20);
    verdict.isolation_covers_both = draw.chance(20);
    Options::default()
        .with_verdict(verdict)
        .with_box_above(draw.pick(&[0, 1, 16]))
}
