//! Composition: state, bridge, fast path, mesh, tasks, HTTP, in this order.

use std::future::Future;
use std::io;
use std::path::Path;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weave_ipam::{AddressRange, Allocator};
use weave_mesh::gossip::Channel;
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::{Config as MeshConfig, Mesh, OverlayEvents};

use super::datapath::Datapath;
use super::error::StartError;
use super::host::Host;
use super::peername::{Clues, Identity, Origin};
use super::peers;
use crate::actor::ipam::{self, Inbox, Ipam};
use crate::actor::keeper::Keeper;
use crate::args::daemon::{IpamSettings, ListenAddress, Settings};
use crate::http::{self, Control, Listener};
use crate::status::Reporter;
use crate::store::{State, Store};

/// What of the kernel the daemon uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plumbing {
    /// Bridge and fast path, as the settings say.
    Kernel,
    /// Nothing: mesh and allocation only. Needs no privileges.
    None,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    name: PeerName,
    mesh: Mesh,
    http: Option<ListenAddress>,
    stop: CancellationToken,
    tasks: JoinSet<&'static str>,
}

impl Daemon {
    /// Starts everything that `settings` ask for.
    ///
    /// # Errors
    /// The first thing that cannot be; see [`StartError`].
    pub async fn start(settings: Settings, plumbing: Plumbing) -> Result<Self, StartError> {
        info!("Command line options: map[{}]", settings.given);
        info!("weave  {}", env!("CARGO_PKG_VERSION"));
        settings
            .warnings
            .iter()
            .for_each(|warning| warn!("{warning}"));

        let host = open_host(&settings, plumbing)?;
        let prepared = Prepared::new(&settings, &host).await?;
        let control = bind(settings.http.as_ref()).await?;
        let status = bind(settings.status.as_ref()).await?;
        let keeper = prepared.save_first().await?;

        host.ensure_bridge(prepared.name, settings.mtu).await?;
        let datapath = Datapath::open(&settings, &host, prepared.name).await?;
        let nickname = nickname(&settings);
        let allocator = prepared.allocator(&settings, &nickname)?;
        let mut channels: Vec<(String, Box<dyn Channel>)> = Vec::new();
        let inbox = allocator.as_ref().map(|allocating| {
            let (channel, inbox) = ipam::pair();
            channels.push((allocating.channel.to_owned(), Box::new(channel)));
            inbox
        });

        let (mesh, events) =
            start_mesh(&settings, &prepared, &nickname, &datapath, channels).await?;
        info!("Our name is {}({nickname})", prepared.name);
        let mut daemon = Self {
            name: prepared.name,
            mesh,
            http: control.as_ref().map(|(_, address)| address.clone()),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        let ipam = match allocator.zip(inbox) {
            Some((allocating, inbox)) => {
                let targets = peers::others(&prepared.state.peers).await;
                Some(daemon.spawn_ipam(allocating, inbox, &keeper, targets))
            }
            None => None,
        };
        let overlay = daemon.spawn_datapath(datapath, events, settings.mtu);
        let reporter = Reporter {
            mesh: daemon.mesh.clone(),
            ipam: ipam.clone(),
            overlay,
        };
        let parts = Control {
            ipam,
            mesh: daemon.mesh.clone(),
            keeper,
            host,
            reporter,
        };
        daemon.spawn_http(control, status, parts);
        Ok(daemon)
    }

    /// Our peer name.
    pub fn name(&self) -> PeerName {
        self.name
    }

    /// The mesh.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Where control HTTP listens, with the port that was chosen if 0 was asked for.
    pub fn http_address(&self) -> Option<&ListenAddress> {
        self.http.as_ref()
    }

    /// Waits until a task ends although nobody stopped the daemon, and says which.
    pub async fn broken(&mut self) -> StartError {
        match self.tasks.join_next().await {
            Some(Ok(name)) => StartError::Ended(name),
            Some(Err(_)) | None => StartError::Ended("main"),
        }
    }

    /// Ends all tasks and connections. What is in the kernel and on disk stays.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.mesh.shutdown().await;
    }

    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            name
        });
    }

    fn spawn_ipam(
        &mut self,
        allocating: Allocating,
        inbox: Inbox,
        keeper: &Keeper,
        targets: usize,
    ) -> Ipam {
        let around = ipam::Surroundings {
            us: self.name,
            default_subnet: allocating.default_subnet,
            channel: allocating.channel,
            mesh: self.mesh.clone(),
            keeper: keeper.clone(),
            targets,
            stop: self.stop.clone(),
        };
        let (handle, task) = ipam::start(allocating.allocator, inbox, around);
        self.spawn("allocator", task);
        handle
    }

    fn spawn_datapath(
        &mut self,
        datapath: Datapath,
        events: OverlayEvents,
        mtu: u16,
    ) -> Option<crate::actor::overlay::Overlay> {
        let around = crate::actor::overlay::Surroundings {
            mesh: self.mesh.clone(),
            events,
            mtu,
            stop: self.stop.clone(),
        };
        let (handle, task) = datapath.start(around);
        self.tasks.spawn(async move {
            task.await;
            "data path"
        });
        handle
    }

    fn spawn_http(
        &mut self,
        control: Option<(Listener, ListenAddress)>,
        status: Option<(Listener, ListenAddress)>,
        parts: Control,
    ) {
        if let Some((listener, address)) = control {
            info!("Listening for HTTP control messages on {address}");
            self.spawn_server(listener, http::control(parts.clone()));
        }
        if let Some((listener, address)) = status {
            info!("Listening for status requests on {address}");
            self.spawn_server(listener, http::status(parts));
        }
    }

    fn spawn_server(&mut self, listener: Listener, router: axum::Router) {
        let stop = self.stop.clone();
        self.spawn("HTTP", async move {
            if let Err(error) = http::serve(listener, router, stop).await {
                warn!("HTTP: {error}");
            }
        });
    }
}

/// The peer name this host would start with.
///
/// # Errors
/// The state file or the kernel cannot be read.
pub(super) async fn peer_name(settings: &Settings) -> Result<PeerName, StartError> {
    let host = Host::open(&settings.bridge)?;
    let stored = Store::new(&settings.db_prefix).load()?;
    Ok(find_name(settings, &host, stored.as_ref()).await?.0)
}

/// What is known before anything is changed.
struct Prepared {
    name: PeerName,
    store: Store,
    state: State,
}

/// An allocator and where it speaks.
struct Allocating {
    allocator: Allocator,
    default_subnet: ipnet::IpNet,
    channel: &'static str,
}

impl Prepared {
    async fn new(settings: &Settings, host: &Host) -> Result<Self, StartError> {
        let store = Store::new(&settings.db_prefix);
        let stored = store.load()?;
        let (name, origin) = find_name(settings, host, stored.as_ref()).await?;
        let range = settings.ipam.as_ref().map(|ipam| ipam.range);
        if let Some(state) = &stored {
            state.check(store.path(), &name.to_string(), range)?;
        }
        if let Some(range) = range {
            host.check_range(range).await?;
        }
        if origin == Origin::Random {
            warn!("no machine id and no product UUID found: the peer name {name} is random");
        }
        let (stored_range, snapshot, remembered) = match stored {
            Some(state) => (state.range, state.ipam, state.peers),
            None => (None, None, Vec::new()),
        };
        let peers = if settings.resume {
            info!("Restart/resume detected - using persisted peer list: {remembered:?}");
            remembered
        } else {
            info!(
                "Launch detected - using supplied peer list: {:?}",
                settings.peers
            );
            settings.peers.clone()
        };
        let state = State {
            peer_name: name.to_string(),
            range: range.or(stored_range),
            ipam: snapshot,
            peers,
        };
        Ok(Self { name, store, state })
    }

    /// Writes the state once, so that a disk that cannot be written stops the start, and a random
    /// name is kept.
    async fn save_first(&self) -> Result<Keeper, StartError> {
        let keeper =
            Keeper::start(self.store.clone(), self.state.clone()).map_err(StartError::System)?;
        keeper.save_peers(self.state.peers.clone()).await?;
        Ok(keeper)
    }

    fn allocator(
        &self,
        settings: &Settings,
        nickname: &str,
    ) -> Result<Option<Allocating>, StartError> {
        let Some(IpamSettings {
            range,
            default_subnet,
            init,
        }) = &settings.ipam
        else {
            return Ok(None);
        };
        let config = weave_ipam::Config::new(*range, self.name.into())
            .default_subnet(*default_subnet)
            .uid(random_number()?)
            .nickname(nickname)
            .init(init.clone())
            .seed(random_number()?);
        let how = match (&self.state.ipam, init) {
            (Some(_), _) => "with persisted data",
            (None, weave_ipam::InitMode::Consensus { .. }) => "via deferred consensus",
            (None, weave_ipam::InitMode::Seed(_)) => "with supplied IPAM seed",
            (None, weave_ipam::InitMode::Observer) => {
                "as observer - awaiting IPAM data from another peer"
            }
        };
        info!("[allocator {}] Initialising {how}", self.name);
        let allocator = Allocator::new(config, self.state.ipam.clone())?;
        let channel = weave_ipam::mesh::channel(AddressRange::of(*range).family);
        let default_subnet = default_subnet.unwrap_or(*range);
        Ok(Some(Allocating {
            allocator,
            default_subnet,
            channel,
        }))
    }
}

fn open_host(settings: &Settings, plumbing: Plumbing) -> Result<Host, StartError> {
    Ok(match plumbing {
        Plumbing::Kernel => Host::open(&settings.bridge)?,
        Plumbing::None => Host::none(),
    })
}

async fn find_name(
    settings: &Settings,
    host: &Host,
    stored: Option<&State>,
) -> Result<(PeerName, Origin), StartError> {
    let mut random = [0; 6];
    fill_random(&mut random)?;
    let clues = Clues {
        given: settings.name,
        stored: stored.and_then(|state| state.peer_name.parse().ok()),
        bridge: host.bridge_mac().await?,
        identity: Identity::read(&settings.host_root, Path::new("/sys")),
    };
    Ok(clues.name(random))
}

async fn start_mesh(
    settings: &Settings,
    prepared: &Prepared,
    nickname: &str,
    datapath: &Datapath,
    channels: Vec<(String, Box<dyn Channel>)>,
) -> Result<(Mesh, OverlayEvents), StartError> {
    info!("Communication between peers is unencrypted.");
    let mut config = MeshConfig::default()
        .name(prepared.name)
        .nickname(nickname)
        .listen(settings.listen)
        .peers(prepared.state.peers.clone())
        .discovery(settings.discovery)
        .connection_limit(settings.connection_limit)
        .overlays(datapath.overlays());
    if let Some(short_id) = datapath.short_id() {
        config = config.short_id(short_id);
    }
    weave_mesh::tokio::start(config, channels)
        .await
        .map_err(|error| StartError::Mesh(error.to_string()))
}

async fn bind(
    address: Option<&ListenAddress>,
) -> Result<Option<(Listener, ListenAddress)>, StartError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = http::bind(address).await.map_err(StartError::Http)?;
    let bound = match &listener {
        Listener::Tcp(tcp) => ListenAddress::Tcp(tcp.local_addr().map_err(StartError::Http)?),
        Listener::Unix(_) => address.clone(),
    };
    Ok(Some((listener, bound)))
}

fn nickname(settings: &Settings) -> String {
    settings.nickname.clone().unwrap_or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim_end().to_owned()
    })
}

fn random_number() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn fill_random(bytes: &mut [u8]) -> Result<(), StartError> {
    getrandom::fill(bytes).map_err(|error| StartError::System(io::Error::other(error)))
}
