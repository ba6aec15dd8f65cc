//! One rule: what it matches, what it does, and the rules we make ourselves.

use ipnet::IpNet;

use super::Counters;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Addresses, interfaces and protocol: `struct ipt_ip` as the kernel has it.
    pub(super) ip: [u8; IP_LEN],
    /// Further matches in order.
    pub matches: Vec<Extension>,
    /// What happens to a packet that matches.
    pub target: Target,
    /// Packets and bytes that matched.
    pub counters: Counters,
}

/// A match or target that the kernel implements, with its data uninterpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Name, as `-m` and `-j` have it.
    pub name: String,
    /// Revision of its data.
    pub revision: u8,
    /// Its data, padded to eight bytes.
    pub data: Vec<u8>,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Lets the packet pass this table.
    Accept,
    /// Drops it.
    Drop,
    /// Ends this chain.
    Return,
    /// Another verdict of the kernel.
    Verdict(i32),
    /// Goes on in another chain.
    Jump(String),
    /// Nothing: the rule only counts.
    Next,
    /// Something the kernel implements.
    Extension(Extension),
}

/// An interface condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Interface name, with `+` at its end for a prefix.
    pub name: String,
    /// Whether it must be another interface.
    pub inverted: bool,
}

impl Interface {
    /// The interface `name`.
    #[must_use]
    pub fn is(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            inverted: false,
        }
    }

    /// Every interface but `name`.
    #[must_use]
    pub fn is_not(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            inverted: true,
        }
    }
}

impl Rule {
    /// The incoming interface it asks for.
    #[must_use]
    pub fn input(&self) -> Option<Interface> {
        self.interface(INPUT, INPUT_MASK, INVERT_INPUT)
    }

    /// The outgoing interface it asks for.
    #[must_use]
    pub fn output(&self) -> Option<Interface> {
        self.interface(OUTPUT, OUTPUT_MASK, INVERT_OUTPUT)
    }

    /// Whether it asks for no addresses and no protocol; its matches may ask for anything.
    #[must_use]
    pub fn asks_interfaces_only(&self) -> bool {
        let addresses = self.ip[..INPUT].iter().all(|byte| *byte == 0);
        addresses && self.ip[PROTOCOL] == 0 && self.ip[PROTOCOL + 1] == 0
    }

    /// Its comment.
    #[must_use]
    pub fn comment(&self) -> Option<String> {
        let found = self.matches.iter().find(|one| one.name == COMMENT)?;
        let text = found.data.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn interface(&self, name: usize, mask: usize, invert: u8) -> Option<Interface> {
        let length = self.ip[mask..mask + NAME_LEN]
            .iter()
            .take_while(|byte| **byte != 0)
            .count();
        if length == 0 {
            return None;
        }
        let bytes = &self.ip[name..name + length];
        let text = String::from_utf8_lossy(bytes)
            .trim_end_matches('\0')
            .to_owned();
        // The mask covers the final zero of a whole name.
        let whole = bytes.ends_with(&[0]);
        Some(Interface {
            name: if whole { text } else { text + "+" },
            inverted: self.ip[INVERT] & invert != 0,
        })
    }

    fn set_interface(&mut self, wanted: &Interface, name: usize, mask: usize, invert: u8) {
        // Interface names have at most 15 bytes (`IFNAMSIZ`).
        for (index, byte) in wanted.name.bytes().take(NAME_LEN - 1).enumerate() {
            self.ip[name + index] = byte;
            self.ip[mask + index] = 0xff;
            self.ip[mask + index + 1] = 0xff;
        }
        if wanted.inverted {
            self.ip[INVERT] |= invert;
        }
    }
}

/// A rule that accepts; the only kind we add to tables of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Incoming interface.
    pub input: Option<Interface>,
    /// Outgoing interface.
    pub output: Option<Interface>,
    /// Destination, a network of the table's own kind.
    pub destination: Option<IpNet>,
    /// Only packets of connections that exist, or belong to one.
    pub replies: bool,
    /// Its comment, by which it is known again; at most 255 bytes.
    pub comment: String,
}

impl Accept {
    /// As a rule of the legacy back end, whose tables here are those of IPv4.
    #[must_use]
    pub fn rule(&self) -> Rule {
        let mut rule = Rule {
            ip: [0; IP_LEN],
            matches: Vec::new(),
            target: Target::Accept,
            counters: Counters::default(),
        };
        if let Some(IpNet::V4(net)) = self.destination {
            rule.ip[4..8].copy_from_slice(&net.network().octets());
            rule.ip[12..16].copy_from_slice(&net.netmask().octets());
        }
        if let Some(input) = &self.input {
            rule.set_interface(input, INPUT, INPUT_MASK, INVERT_INPUT);
        }
        if let Some(output) = &self.output {
            rule.set_interface(output, OUTPUT, OUTPUT_MASK, INVERT_OUTPUT);
        }
        if self.replies {
            rule.matches.push(conntrack_replies());
        }
        let mut text = vec![0; COMMENT_LEN];
        for (place, byte) in text
            .iter_mut()
            .take(COMMENT_LEN - 1)
            .zip(self.comment.bytes())
        {
            *place = byte;
        }
        rule.matches.push(Extension {
            name: COMMENT.to_owned(),
            revision: 0,
            data: text,
        });
        rule
    }
}

/// `-m conntrack --ctstate RELATED,ESTABLISHED` (`struct xt_conntrack_mtinfo3`).
#[must_use]
pub fn conntrack_replies() -> Extension {
    let mut data = vec![0; CONNTRACK_LEN];
    let mut put = |offset: usize, value: u16| {
        data[offset..offset + 2].copy_from_slice(&value.to_ne_bytes());
    };
    put(MATCH_FLAGS, MATCH_STATE);
    put(STATE_MASK, ESTABLISHED | RELATED);
    Extension {
        name: "conntrack".to_owned(),
        revision: 3,
        data,
    }
}

/// Size of `struct ipt_ip`: four addresses, two names and their masks, protocol, flags, inversions.
pub(super) const IP_LEN: usize = 84;
const NAME_LEN: usize = 16;
const INPUT: usize = 16;
const OUTPUT: usize = 32;
const INPUT_MASK: usize = 48;
const OUTPUT_MASK: usize = 64;
const PROTOCOL: usize = 80;
const INVERT: usize = 83;
/// `IPT_INV_VIA_IN`, `IPT_INV_VIA_OUT`.
const INVERT_INPUT: u8 = 1;
const INVERT_OUTPUT: u8 = 2;

const COMMENT: &str = "comment";
/// `XT_MAX_COMMENT_LEN`.
const COMMENT_LEN: usize = 256;

/// `sizeof(struct xt_conntrack_mtinfo3)` is 164; padded to eight.
const CONNTRACK_LEN: usize = 168;
/// Offsets behind eight addresses of 16 bytes, two `u32` and five `u16`.
const MATCH_FLAGS: usize = 146;
const STATE_MASK: usize = 150;
/// `XT_CONNTRACK_STATE`.
const MATCH_STATE: u16 = 1;
/// `XT_CONNTRACK_STATE_BIT` of `IP_CT_ESTABLISHED` and `IP_CT_RELATED`.
const ESTABLISHED: u16 = 1 << 1;
const RELATED: u16 = 1 << 2;
