//! From the bytes of a question to the bytes of its answer, or to the decision that another server
//! is to answer (Weave Net's name server, section *answering*).
//!
//! Pure: the order of addresses comes from a seed. Invariant: an answer has the id and the question
//! of what was asked, is at most as long as the asker takes, and never answers an answer (N7).

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::AnswerBuilder;
use domain::base::{Message, MessageBuilder, Name, ParsedName, Question, Rtype};
use domain::rdata::{A, Ptr};

use super::store::Store;

/// A domain name.
pub type Domain = Name<Vec<u8>>;

/// What the server answers for.
#[derive(Debug, Clone)]
pub struct Zone {
    domain: Domain,
    text: String,
    ttl: u32,
}

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Send this.
    Reply(Vec<u8>),
    /// It is no question that can be understood; send this.
    Malformed(Vec<u8>),
    /// Ask another server; if none answers, send [`failure`].
    Forward,
    /// Send nothing: it is no question.
    Ignore,
}

impl Zone {
    /// The zone `domain`, with or without its final dot; answers live for `ttl` seconds.
    ///
    /// # Errors
    /// Why the text is no domain name.
    pub fn new(domain: &str, ttl: u32) -> Result<Self, String> {
        let text = qualified(domain);
        let domain = parse_name(&text)?;
        if domain.is_root() {
            return Err("the root of all domains is not ours to answer for".to_owned());
        }
        Ok(Self { domain, text, ttl })
    }

    /// The domain with its final dot.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Time to live of answers, in seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Whether the full name `hostname` is in the domain, in any case.
    pub fn has(&self, hostname: &str) -> bool {
        parse_name(hostname).is_ok_and(|name| name.ends_with(&self.domain))
    }
}

/// `name` with its final dot.
pub fn qualified(name: &str) -> String {
    if name.ends_with('.') {
        name.to_owned()
    } else {
        format!("{name}.")
    }
}

/// Reads a full name: labels of at most 63 bytes, at most 255 in all.
///
/// # Errors
/// What is wrong with it.
pub fn parse_name(text: &str) -> Result<Domain, String> {
    // An escape would be another name in other hands.
    if text.contains('\\') {
        return Err(format!("invalid name {text:?}: it has a backslash"));
    }
    text.parse()
        .map_err(|error| format!("invalid name {text:?}: {error}"))
}

/// What to do with the message `query`; `seed` decides about the order of addresses.
pub fn answer(
    query: &[u8],
    zone: &Zone,
    store: &Store,
    transport: Transport,
    seed: u64,
) -> Verdict {
    let Ok(message) = Message::from_slice(query) else {
        return Verdict::Ignore;
    };
    let header = message.header();
    if header.qr() {
        return Verdict::Ignore;
    }
    if header.opcode() != Opcode::QUERY {
        return Verdict::Malformed(empty(message, Rcode::NOTIMP));
    }
    if message.header_counts().qdcount() != 1 {
        return Verdict::Reply(empty(message, Rcode::NXDOMAIN));
    }
    let Some(Ok(question)) = message.question().next() else {
        return Verdict::Malformed(empty(message, Rcode::FORMERR));
    };
    let reply = Reply {
        message,
        question,
        zone,
        limit: limit(query, transport),
    };
    reply.decide(store, seed)
}

/// The answer to `query` that nobody else answered, or cannot be asked at this moment.
pub fn failure(query: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_slice(query).ok()?;
    Some(empty(message, Rcode::SERVFAIL))
}

/// The answer that was too long to be passed on: none, but to be asked for in a stream.
pub fn too_long(query: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_slice(query).ok()?;
    let mut builder = begin(message, Rcode::NOERROR);
    builder.header_mut().set_tc(true);
    Some(builder.finish())
}

/// The most bytes that whoever asked `query` takes: 512 in a datagram, or what EDNS says.
pub fn limit(query: &[u8], transport: Transport) -> usize {
    if transport == Transport::Tcp {
        return usize::from(u16::MAX);
    }
    let edns = Message::from_slice(query).ok().and_then(Message::opt);
    let said = edns.map_or(0, |opt| opt.udp_payload_size());
    usize::from(said).clamp(512, MAX_DATAGRAM)
}

/// Whether `reply` answers `query`: the same id, the same question.
pub fn is_answer(query: &[u8], reply: &[u8]) -> bool {
    let (Ok(query), Ok(reply)) = (Message::from_slice(query), Message::from_slice(reply)) else {
        return false;
    };
    // Servers may leave the question out when they refuse it.
    let is_bare = reply.header_counts().qdcount() == 0
        && reply.header().rcode() != Rcode::NOERROR
        && reply.header().qr()
        && reply.header().id() == query.header().id();
    is_bare || reply.is_answer(query)
}

/// The question for the addresses of a name.
pub fn question(id: u16, name: &Domain) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder
        .push((name, Rtype::A))
        .expect("invariant: a vector has room for one question");
    builder.finish()
}

/// The addresses in an answer, whatever names they stand at; `None` if it is no message.
pub fn addresses(reply: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let message = Message::from_slice(reply).ok()?;
    let records = message.answer().ok()?.limit_to_in::<A>();
    Some(
        records
            .map_while(Result::ok)
            .map(|record| record.data().addr())
            .collect(),
    )
}

/// Whether an answer says that there is more.
pub fn is_cut(reply: &[u8]) -> bool {
    Message::from_slice(reply).is_ok_and(|message| message.header().tc())
}

struct Reply<'a> {
    message: &'a Message<[u8]>,
    question: Question<ParsedName<&'a [u8]>>,
    zone: &'a Zone,
    limit: usize,
}

impl Reply<'_> {
    fn decide(&self, store: &Store, seed: u64) -> Verdict {
        let name = self.question.qname();
        let labels = name.label_count() - 1;
        if name.ends_with(&self.zone.domain) {
            return Verdict::Reply(self.addresses(store, text(name), seed));
        }
        if labels == 1 {
            let full = text(name).map(|label| label + &self.zone.text);
            return Verdict::Reply(self.addresses(store, full, seed));
        }
        if !is_reverse(name) {
            return Verdict::Forward;
        }
        let address = reversed(name).filter(|_| self.question.qtype() == Rtype::PTR);
        match address {
            None => Verdict::Reply(empty(self.message, Rcode::NXDOMAIN)),
            Some(address) => match store.names(address).find_map(|name| parse_name(name).ok()) {
                Some(name) => Verdict::Reply(self.pointer(&name)),
                None => Verdict::Forward,
            },
        }
    }

    /// The addresses of `hostname`, which is absent when no entry can bear that name.
    fn addresses(&self, store: &Store, hostname: Option<String>, seed: u64) -> Vec<u8> {
        let found = hostname.map(|name| store.addresses(&name));
        let Some(found) = found.filter(|found| !found.is_empty()) else {
            return empty(self.message, Rcode::NXDOMAIN);
        };
        let mut builder = self.begin();
        let class = self.question.qclass();
        // RFC 4074: a name that has records of another type exists.
        if self.question.qtype() == Rtype::A && matches!(class, Class::IN | Class::ANY) {
            let mut found: Vec<Ipv4Addr> = found.into_iter().collect();
            shuffle(&mut found, seed);
            for address in found {
                let record = (self.question.qname(), self.zone.ttl, A::new(address));
                if builder.push(record).is_err() {
                    builder.header_mut().set_tc(true);
                    break;
                }
            }
        }
        builder.finish()
    }

    fn pointer(&self, name: &Domain) -> Vec<u8> {
        let mut builder = self.begin();
        let record = (self.question.qname(), self.zone.ttl, Ptr::new(name));
        if builder.push(record).is_err() {
            builder.header_mut().set_tc(true);
        }
        builder.finish()
    }

    fn begin(&self) -> AnswerBuilder<Vec<u8>> {
        let mut builder = begin(self.message, Rcode::NOERROR);
        builder.header_mut().set_aa(true);
        // The builder stops one byte before its limit.
        builder.set_push_limit(self.limit + 1);
        builder
    }
}

fn empty(message: &Message<[u8]>, rcode: Rcode) -> Vec<u8> {
    begin(message, rcode).finish()
}

/// An answer without records: the header, and the first question if there is one.
fn begin(message: &Message<[u8]>, rcode: Rcode) -> AnswerBuilder<Vec<u8>> {
    let asked = message.header();
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_ra(true);
    header.set_rcode(rcode);
    let mut builder = builder.question();
    if let Some(Ok(question)) = message.question().next() {
        builder
            .push(question)
            .expect("invariant: a vector has room for one question");
    }
    builder.answer()
}

/// The name with its final dot; `None` if a label has what no registered name has.
fn text(name: &ParsedName<&[u8]>) -> Option<String> {
    let mut text = String::new();
    for label in name.iter().filter(|label| !label.is_root()) {
        let label = std::str::from_utf8(label.as_slice()).ok()?;
        if label.contains(['.', '\\']) {
            return None;
        }
        write!(text, "{label}.").ok()?;
    }
    Some(text)
}

/// Whether the name is in `in-addr.arpa.`.
fn is_reverse(name: &ParsedName<&[u8]>) -> bool {
    let mut labels = name.iter().rev().skip(1);
    let mut is = |text: &str| {
        let label = labels.next();
        label.is_some_and(|label| label.as_slice().eq_ignore_ascii_case(text.as_bytes()))
    };
    is("arpa") && is("in-addr")
}

/// The address that a name in `in-addr.arpa.` stands for.
fn reversed(name: &ParsedName<&[u8]>) -> Option<Ipv4Addr> {
    let mut octets = Vec::new();
    for label in name.iter().rev().skip(3) {
        let octet: u8 = std::str::from_utf8(label.as_slice()).ok()?.parse().ok()?;
        octets.push(octet);
    }
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(octets.into())
}

/// Fisher and Yates, with numbers of `SplitMix64` (Steele, Lea, Flood 2014).
fn shuffle(addresses: &mut [Ipv4Addr], seed: u64) {
    let mut state = seed;
    for last in (1..addresses.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let choices = u64::try_from(last + 1).unwrap_or(u64::MAX);
        let other = usize::try_from((mixed ^ (mixed >> 31)) % choices).unwrap_or(last);
        addresses.swap(last, other);
    }
}

/// What a UDP datagram over IPv4 carries at most: 65535 less two headers.
const MAX_DATAGRAM: usize = 65_507;

#[cfg(test)]
mod tests;
