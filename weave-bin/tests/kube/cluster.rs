//! Five nodes as real programs on one wire, with an API server of our own: rings, nodes that go, and
//! an API server that is away.
//!
//! `WEAVE_CLUSTER_ORDERS` sets in how many random orders the nodes join (default 1).

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weave_bin::http::client::{Client, Response};
use weave_bin::lab::cluster::server::recorded::{Mood, PEERS, Recorded};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;

use crate::until;

/// The nodes and what joins them, gone when dropped.
struct Cluster {
    tag: String,
    scratch: PathBuf,
    switch: Namespace,
    fake: Recorded,
    nodes: Vec<Node>,
}

struct Node {
    number: usize,
    namespace: Namespace,
    process: Option<Child>,
}

impl Cluster {
    /// Nodes 1 to [`COUNT`] that have never run.
    async fn new(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let tag = format!("wkc-{test}-{}", std::process::id());
        let scratch = std::env::temp_dir().join(&tag);
        let switch = Namespace::create_named(&tag).unwrap();
        let netlink = Netlink::open_in(&switch).unwrap();
        let made = netlink.create_bridge("sw", None, 1500);
        made.await.unwrap();
        let bridge = netlink.require_link("sw").await.unwrap().index;
        let address = "10.98.0.254/24".parse().unwrap();
        netlink.add_address(bridge, address).await.unwrap();
        netlink.set_up(bridge).await.unwrap();
        let listener = switch.run(|| std::net::TcpListener::bind("10.98.0.254:0"));
        let fake = Recorded::serve(listener.unwrap().unwrap()).unwrap();
        let mut cluster = Self {
            tag,
            scratch,
            switch,
            fake,
            nodes: Vec::new(),
        };
        for number in 1..=COUNT {
            cluster.connect(number, &netlink, bridge).await;
            cluster.forget(number);
            let address = format!("10.98.0.{number}");
            cluster.fake.add_node(&format!("host-{number}"), &address);
        }
        Some(cluster)
    }

    async fn connect(&mut self, number: usize, switch: &Netlink, bridge: u32) {
        let namespace = Namespace::create_named(&format!("{}-{number}", self.tag)).unwrap();
        let port = format!("port{number}");
        let made = switch.create_veth_into(&port, "uplink", &namespace, 1500);
        made.await.unwrap();
        let port = switch.require_link(&port).await.unwrap().index;
        switch.set_master(port, Some(bridge)).await.unwrap();
        switch.set_up(port).await.unwrap();
        let netlink = Netlink::open_in(&namespace).unwrap();
        let uplink = netlink.require_link("uplink").await.unwrap().index;
        let address = format!("10.98.0.{number}/24").parse().unwrap();
        netlink.add_address(uplink, address).await.unwrap();
        netlink.set_up(uplink).await.unwrap();
        netlink.set_up(1).await.unwrap();
        self.nodes.push(Node {
            number,
            namespace,
            process: None,
        });
    }

    fn directory(&self, number: usize) -> PathBuf {
        self.scratch.join(format!("host-{number}"))
    }

    /// Makes node `number` one that has never run.
    fn forget(&self, number: usize) {
        let directory = self.directory(number);
        let _absent = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("etc")).unwrap();
        let id = format!("{number:032x}\n");
        std::fs::write(directory.join("etc/machine-id"), id).unwrap();
        let server = format!("http://{}", self.fake.address());
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}]});
        std::fs::write(directory.join("kubeconfig"), config.to_string()).unwrap();
    }

    /// Starts the weave container of node `number`, with a mesh and no data path.
    fn start(&mut self, number: usize) {
        self.start_with(number, &[]);
    }

    fn start_with(&mut self, number: usize, env: &[(&str, &str)]) {
        let directory = self.directory(number).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command
            .args(["launch.sh", "--no-overlay"])
            .env_clear()
            .env("HOSTNAME", format!("host-{number}"))
            .env("INIT_CONTAINER", "true")
            .env("HOST_ROOT", &directory)
            .env("DB_PREFIX", format!("{directory}/weave-net"))
            .env("KUBECONFIG", format!("{directory}/kubeconfig"))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(format!("{directory}/log")).unwrap());
        let node = &mut self.nodes[number - 1];
        let child = node.namespace.run(|| command.spawn()).unwrap().unwrap();
        node.process = Some(child);
    }

    /// Takes node `number` off the wire at once.
    fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.nodes[number - 1].process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn log(&self, number: usize) -> String {
        std::fs::read_to_string(self.directory(number).join("log")).unwrap_or_default()
    }

    /// What all daemons logged of the cluster.
    fn logs(&self) -> String {
        let mut text = String::new();
        for number in 1..=COUNT {
            let log = self.log(number);
            let lines = log.lines().filter(|line| line.contains("[kube]"));
            lines.for_each(|line| text += &format!("{number}: {line}\n"));
        }
        text
    }

    /// Asks the daemon of node `number`.
    fn ask(&self, number: usize, verb: &str, path: &str) -> Option<Response> {
        let client = Client::new("127.0.0.1:6784").with_limit(Duration::from_secs(2));
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                match verb {
                    "GET" => client.get_json(path).await,
                    "POST" => client.post(path).await,
                    _ => client.delete(path).await,
                }
            })
        };
        let namespace = &self.nodes[number - 1].namespace;
        tokio::task::block_in_place(|| namespace.run(ask).unwrap()).ok()
    }

    fn report(&self, number: usize) -> Value {
        let answer = self.ask(number, "GET", "/report");
        answer
            .and_then(|answer| serde_json::from_str(&answer.body).ok())
            .unwrap_or_default()
    }

    /// Who owns what, as node `number` sees it; empty while it knows no ring.
    fn ring(&self, number: usize) -> Vec<(String, String)> {
        self.ring_of(number, "IPAM")
    }

    fn ring_of(&self, number: usize, family: &str) -> Vec<(String, String)> {
        let report = self.report(number);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = report[family]["Entries"].as_array();
        entries
            .into_iter()
            .flatten()
            .map(|entry| (text(&entry["Token"]), text(&entry["Peer"])))
            .collect()
    }

    /// Waits until node 1 says of the whole cluster what Weave Net's documents show of one with three nodes. There
    /// each node also dials itself, a connection that fails for ever; here none does.
    async fn until_documented_page(&self) {
        let name = self.report(1)["Router"]["Name"].clone();
        let others = COUNT - 1;
        let expected = format!(
            "       Protocol: weave 2
           Name: {}(host-1)
     Encryption: disabled
  PeerDiscovery: enabled
        Targets: {others}
    Connections: {others} ({others} established)
          Peers: {COUNT} (with {} established connections)
 TrustedSubnets: none

        Service: ipam
         Status: ready
          Range: 10.32.0.0/12
  DefaultSubnet: 10.32.0.0/12
",
            name.as_str().unwrap(),
            COUNT * others
        );
        until("the page is as documented", 30, async || {
            let page = self.ask(1, "GET", "/status").unwrap().body;
            if !page.contains(&expected) {
                println!("{page}");
            }
            page.starts_with("        Version: ") && page.contains(&expected)
        })
        .await;
    }

    /// Waits until these nodes are ready and agree on one ring.
    async fn until_one_ring(&self, numbers: &[usize]) {
        until("all are ready with one ring", 60, async || {
            let is_ready = |number: &usize| {
                let report = self.report(*number);
                report["Cluster"]["Available"] == true && report["Cluster"]["Exposed"].is_string()
            };
            numbers.iter().all(is_ready) && {
                let rings: BTreeSet<_> = numbers.iter().map(|number| self.ring(*number)).collect();
                rings.len() == 1 && !rings.contains(&Vec::new())
            }
        })
        .await;
        let bridges: BTreeSet<String> = numbers
            .iter()
            .map(|number| self.report(*number)["Cluster"]["Exposed"].to_string())
            .collect();
        assert_eq!(bridges.len(), numbers.len(), "an address was given twice");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 1..=self.nodes.len() {
            if std::thread::panicking() {
                println!("--- log of host-{number}\n{}", self.log(number));
            }
            self.kill(number);
        }
        for node in &self.nodes {
            let _left = Namespace::delete_named(&format!("{}-{}", self.tag, node.number));
        }
        let _left = Namespace::delete_named(&self.tag);
        let _left = std::fs::remove_dir_all(&self.scratch);
        let _ = &self.switch;
    }
}

/// Numbers that differ from run to run.
fn drawn(below: usize) -> usize {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    usize::try_from(u32::from_le_bytes(bytes)).unwrap() % below
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_in_any_order_make_one_ring() {
    let orders = std::env::var("WEAVE_CLUSTER_ORDERS").ok();
    let orders: usize = orders.and_then(|text| text.parse().ok()).unwrap_or(1);
    for _ in 0..orders {
        let Some(mut cluster) = Cluster::new("orders").await else {
            return;
        };
        let mut waiting: Vec<usize> = (1..=COUNT).collect();
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let next = waiting.remove(drawn(waiting.len()));
            order.push(next);
            cluster.start(next);
            let pause = u64::try_from(drawn(400)).unwrap();
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        println!("order {order:?}");

        let all: Vec<usize> = (1..=COUNT).collect();
        cluster.until_one_ring(&all).await;
        cluster.until_documented_page().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_node_had_is_usable_and_the_node_comes_back() {
    let Some(mut cluster) = Cluster::new("gone").await else {
        return;
    };
    let all: Vec<usize> = (1..=COUNT).collect();
    // The first is the seed of the ring, and the one that goes.
    cluster.start(COUNT);
    cluster.until_one_ring(&[COUNT]).await;
    let rest = &all[..COUNT - 1];
    rest.iter().for_each(|number| cluster.start(*number));
    cluster.until_one_ring(&all).await;
    let lost = cluster.report(COUNT)["Router"]["Name"]
        .as_str()
        .unwrap()
        .to_owned();

    cluster.kill(COUNT);
    cluster.fake.delete_node(&format!("host-{COUNT}"));
    let began = Instant::now();
    until("nobody is left an owner who is gone", 60, async || {
        rest.iter().all(|number| {
            let ring = cluster.ring(*number);
            !ring.is_empty() && ring.iter().all(|(_, owner)| *owner != lost)
        })
    })
    .await;
    let took = began.elapsed();
    println!("reclaimed after {:.1} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(30), "{took:?}");
    // It stays the seed, which is decided once and for all.
    let is_listed = || {
        let list = &cluster.fake.map()["metadata"]["annotations"][PEERS];
        list.as_str().unwrap().contains(&lost)
    };
    let end = Instant::now() + Duration::from_secs(30);
    while is_listed() {
        assert!(Instant::now() < end, "listed still:\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let logs: Vec<String> = rest.iter().map(|number| cluster.log(*number)).collect();
    let taken = logs.iter().flat_map(|log| log.lines()).filter(|line| {
        let words = format!("IPs taken over from {lost}");
        let is_of_cluster = line.contains("[kube]") && line.contains(&words);
        is_of_cluster && !line.contains(&format!(" 0 {words}"))
    });
    assert_eq!(taken.count(), 1, "one heir");

    // The machine comes back with what it remembers, and a new Node of the old name.
    let address = format!("10.98.0.{COUNT}");
    cluster.fake.add_node(&format!("host-{COUNT}"), &address);
    cluster.start(COUNT);
    cluster.until_one_ring(&all).await;
    let log = cluster.log(COUNT);
    assert!(log.contains("removing persisted data"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seed_of_the_ipv6_ring_that_lost_its_disk_hears_the_ring() {
    let Some(mut cluster) = Cluster::new("six").await else {
        return;
    };
    if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        println!("skipped: needs IPv6");
        return;
    }
    let both = &[("IPALLOC_RANGE", "10.32.0.0/12,fd00:10:32::/64")];
    let one_ring = async |cluster: &Cluster| {
        cluster.until_one_ring(&[1, 2]).await;
        until("both agree on one IPv6 ring", 60, async || {
            let ring = cluster.ring_of(1, "IPAM6");
            !ring.is_empty() && ring == cluster.ring_of(2, "IPAM6")
        })
        .await;
    };
    cluster.start_with(1, both);
    cluster.until_one_ring(&[1]).await;
    cluster.start_with(2, both);
    one_ring(&cluster).await;
    let seed = cluster.report(1)["Router"]["Name"].clone();
    let map = cluster.fake.map();
    assert_eq!(map["data"]["ring-seeds-ipv6"], format!("[{seed}]"));

    cluster.kill(1);
    cluster.forget(1);
    cluster.start_with(1, both);

    // Which also says that no bridge has the address of another.
    one_ring(&cluster).await;
    let log = cluster.log(1);
    assert!(log.contains("waiting to hear it from the others"), "{log}");
    for number in [1, 2] {
        let log = cluster.log(number);
        assert!(!log.contains("contradicts ours"), "{log}");
    }
    assert_eq!(cluster.fake.map()["data"], map["data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_api_server_pods_come_and_go_as_before() {
    let Some(mut cluster) = Cluster::new("away").await else {
        return;
    };
    let all: Vec<usize> = (1..=COUNT).collect();
    all.iter().for_each(|number| cluster.start(*number));
    cluster.until_one_ring(&all).await;

    cluster.fake.set_mood(Mood::Down);
    until("the outage is seen", 30, async || {
        let problems = &cluster.report(1)["Cluster"]["Problems"];
        problems.to_string().contains("does not answer")
    })
    .await;
    let mut given = BTreeSet::new();
    for round in 0..20 {
        for number in &all {
            let path = format!("/ip/pod-{number}-{round}");
            let answer = cluster.ask(*number, "POST", &path).unwrap();
            assert!(answer.is_success(), "{}", answer.body);
            assert!(given.insert(answer.body.clone()), "{} twice", answer.body);
            if round % 2 == 0 {
                let freed = cluster.ask(*number, "DELETE", &path).unwrap();
                assert!(freed.is_success(), "{}", freed.body);
                given.remove(&answer.body);
            }
        }
    }
    // One that is started again has its ring in memory.
    cluster.kill(2);
    cluster.start(2);
    until("it answers from memory", 60, async || {
        cluster
            .ask(2, "POST", "/ip/pod-again")
            .is_some_and(|answer| answer.is_success())
    })
    .await;

    cluster.fake.set_mood(Mood::Well);
    cluster.until_one_ring(&all).await;
}

const COUNT: usize = 5;
