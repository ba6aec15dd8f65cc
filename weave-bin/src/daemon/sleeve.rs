//! The overlay in user space: its device, its sockets and their threads.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::warn;
use weave_datapath::PeerName as DataName;
use weave_datapath::netlink::Netlink;
use weave_datapath::plane::{self, Config, Forwarding, Link, Plane, Switching};
use weave_datapath::sleeve::seal::Stream;
use weave_datapath::sleeve::special::Special;
use weave_datapath::tap::{self, Tap};
use weave_mesh::peer::PeerName;

use super::error::StartError;
use crate::actor::overlay::{SleeveWire, WireError};
use crate::args::daemon::Settings;
use crate::logging::CHANGE;

/// Sleeve on this host.
pub(super) struct Sleeve {
    tap: Tap,
    /// Interface index of the device.
    index: u32,
    plane: Plane,
    events: mpsc::Receiver<plane::Event>,
    /// When to look after the device again.
    look: Interval,
    /// What is wrong with the device, as last said.
    trouble: String,
    repairs: u64,
}

impl Sleeve {
    /// Starts it, with `switch` to decide about frames; its device is down. `None`, with a warning
    /// that says why: the kernel has no TAP devices.
    pub(super) fn open(
        settings: &Settings,
        name: PeerName,
        switch: Switching,
    ) -> Result<Option<Self>, StartError> {
        let tap = match make() {
            Ok(tap) => tap,
            Err(error) => {
                warn!("no sleeve: {error}");
                return Ok(None);
            }
        };
        let failed = |error: &dyn std::fmt::Display| StartError::Sleeve(error.to_string());
        let index = if_nametoindex(DEVICE).map_err(|error| failed(&error))?;

        let host = match settings.listen.ip() {
            IpAddr::V4(host) => host,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let port = settings.listen.port();
        let config = Config {
            us: DataName(name.into()),
            host,
            port,
            switch,
        };
        let (plane, events) = Plane::start(config, &tap)
            .map_err(|error| failed(&format_args!("UDP port {port}: {error}")))?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Some(Self {
            tap,
            index,
            plane,
            events,
            look,
            trouble: String::new(),
            repairs: 0,
        }))
    }

    /// Name of the device by which frames come and go.
    pub(super) fn device(&self) -> &'static str {
        DEVICE
    }

    /// The next news. Meanwhile the device is looked after: it belongs to `bridge`, or to none.
    ///
    /// # Cancel safety
    /// No news is lost when the future is dropped, and what it has begun is completed later.
    pub(super) async fn next_event(
        &mut self,
        netlink: &Netlink,
        bridge: Option<&str>,
    ) -> Result<plane::Event, WireError> {
        let ended = || WireError("the threads of sleeve have ended".to_owned());
        loop {
            tokio::select! {
                event = self.events.recv() => return event.ok_or_else(ended),
                _ = self.look.tick() => self.tend(netlink, bridge).await,
            }
        }
    }

    async fn tend(&mut self, netlink: &Netlink, bridge: Option<&str>) {
        match self.put_in_order(netlink, bridge).await {
            Ok(done) if done.is_empty() => self.trouble.clear(),
            Ok(done) => {
                warn!(target: CHANGE, "somebody changed {DEVICE}: {}", done.join(", "));
                self.repairs += 1;
            }
            Err(error) => {
                // What lasts is said once.
                if error != self.trouble {
                    warn!("frames do not go by sleeve: {error}");
                    self.trouble = error;
                }
            }
        }
    }

    /// Sees to it that the device is there, up, and a port of `bridge` or of nothing. What had to be
    /// done, in words.
    ///
    /// # Errors
    /// What is still wrong.
    pub(super) async fn put_in_order(
        &mut self,
        netlink: &Netlink,
        bridge: Option<&str>,
    ) -> Result<Vec<&'static str>, String> {
        let mut done = Vec::new();
        if if_nametoindex(DEVICE) != Ok(self.index) {
            let tap = make().map_err(|error| error.to_string())?;
            let restarted = self.plane.restart(&tap);
            restarted.map_err(|error| error.to_string())?;
            self.tap = tap;
            self.index = if_nametoindex(DEVICE).map_err(|error| error.to_string())?;
            // Said at once: the rest may be interrupted, and is done later then.
            warn!(target: CHANGE, "somebody removed {DEVICE}: made it anew");
            self.repairs += 1;
        }
        let moved = self.settle(netlink, bridge, &mut done).await;
        moved.map_err(|error| error.to_string())?;
        Ok(done)
    }

    async fn settle(
        &self,
        netlink: &Netlink,
        bridge: Option<&str>,
        done: &mut Vec<&'static str>,
    ) -> Result<(), weave_datapath::netlink::Error> {
        let link = netlink.require_link(DEVICE).await?;
        match bridge {
            Some(name) => {
                let bridge = netlink.require_link(name).await?;
                if link.master != Some(bridge.index) {
                    netlink.set_mtu(link.index, bridge.mtu).await?;
                    netlink.set_master(link.index, Some(bridge.index)).await?;
                    netlink.set_flood(link.index, true).await?;
                    done.push("made it a port of the bridge");
                }
            }
            None if link.master.is_some() => {
                netlink.set_master(link.index, None).await?;
                done.push("took it off the bridge");
            }
            None => {}
        }
        if !link.up {
            self.tap.bring_up(netlink).await?;
            done.push("brought it up");
        }
        Ok(())
    }

    /// How often somebody else's change of the device was undone.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs
    }

    /// What became of frames and packets.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = self.plane.counters().into_iter();
        counters
            .map(|(counter, count)| (counter.name(), count))
            .collect()
    }
}

impl SleeveWire for Sleeve {
    fn add_link(&mut self, link: Arc<Link>) {
        self.plane.add_link(link);
    }

    fn remove_link(&mut self, id: u64) {
        self.plane.remove_link(id);
    }

    fn send_special(&mut self, id: u64, to: SocketAddrV4, stream: Stream, special: Special) {
        self.plane.send_special(id, to, stream, special);
    }

    fn set_forwarding(&mut self, forwarding: Forwarding) {
        self.plane.set_forwarding(forwarding);
    }

    fn path_mtu(&mut self, to: SocketAddrV4) -> Option<u16> {
        plane::path_mtu(to).ok()
    }
}

/// The device with a queue for each processor that is worth one, to outlast this process.
fn make() -> Result<Tap, tap::Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let tap = Tap::create(DEVICE, cores.min(MAX_QUEUES))?;
    tap.set_persistent(true)?;
    Ok(tap)
}

/// Tools of Weave Net remove links with `vethwe` in their name, too.
pub(super) const DEVICE: &str = "vethwe-sleeve";
const MAX_QUEUES: usize = 4;
/// Between two looks at the device.
const LOOK: Duration = Duration::from_secs(1);
