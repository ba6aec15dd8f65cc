//! `/npc`: where the policy controller answers, if there is to be one.
//!
//! The CNI plugin asks it before it connects a pod: pods wait for a controller only where the daemon
//! leaves it to one what reaches them.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer;
use super::server::{Control, reads};

/// The path.
pub(super) fn routes(control: Control) -> Router {
    Router::new()
        .route("/npc", reads(place))
        .with_state(control)
}

async fn place(State(control): State<Control>) -> Response {
    match control.policy {
        Some(address) => answer::text(format!("{address}\n")),
        None => answer::error(StatusCode::NOT_FOUND, "no policy controller is expected"),
    }
}
