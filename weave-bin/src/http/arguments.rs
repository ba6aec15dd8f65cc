//! Arguments of a request, from the query and from a form body.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::answer;

/// The arguments in the order they came, query first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arguments(Vec<(String, String)>);

impl Arguments {
    /// Every value of `name`.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// The first value of `name`.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the first value of `name` is exactly `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.first(name) == Some("true")
    }
}

/// The pairs in a query, or in a form, in their order.
///
/// # Errors
/// What is no query about the text.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    // A URI carries the same encoding as a form, so axum's query reader serves for both.
    let uri = Uri::builder()
        .path_and_query(format!("/?{text}"))
        .build()
        .map_err(|error| error.to_string())?;
    Query::try_from_uri(&uri)
        .map(|Query(pairs)| pairs)
        .map_err(|error| error.to_string())
}

impl<S: Send + Sync> FromRequest<S> for Arguments {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let bad = |text: String| answer::error(StatusCode::BAD_REQUEST, &text);
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs = parse(query).map_err(bad)?;
        let is_form = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if is_form {
            let read = tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_LIMIT)).await;
            let read = read.map_err(|_| {
                let text = "the form does not come";
                answer::error(StatusCode::REQUEST_TIMEOUT, text)
            })?;
            let body = read.map_err(|_| {
                let text = format!("a form must be complete and at most {BODY_LIMIT} bytes");
                answer::error(StatusCode::PAYLOAD_TOO_LARGE, &text)
            })?;
            let text =
                std::str::from_utf8(&body).map_err(|_| bad("a form must be UTF-8".to_owned()))?;
            pairs.extend(parse(text).map_err(bad)?);
        }
        Ok(Self(pairs))
    }
}

/// Time for a form to come.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Room for some thousand peers in one request.
const BODY_LIMIT: usize = 64 << 10;
