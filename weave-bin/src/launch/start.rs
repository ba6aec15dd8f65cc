//! The start of the weave container, step by step, and then the daemon itself.
//!
//! ```text
//!   variables ─▶ host ─▶ Nodes ─▶ list: does what we remember hold? ─▶ list: here we are
//!                                                        └─▶ daemon ∥ cluster side
//! ```
//!
//! Whatever is wrong with the configuration ends the start with its name. An API server that is
//! away does not: a host that remembers a ring starts from memory after a while, one that does not
//! waits.

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::environment::Environment;
use super::memory::{self, Memory};
use super::words::{Found, daemon_words};
use super::{init, install, read_environment, runtime, signals};
use crate::args::daemon::{Settings, SettingsError};
use crate::daemon::{self, StartError};
use crate::kube::api::{Api, ApiError};
use crate::kube::backoff::{Backoff, chance};
use crate::kube::daemon::{Daemon, is_local};
use crate::kube::membership::{self, Standing};
use crate::kube::nodes::Nodes;
use crate::kube::record::Me;
use crate::kube::state::{Board, Cluster};
use crate::kube::task::{self, Ended, Setup};
use crate::logging;
use crate::store::{self, Store};

/// Why the container ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A flag makes no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The host cannot be prepared.
    #[error(transparent)]
    Init(#[from] init::InitError),
    /// The daemon does not start, or has ended.
    #[error(transparent)]
    Daemon(#[from] StartError),
    /// The state file cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is no API server and no list of peers by hand.
    #[error("Failed to get peers: {0}; in a static pod, set KUBE_PEERS")]
    NoCluster(ApiError),
    /// The name of our Node is not known.
    #[error("HOSTNAME is not set: it must be the name of the Node")]
    NoNode,
    /// Another Node has a peer of our name, so their addresses would clash.
    #[error(
        "peer name {peer} of node {own} is also that of node {other}: the machines have the same \
         /etc/machine-id and product UUID; give one of them another machine id, or delete node \
         {other} if it is gone"
    )]
    SameName {
        /// The name.
        peer: String,
        /// Our Node.
        own: String,
        /// The other Node.
        other: String,
    },
    /// While the API server was away somebody removed us. The next start forgets what we had.
    #[error("Peer not in list: starting again without persisted data")]
    Removed,
}

/// Plays the weave container; `arguments` are its own.
pub fn run(arguments: &[String]) -> ExitCode {
    let env = match read_environment() {
        Ok(env) => env,
        Err(code) => return code,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let ended = runtime.block_on(launch(&env, arguments));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::fatal(&error.to_string());
            match error {
                LaunchError::Settings(settings) => ExitCode::from(settings.exit_code()),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn launch(env: &Environment, arguments: &[String]) -> Result<(), LaunchError> {
    // The daemon takes the signals itself, since it has something to end.
    let stop = signals::Stop::new();
    let (settings, setup) = tokio::select! {
        prepared = prepare(env, arguments) => prepared?,
        () = stop.received() => return Ok(()),
    };
    let (board, cluster) = (setup.board.clone(), settings.cluster.clone());
    tokio::select! {
        ended = daemon::serve(settings) => Ok(ended?),
        Ended::Removed = task::run(setup) => Err(LaunchError::Removed),
        never = call_for_pods(env, &board, cluster) => match never {},
    }
}

/// Writes the CNI configuration when the daemon can serve pods: it has a ring once it has given the
/// bridge an address.
async fn call_for_pods(
    env: &Environment,
    board: &Board,
    cluster: Option<watch::Receiver<Cluster>>,
) -> Infallible {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    if let Some(mut cluster) = cluster.filter(|_| env.config_when_ready) {
        let is_serving = |cluster: &Cluster| cluster.exposed.is_some();
        if cluster.wait_for(is_serving).await.is_ok() {
            loop {
                let written = install::configure(env);
                board.note("CNI configuration", &written);
                if written.is_ok() {
                    break;
                }
                sleep(backoff.pause(chance())).await;
            }
        }
    }
    std::future::pending().await
}

/// What the daemon and the cluster side are started with.
async fn prepare(
    env: &Environment,
    arguments: &[String],
) -> Result<(Settings, Setup), LaunchError> {
    let variable = |name: &str| std::env::var(name).ok();
    let mut first = Settings::read(&daemon_words(env, &Found::default(), arguments), variable)?;
    logging::start(first.log_level, first.log_format);
    daemon::leave_out_ipv6(&mut first)?;
    if !env.has_init {
        init::prepare(env)?;
    }
    daemon::check_range(&first).await?;
    let store = Store::new(&first.db_prefix);
    forget_other_ranges(&store, &first).await?;
    let mut me = Me {
        peer: daemon::peer_name(&first).await?.to_string(),
        node: env.hostname.clone(),
        uid: None,
    };
    let api = find_cluster(env).await?;
    let ranges = first.ranges();
    let (mut found, is_confirmed) = match &api {
        Some(api) => agree(env, api, &store, &mut me, &ranges).await?,
        None => (Found::default(), true),
    };
    if let Some(peers) = &env.kube_peers {
        found.peers.clone_from(peers);
        if found.init.is_none() {
            found.init = Some(format!("consensus={}", peers.len().max(1)));
        }
    }
    found.name = Some(me.peer.clone());
    let mut settings = Settings::read(&daemon_words(env, &found, arguments), variable)?;
    let (board, cluster) = Board::new(&env.hostname);
    settings.cluster = Some(cluster);
    let setup = Setup {
        api,
        me,
        daemon: Daemon::new(&env.http_addr),
        board,
        extra: first.peers,
        follows: env.kube_peers.is_none(),
        is_confirmed,
        expose: env.expose,
    };
    Ok((settings, setup))
}

/// The API server; none where the peers are given by hand and there is no cluster.
async fn find_cluster(env: &Environment) -> Result<Option<Api>, LaunchError> {
    match (Api::from_env().await, &env.kube_peers) {
        (Ok(_), _) if env.hostname.is_empty() => Err(LaunchError::NoNode),
        (Ok(api), _) => Ok(Some(api)),
        (Err(error), Some(_)) => {
            info!("no cluster ({error}): peers are those of KUBE_PEERS");
            Ok(None)
        }
        (Err(error), None) => Err(LaunchError::NoCluster(error)),
    }
}

/// Forgets addresses of a range that has nothing in common with the one given of its family: nobody
/// can be given one of them again. A range that overlaps is left for the daemon to refuse.
async fn forget_other_ranges(store: &Store, settings: &Settings) -> Result<(), LaunchError> {
    for given in settings.ranges() {
        let stored = memory::recall(store)?.ranges.into_iter();
        let mut other = stored.filter(|stored| {
            let is_same_family = stored.addr().is_ipv4() == given.addr().is_ipv4();
            is_same_family && !stored.contains(&given) && !given.contains(stored)
        });
        let Some(other) = other.next() else {
            continue;
        };
        warn!("Deleting persisted data for IPAM range {other}; our range is {given}");
        match given {
            IpNet::V4(_) => memory::forget(store).await?,
            IpNet::V6(_) => memory::forget_ipv6(store).await?,
        }
    }
    Ok(())
}

/// What the cluster and this host agree on, and whether the cluster was asked at all.
async fn agree(
    env: &Environment,
    api: &Api,
    store: &Store,
    me: &mut Me,
    ranges: &[IpNet],
) -> Result<(Found, bool), LaunchError> {
    let patience = Instant::now() + PATIENCE;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
    let mut said = String::new();
    loop {
        let memory = memory::recall(store)?;
        let error = match ask(env, api, store, me, &memory, ranges).await {
            Ok(found) => return Ok((found, true)),
            Err(AskError::Api(error)) => error,
            Err(AskError::Launch(error)) => return Err(error),
        };
        // Only a host that has a ring can do anything without being told of the others.
        if memory.seeds.is_some() && Instant::now() >= patience {
            warn!("Failed to get peers: {error}; starting with what this host remembers");
            return Ok((remembered(&memory), false));
        }
        let text = error.to_string();
        if text != said {
            warn!("Failed to get peers: {text}; trying again");
            said = text;
        }
        sleep(backoff.pause(chance())).await;
    }
}

fn remembered(memory: &Memory) -> Found {
    Found {
        name: None,
        init: Some(format!("consensus={}", memory.peers.len() + 1)),
        init6: None,
        peers: memory.peers.clone(),
    }
}

enum AskError {
    Api(ApiError),
    Launch(LaunchError),
}

impl From<ApiError> for AskError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<store::Error> for AskError {
    fn from(error: store::Error) -> Self {
        Self::Launch(error.into())
    }
}

async fn ask(
    env: &Environment,
    api: &Api,
    store: &Store,
    me: &mut Me,
    memory: &Memory,
    ranges: &[IpNet],
) -> Result<Found, AskError> {
    let nodes = api.nodes().await?;
    me.uid = nodes.find(&me.node).map(|node| node.uid.clone());
    let seeds = memory.seeds.as_deref();
    let (record, start) = membership::decide(api, me, &nodes, seeds).await?;
    let mut init = start.to_string();
    match settle(api, me, &nodes, record).await? {
        Standing::Absent if memory.is_flagged && memory.exists => {
            info!("Peer not in list; removing persisted data");
            memory::forget(store).await?;
            // Without a ring the start counts.
            init = membership::decide(api, me, &nodes, None)
                .await?
                .1
                .to_string();
        }
        Standing::SameNameAs(other) => {
            return Err(AskError::Launch(LaunchError::SameName {
                peer: me.peer.clone(),
                own: me.node.clone(),
                other,
            }));
        }
        _ => {}
    }
    memory::flag(store, &me.peer, ranges).await?;
    membership::join(api, me).await?;
    // What was forgotten above is asked for anew: a ring that is there does not care how it starts.
    let init6 = match ranges {
        [_, _] if !memory::recall(store)?.has_ipv6 => {
            Some(membership::decide_ipv6(api, me, &nodes).await?.to_string())
        }
        _ => None,
    };
    let targets = nodes.targets(&me.node, is_local);
    debug!(
        "[kube] {} nodes, {} targets",
        nodes.iter().count(),
        targets.len()
    );
    let peers = match env.kube_peers {
        Some(_) => Vec::new(),
        None => targets.iter().map(ToString::to_string).collect(),
    };
    Ok(Found {
        name: None,
        init: Some(init),
        init6,
        peers,
    })
}

/// Our standing in the list, once nobody is at work on it.
async fn settle(
    api: &Api,
    me: &Me,
    nodes: &Nodes,
    record: crate::kube::record::Record,
) -> Result<Standing, ApiError> {
    let mut record = record;
    let mut is_said = false;
    loop {
        match membership::standing(&record, me, nodes) {
            Standing::BeingRemovedBy(holder) => {
                if !is_said {
                    warn!("waiting for peer {holder}, which removes this peer from the list");
                    is_said = true;
                }
                sleep(REMOVAL_PAUSE).await;
                record = api
                    .record()
                    .await?
                    .map(|stored| stored.record)
                    .unwrap_or_default();
            }
            settled => return Ok(settled),
        }
    }
}

/// How long a host that has a ring waits for the API server.
const PATIENCE: Duration = Duration::from_secs(30);
const REMOVAL_PAUSE: Duration = Duration::from_secs(2);
