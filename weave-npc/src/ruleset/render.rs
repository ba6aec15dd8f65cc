//! Text in the syntax of the `nft` program, laid out as `nft list` does it.
//!
//! Invariant: `nft -f` makes of the text of a checked ruleset the very objects the netlink encoder
//! makes of the value (checked in a namespace test by reading both back).

use std::fmt::{self, Display, Formatter, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::chain::{Chain, Policy};
use super::rule::{
    Limit, Log, MarkChange, Match, NatFlags, NatTarget, Operand, Reject, Rule, SetRef, Statement,
    Unit,
};
use super::set::{DataType, Datum, Entry, Set, Verdict};
use super::value::{CtState, CtStatus, Direction, FibType, Key, NfProto, PktType, Span, Value};
use super::{Name, Ruleset, Table, TableId};

// ===== tables =====

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (id, table) in &self.tables {
            table.render(id, f)?;
        }
        Ok(())
    }
}

impl Table {
    fn render(&self, id: &TableId, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {id} {{")?;
        let mut first = true;
        // Chains may be named by the elements of maps and by rules of other chains: the program
        // resolves names within one file only after the file has been read.
        for (name, set) in &self.sets {
            separate(&mut first, f)?;
            set.render(name, f)?;
        }
        for (name, chain) in &self.chains {
            separate(&mut first, f)?;
            chain.render(name, f)?;
        }
        f.write_str("}\n")
    }
}

fn separate(first: &mut bool, f: &mut Formatter<'_>) -> fmt::Result {
    if !std::mem::take(first) {
        f.write_char('\n')?;
    }
    Ok(())
}

impl Chain {
    fn render(&self, name: &Name, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {name} {{")?;
        if let Some(base) = &self.base {
            write!(
                f,
                "\t\ttype {} hook {}",
                base.kind.as_str(),
                base.hook.as_str()
            )?;
            if let Some(device) = &base.device {
                write!(f, " device \"{device}\"")?;
            }
            let policy = match base.policy {
                Policy::Accept => "accept",
                Policy::Drop => "drop",
            };
            writeln!(f, " priority {}; policy {policy};", base.priority)?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        f.write_str("\t}\n")
    }
}

impl Set {
    fn render(&self, name: &Name, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.data == DataType::None {
            "set"
        } else {
            "map"
        };
        write!(f, "\t{word} {name} {{\n\t\ttype ")?;
        join(f, " . ", &self.key)?;
        match self.data {
            DataType::None => {}
            DataType::Verdict => f.write_str(" : verdict")?,
            DataType::Value(kind) => write!(f, " : {kind}")?,
        }
        f.write_char('\n')?;
        match (self.is_interval, self.has_timeout) {
            (true, true) => f.write_str("\t\tflags interval,timeout\n")?,
            (true, false) => f.write_str("\t\tflags interval\n")?,
            (false, true) => f.write_str("\t\tflags timeout\n")?,
            (false, false) => {}
        }
        if !self.elements.is_empty() {
            f.write_str("\t\telements = { ")?;
            join(
                f,
                ",\n\t\t\t     ",
                self.elements.iter().map(|(key, entry)| Element(key, entry)),
            )?;
            f.write_str(" }\n")?;
        }
        f.write_str("\t}\n")
    }
}

struct Element<'a>(&'a Key, &'a Entry);

impl Display for Element<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(key, entry) = self;
        key.fmt(f)?;
        if let Some(timeout) = entry.timeout {
            write!(f, " timeout {}", Seconds(timeout))?;
        }
        if let Some(comment) = &entry.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match &entry.data {
            Some(Datum::Verdict(verdict)) => write!(f, " : {verdict}"),
            Some(Datum::Value(value)) => write!(f, " : {value}"),
            None => Ok(()),
        }
    }
}

struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            millis => write!(f, "{}s{millis}ms", self.0.as_secs()),
        }
    }
}

// ===== rules =====

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        join(f, " ", self.statements())?;
        match self.note() {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match(test) => test.fmt(f),
            Self::Counter => f.write_str("counter"),
            Self::Limit(limit) => limit.fmt(f),
            Self::Log(log) => log.fmt(f),
            Self::SetMark(change) => change.fmt(f),
            Self::NoTrack => f.write_str("notrack"),
            Self::Masquerade(flags) => flags.fmt(f),
            Self::Snat(target) => write!(f, "snat {target}"),
            Self::Dnat(target) => write!(f, "dnat {target}"),
            Self::Reject(reject) => f.write_str(match reject {
                Reject::AdminProhibited => "reject with icmpx admin-prohibited",
                Reject::PortUnreachable => "reject with icmpx port-unreachable",
                Reject::TcpReset => "reject with tcp reset",
            }),
            Self::Vmap(fields, set) => {
                join(f, " . ", fields.iter().map(|field| field.as_str()))?;
                write!(f, " vmap {set}")
            }
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        join(f, " . ", self.fields.iter().map(|field| field.as_str()))?;
        let not = if self.is_negated { "!= " } else { "" };
        match &self.operand {
            Operand::Value(value) => write!(f, " {not}{value}"),
            Operand::Range(span) => write!(f, " {not}{}-{}", End(span.first()), End(span.last())),
            Operand::Net(net) => write!(f, " {not}{net}"),
            Operand::NameStart(start) => write!(f, " {not}\"{start}*\""),
            Operand::Masked { mask, value } => {
                let operator = if self.is_negated { "!=" } else { "==" };
                write!(f, " & {mask:#010x} {operator} {value:#010x}")
            }
            Operand::States(states) if self.is_negated => write!(f, " ! {states}"),
            Operand::States(states) => write!(f, " {states}"),
            Operand::Statuses(statuses) if self.is_negated => write!(f, " ! {statuses}"),
            Operand::Statuses(statuses) => write!(f, " {statuses}"),
            Operand::Set(set) => write!(f, " {not}{set}"),
        }
    }
}

impl Display for SetRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "@{name}"),
            Self::Anonymous(set) => {
                f.write_str("{ ")?;
                join(
                    f,
                    ", ",
                    set.elements.iter().map(|(key, entry)| Element(key, entry)),
                )?;
                f.write_str(" }")
            }
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let over = if self.is_over { "over " } else { "" };
        let per = match self.per {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
        };
        write!(
            f,
            "limit rate {over}{}/{per} burst {} packets",
            self.rate, self.burst
        )
    }
}

impl Display for Log {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("log")?;
        if let Some(prefix) = &self.prefix {
            write!(f, " prefix \"{prefix}\"")?;
        }
        if let Some(group) = self.group {
            write!(f, " group {group}")?;
        }
        match self.snaplen {
            0 => Ok(()),
            bytes => write!(f, " snaplen {bytes}"),
        }
    }
}

impl Display for MarkChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { keep, toggle } = *self;
        f.write_str("meta mark set ")?;
        match (keep, toggle) {
            (0, value) => write!(f, "{value:#010x}"),
            (keep, bits) if keep == !bits => write!(f, "meta mark | {bits:#010x}"),
            (keep, 0) => write!(f, "meta mark & {keep:#010x}"),
            (u32::MAX, bits) => write!(f, "meta mark ^ {bits:#010x}"),
            (keep, bits) => write!(f, "meta mark & {keep:#010x} ^ {bits:#010x}"),
        }
    }
}

impl Display for NatFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("masquerade")?;
        let mut mark = ' ';
        for (is_set, word) in [
            (self.random, "random"),
            (self.fully_random, "fully-random"),
            (self.persistent, "persistent"),
        ] {
            if is_set {
                write!(f, "{mark}{word}")?;
                mark = ',';
            }
        }
        Ok(())
    }
}

impl Display for NatTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (IpAddr::V4(v4), None) => write!(f, "ip to {v4}"),
            (IpAddr::V4(v4), Some(port)) => write!(f, "ip to {v4}:{port}"),
            (IpAddr::V6(v6), None) => write!(f, "ip6 to {v6}"),
            (IpAddr::V6(v6), Some(port)) => write!(f, "ip6 to [{v6}]:{port}"),
        }
    }
}

// ===== values =====

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        join(f, " . ", self.parts())
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.is_single(), self.net()) {
            (true, _) => self.first().fmt(f),
            (false, Some(net)) => net.fmt(f),
            (false, None) => write!(f, "{}-{}", End(self.first()), End(self.last())),
        }
    }
}

/// An end of a range, where names are not understood.
struct End(Value);

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Icmp(number) | Value::Icmpv6(number) | Value::Proto(number) => number.fmt(f),
            value => value.fmt(f),
        }
    }
}

impl Span {
    /// The network with exactly these addresses, if there is one.
    pub fn net(&self) -> Option<IpNet> {
        match (self.first(), self.last()) {
            (Value::Ipv4(first), Value::Ipv4(last)) => {
                let host = u32::from(first) ^ u32::from(last);
                let len = host.leading_zeros();
                let exact = host.trailing_ones() == 32 - len && u32::from(first) & host == 0;
                exact.then(|| net(Ipv4Addr::into(first), len))?
            }
            (Value::Ipv6(first), Value::Ipv6(last)) => {
                let host = u128::from(first) ^ u128::from(last);
                let len = host.leading_zeros();
                let exact = host.trailing_ones() == 128 - len && u128::from(first) & host == 0;
                exact.then(|| net(Ipv6Addr::into(first), len))?
            }
            _ => None,
        }
    }
}

fn net(address: IpAddr, len: u32) -> Option<IpNet> {
    IpNet::new(address, u8::try_from(len).ok()?).ok()
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Ether([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::EtherType(number) => named(f, u32::from(number), &ETHER_TYPES, true),
            Self::ArpOp(number) => named(f, u32::from(number), &ARP_OPS, false),
            Self::Proto(number) => named(f, u32::from(number), &PROTOCOLS, false),
            Self::Port(port) => port.fmt(f),
            Self::Mark(mark) => write!(f, "{mark:#010x}"),
            Self::IfName(name) => write!(f, "\"{name}\""),
            Self::CtState(states) => states.fmt(f),
            Self::CtStatus(statuses) => statuses.fmt(f),
            Self::CtDirection(Direction::Original) => f.write_str("original"),
            Self::CtDirection(Direction::Reply) => f.write_str("reply"),
            Self::Icmp(number) => named(f, u32::from(number), &ICMP_TYPES, false),
            Self::Icmpv6(number) => named(f, u32::from(number), &ICMPV6_TYPES, false),
            Self::NfProto(NfProto::Ipv4) => f.write_str("ipv4"),
            Self::NfProto(NfProto::Ipv6) => f.write_str("ipv6"),
            Self::PktType(kind) => f.write_str(match kind {
                PktType::Host => "host",
                PktType::Broadcast => "broadcast",
                PktType::Multicast => "multicast",
                PktType::Other => "other",
            }),
            Self::FibType(kind) => f.write_str(match kind {
                FibType::Unicast => "unicast",
                FibType::Local => "local",
                FibType::Broadcast => "broadcast",
                FibType::Multicast => "multicast",
            }),
        }
    }
}

impl Display for CtState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        bits(f, self.bits(), &Self::NAMES)
    }
}

impl Display for CtStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        bits(f, self.bits(), &Self::NAMES)
    }
}

fn bits(f: &mut Formatter<'_>, bits: u32, names: &[(&'static str, u32)]) -> fmt::Result {
    join(
        f,
        ",",
        names
            .iter()
            .filter(|(_, bit)| bits & bit != 0)
            .map(|(name, _)| name),
    )
}

fn named(f: &mut Formatter<'_>, number: u32, names: &[(u32, &str)], is_hex: bool) -> fmt::Result {
    match names.iter().find(|(named, _)| *named == number) {
        Some((_, name)) => f.write_str(name),
        None if is_hex => write!(f, "{number:#06x}"),
        None => number.fmt(f),
    }
}

fn join<T: Display>(
    f: &mut Formatter<'_>,
    between: &str,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

const ETHER_TYPES: [(u32, &str); 4] = [
    (0x0800, "ip"),
    (0x0806, "arp"),
    (0x8100, "8021q"),
    (0x86dd, "ip6"),
];
const ARP_OPS: [(u32, &str); 2] = [(1, "request"), (2, "reply")];
const PROTOCOLS: [(u32, &str); 5] = [
    (1, "icmp"),
    (6, "tcp"),
    (17, "udp"),
    (58, "ipv6-icmp"),
    (132, "sctp"),
];
const ICMP_TYPES: [(u32, &str); 4] = [
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (8, "echo-request"),
    (11, "time-exceeded"),
];
const ICMPV6_TYPES: [(u32, &str); 11] = [
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
    (137, "nd-redirect"),
];
