//! Putting the fast path in place, adopting it, using it, removing it.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Counters, Error, Hook, LearnedMac, abi,
    heartbeats::{Ring, Sender},
    maps::{self, Maps},
    pins::{LINKS, PROGRAMS, Pins},
    programs::{self, Spot},
    side, tunnel,
};
use crate::{
    fastdp::{self, Heartbeat, TableUpdate, Tables},
    netlink::{Link, Netlink},
};

/// Where the fast path goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    dir: PathBuf,
    datapath: String,
    port: u16,
    mtu: u16,
    hook: Option<Hook>,
    mac_entries: u32,
    tap: Option<String>,
}

impl Config {
    /// Pins in `dir`, which belongs to one daemon alone, for the bridge that has the other end of
    /// the veth `datapath` as a port.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, datapath: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            datapath: datapath.into(),
            port: fastdp::PORT,
            mtu: fastdp::DEFAULT_MTU,
            hook: None,
            mac_entries: MAC_ENTRIES,
            tap: None,
        }
    }

    /// Name of the TAP device by which user space takes and gives frames of peers that the tunnel
    /// does not reach. It must exist when the device is opened, and be up to carry frames.
    #[must_use]
    pub fn tap(mut self, name: impl Into<String>) -> Self {
        self.tap = Some(name.into());
        self
    }

    /// UDP port of the tunnel; 6784 by default.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Overlay MTU in bytes; 1376 by default.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// How programs are attached. By default TCX where the kernel has it, else clsact.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// How many addresses are remembered; beyond that the least recently used is forgotten and
    /// frames for it are flooded. Takes effect when the maps are created.
    #[must_use]
    pub fn mac_entries(mut self, entries: u32) -> Self {
        self.mac_entries = entries.max(1);
        self
    }
}

impl Config {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn datapath(&self) -> &str {
        &self.datapath
    }

    pub(super) fn udp_port(&self) -> u16 {
        self.port
    }

    pub(super) fn tap_name(&self) -> Option<&str> {
        self.tap.as_deref()
    }
}

/// What [`Device::open`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Nothing that could be used: everything was put in place anew.
    Fresh,
    /// Programs of this very version at work: only the maps were opened.
    Adopted,
    /// Programs of another version over usable maps: the programs were replaced.
    Replaced,
}

/// The fast path of one daemon.
#[derive(Debug)]
pub struct Device {
    tunnel: Link,
    port: u16,
    pins: Pins,
    like: side::Like,
    hook: Hook,
    opened: Opened,
    tables: Tables,
    maps: Maps,
    ring: Ring,
    sender: Sender,
}

impl Device {
    /// Puts the fast path in place, or adopts the one that is.
    ///
    /// The calling thread, `netlink` and the daemon's sockets must be in one network namespace, and
    /// the tokio runtime must have I/O enabled.
    ///
    /// # Errors
    /// See [`Error`]. What was put in place until then stays, and is completed or replaced by the
    /// next call.
    pub async fn open(config: &Config, netlink: &Netlink) -> Result<Self, Error> {
        let Config { port, mtu, .. } = *config;
        let pins = Pins::open(&config.dir)?;
        let (datapath, bridge_port) = pair(netlink, &config.datapath).await?;
        let left = maps::read_config(&pins);
        let sides = pins.side_ports().into_iter();
        let usable = match (&left, tunnel::find(netlink, port).await?) {
            (Some(left), Some(tunnel)) => is_of(left, &datapath, &tunnel),
            _ => false,
        };
        if !usable {
            pins.clear()?;
            tunnel::create(netlink, port, mtu.into()).await?;
        }
        let tunnel = tunnel::ensure(netlink, port, mtu.into()).await?;

        let hook = config
            .hook
            .unwrap_or_else(|| programs::best_hook(&datapath.name));
        let tap = match &config.tap {
            Some(name) => Some(netlink.require_link(name).await?),
            None => None,
        };
        let wanted = describe(&datapath, &tunnel, tap.as_ref(), hook);
        let spots = programs::spots(&tunnel.name, config.tap.as_deref());
        let opened = if usable && left == Some(wanted) && is_at_work(&pins, hook, &spots) {
            Opened::Adopted
        } else {
            let opened = install(config, &pins, hook, &spots, usable)?;
            if left.is_some_and(|left| left.hook == Hook::Clsact.number()) && hook == Hook::Tcx {
                spots.iter().copied().for_each(programs::detach_clsact);
            }
            maps::write_config(&pins, &wanted)?;
            opened
        };

        let bridge = tunnel::join(netlink, &tunnel, &bridge_port).await?;
        let like = side::Like {
            hook,
            bridge,
            mtu: mtu.into(),
        };
        // Pins without any device are those of hosts that are gone.
        let sides = sides.filter(|port| usable || side::index(*port).is_some());
        side::reopen(netlink, &pins, sides, like).await;

        let maps = Maps::open(&pins)?;
        Ok(Self {
            tables: maps.tables(&ports(&tunnel, port))?,
            ring: Ring::new(maps::ring(&pins)?)?,
            sender: Sender::default(),
            tunnel,
            port,
            pins,
            like,
            hook,
            opened,
            maps,
        })
    }

    /// How the programs are attached.
    #[must_use]
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// What was found at the start.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// Name of the VXLAN device.
    #[must_use]
    pub fn tunnel_name(&self) -> &str {
        &self.tunnel.name
    }

    /// Interface index of the VXLAN device.
    #[must_use]
    pub fn tunnel_index(&self) -> u32 {
        self.tunnel.index
    }

    /// The tables in force. Right after [`Device::open`] they are those an earlier daemon left:
    /// give them to [`Engine::adopt`](fastdp::Engine::adopt), and keep their short id as ours.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The tables an earlier daemon left, if there are any.
    #[must_use]
    pub fn adopted(&self) -> Option<&Tables> {
        (self.opened != Opened::Fresh && self.tables != Tables::default()).then_some(&self.tables)
    }

    /// Brings the kernel's tables up to date. Frames see the old or the new ones, nothing between.
    /// Blocks for some milliseconds, until no frame uses the old ones.
    ///
    /// # Errors
    /// [`Error::Kernel`]: the old tables stay in force. The update is not lost: the next call
    /// writes it too.
    pub fn apply(&mut self, update: &TableUpdate) -> Result<(), Error> {
        self.tables.apply(update);
        self.write_tables()?;
        if update.macs.is_empty() {
            return Ok(());
        }
        self.maps.move_macs(&update.macs)
    }

    /// Brings the kernel's tables to `tables`, whatever they are: for a device that was opened again
    /// because the one before was damaged.
    ///
    /// # Errors
    /// As [`Device::apply`].
    pub fn restore(&mut self, tables: &Tables) -> Result<(), Error> {
        let update = self.tables.diff_to(tables);
        if update.is_empty() {
            return Ok(());
        }
        self.apply(&update)
    }

    fn write_tables(&mut self) -> Result<(), Error> {
        let devices = devices(&self.tunnel, self.port);
        self.maps.swap_tables(&self.tables, &devices)
    }

    /// Opens the tunnel at a UDP port beside ours, for peers that were dialled there, or puts it in
    /// order. To be called before the first connection that needs it is given to the engine, and
    /// again every few seconds.
    ///
    /// # Errors
    /// [`Error::Port`]: the port is taken; [`Error::Foreign`]: so is the name of the device.
    pub async fn open_port(&mut self, port: u16, netlink: &Netlink) -> Result<(), Error> {
        if port == self.port {
            return Ok(());
        }
        let before = side::index(port);
        side::ensure(netlink, &self.pins, port, self.like).await?;
        let is_used = self.tables.paths().any(|path| path.port == port);
        if is_used && side::index(port) != before {
            self.write_tables()?;
        }
        Ok(())
    }

    /// Closes the tunnel at the ports that are neither in `but` nor in the tables.
    ///
    /// # Errors
    /// The first failure, after everything has been tried.
    pub async fn close_ports(
        &mut self,
        but: &BTreeSet<u16>,
        netlink: &Netlink,
    ) -> Result<(), Error> {
        let mut outcome = Ok(());
        let used: BTreeSet<u16> = self.tables.paths().map(|path| path.port).collect();
        for port in self.pins.side_ports() {
            if !used.contains(&port) && !but.contains(&port) {
                outcome = outcome.and(side::remove(netlink, &self.pins, port).await);
            }
        }
        outcome
    }

    /// Names and interface indices of the VXLAN devices at ports beside ours.
    #[must_use]
    pub fn sides(&self) -> Vec<(String, u32)> {
        let ports = self.pins.side_ports().into_iter();
        ports
            .filter_map(|port| Some((tunnel::name(port), side::index(port)?)))
            .collect()
    }

    /// The next special frame from a peer.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the ring cannot be waited for.
    ///
    /// # Cancel safety
    /// No frame is lost when the future is dropped.
    pub async fn next_event(&mut self) -> Result<Heartbeat, Error> {
        self.ring.next().await
    }

    /// Sends a heartbeat: VXLAN header and frame as a UDP datagram like those of the tunnel.
    ///
    /// # Errors
    /// [`Error::Send`]; see [`Error::is_too_big`]. Heartbeats repeat, so there is nothing to retry.
    pub fn send(
        &mut self,
        local: Ipv4Addr,
        remote: Ipv4Addr,
        port: u16,
        payload: &[u8],
    ) -> Result<(), Error> {
        self.sender.send(local, remote, port, payload)
    }

    /// What became of the frames so far.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn counters(&self) -> Result<Counters, Error> {
        self.maps.counters()
    }

    /// The addresses learned, ascending.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn macs(&self) -> Result<Vec<LearnedMac>, Error> {
        self.maps.macs()
    }

    /// Forgets addresses not seen for `age`, normally [`MAC_AGE`](super::MAC_AGE); returns how
    /// many. To be called once a minute.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn sweep(&mut self, age: Duration) -> Result<usize, Error> {
        self.maps.sweep(age)
    }
}

/// Removes the fast path: programs, maps, pins and the VXLAN device. Removing what is not there is
/// no error. A BPF file system that was mounted for the directory stays mounted.
///
/// # Errors
/// The first failure, after everything has been tried.
pub async fn remove(config: &Config, netlink: &Netlink) -> Result<(), Error> {
    let apart = remove_sides(&config.dir, netlink).await;
    let unpinned = unpin(&config.dir, &tunnel::name(config.port));
    let deleted = match tunnel::find(netlink, config.port).await {
        Ok(Some(tunnel)) => netlink.delete_link(tunnel.index).await.map_err(Error::from),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // Without the pair there is nothing to put back.
    let parted = match pair(netlink, &config.datapath).await {
        Ok((_, bridge_port)) => tunnel::part(netlink, &bridge_port).await,
        Err(_) => Ok(()),
    };
    apart.and(unpinned).and(deleted).and(parted)
}

async fn remove_sides(dir: &Path, netlink: &Netlink) -> Result<(), Error> {
    if !dir.exists() {
        return Ok(());
    }
    let pins = Pins::open(dir)?;
    let mut outcome = Ok(());
    for port in pins.side_ports() {
        outcome = outcome.and(side::remove(netlink, &pins, port).await);
    }
    outcome
}

fn unpin(dir: &Path, tunnel: &str) -> Result<(), Error> {
    if !dir.exists() {
        return Ok(());
    }
    let pins = Pins::open(dir)?;
    let clsact = maps::read_config(&pins).is_some_and(|c| c.hook == Hook::Clsact.number());
    if clsact {
        let spots = programs::spots(tunnel, None);
        spots.into_iter().for_each(programs::detach_clsact);
    }
    let cleared = pins.clear();
    pins.remove_dir();
    cleared
}

/// The interface `name` and the other end of its pair, the port of the bridge.
pub(super) async fn pair(netlink: &Netlink, name: &str) -> Result<(Link, Link), Error> {
    let missing = || Error::NoInterface {
        name: name.to_owned(),
    };
    let link = netlink.link_by_name(name).await?.ok_or_else(missing)?;
    let peer = link.peer_index.filter(|_| !link.peer_elsewhere());
    let peer = match peer {
        Some(index) => netlink.link_by_index(index).await?,
        None => None,
    };
    let peer = peer.ok_or_else(|| Error::NoPair {
        name: name.to_owned(),
    })?;
    Ok((link, peer))
}

/// Index of the VXLAN device for a port; `tunnel` has the port `ours`.
fn devices(tunnel: &Link, ours: u16) -> impl Fn(u16) -> Option<u32> + use<> {
    let index = tunnel.index;
    move |port| {
        if port == ours {
            Some(index)
        } else {
            side::index(port)
        }
    }
}

/// The inverse of [`devices`].
fn ports(tunnel: &Link, ours: u16) -> impl Fn(u32) -> Option<u16> + use<> {
    let own = tunnel.index;
    move |index| {
        if index == own {
            Some(ours)
        } else {
            side::port(index)
        }
    }
}

/// Loads and attaches the programs, over the maps that were there if they can be used.
fn install(
    config: &Config,
    pins: &Pins,
    hook: Hook,
    spots: &[Spot<'_>],
    usable: bool,
) -> Result<Opened, Error> {
    let (mut object, kept) = match programs::load(pins, config.mac_entries) {
        Ok(object) => (object, usable),
        Err(error) if usable => {
            tracing::warn!(%error, "pinned BPF maps do not fit; starting with empty ones");
            pins.clear()?;
            (programs::load(pins, config.mac_entries)?, false)
        }
        Err(error) => return Err(error),
    };
    programs::attach(&mut object, pins, hook, spots)?;
    Ok(if kept {
        Opened::Replaced
    } else {
        Opened::Fresh
    })
}

fn is_at_work(pins: &Pins, hook: Hook, spots: &[Spot<'_>]) -> bool {
    // A filter cannot be asked for its program here, but replacing it by itself does no harm.
    hook == Hook::Tcx
        && PROGRAMS.iter().all(|program| pins.has(program))
        && LINKS
            .iter()
            .zip(spots)
            .all(|(link, spot)| programs::is_attached(&pins.path(link), *spot))
}

/// Whether `left` was written for these very devices: index and address of both, the address of
/// the VXLAN device being random for each incarnation.
pub(super) fn is_of(left: &abi::Config, datapath: &Link, tunnel: &Link) -> bool {
    left.layout == abi::LAYOUT
        && (left.datapath, left.datapath_mac) == (datapath.index, padded(datapath))
        && (left.tunnel, left.tunnel_mac) == (tunnel.index, padded(tunnel))
}

fn describe(datapath: &Link, tunnel: &Link, tap: Option<&Link>, hook: Hook) -> abi::Config {
    abi::Config {
        layout: abi::LAYOUT,
        datapath: datapath.index,
        tunnel: tunnel.index,
        tap: tap.map_or(0, |tap| tap.index),
        hook: hook.number(),
        pad: 0,
        object: programs::object_hash(),
        datapath_mac: padded(datapath),
        tunnel_mac: padded(tunnel),
    }
}

fn padded(link: &Link) -> [u8; 8] {
    let [a, b, c, d, e, f] = link.mac.unwrap_or_default();
    [a, b, c, d, e, f, 0, 0]
}

/// Addresses remembered by default: `WEAVE_MACS`, 3 MB of kernel memory.
const MAC_ENTRIES: u32 = 32_768;
