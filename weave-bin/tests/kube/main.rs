//! The cluster side as a whole, several peers of it beside each other: against an API server of our
//! own that can be made to misbehave, and against a real one where there is one.

#![cfg(feature = "kube")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod autoscale;
mod cluster;
mod daemon;
#[path = "../host/feed.rs"]
mod feed;
mod kinds;
mod launch;
mod life;
mod migration;
mod streams;

use std::time::{Duration, Instant};

use ::kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weave_bin::kube::api::Api;
use weave_bin::kube::daemon::Daemon;
use weave_bin::kube::membership;
use weave_bin::kube::quorum::Start;
use weave_bin::kube::record::Me;
use weave_bin::kube::state::{Board, Cluster};
use weave_bin::kube::task::{self, Setup};
use weave_bin::lab::cluster::server;
use weave_bin::lab::cluster::server::real::{ACCOUNT, ADMIN, Real};
use weave_bin::lab::cluster::server::recorded::{Mood, Recorded};
use weave_bin::render::{Options, manifest};

use daemon::Mesh;

/// One node of ours: what runs beside its daemon.
struct Peer {
    task: JoinHandle<task::Ended>,
    board: watch::Receiver<Cluster>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(config: Config, mesh: &Mesh, node: &str, peer: &str) -> Peer {
    let (board, reader) = Board::new(node);
    let setup = Setup {
        api: Some(Api::new(config).unwrap()),
        me: Me {
            peer: peer.to_owned(),
            node: node.to_owned(),
            uid: None,
        },
        daemon: Daemon::new(&mesh.start(peer).await),
        board,
        extra: Vec::new(),
        follows: true,
        is_confirmed: true,
        expose: None,
    };
    Peer {
        task: tokio::spawn(task::run(setup)),
        board: reader,
    }
}

/// Waits until `is_so`, and says `what` did not happen otherwise.
async fn until(what: &str, limit: u64, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(limit);
    while !is_so().await {
        assert!(Instant::now() < end, "not within {limit} s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn fake() -> (Recorded, Config) {
    let fake = Recorded::serve(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let config = Config::new(format!("http://{}", fake.address()).parse().unwrap());
    (fake, config)
}

async fn send(client: &Client, method: &str, path: &str, body: Value) -> Value {
    let kind = if method == "PATCH" {
        "application/strategic-merge-patch+json"
    } else {
        "application/json"
    };
    let request = hyper::http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        });
    client.request(request.unwrap()).await.unwrap()
}

async fn add_node(client: &Client, name: &str, address: &str) {
    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}});
    send(client, "POST", "/api/v1/nodes", node).await;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": address}],
        "conditions": [{"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"}],
    }});
    let path = format!("/api/v1/nodes/{name}/status");
    send(client, "PATCH", &path, status).await;
}

async fn delete_node(client: &Client, name: &str) {
    send(
        client,
        "DELETE",
        &format!("/api/v1/nodes/{name}"),
        Value::Null,
    )
    .await;
}

/// The list of peers as it is written; empty until somebody creates it.
async fn peers(client: &Client) -> String {
    let request = hyper::http::Request::get(CONFIG_MAP).body(Vec::new());
    let map: Value = match client.request(request.unwrap()).await {
        Ok(map) => map,
        Err(::kube::Error::Api(status)) if status.code == 404 => return String::new(),
        Err(error) => panic!("{error}"),
    };
    let list = &map["metadata"]["annotations"]["kube-peers.weave.works/peers"];
    list.as_str().unwrap_or_default().to_owned()
}

const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/weave-net";
const NAMES: [&str; 3] = [
    "62:d6:c4:97:8d:3a",
    "d6:4a:61:1c:09:ff",
    "9a:44:a2:5e:23:25",
];

// ===== the same against both =====

/// Three nodes come, one goes for good, another comes.
async fn life_of_a_cluster(config: &Config, admin: &Client) {
    let mesh = Mesh::default();
    let mut all = Vec::new();
    for (number, name) in NAMES.iter().enumerate() {
        let node = format!("host-{number}");
        add_node(admin, &node, &format!("203.0.113.{}", number + 1)).await;
        all.push(start(config.clone(), &mesh, &node, name).await);
        until("every peer is listed", 30, async || {
            peers(admin).await.contains(name)
        })
        .await;
    }

    until("everybody is ready", 30, async || {
        all.iter()
            .all(|peer| peer.board.borrow().summary() == "ready")
    })
    .await;
    let list = r#"{"Peers":[{"PeerName":"62:d6:c4:97:8d:3a","NodeName":"host-0"},{"PeerName":"d6:4a:61:1c:09:ff","NodeName":"host-1"},{"PeerName":"9a:44:a2:5e:23:25","NodeName":"host-2"}]}"#;
    assert_eq!(peers(admin).await, list);
    until("the first has the others as targets", 10, async || {
        mesh.targets(NAMES[0]) == ["203.0.113.2", "203.0.113.3"]
    })
    .await;
    for number in 0..3 {
        let path = format!("/api/v1/nodes/host-{number}");
        let node = send(admin, "GET", &path, Value::Null).await;
        let conditions = node["status"]["conditions"].to_string();
        assert!(conditions.contains("WeaveIsUp"), "{conditions}");
    }

    // While its daemon is connected a node that is deleted keeps what it has.
    delete_node(admin, "host-2").await;
    until("the deleted node is seen", 20, async || {
        all[0].board.borrow().lost == [format!("{} is connected", NAMES[2])]
    })
    .await;
    assert!(mesh.heirs(NAMES[2]).is_empty());
    mesh.leave(NAMES[2]);
    drop(all.pop());
    let began = Instant::now();
    until("the lost peer is removed", 60, async || {
        !peers(admin).await.contains(NAMES[2])
    })
    .await;
    println!(
        "reclaimed {:.1} s after the peer was gone",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(mesh.heirs(NAMES[2]).len(), 1);
    until("its address is no target", 10, async || {
        mesh.targets(NAMES[0]) == ["203.0.113.2"]
    })
    .await;

    add_node(admin, "host-9", "203.0.113.9").await;
    until("a new node is a target", 10, async || {
        mesh.targets(NAMES[0]) == ["203.0.113.2", "203.0.113.9"]
    })
    .await;
    seed_of_ipv6(config, admin).await;
}

/// Of two peers that ask at once how their IPv6 ring starts, one becomes its seed; when it asks again it
/// has lost the ring, and is to hear it from the other.
async fn seed_of_ipv6(config: &Config, admin: &Client) {
    let api = Api::new(config.clone()).unwrap();
    let nodes = api.nodes().await.unwrap();
    let me = |number: usize| Me {
        peer: NAMES[number].to_owned(),
        node: format!("host-{number}"),
        uid: None,
    };
    let (one, other) = (me(0), me(1));

    let asked = tokio::join!(
        membership::decide_ipv6(&api, &one, &nodes),
        membership::decide_ipv6(&api, &other, &nodes),
    );

    let map = send(admin, "GET", CONFIG_MAP, Value::Null).await;
    let written: Vec<String> =
        serde_json::from_str(map["data"]["ring-seeds-ipv6"].as_str().unwrap()).unwrap();
    let seed = Start::Seed(written.clone());
    assert_eq!(asked, (Ok(seed.clone()), Ok(seed.clone())));
    let (first, second) = if written.contains(&one.peer) {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(written, std::slice::from_ref(&first.peer));
    let list = peers(admin).await;
    let again = membership::decide_ipv6(&api, &first, &nodes).await;
    assert_eq!(again, Ok(Start::Observer));
    let again = membership::decide_ipv6(&api, &second, &nodes).await;
    assert_eq!(again, Ok(seed));
    assert_eq!(peers(admin).await, list);
}

// ===== our own server =====

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_and_go() {
    let (fake, config) = fake();
    let admin = Client::try_from(config.clone()).unwrap();

    life_of_a_cluster(&config, &admin).await;

    // Ours is one write where Weave Net needs three; all are of the recorded manager.
    assert_eq!(
        fake.count("PUT", CONFIG_MAP),
        fake.count(
            "PUT",
            &format!("{CONFIG_MAP}?&fieldManager=kube-peers.weave.works")
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_peers_compete_for_one_and_one_wins() {
    let (fake, config) = fake();
    let admin = Client::try_from(config.clone()).unwrap();
    let mesh = Mesh::default();
    let mut all = Vec::new();
    for (number, name) in NAMES.iter().enumerate() {
        let node = format!("host-{number}");
        add_node(&admin, &node, &format!("203.0.113.{}", number + 1)).await;
        all.push(start(config.clone(), &mesh, &node, name).await);
    }
    until("all are listed", 30, async || {
        let list = peers(&admin).await;
        NAMES.iter().all(|name| list.contains(name))
    })
    .await;
    let api = Api::new(config.clone()).unwrap();
    let lost: Vec<String> = (0..8)
        .map(|number| format!("02:00:00:00:00:0{number}"))
        .collect();
    for (number, peer) in lost.iter().enumerate() {
        let me = Me {
            peer: peer.clone(),
            node: format!("gone-{number}"),
            uid: None,
        };
        membership::join(&api, &me).await.unwrap();
    }

    // Writes collide while all three are at it.
    fake.refuse_writes(10);
    add_node(&admin, "trigger", "203.0.113.77").await;

    until("all lost peers are removed", 90, async || {
        let list = peers(&admin).await;
        !lost.iter().any(|peer| list.contains(peer))
    })
    .await;
    for peer in &lost {
        assert_eq!(mesh.heirs(peer).len(), 1, "{peer}");
    }
    let map = send(&admin, "GET", CONFIG_MAP, Value::Null).await;
    let annotations = map["metadata"]["annotations"].as_object().unwrap();
    until("no lock is left", 10, async || annotations.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_refuses_or_forgets_is_survived() {
    let (fake, config) = fake();
    let admin = Client::try_from(config.clone()).unwrap();
    let mesh = Mesh::default();
    fake.set_mood(Mood::Down);
    let peer = start(config.clone(), &mesh, "host-0", NAMES[0]).await;
    let problem = || peer.board.borrow().problems.get("list of nodes").cloned();

    until("the outage is told", 10, async || {
        problem().is_some_and(|text| text.contains("does not answer"))
    })
    .await;
    fake.set_mood(Mood::Denies);
    until("the refusal is told", 60, async || {
        problem().is_some_and(|text| text.contains("refuses") && text.contains("Forbidden"))
    })
    .await;
    assert_eq!(peer.board.borrow().summary(), "impaired");
    fake.set_mood(Mood::Well);
    add_node(&admin, "host-0", "203.0.113.1").await;
    until("all works again", 60, async || {
        peer.board.borrow().summary() == "ready"
    })
    .await;

    let lists = fake.count("GET", "/api/v1/nodes?&limit");
    fake.forget_versions();
    until("nodes are listed again", 20, async || {
        fake.count("GET", "/api/v1/nodes?&limit") > lists
    })
    .await;
    add_node(&admin, "host-1", "203.0.113.2").await;
    until("a node that came after is a target", 20, async || {
        mesh.targets(NAMES[0]) == ["203.0.113.2"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_taken_back_is_set_again() {
    let (fake, config) = fake();
    let admin = Client::try_from(config.clone()).unwrap();
    let mesh = Mesh::default();
    add_node(&admin, "host-0", "203.0.113.1").await;
    let _peer = start(config, &mesh, "host-0", NAMES[0]).await;
    let of_ours = || {
        let bodies = fake.bodies("PATCH");
        bodies
            .iter()
            .filter(|body| body.to_string().contains("WeaveIsUp"))
            .count()
    };
    until("the condition is set", 20, async || of_ours() == 1).await;

    let taken =
        json!({"status": {"conditions": [{"type": "NetworkUnavailable", "status": "True"}]}});
    send(&admin, "PATCH", "/api/v1/nodes/host-0/status", taken).await;

    until("it is set again", 20, async || of_ours() == 2).await;
}

// ===== a real server =====

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_is_lived_with() {
    let directory = std::env::temp_dir().join(format!("weave-kube-life-{}", std::process::id()));
    let Some(mut real) = Real::start(&directory).await.unwrap() else {
        println!("skipped: needs KUBE_APISERVER and ETCD");
        return;
    };
    let admin = real.client(ADMIN).unwrap();
    let config = real.config(ACCOUNT).unwrap();

    // Without rights nothing works, and that is told.
    let mesh = Mesh::default();
    let denied = start(config.clone(), &mesh, "host-x", "02:00:00:00:00:01").await;
    until("the refusal is told", 20, async || {
        let cluster = denied.board.borrow().clone();
        cluster
            .problems
            .get("list of nodes")
            .is_some_and(|text| text.contains("refuses"))
    })
    .await;
    drop(denied);

    apply_manifest(&admin).await;
    life_of_a_cluster(&config, &admin).await;

    // The server dies and comes back; what happened meanwhile is caught up with.
    let mesh = Mesh::default();
    let peer = start(config.clone(), &mesh, "host-0", NAMES[0]).await;
    until("it is ready", 30, async || {
        peer.board.borrow().summary() == "ready"
    })
    .await;
    real.kill_server();
    until("the outage is told", 30, async || {
        peer.board.borrow().summary() == "impaired"
    })
    .await;
    real.start_server().await.unwrap();
    add_node(&admin, "host-10", "203.0.113.10").await;
    until("a new node is a target", 60, async || {
        mesh.targets(NAMES[0]).contains(&"203.0.113.10".to_owned())
    })
    .await;
    until("it is ready again", 60, async || {
        peer.board.borrow().summary() == "ready"
    })
    .await;
}

/// Creates the objects of the rendered manifest, first as a trial.
async fn apply_manifest(admin: &Client) {
    let document = manifest(&Options::default());
    for item in document["items"].as_array().unwrap() {
        let path = server::path(item);
        let trial = send(admin, "POST", &format!("{path}?dryRun=All"), item.clone()).await;
        assert_eq!(trial["metadata"]["name"], "weave-net");
        send(admin, "POST", &path, item.clone()).await;
        println!("{path} takes weave-net");
    }
}
