//! The API server of a cluster as the source of objects: five kinds, each followed on its own.
//!
//! Invariant: an object that cannot be read is told as refused, so what was known of it stays in
//! force; while the server is away, what was told stays.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use weave_npc::engine::{Event, Kind, Listing};
use weave_npc::manifest;
use weave_npc::model::{Key, Object, ObjectError, ObjectName, ObjectRef, Uid};

use super::task::Input;
use crate::kube::api::{Api, ApiError};
use crate::kube::follow::{self, News};
use crate::kube::state::{Board, Cluster};

/// A kind of ours, and what its followers call it.
struct Followed {
    kind: Kind,
    version: &'static str,
    place: follow::Kind,
}

const FOLLOWED: [Followed; 5] = [
    followed(
        Kind::Namespace,
        "v1",
        "/api/v1/namespaces",
        "list of namespaces",
    ),
    followed(Kind::Node, "v1", "/api/v1/nodes", "list of nodes"),
    followed(Kind::Pod, "v1", "/api/v1/pods", "list of pods"),
    followed(
        Kind::Policy,
        "networking.k8s.io/v1",
        "/apis/networking.k8s.io/v1/networkpolicies",
        "list of network policies",
    ),
    followed(
        Kind::ClusterPolicy,
        "policy.networking.k8s.io/v1alpha2",
        "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
        OPTIONAL,
    ),
];

const fn followed(
    kind: Kind,
    version: &'static str,
    path: &'static str,
    what: &'static str,
) -> Followed {
    let may_be_absent = matches!(kind, Kind::ClusterPolicy);
    let place = follow::Kind {
        path,
        what,
        may_be_absent,
    };
    Followed {
        kind,
        version,
        place,
    }
}

/// Follows everything until nobody wants to know.
pub(super) async fn follow(node: String, told: mpsc::Sender<Input>) {
    let api = loop {
        match Api::from_env().await {
            Ok(api) => break api,
            Err(error) => tell(&told, Input::Faults(vec![error.to_string()])).await,
        }
        if told.is_closed() {
            return;
        }
        sleep(PAUSE).await;
    };
    let (board, troubles) = Board::new(&node);
    let mut tasks = JoinSet::new();
    for one in FOLLOWED {
        let (sender, news) = mpsc::channel(QUEUE);
        let (api, board, told) = (api.clone(), board.clone(), told.clone());
        tasks.spawn(async move {
            tokio::join!(
                follow::follow::<Value>(&api, &board, one.place, sender),
                translate(one.kind, one.version, news, told),
            );
        });
    }
    tasks.spawn(pass_on(troubles, told));
    while tasks.join_next().await.is_some() {}
}

/// Tells the news of one kind.
async fn translate(
    kind: Kind,
    version: &'static str,
    mut news: mpsc::Receiver<News<Value>>,
    told: mpsc::Sender<Input>,
) {
    while let Some(one) = news.recv().await {
        tell(&told, Input::Event(event(kind, version, one))).await;
        if told.is_closed() {
            return;
        }
    }
}

/// Tells what does not work. Cluster policies that we may not list do not keep the others from being
/// enforced: the cluster may be one that has none.
async fn pass_on(mut troubles: watch::Receiver<Cluster>, told: mpsc::Sender<Input>) {
    let mut was_excused = false;
    while troubles.changed().await.is_ok() {
        let problems = troubles.borrow_and_update().problems.clone();
        let denied = ApiError::Denied(String::new()).to_string();
        let is_denied = problems
            .get(OPTIONAL)
            .is_some_and(|reason| reason.starts_with(denied.trim_end()));
        if is_denied && !was_excused {
            was_excused = true;
            let nothing = Event::Unlisted(Kind::ClusterPolicy);
            tell(&told, Input::Event(nothing)).await;
        }
        let faults = problems.iter().map(|(what, why)| format!("{what}: {why}"));
        tell(&told, Input::Faults(faults.collect())).await;
        if told.is_closed() {
            return;
        }
    }
}

async fn tell(told: &mpsc::Sender<Input>, input: Input) {
    // Who calls looks whether anybody wants to know.
    let _ = told.send(input).await;
}

fn event(kind: Kind, version: &str, news: News<Value>) -> Event {
    match news {
        News::All(values) => {
            let (mut objects, mut refused) = (Vec::new(), Vec::new());
            for value in values {
                match object(kind, version, value) {
                    Ok(object) => objects.extend(object),
                    Err(error) => refused.push(error),
                }
            }
            Event::Listed(Listing::of(kind, objects, refused))
        }
        News::Set(value) => {
            let key = key(kind, &value);
            match object(kind, version, value) {
                Ok(Some(object)) => Event::Applied(object),
                Ok(None) => Event::Removed(key),
                Err(error) => Event::Refused(error),
            }
        }
        News::Gone(value) => Event::Removed(key(kind, &value)),
    }
}

/// The object; items of lists do not say what they are.
fn object(kind: Kind, version: &str, mut value: Value) -> Result<Option<Object>, ObjectError> {
    let Value::Object(fields) = &mut value else {
        let nameless = ObjectRef {
            kind: kind.to_string(),
            ..ObjectRef::default()
        };
        return Err(ObjectError::new(nameless, "it", "is no object"));
    };
    fields.insert("kind".to_owned(), kind.as_str().into());
    fields.insert("apiVersion".to_owned(), version.into());
    manifest::object(&value)
}

/// What identifies the object, also one that cannot be used.
fn key(kind: Kind, value: &Value) -> Key {
    let text = |name: &str| value["metadata"][name].as_str().unwrap_or_default();
    let named = || ObjectName::new(text("namespace"), text("name"));
    match kind {
        Kind::Namespace => Key::Namespace(text("name").into()),
        Kind::Node => Key::Node(text("name").into()),
        Kind::Pod => Key::Pod(Uid::new(text("uid"))),
        Kind::Policy => Key::Policy(named()),
        Kind::ClusterPolicy => Key::ClusterPolicy(text("name").into()),
    }
}

const OPTIONAL: &str = "list of cluster network policies";
/// News of a kind that wait to be taken over.
const QUEUE: usize = 256;
/// Between looks for a way to the server.
const PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn news_become_events() {
        let version = "networking.k8s.io/v1";
        let policy = |name: &str, spec: Value| json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec});
        let good = policy("a", json!({"podSelector": {}}));
        let all = News::All(vec![good.clone(), policy("b", json!(7)), json!(7)]);
        let Event::Listed(listing) = event(Kind::Policy, version, all) else {
            panic!("not listed");
        };
        assert_eq!((listing.objects.len(), listing.refused.len()), (1, 2));
        assert_eq!(listing.kinds, [Kind::Policy].into());

        let set = event(Kind::Policy, version, News::Set(good.clone()));
        assert!(matches!(set, Event::Applied(_)), "{set:?}");
        let bad = event(Kind::Policy, version, News::Set(policy("a", json!(7))));
        assert!(matches!(bad, Event::Refused(_)), "{bad:?}");
        let gone = event(Kind::Policy, version, News::Gone(good));
        let Event::Removed(Key::Policy(name)) = gone else {
            panic!("{gone:?}");
        };
        assert_eq!(name.to_string(), "shop/a");
    }

    #[test]
    fn a_pod_is_known_by_its_identity() {
        let pod = json!({"metadata": {"namespace": "shop", "name": "db", "uid": "7"}});
        let Event::Applied(object) = event(Kind::Pod, "v1", News::Set(pod.clone())) else {
            panic!("not applied");
        };
        assert_eq!(object.key(), key(Kind::Pod, &pod));
    }
}
