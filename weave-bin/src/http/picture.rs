//! `/` and `/events`: the status page for people, and the last events as JSON.
//!
//! The policy controller is another process of this host, on loopback. What it says about blocked
//! connections names pods and policies, so only addresses that nobody else reaches show it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::answer;
use super::arguments::Arguments;
use super::client::Client;
use super::server::{Control, reads};
use crate::npc::controller::blocked::Record;
use crate::npc::controller::status::Status;
use crate::picture::{self, Blocked, Page, Policies};
use crate::{logging, status};

/// The paths.
pub(super) fn routes(control: Control) -> Router {
    Router::new()
        .route("/", reads(page))
        .route("/events", reads(events))
        .with_state(control)
}

async fn events() -> Response {
    answer::json(status::model::to_json(&logging::recent()))
}

/// The page; with `?refresh=SECONDS` the browser asks for it again after so long.
async fn page(State(control): State<Control>, arguments: Arguments) -> Response {
    let refresh = match arguments.first("refresh").map(str::parse::<u16>) {
        None => None,
        Some(Ok(seconds @ 1..)) => Some(HeaderValue::from(seconds)),
        Some(_) => {
            let text = "error: refresh must be a number of seconds";
            return answer::error(StatusCode::BAD_REQUEST, text);
        }
    };
    let (report, policies) = tokio::join!(control.reporter.report(), policies(&control));
    let Some(report) = report else {
        return answer::stopping();
    };
    let at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // A large mesh takes milliseconds, and the daemon has one thread.
    let draw = move || {
        picture::html(&Page {
            report: &report,
            events: &logging::recent(),
            policies: &policies,
            at,
        })
    };
    match tokio::task::spawn_blocking(draw).await {
        Ok(html) => document(html, refresh),
        Err(_) => answer::stopping(),
    }
}

fn document(html: String, refresh: Option<HeaderValue>) -> Response {
    let mut response = answer::html(html);
    let headers = response.headers_mut();
    // A document cannot say for itself who may frame it.
    let policy = format!("{}; frame-ancestors 'none'", picture::policy());
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(refresh) = refresh {
        headers.insert(REFRESH, refresh);
    }
    response
}

/// What the policy controller of this host says.
async fn policies(control: &Control) -> Policies {
    let Some(address) = &control.policy else {
        return Policies::NotExpected;
    };
    if !control.is_private {
        return Policies::NotShown;
    }
    asked(address).await
}

/// What the policy controller at `address` says.
async fn asked(address: &str) -> Policies {
    let client = Client::new(address).with_limit(PATIENCE);
    let (records, status) = tokio::join!(
        ask::<Vec<Record>>(&client, RECENT),
        ask::<Status>(&client, "/status")
    );
    match (records, status) {
        (Ok(records), Ok(status)) => {
            let refused = status
                .refused
                .into_iter()
                .map(|text| format!("Refused: {text}"));
            let faults = status.faults.into_iter().chain(refused).collect();
            Policies::Known(Blocked { records, faults })
        }
        (Err(why), _) | (_, Err(why)) => Policies::Silent(why),
    }
}

async fn ask<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, String> {
    let answer = client.get(path).await.map_err(|error| error.to_string())?;
    if !answer.is_success() {
        return Err(format!("{path} answered {}", answer.status));
    }
    serde_json::from_str(&answer.body).map_err(|error| format!("{path}: {error}"))
}

const REFRESH: HeaderName = HeaderName::from_static("refresh");
/// A page is not held up longer by a controller that hangs.
const PATIENCE: Duration = Duration::from_secs(1);
/// What was blocked in the last hour.
const RECENT: &str = "/blocked?since=3600";

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::{Limits, Listener, serve};

    #[tokio::test]
    async fn a_controller_is_asked_for_records_and_faults() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut status = Status::default();
        status.faults = vec!["the API server does not answer".to_owned()];
        status.refused = vec!["NetworkPolicy shop/db: spec: is missing".to_owned()];
        let status = serde_json::to_string(&status).unwrap();
        let controller: Router = Router::new()
            .route("/blocked", get(async || "[]"))
            .route("/status", get(async move || status));
        let (listener, stop) = (Listener::Tcp(listener), CancellationToken::new());
        tokio::spawn(serve(listener, controller, Limits::default(), stop));

        let told = asked(&address).await;

        let Policies::Known(known) = told else {
            panic!("{told:?}");
        };
        assert_eq!(
            known.faults,
            [
                "the API server does not answer",
                "Refused: NetworkPolicy shop/db: spec: is missing"
            ]
        );
    }

    #[tokio::test]
    async fn a_controller_that_hangs_holds_nobody_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let begun = Instant::now();

        let told = asked(&address).await;

        assert!(matches!(told, Policies::Silent(_)), "{told:?}");
        assert!(begun.elapsed() < PATIENCE * 3, "{:?}", begun.elapsed());
        drop(listener);
        let told = asked(&address).await;
        let Policies::Silent(why) = told else {
            panic!("{told:?}");
        };
        assert!(why.contains("connection refused"), "{why}");
    }
}
