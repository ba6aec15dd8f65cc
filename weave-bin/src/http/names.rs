//! `/name`, `/domain` and `/dns-address`: the names of containers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, put};
use serde::Serialize;
use tracing::info;
use weave_ipam::address::parse_address;

use super::answer::{self, Refusal};
use super::arguments::Arguments;
use super::server::reads;
use crate::dns::NameError;
use crate::dns::answer::{parse_name, qualified};
use crate::dns::server::Service;
use crate::dns::store::Selection;

/// The paths of a daemon with a name server.
pub(super) fn routes(service: Arc<Service>) -> Router {
    Router::new()
        .route("/domain", reads(domain))
        .route("/dns-address", reads(address))
        .route("/dns-address-port", reads(address_port))
        .route("/name", reads(list).delete(remove_all))
        .route("/name/{container}", delete(remove_container))
        .route("/name/{container}/{ip}", put(add).delete(remove))
        .with_state(service)
}

type Served = State<Arc<Service>>;

async fn domain(State(service): Served) -> Response {
    answer::text(service.zone.text().to_owned())
}

async fn address(State(service): Served) -> Response {
    answer::text(service.address.ip().to_string())
}

async fn address_port(State(service): Served) -> Response {
    answer::text(service.address.to_string())
}

async fn add(
    State(service): Served,
    Path((container, ip)): Path<(String, String)>,
    arguments: Arguments,
) -> Result<Response, Refusal> {
    let address = ipv4(&ip)?;
    let hostname = qualified(arguments.first("fqdn").unwrap_or_default());
    let name = parse_name(&hostname).map_err(answer::bad_request)?;
    if name.is_root() || !service.zone.has(&hostname) {
        let domain = service.zone.text();
        info!("[nameserver] {hostname:?} is not in {domain} and so is not registered");
        return Ok(answer::done());
    }
    Ok(
        match service.names.add(hostname, container, address).await {
            Ok(_) => answer::done(),
            Err(error) => refused(error),
        },
    )
}

async fn remove(
    State(service): Served,
    Path((container, ip)): Path<(String, String)>,
    arguments: Arguments,
) -> Result<Response, Refusal> {
    let address = Some(ipv4(&ip)?);
    Ok(drop_names(&service, Some(container), address, &arguments).await)
}

async fn remove_container(
    State(service): Served,
    Path(container): Path<String>,
    arguments: Arguments,
) -> Response {
    drop_names(&service, Some(container), None, &arguments).await
}

async fn remove_all(State(service): Served, arguments: Arguments) -> Response {
    drop_names(&service, None, None, &arguments).await
}

async fn drop_names(
    service: &Service,
    container: Option<String>,
    address: Option<Ipv4Addr>,
    arguments: &Arguments,
) -> Response {
    let fqdn = arguments.first("fqdn").filter(|name| !name.is_empty());
    let selection = Selection {
        container,
        address,
        hostname: fqdn.map(qualified),
    };
    match service.names.remove(selection).await {
        Ok(_) => answer::done(),
        Err(error) => refused(error),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed<'a> {
    #[serde(rename = "ContainerID")]
    container: &'a str,
    origin: u64,
    addr: Ipv4Addr,
    hostname: &'a str,
    version: i64,
    tombstone: i64,
}

async fn list(State(service): Served, headers: HeaderMap) -> Response {
    let is_json = headers
        .get(ACCEPT)
        .is_some_and(|kind| kind.as_bytes() == b"application/json");
    if !is_json {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let text = service.names.read(|store| {
        let entries = store.iter().map(|(key, life)| Listed {
            container: &key.container,
            origin: key.origin.into(),
            addr: key.address,
            hostname: &key.hostname,
            version: life.version,
            tombstone: life.tombstone,
        });
        let entries: Vec<Listed<'_>> = entries.collect();
        let entries = (!entries.is_empty()).then_some(entries);
        serde_json::to_string(&entries).expect("invariant: strings and numbers become JSON")
    });
    // Weave Net does not say that it is JSON.
    answer::text(text + "\n")
}

fn ipv4(text: &str) -> Result<Ipv4Addr, Refusal> {
    match parse_address(text).map_err(answer::bad_request)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => {
            let reason = format!("invalid IP Address: {text}: names have IPv4 addresses");
            Err(answer::bad_request(reason))
        }
    }
}

fn refused(error: NameError) -> Response {
    answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}
