//! What is found out before anything is changed: who we are, and what we remember.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};
use weave_ipam::{Allocator, Family, InitMode};
use weave_mesh::connector::PeerAddress;
use weave_mesh::node::ConfigError;
use weave_mesh::peer::PeerName;

use super::error::StartError;
use super::host::Host;
use super::peername::{Clues, Identity, Origin};
use crate::actor::keeper::Keeper;
use crate::args::daemon::{IpamSettings, RangeSettings, Settings};
use crate::store::{self, State, StateFile, Store, family_of};

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
pub(super) struct Prepared {
    /// Our peer name.
    pub(super) name: PeerName,
    /// Our nickname.
    pub(super) nickname: String,
    /// What is to be in the state file.
    pub(super) state: State,
}

/// An allocator and where it speaks.
pub(super) struct Allocating {
    /// The allocator.
    pub(super) allocator: Allocator,
    /// The subnet of requests that name none.
    pub(super) default_subnet: ipnet::IpNet,
    /// Name of its gossip channel.
    pub(super) channel: &'static str,
}

impl Prepared {
    /// Finds out who we are. `file` is the open state file.
    pub(super) async fn new(
        settings: &Settings,
        host: &Host,
        file: &StateFile,
    ) -> Result<Self, StartError> {
        let stored = file.stored().cloned();
        let (name, origin) = find_name(settings, host, stored.as_ref()).await?;
        let ranges = settings.ranges();
        if let Some(state) = &stored {
            state.check(file.path(), &name.to_string(), &ranges)?;
        }
        for range in &ranges {
            host.check_range(*range).await?;
        }
        if origin == Origin::Random {
            warn!("no machine id and no product UUID found: the peer name {name} is random");
        }
        let mut state = stored.unwrap_or_else(|| State::new(&name.to_string()));
        ranges.iter().for_each(|range| state.set_range(*range));
        if settings.resume {
            let list = state.peers.join(" ");
            info!("Restart/resume detected - using persisted peer list: [{list}]");
        } else {
            let list = settings.peers.join(" ");
            info!("Launch detected - using supplied peer list: [{list}]");
            state.peers.clone_from(&settings.peers);
        }
        let nickname = nickname(settings);
        Ok(Self {
            name,
            nickname,
            state,
        })
    }

    /// Writes the state once, so that a disk that cannot be written stops the start, and a random
    /// name is kept.
    pub(super) async fn save_first(&self, file: StateFile) -> Result<Keeper, StartError> {
        let keeper = Keeper::start(file, self.state.clone()).map_err(StartError::System)?;
        keeper.save_peers(self.state.peers.clone()).await?;
        Ok(keeper)
    }

    /// The allocators in the order of their ranges.
    pub(super) fn allocators(&self, settings: &Settings) -> Result<Vec<Allocating>, StartError> {
        let Some(ipam) = &settings.ipam else {
            return Ok(Vec::new());
        };
        let ranges = ipam.ranges.iter();
        ranges.map(|range| self.allocator(ipam, *range)).collect()
    }

    fn allocator(
        &self,
        settings: &IpamSettings,
        RangeSettings {
            range,
            default_subnet,
        }: RangeSettings,
    ) -> Result<Allocating, StartError> {
        let family = family_of(range);
        let is_second = family == Family::V6 && settings.ranges.len() > 1;
        let init = settings.init6.as_ref().filter(|_| is_second);
        let init = init.unwrap_or(&settings.init);
        let snapshot = self.state.snapshot(family);
        let config = weave_ipam::Config::new(range, self.name.into())
            .default_subnet(default_subnet)
            .uid(random_number()?)
            .nickname(&self.nickname)
            .init(init.clone())
            .cool_down(settings.cool_down)
            // A peer that is told the seeds forms the ring anew even if it lost its state.
            .cautious(true)
            .seed(random_number()?);
        let how = match (snapshot, init) {
            (Some(_), _) => "with persisted data",
            (None, InitMode::Consensus { .. }) => "via deferred consensus",
            (None, InitMode::Seed(_)) => "with supplied IPAM seed",
            (None, InitMode::Observer) => "as observer - awaiting IPAM data from another peer",
        };
        info!("[allocator {}] Initialising {how}", self.name);
        Ok(Allocating {
            allocator: Allocator::new(config, snapshot.cloned())?,
            default_subnet: default_subnet.unwrap_or(range),
            channel: weave_ipam::mesh::channel(family),
        })
    }
}

/// Refuses peers that nobody can be, before anything is touched.
pub(super) fn check_peers(settings: &Settings) -> Result<(), StartError> {
    let is_bad = |peer: &&String| peer.parse::<PeerAddress>().is_err();
    match settings.peers.iter().find(is_bad) {
        Some(peer) => Err(StartError::Mesh(
            ConfigError::Peer(peer.clone()).to_string(),
        )),
        None => Ok(()),
    }
}

/// Refuses a mesh port that is taken, before the host is touched. A daemon that runs here already
/// is told by the state file first.
pub(super) fn check_port(settings: &Settings) -> Result<(), StartError> {
    let address = settings.listen;
    TcpListener::bind(address)
        .map(drop)
        .map_err(|error| StartError::Mesh(format!("cannot listen on {address}: {error}")))
}

/// Opens the state file. While another daemon has it, this waits and says so: on a host that goes
/// over from Weave Net the old daemon may end after this one is started.
pub(super) async fn open_state(settings: &Settings) -> Result<StateFile, StartError> {
    let store = Store::new(&settings.db_prefix);
    let mut round = 0_u32;
    loop {
        match store.open() {
            Err(store::Error::Locked(path)) => {
                if round.is_multiple_of(SAY_EVERY) {
                    let path = path.display();
                    warn!("waiting for the daemon that uses {path} to end");
                }
                round = round.wrapping_add(1);
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
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

const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// Pauses between two lines in the log.
const SAY_EVERY: u32 = 100;
