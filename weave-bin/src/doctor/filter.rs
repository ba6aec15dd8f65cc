//! The packet filter as facts, and what it certainly does to a packet.
//!
//! Invariant: [`Fate::Dropped`] is said only when no rule that cannot be understood could have let the
//! packet through before (law X2): what is not understood speaks for the filter.

use serde::{Deserialize, Serialize};

/// Chains of other programs, of both back ends of iptables and of `nf_tables` itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Chains with their rules.
    pub chains: Vec<Chain>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Which program's tables it is in.
    pub kind: Kind,
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where the kernel enters it; absent: other chains lead to it.
    pub hook: Option<Hook>,
    /// Whether packets are dropped at its end.
    pub drops: bool,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// Who makes tables like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `nft`, and iptables over `nf_tables`.
    Nft,
    /// iptables over the older interface of the kernel.
    Legacy,
}

/// A point in the way of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// To this host.
    Input,
    /// Through this host.
    Forward,
}

/// What of a rule can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The incoming interface it asks for, and whether it must be another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<(String, bool)>,
    /// The outgoing interface it asks for, and whether it must be another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<(String, bool)>,
    /// The protocol it asks for (IANA protocol numbers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// The destination ports it asks for, first and last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<(u16, u16)>,
    /// Whether it is for packets of connections that exist.
    #[serde(default)]
    pub replies: bool,
    /// Whether it asks for more than is told here.
    #[serde(default)]
    pub unclear: bool,
    /// What it does.
    pub does: Does,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Does {
    /// Accepts.
    Accept,
    /// Drops or rejects.
    Drop,
    /// Goes on in a chain.
    Jump(String),
    /// Nothing that decides, such as counting.
    Nothing,
    /// Something else, which may decide.
    Other,
}

/// A first packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Where it comes in.
    pub input: &'a str,
    /// Where it goes out; empty for packets to this host.
    pub output: &'a str,
    /// Protocol and destination port, when it is about one.
    pub to: Option<(u8, u16)>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing here stops it.
    Passed,
    /// It is dropped, whatever the rest of the rules mean.
    Dropped,
    /// It depends on rules that are not understood.
    Unclear,
}

/// TCP and UDP (IANA protocol numbers).
pub const TCP: u8 = 6;
/// See [`TCP`].
pub const UDP: u8 = 17;

impl Filter {
    /// The chains of `hook` that certainly drop `packet`.
    pub fn droppers<'a>(
        &'a self,
        hook: Hook,
        packet: Packet<'a>,
    ) -> impl Iterator<Item = &'a Chain> {
        self.chains.iter().filter(move |chain| {
            chain.hook == Some(hook) && self.fate(chain, packet) == Fate::Dropped
        })
    }

    /// What becomes of `packet` in a chain that the kernel enters.
    #[must_use]
    pub fn fate(&self, chain: &Chain, packet: Packet<'_>) -> Fate {
        match self.walk(chain, packet, DEEPEST) {
            Step::Accept => Fate::Passed,
            Step::Drop => Fate::Dropped,
            Step::Unclear => Fate::Unclear,
            Step::End if chain.drops => Fate::Dropped,
            Step::End => Fate::Passed,
        }
    }

    fn walk(&self, chain: &Chain, packet: Packet<'_>, depth: usize) -> Step {
        for rule in &chain.rules {
            let fits = rule.fits(packet);
            if fits == Fits::No {
                continue;
            }
            let step = match &rule.does {
                Does::Accept => Step::Accept,
                Does::Drop => Step::Drop,
                Does::Nothing => Step::End,
                Does::Other => Step::Unclear,
                Does::Jump(to) => match self.sibling(chain, to) {
                    Some(next) if depth > 0 => self.walk(next, packet, depth - 1),
                    _ => Step::Unclear,
                },
            };
            match (fits, step) {
                (_, Step::End) | (Fits::Maybe, Step::Drop) => {}
                (Fits::Maybe, _) => return Step::Unclear,
                (_, step) => return step,
            }
        }
        Step::End
    }

    fn sibling(&self, chain: &Chain, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|other| {
            other.name == name
                && (other.kind, &other.family, &other.table)
                    == (chain.kind, &chain.family, &chain.table)
        })
    }
}

impl Chain {
    /// Whether the program iptables made it.
    #[must_use]
    pub fn is_of_iptables(&self) -> bool {
        self.kind == Kind::Legacy
            || (self.family != "inet"
                && self.table == "filter"
                && matches!(self.name.as_str(), "INPUT" | "FORWARD"))
    }

    /// The program that changes it: of iptables, the one for its family and back end.
    #[must_use]
    pub fn program(&self) -> &'static str {
        match (self.kind, self.family.as_str()) {
            (Kind::Legacy, "ip6") => "ip6tables-legacy",
            (Kind::Legacy, _) => "iptables-legacy",
            (Kind::Nft, "ip6") => "ip6tables",
            (Kind::Nft, _) => "iptables",
        }
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_of_iptables() {
            return write!(f, "chain {} of {}", self.name, self.program());
        }
        write!(
            f,
            "chain {} of table {} {}",
            self.name, self.family, self.table
        )
    }
}

impl Rule {
    fn fits(&self, packet: Packet<'_>) -> Fits {
        // The packet is the first of its flow.
        if self.replies || !is(&self.input, packet.input) || !is(&self.output, packet.output) {
            return Fits::No;
        }
        match (packet.to, self.protocol, self.ports) {
            (Some((protocol, _)), Some(asked), _) if protocol != asked => return Fits::No,
            (Some((_, port)), _, Some((first, last))) if !(first..=last).contains(&port) => {
                return Fits::No;
            }
            (None, None, None) | (Some(_), _, _) => {}
            // Some of the packets that are meant.
            (None, ..) => return Fits::Maybe,
        }
        if self.unclear { Fits::Maybe } else { Fits::Yes }
    }
}

fn is(asked: &Option<(String, bool)>, name: &str) -> bool {
    let Some((asked, inverted)) = asked else {
        return true;
    };
    let same = match asked.strip_suffix('+') {
        Some(prefix) => name.starts_with(prefix),
        None => name == asked,
    };
    same != *inverted
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fits {
    Yes,
    Maybe,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Accept,
    Drop,
    Unclear,
    End,
}

/// Jumps that are followed; the kernel allows 16 (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn rule(does: Does) -> Rule {
        Rule {
            input: None,
            output: None,
            protocol: None,
            ports: None,
            replies: false,
            unclear: false,
            does,
        }
    }

    pub(crate) fn chain(name: &str, hook: Option<Hook>, drops: bool, rules: Vec<Rule>) -> Chain {
        Chain {
            kind: Kind::Nft,
            family: "ip".to_owned(),
            table: "filter".to_owned(),
            name: name.to_owned(),
            hook,
            drops,
            rules,
        }
    }

    fn fate(chains: Vec<Chain>) -> Fate {
        let filter = Filter { chains };
        let packet = Packet {
            input: "eth0",
            output: "",
            to: Some((TCP, 6783)),
        };
        filter.fate(&filter.chains[0], packet)
    }

    fn input(drops: bool, rules: Vec<Rule>) -> Chain {
        chain("INPUT", Some(Hook::Input), drops, rules)
    }

    #[test]
    fn a_policy_drops_what_no_rule_accepts() {
        let replies = Rule {
            replies: true,
            ..rule(Does::Accept)
        };
        let loopback = Rule {
            input: Some(("lo".to_owned(), false)),
            ..rule(Does::Accept)
        };
        let ssh = Rule {
            protocol: Some(TCP),
            ports: Some((22, 22)),
            ..rule(Does::Accept)
        };
        let others = vec![replies, loopback, ssh];
        assert_eq!(fate(vec![input(true, others.clone())]), Fate::Dropped);
        assert_eq!(fate(vec![input(false, others.clone())]), Fate::Passed);

        let ours = Rule {
            protocol: Some(TCP),
            ports: Some((6783, 6784)),
            ..rule(Does::Accept)
        };
        let all = others.into_iter().chain([ours]).collect();
        assert_eq!(fate(vec![input(true, all)]), Fate::Passed);
    }

    #[test]
    fn what_is_not_understood_may_let_it_through() {
        let set = Rule {
            unclear: true,
            ..rule(Does::Accept)
        };
        assert_eq!(fate(vec![input(true, vec![set])]), Fate::Unclear);

        let odd_drop = Rule {
            unclear: true,
            ..rule(Does::Drop)
        };
        assert_eq!(fate(vec![input(false, vec![odd_drop])]), Fate::Passed);
        assert_eq!(
            fate(vec![input(
                false,
                vec![rule(Does::Other), rule(Does::Drop)]
            )]),
            Fate::Unclear
        );
    }

    #[test]
    fn chains_that_are_led_to_decide_too() {
        let jump = rule(Does::Jump("OURS".to_owned()));
        let drop = chain("OURS", None, false, vec![rule(Does::Drop)]);
        assert_eq!(
            fate(vec![input(false, vec![jump.clone()]), drop]),
            Fate::Dropped
        );

        let nothing = chain("OURS", None, false, vec![rule(Does::Nothing)]);
        assert_eq!(
            fate(vec![input(true, vec![jump.clone()]), nothing]),
            Fate::Dropped
        );
        assert_eq!(fate(vec![input(true, vec![jump.clone()])]), Fate::Unclear);

        let round = chain("OURS", None, false, vec![jump.clone()]);
        assert_eq!(fate(vec![input(true, vec![jump]), round]), Fate::Unclear);
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let does = prop_oneof![
            Just(Does::Accept),
            Just(Does::Drop),
            Just(Does::Nothing),
            Just(Does::Other),
            Just(Does::Jump("B".to_owned())),
        ];
        let port = proptest::option::of(prop_oneof![Just((6783, 6783)), Just((22, 80))]);
        (any::<bool>(), any::<bool>(), port, does).prop_map(|(replies, unclear, ports, does)| {
            Rule {
                replies,
                unclear,
                ports,
                ..rule(does)
            }
        })
    }

    proptest! {
        /// Law X2: whatever the unclear rules turn out to mean, what is called dropped is dropped.
        #[test]
        fn dropped_is_dropped_whatever_unclear_rules_mean(
            a in proptest::collection::vec(any_rule(), 0..6),
            b in proptest::collection::vec(any_rule(), 0..4),
            drops in any::<bool>(),
            mut fit in any::<u16>(),
        ) {
            let chains = vec![input(drops, a), chain("B", None, false, b)];
            prop_assume!(fate(chains.clone()) == Fate::Dropped);
            let mut real = chains;
            for rule in real.iter_mut().flat_map(|chain| &mut chain.rules) {
                if rule.unclear {
                    // It matches, or it does not.
                    rule.unclear = false;
                    rule.replies |= fit & 1 == 0;
                    fit >>= 1;
                }
            }
            prop_assert_eq!(fate(real), Fate::Dropped);
        }
    }
}
