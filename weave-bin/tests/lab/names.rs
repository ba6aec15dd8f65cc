//! Names across hosts: registered on one, asked for in pods of another.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use weave_bin::dns::answer::{Transport, addresses, is_cut, parse_name, question};
use weave_bin::dns::upstream::exchange;
use weave_datapath::netns::{Namespace, named_path};

use crate::bed::{Lab, can_run};

const LIMIT: Duration = Duration::from_secs(10);

/// A command of the program on a host.
fn weave(lab: &Lab, host: usize, words: &[&str]) -> String {
    let (host, program) = (host.to_string(), env!("CARGO_BIN_EXE_weave"));
    let mut line = vec!["exec", &host, "--", program];
    line.extend(words);
    lab.ok(&line)
}

/// Asks the server at `server` from the namespace `from` with a question of the test's own.
fn ask(lab: &Lab, from: &str, server: Ipv4Addr, name: &str, transport: Transport) -> Vec<u8> {
    let query = question(4711, &parse_name(name).unwrap());
    let server = SocketAddr::from((server, 53));
    let namespace = Namespace::open(named_path(&lab.namespace(from))).unwrap();
    let answer = namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(exchange(server, &query, transport, LIMIT))
    });
    answer.unwrap().unwrap()
}

fn found(lab: &Lab, from: &str, server: Ipv4Addr, name: &str) -> Vec<Ipv4Addr> {
    let mut found = addresses(&ask(lab, from, server, name, Transport::Udp)).unwrap();
    found.sort();
    found
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "not within 30 s: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The address of a pod, as its lab says it.
fn pod_address(lab: &Lab, host: usize) -> (String, Ipv4Addr) {
    let text = std::fs::read_to_string(lab.state_dir().join("lab.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    let pods = record["pods"].as_array().unwrap();
    let pod = pods.iter().find(|pod| pod["host"] == host).unwrap();
    let address = pod["address"].as_str().unwrap();
    let address = address.split('/').next().unwrap().parse().unwrap();
    (pod["container_id"].as_str().unwrap().to_owned(), address)
}

#[test]
fn names_of_one_host_are_answered_in_pods_of_another() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("names");
    lab.ok(&["up", "--hosts", "2", "--pods", "1", "--dns"]);
    let exposed = weave(&lab, 2, &["expose", "-h", "host-2.weave.local"]);
    let server: Ipv4Addr = exposed.trim().parse().unwrap();
    let pod = "2-pod-1";
    let (id, first) = pod_address(&lab, 1);

    weave(&lab, 1, &["dns-add", &id, "-h", "web.weave.local"]);
    weave(&lab, 1, &["dns-add", "10.9.9.9", "-h", "WEB.weave.local"]);
    let both = vec![Ipv4Addr::new(10, 9, 9, 9), first];
    until("host 2 knows the names", || {
        found(&lab, pod, server, "Web.Weave.Local.").len() == 2
    });
    let mut expected = both.clone();
    expected.sort();
    assert_eq!(found(&lab, pod, server, "web.weave.local."), expected);
    assert_eq!(found(&lab, pod, server, "web."), expected);
    assert_eq!(found(&lab, pod, server, "host-2.weave.local."), [server]);
    let by_command = weave(&lab, 2, &["dns-lookup", "web.weave.local", "--json"]);
    let by_command: Vec<Ipv4Addr> = serde_json::from_str(&by_command).unwrap();
    assert_eq!(by_command.len(), 2);

    many_over_both_protocols(&lab, pod, server);
    with_dig(&lab, server);
    the_rest_from_elsewhere(&lab, pod, server, first);

    // A daemon that comes back without its memory: its names go, and stay gone.
    lab.ok(&["kill", "1"]);
    lab.ok(&["start", "1"]);
    weave(&lab, 1, &["dns-add", "10.9.9.1", "-h", "back.weave.local"]);
    until("the name after the restart is known", || {
        found(&lab, pod, server, "back.weave.local.").len() == 1
    });
    until("names from before it are gone", || {
        found(&lab, pod, server, "web.weave.local.").is_empty()
    });

    // A host that leaves takes its names along.
    lab.ok(&["kill", "1"]);
    until("names of a host that left are gone", || {
        found(&lab, pod, server, "back.weave.local.").is_empty()
    });
    let status = weave(&lab, 2, &["status", "dns"]);
    assert!(
        !status.contains("back") && status.contains("host-2"),
        "{status}"
    );
    weave(&lab, 2, &["hide"]);
    assert_eq!(weave(&lab, 2, &["status", "dns"]), "");
}

/// Sixty addresses are too many for a datagram.
fn many_over_both_protocols(lab: &Lab, pod: &str, server: Ipv4Addr) {
    let all: Vec<String> = (1..=60).map(|n| format!("10.33.0.{n}")).collect();
    let mut words = vec!["dns-add"];
    words.extend(all.iter().map(String::as_str));
    words.extend(["-h", "big.weave.local"]);
    weave(lab, 1, &words);
    let ask = |transport| ask(lab, pod, server, "big.weave.local.", transport);
    until("all are known", || {
        addresses(&ask(Transport::Tcp)).unwrap().len() == 60
    });
    let cut = ask(Transport::Udp);
    assert!(is_cut(&cut) && addresses(&cut).unwrap().len() == 15);
}

/// What people ask with, if this machine has it.
fn with_dig(lab: &Lab, server: Ipv4Addr) {
    let has_dig = Command::new("dig")
        .arg("-v")
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_dig {
        println!("skipped: no dig on this machine");
        return;
    }
    let at = format!("@{server}");
    let dig = |words: &[&str]| {
        let mut line = vec!["exec", "2/1", "--", "dig", &at, "+tries=1"];
        line.extend(words);
        lab.ok(&line)
    };
    assert_eq!(
        dig(&["+short", "big.weave.local"]).lines().count(),
        60,
        "over TCP by itself"
    );
    assert_eq!(
        dig(&["+short", "+bufsize=4096", "+ignore", "big.weave.local"])
            .lines()
            .count(),
        60
    );
    assert_eq!(dig(&["+short", "-x", "10.33.0.7"]), "big.weave.local.\n");
    let six = dig(&["AAAA", "web.weave.local"]);
    assert!(
        six.contains("status: NOERROR") && six.contains("ANSWER: 0"),
        "{six}"
    );
    assert!(dig(&["nope.weave.local"]).contains("status: NXDOMAIN"));
    assert!(
        dig(&["elsewhere.example"]).contains("status: SERVFAIL"),
        "there is nobody to ask"
    );
}

/// Another server, in the pod of host 1, which host 2 is told of while its daemon runs.
fn the_rest_from_elsewhere(lab: &Lab, pod: &str, server: Ipv4Addr, other: Ipv4Addr) {
    let name = "elsewhere.example.";
    let elsewhere = Elsewhere::start(lab);
    let file = lab.state_dir().join("host-2/resolv.conf");
    std::fs::write(file, format!("nameserver {other}\n")).unwrap();

    until("the other server is asked", || {
        !found(lab, pod, server, name).is_empty()
    });
    assert_eq!(found(lab, pod, server, name), [Ipv4Addr::new(192, 0, 2, 7)]);
    let over_tcp = ask(lab, pod, server, name, Transport::Tcp);
    assert_eq!(addresses(&over_tcp).unwrap(), [Ipv4Addr::new(192, 0, 2, 8)]);
    // What is ours is never asked for elsewhere.
    assert!(found(lab, pod, server, "nope.weave.local.").is_empty());
    assert!(found(lab, pod, server, "nope.").is_empty());
    assert!(weave(lab, 2, &["status"]).contains(&format!("Upstream: {other}")));
    drop(elsewhere);
}

/// A server that has the same address for every name: 192.0.2.7, and 192.0.2.8 over TCP.
struct Elsewhere {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Elsewhere {
    fn start(lab: &Lab) -> Self {
        let namespace = Namespace::open(named_path(&lab.namespace("1-pod-1"))).unwrap();
        let open = || {
            let any = (Ipv4Addr::UNSPECIFIED, 53);
            (
                UdpSocket::bind(any).unwrap(),
                TcpListener::bind(any).unwrap(),
            )
        };
        let (udp, tcp) = namespace.run(open).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        tcp.set_nonblocking(true).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (for_udp, for_tcp) = (Arc::clone(&over), Arc::clone(&over));
        let datagrams = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !for_udp.load(Ordering::Relaxed) {
                if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                    udp.send_to(&with_address(&buffer[..length], 7), from)
                        .unwrap();
                }
            }
        });
        let streams = thread::spawn(move || {
            while !for_tcp.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = tcp.accept() else {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                let reply = with_address(&query, 8);
                let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &reply].concat()).unwrap();
            }
        });
        Self {
            over,
            threads: vec![datagrams, streams],
        }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The answer that an address stands at the end of the question, which has no other record.
fn with_address(query: &[u8], last: u8) -> Vec<u8> {
    let mut reply = query.to_vec();
    reply[2] |= 0x80;
    reply[7] = 1;
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, last]);
    reply
}
