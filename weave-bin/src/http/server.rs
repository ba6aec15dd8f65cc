//! Listeners and the two sets of paths: control has everything, status only what looks.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use tokio::net::{TcpListener, UnixListener};
use tracing::debug;
use weave_mesh::tokio::Mesh;

use super::{answer, ip, mesh, names, npc, pages, picture};
use crate::actor::ipam::Rings;
use crate::actor::keeper::Keeper;
use crate::args::daemon::ListenAddress;
use crate::daemon::host::Host;
use crate::dns::server::Service;
use crate::pods::Pods;
use crate::status::Reporter;

/// What requests work on.
#[derive(Debug, Clone)]
pub struct Control {
    /// The allocators, when addresses are allocated.
    pub ipam: Option<Rings>,
    /// The pods, when addresses are allocated.
    pub pods: Option<Pods>,
    /// The name server, when there is one.
    pub dns: Option<Arc<Service>>,
    /// The mesh.
    pub mesh: Mesh,
    /// The state file.
    pub keeper: Keeper,
    /// The bridge.
    pub host: Host,
    /// The report.
    pub reporter: Reporter,
    /// Whether traffic to pods of this host keeps its source.
    pub keeps_local: bool,
    /// Where the policy controller answers, when one is expected.
    pub policy: Option<String>,
    /// Whether nobody but this host reaches the address that is served.
    pub is_private: bool,
}

/// Every path.
pub fn control(control: Control) -> Router {
    let router = pages::routes(control.clone())
        .merge(picture::routes(control.clone()))
        .merge(mesh::routes(control.clone()))
        .merge(npc::routes(control.clone()));
    let addresses = match control.ipam.zip(control.pods) {
        Some((ipam, pods)) => ip::routes(ipam, pods),
        None => ip::without_addresses(),
    };
    let names = control.dns.map_or_else(Router::new, names::routes);
    finish(router.merge(addresses).merge(names))
}

/// The paths that only look.
pub fn status(control: Control) -> Router {
    finish(pages::routes(control.clone()).merge(picture::routes(control)))
}

/// Metrics alone.
pub fn metrics(control: Control) -> Router {
    finish(pages::metrics(control))
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

/// Listens on `address`. A socket file that nobody listens on is replaced.
///
/// # Errors
/// What the system says, with the address.
pub async fn bind(address: &ListenAddress) -> io::Result<Listener> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen for HTTP on {address}: {error}"),
        )
    };
    match address {
        ListenAddress::Tcp(address) => TcpListener::bind(address)
            .await
            .map(Listener::Tcp)
            .map_err(named),
        ListenAddress::Unix(path) => {
            remove_dead_socket(path).map_err(named)?;
            UnixListener::bind(path).map(Listener::Unix).map_err(named)
        }
    }
}

/// A path that is read with GET; HEAD is not served, as Weave Net does not.
pub(super) fn reads<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    get(handler).head(answer::not_allowed)
}

fn finish(router: Router) -> Router {
    router
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(log))
}

async fn log(request: Request, next: Next) -> Response {
    debug!("[http] {} {}", request.method(), request.uri());
    next.run(request).await
}

fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let is_socket = path
        .symlink_metadata()
        .is_ok_and(|found| found.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

const BODY_LIMIT: usize = 64 << 10;
