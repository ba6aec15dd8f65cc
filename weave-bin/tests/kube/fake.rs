//! An API server of Nodes and one ConfigMap, which can be made to do on demand what a real one
//! does when nobody looks: conflicts, refusals, forgotten versions, silence.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Where the list of peers is in the ConfigMap's annotations.
pub(crate) const PEERS: &str = "kube-peers.weave.works/peers";

/// What the server does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// 503 to everything, and watches end.
    Down,
    /// 403 to everything.
    Denies,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Fake {
    shared: Arc<Mutex<Shared>>,
    events: broadcast::Sender<String>,
    pub(crate) address: SocketAddr,
}

struct Shared {
    version: u64,
    nodes: BTreeMap<String, Value>,
    /// Events of Nodes by their version, for watches that begin in the past.
    history: Vec<(u64, String)>,
    map: Option<Value>,
    mood: Mood,
    /// Writes of the ConfigMap still to be refused.
    conflicts: usize,
    /// Requests seen: method, path, body.
    log: Vec<(String, String, Value)>,
}

impl Fake {
    /// Serves on `listener`.
    pub(crate) fn serve(listener: std::net::TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        let fake = Self {
            shared: Arc::new(Mutex::new(Shared {
                version: 100,
                nodes: BTreeMap::new(),
                history: Vec::new(),
                map: None,
                mood: Mood::Well,
                conflicts: 0,
                log: Vec::new(),
            })),
            events: broadcast::channel(1024).0,
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
        let _nobody = self.events.send("END".to_owned());
    }

    pub(crate) fn refuse_writes(&self, count: usize) {
        self.lock().conflicts = count;
    }

    /// Tells all watchers that their version is gone.
    pub(crate) fn forget_versions(&self) {
        let status = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
            "message": "too old resource version"});
        let event = json!({"type": "ERROR", "object": status});
        let _nobody = self.events.send(event.to_string());
    }

    /// Creates a Node without asking over the network.
    pub(crate) fn add_node(&self, name: &str, address: &str) {
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        let _told = self.set_node(&mut self.lock(), "ADDED", node);
    }

    /// Deletes a Node without asking over the network.
    pub(crate) fn delete_node(&self, name: &str) {
        let mut shared = self.lock();
        if let Some(node) = shared.nodes.remove(name) {
            let _told = self.tell(&mut shared, "DELETED", node);
        }
    }

    /// Replaces the list of peers, as somebody else would.
    pub(crate) fn set_peers(&self, list: &str) {
        let mut shared = self.lock();
        let mut map = shared.map.take().unwrap_or_else(|| {
            json!({"kind": "ConfigMap", "apiVersion": "v1",
                "metadata": {"name": "weave-net", "namespace": "kube-system"}})
        });
        map["metadata"]["annotations"] = json!({PEERS: list});
        shared.version += 1;
        map["metadata"]["resourceVersion"] = shared.version.to_string().into();
        shared.map = Some(map);
    }

    /// The ConfigMap, or null.
    pub(crate) fn map(&self) -> Value {
        self.lock().map.clone().unwrap_or_default()
    }

    /// How many requests had this method and a path that starts so.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        let shared = self.lock();
        let is_meant = |(m, p, _): &&(String, String, Value)| m == method && p.starts_with(path);
        shared.log.iter().filter(is_meant).count()
    }

    /// The bodies of requests with this method.
    pub(crate) fn bodies(&self, method: &str) -> Vec<Value> {
        let shared = self.lock();
        let meant = shared.log.iter().filter(|(m, ..)| m == method);
        meant.map(|(.., body)| body.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (method, path) = (head.method.as_str(), head.uri.path());
    let query = head.uri.query().unwrap_or_default();
    let mut shared = fake.lock();
    let line = (method.to_owned(), head.uri.to_string(), body.clone());
    shared.log.push(line);
    match shared.mood {
        Mood::Well => {}
        Mood::Down => return failure(503, "ServiceUnavailable"),
        Mood::Denies => return failure(403, "Forbidden"),
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["version"]) => success(
            200,
            &json!({"major": "1", "minor": "20", "gitVersion": "v1.20.2",
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
            "platform": ""}),
        ),
        ("GET", ["api", "v1", "nodes"]) if query.contains("watch=true") => {
            fake.watch(&shared, query)
        }
        ("GET", ["api", "v1", "nodes"]) => {
            let items: Vec<&Value> = shared.nodes.values().collect();
            let version = shared.version.to_string();
            success(
                200,
                &json!({"kind": "NodeList", "apiVersion": "v1",
                "metadata": {"resourceVersion": version}, "items": items}),
            )
        }
        ("POST", ["api", "v1", "nodes"]) => fake.set_node(&mut shared, "ADDED", body),
        (_, ["api", "v1", "nodes", name, ..]) => {
            let Some(node) = shared.nodes.get(*name).cloned() else {
                return failure(404, "NotFound");
            };
            match method {
                "GET" => success(200, &node),
                "DELETE" => {
                    shared.nodes.remove(*name);
                    success(200, &fake.tell(&mut shared, "DELETED", node))
                }
                _ => {
                    let mut node = node;
                    merge(&mut node, body);
                    fake.set_node(&mut shared, "MODIFIED", node)
                }
            }
        }
        (_, ["api", "v1", "namespaces", "kube-system", "configmaps", ..]) => {
            map(&mut shared, method, body)
        }
        _ => failure(404, "NotFound"),
    }
}

/// One ConfigMap with an optimistic lock.
fn map(shared: &mut Shared, method: &str, mut body: Value) -> Response {
    match (method, &shared.map) {
        ("GET", Some(found)) => return success(200, found),
        ("GET", None) => return failure(404, "NotFound"),
        ("POST", Some(_)) => return failure(409, "AlreadyExists"),
        ("POST", None) => body["metadata"]["uid"] = "9d7c1f0e-0000-4000-8000-000000000001".into(),
        ("PUT", Some(found)) => {
            let is_stale =
                found["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"];
            if is_stale || shared.conflicts > 0 {
                shared.conflicts = shared.conflicts.saturating_sub(1);
                return failure(409, "Conflict");
            }
        }
        _ => return failure(404, "NotFound"),
    }
    shared.version += 1;
    body["metadata"]["resourceVersion"] = shared.version.to_string().into();
    shared.map = Some(body.clone());
    success(if method == "POST" { 201 } else { 200 }, &body)
}

impl Fake {
    fn set_node(&self, shared: &mut Shared, kind: &str, mut node: Value) -> Response {
        let name = node["metadata"]["name"].as_str().unwrap().to_owned();
        if kind == "ADDED" {
            node["metadata"]["uid"] = format!("uid-{}", shared.version).into();
        }
        let node = self.tell(shared, kind, node);
        shared.nodes.insert(name, node.clone());
        success(200, &node)
    }

    /// Tells watchers of `node`, which gets the version of this moment, as a deleted one does too.
    fn tell(&self, shared: &mut Shared, kind: &str, mut node: Value) -> Value {
        shared.version += 1;
        node["metadata"]["resourceVersion"] = shared.version.to_string().into();
        let event = json!({"type": kind, "object": node}).to_string();
        shared.history.push((shared.version, event.clone()));
        let _nobody = self.events.send(event);
        node
    }

    /// What came after the version that `query` names, and then what comes.
    fn watch(&self, shared: &Shared, query: &str) -> Response {
        let from: u64 = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="))
            .map_or(0, |version| version.parse().unwrap());
        let missed: Vec<String> = shared
            .history
            .iter()
            .filter(|(version, _)| *version > from)
            .map(|(_, line)| line.clone())
            .collect();
        let receiver = self.events.subscribe();
        let lines = stream::unfold(receiver, async |mut receiver| match receiver.recv().await {
            Ok(line) if line != "END" => Some((line, receiver)),
            _ => None,
        });
        let lines = stream::iter(missed)
            .chain(lines)
            .map(|line| Ok::<_, Infallible>(Bytes::from(line + "\n")));
        Response::new(Body::from_stream(Box::pin(lines)))
    }
}

/// A strategic merge as far as the tests need it: objects by key, anything else replaced.
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn success(code: u16, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = code.try_into().unwrap();
    response
}

fn failure(code: u16, reason: &str) -> Response {
    success(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("the fake says {reason}"), "reason": reason, "code": code}),
    )
}
