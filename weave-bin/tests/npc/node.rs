//! A node with the controller and pods on a bridge, all in namespaces of one test.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use weave_bin::http::client::{Client, Response};
use weave_datapath::attach::{self, Request};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Everything of one test, gone when dropped.
pub(crate) struct Node {
    tag: String,
    scratch: PathBuf,
    names: Vec<String>,
    pub(crate) host: Namespace,
    controller: Mutex<Option<Child>>,
    daemon: Option<Child>,
}

impl Node {
    /// A node with a bridge; `None`, said loudly, when something is missing.
    pub(crate) fn new(test: &str, programs: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        for program in programs {
            if !std::env::split_paths(&path).any(|dir| dir.join(program).exists()) {
                println!("skipped: needs the program {program}");
                return None;
            }
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("wnt-{test}-{}-{count}", std::process::id());
        let scratch = std::env::temp_dir().join(&tag);
        fs::create_dir_all(scratch.join("world")).unwrap();
        let name = format!("{tag}-h");
        let host = Namespace::create_named(&name).unwrap();
        let node = Self {
            tag,
            scratch,
            names: vec![name],
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
        // Shorter ids are not used in names of ports.
        let id = format!("{}pod-npc", self.names.len());
        let name = format!("{}-{id}", self.tag);
        let pod = Namespace::create_named(&name).unwrap();
        self.names.push(name);
        let mut request = Request::new(id, pod.clone(), "eth0");
        request.addresses = vec![format!("{address}/12").parse().unwrap()];
        request.gateway = Some("10.32.0.1".parse().unwrap());
        block_on(attach::attach_from(&self.host, &request)).unwrap();
        pod
    }

    /// Puts a file whole into the world of the controller.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let scratch = self.scratch.join("next");
        fs::write(&scratch, text).unwrap();
        fs::rename(scratch, self.scratch.join("world").join(name)).unwrap();
    }

    /// Takes a file out of the world of the controller.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.scratch.join("world").join(name)).unwrap();
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
        self.scratch.join(name)
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start_daemon(&mut self, flags: &[&str]) {
        let log = File::create(self.scratch.join("daemon")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command
            .args(["weaver", "--no-overlay", "--ipalloc-range=10.32.0.0/12"])
            .args(["--ipalloc-init=consensus=1", "--name=::1"])
            .arg(format!(
                "--db-prefix={}",
                self.scratch.join("weave").display()
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
        let name = format!("{}-{label}", self.tag);
        let namespace = Namespace::create_named(&name).unwrap();
        self.names.push(name);
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
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let output = self.host.run(|| command.output()).unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8(output.stdout).unwrap()
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
        let text = |name| fs::read_to_string(self.scratch.join(name)).unwrap_or_default();
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
        for name in &self.names {
            let _ = Namespace::delete_named(name);
        }
        let _ = fs::remove_dir_all(&self.scratch);
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

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
