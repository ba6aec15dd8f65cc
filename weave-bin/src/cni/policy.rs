//! Pods under network policies: the address is in force before the pod is connected.
//!
//! Where the daemon expects a policy controller, ADD tells that one which pod gets which address, and
//! goes on when the rules know it. Invariant: with a controller expected, no pod of Kubernetes is
//! connected before its policies are in force; when that takes too long, ADD fails and the runtime
//! tries again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Scene;
use super::error::{Code, Error};
use super::lease::Lease;
use super::result::Attachment;
use crate::http::client::{Client, encode_component};

/// A pod as the runtime names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Its identity; runtimes tell it since 2020.
    pub(super) uid: Option<String>,
}

impl Pod {
    /// The pod that `CNI_ARGS` names; nothing outside of Kubernetes.
    pub(super) fn parse(arguments: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found
                .map(|(_, value)| value.to_owned())
                .filter(|value| !value.is_empty())
        };
        Some(Self {
            namespace: value("K8S_POD_NAMESPACE")?,
            name: value("K8S_POD_NAME")?,
            uid: value("K8S_POD_UID"),
        })
    }
}

/// The controller that knows a pod's addresses.
#[derive(Debug)]
pub(super) struct Placed {
    client: Client,
    pod: Pod,
    addresses: Vec<String>,
}

/// Tells the controller, if there is to be one, and waits until the rules know the addresses of
/// `lease`.
///
/// # Errors
/// The daemon does not say whether a controller is expected; or one is, and does not have the
/// address in force in time.
pub(super) async fn place<E>(scene: &Scene<'_, E>, lease: &Lease) -> Result<Option<Placed>, Error> {
    let Some(pod) = &scene.call.pod else {
        return Ok(None);
    };
    let Some(address) = scene.daemon.controller().await? else {
        return Ok(None);
    };
    let addresses = lease.granted.addresses.iter();
    let placed = Placed {
        client: Client::new(&address),
        pod: pod.clone(),
        addresses: addresses
            .map(|one| one.address.addr().to_string())
            .collect(),
    };
    let until = Instant::now() + scene.daemon.left().saturating_sub(RESERVE);
    placed.wait(until).await?;
    Ok(Some(placed))
}

impl Placed {
    /// Asks until the controller says yes. One that does not run yet is waited for.
    async fn wait(&self, until: Instant) -> Result<(), Error> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait = left.as_secs().to_string();
            let mut form = self.names();
            form.push(("wait", &wait));
            let client = self.client.clone().with_limit(left + GRACE);
            let reason = match client.post_form("/pod", &form).await {
                Ok(answer) if answer.is_success() => return Ok(()),
                Ok(answer) => answer.body.trim().to_owned(),
                Err(error) => error.to_string(),
            };
            if until.saturating_duration_since(Instant::now()) <= PAUSE {
                let Pod {
                    namespace, name, ..
                } = &self.pod;
                let text = format!("network policies of pod {namespace}/{name} are not in force");
                return Err(Error::new(Code::TryAgain, format!("{text}: {reason}")));
            }
            sleep(PAUSE).await;
        }
    }

    /// Holds the pod's port to its addresses.
    ///
    /// # Errors
    /// Why it is not held; the pod is connected all the same.
    pub(super) async fn guard(&self, attachment: &Attachment) -> Result<(), String> {
        let [host, pod, ..] = attachment.interfaces.as_slice() else {
            return Err("its ends are not known".to_owned());
        };
        let mut form = vec![("port", host.name.as_str()), ("mac", pod.mac.as_str())];
        form.extend(self.addresses.iter().map(|one| ("address", one.as_str())));
        let client = self.client.clone().with_limit(GRACE);
        match client.post_form("/guard", &form).await {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(answer.body.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes the addresses back after a failure. What cannot be told ends with the pod.
    pub(super) async fn undo(&self) {
        let pairs = self.names().into_iter();
        let query: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={}", encode_component(value)))
            .collect();
        let path = format!("/pod?{}", query.join("&"));
        let client = self.client.clone().with_limit(GRACE);
        let _ = client.delete(&path).await;
    }

    fn names(&self) -> Vec<(&str, &str)> {
        let mut names = vec![
            ("namespace", self.pod.namespace.as_str()),
            ("name", self.pod.name.as_str()),
        ];
        names.extend(self.pod.uid.iter().map(|uid| ("uid", uid.as_str())));
        names.extend(self.addresses.iter().map(|one| ("address", one.as_str())));
        names
    }
}

/// What is left of a call's time for connecting the pod.
const RESERVE: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// What an answer may take beyond the time it waits.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_controller_that_does_not_answer_in_time_is_an_error_to_try_again() {
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = nowhere.local_addr().unwrap().to_string();
        drop(nowhere);
        let placed = Placed {
            client: Client::new(&address),
            pod: Pod::parse("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=db").unwrap(),
            addresses: vec!["10.32.0.2".to_owned()],
        };

        let until = Instant::now() + Duration::from_millis(500);
        let error = placed.wait(until).await.unwrap_err();

        assert_eq!(error.code(), Code::TryAgain);
        let text = error.to_string();
        assert!(
            text.starts_with("network policies of pod shop/db are not in force: "),
            "{text}"
        );
    }

    #[test]
    fn a_pod_is_named_by_the_runtime() {
        let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=db-0;\
                    K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=12-34";
        let pod = Pod::parse(text).unwrap();

        assert_eq!((&*pod.namespace, &*pod.name), ("shop", "db-0"));
        assert_eq!(pod.uid.as_deref(), Some("12-34"));
        assert_eq!(
            Pod::parse("K8S_POD_NAMESPACE=a;K8S_POD_NAME=b")
                .unwrap()
                .uid,
            None
        );
        for other in [
            "",
            "IgnoreUnknown=1",
            "K8S_POD_NAME=b",
            "K8S_POD_NAMESPACE=;K8S_POD_NAME=b",
        ] {
            assert_eq!(Pod::parse(other), None, "{other}");
        }
    }
}
