//! What the host's packet filter certainly drops of the network's own packets.

use crate::doctor::filter::{Chain, Filter, Hook, Packet, TCP, UDP};
use crate::doctor::{Evidence, Finding};

/// What is dropped, and what was found for it.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    pub(super) findings: Vec<Finding>,
    /// Whether TCP connections of peers are.
    pub(super) tcp: bool,
    /// Whether packets of an overlay are.
    pub(super) udp: bool,
}

pub(super) fn check(evidence: &Evidence) -> Blocked {
    let mut blocked = Blocked::default();
    let Some(filter) = &evidence.filter else {
        return blocked;
    };
    input(evidence, filter, &mut blocked);
    forward(evidence, filter, &mut blocked);
    blocked
}

fn input(evidence: &Evidence, filter: &Filter, blocked: &mut Blocked) {
    let port = evidence
        .report()
        .map_or(DEFAULT_PORT, |report| report.router.port);
    let outside = outside(evidence);
    let wanted = [(TCP, port), (UDP, port), (UDP, port.saturating_add(1))];
    let mut chains: Vec<(&Chain, Vec<(u8, u16)>)> = Vec::new();
    for to in wanted {
        let packet = Packet {
            input: outside,
            output: "",
            to: Some(to),
        };
        // Peers are reached over IPv4.
        for chain in filter
            .droppers(Hook::Input, packet)
            .filter(|chain| chain.family != "ip6")
        {
            blocked.tcp |= to.0 == TCP;
            blocked.udp |= to.0 == UDP;
            match chains
                .iter_mut()
                .find(|(known, _)| std::ptr::eq(*known, chain))
            {
                Some((_, ports)) => ports.push(to),
                None => chains.push((chain, vec![to])),
            }
        }
    }
    for (chain, ports) in chains {
        let shown: Vec<String> = ports
            .iter()
            .map(|(one, port)| format!("{} {port}", word(*one)))
            .collect();
        let fixes: Vec<String> = ports.iter().map(|to| accept_port(chain, *to)).collect();
        let finding = Finding::error("input", format!("{chain} drops {}", shown.join(", ")))
            .why("peers do not reach this host, or only those that it dials itself")
            .fix(fixes.join(" && "));
        blocked.findings.push(finding);
    }
}

fn forward(evidence: &Evidence, filter: &Filter, blocked: &mut Blocked) {
    let bridge = evidence.bridge();
    let outside = outside(evidence);
    let ways = [
        (bridge, outside, "iifname", "-i"),
        (outside, bridge, "oifname", "-o"),
    ];
    let mut chains: Vec<(&Chain, Vec<String>)> = Vec::new();
    for (input, output, key, flag) in ways {
        let packet = Packet {
            input,
            output,
            to: None,
        };
        for chain in filter.droppers(Hook::Forward, packet) {
            // To pods nobody has asked for comes nothing unless they are exposed; replies may.
            if output == bridge && (chain.is_of_iptables() || accepts_replies(chain)) {
                continue;
            }
            // The daemon puts its own rules into iptables; without it they are not missed.
            if chain.is_of_iptables() && evidence.report().is_none() {
                continue;
            }
            // A table for IPv6 does not matter to a network without.
            let has_ipv6 = evidence
                .report()
                .is_some_and(|report| report.ipam6.is_some());
            if chain.family == "ip6" && !has_ipv6 {
                continue;
            }
            let fix = accept_bridge(chain, bridge, key, flag);
            match chains
                .iter_mut()
                .find(|(known, _)| std::ptr::eq(*known, chain))
            {
                Some((_, fixes)) => fixes.push(fix),
                None => chains.push((chain, vec![fix])),
            }
        }
    }
    for (chain, fixes) in chains {
        let finding = Finding::error(
            "forward",
            format!("{chain} drops what it forwards for {bridge}"),
        )
        .why("no rule elsewhere can undo that: pods reach no other network")
        .fix(fixes.join(" && "));
        blocked.findings.push(finding);
    }
}

fn accepts_replies(chain: &Chain) -> bool {
    use crate::doctor::filter::Does;
    chain
        .rules
        .iter()
        .any(|rule| (rule.replies || rule.unclear) && rule.does == Does::Accept)
}

fn accept_port(chain: &Chain, (protocol, port): (u8, u16)) -> String {
    let protocol = word(protocol).to_lowercase();
    if chain.is_of_iptables() {
        let program = chain.program();
        return format!(
            "{program} -I {} -p {protocol} --dport {port} -j ACCEPT",
            chain.name
        );
    }
    let (family, table, name) = (&chain.family, &chain.table, &chain.name);
    format!("nft insert rule {family} {table} {name} {protocol} dport {port} accept")
}

fn accept_bridge(chain: &Chain, bridge: &str, key: &str, flag: &str) -> String {
    if chain.is_of_iptables() {
        let program = chain.program();
        return format!("{program} -I {} {flag} {bridge} -j ACCEPT", chain.name);
    }
    let (family, table, name) = (&chain.family, &chain.table, &chain.name);
    format!("nft insert rule {family} {table} {name} {key} {bridge} accept")
}

/// The interface to the other hosts: that of the default route, else that of any route.
fn outside(evidence: &Evidence) -> &str {
    let bridge = evidence.bridge();
    let mut routes: Vec<_> = evidence.routes.iter().collect();
    routes.sort_by_key(|route| route.to.prefix_len());
    let devices = routes.into_iter().filter_map(|route| route.dev.as_deref());
    let mut others = devices.filter(|dev| *dev != bridge && *dev != "lo");
    others.next().unwrap_or("eth0")
}

fn word(protocol: u8) -> &'static str {
    if protocol == TCP { "TCP" } else { "UDP" }
}

/// Port of the mesh unless the daemon says another.
const DEFAULT_PORT: u16 = 6783;
