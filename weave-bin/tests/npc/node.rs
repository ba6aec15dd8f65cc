//! A node with the controller and pods on a bridge, all in namespaces of one test.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use weave_bin::http::client::{Client, Response};
use weave_datapath::attach::{self, Request};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;

use crate::feed::feed;
use crate::ground::Ground;

pub(crate) use crate::ground::block_on;

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Everything of one test, gone when dropped.
pub(crate) struct Node {
    ground: Ground,
    pub(crate) host: Namespace,
    controller: Mutex<Option<Child>>,
    daemon: Option<Child>,
}

impl Node {
    /// A node with a bridge; `None`, said loudly, when something is missing.
    pub(crate) fn new(test: &str, programs: &[&str]) -> Option<Self> {
        let mut ground = Ground::new(test, programs)?;
        fs::create_dir_all(ground.path("world")).unwrap();
        let host = ground.namespace("h");
        let node = Self {
            ground,
            host,
            controller: Mutex::new(None),
            daemon: None,
        };
        block_on(async {
            let netlink = Netlink::open_in(&node.host).unwrap();
            netlink.set_up(1).await.unwrap();
            let bridge = netlink.create_bridge("weave", Some([2, 0, 0, 0, 0, 1]), 1376);
            bridge.await.unwrap();
            let bridge = netlink.require_link("weave").await.unwrap().index;
            let address = "10.32.0.1/12".parse().unwrap();
            netlink.add_address(bridge, address).await.unwrap();
            netlink.set_up(bridge).await.unwrap();
        });
        Some(node)
    }

    /// A pod with this address.
    pub(crate) fn pod(&mut self, address: &str) -> Namespace {
        self.pod_of(&[&format!("{address}/12")])
    }

    /// A pod with these addresses.
    pub(crate) fn pod_of(&mut self, addresses: &[&str]) -> Namespace {
        // Shorter ids are not used in names of ports.
        let id = format!("{}pod-npc", self.ground.count());
        let pod = self.ground.namespace(&id);
        let mut request = Request::new(id, pod.clone(), "eth0");
        request.addresses = addresses.iter().map(|net| net.parse().unwrap()).collect();
        request.gateways = vec!["10.32.0.1".parse().unwrap()];
        block_on(attach::attach_from(&self.host, &request)).unwrap();
        pod
    }

    /// Puts a file whole into the world of the controller.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let scratch = self.ground.path("next");
        fs::write(&scratch, text).unwrap();
        fs::rename(scratch, self.ground.path("world").join(name)).unwrap();
    }

    /// Takes a file out of the world of the controller.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.ground.path("world").join(name)).unwrap();
    }

    /// Starts the controller and waits until its rules are in force.
    pub(crate) fn start(&self, flags: &[&str]) {
        self.spawn(flags);
        self.sync();
    }

    /// Starts the controller.
    pub(crate) fn spawn(&self, flags: &[&str]) {
        let world = self.path("world").display().to_string();
        let world = format!("--manifests={world}");
        let flags: Vec<&str> = std::iter::once(&*world)
            .chain(flags.iter().copied())
            .collect();
        self.launch(&flags, &[]);
    }

    /// Starts the controller with these flags and variables.
    pub(crate) fn launch(&self, flags: &[&str], variables: &[(&str, &str)]) {
        let mut log = File::options();
        let log = log
            .append(true)
            .create(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command
            .args(["weave-npc", "--node-name=n1"])
            .arg("--metrics-addr=127.0.0.1:6781")
            .args(flags)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = self.host.run(|| command.spawn()).unwrap().unwrap();
        *self.controller.lock().unwrap() = Some(child);
    }

    /// A path below the files of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.ground.path(name)
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start_daemon(&mut self, flags: &[&str]) {
        let log = File::create(self.ground.path("daemon")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command
            .args([
                "weaver",
                "--no-dns",
                "--no-overlay",
                "--ipalloc-range=10.32.0.0/12",
            ])
            .args(["--ipalloc-init=consensus=1", "--name=::1"])
            .arg(format!(
                "--db-prefix={}",
                self.ground.path("weave").display()
            ))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = self.host.run(|| command.spawn()).unwrap().unwrap();
        self.daemon = Some(child);
        let client = Client::new("127.0.0.1:6784").with_limit(LIMIT);
        self.until("the daemon answers", |node| {
            let asked = node.host.run(|| block_on(client.get("/status")));
            asked.unwrap().is_ok()
        });
    }

    /// An empty namespace of this test, and its path.
    pub(crate) fn namespace(&mut self, label: &str) -> (Namespace, String) {
        let namespace = self.ground.namespace(label);
        let path = namespace.path().display().to_string();
        (namespace, path)
    }

    /// Kills the controller without a word.
    pub(crate) fn kill(&self) {
        let mut child = self.controller.lock().unwrap().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until everything that was written is in force.
    pub(crate) fn sync(&self) {
        self.until("the rules are in force", |node| {
            node.try_get("/sync?wait=5")
                .is_some_and(|answer| answer.is_success())
        });
    }

    /// A page of the controller, if it answers.
    pub(crate) fn try_get(&self, path: &str) -> Option<Response> {
        let client = Client::new("127.0.0.1:6785").with_limit(LIMIT);
        self.host.run(|| block_on(client.get(path))).unwrap().ok()
    }

    /// The answer to a form.
    pub(crate) fn post(&self, path: &str, pairs: &[(&str, &str)]) -> Response {
        let client = Client::new("127.0.0.1:6785").with_limit(LIMIT);
        self.host
            .run(|| block_on(client.post_form(path, pairs)))
            .unwrap()
            .unwrap()
    }

    /// What the controller says about itself.
    pub(crate) fn status(&self) -> Value {
        let body = self.try_get("/status").unwrap().body;
        serde_json::from_str(&body).unwrap()
    }

    /// Runs the `weave` program with `line` on the node.
    pub(crate) fn weave(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command.args(line.split_whitespace());
        self.host.run(|| command.output()).unwrap().unwrap()
    }

    /// Runs another program on the node.
    pub(crate) fn run(&self, line: &str) -> String {
        feed(&self.host, line, "")
    }

    /// Waits until `done`, and says how long it took.
    pub(crate) fn until(&self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        self.until_within(what, LIMIT, done)
    }

    /// As [`Self::until`], with a limit of its own.
    pub(crate) fn until_within(
        &self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < limit, "{what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        begun.elapsed()
    }

    /// What the controller and the daemon logged.
    pub(crate) fn log(&self) -> String {
        let text = |name| fs::read_to_string(self.ground.path(name)).unwrap_or_default();
        text("log") + &text("daemon")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let controller = self.controller.get_mut().unwrap();
        for child in [controller, &mut self.daemon].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether somebody in `from` can connect to `address` in `to`.
pub(crate) fn reaches(from: &Namespace, to: &Namespace, address: &str) -> bool {
    let listener = to.run(|| TcpListener::bind(address)).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&target, Duration::from_millis(700));
    from.run(connect).unwrap().is_ok()
}

/// A TCP connection that is kept.
pub(crate) struct Line {
    client: TcpStream,
    server: TcpStream,
}

impl Line {
    /// Connects from `from` to `address` in `to`.
    pub(crate) fn open(from: &Namespace, to: &Namespace, address: &str) -> Self {
        let listener = to.run(|| TcpListener::bind(address)).unwrap().unwrap();
        let target: SocketAddr = listener.local_addr().unwrap();
        let client = from.run(|| TcpStream::connect(target)).unwrap().unwrap();
        let (server, _) = listener.accept().unwrap();
        Self { client, server }
    }

    /// Whether a byte gets through within `patience`.
    pub(crate) fn carries(&mut self, patience: Duration) -> bool {
        self.client.write_all(b"x").unwrap();
        self.server.set_read_timeout(Some(patience)).unwrap();
        self.server.read(&mut [0]).is_ok_and(|count| count == 1)
    }
}
