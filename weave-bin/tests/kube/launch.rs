//! The start sequence as the real program, in a network namespace with an API server of our own.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weave_bin::http::client::Client;
use weave_bin::lab::cluster::server::recorded::{Mood, Recorded};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;

use crate::until;

/// A host with an API server on its loopback, gone when dropped.
pub(crate) struct Host {
    name: String,
    pub(crate) namespace: Namespace,
    pub(crate) scratch: PathBuf,
    pub(crate) fake: Recorded,
}

impl Host {
    pub(crate) async fn new(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let name = format!("wkl-{test}-{}", std::process::id());
        let namespace = Namespace::create_named(&name).unwrap();
        let netlink = Netlink::open_in(&namespace).unwrap();
        netlink.set_up(1).await.unwrap();
        let scratch = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(scratch.join("etc")).unwrap();
        let id = "00000000000000000000000000000001\n";
        std::fs::write(scratch.join("etc/machine-id"), id).unwrap();
        let listener = namespace.run(|| std::net::TcpListener::bind("127.0.0.1:0"));
        let fake = Recorded::serve(listener.unwrap().unwrap()).unwrap();
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", fake.address())}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}]});
        std::fs::write(scratch.join("kubeconfig"), config.to_string()).unwrap();
        Some(Self {
            name,
            namespace,
            scratch,
            fake,
        })
    }

    pub(crate) fn start(&self, role: &str, env: &[(&str, &str)], words: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        let scratch = self.scratch.display().to_string();
        command
            .arg(role)
            .args(words)
            .env_clear()
            .env("HOSTNAME", "host-0")
            .env("INIT_CONTAINER", "true")
            .env("HOST_ROOT", &scratch)
            .env("DB_PREFIX", format!("{scratch}/weave-net"))
            .env("KUBECONFIG", format!("{scratch}/kubeconfig"))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.namespace.run(|| command.spawn()).unwrap().unwrap()
    }

    /// The weave container, with a mesh and no data path: that is tested elsewhere.
    fn launch(&self, env: &[(&str, &str)]) -> Child {
        self.start("launch.sh", env, &["--no-overlay"])
    }

    /// The status page; empty while there is none.
    pub(crate) async fn status(&self) -> String {
        let listening = Client::new("127.0.0.1:6784").with_limit(Duration::from_secs(2));
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(listening.get("/status"))
        };
        let answer = tokio::task::block_in_place(|| self.namespace.run(ask).unwrap());
        answer.map(|answer| answer.body).unwrap_or_default()
    }

    fn state_file(&self) -> PathBuf {
        self.scratch.join("weave-netdata.db")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _left = Namespace::delete_named(&self.name);
        let _left = std::fs::remove_dir_all(&self.scratch);
    }
}

/// Ends `child` as a runtime does; exit status, what it said, and how long it took.
pub(crate) fn terminate(child: Child) -> (Option<i32>, String, Duration) {
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let began = Instant::now();
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    let (code, said) = end(child);
    (code, said, began.elapsed())
}

fn end(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (child.wait().unwrap().code(), said)
}

const LATER: &[(&str, &str)] = &[("WEAVE_CNI_CONFIG_WHEN_READY", "1")];

fn peers(map: &Value) -> &str {
    map["metadata"]["annotations"]["kube-peers.weave.works/peers"]
        .as_str()
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_container_of_a_cluster_starts_at_once_and_ends_at_once() {
    let Some(host) = Host::new("first").await else {
        return;
    };
    host.fake.add_node("host-0", "203.0.113.1");

    let config = host.scratch.join("etc/cni/net.d/10-weave.conflist");
    let (code, said) = end(host.start("init.sh", LATER, &[]));
    assert_eq!(code, Some(0), "{said}");
    assert!(host.scratch.join("opt/cni/bin/weave-net").exists());
    assert!(!config.exists(), "before anybody can serve a pod");

    let child = host.launch(LATER);
    until("the cluster side is ready", 60, async || {
        host.status()
            .await
            .contains("Service: cluster\n         Status: ready")
    })
    .await;
    until("the runtime may call", 5, async || config.exists()).await;
    let (code, said, took) = terminate(child);

    assert_eq!(code, Some(0), "{said}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let map = host.fake.map();
    let expected = r#"{"Peers":[{"PeerName":"62:d6:c4:97:8d:3a","NodeName":"host-0"}]}"#;
    assert_eq!(peers(&map), expected);
    assert_eq!(map["data"]["ring-seeds"], r#"["62:d6:c4:97:8d:3a"]"#);
    assert!(
        said.contains("ipalloc-init:seed=62:d6:c4:97:8d:3a"),
        "{said}"
    );
    assert!(said.contains("iptables backend mode: nft"), "{said}");

    // The second start keeps what it has.
    let child = host.launch(&[]);
    until("it is ready again", 60, async || {
        host.status()
            .await
            .contains("Status: ready\n           Node: host-0")
    })
    .await;
    let (_, said, _) = terminate(child);
    assert!(said.contains("Initialising with persisted data"), "{said}");
    assert!(!said.contains("removing persisted data"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_removed_forgets_what_it_had() {
    let Some(host) = Host::new("removed").await else {
        return;
    };
    host.fake.add_node("host-0", "203.0.113.1");
    let child = host.launch(&[]);
    until("it is ready", 60, async || {
        host.status()
            .await
            .contains("Status: ready\n           Node")
    })
    .await;
    terminate(child);
    host.fake.set_peers(r#"{"Peers":null}"#);

    let child = host.launch(&[]);
    until("it is ready again", 60, async || {
        host.status()
            .await
            .contains("Status: ready\n           Node")
    })
    .await;
    let (_, said, _) = terminate(child);

    assert!(
        said.contains("Peer not in list; removing persisted data"),
        "{said}"
    );
    assert!(host.state_file().exists());
    assert!(peers(&host.fake.map()).contains("host-0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_a_fresh_host_waits_and_can_be_ended() {
    let Some(host) = Host::new("waits").await else {
        return;
    };
    host.fake.set_mood(Mood::Down);

    let child = host.launch(&[]);
    until("it has asked twice", 30, async || {
        host.fake.count("GET", "/api/v1/nodes") >= 2
    })
    .await;
    let (code, said, took) = terminate(child);

    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(said.matches("Failed to get peers").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_variable_or_a_taken_name_is_told() {
    let Some(host) = Host::new("wrong").await else {
        return;
    };
    let (code, said) = end(host.launch(&[("WEAVE_MTU", "ten"), ("CONN_LIMIT", "few")]));
    assert_eq!(code, Some(1));
    assert!(
        said.contains("WEAVE_MTU=\"ten\"") && said.contains("CONN_LIMIT=\"few\""),
        "{said}"
    );

    host.fake.add_node("host-0", "203.0.113.1");
    host.fake.add_node("twin", "203.0.113.2");
    host.fake
        .set_peers(r#"{"Peers":[{"PeerName":"62:d6:c4:97:8d:3a","NodeName":"twin"}]}"#);
    let (code, said) = end(host.launch(&[]));
    assert_eq!(code, Some(1));
    assert!(said.contains("is also that of node twin"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_helper_answers() {
    let Some(host) = Host::new("helper").await else {
        return;
    };
    host.fake.add_node("host-0", "203.0.113.1");
    host.fake.add_node("host-1", "203.0.113.2");
    let ask = |words: &[&str]| {
        let output = host
            .start("kube-utils", &[], words)
            .wait_with_output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };

    assert_eq!(ask(&[]), (Some(0), "203.0.113.1\n203.0.113.2\n".to_owned()));
    assert_eq!(ask(&["-check-peer-new", "-peer-name=a"]).0, Some(0));
    host.fake
        .set_peers(r#"{"Peers":[{"PeerName":"a","NodeName":"b"}]}"#);
    assert_eq!(ask(&["-check-peer-new", "-peer-name=a"]).0, Some(9));
    assert_eq!(ask(&["-set-node-status", "-node-name=host-0"]).0, Some(0));
    assert_eq!(
        ask(&["-print-k8s-version"]),
        (Some(0), "v1.20.2\n".to_owned())
    );
    let uid = "9d7c1f0e-0000-4000-8000-000000000001\n";
    assert_eq!(ask(&["-print-uid"]), (Some(0), uid.to_owned()));
    host.fake.set_mood(Mood::Down);
    assert_eq!(ask(&[]).0, Some(1));
}
