//! The chains of the packet filter, of `nf_tables` and of the older tables of iptables.
//!
//! Only what `filter` rules need is told apart (numbers: `linux/netfilter/nf_tables.h`,
//! `xt_tcpudp.h`, `xt_conntrack.h`); anything else makes a rule unclear. Our own tables are left out.

use weave_datapath::xtables::{self, Extension, Protocol, Tables, Target};
use weave_npc::netlink::{ForeignRule, NetlinkError, Nft, RawExpression};
use weave_npc::ruleset::{self, Family, Policy};

use crate::doctor::evidence::Evidence;
use crate::doctor::filter::{Chain, Does, Filter, Hook, Kind, Rule, TCP, UDP};
use crate::host::dialect::{DATA_VALUE, DATA_VERDICT, Parts, number, text, value};

/// Reads all chains of the network namespace of the calling thread.
pub(super) async fn read(evidence: &mut Evidence) {
    if !nix::unistd::geteuid().is_root() {
        let words = "the packet filter: needs root";
        return evidence.unseen.push(words.to_owned());
    }
    // Reading blocks for milliseconds, and must stay on this thread for its namespace.
    let mut chains = match nft_chains() {
        Ok(chains) => chains,
        Err(error) => {
            let words = error.to_string();
            // Without the right to look, nothing is known.
            if words.to_lowercase().contains("permitted") {
                evidence.unseen.push(format!("the packet filter: {words}"));
            } else {
                evidence.kernel.no_filter = Some(words);
            }
            return;
        }
    };
    for protocol in [Protocol::Ipv4, Protocol::Ipv6] {
        match legacy_chains(protocol) {
            Ok(more) => chains.extend(more),
            Err(error) => evidence
                .unseen
                .push(format!("tables of iptables-legacy: {error}")),
        }
    }
    evidence.filter = Some(Filter { chains });
}

fn nft_chains() -> Result<Vec<Chain>, NetlinkError> {
    let mut nft = Nft::open()?;
    let mut found = Vec::new();
    for family in [Family::Inet, Family::Ip, Family::Ip6] {
        let chains = nft.foreign_chains(family)?;
        let mut tables: Vec<String> = chains.iter().map(|chain| chain.table.clone()).collect();
        tables.dedup();
        tables.retain(|table| !is_ours(table));
        for table in tables {
            let rules = nft.foreign_rules(family, &table)?;
            for chain in chains.iter().filter(|chain| chain.table == table) {
                let base = chain.base.as_ref();
                let own = rules.iter().filter(|rule| rule.chain == chain.name);
                found.push(Chain {
                    kind: Kind::Nft,
                    family: family.as_str().to_owned(),
                    table: table.clone(),
                    name: chain.name.clone(),
                    hook: base.and_then(|base| hook(base.hook)),
                    drops: base.is_some_and(|base| base.policy == Policy::Drop),
                    rules: own.map(nft_rule).collect(),
                });
            }
        }
    }
    Ok(found)
}

/// Whether the table is of the daemon or of the policy controller.
fn is_ours(table: &str) -> bool {
    table.starts_with("weave")
}

fn hook(hook: ruleset::Hook) -> Option<Hook> {
    match hook {
        ruleset::Hook::Input => Some(Hook::Input),
        ruleset::Hook::Forward => Some(Hook::Forward),
        _ => None,
    }
}

fn blank() -> Rule {
    Rule {
        input: None,
        output: None,
        protocol: None,
        ports: None,
        replies: false,
        unclear: false,
        does: Does::Nothing,
    }
}

// ===== nf_tables =====

/// What the next comparison is about.
enum Loaded {
    Nothing,
    Input,
    Output,
    InputIndex,
    Protocol,
    Port,
    /// The state of the connection, with the bits that are looked at.
    State(Option<u32>),
    Other,
}

fn nft_rule(raw: &ForeignRule) -> Rule {
    let mut rule = blank();
    let mut loaded = Loaded::Nothing;
    for expression in &raw.expressions {
        read_expression(expression, &mut rule, &mut loaded);
    }
    rule
}

fn read_expression(expression: &RawExpression, rule: &mut Rule, loaded: &mut Loaded) {
    match expression.name() {
        "counter" | "log" => {}
        "meta" => {
            *loaded = match number(expression, 2) {
                Some(META_IIFNAME) => Loaded::Input,
                Some(META_OIFNAME) => Loaded::Output,
                Some(META_IIF) => Loaded::InputIndex,
                Some(META_L4PROTO) => Loaded::Protocol,
                _ => Loaded::Other,
            };
        }
        "payload" => {
            let [base, offset, length] = [2, 3, 4].map(|kind| number(expression, kind));
            *loaded = match (base, offset, length) {
                (Some(NETWORK), Some(9), Some(1)) => Loaded::Protocol,
                (Some(TRANSPORT), Some(2), Some(2)) => Loaded::Port,
                _ => Loaded::Other,
            };
        }
        "ct" => {
            *loaded = match number(expression, 2) {
                Some(CT_STATE) => Loaded::State(None),
                _ => Loaded::Other,
            };
        }
        "bitwise" => {
            *loaded = match loaded {
                Loaded::State(_) => Loaded::State(data(expression, 4).and_then(native)),
                _ => Loaded::Other,
            };
        }
        "cmp" => compare(expression, rule, loaded),
        "range" => {
            let ends = [3, 4].map(|kind| data(expression, kind).and_then(port));
            match (&loaded, number(expression, 2), ends) {
                (Loaded::Port, Some(EQUAL), [Some(first), Some(last)]) => {
                    rule.ports = Some((first, last));
                }
                _ => rule.unclear = true,
            }
        }
        "immediate" => rule.does = verdict(expression),
        "reject" => rule.does = Does::Drop,
        "lookup" => {
            rule.unclear = true;
            // A map of verdicts decides by itself.
            if number(expression, 3) == Some(VERDICT_REGISTER) {
                rule.does = Does::Other;
            }
        }
        "match" => {
            let name = text(expression, 1).unwrap_or_default();
            extension(rule, &name, value(expression, 3).unwrap_or_default());
        }
        "target" => rule.does = target(&text(expression, 1).unwrap_or_default()),
        "queue" | "dup" | "fwd" => rule.does = Does::Other,
        _ => rule.unclear = true,
    }
}

fn compare(expression: &RawExpression, rule: &mut Rule, loaded: &Loaded) {
    let operation = number(expression, 2).unwrap_or(u32::MAX);
    let inverted = operation == NOT_EQUAL;
    let Some(bytes) = data(expression, 3).filter(|_| operation <= AT_LEAST) else {
        rule.unclear = true;
        return;
    };
    match loaded {
        Loaded::Input if operation <= NOT_EQUAL => rule.input = Some((name(bytes), inverted)),
        Loaded::Output if operation <= NOT_EQUAL => rule.output = Some((name(bytes), inverted)),
        // The loopback interface has the number 1 in every namespace.
        Loaded::InputIndex if operation == EQUAL && native(bytes) == Some(1) => {
            rule.input = Some(("lo".to_owned(), false));
        }
        Loaded::Protocol if operation == EQUAL => rule.protocol = bytes.first().copied(),
        Loaded::Port => match (operation, port(bytes), rule.ports) {
            (EQUAL, Some(port), _) => rule.ports = Some((port, port)),
            (AT_LEAST, Some(port), None) => rule.ports = Some((port, u16::MAX)),
            (AT_MOST, Some(port), Some((first, _))) => rule.ports = Some((first, port)),
            _ => rule.unclear = true,
        },
        // `ct state A,B`: one of the bits is set.
        Loaded::State(Some(mask)) if inverted && bytes.iter().all(|byte| *byte == 0) => {
            rule.replies = mask & NEW == 0;
            rule.unclear |= !rule.replies;
        }
        Loaded::State(None) if operation == EQUAL => {
            rule.replies = native(bytes).is_some_and(|state| state & NEW == 0);
            rule.unclear |= !rule.replies;
        }
        _ => rule.unclear = true,
    }
}

fn data(expression: &RawExpression, kind: u16) -> Option<&[u8]> {
    let mut parts = Parts(value(expression, kind)?);
    parts
        .find(|(kind, _)| *kind == DATA_VALUE)
        .map(|(_, bytes)| bytes)
}

fn verdict(expression: &RawExpression) -> Does {
    let code = || {
        let verdict = Parts(value(expression, 2)?)
            .find(|(kind, _)| *kind == DATA_VERDICT)?
            .1;
        let code = Parts(verdict).find(|(kind, _)| *kind == 1)?.1;
        let chain = Parts(verdict)
            .find(|(kind, _)| *kind == 2)
            .map(|(_, name)| name);
        Some((i32::from_be_bytes(code.try_into().ok()?), chain))
    };
    match code() {
        Some((0, _)) => Does::Drop,
        Some((1, _)) => Does::Accept,
        Some((JUMP, Some(chain))) => Does::Jump(name(chain)),
        Some(_) => Does::Other,
        // A value for something that is not a verdict.
        None => Does::Nothing,
    }
}

/// A name up to its zero; one without is a prefix.
fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned();
    if end.is_some() { text } else { text + "+" }
}

fn native(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn port(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

// ===== matches and targets of iptables, in either back end =====

fn extension(rule: &mut Rule, name: &str, data: &[u8]) {
    match name {
        "comment" => {}
        "tcp" => ports(rule, TCP, data, 11),
        "udp" => ports(rule, UDP, data, 8),
        // The bits of `xt_conntrack_mtinfo2` and `_mtinfo3`, behind addresses, times and ports.
        "conntrack" => state(
            rule,
            data.get(150..152)
                .map(|bits| u32::from(u16::from_ne_bytes([bits[0], bits[1]]))),
        ),
        "state" => state(rule, data.get(..4).and_then(native)),
        _ => rule.unclear = true,
    }
}

fn state(rule: &mut Rule, bits: Option<u32>) {
    rule.replies = bits.is_some_and(|bits| bits != 0 && bits & NEW == 0);
    rule.unclear |= !rule.replies;
}

/// `xt_tcp` and `xt_udp`: source ports, destination ports, and at `inverted` what is meant to differ.
fn ports(rule: &mut Rule, protocol: u8, data: &[u8], inverted: usize) {
    let half = |at: usize| {
        let bytes = data.get(at..at + 2)?;
        Some(u16::from_ne_bytes([bytes[0], bytes[1]]))
    };
    rule.protocol = Some(protocol);
    match (half(0), half(2), half(4), half(6), data.get(inverted)) {
        (Some(0), Some(u16::MAX), Some(first), Some(last), Some(0)) => {
            let flags = data.get(8..inverted).unwrap_or_default();
            rule.unclear |= flags.iter().any(|byte| *byte != 0);
            rule.ports = Some((first, last));
        }
        _ => rule.unclear = true,
    }
}

fn target(name: &str) -> Does {
    match name {
        "REJECT" => Does::Drop,
        "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TRACE" | "AUDIT" => Does::Nothing,
        _ => Does::Other,
    }
}

fn legacy_chains(protocol: Protocol) -> Result<Vec<Chain>, xtables::Error> {
    let names = xtables::names(protocol);
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let tables = Tables::open(protocol)?;
    let family = match protocol {
        Protocol::Ipv4 => "ip",
        Protocol::Ipv6 => "ip6",
    };
    let mut found = Vec::new();
    for table in names {
        for chain in tables.read(&table)?.chains {
            let hook = match (table.as_str(), chain.name.as_str()) {
                ("filter", "INPUT") => Some(Hook::Input),
                ("filter", "FORWARD") => Some(Hook::Forward),
                _ => None,
            };
            found.push(Chain {
                kind: Kind::Legacy,
                family: family.to_owned(),
                table: table.clone(),
                name: chain.name,
                hook,
                drops: chain.policy.is_some_and(|policy| policy.drops),
                rules: chain.rules.iter().map(legacy_rule).collect(),
            });
        }
    }
    Ok(found)
}

fn legacy_rule(raw: &xtables::Rule) -> Rule {
    let interface = |one: xtables::Interface| (one.name, one.inverted);
    let mut rule = Rule {
        input: raw.input().map(interface),
        output: raw.output().map(interface),
        does: match &raw.target {
            Target::Accept => Does::Accept,
            Target::Drop => Does::Drop,
            Target::Jump(to) => Does::Jump(to.clone()),
            Target::Next => Does::Nothing,
            Target::Extension(one) => target(&one.name),
            _ => Does::Other,
        },
        ..blank()
    };
    for Extension { name, data, .. } in &raw.matches {
        extension(&mut rule, name, data);
    }
    // The protocol of a match for its ports is among what a rule asks by itself.
    rule.unclear |= !raw.asks_interfaces_only();
    rule
}

/// `NFT_META_IIF`, `NFT_META_IIFNAME`, `NFT_META_OIFNAME`, `NFT_META_L4PROTO`.
const META_IIF: u32 = 4;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// `NFT_CT_STATE`, and the bit of packets that begin a connection (`NF_CT_STATE_BIT(IP_CT_NEW)`).
const CT_STATE: u32 = 0;
const NEW: u32 = 8;
/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`, `NFT_CMP_LTE`, `NFT_CMP_GTE`.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;
/// `NFT_JUMP`.
const JUMP: i32 = -3;

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(name: &str, data: &[u8]) -> Rule {
        let mut rule = blank();
        extension(&mut rule, name, data);
        rule
    }

    fn tcp(first: u16, last: u16, inverted: u8) -> Vec<u8> {
        let ports = [0, u16::MAX, first, last].map(u16::to_ne_bytes).concat();
        [ports, vec![0, 0, 0, inverted]].concat()
    }

    #[test]
    fn ports_of_iptables_are_read_and_what_is_inverted_is_unclear() {
        let open = matched("tcp", &tcp(6783, 6784, 0));
        assert_eq!(
            (open.protocol, open.ports, open.unclear),
            (Some(TCP), Some((6783, 6784)), false)
        );

        for odd in [tcp(6783, 6783, 2), vec![1, 2], Vec::new()] {
            assert!(matched("tcp", &odd).unclear, "{odd:?}");
        }
        assert!(matched("multiport", &[]).unclear);
        assert!(!matched("comment", b"for ssh").unclear);
    }

    #[test]
    fn only_states_without_new_connections_are_for_replies() {
        let conntrack = |bits: u16| {
            let mut data = vec![0; 150];
            data.extend(bits.to_ne_bytes());
            matched("conntrack", &data)
        };
        // RELATED and ESTABLISHED, as we write it ourselves.
        let ours = xtables::conntrack_replies();
        assert!(matched(&ours.name, &ours.data).replies);
        assert!(conntrack(2 | 4).replies && !conntrack(2 | 4).unclear);
        assert!(!conntrack(2 | 8).replies && conntrack(2 | 8).unclear);
        assert!(matched("conntrack", &[0; 20]).unclear);
        assert!(matched("state", &6_u32.to_ne_bytes()).replies);
    }

    #[test]
    fn names_without_their_end_are_prefixes() {
        assert_eq!(name(b"weave\0\0\0"), "weave");
        assert_eq!(name(b"veth"), "veth+");
    }
}
