//! `/status`, `/report` and `/metrics`: what the daemon says about itself.

use axum::Router;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::answer;
use super::arguments::Arguments;
use super::server::{Control, reads};
use crate::status::{Report, metrics as page, text};
use crate::template::{Limits, Template};

/// The paths.
pub(super) fn routes(control: Control) -> Router {
    let shown = |render: fn(&Report) -> String| {
        reads(move |State(control): State<Control>| show(control, render))
    };
    Router::new()
        .route("/status", shown(text::overview))
        .route("/status/connections", shown(text::connections))
        .route("/status/peers", shown(text::peers))
        .route("/status/targets", shown(text::targets))
        .route("/status/ipam", shown(text::ipam))
        .route("/status/dns", shown(text::dns))
        .route("/report", reads(report))
        .route("/metrics", reads(measures))
        .with_state(control)
}

/// The one path of the metrics address.
pub(super) fn metrics(control: Control) -> Router {
    Router::new()
        .route("/metrics", reads(measures))
        .with_state(control)
}

async fn show(control: Control, render: fn(&Report) -> String) -> Response {
    let Some(report) = control.reporter.report().await else {
        return answer::stopping();
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
    let template = match arguments.all("format").as_slice() {
        _ if is_json => None,
        [source] => match Template::parse(source) {
            Ok(template) => Some(template),
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        _ => {
            let text = "error: must supply one format parameter";
            return answer::error(StatusCode::BAD_REQUEST, text);
        }
    };
    let Some(report) = control.reporter.report().await else {
        return answer::stopping();
    };
    let Some(template) = template else {
        return answer::json(report.to_json());
    };
    // A template may take a second to reach its limits, and the daemon has one thread.
    let render = move || template.render(&report.to_value(), Limits::default());
    match tokio::task::spawn_blocking(render).await {
        Ok(Ok(page)) if page.is_empty() => answer::empty(),
        Ok(Ok(page)) => answer::text(page),
        Ok(Err(error)) => answer::not_run(&error.to_string()),
        Err(_) => answer::stopping(),
    }
}

async fn measures(State(control): State<Control>) -> Response {
    match control.reporter.report().await {
        Some(report) => answer::measures(page::page(&report)),
        None => answer::stopping(),
    }
}
