//! What can go wrong with a question.

use std::path::PathBuf;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// An end is neither an address nor the name of a pod.
    #[error("{0} is not an IP address and not a pod of the manifests: write NAMESPACE/POD")]
    NoEnd(String),
    /// A pod has no address to talk from or to.
    #[error("pod {0} is not in the pod network: it has no address of its own, or has ended")]
    NoEndpoint(String),
    /// The two ends have no family of addresses in common.
    #[error("{from} and {to} have no IPv4 or IPv6 address in common")]
    NoCommonFamily {
        /// The client.
        from: String,
        /// The server.
        to: String,
    },
    /// `diff` without exactly two inputs.
    #[error("diff compares two inputs, {0} given: write -f OLD -f NEW")]
    NotTwo(usize),
    /// The answer cannot be written as JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The controller does not answer.
    #[error("{0}: is weave-npc running on this node?")]
    Ask(String),
    /// The controller has no answer.
    #[error("{0}")]
    Refused(String),
    /// This process cannot ask.
    #[error("cannot ask: {0}")]
    Runtime(std::io::Error),
}
