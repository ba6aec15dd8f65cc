//! Rules of iptables over `nf_tables`, as that program writes and reads them.
//!
//! A rule we add must be one that every version of the program can list, or it refuses to work with
//! the whole table: `meta`, `cmp`, `payload`, `bitwise`, `counter` and `immediate` are, `ct` is not,
//! so the state of a connection is asked for by the match the program itself uses. Numbers:
//! `linux/netfilter/nf_tables.h`, `nf_tables_compat.h`.

use ipnet::IpNet;
use weave_datapath::xtables::{Accept, Interface, conntrack_replies};
use weave_npc::netlink::{ForeignRule, RawExpression};

use super::old::{Does, Seen};

/// The expressions of a rule that accepts.
pub(super) fn expressions(accept: &Accept) -> Vec<RawExpression> {
    let mut all = Vec::new();
    for (interface, key) in [(&accept.input, IIFNAME), (&accept.output, OIFNAME)] {
        if let Some(Interface { name, inverted }) = interface {
            all.push(meta(key));
            let mut value = name.as_bytes().to_vec();
            value.push(0);
            all.push(cmp(*inverted, &value));
        }
    }
    match accept.destination {
        Some(IpNet::V4(net)) => {
            all.push(payload(DESTINATION, 4));
            all.push(bitwise(&net.netmask().octets()));
            all.push(cmp(false, &net.network().octets()));
        }
        Some(IpNet::V6(net)) => {
            all.push(payload(DESTINATION6, 16));
            all.push(bitwise(&net.netmask().octets()));
            all.push(cmp(false, &net.network().octets()));
        }
        None => {}
    }
    if accept.replies {
        let state = conntrack_replies();
        let revision = u32::from(state.revision).to_be_bytes();
        let mut name = state.name.into_bytes();
        name.push(0);
        let parts = [(1, name.as_slice()), (2, &revision), (3, &state.data)];
        all.push(expression("match", &parts));
    }
    let zero = 0_u64.to_be_bytes();
    all.push(expression("counter", &[(1, &zero), (2, &zero)]));
    let code = attribute(1, &ACCEPT.to_be_bytes());
    let verdict = attribute(DATA_VERDICT, &code);
    all.push(expression(
        "immediate",
        &[(1, &VERDICT_REGISTER.to_be_bytes()), (2, &verdict)],
    ));
    all
}

/// What can be told of any rule.
pub(super) fn seen(rule: &ForeignRule) -> Seen {
    let mut seen = Seen {
        chain: rule.chain.clone(),
        input: None,
        output: None,
        is_plain: true,
        matches: Vec::new(),
        comment: rule.comment().map(|comment| comment.as_str().to_owned()),
        does: Does::Other,
    };
    let mut loaded = Loaded::Nothing;
    for expression in &rule.expressions {
        read(expression, &mut seen, &mut loaded);
    }
    seen
}

/// What a comparison will be about.
enum Loaded {
    Nothing,
    Input,
    Output,
}

fn read(expression: &RawExpression, seen: &mut Seen, loaded: &mut Loaded) {
    match expression.name() {
        "counter" => {}
        "meta" => {
            *loaded = match number(expression, 2) {
                Some(IIFNAME) => Loaded::Input,
                Some(OIFNAME) => Loaded::Output,
                Some(MARK) => {
                    seen.matches.push("mark".to_owned());
                    Loaded::Nothing
                }
                _ => Loaded::Nothing,
            };
        }
        "cmp" => {
            let interface = interface(expression);
            match std::mem::replace(loaded, Loaded::Nothing) {
                Loaded::Input => seen.input = interface,
                Loaded::Output => seen.output = interface,
                Loaded::Nothing => seen.is_plain = false,
            }
        }
        "immediate" => seen.does = verdict(expression).unwrap_or(Does::Other),
        "log" => seen.does = Does::Target("NFLOG".to_owned()),
        "match" => match text(expression, 1) {
            Some(name) if name == "comment" => seen.comment = text(expression, 3),
            Some(name) => seen.matches.push(name),
            None => seen.is_plain = false,
        },
        "target" => seen.does = text(expression, 1).map_or(Does::Other, Does::Target),
        _ => seen.is_plain = false,
    }
}

/// The name a comparison is about; a prefix ends with `+`.
fn interface(expression: &RawExpression) -> Option<Interface> {
    let data = value(expression, 3)?;
    let bytes = Parts(data).find(|(kind, _)| *kind == DATA_VALUE)?.1;
    let name = bytes.split(|byte| *byte == 0).next()?;
    let mut name = String::from_utf8_lossy(name).into_owned();
    if name.len() == bytes.len() {
        name.push('+');
    }
    Some(Interface {
        name,
        inverted: number(expression, 2) == Some(NOT_EQUAL),
    })
}

fn verdict(expression: &RawExpression) -> Option<Does> {
    let data = value(expression, 2)?;
    let verdict = Parts(data).find(|(kind, _)| *kind == DATA_VERDICT)?.1;
    let code = Parts(verdict).find(|(kind, _)| *kind == 1)?.1;
    Some(match i32::from_be_bytes(code.try_into().ok()?) {
        0 => Does::Drop,
        1 => Does::Accept,
        JUMP | GOTO => {
            let chain = Parts(verdict).find(|(kind, _)| *kind == 2)?.1;
            Does::Jump(until_zero(chain))
        }
        _ => Does::Other,
    })
}

/// The attribute `kind` of an expression.
pub(crate) fn value(expression: &RawExpression, kind: u16) -> Option<&[u8]> {
    let found = expression.attributes().find(|(found, _)| *found == kind);
    found.map(|(_, value)| value)
}

/// The same as a number.
pub(crate) fn number(expression: &RawExpression, kind: u16) -> Option<u32> {
    let bytes = value(expression, kind)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// The same as text up to its zero.
pub(crate) fn text(expression: &RawExpression, kind: u16) -> Option<String> {
    value(expression, kind).map(until_zero)
}

fn until_zero(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Attributes within an attribute: type and value.
pub(crate) struct Parts<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length)).checked_sub(HEAD)?;
        let value = rest.get(..length)?;
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind) & TYPE, value))
    }
}

fn meta(key: u32) -> RawExpression {
    expression("meta", &[(2, &key.to_be_bytes()), (1, &ONE.to_be_bytes())])
}

fn payload(offset: u32, length: u32) -> RawExpression {
    let parts: [(u16, &[u8]); 4] = [
        (1, &ONE.to_be_bytes()),
        (2, &NETWORK.to_be_bytes()),
        (3, &offset.to_be_bytes()),
        (4, &length.to_be_bytes()),
    ];
    expression("payload", &parts)
}

/// Keeps the bits of `mask`.
fn bitwise<const N: usize>(mask: &[u8; N]) -> RawExpression {
    let length = u32::try_from(N).unwrap_or(u32::MAX);
    let parts: [(u16, &[u8]); 5] = [
        (1, &ONE.to_be_bytes()),
        (2, &ONE.to_be_bytes()),
        (3, &length.to_be_bytes()),
        (4, &attribute(DATA_VALUE, mask)),
        (5, &attribute(DATA_VALUE, &[0; N])),
    ];
    expression("bitwise", &parts)
}

fn cmp(inverted: bool, value: &[u8]) -> RawExpression {
    let operation = if inverted { NOT_EQUAL } else { 0 };
    let parts: [(u16, &[u8]); 3] = [
        (1, &ONE.to_be_bytes()),
        (2, &operation.to_be_bytes()),
        (3, &attribute(DATA_VALUE, value)),
    ];
    expression("cmp", &parts)
}

fn expression(name: &str, parts: &[(u16, &[u8])]) -> RawExpression {
    let attributes = parts.iter().map(|(kind, value)| attribute(*kind, value));
    RawExpression::new(name, &attributes.collect::<Vec<_>>().concat())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEAD + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Length of an attribute's own head, and the bits of its type that are not flags.
const HEAD: usize = 4;
const TYPE: u16 = 0x3fff;
/// `NFT_META_IIFNAME`, `NFT_META_OIFNAME`, `NFT_META_MARK`.
const IIFNAME: u32 = 6;
const OIFNAME: u32 = 7;
const MARK: u32 = 3;
/// `NFT_REG_1`, `NFT_REG_VERDICT`.
const ONE: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
/// `NFT_CMP_NEQ`.
const NOT_EQUAL: u32 = 1;
/// `NFT_PAYLOAD_NETWORK_HEADER`, and where the destination is in the headers of IPv4 and IPv6.
const NETWORK: u32 = 1;
const DESTINATION: u32 = 16;
const DESTINATION6: u32 = 24;
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
pub(crate) const DATA_VALUE: u16 = 1;
pub(crate) const DATA_VERDICT: u16 = 2;
/// `NF_ACCEPT`, `NFT_JUMP`, `NFT_GOTO`.
const ACCEPT: u32 = 1;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
