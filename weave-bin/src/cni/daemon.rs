//! The plugin's questions to the daemon: look up, allocate, expose, release.
//!
//! Everything goes over the control interface and is limited in time. A refusal and a silent
//! daemon are told apart, because a runtime should try again after the second only.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use super::Plugin;
use super::error::{Code, Error};
use crate::http::FRESH_HEADER;
use crate::http::client::{self, Client, Response, encode_component};

/// The identity under which the bridge's own address is allocated.
pub(super) const EXPOSE_ID: &str = "weave:expose";

/// Asks for an address of each family; a daemon that knows one family gives that.
const EVERY_FAMILY: &str = "family=all";

/// The daemon of this host, asked until a deadline.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    client: Client,
    deadline: Instant,
}

/// What a release found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Released {
    Freed,
    /// There was nothing to free; the daemon's words.
    Nothing(String),
}

impl Daemon {
    /// A daemon whose every answer must come within `limit` from now, all together.
    pub(super) fn new(client: Client, limit: Duration) -> Self {
        Self {
            client,
            deadline: Instant::now() + limit,
        }
    }

    /// The same daemon with a deadline of its own, for undoing after the first one has passed.
    pub(super) fn again(&self, limit: Duration) -> Self {
        Self::new(self.client.clone(), limit)
    }

    /// An address for `id` in `subnet`, or one of each family that the daemon has; each with whether
    /// `id` is known not to have had it before. The same again for the same id. Waits while there is no
    /// space. `asker` is the plugin and the network it is for, by which the daemon knows later whose the
    /// address was.
    pub(super) async fn allocate(
        &self,
        id: &str,
        subnet: Option<IpNet>,
        asker: Option<(Plugin, &str)>,
    ) -> Result<Vec<(IpNet, bool)>, Error> {
        let path = ip_path(id, subnet);
        let mut query = Vec::new();
        if let Some((plugin, network)) = asker {
            query.push(format!("plugin={}", plugin.name()));
            query.push(format!("network={}", encode_component(network)));
        }
        if subnet.is_none() {
            query.push(EVERY_FAMILY.to_owned());
        }
        let words = match query.join("&") {
            none if none.is_empty() => none,
            some => format!("?{some}"),
        };
        let answer = self.limited().post(&format!("{path}{words}")).await;
        let fresh = answer.as_ref().ok().and_then(|answer| {
            let value = answer.headers.get(FRESH_HEADER)?.to_str().ok()?;
            Some(value.to_owned())
        });
        let body = self.body("Post", &path, answer)?;
        granted(&body, fresh.as_deref()).ok_or_else(|| {
            let text = format!(
                "weave daemon answered {:?} instead of an address",
                cut(&body)
            );
            Error::new(Code::TryAgain, text)
        })
    }

    /// The addresses of `id`: in `subnet`, or of every family.
    pub(super) async fn lookup(
        &self,
        id: &str,
        subnet: Option<IpNet>,
    ) -> Result<Vec<IpAddr>, Error> {
        let path = match (ip_path(id, subnet), subnet) {
            (path, Some(_)) => path,
            (path, None) => format!("{path}?{EVERY_FAMILY}"),
        };
        let answer = self.limited().get(&path).await;
        let body = self.body("Get", &path, answer)?;
        let words = body.split_whitespace();
        Ok(words
            .filter_map(|word| word.parse::<IpNet>().ok())
            .map(|net| net.addr())
            .collect())
    }

    /// The status page.
    ///
    /// # Errors
    /// [`Code::Limited`], whatever it is.
    pub(super) async fn status(&self) -> Result<String, Error> {
        let path = "/status";
        let answer = self.limited().get(path).await;
        let found = self.body("Get", path, answer);
        found.map_err(|error| Error::new(Code::Limited, error.to_string()))
    }

    /// Frees what containers of `network` have that are not among `valid`; whose that was.
    pub(super) async fn collect(
        &self,
        network: &str,
        valid: &BTreeSet<String>,
    ) -> Result<Vec<String>, Error> {
        let path = "/gc";
        let mut form = vec![("network", network)];
        form.extend(valid.iter().map(|id| ("valid", id.as_str())));
        let answer = self.limited().post_form(path, &form).await;
        let body = self.body("Post", path, answer)?;
        Ok(body.lines().map(str::to_owned).collect())
    }

    /// Where the policy controller answers; nothing if none is expected, or the daemon is too old to
    /// know.
    pub(super) async fn controller(&self) -> Result<Option<String>, Error> {
        let path = "/npc";
        match self.limited().get(path).await {
            Ok(found) if found.status.as_u16() == 404 => Ok(None),
            answer => {
                let body = self.body("Get", path, answer)?;
                Ok(Some(body.trim().to_owned()))
            }
        }
    }

    /// The time that is left of the limit.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Puts `address` on the bridge.
    pub(super) async fn expose(&self, address: IpNet) -> Result<(), Error> {
        let path = format!("/expose/{address}");
        let answer = self.limited().post(&path).await;
        self.body("Post", &path, answer).map(drop)
    }

    /// Frees every address of `id`.
    pub(super) async fn release(&self, id: &str) -> Result<Released, Error> {
        let path = format!("/ip/{}", encode_component(id));
        let answer = self.limited().delete(&path).await;
        match &answer {
            Ok(found)
                if found.status.as_u16() == 400 && found.body.contains("no addresses for") =>
            {
                Ok(Released::Nothing(found.body.trim().to_owned()))
            }
            _ => self.body("Delete", &path, answer).map(|_| Released::Freed),
        }
    }

    /// Frees one address of `id`.
    pub(super) async fn free(&self, id: &str, address: IpNet) -> Result<(), Error> {
        let path = format!("/ip/{}/{}", encode_component(id), address.addr());
        let answer = self.limited().delete(&path).await;
        self.body("Delete", &path, answer).map(drop)
    }

    fn limited(&self) -> Client {
        self.client.clone().with_limit(self.left())
    }

    /// The body of a successful answer; else an error in the words known from bug reports.
    fn body(
        &self,
        verb: &str,
        path: &str,
        answer: Result<Response, client::Error>,
    ) -> Result<String, Error> {
        let address = self.client.address();
        let asked = format!("{verb} \"http://{address}{path}\"");
        match answer {
            Ok(found) if found.is_success() => Ok(found.body),
            Ok(found) => {
                let code = if found.status.is_server_error() {
                    Code::TryAgain
                } else {
                    Code::Refused
                };
                Err(Error::new(
                    code,
                    format!("{}: {}", found.status, cut(&found.body)),
                ))
            }
            Err(client::Error::Unreachable { reason, .. }) => Err(Error::new(
                Code::TryAgain,
                format!("{asked}: dial tcp {address}: connect: {reason}"),
            )),
            Err(client::Error::Request { reason, .. }) => Err(Error::new(
                Code::Configuration,
                format!("{asked}: {reason}"),
            )),
            Err(other) => Err(Error::new(Code::TryAgain, format!("{asked}: {other}"))),
        }
    }
}

fn ip_path(id: &str, subnet: Option<IpNet>) -> String {
    let id = encode_component(id);
    match subnet {
        Some(subnet) => format!("/ip/{id}/{subnet}"),
        None => format!("/ip/{id}"),
    }
}

/// The addresses of an answer, with whether each is fresh: the header lists those that are, or is
/// `true` for all.
fn granted(body: &str, fresh: Option<&str>) -> Option<Vec<(IpNet, bool)>> {
    let is_fresh = |word: &str| match fresh {
        None => false,
        Some("true") => true,
        Some(list) => list.split_whitespace().any(|one| one == word),
    };
    let words = body.split_whitespace();
    let all: Option<Vec<_>> = words
        .map(|word| Some((word.parse().ok()?, is_fresh(word))))
        .collect();
    all.filter(|all| !all.is_empty())
}

/// The first line's worth of a body, for messages.
fn cut(body: &str) -> String {
    body.trim().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_addresses_are_told_from_earlier_ones() {
        let shown = |body, fresh| -> Vec<(String, bool)> {
            let all: Vec<(IpNet, bool)> = granted(body, fresh).unwrap_or_default();
            all.iter().map(|(net, is)| (net.to_string(), *is)).collect()
        };
        let (four, six) = ("10.32.0.2/12".to_owned(), "fd00::2/64".to_owned());
        let both = "10.32.0.2/12 fd00::2/64";

        assert_eq!(shown("10.32.0.2/12", Some("true")), [(four.clone(), true)]);
        assert_eq!(shown("10.32.0.2/12\n", None), [(four.clone(), false)]);
        assert_eq!(
            shown(both, Some("fd00::2/64")),
            [(four.clone(), false), (six.clone(), true)]
        );
        assert_eq!(shown(both, Some(both)), [(four, true), (six, true)]);
        for nonsense in ["", "10.32.0.2/12 x", "10.32.0.2"] {
            assert_eq!(shown(nonsense, None), []);
        }
    }
}
