//! The whole program as daemons in network namespaces, spoken to over their control interface.
//!
//! Needs root; else every test prints one line and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use weave_bin::http::client::{Client, Response};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;

/// Hosts on one wire, gone when dropped.
struct Wire {
    tag: String,
    scratch: PathBuf,
    hosts: Vec<Host>,
}

struct Host {
    number: usize,
    name: String,
    namespace: Namespace,
    daemon: Option<Child>,
}

impl Wire {
    /// Two hosts joined by a cable: 10.99.0.1 and 10.99.0.2.
    fn new(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let tag = format!("wdt-{test}-{}", std::process::id());
        let scratch = std::env::temp_dir().join(&tag);
        std::fs::create_dir_all(&scratch).unwrap();
        let mut wire = Self {
            tag,
            scratch,
            hosts: Vec::new(),
        };
        for number in [1, 2] {
            let name = format!("{}-{number}", wire.tag);
            let namespace = Namespace::create_named(&name).unwrap();
            wire.hosts.push(Host {
                number,
                name,
                namespace,
                daemon: None,
            });
        }
        wire.connect();
        Some(wire)
    }

    fn connect(&self) {
        let [first, second] = self.hosts.as_slice() else {
            panic!("two hosts")
        };
        block_on(async {
            let netlink = Netlink::open_in(&first.namespace).unwrap();
            netlink
                .create_veth_into("wire", "wire", &second.namespace, 1500)
                .await
                .unwrap();
            for host in [first, second] {
                let netlink = Netlink::open_in(&host.namespace).unwrap();
                let address = format!("10.99.0.{}/24", host.number).parse().unwrap();
                let wire = netlink.require_link("wire").await.unwrap().index;
                netlink.add_address(wire, address).await.unwrap();
                netlink.set_up(wire).await.unwrap();
                netlink.set_up(1).await.unwrap();
            }
        });
    }

    fn command(&self, number: usize, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command.args(["weaver", "--no-dns"]).args([
            format!("--nickname=host-{number}"),
            format!(
                "--db-prefix={}",
                self.scratch.join(format!("host-{number}")).display()
            ),
            format!("--bpf-dir=/sys/fs/bpf/{}-{number}", self.tag),
        ]);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the daemon of host `number` and waits until it answers.
    fn start(&mut self, number: usize, words: &[&str]) {
        let mut command = self.command(number, words);
        command.stderr(std::fs::File::create(self.log_path(number)).unwrap());
        let host = &mut self.hosts[number - 1];
        let child = host.namespace.run(|| command.spawn()).unwrap().unwrap();
        host.daemon = Some(child);
        let end = Instant::now() + LIMIT;
        while self.try_ask(number, "GET", "/status").is_none() {
            let host = &mut self.hosts[number - 1];
            let ended = host.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "{}",
                self.log(number)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs the daemon of host 1 to its end, which must come soon.
    fn refuse(&self, words: &[&str]) -> Output {
        let mut command = self.command(1, words);
        let mut child = self.hosts[0]
            .namespace
            .run(|| command.spawn())
            .unwrap()
            .unwrap();
        let end = Instant::now() + LIMIT;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                child.kill().unwrap();
                panic!("the daemon runs with {words:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.wait_with_output().unwrap()
    }

    fn kill(&mut self, number: usize) {
        let mut child = self.hosts[number - 1].daemon.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks for an orderly end; the exit status.
    fn terminate(&mut self, number: usize) -> Option<i32> {
        let mut child = self.hosts[number - 1].daemon.take().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        let signal = nix::sys::signal::Signal::SIGTERM;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal).unwrap();
        child.wait().unwrap().code()
    }

    fn try_ask(&self, number: usize, verb: &str, path: &str) -> Option<Response> {
        let ask = || {
            let client = Client::new("127.0.0.1:6784").with_limit(LIMIT);
            block_on(async {
                match verb {
                    "GET" => client.get_json(path).await,
                    "POST" => client.post(path).await,
                    _ => client.delete(path).await,
                }
            })
        };
        self.hosts[number - 1].namespace.run(ask).unwrap().ok()
    }

    fn ask(&self, number: usize, verb: &str, path: &str) -> String {
        let answer = self.try_ask(number, verb, path).unwrap();
        assert!(
            answer.is_success(),
            "{verb} {path}: {} {}",
            answer.status,
            answer.body
        );
        answer.body
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !done(self) {
            assert!(
                Instant::now() < end,
                "{what}:\n{}\n{}",
                self.log(1),
                self.log(2)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log_path(&self, number: usize) -> PathBuf {
        self.scratch.join(format!("log-{number}"))
    }

    fn log(&self, number: usize) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(self.log_path(number)) {
            file.read_to_string(&mut text).unwrap();
        }
        text
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            if let Some(child) = &mut host.daemon {
                let _ = child.kill();
                let _ = child.wait();
            }
            let _ = Namespace::delete_named(&host.name);
            let pins = format!("/sys/fs/bpf/{}-{}", self.tag, host.number);
            let _ = std::fs::remove_dir_all(pins);
        }
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Whether a datagram from host 1 to `target` at host 2 comes back.
fn echoes(wire: &Wire, target: SocketAddr) -> bool {
    let echo = wire.hosts[1]
        .namespace
        .run(|| UdpSocket::bind(target).unwrap())
        .unwrap();
    echo.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let asker = wire.hosts[0]
        .namespace
        .run(|| UdpSocket::bind("0.0.0.0:0").unwrap())
        .unwrap();
    asker
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut buffer = [0; 64];
    asker.send_to(b"there", target).is_ok()
        && echo.recv_from(&mut buffer).is_ok_and(|(count, from)| {
            echo.send_to(&buffer[..count], from).is_ok() && asker.recv(&mut buffer).is_ok()
        })
}

#[test]
fn a_killed_daemon_comes_back_as_the_same_host() {
    let Some(mut wire) = Wire::new("kill") else {
        return;
    };
    let range = "--ipalloc-range=10.32.0.0/12";
    let seed = "--ipalloc-init=seed=::1,::2";
    wire.start(1, &["--name=::1", range, seed, "10.99.0.2"]);
    wire.start(2, &["--name=::2", range, seed, "10.99.0.1"]);
    let pod = wire.ask(1, "POST", "/ip/pod");
    let ours = wire.ask(1, "POST", "/ip/weave:expose");
    let theirs = wire.ask(2, "POST", "/ip/weave:expose");
    wire.ask(1, "POST", &format!("/expose/{ours}"));
    wire.ask(2, "POST", &format!("/expose/{theirs}"));
    let target: ipnet::IpNet = theirs.parse().unwrap();
    let target = SocketAddr::new(target.addr(), 7);
    wire.until("frames cross", |wire| echoes(wire, target));

    wire.kill(1);
    assert!(echoes(&wire, target), "frames cross without the daemon");
    wire.start(1, &[range, seed, "10.99.0.2"]);

    let report = wire.ask(1, "GET", "/report");
    assert!(
        report.contains("\"Name\": \"00:00:00:00:00:01\""),
        "{report}"
    );
    assert!(wire.log(1).contains("Adopted"), "{}", wire.log(1));
    assert_eq!(wire.ask(1, "POST", "/ip/pod"), pod);
    assert_ne!(wire.ask(1, "POST", "/ip/other"), pod);
    wire.until("established again", |wire| {
        wire.ask(1, "GET", "/status/connections")
            .contains("established fastdp")
    });
    assert!(echoes(&wire, target), "frames cross with the new daemon");
}

#[test]
fn an_orderly_end_leaves_bridge_and_addresses() {
    let Some(mut wire) = Wire::new("stop") else {
        return;
    };
    let flags = [
        "--name=::1",
        "--ipalloc-range=10.32.0.0/16",
        "--ipalloc-init=seed=::1",
    ];
    wire.start(1, &flags);
    let address = wire.ask(1, "POST", "/ip/weave:expose");
    wire.ask(1, "POST", &format!("/expose/{address}"));

    assert_eq!(wire.terminate(1), Some(0));

    let kept = block_on(async {
        let netlink = Netlink::open_in(&wire.hosts[0].namespace).unwrap();
        let bridge = netlink.require_link("weave").await.unwrap();
        netlink.addresses(bridge.index).await.unwrap()
    });
    assert!(kept.contains(&address.parse().unwrap()), "{kept:?}");

    // The route that the address made is no clash for the next daemon, and even without its state
    // the daemon gives the address to nobody else.
    std::fs::remove_file(wire.scratch.join("host-1data.db")).unwrap();
    wire.start(1, &flags);
    assert_ne!(wire.ask(1, "POST", "/ip/pod"), address);
    assert_eq!(wire.ask(1, "GET", "/ip/weave:expose"), address);
    wire.ask(1, "DELETE", &format!("/expose/{address}"));
    wire.ask(1, "DELETE", "/ip/weave:expose");
}

#[test]
fn what_cannot_be_is_refused_with_one_line() {
    let Some(wire) = Wire::new("refuse") else {
        return;
    };
    let torn = wire.scratch.join("torndata.db");
    std::fs::write(&torn, "half a state").unwrap();
    let torn_flag = format!("--db-prefix={}", wire.scratch.join("torn").display());

    let listen = || TcpListener::bind("0.0.0.0:0").unwrap();
    let taken = wire.hosts[0].namespace.run(listen).unwrap();
    let mesh_port = format!("--port={}", taken.local_addr().unwrap().port());

    for (words, code, text) in [
        (
            vec!["--prot=1"],
            125,
            "flag provided but not defined: --prot (nearest: --port)",
        ),
        (
            vec!["--ipalloc-range=10.32.0.0/31"],
            1,
            "smaller than minimum size 4",
        ),
        (
            vec!["--ipalloc-range=10.99.0.0/16"],
            1,
            "overlaps with existing route 10.99.0.0/24",
        ),
        (vec!["--host=203.0.113.1"], 1, "203.0.113.1"),
        (
            vec!["--http-addr=203.0.113.1:1"],
            1,
            "cannot listen for HTTP on 203.0.113.1:1",
        ),
        (vec![torn_flag.as_str()], 1, "torndata.db is damaged"),
        (vec!["not:a:peer"], 1, "invalid peer name"),
        (vec!["--bpf-dir=/proc/nowhere"], 1, "/proc/nowhere"),
        (vec![mesh_port.as_str()], 1, "cannot listen on"),
    ] {
        let mut words = words;
        words.extend(["--name=::1", "--log-level=error"]);
        let output = wire.refuse(&words);
        let said = String::from_utf8(output.stderr).unwrap();

        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        assert!(said.contains(text), "{words:?}: {said}");
    }
    assert_eq!(std::fs::read_to_string(torn).unwrap(), "half a state");
    let bridge = block_on(async {
        let netlink = Netlink::open_in(&wire.hosts[0].namespace).unwrap();
        netlink.link_by_name("weave").await.unwrap()
    });
    assert_eq!(bridge, None, "refused, and yet the host was touched");
}

#[test]
fn the_state_of_another_host_is_refused() {
    let Some(mut wire) = Wire::new("foreign") else {
        return;
    };
    let seed = "--ipalloc-init=seed=::1";
    wire.start(1, &["--name=::1", "--ipalloc-range=10.32.0.0/16", seed]);
    let address = wire.ask(1, "POST", "/ip/pod");
    wire.kill(1);

    let name = wire.refuse(&[
        "--name=::2",
        "--ipalloc-range=10.32.0.0/16",
        "--log-level=error",
    ]);
    let range = wire.refuse(&[
        "--name=::1",
        "--ipalloc-range=10.48.0.0/16",
        "--log-level=error",
    ]);

    for (output, text) in [
        (name, "start with --name 00:00:00:00:00:01"),
        (range, "start with --ipalloc-range 10.32.0.0/16"),
    ] {
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
        assert!(said.contains(text), "{said}");
    }
    wire.start(1, &["--ipalloc-range=10.32.0.0/16", seed]);
    assert_eq!(wire.ask(1, "POST", "/ip/pod"), address);
}

const LIMIT: Duration = Duration::from_secs(30);
