//! The API server of a lab cluster: our own, a real one that the lab starts, or one that is there.
//!
//! Hosts reach it by a port on their switch, the lab directly as an administrator. Invariant: a
//! server that was there before is used only when it has no Nodes and no ConfigMap of Weave, and is
//! left so.

pub mod real;
pub mod recorded;
pub(in crate::lab::cluster) mod relay;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ::kube::{Client, Config};
use hyper::http::{Request, Uri};
use serde_json::{Value, json};

use real::Real;
use recorded::Recorded;

use crate::kube::api::NODES;
use crate::render::{Options, manifest};

/// Which API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab::cluster) enum Choice {
    /// Ours, which keeps a record of what it is asked.
    Recorded,
    /// The programs that `KUBE_APISERVER` and `ETCD` name.
    Real,
    /// One that is there.
    At(Box<Uri>),
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Recorded => f.write_str("recorded"),
            Self::Real => f.write_str("real"),
            Self::At(uri) => uri.fmt(f),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "recorded" => return Ok(Self::Recorded),
            "real" => return Ok(Self::Real),
            _ => {}
        }
        let uri: Result<Uri, _> = text.parse();
        let is_whole = |uri: &Uri| {
            let scheme = uri.scheme_str();
            matches!(scheme, Some("http" | "https")) && uri.host().is_some() && uri.path() == "/"
        };
        match uri {
            Ok(uri) if is_whole(&uri) => Ok(Self::At(Box::new(uri))),
            _ => Err("real, recorded or a URL such as https://10.0.0.1:6443 is needed".to_owned()),
        }
    }
}

/// Why there is no API server, or it does not do what is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A file, a program or a port.
    #[error("{}: {source}", path.display())]
    File {
        /// What it is.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The environment names no programs.
    #[error("--apiserver real needs KUBE_APISERVER and ETCD, the paths of the two programs")]
    NoPrograms,
    /// It does not answer within this time.
    #[error("the API server is not ready after {0:?}: {1}")]
    NotReady(Duration, String),
    /// Somebody uses it.
    #[error("the API server has {0}: the lab works only with one that nobody uses")]
    InUse(&'static str),
    /// It refused, or cannot be understood.
    #[error("API server: {0}")]
    Kubernetes(String),
}

impl ServerError {
    fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// An API server and its administrator.
#[derive(Debug)]
pub(in crate::lab::cluster) struct Server {
    kind: Kind,
    admin: Admin,
    /// What hosts say who they are with.
    token: Option<String>,
}

#[derive(Debug)]
enum Kind {
    Recorded(Recorded),
    Real(Real),
    At(Uri),
}

impl Server {
    /// Starts the server of `choice`, or looks for it; its files are below `directory`. `token` is
    /// for one that is there.
    ///
    /// # Errors
    /// Why there is none that can be used.
    pub(in crate::lab::cluster) async fn start(
        choice: &Choice,
        directory: &Path,
        token: Option<String>,
    ) -> Result<Self, ServerError> {
        let (kind, config, token) = match choice {
            Choice::Recorded => {
                let listener = std::net::TcpListener::bind("127.0.0.1:0");
                let served = listener.and_then(Recorded::serve);
                let server = served.map_err(ServerError::file("127.0.0.1:0"))?;
                let config = config(&format!("http://{}", server.address()), None)?;
                (Kind::Recorded(server), config, None)
            }
            Choice::Real => {
                let started = Real::start(&directory.join("apiserver")).await?;
                let server = started.ok_or(ServerError::NoPrograms)?;
                let config = server.config(real::ADMIN)?;
                (Kind::Real(server), config, Some(real::ACCOUNT.to_owned()))
            }
            Choice::At(uri) => {
                let config = config(&uri.to_string(), token.as_deref())?;
                (Kind::At((**uri).clone()), config, token)
            }
        };
        let admin = Admin::new(config)?;
        match kind {
            Kind::Recorded(_) => {}
            // Rights by role, and the roles are those of our manifest.
            Kind::Real(_) => admin.apply(&manifest(&Options::default())).await?,
            Kind::At(_) => admin.require_unused().await?,
        }
        Ok(Self { kind, admin, token })
    }

    /// Who may do everything.
    pub(in crate::lab::cluster) fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Host and port.
    pub(in crate::lab::cluster) fn location(&self) -> (String, u16) {
        match &self.kind {
            Kind::Recorded(server) => {
                let address = server.address();
                (address.ip().to_string(), address.port())
            }
            Kind::Real(server) => ("127.0.0.1".to_owned(), server.port()),
            Kind::At(uri) => {
                let host = uri.host().unwrap_or_default();
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let usual = if self.has_tls() { 443 } else { 80 };
                (host.to_owned(), uri.port_u16().unwrap_or(usual))
            }
        }
    }

    fn has_tls(&self) -> bool {
        match &self.kind {
            Kind::Recorded(_) => false,
            Kind::Real(_) => true,
            Kind::At(uri) => uri.scheme_str() == Some("https"),
        }
    }

    /// The file from which a host knows how to reach it at `address`.
    pub(in crate::lab::cluster) fn kubeconfig(&self, address: std::net::SocketAddr) -> String {
        let scheme = if self.has_tls() { "https" } else { "http" };
        let mut cluster = json!({"server": format!("{scheme}://{address}")});
        if self.has_tls() {
            // Its certificate is for another address than the port of the lab.
            cluster["insecure-skip-tls-verify"] = true.into();
        }
        let user = self
            .token
            .as_ref()
            .map_or_else(|| json!({}), |token| json!({"token": token}));
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            "users": [{"name": "lab", "user": user}]})
        .to_string()
    }

    /// Leaves a server that was there as it was: without `nodes` and without the ConfigMap.
    pub(in crate::lab::cluster) async fn leave(&self, nodes: impl IntoIterator<Item = String>) {
        if !matches!(self.kind, Kind::At(_)) {
            return;
        }
        for node in nodes {
            let _absent = self.admin.delete_node(&node).await;
        }
        let _absent = self.admin.send("DELETE", CONFIG_MAP, Value::Null).await;
    }
}

/// Somebody who may do everything.
#[derive(Clone)]
pub(in crate::lab::cluster) struct Admin(Client);

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    fn new(config: Config) -> Result<Self, ServerError> {
        let client = Client::try_from(config);
        client
            .map(Self)
            .map_err(|error| ServerError::Kubernetes(error.to_string()))
    }

    /// Creates a Node as a kubelet does, without network.
    ///
    /// # Errors
    /// What the server says.
    pub(in crate::lab::cluster) async fn add_node(
        &self,
        name: &str,
        address: &str,
    ) -> Result<(), ServerError> {
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}});
        self.send("POST", NODES, node).await?;
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "NetworkUnavailable", "status": "True",
                "reason": "NoRouteCreated"}],
        }});
        let path = format!("{NODES}/{name}/status");
        self.send("PATCH", &path, status).await.map(drop)
    }

    /// Deletes a Node.
    ///
    /// # Errors
    /// What the server says.
    pub(in crate::lab::cluster) async fn delete_node(&self, name: &str) -> Result<(), ServerError> {
        let path = format!("{NODES}/{name}");
        self.send("DELETE", &path, Value::Null).await.map(drop)
    }

    /// Creates the objects of `document`, a list; those that are there stay.
    async fn apply(&self, document: &Value) -> Result<(), ServerError> {
        for item in document["items"].as_array().into_iter().flatten() {
            match self.send("POST", &path(item), item.clone()).await {
                Err(ServerError::Kubernetes(text)) if text.contains("already exists") => {}
                sent => drop(sent?),
            }
        }
        Ok(())
    }

    async fn require_unused(&self) -> Result<(), ServerError> {
        let nodes = self.send("GET", NODES, Value::Null).await?;
        if nodes["items"].as_array().is_some_and(|all| !all.is_empty()) {
            return Err(ServerError::InUse("Nodes"));
        }
        match self.send("GET", CONFIG_MAP, Value::Null).await {
            Ok(_) => Err(ServerError::InUse("the ConfigMap of a Weave cluster")),
            Err(_) => Ok(()),
        }
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Result<Value, ServerError> {
        let kind = if method == "PATCH" {
            "application/strategic-merge-patch+json"
        } else {
            "application/json"
        };
        let bytes = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let failed = |error: String| ServerError::Kubernetes(format!("{method} {path}: {error}"));
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", kind).body(bytes);
        let request = request.map_err(|error| failed(error.to_string()))?;
        let sent = tokio::time::timeout(LIMIT, self.0.request(request)).await;
        let answer = sent.map_err(|_| failed(format!("no answer within {LIMIT:?}")))?;
        answer.map_err(|error| failed(error.to_string()))
    }
}

/// Where objects of the kind of `item` are created.
pub fn path(item: &Value) -> String {
    let version = item["apiVersion"].as_str().unwrap_or_default();
    let root = if version == "v1" {
        "/api/v1".to_owned()
    } else {
        format!("/apis/{version}")
    };
    let kind = item["kind"].as_str().unwrap_or_default().to_lowercase();
    match item["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{kind}s"),
        None => format!("{root}/{kind}s"),
    }
}

/// How to reach the server at `url`. Certificates are not looked at: the servers of labs make their
/// own.
fn config(url: &str, token: Option<&str>) -> Result<Config, ServerError> {
    let url: Uri = url
        .parse()
        .map_err(|error| ServerError::Kubernetes(format!("{url}: {error}")))?;
    let mut config = Config::new(url);
    config.accept_invalid_certs = true;
    config.auth_info.token = token.map(|token| token.to_owned().into());
    Ok(config)
}

const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/weave-net";
/// For one answer.
const LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_ours_a_real_one_or_a_url() {
        assert_eq!("recorded".parse(), Ok(Choice::Recorded));
        assert_eq!("real".parse(), Ok(Choice::Real));
        assert!(matches!("https://10.0.0.1:6443".parse(), Ok(Choice::At(_))));
        for nonsense in ["", "fake", "ftp://x", "https://", "https://x/api"] {
            assert!(nonsense.parse::<Choice>().is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn objects_are_created_where_their_kind_is() {
        let object = |version, kind, namespace: Option<&str>| json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace}});

        let path = |version, kind, namespace| path(&object(version, kind, namespace));
        assert_eq!(path("v1", "Node", None), "/api/v1/nodes");
        assert_eq!(
            path("apps/v1", "DaemonSet", Some("kube-system")),
            "/apis/apps/v1/namespaces/kube-system/daemonsets"
        );
    }
}
