//! The overlay in user space: its device, its sockets and their threads.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::warn;
use weave_datapath::PeerName as DataName;
use weave_datapath::netlink::Netlink;
use weave_datapath::plane::{self, Config, Forwarding, Link, Plane, Switching};
use weave_datapath::sleeve::seal::Stream;
use weave_datapath::sleeve::special::Special;
use weave_datapath::tap::Tap;
use weave_mesh::peer::PeerName;

use super::error::StartError;
use crate::actor::overlay::{SleeveWire, WireError};
use crate::args::daemon::Settings;

/// Sleeve on this host.
pub(super) struct Sleeve {
    tap: Tap,
    plane: Plane,
    events: mpsc::Receiver<plane::Event>,
}

impl Sleeve {
    /// Starts it, with `switch` to decide about frames; its device is down. `None`, with a warning
    /// that says why: the kernel has no TAP devices.
    pub(super) fn open(
        settings: &Settings,
        name: PeerName,
        switch: Switching,
    ) -> Result<Option<Self>, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let tap = match Tap::create(DEVICE, cores.min(MAX_QUEUES)) {
            Ok(tap) => tap,
            Err(error) => {
                warn!("no sleeve: {error}");
                return Ok(None);
            }
        };
        let failed = |error: &dyn std::fmt::Display| StartError::Sleeve(error.to_string());
        tap.set_persistent(true).map_err(|error| failed(&error))?;

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
        Ok(Some(Self { tap, plane, events }))
    }

    /// Brings its device up.
    pub(super) async fn bring_up(
        &self,
        netlink: &Netlink,
    ) -> Result<(), weave_datapath::netlink::Error> {
        self.tap.bring_up(netlink).await
    }

    /// Name of the device by which frames come and go.
    pub(super) fn device(&self) -> &'static str {
        DEVICE
    }

    /// The next news.
    pub(super) async fn next_event(&mut self) -> Result<plane::Event, WireError> {
        let ended = || WireError("the threads of sleeve have ended".to_owned());
        self.events.recv().await.ok_or_else(ended)
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

/// Tools of Weave Net remove links with `vethwe` in their name, too.
pub(super) const DEVICE: &str = "vethwe-sleeve";
const MAX_QUEUES: usize = 4;
