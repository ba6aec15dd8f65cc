//! One rule: what it matches, what it does, and the rules we make ourselves.

use ipnet::IpNet;

use super::Counters;
use super::layout::{Layout, NAME_LEN, Protocol};

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Addresses, interfaces and protocol as the kernel has them.
    pub(super) header: Header,
    /// Further matches in order.
    pub matches: Vec<Extension>,
    /// What happens to a packet that matches.
    pub target: Target,
    /// Packets and bytes that matched.
    pub counters: Counters,
}

/// What a rule asks without extensions: as many bytes as the layout of its kind says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) protocol: Protocol,
    pub(super) bytes: Box<[u8]>,
}

impl Header {
    /// Matches every packet.
    pub(super) fn any(protocol: Protocol) -> Self {
        let bytes = vec![0; protocol.layout().header].into();
        Self { protocol, bytes }
    }

    fn layout(&self) -> &'static Layout {
        self.protocol.layout()
    }

    fn interface(&self, name: usize, mask: usize, invert: u8) -> Option<Interface> {
        let length = self.bytes[mask..mask + NAME_LEN]
            .iter()
            .take_while(|byte| **byte != 0)
            .count();
        if length == 0 {
            return None;
        }
        let bytes = &self.bytes[name..name + length];
        let text = String::from_utf8_lossy(bytes)
            .trim_end_matches('\0')
            .to_owned();
        // The mask covers the final zero of a whole name.
        let whole = bytes.ends_with(&[0]);
        Some(Interface {
            name: if whole { text } else { text + "+" },
            inverted: self.bytes[self.layout().invert] & invert != 0,
        })
    }

    fn set_interface(&mut self, wanted: &Interface, name: usize, mask: usize, invert: u8) {
        // Interface names have at most 15 bytes (`IFNAMSIZ`).
        for (index, byte) in wanted.name.bytes().take(NAME_LEN - 1).enumerate() {
            self.bytes[name + index] = byte;
            self.bytes[mask + index] = 0xff;
            self.bytes[mask + index + 1] = 0xff;
        }
        if wanted.inverted {
            self.bytes[self.layout().invert] |= invert;
        }
    }

    fn set_destination(&mut self, network: &[u8], mask: &[u8]) {
        let length = self.layout().address;
        self.bytes[length..2 * length].copy_from_slice(network);
        self.bytes[3 * length..4 * length].copy_from_slice(mask);
    }
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
        let layout = self.header.layout();
        self.header
            .interface(layout.input, layout.input_mask, INVERT_INPUT)
    }

    /// The outgoing interface it asks for.
    #[must_use]
    pub fn output(&self) -> Option<Interface> {
        let layout = self.header.layout();
        self.header
            .interface(layout.output, layout.output_mask, INVERT_OUTPUT)
    }

    /// Whether it asks for no addresses and no protocol; its matches may ask for anything.
    #[must_use]
    pub fn asks_interfaces_only(&self) -> bool {
        let (layout, bytes) = (self.header.layout(), &self.header.bytes);
        let addresses = bytes[..layout.input].iter().all(|byte| *byte == 0);
        addresses && bytes[layout.protocol..][..2] == [0, 0]
    }

    /// Its comment.
    #[must_use]
    pub fn comment(&self) -> Option<String> {
        let found = self.matches.iter().find(|one| one.name == COMMENT)?;
        let text = found.data.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
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
    /// As a rule of the legacy back end, in a table for `protocol`; `None` where no packet can have
    /// its destination.
    #[must_use]
    pub fn rule(&self, protocol: Protocol) -> Option<Rule> {
        let mut rule = Rule {
            header: Header::any(protocol),
            matches: Vec::new(),
            target: Target::Accept,
            counters: Counters::default(),
        };
        let header = &mut rule.header;
        match (protocol, self.destination) {
            (Protocol::Ipv4, Some(IpNet::V4(net))) => {
                header.set_destination(&net.network().octets(), &net.netmask().octets());
            }
            (Protocol::Ipv6, Some(IpNet::V6(net))) => {
                header.set_destination(&net.network().octets(), &net.netmask().octets());
            }
            (_, Some(_)) => return None,
            (_, None) => {}
        }
        let layout = header.layout();
        if let Some(input) = &self.input {
            header.set_interface(input, layout.input, layout.input_mask, INVERT_INPUT);
        }
        if let Some(output) = &self.output {
            header.set_interface(output, layout.output, layout.output_mask, INVERT_OUTPUT);
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
        Some(rule)
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
