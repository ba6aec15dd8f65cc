//! A node of Weave Net 2.9 becomes ours by the real start sequence, under traffic, and goes back:
//! from the state file, the configuration, the rules and the links that were recorded of one.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use weave_bin::http::client::Client;
use weave_bin::store::Store;
use weave_datapath::attach::{self, Request};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::{Namespace, named_path};

use crate::feed::feed;
use crate::launch::{Host, terminate};
use crate::until;

/// The peer of the recorded state, and the MAC of its bridge.
const PEER: &str = "62:d6:c4:97:8d:3a";
const MAC: [u8; 6] = [0x62, 0xd6, 0xc4, 0x97, 0x8d, 0x3a];
/// The pods of the recorded state.
const PODS: [(&str, &str); 2] = [
    ("0123456789abcdef0123456789abcdef01", "10.32.0.2"),
    ("89abcdef0123456789abcdef0123456789", "10.32.0.3"),
];
const NEW_POD: &str = "fedcba9876543210fedcba9876543210";

/// Namespaces that go with the test.
struct Named(Vec<(String, Namespace)>);

impl Named {
    fn make(&mut self, label: &str) -> (String, Namespace) {
        let name = format!("wkm-{}-{label}", std::process::id());
        let namespace = Namespace::create_named(&name).unwrap();
        self.0.push((name.clone(), namespace.clone()));
        (name, namespace)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        for (name, _) in &self.0 {
            let _left = Namespace::delete_named(name);
        }
    }
}

/// Bridge, capture pair and pods as Weave Net made them, without Open vSwitch.
async fn old_links(host: &Namespace, pods: &[Namespace]) {
    let netlink = Netlink::open_in(host).unwrap();
    let made = netlink.create_bridge("weave", Some(MAC), 1376);
    made.await.unwrap();
    let bridge = netlink.require_link("weave").await.unwrap().index;
    let pair = netlink.create_veth("vethwe-bridge", "vethwe-pcap", 1376);
    pair.await.unwrap();
    let port = netlink.require_link("vethwe-bridge").await.unwrap().index;
    netlink.set_master(port, Some(bridge)).await.unwrap();
    let address = "10.32.0.1/12".parse().unwrap();
    netlink.add_address(bridge, address).await.unwrap();
    netlink.set_up(bridge).await.unwrap();
    for (pod, (id, address)) in pods.iter().zip(PODS) {
        let mut request = Request::new(id, pod.clone(), "eth0");
        request.addresses = vec![format!("{address}/12").parse().unwrap()];
        request.gateways = vec!["10.32.0.1".parse().unwrap()];
        attach::attach_from(host, &request).await.unwrap();
        // Weave Net gave the host's ends no alias.
        let name = format!("vethwepl{}", &id[..7]);
        let port = netlink.require_link(&name).await.unwrap();
        netlink.set_alias(port.index, "").await.unwrap();
    }
}

/// What the host's disk has of Weave Net.
fn old_files(scratch: &Path) {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let from = vectors.join("store/weave-netdata.db");
    std::fs::copy(from, scratch.join("weave-netdata.db")).unwrap();
    let config = scratch.join("etc/cni/net.d");
    std::fs::create_dir_all(&config).unwrap();
    let from = vectors.join("kubernetes/10-weave.conflist");
    std::fs::copy(from, config.join("10-weave.conflist")).unwrap();
    let bin = scratch.join("opt/cni/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("weave-plugin-latest"), "old").unwrap();
    std::os::unix::fs::symlink("weave-plugin-latest", bin.join("weave-net")).unwrap();
}

/// The rules of Weave Net in both back ends, and their set.
fn old_rules(host: &Namespace) {
    feed(host, "ipset create weaver-no-masq-local hash:net", "");
    feed(host, "ipset add weaver-no-masq-local 10.32.0.0/12", "");
    // The recorded host had no controller, which would let its pods through.
    let last = "-A FORWARD -j KUBE-FORWARD\n";
    let recorded = include_str!("../vectors/expect-npc.iptables-save.txt")
        .replace(last, &format!("{last}-A WEAVE-NPC -j ACCEPT\n"));
    assert!(recorded.contains("WEAVE-NPC -j ACCEPT"));
    for backend in ["nft", "legacy"] {
        feed(host, &format!("iptables-{backend}-restore"), &recorded);
        assert!(!weave_rules(host, backend).is_empty(), "{backend}");
    }
}

/// Rules of Weave Net; ours have names of their own.
fn weave_rules(host: &Namespace, backend: &str) -> Vec<String> {
    let saved = feed(host, &format!("iptables-{backend}-save"), "");
    let is_old = |line: &&str| {
        (line.contains("weave") || line.contains("WEAVE")) && !line.contains("weave: ")
    };
    saved.lines().filter(is_old).map(str::to_owned).collect()
}

/// A connection between two pods that answers every ten milliseconds, until `stop`; how many
/// answers there were and the longest wait for one.
fn talk(from: &Namespace, to: &Namespace, stop: Arc<AtomicBool>) -> JoinHandle<(u32, Duration)> {
    let target = (PODS[1].1, 0);
    let listener = to.run(|| TcpListener::bind(target)).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let limit = Duration::from_secs(5);
    let connect = || TcpStream::connect_timeout(&target, limit);
    let mut client = from.run(connect).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.set_read_timeout(Some(limit)).unwrap();
    client.set_nodelay(true).unwrap();
    std::thread::spawn(move || {
        let mut byte = [0];
        while let Ok(()) = server.read_exact(&mut byte) {
            server.write_all(&byte).unwrap();
        }
    });
    std::thread::spawn(move || {
        let (mut count, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            client.write_all(&[7]).unwrap();
            client.read_exact(&mut [0]).expect("the connection broke");
            longest = longest.max(begun.elapsed());
            count += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        (count, longest)
    })
}

fn reaches(from: &Namespace, to: &Namespace, address: &str) -> bool {
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&target, Duration::from_secs(1));
    from.run(connect).unwrap().is_ok()
}

/// Calls the plugin that is installed on the host.
fn call(host: &Namespace, scratch: &Path, command: &str, id: &str, pod: &str) -> Output {
    let list = std::fs::read(scratch.join("etc/cni/net.d/10-weave.conflist")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    let mut config = list["plugins"][0].clone();
    config["cniVersion"] = list["cniVersion"].clone();
    let mut plugin = Command::new(scratch.join("opt/cni/bin/weave-net"));
    plugin
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", named_path(pod))
        .env("CNI_IFNAME", "eth0")
        .env("WEAVE_CNI_PENDING_DIR", scratch.join("cni-pending"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = host.run(|| plugin.spawn()).unwrap().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(config.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command} {id}: {said}");
    output
}

/// Who has which address, as the daemon says.
fn owned(host: &Namespace) -> BTreeMap<String, String> {
    let ask = || {
        let client = Client::new("127.0.0.1:6784").with_limit(Duration::from_secs(5));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(client.get_json("/ip"))
    };
    let answer = tokio::task::block_in_place(|| host.run(ask).unwrap().unwrap());
    let page: Value = serde_json::from_str(&answer.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let owners = page["owned"].as_array().unwrap().iter();
    owners
        .map(|owner| (text(&owner["containerid"]), text(&owner["addrs"][0])))
        .collect()
}

fn lacks(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    !std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_weave_net_becomes_ours_and_goes_back() {
    for program in ["iptables-nft-restore", "iptables-legacy-restore", "ipset"] {
        if lacks(program) {
            println!("skipped: needs the program {program}");
            return;
        }
    }
    let Some(host) = Host::new("migrate").await else {
        return;
    };
    let mut named = Named(Vec::new());
    let pods: Vec<Namespace> = ["a", "b"].map(|label| named.make(label).1).into();
    let (new_name, new_pod) = named.make("c");
    old_links(&host.namespace, &pods).await;
    old_files(&host.scratch);
    old_rules(&host.namespace);
    let config = host.scratch.join("etc/cni/net.d/10-weave.conflist");
    let config_before = std::fs::read(&config).unwrap();
    host.fake.add_node("host-0", "203.0.113.1");
    host.fake.set_peers(&format!(
        r#"{{"Peers":[{{"PeerName":"{PEER}","NodeName":"host-0"}}]}}"#
    ));
    let list = host.fake.map();
    let netlink = Netlink::open_in(&host.namespace).unwrap();
    let before = netlink.require_link("weave").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let talking = talk(&pods[0], &pods[1], Arc::clone(&stop));

    let env = [("EXPECT_NPC", "0")];
    let init = host.start("init.sh", &env, &[]).wait_with_output().unwrap();
    assert!(init.status.success());
    let child = host.start("launch.sh", &env, &["--no-fastdp"]);
    until("it is ready", 60, async || {
        host.status()
            .await
            .contains("Status: ready\n           Node: host-0")
    })
    .await;

    // Name, ring, addresses, links and the shared list are as they were.
    assert!(
        host.status()
            .await
            .contains(&format!("Name: {PEER}(host-0)"))
    );
    let after = netlink.require_link("weave").await.unwrap();
    assert_eq!((after.index, after.mac), (before.index, Some(MAC)));
    assert!(after.mtu >= before.mtu, "{} from {}", after.mtu, before.mtu);
    let mut expected: BTreeMap<String, String> = PODS
        .map(|(id, address)| (id.to_owned(), format!("{address}/12")))
        .into();
    expected.insert("weave:expose".to_owned(), "10.32.0.1/12".to_owned());
    assert_eq!(owned(&host.namespace), expected);
    let peers = |map: &Value| map["metadata"]["annotations"].clone();
    assert_eq!(peers(&host.fake.map()), peers(&list));
    // No rule and no set of Weave Net is left in either back end; its files are replaced or stay.
    for backend in ["nft", "legacy"] {
        let left = weave_rules(&host.namespace, backend);
        assert_eq!(left, [""; 0], "{backend}");
    }
    assert_eq!(feed(&host.namespace, "ipset list -name", ""), "");
    assert_eq!(std::fs::read(&config).unwrap(), config_before);
    assert!(
        !host
            .scratch
            .join("opt/cni/bin/weave-plugin-latest")
            .exists()
    );

    // The old pods still talk; a new one reaches them; one of the old ones ends.
    call(&host.namespace, &host.scratch, "ADD", NEW_POD, &new_name);
    let address = owned(&host.namespace)[NEW_POD].replace("/12", "");
    assert!(reaches(&pods[0], &new_pod, &address));
    assert!(reaches(&new_pod, &pods[1], PODS[1].1));
    stop.store(true, Ordering::Relaxed);
    let (count, longest) = talking.join().unwrap();
    println!("{count} answers between old pods, the longest wait {longest:?}");
    assert!(
        count > 10 && longest < Duration::from_secs(1),
        "{longest:?}"
    );
    let old_name = format!("wkm-{}-a", std::process::id());
    call(&host.namespace, &host.scratch, "DEL", PODS[0].0, &old_name);
    expected.remove(PODS[0].0);
    expected.insert(NEW_POD.to_owned(), format!("{address}/12"));
    assert_eq!(owned(&host.namespace), expected);

    // Back: what Weave Net starts from is there, and the pods go on without any daemon.
    let (code, said, _) = terminate(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(reaches(&pods[1], &new_pod, &address));
    assert_eq!(std::fs::read(&config).unwrap(), config_before);
    let store = Store::new(&host.scratch.join("weave-net"));
    assert_eq!(store.flag("peer-reclaim").unwrap().as_deref(), Some("ok"));
    let file = std::fs::read(store.path()).unwrap();
    let times = |id: &str| {
        file.windows(id.len())
            .filter(|at| *at == id.as_bytes())
            .count()
    };
    // Once in the record of Weave Net at least, besides our sealed copy.
    assert!(times(NEW_POD) >= 2, "{}", times(NEW_POD));
}
