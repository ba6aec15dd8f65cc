//! Composition: state, bridge, fast path, mesh, tasks, HTTP, in this order.

use std::future::Future;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weave_mesh::crypto::Keyring;
use weave_mesh::gossip::Channel;
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::{Config as MeshConfig, Mesh, OverlayEvents};

use super::datapath::Datapath;
use super::error::StartError;
use super::host::Host;
use super::local;
use super::mtu;
use super::names;
use super::passwords;
use super::peers;
use super::prepare::{self, Allocating, Prepared};
use super::untracked;
use crate::actor::ipam::{self, Inbox, Ipam, Rings};
use crate::actor::keeper::Keeper;
use crate::actor::overlay::{self, Overlay, Room};
use crate::args::daemon::{ListenAddress, PasswordSource, Settings};
use crate::http::{self, Control, Listener};
use crate::pods::Pods;
use crate::status::Reporter;
use crate::status::model::Node;

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
    keeper: Keeper,
}

impl Daemon {
    /// Starts everything that `settings` ask for.
    ///
    /// # Errors
    /// The first thing that cannot be; see [`StartError`].
    pub async fn start(mut settings: Settings, plumbing: Plumbing) -> Result<Self, StartError> {
        info!("Command line options: map[{}]", settings.given);
        info!("weave  {}", env!("CARGO_PKG_VERSION"));
        settings
            .warnings
            .iter()
            .for_each(|warning| warn!("{warning}"));

        if plumbing == Plumbing::Kernel {
            super::leave_out_ipv6(&mut settings)?;
        }
        prepare::check_peers(&settings)?;
        let keyring = passwords::read(&settings.passwords)?;
        let mut host = open_host(&settings, plumbing)?;
        host.set_ipv6(settings.least_mtu() > 0);
        Datapath::check(&settings, &host)?;
        let file = prepare::open_state(&settings).await?;
        prepare::check_port(&settings)?;
        let prepared = Prepared::new(&settings, &host, &file).await?;
        let allocators = prepared.allocators(&settings)?;
        let control = bind(settings.http.as_ref()).await?;
        let status = bind(settings.status.as_ref()).await?;
        let sockets = names::bind(&settings)?;
        let metrics = bind(settings.metrics_apart()).await?;
        let keeper = prepared.save_first(file).await?;

        settings.mtu = mtu::at_start(&settings, &prepared.state.peers);
        host.ensure_bridge(prepared.name, settings.mtu).await?;
        let stop = CancellationToken::new();
        let firewall = host
            .start_firewall(&settings, prepared.name, stop.clone())
            .await?;
        let datapath = Datapath::open(&settings, &host, prepared.name).await?;
        let mut channels: Vec<(String, Box<dyn Channel>)> = Vec::new();
        let allocators: Vec<(Allocating, Inbox)> = allocators
            .into_iter()
            .map(|allocating| {
                let (channel, inbox) = ipam::pair();
                channels.push((allocating.channel.to_owned(), Box::new(channel)));
                (allocating, inbox)
            })
            .collect();

        let names = sockets.map(|sockets| names::prepare(sockets, prepared.name, &mut channels));
        let (mesh, events) =
            start_mesh(&settings, &prepared, &datapath, keyring.clone(), channels).await?;
        info!("Our name is {}({})", prepared.name, prepared.nickname);
        let mut daemon = Self {
            name: prepared.name,
            mesh,
            http: control.as_ref().map(|(_, address)| address.clone()),
            stop,
            tasks: JoinSet::new(),
            keeper: keeper.clone(),
        };
        if let Some(task) = firewall {
            daemon.spawn("packet filter", task.run());
        }
        let (source, stop) = (settings.passwords.clone(), daemon.stop.clone());
        let follow = passwords::follow(source, keyring, daemon.mesh.clone(), stop);
        daemon.spawn("password", follow);
        let targets = match allocators.as_slice() {
            [] => 0,
            _ => peers::others(&prepared.state.peers).await,
        };
        let rings = allocators
            .into_iter()
            .map(|(allocating, inbox)| daemon.spawn_ipam(allocating, inbox, &keeper, targets));
        let ipam = Rings::new(rings.collect::<Vec<Ipam>>());
        if let Some(ipam) = &ipam {
            daemon.tell_host(ipam, &host, settings.keep_local).await?;
        }
        let pods = match &ipam {
            Some(ipam) => Some(daemon.spawn_pods(&settings, ipam, &host).await),
            None => None,
        };
        let (found, follow) = watch::channel(settings.mtu);
        let room = Room {
            mtu: settings.mtu,
            found: settings.auto_mtu.then_some(found),
        };
        let overlay = daemon.spawn_datapath(datapath, events, room);
        let dns = names.map(|names| {
            let (service, tell, serve) = names.start(daemon.mesh.clone(), &daemon.stop);
            daemon.spawn("names", tell);
            daemon.spawn("name server", serve);
            service
        });
        if let (Some(overlay), Some(firewall), Some(port)) =
            (&overlay, host.firewall(), settings.tunnel_port())
        {
            let (overlay, firewall) = (overlay.clone(), firewall.clone());
            let follow = untracked::follow(overlay, firewall, port, daemon.stop.clone());
            daemon.spawn("conntrack", follow);
        }
        if settings.auto_mtu {
            daemon.spawn(
                "MTU",
                mtu::follow(
                    host.clone(),
                    settings.least_mtu(),
                    follow,
                    daemon.stop.clone(),
                ),
            );
        }
        let reporter = Reporter {
            mesh: daemon.mesh.clone(),
            ipam: ipam.clone(),
            overlay,
            dns: dns.clone(),
            firewall: host.firewall().cloned(),
            cluster: settings.cluster.clone(),
            pods: pods.clone(),
            node: node(&settings),
            left_out: settings.left_out.clone(),
        };
        let parts = Control {
            ipam,
            pods,
            dns,
            mesh: daemon.mesh.clone(),
            keeper,
            host,
            reporter,
            keeps_local: settings.keep_local,
            policy: settings.expects_policy.then(crate::npc::control_address),
            is_private: false,
        };
        daemon.spawn_http([control, status, metrics], parts);
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

    /// How often the state file was synced.
    pub fn syncs(&self) -> u64 {
        self.keeper.syncs()
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

    /// Releases what was to be released while there was no daemon, and looks after pods from then on.
    async fn spawn_pods(&mut self, settings: &Settings, ipam: &Rings, host: &Host) -> Pods {
        let pods = Pods::open(&settings.db_prefix, ipam.clone());
        pods.replay().await;
        let look = pods.clone().run(host.netlink().cloned(), self.stop.clone());
        self.spawn("pods", look);
        pods
    }

    /// Tells allocator and host of each other: addresses on the bridge are taken, and the packet filter
    /// knows where pods are if it must.
    async fn tell_host(
        &mut self,
        ipam: &Rings,
        host: &Host,
        keep_local: bool,
    ) -> Result<(), StartError> {
        claim_bridge(ipam, host).await?;
        if let Some(firewall) = host.firewall().filter(|_| keep_local) {
            let (us, stop) = (self.name.into(), self.stop.clone());
            let follow = local::follow(ipam.clone(), us, firewall.clone(), stop);
            self.spawn("local pods", follow);
        }
        Ok(())
    }

    fn spawn_datapath(
        &mut self,
        datapath: Datapath,
        events: OverlayEvents,
        room: Room,
    ) -> Option<Overlay> {
        let around = overlay::Surroundings {
            mesh: self.mesh.clone(),
            events,
            us: self.name,
            room,
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
        [control, status, metrics]: [Option<(Listener, ListenAddress)>; 3],
        parts: Control,
    ) {
        let at = |address: &ListenAddress| Control {
            is_private: address.is_private(),
            ..parts.clone()
        };
        if let Some((listener, address)) = control {
            info!("Listening for HTTP control messages on {address}");
            self.spawn_server(listener, http::control(at(&address)));
        }
        if let Some((listener, address)) = status {
            info!("Listening for status requests on {address}");
            self.spawn_server(listener, http::status(at(&address)));
        }
        if let Some((listener, address)) = metrics {
            info!("Listening for metrics requests on {address}");
            self.spawn_server(listener, http::metrics(parts));
        }
    }

    fn spawn_server(&mut self, listener: Listener, router: axum::Router) {
        let stop = self.stop.clone();
        self.spawn("HTTP", async move {
            if let Err(error) = http::serve(listener, router, http::Limits::default(), stop).await {
                warn!("HTTP: {error}");
            }
        });
    }
}

fn open_host(settings: &Settings, plumbing: Plumbing) -> Result<Host, StartError> {
    Ok(match plumbing {
        Plumbing::Kernel => Host::open(&settings.bridge)?,
        Plumbing::None => Host::none(),
    })
}

/// What of `settings` the report tells.
fn node(settings: &Settings) -> Node {
    let is_reached = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) if !address.ip().is_loopback() => Some(address.port()),
        _ => None,
    };
    Node {
        db_prefix: settings.db_prefix.display().to_string(),
        host_root: settings.host_root.display().to_string(),
        bridge: settings.bridge.clone(),
        connection_limit: settings.connection_limit,
        password_file: match &settings.passwords {
            PasswordSource::File(file) => Some(file.display().to_string()),
            _ => None,
        },
        status_port: settings.status.as_ref().and_then(is_reached),
    }
}

/// Claims the addresses on the bridge, so that no pod is given one when the state is lost.
async fn claim_bridge(ipam: &Rings, host: &Host) -> Result<(), StartError> {
    for address in host.addresses().await? {
        info!("Address {address} is on the bridge");
        if let Err(failure) = ipam.reclaim(super::EXPOSE.to_owned(), address, false).await {
            warn!("cannot claim {address}, which is on the bridge: {failure}");
        }
    }
    Ok(())
}

async fn start_mesh(
    settings: &Settings,
    prepared: &Prepared,
    datapath: &Datapath,
    keyring: Keyring,
    channels: Vec<(String, Box<dyn Channel>)>,
) -> Result<(Mesh, OverlayEvents), StartError> {
    if keyring.is_empty() {
        info!("Communication between peers is unencrypted.");
    } else {
        info!("Communication between peers via untrusted networks is encrypted.");
    }
    let mut config = MeshConfig::default()
        .name(prepared.name)
        .nickname(&*prepared.nickname)
        .listen(settings.listen)
        .peers(prepared.state.peers.clone())
        .discovery(settings.discovery)
        .connection_limit(settings.connection_limit)
        .overlays(datapath.overlays())
        .plain_overlays([overlay::FASTDP])
        .keyring(keyring)
        .trusted_subnets(settings.trusted_subnets.iter().copied())
        .min_version(settings.min_version);
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
