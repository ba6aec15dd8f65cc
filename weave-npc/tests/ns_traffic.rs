//! Packets that are logged and connections that are cut, in a real kernel.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod netns;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use weave_npc::conntrack::{Connection, Conntrack, Filter};
use weave_npc::netlink::{Keeper, NetlinkError, Nft};
use weave_npc::nflog::{Logged, Reader, Transport};
use weave_npc::ruleset::{
    Base, Chain, Comment, CtState, Family, Field, Hook, Log, Name, Rule, Table, TableId, Value,
    Verdict,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn lo_up() {
    netns::run("ip", &["link", "set", "lo", "up"], "").unwrap();
}

fn keeper(rules: Vec<Rule>) -> Keeper {
    let mut table = Table::new();
    let mut chain = Chain::at(Base::filter(Hook::Input, 0));
    chain.rules = rules;
    table.add_chain(name("guard"), chain);
    let mut keeper = Keeper::new(
        Nft::open().unwrap(),
        TableId::new(Family::Inet, name("weave-traffic")),
    );
    keeper.set(&table).unwrap();
    keeper
}

fn log(prefix: &str) -> Log {
    Log {
        prefix: Some(Comment::lossy(prefix)),
        group: Some(86),
        snaplen: 64,
    }
}

fn collect(reader: &mut Reader, count: usize) -> Vec<Logged> {
    let started = Instant::now();
    let mut packets = Vec::new();
    while packets.len() < count && started.elapsed() < Duration::from_secs(5) {
        let received = reader.drain(16).unwrap();
        assert_eq!(received.lost, 0);
        packets.extend(received.packets);
        std::thread::sleep(Duration::from_millis(2));
    }
    packets
}

#[test]
fn logged_packets_come_with_prefix_and_header_cut_to_size() {
    netns::inside(|| {
        lo_up();
        let mut reader = Reader::open(86, 128).unwrap();
        let deny = Rule::new()
            .when(Field::L4Proto.is(Value::Proto(17)))
            .when(Field::DestPort.is(Value::Port(53)))
            .log(log("in 4f2a "))
            .verdict(Verdict::Drop);
        let _keeper = keeper(vec![deny]);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = client.local_addr().unwrap().port();

        for _ in 0..3 {
            client.send_to(&[7; 500], "127.0.0.2:53").unwrap();
        }

        let packets = collect(&mut reader, 3);
        assert_eq!(packets.len(), 3);
        assert_eq!(
            packets
                .iter()
                .map(|packet| packet.sequence)
                .collect::<Vec<_>>(),
            [Some(0), Some(1), Some(2)]
        );
        let packet = &packets[0];
        assert_eq!(
            (packet.prefix.as_str(), packet.group, packet.hook),
            ("in 4f2a ", 86, 1)
        );
        assert_eq!((packet.ether_type, packet.payload.len()), (0x0800, 64));
        assert!(packet.iif.is_some());
        let flow = packet.flow().unwrap();
        assert_eq!((flow.source, flow.destination), (ip(1), ip(2)));
        assert_eq!(
            flow.transport,
            Transport::Ports {
                source: port,
                destination: 53
            }
        );
    });
}

#[test]
fn a_group_has_one_listener() {
    netns::inside(|| {
        let _first = Reader::open(86, 128).unwrap();
        let error = Reader::open(86, 128).unwrap_err();
        assert!(matches!(error, NetlinkError::Refused { .. }), "{error}");
        assert!(error.to_string().starts_with("log group 86: "), "{error}");
    });
}

#[test]
fn packets_that_overran_the_socket_are_counted() {
    netns::inside(|| {
        lo_up();
        let mut reader = Reader::open(86, 2048).unwrap();
        let deny = Rule::new()
            .when(Field::L4Proto.is(Value::Proto(17)))
            .log(Log {
                snaplen: 0,
                ..log("x")
            })
            .verdict(Verdict::Drop);
        let _keeper = keeper(vec![deny]);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();

        let total = 20_000;
        for _ in 0..total {
            client.send_to(&[7; 1400], "127.0.0.2:53").unwrap();
        }
        // The last ones show how many are missing.
        let (mut got, mut lost) = (0, 0);
        let started = Instant::now();
        while got + lost < total && started.elapsed() < Duration::from_secs(10) {
            let received = reader.drain(1000).unwrap();
            got += received.packets.len();
            lost += usize::try_from(received.lost).unwrap();
            if received.packets.is_empty() {
                client.send_to(&[7; 10], "127.0.0.2:53").unwrap();
                std::thread::sleep(Duration::from_millis(200));
            }
        }

        assert!(lost > 0, "{got} arrived, so nothing was lost");
        assert!(
            got + lost >= total,
            "{got} arrived and {lost} were lost of {total}"
        );
    });
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn connections(filter: Filter) -> Vec<Connection> {
    let mut all = Vec::new();
    Conntrack::open()
        .unwrap()
        .each(filter, |connection| all.push(connection))
        .unwrap();
    all
}

fn answers(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}

/// A server that sends back what it gets.
fn echo(address: &str) -> u16 {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    port
}

#[test]
fn only_the_connection_that_is_named_is_cut() {
    netns::inside(|| {
        lo_up();
        let pass = Rule::new()
            .when(Field::CtState.is(CtState::ESTABLISHED))
            .verdict(Verdict::Accept);
        let mut keeper = keeper(vec![pass.clone(), Rule::new().counter()]);
        let (one, two) = (echo("127.0.0.2:0"), echo("127.0.0.3:0"));
        let mut first = TcpStream::connect(("127.0.0.2", one)).unwrap();
        let mut second = TcpStream::connect(("127.0.0.3", two)).unwrap();
        assert!(answers(&mut first) && answers(&mut second));
        for stream in [&first, &second] {
            stream
                .set_read_timeout(Some(Duration::from_millis(700)))
                .unwrap();
        }

        // New connections are refused from here on; the two that are there go on.
        let mut table = keeper.installed().unwrap().clone();
        let syn = Rule::new()
            .when(Field::CtState.is(CtState::NEW))
            .counter()
            .verdict(Verdict::Drop);
        table.chain_mut("guard").unwrap().rules = vec![pass, syn];
        keeper.set(&table).unwrap();
        assert!(answers(&mut first) && answers(&mut second));

        let to_first = connections(Filter::To(ip(2)));
        let [victim] = to_first.as_slice() else {
            panic!("{to_first:?}")
        };
        assert_eq!(
            (victim.client(), victim.server(), victim.server_port()),
            (ip(1), ip(2), one)
        );
        assert!(connections(Filter::From(ip(1))).len() >= 2);
        assert_eq!(connections(Filter::Ipv6), []);
        // An acknowledgement that is held back now would begin a connection of its own later.
        std::thread::sleep(Duration::from_millis(300));
        let mut table = Conntrack::open().unwrap();
        assert!(table.delete(victim).unwrap());
        assert!(!table.delete(victim).unwrap(), "it had been deleted");

        assert!(
            !answers(&mut first),
            "its next packet is that of a new connection"
        );
        assert!(answers(&mut second));
    });
}
