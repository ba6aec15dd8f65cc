//! The CNI plugin against a real daemon and the running kernel, as a container runtime calls it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::unistd::geteuid;
use serde_json::Value;
use weave_bin::http::client::Client;
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::{Namespace, named_path};

/// A lab of one host, and calls of its plugin.
struct Host {
    name: String,
}

impl Host {
    fn up(test: &str) -> Self {
        let host = Self {
            name: format!("wc-{test}-{}", std::process::id()),
        };
        host.lab(&["up", "--hosts", "1", "--pods", "0"]);
        host
    }

    fn lab(&self, words: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command
            .arg("lab")
            .arg(words[0])
            .args(["--name", &self.name])
            .args(&words[1..]);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn namespace(&self) -> Namespace {
        Namespace::open(named_path(&format!("{}-1", self.name))).unwrap()
    }

    /// A pod's namespace; removed with the lab.
    fn pod(&self, number: u32) -> String {
        let name = format!("{}-1-pod-{number}", self.name);
        Namespace::create_named(&name).unwrap();
        name
    }

    fn plugin(&self, command: &str, id: &str, pod: &str, config: &str) -> Output {
        self.plugin_for("eth0", command, id, pod, config)
    }

    fn plugin_for(&self, ifname: &str, command: &str, id: &str, pod: &str, config: &str) -> Output {
        let program = PathBuf::from("/run").join(&self.name).join("bin/weave-net");
        self.call(&program, ifname, command, id, pod, config)
    }

    /// A call of any plugin.
    fn call(
        &self,
        program: &Path,
        ifname: &str,
        command: &str,
        id: &str,
        pod: &str,
        config: &str,
    ) -> Output {
        let run = || {
            let mut child = Command::new(program)
                .env("CNI_COMMAND", command)
                .env("CNI_CONTAINERID", id)
                .env("CNI_NETNS", named_path(pod))
                .env("CNI_IFNAME", ifname)
                .env("CNI_PATH", "/opt/cni/bin")
                .env("WEAVE_CNI_PENDING_DIR", self.spool())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(config.as_bytes())
                .unwrap();
            child.wait_with_output().unwrap()
        };
        self.namespace().run(run).unwrap()
    }

    /// Where the plugin leaves what the daemon is to release.
    fn spool(&self) -> PathBuf {
        PathBuf::from("/run")
            .join(&self.name)
            .join("host-1/cni-pending")
    }

    /// The addresses of the container `id`, as the daemon has them.
    fn addresses_of(&self, id: &str) -> String {
        let path = format!("/ip/{id}");
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(Client::from_env().get(&path))
        };
        self.namespace().run(ask).unwrap().unwrap().body
    }

    /// Whether the host still has an interface of the container `id`.
    fn has_interface_of(&self, id: &str) -> bool {
        let list = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let devices = self.namespace().run(list).unwrap();
        devices.contains(&format!("vethwepl{}", &id[..7]))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        let _output = command.args(["lab", "down", "--name", &self.name]).output();
    }
}

fn stdout(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn assert_ok(output: &Output) {
    let words = format!(
        "{}{}",
        stdout(output),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{words}");
}

const CONFIG: &str = r#"{"cniVersion":"1.1.0","name":"weave","type":"weave-net"}"#;
const ID: &str = "c0ffee0123456789";
const STALE: &str = "5ta1e00123456789";

#[test]
fn a_pod_comes_and_goes_however_often_the_runtime_asks() {
    if !geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let host = Host::up("life");
    let pod = host.pod(1);

    let first = host.plugin("ADD", ID, &pod, CONFIG);
    assert_ok(&first);
    let again = host.plugin("ADD", ID, &pod, CONFIG);
    assert_eq!(stdout(&first), stdout(&again));
    assert_eq!(stdout(&first)["interfaces"][1]["name"], "eth0");
    assert!(host.has_interface_of(ID));

    for _ in 0..2 {
        let deleted = host.plugin("DEL", ID, &pod, CONFIG);
        assert_ok(&deleted);
        assert!(deleted.stdout.is_empty());
        assert!(!host.has_interface_of(ID));
    }

    // The namespace goes first, as when a machine was reset in the middle.
    assert_ok(&host.plugin("ADD", ID, &pod, CONFIG));
    Namespace::delete_named(&pod).unwrap();
    assert_ok(&host.plugin("DEL", ID, &pod, CONFIG));
}

#[test]
fn a_failed_add_keeps_neither_address_nor_interface() {
    if !geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let host = Host::up("undo");
    let pod = host.pod(1);

    // The name is taken by an interface that is not ours.
    let failed = host.plugin_for("lo", "ADD", ID, &pod, CONFIG);

    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(stdout(&failed)["code"], 102, "{}", stdout(&failed));
    assert!(!host.has_interface_of(ID));
    let deleted = host.plugin("DEL", ID, &pod, CONFIG);
    assert_ok(&deleted);
    let log = String::from_utf8_lossy(&deleted.stderr).into_owned();
    assert!(log.contains(&format!("no addresses for {ID}")), "{log}");
}

#[test]
fn without_a_daemon_pods_end_and_their_addresses_are_free_later() {
    if !geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let host = Host::up("down");
    let pod = host.pod(1);
    assert_ok(&host.plugin("ADD", ID, &pod, CONFIG));
    host.lab(&["kill", "1"]);

    let add = host.plugin("ADD", "another012345", &pod, CONFIG);
    assert_eq!(add.status.code(), Some(1));
    assert_eq!(stdout(&add)["code"], 11);
    let message = stdout(&add)["msg"].to_string();
    let refused = "connect: connection refused";
    assert!(message.contains(refused), "{message}");
    let status = host.plugin("STATUS", "", "", CONFIG);
    assert_eq!(stdout(&status)["code"], 51);

    for _ in 0..2 {
        assert_ok(&host.plugin("DEL", ID, &pod, CONFIG));
    }
    assert!(!host.has_interface_of(ID));
    host.lab(&["start", "1"]);

    assert_eq!(host.addresses_of(ID), "");
    assert_eq!(std::fs::read_dir(host.spool()).unwrap().count(), 0);
    assert_ok(&host.plugin("STATUS", "", "", CONFIG));
}

#[test]
fn a_pod_is_checked_and_what_no_runtime_lists_is_collected() {
    if !geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let host = Host::up("keep");
    let (pod, stale) = (host.pod(1), host.pod(2));
    let added = host.plugin("ADD", ID, &pod, CONFIG);
    assert_ok(&added);
    assert_ok(&host.plugin("ADD", STALE, &stale, CONFIG));
    let mut config: Value = serde_json::from_str(CONFIG).unwrap();
    config["prevResult"] = stdout(&added);
    let check = || host.plugin("CHECK", ID, &pod, &config.to_string());
    assert_ok(&check());

    let mut list: Value = serde_json::from_str(CONFIG).unwrap();
    list["cni.dev/valid-attachments"] = serde_json::json!([{"containerID": ID, "ifname": "eth0"}]);
    assert_ok(&host.plugin("GC", "", "", &list.to_string()));

    assert_eq!(host.addresses_of(STALE), "");
    assert!(!host.has_interface_of(STALE));
    assert_ok(&check());
    let lose_the_address = async || {
        let pod = Namespace::open(named_path(&pod)).unwrap();
        let netlink = Netlink::open_in(&pod).unwrap();
        let index = netlink.require_link("eth0").await.unwrap().index;
        for address in netlink.addresses(index).await.unwrap() {
            netlink.delete_address(index, address).await.unwrap();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(lose_the_address());
    let found = check();
    assert_eq!(stdout(&found)["code"], 103, "{}", stdout(&found));
}

/// Where the plugin `portmap` of the CNI project is.
fn portmap() -> Option<PathBuf> {
    let named = std::env::var_os("CNI_PATH").unwrap_or_default();
    let usual = ["/opt/cni/bin", "/usr/lib/cni"].map(PathBuf::from);
    let mut all = std::env::split_paths(&named).chain(usual);
    all.find_map(|directory| Some(directory.join("portmap")).filter(|path| path.is_file()))
}

/// `plugin` as the next one of a chain that began with `first`, whose result it is given.
fn chained(plugin: &str, first: &Output) -> Value {
    let mut result = stdout(first);
    result["cniVersion"] = "1.0.0".into();
    serde_json::json!({
        "cniVersion": "1.0.0", "name": "weave", "type": plugin, "snat": true,
        "runtimeConfig": {"portMappings": [
            {"hostPort": 8099, "containerPort": 80, "protocol": "tcp"}]},
        "prevResult": result,
    })
}

#[test]
fn a_chained_portmap_opens_a_port_of_the_host() {
    let Some(portmap) = portmap().filter(|_| geteuid().is_root()) else {
        println!("skipped: needs root and the plugin portmap");
        return;
    };
    let host = Host::up("port");
    let pod = host.pod(1);
    let first = host.plugin("ADD", ID, &pod, &CONFIG.replace("1.1.0", "1.0.0"));
    assert_ok(&first);
    let config = chained("portmap", &first);
    let call = |command| host.call(&portmap, "eth0", command, ID, &pod, &config.to_string());
    let listen = || TcpListener::bind("0.0.0.0:80").unwrap();
    let inside = Namespace::open(named_path(&pod)).unwrap();
    let listener = inside.run(listen).unwrap();
    let limit = std::time::Duration::from_millis(500);
    let reaches = |address: &str| {
        let address = address.parse().unwrap();
        let connect = || TcpStream::connect_timeout(&address, limit).is_ok();
        host.namespace().run(connect).unwrap()
    };

    let second = call("ADD");

    assert_ok(&second);
    // What the last plugin says is what the runtime keeps: all of ours is still in it.
    for part in ["ips", "interfaces", "routes"] {
        assert_eq!(stdout(&second)[part], stdout(&first)[part], "{part}");
    }
    assert!(reaches("198.18.0.1:8099"));
    let (_, seen) = listener.accept().unwrap();
    let bridge = stdout(&first)["routes"][0]["gw"].clone();
    assert_eq!(Value::from(seen.ip().to_string()), bridge);
    assert!(reaches("127.0.0.1:8099"));

    assert_ok(&call("DEL"));
    assert!(!reaches("198.18.0.1:8099"));
    assert_ok(&host.plugin("DEL", ID, &pod, CONFIG));
}

/// A daemon in the place of the lab's; it ends with the test.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn pods_live_on_ipv6_alone() {
    if !geteuid().is_root() || !Path::new("/proc/sys/net/ipv6").exists() {
        println!("skipped: needs root and IPv6");
        return;
    }
    let host = Host::up("six");
    host.lab(&["kill", "1"]);
    let prefix = PathBuf::from("/run").join(&host.name).join("host-1/six");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
    command
        .args(["weaver", "--no-overlay", "--ipalloc-range=fd00:32::/64"])
        .args(["--name=::1", "--ipalloc-init=seed=::1"])
        .arg(format!("--db-prefix={}", prefix.display()))
        .stderr(Stdio::null());
    let _daemon = Daemon(host.namespace().run(|| command.spawn()).unwrap().unwrap());
    let status = || host.plugin("STATUS", "", "", CONFIG).status.success();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !status() {
        assert!(
            std::time::Instant::now() < until,
            "the daemon does not serve"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    let pods = [host.pod(1), host.pod(2)];
    let mut addresses = Vec::new();
    for (pod, id) in pods.iter().zip([ID, STALE]) {
        let added = host.plugin("ADD", id, pod, CONFIG);
        assert_ok(&added);
        let result = stdout(&added);
        assert_eq!(result["ips"].as_array().unwrap().len(), 1, "{result}");
        assert_eq!(result["routes"][0]["dst"], "::/0");
        let net: ipnet::Ipv6Net = result["ips"][0]["address"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .unwrap();
        addresses.push(net.addr());
    }
    let at = |pod: &str| Namespace::open(named_path(pod)).unwrap();
    let bound = at(&pods[0]).run(|| TcpListener::bind((addresses[0], 0)));
    let target = bound.unwrap().unwrap();
    let there = target.local_addr().unwrap();
    let connected = at(&pods[1]).run(|| TcpStream::connect(there));
    let from = connected.unwrap().unwrap().local_addr().unwrap().ip();
    assert_eq!(from, addresses[1]);

    for (pod, id) in pods.iter().zip([ID, STALE]) {
        assert_ok(&host.plugin("DEL", id, pod, CONFIG));
        assert_eq!(host.addresses_of(id), "");
    }
}
