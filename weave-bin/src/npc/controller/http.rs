//! The controller's HTTP: questions of people and of the CNI plugin, and metrics.
//!
//! | path | answer |
//! |---|---|
//! | `GET /status` | [`Status`](super::status::Status) as JSON |
//! | `GET /explain?from=&to=&port=` | list of decisions as JSON; 400 if an end is not known |
//! | `GET /blocked?since=SECONDS` | list of [`Record`](super::blocked::Record)s as JSON |
//! | `GET /rules` | list of [`Counted`](super::counted::Counted) as JSON |
//! | `GET /sync?wait=SECONDS` | 200 when what the source says now is in force; 504 if not in time |
//! | `POST /pod` | form `namespace`, `name`, `uid`, `address`…, `wait`: 200 when the rules know them |
//! | `DELETE /pod?namespace=&name=&address=` | 204 |
//! | `POST /guard` | form `port`, `mac`, `address`…: 200 when the guard is in force; 409 if it cannot be |
//! | `GET /metrics` | metrics |

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Form, Router};
use serde::Serialize;
use tokio::time::Instant;
use weave_npc::engine::Claim;
use weave_npc::model::{ObjectName, Transport, Uid};

use super::request::{Handle, Port, Question, Request, Stopping};
use crate::status::metrics;

/// Names and values, as a query or a form has them.
type Pairs = Vec<(String, String)>;

/// Every path.
pub(super) fn control(handle: Handle) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/explain", get(explain))
        .route("/blocked", get(blocked))
        .route("/rules", get(rules))
        .route("/sync", get(sync))
        .route("/pod", post(place).merge(delete(release)))
        .route("/guard", post(guard))
        .route("/metrics", get(measures))
        .with_state(handle)
}

/// What anybody may read.
pub(super) fn public(handle: Handle) -> Router {
    Router::new()
        .route("/metrics", get(measures))
        .with_state(handle)
}

async fn status(State(handle): State<Handle>) -> Response {
    match handle.ask(Request::Status).await {
        Ok(status) => json(&status),
        Err(stopping) => gone(stopping),
    }
}

async fn measures(State(handle): State<Handle>) -> Response {
    match handle.ask(Request::Metrics).await {
        Ok(page) => {
            let mut response = page.into_response();
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(stopping) => gone(stopping),
    }
}

async fn explain(State(handle): State<Handle>, Query(pairs): Query<Pairs>) -> Response {
    let text = |name| first(&pairs, name).unwrap_or_default().to_owned();
    let port: Transport = match text("port").parse() {
        Ok(port) => port,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("port: {error}")),
    };
    let question = Question {
        from: text("from"),
        to: text("to"),
        port,
    };
    let asked = handle.ask(|reply| Request::Explain(question, reply));
    match asked.await {
        Ok(Ok(answers)) => json(&answers),
        Ok(Err(reason)) => refusal(StatusCode::BAD_REQUEST, &reason),
        Err(stopping) => gone(stopping),
    }
}

async fn blocked(State(handle): State<Handle>, Query(pairs): Query<Pairs>) -> Response {
    let since = seconds(&pairs, "since", LONG_AGO);
    let asked = handle.ask(|reply| Request::Blocked(since, reply));
    match asked.await {
        Ok(records) => json(&records),
        Err(stopping) => gone(stopping),
    }
}

async fn rules(State(handle): State<Handle>) -> Response {
    match handle.ask(Request::Counted).await {
        Ok(Ok(counted)) => json(&counted),
        Ok(Err(reason)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &reason),
        Err(stopping) => gone(stopping),
    }
}

async fn sync(State(handle): State<Handle>, Query(pairs): Query<Pairs>) -> Response {
    let until = Instant::now() + seconds(&pairs, "wait", PATIENCE);
    outcome(
        StatusCode::GATEWAY_TIMEOUT,
        handle.ask(|reply| Request::Sync(until, reply)).await,
    )
}

async fn place(State(handle): State<Handle>, Form(pairs): Form<Pairs>) -> Response {
    let claim = match claim(&pairs) {
        Ok(claim) => claim,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, &reason),
    };
    let until = Instant::now() + seconds(&pairs, "wait", PATIENCE);
    outcome(
        StatusCode::GATEWAY_TIMEOUT,
        handle
            .ask(|reply| Request::Place(claim, until, reply))
            .await,
    )
}

async fn release(State(handle): State<Handle>, Query(pairs): Query<Pairs>) -> Response {
    let claim = match claim(&pairs) {
        Ok(claim) => claim,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, &reason),
    };
    match handle.tell(Request::Release(claim)).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(stopping) => gone(stopping),
    }
}

async fn guard(State(handle): State<Handle>, Form(pairs): Form<Pairs>) -> Response {
    let bad = |reason: &str| refusal(StatusCode::BAD_REQUEST, reason);
    let Some(name) = first(&pairs, "port") else {
        return bad("port: is missing");
    };
    let Some(ether) = first(&pairs, "mac").and_then(ether) else {
        return bad("mac: is no MAC address such as 02:00:00:00:00:01");
    };
    let port = match addresses(&pairs) {
        Ok(addresses) => Port {
            name: name.to_owned(),
            ether,
            addresses,
        },
        Err(reason) => return bad(&reason),
    };
    outcome(
        StatusCode::CONFLICT,
        handle.ask(|reply| Request::Guard(port, reply)).await,
    )
}

/// 200, or `failure` with the reason.
fn outcome(failure: StatusCode, answer: Result<Result<(), String>, Stopping>) -> Response {
    match answer {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(reason)) => refusal(failure, &reason),
        Err(stopping) => gone(stopping),
    }
}

fn claim(pairs: &Pairs) -> Result<Claim, String> {
    let text = |name| first(pairs, name).filter(|text: &&str| !text.is_empty());
    let (Some(namespace), Some(name)) = (text("namespace"), text("name")) else {
        return Err("namespace and name: must be given".to_owned());
    };
    let claim = Claim::new(ObjectName::new(namespace, name), addresses(pairs)?);
    Ok(match text("uid") {
        Some(uid) => claim.with_uid(Uid::new(uid)),
        None => claim,
    })
}

fn addresses(pairs: &Pairs) -> Result<Vec<IpAddr>, String> {
    let all = pairs.iter().filter(|(key, _)| key == "address");
    let all: Result<Vec<IpAddr>, String> = all
        .map(|(_, text)| {
            let address = text.parse();
            address.map_err(|_| format!("address: {text:?} is no IP address"))
        })
        .collect();
    all.and_then(|all| match all.len() {
        0 => Err("address: is missing".to_owned()),
        1..=MOST => Ok(all),
        _ => Err(format!(
            "address: more than {MOST} are too many for one pod"
        )),
    })
}

fn ether(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| {
            u8::from_str_radix(byte, 16)
                .ok()
                .filter(|_| byte.len() == 2)
        })
        .collect();
    bytes?.try_into().ok()
}

fn first<'p>(pairs: &'p Pairs, name: &str) -> Option<&'p str> {
    let mut found = pairs.iter().filter(|(key, _)| key == name);
    found.next().map(|(_, value)| value.as_str())
}

fn seconds(pairs: &Pairs, name: &str, default: Duration) -> Duration {
    let given = first(pairs, name).and_then(|text| text.parse().ok());
    given.map_or(default, |seconds: u32| Duration::from_secs(seconds.into()))
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    (status, format!("{reason}\n")).into_response()
}

fn gone(stopping: Stopping) -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, &stopping.to_string())
}

/// How long somebody waits who does not say.
const PATIENCE: Duration = Duration::from_secs(10);
/// Which records are wanted by somebody who does not say.
const LONG_AGO: Duration = Duration::from_secs(600);
/// Addresses that one pod can have.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Pairs {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    #[test]
    fn a_claim_needs_a_pod_and_addresses() {
        let good = [
            ("namespace", "shop"),
            ("name", "db"),
            ("address", "10.32.0.1"),
        ];
        let found = claim(&pairs(&good)).unwrap();
        assert_eq!(found.pod.to_string(), "shop/db");
        assert_eq!(found.uid, None);

        for missing in 0..3 {
            let mut some = good.to_vec();
            some.remove(missing);
            assert!(claim(&pairs(&some)).is_err());
        }
        let mut bad = good;
        bad[2].1 = "10.32.0";
        assert!(claim(&pairs(&bad)).unwrap_err().contains("\"10.32.0\""));
        let many = [&good[..], &[("address", "10.32.0.2"); 20]].concat();
        assert!(claim(&pairs(&many)).unwrap_err().contains("too many"));
    }

    #[test]
    fn a_mac_address_has_six_bytes() {
        assert_eq!(ether("02:00:00:00:00:fF"), Some([2, 0, 0, 0, 0, 255]));
        for bad in [
            "",
            "02:00",
            "2:0:0:0:0:1",
            "02:00:00:00:00:0g",
            "02:00:00:00:00:00:00",
        ] {
            assert_eq!(ether(bad), None, "{bad}");
        }
    }
}
