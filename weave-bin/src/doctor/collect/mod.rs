//! Looks everywhere once and writes down what is there. Nothing of the host is changed.
//!
//! What cannot be looked at is noted and missing; nothing here decides what is wrong. Every wait is
//! bounded, and peers are asked side by side.

mod files;
mod filter;
mod kernel;
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use serde::Deserialize;
use weave_datapath::netlink::{self, Netlink};

use super::audit;
use super::evidence::{Daemon, Evidence, Link, Owner, Route};
use crate::host::attached::attached;
use crate::http::client::{self, Client};
use crate::logging::rfc3339;
use crate::pods::Mark;
use crate::status::model::Node;

/// Where to look, if the daemon does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// Path and first part of the name of the state file.
    pub(crate) db_prefix: Option<PathBuf>,
    /// Where the host's `/` is seen.
    pub(crate) host_root: Option<PathBuf>,
}

/// Everything that [`super::examine`] judges.
pub(crate) async fn evidence(client: &Client, places: &Places) -> Evidence {
    let client = client.clone().with_limit(ASK_LIMIT);
    let mut evidence = Evidence {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since: since(),
        daemon: daemon(&client).await,
        ..Evidence::default()
    };
    let node = evidence.report().and_then(|report| report.node.clone());
    let node = node.as_ref();
    network(&mut evidence).await;
    owners(&client, &mut evidence).await;
    settle(&client, &mut evidence).await;
    let is_up = matches!(evidence.daemon, Daemon::Up(_));
    evidence.kernel = kernel::settings();
    if !is_up {
        // A daemon that runs has found that the kernel has what it uses.
        evidence.kernel.lacks = kernel::lacks(&mut evidence.unseen).await;
    }
    filter::read(&mut evidence).await;
    let root = host_root(node, places);
    evidence.disk = files::disk(&db_prefix(node, places), &mut evidence.unseen);
    evidence.plugins = files::plugins(&root);
    peers::reach(&mut evidence).await;
    evidence
}

/// Everything that [`audit::audit`] lays beside each other.
///
/// # Errors
/// The daemon does not answer.
pub(crate) async fn addresses(client: &Client, places: &Places) -> Result<Evidence, client::Error> {
    let client = client.clone().with_limit(ASK_LIMIT);
    let _reached = client.get("/status").await?;
    let mut evidence = Evidence {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        daemon: daemon(&client).await,
        ..Evidence::default()
    };
    network(&mut evidence).await;
    owners(&client, &mut evidence).await;
    settle(&client, &mut evidence).await;
    let bridge = evidence.bridge().to_owned();
    // Without the rights to look, nothing is known of what is inside.
    for one in attached(&bridge).await.unwrap_or_default() {
        let link = evidence.links.iter_mut().find(|link| link.name == one.host);
        if let Some(link) = link {
            link.inside = Some(one.addresses);
        }
    }
    let node = evidence.report().and_then(|report| report.node.as_ref());
    evidence.cached = files::cached(&host_root(node, places));
    Ok(evidence)
}

/// The pods of containers, by the ids of these, where a runtime noted them.
pub(crate) async fn pods(client: &Client) -> BTreeMap<String, String> {
    let evidence = Evidence {
        daemon: daemon(client).await,
        ..Evidence::default()
    };
    let node = evidence.report().and_then(|report| report.node.as_ref());
    let cached = files::cached(&host_root(node, &Places::default()));
    let cached = cached.unwrap_or_default().into_iter();
    cached
        .filter_map(|(id, cached)| Some((id, cached.pod?)))
        .collect()
}

fn since() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    rfc3339(now.unwrap_or_default().saturating_sub(FORGIVEN))
}

fn db_prefix(node: Option<&Node>, places: &Places) -> PathBuf {
    let told = node.map(|node| PathBuf::from(&node.db_prefix));
    let given = || std::env::var_os("DB_PREFIX").map(PathBuf::from);
    places
        .db_prefix
        .clone()
        .or(told)
        .or_else(given)
        .unwrap_or_else(|| "/weavedb/weave".into())
}

fn host_root(node: Option<&Node>, places: &Places) -> PathBuf {
    let told = node.map(|node| PathBuf::from(&node.host_root));
    let given = || std::env::var_os("HOST_ROOT").map(PathBuf::from);
    places
        .host_root
        .clone()
        .or(told)
        .or_else(given)
        .unwrap_or_else(|| "/".into())
}

async fn daemon(client: &Client) -> Daemon {
    let down = |reason: String| Daemon::Down {
        address: client.address(),
        reason,
    };
    let answer = match client.get_json("/report").await {
        Ok(answer) if answer.is_success() => answer,
        Ok(answer) => return down(format!("it answers {}", answer.status)),
        Err(client::Error::Unreachable { reason, .. }) => return down(reason),
        Err(error) => return down(error.to_string()),
    };
    match serde_json::from_str(&answer.body) {
        Ok(report) => Daemon::Up(Box::new(report)),
        Err(error) => down(format!("its report is not understood: {error}")),
    }
}

async fn owners(client: &Client, evidence: &mut Evidence) {
    #[derive(Deserialize)]
    struct Answer {
        owned: Option<Vec<Holder>>,
    }
    #[derive(Deserialize)]
    struct Holder {
        containerid: String,
        addrs: Vec<IpNet>,
        mark: Option<Mark>,
    }
    let Ok(answer) = client.get("/ip?detail=true").await else {
        return;
    };
    // A daemon that gives no addresses does not know the path.
    let Ok(Answer { owned }) = serde_json::from_str(&answer.body) else {
        return;
    };
    let owners = owned.unwrap_or_default().into_iter();
    evidence.owners = owners
        .map(|holder| Owner {
            id: holder.containerid,
            addresses: holder.addrs,
            mark: holder.mark,
        })
        .collect();
}

/// What is leaked must be so twice: a pod that starts has an address before it has a link.
async fn settle(client: &Client, evidence: &mut Evidence) {
    let before: BTreeSet<String> = leaked(evidence);
    if before.is_empty() {
        return;
    }
    tokio::time::sleep(START_OF_A_POD).await;
    network(evidence).await;
    owners(client, evidence).await;
    let now = leaked(evidence);
    let fresh = now.difference(&before);
    for id in fresh {
        let owner = evidence.owners.iter_mut().find(|owner| owner.id == *id);
        if let Some(owner) = owner {
            owner.mark = None;
        }
    }
}

fn leaked(evidence: &Evidence) -> BTreeSet<String> {
    let all = audit::leaked(evidence).into_iter();
    all.map(|owner| owner.id.clone()).collect()
}

async fn network(evidence: &mut Evidence) {
    if let Err(error) = read_network(evidence).await {
        evidence
            .unseen
            .push(format!("interfaces and routes: {error}"));
    }
}

async fn read_network(evidence: &mut Evidence) -> Result<(), netlink::Error> {
    let netlink = Netlink::open()?;
    let links = netlink.links().await?;
    let name_of = |index: u32| {
        let link = links.iter().find(|link| link.index == index);
        link.map(|link| link.name.clone())
    };
    evidence.routes = netlink
        .routes()
        .await?
        .into_iter()
        .map(|route| Route {
            to: route.dst,
            via: route.via,
            dev: route.dev.and_then(name_of),
        })
        .collect();
    evidence.links = links
        .iter()
        .map(|link| Link {
            name: link.name.clone(),
            kind: link.kind.clone(),
            mtu: link.mtu,
            up: link.up,
            master: link.master.and_then(name_of),
            alias: link.alias.clone().filter(|alias| !alias.is_empty()),
            inside: None,
        })
        .collect();
    Ok(())
}

/// How long a refusal counts: peers that are refused wait up to 10 minutes before they try again.
const FORGIVEN: Duration = Duration::from_secs(11 * 60);
/// The daemon is local.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Between the address and the link of a pod that starts.
const START_OF_A_POD: Duration = Duration::from_millis(1500);
