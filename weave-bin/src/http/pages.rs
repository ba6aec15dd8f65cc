//! `/status`, `/report` and `/metrics`: what the daemon says about itself.

use axum::Router;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::answer;
use super::arguments::Arguments;
use super::server::{Control, reads};
use crate::status::{Report, metrics, text};

/// The paths.
pub(super) fn routes(control: Control) -> Router {
    let page = |render: fn(&Report) -> String| {
        reads(move |State(control): State<Control>| show(control, render))
    };
    Router::new()
        .route("/status", page(text::overview))
        .route("/status/connections", page(text::connections))
        .route("/status/peers", page(text::peers))
        .route("/status/targets", page(text::targets))
        .route("/status/ipam", page(text::ipam))
        .route("/status/dns", page(text::dns))
        .route("/report", reads(report))
        .route("/metrics", reads(measures))
        .with_state(control)
}

async fn show(control: Control, render: fn(&Report) -> String) -> Response {
    let Some(report) = control.reporter.report().await else {
        return stopping();
    };
    let page = render(&report);
    let mut response = if page.is_empty() {
        answer::empty()
    } else {
        answer::text(page)
    };
    if !report.ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn report(
    State(control): State<Control>,
    headers: HeaderMap,
    arguments: Arguments,
) -> Response {
    let is_json = headers
        .get(ACCEPT)
        .is_some_and(|kind| kind.as_bytes() == b"application/json");
    if !is_json {
        let text = match arguments.all("format").as_slice() {
            [_] => {
                "error: templates are not served; \
                 ask for the JSON report with \"Accept: application/json\""
            }
            _ => "error: must supply one format parameter",
        };
        return answer::error(StatusCode::BAD_REQUEST, text);
    }
    match control.reporter.report().await {
        Some(report) => answer::json(report.to_json()),
        None => stopping(),
    }
}

async fn measures(State(control): State<Control>) -> Response {
    match control.reporter.report().await {
        Some(report) => answer::measures(metrics::page(&report)),
        None => stopping(),
    }
}

fn stopping() -> Response {
    answer::error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping")
}
