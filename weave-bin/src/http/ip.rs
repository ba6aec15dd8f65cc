//! `/ip`, `/ring`, `/ipinfo`, `/peer` and `/gc`: addresses and who has them.

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{delete, post};
use ipnet::IpNet;
use serde::Serialize;
use tracing::info;
use weave_ipam::address::{parse_address, parse_cidr, parse_subnet};

use super::answer::{self, Refusal};
use super::arguments::Arguments;
use super::server::reads;
use crate::actor::ipam::{Asked, Rings};
use crate::pods::{Mark, Plugin, Pods};

/// Who gives addresses, and who looks after those of pods.
#[derive(Debug, Clone)]
struct Addresses {
    ipam: Rings,
    pods: Pods,
}

impl FromRef<Addresses> for Rings {
    fn from_ref(addresses: &Addresses) -> Self {
        addresses.ipam.clone()
    }
}

/// The paths of a daemon that allocates addresses.
pub(super) fn routes(ipam: Rings, pods: Pods) -> Router {
    Router::new()
        .route("/ip", reads(owned))
        .route("/ip/{id}", reads(lookup).post(allocate).delete(release_all))
        .route("/ip/{id}/{ip}", delete(release))
        .route(
            "/ip/{id}/{ip}/{len}",
            reads(lookup_in).post(allocate_in).put(claim),
        )
        .route("/ring", reads(prime))
        .route("/ipinfo/defaultsubnet", reads(default_subnet))
        .route("/peer", delete(leave))
        .route("/peer/{peer}", delete(take_over))
        .route("/gc", post(collect))
        .with_state(Addresses { ipam, pods })
}

/// The paths of a daemon that allocates none: scripts remove peers and leave without asking first.
pub(super) fn without_addresses() -> Router {
    Router::new()
        .route("/peer", delete(async || answer::done()))
        .route("/peer/{peer}", delete(async || answer::empty()))
}

#[derive(Serialize)]
struct Owned {
    owned: Option<Vec<Holder>>,
}

#[derive(Serialize)]
struct Holder {
    containerid: String,
    addrs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<Mark>,
}

/// With `detail=true` also which plugin asked for what; Weave Net ignores the word.
async fn owned(State(addresses): State<Addresses>, arguments: Arguments) -> Response {
    let owned = match addresses.ipam.owned().await {
        Ok(owned) => owned,
        Err(failure) => return answer::failure(&failure, ""),
    };
    let is_detailed = arguments.is_true("detail");
    let mark = |id: &str| addresses.pods.marked(id).filter(|_| is_detailed);
    let holders: Vec<Holder> = owned
        .into_iter()
        .map(|(containerid, nets)| Holder {
            mark: mark(&containerid),
            containerid,
            addrs: nets.iter().map(IpNet::to_string).collect(),
        })
        .collect();
    let body = Owned {
        owned: (!holders.is_empty()).then_some(holders),
    };
    let text = serde_json::to_string(&body).expect("invariant: strings become JSON");
    answer::json(text + "\n")
}

async fn lookup(
    State(ipam): State<Rings>,
    Path(id): Path<String>,
    arguments: Arguments,
) -> Result<Response, Refusal> {
    Ok(show(&ipam, id, families(&arguments)?).await)
}

async fn lookup_in(
    State(ipam): State<Rings>,
    Path((id, ip, len)): Path<(String, String, String)>,
) -> Result<Response, Refusal> {
    let subnet = subnet(&ip, &len)?;
    Ok(show(&ipam, id, Asked::In(subnet)).await)
}

async fn show(ipam: &Rings, id: String, asked: Asked) -> Response {
    match ipam.lookup(id, asked).await {
        Ok(found) if found.is_empty() => answer::empty(),
        Ok(found) => answer::text(words(found)),
        Err(failure) => answer::failure(&failure, ""),
    }
}

async fn allocate(
    State(addresses): State<Addresses>,
    Path(id): Path<String>,
    arguments: Arguments,
) -> Result<Response, Refusal> {
    let asked = families(&arguments)?;
    Ok(give(&addresses, id, asked, &arguments).await)
}

async fn allocate_in(
    State(addresses): State<Addresses>,
    Path((id, ip, len)): Path<(String, String, String)>,
    arguments: Arguments,
) -> Result<Response, Refusal> {
    let subnet = subnet(&ip, &len)?;
    Ok(give(&addresses, id, Asked::In(subnet), &arguments).await)
}

/// Plugins of ours say which they are and for which network; Weave Net's say nothing.
async fn give(addresses: &Addresses, id: String, asked: Asked, arguments: &Arguments) -> Response {
    let is_container = arguments.is_true("check-alive");
    let mark = arguments
        .first("plugin")
        .and_then(Plugin::named)
        .map(|plugin| Mark {
            plugin,
            network: arguments.first("network").map(str::to_owned),
        });
    let note = || {
        if let Some(mark) = &mark {
            addresses.pods.mark(&id, mark.clone());
        }
    };
    // Before, so that nobody frees it at this moment; after, since waiting may take long.
    note();
    let granted = addresses.ipam.allocate(id.clone(), asked, is_container);
    match granted.await {
        Ok(grants) => {
            note();
            let mut response = answer::text(words(grants.iter().map(|one| one.address)));
            let fresh = grants.iter().filter(|one| one.is_fresh);
            let fresh = match grants.as_slice() {
                [_] => fresh.map(|_| "true".to_owned()).next(),
                _ => Some(words(fresh.map(|one| one.address))).filter(|all| !all.is_empty()),
            };
            if let Some(value) = fresh.and_then(|fresh| HeaderValue::from_str(&fresh).ok()) {
                response.headers_mut().insert(FRESH_HEADER, value);
            }
            response
        }
        Err(failure) => answer::failure(&failure, ""),
    }
}

async fn claim(
    State(ipam): State<Rings>,
    Path((id, ip, len)): Path<(String, String, String)>,
    arguments: Arguments,
) -> Result<Response, Refusal> {
    let address = parse_cidr(&format!("{ip}/{len}")).map_err(answer::bad_request)?;
    let is_container = arguments.is_true("check-alive");
    let claimed = if arguments.is_true("noErrorOnUnknown") {
        ipam.reclaim(id, address, is_container).await
    } else {
        ipam.claim(id, address, is_container).await
    };
    Ok(match claimed {
        Ok(()) => answer::done(),
        Err(failure) => answer::failure(&failure, "Unable to claim: "),
    })
}

async fn release(
    State(ipam): State<Rings>,
    Path((id, ip)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let address = parse_address(&ip).map_err(answer::bad_request)?;
    Ok(match ipam.free(id, address).await {
        Ok(()) => answer::done(),
        Err(failure) => answer::failure(&failure, "Unable to free: "),
    })
}

async fn release_all(
    State(Addresses { ipam, pods }): State<Addresses>,
    Path(id): Path<String>,
) -> Response {
    match ipam.delete(id.clone()).await {
        Ok(()) => {
            pods.forget(&id);
            answer::done()
        }
        Err(failure) => answer::failure(&failure, ""),
    }
}

/// Frees what containers of a network have that its runtime does not list; their ids, one a line.
async fn collect(State(addresses): State<Addresses>, arguments: Arguments) -> Response {
    let Some(network) = arguments.first("network") else {
        return answer::error(StatusCode::BAD_REQUEST, "network: a name is needed");
    };
    let valid: BTreeSet<String> = arguments.all("valid").into_iter().collect();
    let freed = addresses.pods.collect(network, &valid).await;
    answer::text(freed.iter().map(|id| format!("{id}\n")).collect())
}

async fn prime(State(ipam): State<Rings>) -> Response {
    match ipam.prime().await {
        Ok(()) => answer::empty(),
        Err(failure) => answer::failure(&failure, ""),
    }
}

async fn default_subnet(
    State(ipam): State<Rings>,
    arguments: Arguments,
) -> Result<Response, Refusal> {
    let subnets = ipam.default_subnets().into_iter();
    Ok(answer::text(match families(&arguments)? {
        Asked::All => words(subnets),
        _ => words(subnets.take(1)),
    }))
}

async fn leave(State(ipam): State<Rings>) -> Response {
    match ipam.leave().await {
        Ok(()) => answer::done(),
        Err(failure) => answer::failure(&failure, ""),
    }
}

async fn take_over(State(ipam): State<Rings>, Path(peer): Path<String>) -> Response {
    match ipam.take_over(peer.clone()).await {
        Ok(count) => {
            info!("[http] {count} IPs taken over from {peer}");
            answer::text(format!("{count} IPs taken over from {peer}\n"))
        }
        Err(failure) => answer::failure(&failure, ""),
    }
}

/// Weave Net's programs name no family: they mean the one there was when they were written.
fn families(arguments: &Arguments) -> Result<Asked, Refusal> {
    match arguments.first("family") {
        None => Ok(Asked::Primary),
        Some("all") => Ok(Asked::All),
        Some(other) => Err(answer::bad_request(format!(
            "family: {other:?} is not \"all\""
        ))),
    }
}

fn words(nets: impl IntoIterator<Item = IpNet>) -> String {
    let words: Vec<String> = nets.into_iter().map(|net| net.to_string()).collect();
    words.join(" ")
}

fn subnet(ip: &str, len: &str) -> Result<IpNet, Refusal> {
    parse_subnet(&format!("{ip}/{len}")).map_err(answer::bad_request)
}

/// Stands with an address that its ident did not have before, and is `true`; with addresses of several
/// families it lists those. Weave Net has no such header.
pub const FRESH_HEADER: HeaderName = HeaderName::from_static("weave-fresh");
