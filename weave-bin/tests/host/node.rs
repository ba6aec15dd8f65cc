//! A host with the daemon, pods on it, and an outside that is another network.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weave_bin::http::client::Client;
use weave_bin::status::Report;
use weave_datapath::attach::{self, Request};
use weave_datapath::netlink::{Netlink, Route};
use weave_datapath::netns::Namespace;

use crate::feed::feed;
use crate::ground::Ground;

pub(crate) use crate::ground::block_on;

/// Address of the host on the cable to the outside.
pub(crate) const HOST: &str = "192.0.2.1";
/// Address of the outside.
pub(crate) const OUTSIDE: &str = "192.0.2.2";
/// Address of the host on the bridge.
pub(crate) const BRIDGE: &str = "10.32.0.1";
/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Everything of one test, gone when dropped.
pub(crate) struct Node {
    ground: Ground,
    pub(crate) host: Namespace,
    pub(crate) outside: Namespace,
    daemon: Option<Child>,
}

impl Node {
    /// Host and outside with a cable between; `None`, said loudly, when something is missing.
    pub(crate) fn new(test: &str, programs: &[&str]) -> Option<Self> {
        let mut ground = Ground::new(test, programs)?;
        let [host, outside] = ["h", "o"].map(|label| ground.namespace(label));
        let node = Self {
            ground,
            host,
            outside,
            daemon: None,
        };
        block_on(node.connect());
        node.set("net/ipv4/ip_forward", "1");
        Some(node)
    }

    async fn connect(&self) {
        let netlink = Netlink::open_in(&self.host).unwrap();
        let made = netlink.create_veth_into("wire", "wire", &self.outside, 1500);
        made.await.unwrap();
        for (namespace, address) in [(&self.host, HOST), (&self.outside, OUTSIDE)] {
            let netlink = Netlink::open_in(namespace).unwrap();
            let wire = netlink.require_link("wire").await.unwrap().index;
            let address = format!("{address}/24").parse().unwrap();
            netlink.add_address(wire, address).await.unwrap();
            netlink.set_up(wire).await.unwrap();
        }
        netlink.set_up(1).await.unwrap();
    }

    /// Lets the outside know the way to the pods.
    pub(crate) fn route_back(&self) {
        block_on(async {
            let netlink = Netlink::open_in(&self.outside).unwrap();
            let wire = netlink.require_link("wire").await.unwrap().index;
            let (dst, via) = ("10.32.0.0/12".parse().unwrap(), HOST.parse().unwrap());
            netlink
                .add_route(&Route::via(dst, via, wire))
                .await
                .unwrap();
        });
    }

    /// Writes a setting of the host.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let write = || std::fs::write(format!("/proc/sys/{name}"), value);
        self.host.run(write).unwrap().unwrap();
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&mut self, flags: &[&str]) {
        self.start_as(Some("::1"), flags);
    }

    /// As [`Self::start`], with this peer name or none.
    pub(crate) fn start_as(&mut self, name: Option<&str>, flags: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command.args(["weaver", "--no-dns"]).args([
            "--no-overlay".to_owned(),
            "--ipalloc-range=10.32.0.0/12".to_owned(),
            "--ipalloc-init=consensus=1".to_owned(),
            format!("--db-prefix={}", self.ground.path("weave").display()),
        ]);
        command.args(name.map(|name| format!("--name={name}")));
        let log = std::fs::File::create(self.ground.path("log")).unwrap();
        let output = log.try_clone().unwrap();
        command
            .args(flags)
            .env_remove("IPTABLES_BACKEND")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log);
        let child = self.host.run(|| command.spawn()).unwrap().unwrap();
        self.daemon = Some(child);
        self.until("the daemon answers", |node| node.try_report().is_some());
    }

    /// Ends the daemon, asked to or not; how long it took.
    pub(crate) fn stop(&mut self, kill: bool) -> Duration {
        let mut child = self.daemon.take().unwrap();
        let begun = Instant::now();
        if kill {
            child.kill().unwrap();
        } else {
            let id = i32::try_from(child.id()).unwrap();
            let signal = nix::sys::signal::Signal::SIGTERM;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal).unwrap();
        }
        child.wait().unwrap();
        begun.elapsed()
    }

    /// Whether the daemon has ended by now.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.daemon.as_mut().unwrap();
        child.try_wait().unwrap().is_some()
    }

    /// A path below the files of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.ground.path(name)
    }

    /// Puts the bridge's address there, as the command line does.
    pub(crate) fn expose(&self, query: &str) {
        self.ask("PUT", &format!("/ip/weave:expose/{BRIDGE}/12"));
        self.ask("POST", &format!("/expose/{BRIDGE}/12{query}"));
    }

    /// A pod with this address and the bridge as its gateway.
    pub(crate) fn pod(&mut self, address: &str) -> Namespace {
        let id = format!("pod{}", self.ground.count());
        let pod = self.ground.namespace(&id);
        let mut request = Request::new(id, pod.clone(), "eth0");
        request.addresses = vec![format!("{address}/12").parse().unwrap()];
        request.gateways = vec![BRIDGE.parse().unwrap()];
        block_on(attach::attach_from(&self.host, &request)).unwrap();
        pod
    }

    pub(crate) fn ask(&self, verb: &str, path: &str) -> String {
        let answer = self.try_ask(verb, path).unwrap();
        assert!(answer.is_success(), "{verb} {path}: {}", answer.body);
        answer.body
    }

    /// Status and body of an answer.
    pub(crate) fn answer(&self, verb: &str, path: &str) -> (u16, String) {
        let answer = self.try_ask(verb, path).unwrap();
        (answer.status.as_u16(), answer.body)
    }

    fn try_ask(
        &self,
        verb: &str,
        path: &str,
    ) -> Result<weave_bin::http::client::Response, weave_bin::http::client::Error> {
        let ask = || {
            let client = Client::new("127.0.0.1:6784").with_limit(LIMIT);
            block_on(async {
                match verb {
                    "GET" => client.get_json(path).await,
                    "POST" => client.post(path).await,
                    "PUT" => client.put(path).await,
                    _ => client.delete(path).await,
                }
            })
        };
        self.host.run(ask).unwrap()
    }

    fn try_report(&self) -> Option<Report> {
        let answer = self.try_ask("GET", "/report").ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// What the daemon says about itself.
    pub(crate) fn report(&self) -> Report {
        self.try_report().unwrap()
    }

    /// An empty namespace of this test.
    pub(crate) fn namespace(&mut self, label: &str) -> Namespace {
        self.ground.namespace(label)
    }

    /// What the daemon says about packet filter and bridge.
    pub(crate) fn state(&self) -> weave_bin::status::model::Host {
        self.try_report().unwrap().host.unwrap()
    }

    /// The output of a program on the host.
    pub(crate) fn run(&self, line: &str) -> String {
        self.feed(line, "")
    }

    /// The output of a program on the host that reads `input`.
    pub(crate) fn feed(&self, line: &str, input: &str) -> String {
        feed(&self.host, line, input)
    }

    /// Waits until `done`, and says how long it took.
    pub(crate) fn until(&self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < LIMIT, "{what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        begun.elapsed()
    }

    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        let file = std::fs::File::open(self.ground.path("log"));
        file.unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.daemon {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Who a server at `address` in `to` sees when somebody in `from` connects; `None` when it cannot.
pub(crate) fn seen_by(from: &Namespace, to: &Namespace, address: &str) -> Option<IpAddr> {
    let address: IpAddr = address.parse().unwrap();
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&target, Duration::from_millis(700));
    let client = from.run(connect).unwrap().ok()?;
    let (_, seen): (TcpStream, SocketAddr) = listener.accept().unwrap();
    drop(client);
    Some(seen.ip())
}
