//! The controller at a real API server, which runs on the node of the test.
//!
//! `KUBE_APISERVER` and `ETCD` name the two programs; without them the test prints a line and passes.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::kube::{Client, Config};
use hyper::http::Request;
use serde_json::{Value, json};
use tokio::time::timeout;
use weave_bin::lab::cluster::server::real;
use weave_bin::render::{Options, manifest};

use crate::node::{Node, block_on, reaches};

/// etcd and the API server, gone when dropped.
struct Cluster<'n> {
    node: &'n Node,
    program: String,
    etcd: Child,
    server: Option<Child>,
}

impl<'n> Cluster<'n> {
    fn start(node: &'n Node, program: String, etcd: &str) -> Self {
        let file = |name: &str| node.path(name).display().to_string();
        node.run(&format!("openssl genrsa -out {} 2048", file("sa.key")));
        let tokens = "admintoken,admin,admin,system:masters\nnpctoken,npc,npc\n";
        fs::write(node.path("tokens.csv"), tokens).unwrap();
        let mut command = Command::new(etcd);
        command
            .args(["--data-dir", &file("etcd")])
            .args(["--listen-client-urls", ETCD])
            .args(["--advertise-client-urls", ETCD])
            .args(["--listen-peer-urls", "http://127.0.0.1:2380"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let etcd = node.host.run(|| command.spawn()).unwrap().unwrap();
        let mut cluster = Self {
            node,
            program,
            etcd,
            server: None,
        };
        cluster.start_server();
        cluster
    }

    fn start_server(&mut self) {
        let mut command = real::command(&self.program, &self.node.path(""), ETCD, 6443).unwrap();
        // There is no default route to find one by.
        command.arg("--advertise-address=10.32.0.1");
        self.server = Some(self.node.host.run(|| command.spawn()).unwrap().unwrap());
        let end = Instant::now() + Duration::from_secs(120);
        while self.ask("GET", "/api/v1/namespaces/kube-system", None)["kind"] != "Namespace" {
            assert!(Instant::now() < end, "the API server does not become ready");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn kill_server(&mut self) {
        let mut child = self.server.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A request of the administrator; null without an answer.
    fn ask(&self, verb: &str, path: &str, body: Option<&Value>) -> Value {
        let mut config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some("admintoken".to_owned().into());
        let kind = match verb {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(verb)
            .uri(path)
            .header("content-type", kind)
            .body(body.map_or_else(Vec::new, |body| body.to_string().into_bytes()))
            .unwrap();
        let send = || {
            block_on(async {
                let client = Client::try_from(config).unwrap();
                let answer = timeout(Duration::from_secs(10), client.request(request));
                match answer.await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(::kube::Error::Api(status))) => serde_json::to_value(&status).unwrap(),
                    _ => Value::Null,
                }
            })
        };
        self.node.host.run(send).unwrap()
    }

    fn make(&self, path: &str, kind: &str, object: &Value) {
        let mut object = object.clone();
        let version = path.split("/namespaces/").next().unwrap_or(path);
        let version = version
            .trim_start_matches("/apis/")
            .trim_start_matches("/api/");
        let version = version
            .rsplit_once("/v1")
            .map_or_else(|| "v1".to_owned(), |(group, _)| format!("{group}/v1"));
        object["kind"] = kind.into();
        object["apiVersion"] = version.into();
        let made = self.ask("POST", path, Some(&object));
        assert_eq!(made["kind"], kind, "{object}: {made}");
    }

    fn pod(&self, name: &str, address: &str) {
        let pods = "/api/v1/namespaces/shop/pods";
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        });
        self.make(pods, "Pod", &pod);
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        }});
        let set = self.ask("PATCH", &format!("{pods}/{name}/status"), Some(&status));
        assert_eq!(set["status"]["podIP"], address, "{set}");
    }

    fn policy(&self, app: &str) -> Value {
        json!({
            "metadata": {"name": app},
            "spec": {
                "podSelector": {"matchLabels": {"app": app}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
            },
        })
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for child in self.server.iter_mut().chain([&mut self.etcd]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn policies_of_a_cluster_are_followed_through_denials_and_outages() {
    let programs = (std::env::var("KUBE_APISERVER"), std::env::var("ETCD"));
    let (Ok(program), Ok(etcd)) = programs else {
        println!("skipped: needs KUBE_APISERVER and ETCD");
        return;
    };
    let Some(mut node) = Node::new("kube", &["openssl"]) else {
        return;
    };
    let [web, db, other] = ["10.32.0.2", "10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    let mut cluster = Cluster::start(&node, program, &etcd);
    cluster.make(
        "/api/v1/namespaces",
        "Namespace",
        &json!({"metadata": {"name": "shop"}}),
    );
    for (name, address) in [
        ("web", "10.32.0.2"),
        ("db", "10.32.0.3"),
        ("other", "10.32.0.4"),
    ] {
        cluster.pod(name, address);
    }
    cluster.make(POLICIES, "NetworkPolicy", &cluster.policy("db"));
    let config = node.path("kubeconfig");
    fs::write(&config, KUBECONFIG).unwrap();
    let config = config.display().to_string();
    node.launch(&["--log-level=info"], &[("KUBECONFIG", &config)]);

    let fault = |node: &Node, words: &str| {
        let answer = node.try_get("/status").map(|answer| answer.body);
        answer.is_some_and(|body| body.contains(words))
    };
    node.until("what is denied is shown", |node| {
        fault(node, "API server refuses")
    });
    assert_eq!(node.status()["programmed"], false);

    let binding = json!({
        "metadata": {"name": "npc"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "weave-net"},
        "subjects": [{"kind": "User", "apiGroup": RBAC, "name": "npc"}],
    });
    // The manifest's rights are enough.
    let role = manifest(&Options::default())["items"][1].clone();
    cluster.make(
        &format!("/apis/{RBAC}/v1/clusterroles"),
        "ClusterRole",
        &role,
    );
    cluster.make(
        &format!("/apis/{RBAC}/v1/clusterrolebindings"),
        "ClusterRoleBinding",
        &binding,
    );
    node.until_within("policies are in force", PATIENCE, |node| {
        node.status()["programmed"] == true
    });
    assert!(!reaches(&other, &db, "10.32.0.3:80"), "{}", node.log());
    assert!(reaches(&web, &db, "10.32.0.3:81"), "{}", node.log());

    cluster.kill_server();
    node.until_within("the outage is shown", PATIENCE, |node| {
        fault(node, "API server does not answer")
    });
    assert!(!reaches(&other, &db, "10.32.0.3:82"), "{}", node.log());

    cluster.start_server();
    cluster.make(POLICIES, "NetworkPolicy", &cluster.policy("other"));
    let gone = cluster.ask("DELETE", &format!("{POLICIES}/db"), None);
    assert_eq!(gone["status"], "Success", "{gone}");
    node.until_within("what happened is in force", PATIENCE, |node| {
        let status = node.status();
        let is_well = status["faults"].as_array().is_some_and(Vec::is_empty);
        is_well && status["objects"]["policies"] == 1 && status["programmed"] == true
    });
    assert!(reaches(&other, &db, "10.32.0.3:83"), "{}", node.log());
    assert!(!reaches(&db, &other, "10.32.0.4:84"), "{}", node.log());
}

const ETCD: &str = "http://127.0.0.1:2379";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies";
const RBAC: &str = "rbac.authorization.k8s.io";
/// More than the longest pause between two attempts.
const PATIENCE: Duration = Duration::from_secs(60);
const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters:
- {name: c, cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}}
users:
- {name: u, user: {token: npctoken}}
contexts:
- {name: x, context: {cluster: c, user: u}}
current-context: x
";
