//! Answers as Weave Net gives them: plain text, errors with a newline and `nosniff`.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::actor::ipam::Failure;
use crate::status::metrics;

/// An answer that ends a request early.
pub(super) struct Refusal(Box<Response>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// 200 with `text` as it is.
pub(super) fn text(text: String) -> Response {
    with_type(StatusCode::OK, text, "text/plain; charset=utf-8")
}

/// 200 with a page for browsers.
pub(super) fn html(text: String) -> Response {
    with_type(StatusCode::OK, text, "text/html; charset=utf-8")
}

/// 503, since there is no daemon to ask any more.
pub(super) fn stopping() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping")
}

/// 200 with JSON.
pub(super) fn json(text: String) -> Response {
    with_type(StatusCode::OK, text, "application/json")
}

/// 200 with metrics.
pub(super) fn measures(text: String) -> Response {
    with_type(StatusCode::OK, text, metrics::CONTENT_TYPE)
}

/// 204.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 200 with nothing.
pub(super) fn empty() -> Response {
    StatusCode::OK.into_response()
}

/// An error: `text` and a newline.
pub(super) fn error(status: StatusCode, text: &str) -> Response {
    let mut response = with_type(status, format!("{text}\n"), "text/plain; charset=utf-8");
    response
        .headers_mut()
        .insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

/// The answer to a template that does not run: the body is Weave Net's, the reason a header of ours.
pub(super) fn not_run(reason: &str) -> Response {
    let text = "error during template execution";
    let mut response = error(StatusCode::INTERNAL_SERVER_ERROR, text);
    let shown: String = reason
        .chars()
        .filter(|one| one.is_ascii_graphic() || *one == ' ')
        .collect();
    if let Ok(value) = HeaderValue::from_str(&shown) {
        response.headers_mut().insert(REASON_HEADER, value);
    }
    response
}

/// 400 with `text`.
pub(super) fn bad_request(text: impl std::fmt::Display) -> Refusal {
    Refusal(Box::new(error(StatusCode::BAD_REQUEST, &text.to_string())))
}

/// The answer to a path nobody serves.
pub(super) async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// The answer to a verb a path does not serve.
pub(super) async fn not_allowed() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

/// The answer to a request that the allocator did not fulfil; `prefix` comes before its words.
///
/// A cancelled request answers 200 `cancelled`, as Weave Net's does.
pub(super) fn failure(failure: &Failure, prefix: &str) -> Response {
    match failure {
        Failure::Cancelled => text("cancelled".to_owned()),
        Failure::Refused(words) => error(StatusCode::BAD_REQUEST, &format!("{prefix}{words}")),
        Failure::NotSaved(_) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
        Failure::Stopping => error(StatusCode::SERVICE_UNAVAILABLE, &failure.to_string()),
    }
}

fn with_type(status: StatusCode, text: String, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Stands with an error whose body is fixed, and tells why.
pub const REASON_HEADER: HeaderName = HeaderName::from_static("weave-reason");
const NOSNIFF: HeaderName = X_CONTENT_TYPE_OPTIONS;
