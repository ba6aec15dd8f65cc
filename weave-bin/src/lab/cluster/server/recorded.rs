//! An API server of Nodes and one ConfigMap, which can be made to do on demand what a real one does
//! when nobody looks: conflicts, refusals, forgotten versions, silence. It keeps a record of what it
//! was asked.
//!
//! Invariant: every change has a version of its own, a watch tells all changes after the version it
//! begins with or says that they are forgotten, and a write of the ConfigMap succeeds only with the
//! version that is stored.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where the list of peers is in the ConfigMap's annotations.
pub const PEERS: &str = "kube-peers.weave.works/peers";

/// What the server does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    Well,
    /// 503 to everything, and watches end.
    Down,
    /// 403 to everything.
    Denies,
    /// It answers, two seconds late.
    Slow,
}

/// The server; it ends with the last copy of this.
#[derive(Debug, Clone)]
pub struct Recorded {
    shared: Arc<Mutex<Shared>>,
    events: broadcast::Sender<String>,
    address: SocketAddr,
    _stop: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    version: u64,
    nodes: BTreeMap<String, Value>,
    /// The last events of Nodes by their version, for watches that begin in the past.
    history: VecDeque<(u64, String)>,
    map: Option<Value>,
    mood: Mood,
    /// Writes of the ConfigMap still to be refused.
    conflicts: usize,
    /// The last requests: method, path with query, body.
    log: VecDeque<(String, String, Value)>,
}

/// What a handler works with. It does not keep the server alive.
#[derive(Debug, Clone)]
struct Desk {
    shared: Arc<Mutex<Shared>>,
    events: broadcast::Sender<String>,
}

impl Recorded {
    /// Serves on `listener`.
    ///
    /// # Errors
    /// What the system says of the listener.
    pub fn serve(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let shared = Shared {
            version: 100,
            nodes: BTreeMap::new(),
            history: VecDeque::new(),
            map: None,
            mood: Mood::Well,
            conflicts: 0,
            log: VecDeque::new(),
        };
        let desk = Desk {
            shared: Arc::new(Mutex::new(shared)),
            events: broadcast::channel(EVENTS).0,
        };
        let router = Router::new().fallback(answer).with_state(desk.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            tokio::select! {
                // It ends only with the listener.
                _ended = async { axum::serve(listener, router).await } => {}
                () = stopped => {}
            }
        });
        Ok(Self {
            shared: desk.shared,
            events: desk.events,
            address,
            _stop: Arc::new(stop.drop_guard()),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does with requests; watches end.
    pub fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
        let _nobody = self.events.send(END.to_owned());
    }

    /// Has the next `count` writes of the ConfigMap be refused as if somebody else had been faster.
    pub fn refuse_writes(&self, count: usize) {
        self.lock().conflicts = count;
    }

    /// Tells all watchers that their version is gone.
    pub fn forget_versions(&self) {
        let _nobody = self.events.send(gone());
    }

    /// Tells all watchers that nothing came up to a version, which no object has, and which it.
    pub fn bookmark(&self) -> u64 {
        let mut shared = self.lock();
        let version = shared.next_version();
        let object = json!({"kind": "Node", "apiVersion": "v1",
            "metadata": {"resourceVersion": version}});
        let event = json!({"type": "BOOKMARK", "object": object});
        let _nobody = self.events.send(event.to_string());
        shared.version
    }

    /// Ends all watches in the middle of an event.
    pub fn break_streams(&self) {
        let half = r#"{"type":"MODIFIED","object":{"kind":"Node","metad"#;
        for part in [half, END] {
            let _nobody = self.events.send(part.to_owned());
        }
    }

    /// Creates a Node with an internal address, without being asked.
    pub fn add_node(&self, name: &str, address: &str) {
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        let _told = self.desk().set_node(&mut self.lock(), "ADDED", node);
    }

    /// Deletes a Node without being asked.
    pub fn delete_node(&self, name: &str) {
        let mut shared = self.lock();
        if let Some(node) = shared.nodes.remove(name) {
            let _told = self.desk().tell(&mut shared, "DELETED", node);
        }
    }

    /// Replaces the list of peers, as somebody else would.
    pub fn set_peers(&self, list: &str) {
        let mut shared = self.lock();
        let mut map = shared.map.take().unwrap_or_else(|| {
            json!({"kind": "ConfigMap", "apiVersion": "v1",
                "metadata": {"name": "weave-net", "namespace": "kube-system"}})
        });
        map["metadata"]["annotations"] = json!({PEERS: list});
        map["metadata"]["resourceVersion"] = shared.next_version();
        shared.map = Some(map);
    }

    /// The ConfigMap, or null.
    pub fn map(&self) -> Value {
        self.lock().map.clone().unwrap_or_default()
    }

    /// How many of the last requests had this method and a path that starts so.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let shared = self.lock();
        let is_meant = |(m, p, _): &&(String, String, Value)| m == method && p.starts_with(path);
        shared.log.iter().filter(is_meant).count()
    }

    /// The paths with queries of those of the last requests that had this method.
    pub fn paths(&self, method: &str) -> Vec<String> {
        let shared = self.lock();
        let meant = shared.log.iter().filter(|(m, ..)| m == method);
        meant.map(|(_, path, _)| path.clone()).collect()
    }

    /// The bodies of those of the last requests that had this method.
    pub fn bodies(&self, method: &str) -> Vec<Value> {
        let shared = self.lock();
        let meant = shared.log.iter().filter(|(m, ..)| m == method);
        meant.map(|(.., body)| body.clone()).collect()
    }

    fn desk(&self) -> Desk {
        Desk {
            shared: Arc::clone(&self.shared),
            events: self.events.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Shared {
    /// A version that nothing had before, as objects carry it.
    fn next_version(&mut self) -> Value {
        self.version += 1;
        self.version.to_string().into()
    }

    /// Reads or writes the ConfigMap.
    fn map(&mut self, method: &str, mut body: Value) -> Response {
        match (method, &self.map) {
            ("GET", Some(found)) => return success(StatusCode::OK, found),
            ("POST", Some(_)) => return failure(StatusCode::CONFLICT, "AlreadyExists"),
            ("POST", None) => body["metadata"]["uid"] = UID.into(),
            ("PUT", Some(found)) => {
                let version = |map: &Value| map["metadata"]["resourceVersion"].clone();
                if version(found) != version(&body) || self.conflicts > 0 {
                    self.conflicts = self.conflicts.saturating_sub(1);
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
            }
            ("DELETE", Some(_)) => {
                let gone = self.map.take().unwrap_or_default();
                return success(StatusCode::OK, &gone);
            }
            _ => return failure(StatusCode::NOT_FOUND, "NotFound"),
        }
        body["metadata"]["resourceVersion"] = self.next_version();
        self.map = Some(body.clone());
        let code = if method == "POST" {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        success(code, &body)
    }

    /// All Nodes.
    fn list(&self) -> Response {
        let items: Vec<&Value> = self.nodes.values().collect();
        let version = self.version.to_string();
        let list = json!({"kind": "NodeList", "apiVersion": "v1",
            "metadata": {"resourceVersion": version}, "items": items});
        success(StatusCode::OK, &list)
    }
}

async fn answer(State(desk): State<Desk>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else {
        return failure(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge");
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (method, path) = (head.method.as_str(), head.uri.path());
    let is_slow = lock(&desk.shared).mood == Mood::Slow;
    if is_slow {
        tokio::time::sleep(LATE).await;
    }
    let query = head.uri.query().unwrap_or_default();
    let mut shared = lock(&desk.shared);
    let line = (method.to_owned(), head.uri.to_string(), body.clone());
    keep(&mut shared.log, line);
    match shared.mood {
        Mood::Well | Mood::Slow => {}
        Mood::Down => return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        Mood::Denies => return failure(StatusCode::FORBIDDEN, "Forbidden"),
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["version"]) => version(),
        ("GET", ["api", "v1", "nodes"]) if query.contains("watch=true") => {
            desk.watch(&shared, query)
        }
        ("GET", ["api", "v1", "nodes"]) => shared.list(),
        ("POST", ["api", "v1", "nodes"]) => desk.set_node(&mut shared, "ADDED", body),
        (_, ["api", "v1", "nodes", name, ..]) => desk.node(&mut shared, method, name, body),
        (_, ["api", "v1", "namespaces", "kube-system", "configmaps", ..]) => {
            shared.map(method, body)
        }
        _ => failure(StatusCode::NOT_FOUND, "NotFound"),
    }
}

impl Desk {
    /// Reads, deletes or changes one Node.
    fn node(&self, shared: &mut Shared, method: &str, name: &str, body: Value) -> Response {
        let Some(mut node) = shared.nodes.get(name).cloned() else {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        };
        match method {
            "GET" => success(StatusCode::OK, &node),
            "DELETE" => {
                shared.nodes.remove(name);
                success(StatusCode::OK, &self.tell(shared, "DELETED", node))
            }
            _ => {
                merge(&mut node, body);
                self.set_node(shared, "MODIFIED", node)
            }
        }
    }

    fn set_node(&self, shared: &mut Shared, kind: &str, mut node: Value) -> Response {
        let Some(name) = node["metadata"]["name"].as_str().map(str::to_owned) else {
            return failure(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
        };
        if kind == "ADDED" {
            if shared.nodes.contains_key(&name) {
                return failure(StatusCode::CONFLICT, "AlreadyExists");
            }
            node["metadata"]["uid"] = format!("uid-{}", shared.version).into();
        }
        let node = self.tell(shared, kind, node);
        shared.nodes.insert(name, node.clone());
        success(StatusCode::OK, &node)
    }

    /// Tells watchers of `node`, which gets the version of this moment, as a deleted one does too.
    fn tell(&self, shared: &mut Shared, kind: &str, mut node: Value) -> Value {
        node["metadata"]["resourceVersion"] = shared.next_version();
        let event = json!({"type": kind, "object": node}).to_string();
        let version = shared.version;
        keep(&mut shared.history, (version, event.clone()));
        let _nobody = self.events.send(event);
        node
    }

    /// What came after the version that `query` names, and then what comes.
    fn watch(&self, shared: &Shared, query: &str) -> Response {
        let from: u64 = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="))
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        let forgotten = shared.history.len() == EVENTS
            && shared
                .history
                .front()
                .is_some_and(|(first, _)| from < *first);
        let mut missed: Vec<String> = shared
            .history
            .iter()
            .filter(|(version, _)| *version > from)
            .map(|(_, line)| line.clone())
            .collect();
        if forgotten {
            missed = vec![gone(), END.to_owned()];
        }
        let receiver = self.events.subscribe();
        // One that lags behind is cut off, and begins anew.
        let news = stream::unfold(receiver, async |mut receiver| match receiver.recv().await {
            Ok(line) => Some((line, receiver)),
            Err(_) => None,
        });
        let lines = stream::iter(missed)
            .chain(news)
            .take_while(|line| std::future::ready(line != END))
            .map(|line| Ok::<_, Infallible>(Bytes::from(line + "\n")));
        Response::new(Body::from_stream(Box::pin(lines)))
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Whoever panicked left whole objects: every change is one call.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends `one`; of too many the oldest goes.
fn keep<T>(all: &mut VecDeque<T>, one: T) {
    if all.len() == EVENTS {
        all.pop_front();
    }
    all.push_back(one);
}

/// A strategic merge as far as Nodes need it: objects by key, anything else replaced.
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

fn version() -> Response {
    let fields = [
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ];
    let mut version = json!({"major": "1", "minor": "20", "gitVersion": "v1.20.2"});
    for field in fields {
        version[field] = "".into();
    }
    success(StatusCode::OK, &version)
}

/// The event of a watch whose version is forgotten.
fn gone() -> String {
    let status = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version"});
    json!({"type": "ERROR", "object": status}).to_string()
}

fn success(code: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = code;
    response
}

fn failure(code: StatusCode, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("the server of the lab says {reason}"), "reason": reason,
        "code": code.as_u16()});
    success(code, &status)
}

/// How much later than others a slow one answers.
const LATE: Duration = Duration::from_secs(2);
/// What ends a watch in place of an event.
const END: &str = "END";
/// Events and requests that are kept.
const EVENTS: usize = 4096;
/// Bytes of the largest object: a ConfigMap has at most a mebibyte.
const LARGEST: usize = 2 << 20;
/// The identity of the ConfigMap.
const UID: &str = "9d7c1f0e-0000-4000-8000-000000000001";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_replaces_what_it_names_and_nothing_else() {
        let mut node = json!({"status": {"conditions": [{"type": "a"}], "addresses": ["x"]}});

        merge(
            &mut node,
            json!({"status": {"conditions": [{"type": "b"}]}}),
        );

        let expected = json!({"status": {"conditions": [{"type": "b"}], "addresses": ["x"]}});
        assert_eq!(node, expected);
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut all = VecDeque::new();
        (0..EVENTS + 3).for_each(|one| keep(&mut all, one));

        assert_eq!((all.len(), all.front()), (EVENTS, Some(&3)));
    }
}
