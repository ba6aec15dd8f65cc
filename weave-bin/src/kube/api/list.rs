//! Listing and watching objects of one kind, whatever the kind.

use std::time::Duration;

use ::kube::api::{ListParams, WatchParams};
use ::kube::core::{Request, WatchEvent};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Api, ApiError, CALL_LIMIT, by_code, limited, sort};

/// An object that says which version of the whole list it belongs to.
pub trait Versioned {
    /// `metadata.resourceVersion`; empty when there is none.
    fn version(&self) -> &str;
}

impl Versioned for Value {
    fn version(&self) -> &str {
        self["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
    }
}

/// One change of a list.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<T> {
    /// The object is there, or is different.
    Set(T),
    /// The object is gone; this was its last state.
    Gone(T),
    /// Nothing but time has passed.
    Bookmark,
}

impl Api {
    /// All objects at `path`, such as `/api/v1/pods`, and the version to watch from. The server
    /// gives one state of the list in pages.
    ///
    /// # Errors
    /// [`ApiError::Missing`] when the server has no such kind; [`ApiError::Gone`] when the state
    /// was forgotten between two pages; else see [`ApiError`].
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(Vec<T>, String), ApiError> {
        let mut found = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list: List<T> = self.call(Request::new(path).list(&page)).await?;
            found.extend(list.items);
            match list.metadata.next {
                Some(next) if !next.is_empty() => page = page.continue_token(&next),
                _ => return Ok((found, list.metadata.version)),
            }
        }
    }

    /// What happens at `path` after `version`. Each item comes with the version after it; the
    /// stream ends now and then, and is to be continued from the last version.
    ///
    /// # Errors
    /// See [`ApiError`]; [`ApiError::Gone`] means to list again.
    pub async fn watch<T: DeserializeOwned + Clone + Versioned>(
        &self,
        path: &str,
        version: &str,
    ) -> Result<impl Stream<Item = Result<(Change<T>, String), ApiError>> + use<T>, ApiError> {
        let parameters = WatchParams::default().timeout(WATCH_SECONDS);
        let request = Request::new(path).watch(&parameters, version);
        let request = request.map_err(|error| ApiError::Refused(error.to_string()))?;
        let opened = self.client.request_events::<T>(request);
        let events = limited(CALL_LIMIT, opened).await?;
        Ok(events.map(|event| event.map_err(sort).and_then(read)))
    }
}

fn read<T: Versioned>(event: WatchEvent<T>) -> Result<(Change<T>, String), ApiError> {
    Ok(match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let version = object.version().to_owned();
            (Change::Set(object), version)
        }
        WatchEvent::Deleted(object) => {
            let version = object.version().to_owned();
            (Change::Gone(object), version)
        }
        WatchEvent::Bookmark(mark) => (Change::Bookmark, mark.metadata.resource_version),
        WatchEvent::Error(status) => return Err(by_code(status.code, &status.message)),
    })
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct List<T> {
    #[serde(default)]
    metadata: ListMeta,
    // Some servers write null for an empty list.
    #[serde(default = "Vec::new", deserialize_with = "or_empty")]
    items: Vec<T>,
}

fn or_empty<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(rename = "resourceVersion", default)]
    version: String,
    #[serde(rename = "continue", default)]
    next: Option<String>,
}

/// Objects a page: a Node of many images has 20 kB.
const PAGE: u32 = 500;
const WATCH_SECONDS: u32 = 290;
/// How long the server keeps a watch open.
pub const WATCH_LIMIT: Duration = Duration::from_secs(WATCH_SECONDS as u64);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_tell_what_changed_and_the_version_after() {
        let event = |kind: &str| {
            let object = json!({"metadata": {"name": "a", "resourceVersion": "7"}});
            let event = json!({"type": kind, "object": object});
            read(serde_json::from_value::<WatchEvent<Value>>(event).unwrap()).unwrap()
        };

        assert!(matches!(event("ADDED"), (Change::Set(_), version) if version == "7"));
        assert!(matches!(event("MODIFIED"), (Change::Set(_), _)));
        assert!(matches!(event("DELETED"), (Change::Gone(_), version) if version == "7"));
    }

    #[test]
    fn an_error_in_the_stream_is_what_its_code_says() {
        let event = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410,
            "status": "Failure", "message": "too old resource version", "reason": "Expired"}});
        let event = serde_json::from_value::<WatchEvent<Value>>(event).unwrap();

        assert_eq!(read(event), Err(ApiError::Gone));
    }

    #[test]
    fn a_list_may_be_null() {
        let list: List<Value> = serde_json::from_value(json!({"items": null})).unwrap();

        assert!(list.items.is_empty() && list.metadata.version.is_empty());
    }
}
