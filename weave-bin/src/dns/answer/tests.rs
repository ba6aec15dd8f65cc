//! The recorded transcript of Weave Net's name server, question by question, and what it does not ask.

use domain::base::ToName as _;
use domain::base::iana::Opcode;
use proptest::prelude::*;
use weave_mesh::peer::PeerName;

use super::*;
use crate::dns::store::{Entry, Key, Life, Selection};

/// A question of the transcript with what came back.
struct Case<'a> {
    line: &'a str,
    name: &'a str,
    kind: &'a str,
    edns: Option<u16>,
    transport: Transport,
    outcome: &'a str,
    records: Vec<&'a str>,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(asked) = line.strip_prefix("Q ") {
            let (asked, outcome) = asked.split_once(" -> ").unwrap();
            let words: Vec<&str> = asked.split(' ').collect();
            let edns = words.iter().find_map(|word| word.strip_prefix("edns="));
            cases.push(Case {
                line,
                name: words[0],
                kind: words[1],
                edns: edns.map(|size| size.parse().unwrap()),
                transport: match *words.last().unwrap() {
                    "tcp" => Transport::Tcp,
                    _ => Transport::Udp,
                },
                outcome,
                records: Vec::new(),
            });
        } else if line.starts_with("    ") && !line.contains("...") {
            cases.last_mut().unwrap().records.push(line.trim());
        }
    }
    cases
}

fn query(name: &str, kind: &str, edns: Option<u16>) -> Vec<u8> {
    let kind: Rtype = kind.parse().unwrap();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(77);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder
        .push((parse_name(&qualified(name)).unwrap(), kind))
        .unwrap();
    let mut builder = builder.additional();
    if let Some(size) = edns {
        let opt = |opt: &mut domain::base::message_builder::OptBuilder<'_, _>| {
            opt.set_udp_payload_size(size);
            Ok(())
        };
        builder.opt(opt).unwrap();
    }
    builder.finish()
}

/// A reply in the words of the transcript, and its records.
fn told(reply: &[u8]) -> (String, Vec<String>) {
    let message = Message::from_slice(reply).unwrap();
    let (header, counts) = (message.header(), message.header_counts());
    let rcode = header.rcode().to_string();
    let flags = [
        (header.qr(), "qr"),
        (header.aa(), "aa"),
        (header.tc(), "tc"),
        (header.rd(), "rd"),
        (header.ra(), "ra"),
    ];
    let flags: Vec<&str> = flags
        .iter()
        .filter(|flag| flag.0)
        .map(|flag| flag.1)
        .collect();
    let text = format!(
        "{rcode} [{}] answers={} auth={} additional={} bytes={}",
        flags.join(" "),
        counts.ancount(),
        counts.nscount(),
        counts.arcount(),
        reply.len()
    );
    let mut records = Vec::new();
    for record in message.answer().unwrap() {
        let record = record.unwrap();
        let (owner, ttl) = (
            record.owner().fmt_with_dot().to_string(),
            record.ttl().as_secs(),
        );
        if let Ok(Some(a)) = record.to_record::<A>() {
            records.push(format!("{owner} {ttl} A {}", a.data().addr()));
        }
        if let Ok(Some(ptr)) = record.to_record::<Ptr<ParsedName<_>>>() {
            let target = ptr.data().ptrdname().fmt_with_dot().to_string();
            records.push(format!("{owner} {ttl} PTR {target}"));
        }
    }
    (text, records)
}

fn name(n: u64) -> PeerName {
    PeerName::try_from(n).unwrap()
}

fn zone() -> Zone {
    Zone::new("weave.local", 1).unwrap()
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// The names of the transcript: ours, and two of another peer.
fn store() -> Store {
    let mut store = Store::new(name(1));
    for (host, id, at) in [
        ("web.weave.local.", "c111111111111111", "10.32.0.11"),
        ("WEB.weave.local.", "c222222222222222", "10.32.0.12"),
        ("ext.weave.local.", "weave:extern", "10.9.9.9"),
    ] {
        store.add(host, id, address(at)).unwrap();
    }
    let other = |host: &str, id: &str, at| Entry {
        key: Key {
            hostname: host.into(),
            origin: name(2),
            container: id.into(),
            address: address(at),
        },
        life: Life {
            version: 0,
            tombstone: 0,
        },
    };
    let _ = store.set_known(0, [name(2)].into());
    let told = [
        other("web.weave.local.", "c333333333333333", "10.40.0.3"),
        other("sub.domain.weave.local.", "c444", "10.40.0.4"),
    ];
    let _ = store.merge(0, told);
    store
}

fn replay(case: &Case<'_>, store: &Store, seed: u64) {
    let query = query(case.name, case.kind, case.edns);
    let reply = match answer(&query, &zone(), store, case.transport, seed) {
        Verdict::Reply(reply) => reply,
        // Nobody else is there to be asked.
        Verdict::Forward => failure(&query).unwrap(),
        other => panic!("{}: {other:?}", case.line),
    };
    let (text, mut records) = told(&reply);
    assert_eq!(text, case.outcome, "{}", case.line);
    assert!(is_answer(&query, &reply));
    // The order of addresses is that of chance.
    let mut expected: Vec<String> = case.records.iter().map(|text| (*text).to_owned()).collect();
    if expected.len() == records.len() {
        expected.sort();
        records.sort();
        assert_eq!(records, expected, "{}", case.line);
    } else {
        let owner = expected[0].split(' ').next().unwrap();
        assert!(
            records.iter().all(|text| text.starts_with(owner)),
            "{}",
            case.line
        );
    }
}

#[test]
fn recorded_questions_are_answered_as_recorded() {
    let transcript = include_str!("../../../tests/vectors/dns/dns-transcript.txt");
    let (before, after) = transcript.split_once(">>> DELETE").unwrap();
    let mut store = store();

    let first = cases(before);
    for (case, seed) in first.iter().zip(0..) {
        replay(case, &store, seed);
    }

    for at in 1..=60 {
        let (id, at) = (format!("b{at}"), format!("10.33.0.{at}"));
        store.add("big.weave.local.", &id, address(&at)).unwrap();
    }
    for (container, hostname, at) in [
        ("c222222222222222", None, Some("10.32.0.12")),
        (
            "c111111111111111",
            Some("nomatch.weave.local."),
            Some("10.32.0.11"),
        ),
        ("c333333333333333", None, None),
    ] {
        let selection = Selection {
            container: Some(container.to_owned()),
            address: at.map(address),
            hostname: hostname.map(str::to_owned),
        };
        store.remove(1_795_211_379, &selection);
    }
    let second = cases(after);
    for (case, seed) in second.iter().zip(0..) {
        replay(case, &store, seed);
    }
    assert_eq!((first.len(), second.len()), (16, 5));
}

#[test]
fn every_address_comes_first_now_and_then() {
    let query = query("web.weave.local", "A", None);
    let store = store();
    let mut firsts = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let Verdict::Reply(reply) = answer(&query, &zone(), &store, Transport::Udp, seed) else {
            panic!("we answer for it");
        };
        firsts.insert(addresses(&reply).unwrap()[0]);
    }
    assert_eq!(firsts.len(), 3);
}

#[test]
fn what_is_no_question_is_told_so_or_left_alone() {
    let store = store();
    let ask = |bytes: &[u8]| answer(bytes, &zone(), &store, Transport::Udp, 0);
    let rcode = |verdict: Verdict| match verdict {
        Verdict::Malformed(reply) | Verdict::Reply(reply) => {
            Message::from_slice(&reply).unwrap().header().rcode()
        }
        other => panic!("{other:?}"),
    };
    let good = query("web.weave.local", "A", None);

    assert_eq!(ask(b""), Verdict::Ignore);
    assert_eq!(ask(&good[..11]), Verdict::Ignore);
    let mut reply = good.clone();
    reply[2] |= 0x80;
    assert_eq!(ask(&reply), Verdict::Ignore, "an answer is not answered");
    assert_eq!(rcode(ask(&good[..20])), Rcode::FORMERR);
    let mut update = good.clone();
    update[2] |= u8::from(Opcode::UPDATE) << 3;
    assert_eq!(rcode(ask(&update)), Rcode::NOTIMP);
    for count in [0, 2] {
        let mut other = good.clone();
        other[5] = count;
        assert_eq!(rcode(ask(&other)), Rcode::NXDOMAIN, "{count} questions");
    }
    // A pointer to itself, in place of the name.
    let mut looped = good[..12].to_vec();
    looped.extend([0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(rcode(ask(&looped)), Rcode::FORMERR);
}

#[test]
fn names_that_nobody_can_have_do_not_exist() {
    let store = store();
    // One label with a dot in it is not two labels.
    let mut bytes = query("x.weave.local", "A", None)[..12].to_vec();
    bytes.extend(b"\x07web.wea\x02ve\x05local\x00\x00\x01\x00\x01");
    assert_eq!(
        answer(&bytes, &zone(), &store, Transport::Udp, 0),
        Verdict::Forward
    );
    let mut bytes = bytes[..12].to_vec();
    bytes.extend(b"\x03w.b\x05weave\x05local\x00\x00\x01\x00\x01");
    let Verdict::Reply(reply) = answer(&bytes, &zone(), &store, Transport::Udp, 0) else {
        panic!("it is in our domain");
    };
    assert!(told(&reply).0.starts_with("NXDOMAIN"));
}

#[test]
fn other_classes_and_types_have_no_records() {
    let store = store();
    for (class, kind, count) in [
        (Class::IN, Rtype::A, 3),
        (Class::ANY, Rtype::A, 3),
        (Class::CH, Rtype::A, 0),
        (Class::IN, Rtype::ANY, 0),
        (Class::IN, Rtype::from_int(65_280), 0),
    ] {
        let mut builder = MessageBuilder::new_vec().question();
        let name = parse_name("web.weave.local.").unwrap();
        builder.push((name, kind, class)).unwrap();
        let Verdict::Reply(reply) = answer(&builder.finish(), &zone(), &store, Transport::Udp, 0)
        else {
            panic!("we answer for it");
        };
        let message = Message::from_slice(&reply).unwrap();
        assert_eq!(message.header().rcode(), Rcode::NOERROR);
        assert_eq!(message.header_counts().ancount(), count, "{class} {kind}");
    }
}

#[test]
fn a_stream_has_an_end_too() {
    let mut store = store();
    for n in 0..3000_u32 {
        let at = Ipv4Addr::from(0x0a28_0000 + n);
        store.add("many.weave.local.", &n.to_string(), at).unwrap();
    }
    let query = query("many.weave.local", "A", None);
    let Verdict::Reply(reply) = answer(&query, &zone(), &store, Transport::Tcp, 0) else {
        panic!("we answer for it");
    };
    assert!(reply.len() <= usize::from(u16::MAX) && reply.len() > 65_000);
    assert!(is_cut(&reply));
}

#[test]
fn an_answer_is_one_with_the_id_and_the_question() {
    let asked = query("a.example", "A", None);
    let mut reply = asked.clone();
    reply[2] |= 0x80;
    assert!(is_answer(&asked, &reply));
    assert!(!is_answer(&asked, &asked), "a question");
    let mut other = reply.clone();
    other[1] ^= 1;
    assert!(!is_answer(&asked, &other), "another id");
    let mut other = query("b.example", "A", None);
    other[2] |= 0x80;
    assert!(!is_answer(&asked, &other), "another question");
    let mut bare = reply[..12].to_vec();
    bare[5] = 0;
    assert!(!is_answer(&asked, &bare), "no question and no error");
    bare[3] = 1;
    assert!(is_answer(&asked, &bare), "a server that did not understand");
}

#[test]
fn names_are_in_the_domain_label_by_label() {
    let zone = Zone::new("Weave.Local", 1).unwrap();

    assert!(zone.has("web.weave.local.") && zone.has("WEAVE.LOCAL."));
    assert!(!zone.has("webweave.local.") && !zone.has("local.") && !zone.has("."));
    assert!(!zone.has("a..weave.local.") && !zone.has("a\\.b.weave.local."));
    assert!(Zone::new(".", 1).is_err());
}

proptest! {
    /// N7.
    #[test]
    fn whatever_comes_is_answered_within_the_limit_with_its_id(
        noise in proptest::collection::vec(any::<u8>(), 0..80),
        start in prop::sample::select(vec!["web.weave.local", "11.0.32.10.in-addr.arpa", "x"]),
        cut in 0..40_usize,
        flips in proptest::collection::vec((0..60_usize, any::<u8>()), 0..4),
        seed in any::<u64>(),
    ) {
        let mut bytes = query(start, "A", Some(700));
        bytes.truncate(bytes.len().saturating_sub(cut));
        bytes.extend(&noise);
        for (at, flip) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
        }
        for transport in [Transport::Udp, Transport::Tcp] {
            match answer(&bytes, &zone(), &store(), transport, seed) {
                Verdict::Reply(reply) | Verdict::Malformed(reply) => {
                    prop_assert_eq!(&reply[..2], &bytes[..2]);
                    prop_assert!(reply.len() <= limit(&bytes, transport));
                    prop_assert!(Message::from_slice(&reply).unwrap().header().qr());
                }
                Verdict::Forward => prop_assert!(failure(&bytes).is_some()),
                Verdict::Ignore => {}
            }
        }
    }
}
