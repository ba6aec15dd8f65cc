//! The API server: every request we make, each bounded in time.
//!
//! Objects are read as far as they are used and nothing more is kept. What goes wrong is sorted by
//! what it means to the caller, not by where it went wrong.

mod config_map;
pub mod list;
pub mod node;

use std::time::Duration;

use ::kube::api::{GetParams, Patch, PatchParams, PostParams};
use ::kube::config::KubeConfigOptions;
use ::kube::core::{Request, request};
use ::kube::{Client, Config};
use hyper::http;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::condition;
use super::nodes::{Node, Nodes};
use super::record::{Malformed, Record};
pub use config_map::Stored;
use node::NodeObject;

/// A connection to an API server.
#[derive(Clone)]
pub struct Api {
    client: Client,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// This is no cluster, or its credentials are not where a pod finds them.
    #[error("no way to the API server: {0}")]
    Config(String),
    /// No answer, or one that says to come back later. The request may have had its effect.
    #[error("API server does not answer: {0}")]
    Unreachable(String),
    /// We may not. The service account lacks a right, or its token is not taken.
    #[error("API server refuses: {0}")]
    Denied(String),
    /// Somebody else wrote first. Nothing was written; read again.
    #[error("somebody else wrote the object first")]
    Conflict,
    /// The version asked for is too old; list again.
    #[error("the API server no longer has that version")]
    Gone,
    /// There is no such object, or the server knows no such kind.
    #[error("the API server has no such object")]
    Missing,
    /// The server says no for another reason.
    #[error("API server: {0}")]
    Refused(String),
    /// An object is not what it should be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Api {
    /// The API server that the environment names: `KUBECONFIG` when it is set, else the one of the
    /// pod's own cluster. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ApiError::Config`].
    pub async fn from_env() -> Result<Self, ApiError> {
        let unusable = |text: String| ApiError::Config(text);
        let config = if std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()) {
            let options = KubeConfigOptions::default();
            Config::from_kubeconfig(&options)
                .await
                .map_err(|error| unusable(error.to_string()))?
        } else {
            Config::incluster_env().map_err(|error| unusable(error.to_string()))?
        };
        Self::new(config)
    }

    /// The API server of `config`.
    ///
    /// # Errors
    /// [`ApiError::Config`].
    pub fn new(mut config: Config) -> Result<Self, ApiError> {
        config.connect_timeout = Some(CONNECT_LIMIT);
        // Every call has its own limit, and a watch may be silent for long.
        config.read_timeout = None;
        config.write_timeout = Some(CALL_LIMIT);
        // Whoever calls knows when to try again, and tells people meanwhile.
        config.default_retry = false;
        let client =
            Client::try_from(config).map_err(|error| ApiError::Config(error.to_string()))?;
        Ok(Self { client })
    }

    /// All Nodes, as they are at this moment.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn nodes(&self) -> Result<Nodes, ApiError> {
        let (all, _) = self.list::<NodeObject>(NODES).await?;
        Ok(all.into_iter().map(Node::from).collect())
    }

    /// The Node called `name`, as it is at this moment.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn node(&self, name: &str) -> Result<Option<Node>, ApiError> {
        let request = Request::new(NODES).get(name, &GetParams::default());
        let found: Option<NodeObject> = or_none(self.call(request).await)?;
        Ok(found.map(Node::from))
    }

    /// The shared ConfigMap.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn record(&self) -> Result<Option<Stored>, ApiError> {
        let request = Request::new(CONFIG_MAPS).get(NAME, &GetParams::default());
        or_none(self.call(request).await)?
            .map(Stored::read)
            .transpose()
    }

    /// Creates the shared ConfigMap.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when it is there already; else see [`ApiError`].
    pub async fn create(&self, record: Record) -> Result<Stored, ApiError> {
        let bytes = config_map::fresh(record).to_string().into_bytes();
        let request = Request::new(CONFIG_MAPS).create(&as_us(), bytes);
        Stored::read(self.call(request).await?)
    }

    /// Writes `record` in place of `before`.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when somebody wrote since `before` was read; else see [`ApiError`].
    pub async fn replace(&self, before: &Stored, record: Record) -> Result<Stored, ApiError> {
        let bytes = before.with(record).to_string().into_bytes();
        let request = Request::new(CONFIG_MAPS).replace(NAME, &as_us(), bytes);
        Stored::read(self.call(request).await?)
    }

    /// Says that the network of the Node called `name` is available, at time `now` in RFC 3339.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn set_available(&self, name: &str, now: &str) -> Result<(), ApiError> {
        let patch = Patch::Strategic(condition::patch(now));
        let parameters = PatchParams::default();
        let request = Request::new(NODES).patch_subresource("status", name, &parameters, &patch);
        self.call::<Value>(request).await.map(drop)
    }

    /// The version of the API server, such as `v1.33.1`.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn version(&self) -> Result<String, ApiError> {
        let answer = limited(CALL_LIMIT, self.client.apiserver_version()).await?;
        Ok(answer.git_version)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, request::Error>,
    ) -> Result<T, ApiError> {
        let request = request.map_err(|error| ApiError::Refused(error.to_string()))?;
        limited(CALL_LIMIT, self.client.request(request)).await
    }
}

async fn limited<T>(
    limit: Duration,
    call: impl Future<Output = ::kube::Result<T>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(sort),
        Err(_) => Err(ApiError::Unreachable(format!("no answer within {limit:?}"))),
    }
}

/// Sorts what went wrong by what it means.
fn sort(error: ::kube::Error) -> ApiError {
    match error {
        ::kube::Error::Api(status) => by_code(status.code, &status.message),
        ::kube::Error::SerdeError(error) => ApiError::Refused(format!("an odd answer: {error}")),
        ::kube::Error::Auth(error) => ApiError::Config(error.to_string()),
        other => ApiError::Unreachable(chain(&other)),
    }
}

fn by_code(code: u16, message: &str) -> ApiError {
    match code {
        401 | 403 => ApiError::Denied(message.to_owned()),
        404 => ApiError::Missing,
        409 => ApiError::Conflict,
        410 => ApiError::Gone,
        408 | 429 | 500.. => ApiError::Unreachable(format!("status {code}: {message}")),
        _ => ApiError::Refused(format!("status {code}: {message}")),
    }
}

/// An error with all its causes: the outermost says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

fn or_none<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ApiError::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

fn as_us() -> PostParams {
    PostParams {
        dry_run: false,
        field_manager: Some(MANAGER.to_owned()),
    }
}

/// Where Nodes are.
pub const NODES: &str = "/api/v1/nodes";
const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
const NAMESPACE: &str = "kube-system";
const NAME: &str = "weave-net";
/// Who writes, for the API server's records.
const MANAGER: &str = "kube-peers.weave.works";
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const CALL_LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_they_mean() {
        assert!(matches!(by_code(403, "no"), ApiError::Denied(_)));
        assert!(matches!(by_code(401, "who"), ApiError::Denied(_)));
        assert_eq!(by_code(409, ""), ApiError::Conflict);
        assert_eq!(by_code(410, ""), ApiError::Gone);
        assert!(matches!(by_code(429, ""), ApiError::Unreachable(_)));
        assert!(matches!(by_code(503, ""), ApiError::Unreachable(_)));
        assert!(matches!(by_code(422, ""), ApiError::Refused(_)));
        assert_eq!(or_none::<()>(Err(by_code(404, ""))), Ok(None));
    }
}
