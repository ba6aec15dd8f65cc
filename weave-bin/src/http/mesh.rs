//! `/connect`, `/forget` and `/expose`: whom to talk to, and the host's own place in the network.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use ipnet::IpNet;
use weave_ipam::address::parse_cidr;

use super::answer::{self, Refusal};
use super::arguments::Arguments;
use super::server::{Control, reads};
use crate::daemon::peers;

/// The paths.
pub(super) fn routes(control: Control) -> Router {
    let mut router = Router::new();
    if control.ipam.is_some() {
        router = router.route("/ipinfo/tracker", reads(tracker));
    }
    router
        .route("/connect", post(connect))
        .route("/forget", post(forget))
        .route("/expose/{ip}/{len}", post(expose).delete(hide))
        .with_state(control)
}

async fn connect(State(control): State<Control>, arguments: Arguments) -> Response {
    let replace = arguments.is_true("replace");
    let (found, mut errors) = peers::findable(arguments.all("peer")).await;
    errors.extend(control.mesh.connect(found, replace).await);
    let saved = remember(&control).await;
    if !errors.is_empty() {
        return answer::error(StatusCode::BAD_REQUEST, &errors.join("\n"));
    }
    saved
}

async fn forget(State(control): State<Control>, arguments: Arguments) -> Response {
    control.mesh.forget(arguments.all("peer")).await;
    remember(&control).await
}

/// Saves the given peers, for a restart with `--resume`.
async fn remember(control: &Control) -> Response {
    let report = control.mesh.report().await;
    if let Some(ipam) = &control.ipam {
        let others = peers::others(&report.targets).await;
        ipam.set_targets(others).await;
    }
    match control.keeper.save_peers(report.targets).await {
        Ok(()) => answer::empty(),
        Err(error) => {
            let text = format!("cannot save the list of peers: {error}");
            answer::error(StatusCode::INTERNAL_SERVER_ERROR, &text)
        }
    }
}

async fn expose(
    State(control): State<Control>,
    Path((ip, len)): Path<(String, String)>,
    arguments: Arguments,
) -> Result<Response, Refusal> {
    let address = address(&ip, &len)?;
    let is_bare = parse_bool(arguments.first("skipNAT")).map_err(answer::bad_request)?;
    Ok(match control.host.expose(address, !is_bare).await {
        Ok(()) => answer::done(),
        Err(error) => {
            let text = format!("unable to expose: {error}");
            answer::error(StatusCode::INTERNAL_SERVER_ERROR, &text)
        }
    })
}

async fn hide(
    State(control): State<Control>,
    Path((ip, len)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let address = address(&ip, &len)?;
    Ok(match control.host.hide(address).await {
        Ok(()) => answer::done(),
        Err(error) => {
            let text = format!("unable to hide: {error}");
            answer::error(StatusCode::INTERNAL_SERVER_ERROR, &text)
        }
    })
}

/// Who follows changes of the ring, in Weave Net's words.
async fn tracker(State(control): State<Control>) -> Response {
    let who = if control.keeps_local {
        "no-masq-local"
    } else {
        ""
    };
    answer::text(format!("{who}\n"))
}

fn address(ip: &str, len: &str) -> Result<IpNet, Refusal> {
    parse_cidr(&format!("{ip}/{len}"))
        .map_err(|error| answer::bad_request(format!("unable to parse ip addr: {error}")))
}

/// A truth value in the words Weave Net takes, and its words for others.
fn parse_bool(text: Option<&str>) -> Result<bool, String> {
    match text {
        None | Some("" | "0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
        Some(other) => Err(format!(
            "unable to parse skipNAT option: strconv.ParseBool: parsing {other:?}: invalid syntax"
        )),
    }
}
