//! A daemon as far as the cluster side asks it, and the mesh and ring that daemons share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, RawForm, State};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use serde_json::json;

/// Who is connected, and whose space each peer's space has become.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mesh(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    connected: BTreeSet<String>,
    heirs: BTreeMap<String, Vec<String>>,
    targets: BTreeMap<String, Vec<String>>,
}

impl Mesh {
    pub(crate) fn leave(&self, peer: &str) {
        self.0.lock().unwrap().connected.remove(peer);
    }

    /// Who took over what `peer` had, one for each time there was something to take.
    pub(crate) fn heirs(&self, peer: &str) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        inner.heirs.get(peer).cloned().unwrap_or_default()
    }

    /// The targets of the daemon of `peer`.
    pub(crate) fn targets(&self, peer: &str) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        inner.targets.get(peer).cloned().unwrap_or_default()
    }

    /// Starts the daemon of `peer`; where it listens.
    pub(crate) async fn start(&self, peer: &str) -> String {
        self.0.lock().unwrap().connected.insert(peer.to_owned());
        let state = (self.clone(), peer.to_owned());
        let router = Router::new()
            .route("/status", get(async || "fine"))
            .route("/report", get(report))
            .route("/connect", post(connect))
            .route("/peer/{peer}", delete(take_over))
            .route("/ip/weave:expose", post(async || "10.32.0.1/12"))
            .route("/expose/{ip}/{len}", post(async || ""))
            .with_state(state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

type Us = State<(Mesh, String)>;

async fn report(State((mesh, _)): Us) -> impl IntoResponse {
    let inner = mesh.0.lock().unwrap();
    let peers: Vec<_> = inner
        .connected
        .iter()
        .map(|name| json!({"Name": name}))
        .collect();
    json!({"Router": {"Peers": peers}, "IPAM": {"Entries": [{}]}}).to_string()
}

async fn connect(State((mesh, us)): Us, RawForm(form): RawForm) -> impl IntoResponse {
    let form = String::from_utf8(form.to_vec()).unwrap();
    let targets = form
        .split('&')
        .filter_map(|pair| pair.strip_prefix("peer="));
    let targets = targets.map(str::to_owned).collect();
    mesh.0.lock().unwrap().targets.insert(us, targets);
}

async fn take_over(State((mesh, us)): Us, Path(peer): Path<String>) -> impl IntoResponse {
    let mut inner = mesh.0.lock().unwrap();
    assert!(!inner.connected.contains(&peer), "{peer} is connected");
    let heirs = inner.heirs.entry(peer.clone()).or_default();
    let count = if heirs.is_empty() { 1024 } else { 0 };
    if count > 0 {
        heirs.push(us);
    }
    format!("{count} IPs taken over from {peer}\n")
}
