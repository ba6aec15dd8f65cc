//! Sleeve alone: its device is a port of the bridge, and its threads know who is where.
//!
//! Invariant: nothing of the fast path is left on the host, so that no frame has two ways.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use tracing::info;
use weave_datapath::PeerName as DataName;
use weave_datapath::fastdp::{Engine, EngineConfig, ShortId, TableUpdate};
use weave_datapath::netlink::Netlink;
use weave_datapath::plane::{Forwarding, Link, SharedTable, Switching};
use weave_datapath::sleeve::seal::Stream;
use weave_datapath::sleeve::special::Special;
use weave_datapath::switch::{MacTable, Owner};
use weave_mesh::peer::PeerName;

use super::error::StartError;
use super::sleeve::Sleeve;
use crate::actor::overlay::{
    self, Arrival, Mac, Overlay, Port, SleeveWire, Surroundings, View, Wire, WireError,
};
use crate::args::daemon::Settings;

/// Sleeve without the fast path, ready to run.
pub(super) struct Slow {
    wire: UserSpace,
    engine: Engine,
}

impl Slow {
    /// Puts sleeve in place of whatever carried frames before. `why`: the reason that there is no
    /// fast path, for status pages.
    ///
    /// # Errors
    /// The kernel has no TAP devices, or refused.
    pub(super) async fn open(
        settings: &Settings,
        netlink: &Netlink,
        name: PeerName,
        why: String,
    ) -> Result<Self, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::Sleeve(error.to_string());
        clear(settings, netlink).await?;
        let table = Arc::new(SharedTable::new());
        let macs = Arc::clone(&table);
        let sleeve = Sleeve::open(settings, name, Switching::Plane(macs));
        let mut sleeve = sleeve?.ok_or_else(|| failed(&"this kernel has no TAP devices"))?;
        let placed = sleeve.put_in_order(netlink, Some(&settings.bridge)).await;
        placed.map_err(StartError::Sleeve)?;
        let port = join(settings, netlink, sleeve.device())
            .await
            .map_err(|error| failed(&error))?;
        info!("Bridge type is bridge ({}, {why})", sleeve.device());
        let engine = Engine::new(EngineConfig {
            us: DataName(name.into()),
            mtu: settings.mtu,
            port: settings.listen.port(),
        });
        Ok(Self {
            wire: UserSpace {
                sleeve,
                netlink: netlink.clone(),
                bridge: settings.bridge.clone(),
                table,
                port,
                why,
                ids: HashMap::new(),
            },
            engine,
        })
    }

    /// The task to be spawned, and a handle to it.
    pub(super) fn start(
        self,
        around: Surroundings,
    ) -> (Overlay, impl Future<Output = ()> + Send + 'static) {
        overlay::start(self.engine, self.wire, around)
    }
}

/// Takes away what an earlier daemon left of the fast path.
async fn clear(settings: &Settings, netlink: &Netlink) -> Result<(), StartError> {
    #[cfg(feature = "bpf")]
    if let Some(port) = settings.listen.port().checked_add(1) {
        use weave_datapath::bpf;

        let tunnel = netlink.link_by_name(&bpf::tunnel_name(port)).await;
        let failed = |error: &dyn std::fmt::Display| StartError::Datapath(error.to_string());
        if tunnel.map_err(|error| failed(&error))?.is_some() {
            let old = netlink.link_by_name(super::sleeve::DEVICE).await;
            if let Some(old) = old.map_err(|error| failed(&error))? {
                // With its programs, which would hand frames to a tunnel that is gone.
                let deleted = netlink.delete_link(old.index).await;
                deleted.map_err(|error| failed(&error))?;
            }
            let config = bpf::Config::new(&settings.bpf_dir, super::fast::DATAPATH).port(port);
            let removed = bpf::remove(&config, netlink).await;
            removed.map_err(|error| failed(&error))?;
            info!("Removed the fast path that an earlier daemon left");
        }
    }
    let _ = (settings, netlink);
    Ok(())
}

/// Has the device, a port of the bridge, get all frames for other hosts.
async fn join(
    settings: &Settings,
    netlink: &Netlink,
    device: &str,
) -> Result<Port, weave_datapath::netlink::Error> {
    let link = netlink.require_link(device).await?;
    netlink.set_mtu(link.index, settings.mtu.into()).await?;
    netlink.set_flood(link.index, true).await?;
    Ok(Port {
        index: link.index,
        name: link.name,
        kind: "tap",
    })
}

struct UserSpace {
    sleeve: Sleeve,
    netlink: Netlink,
    bridge: String,
    table: Arc<SharedTable>,
    port: Port,
    why: String,
    ids: HashMap<DataName, ShortId>,
}

impl Wire for UserSpace {
    fn apply(&mut self, _update: &TableUpdate) -> Result<(), WireError> {
        Ok(())
    }

    fn send(
        &mut self,
        _local: Ipv4Addr,
        _remote: Ipv4Addr,
        _port: u16,
        _payload: &[u8],
    ) -> Result<(), WireError> {
        Err(WireError("this host has no tunnel".to_owned()))
    }

    fn sleeve(&mut self) -> Option<&mut dyn SleeveWire> {
        Some(self)
    }

    async fn open_port(&mut self, _port: u16) -> Result<(), WireError> {
        Err(WireError("this host has no tunnel".to_owned()))
    }

    async fn close_ports(&mut self, _but: &BTreeSet<u16>) -> Result<(), WireError> {
        Ok(())
    }

    async fn next_event(&mut self) -> Result<Arrival, WireError> {
        let event = self.sleeve.next_event(&self.netlink, Some(&self.bridge));
        event.await.map(Arrival::Sleeve)
    }

    fn sweep(&mut self) -> Result<(), WireError> {
        self.table.with(MacTable::sweep);
        Ok(())
    }

    fn view(&self) -> View {
        let counters = self.sleeve.counters().into_iter();
        let macs = self.table.with(|table, now| {
            let entries = table.iter(now).map(|(mac, owner, age)| Mac {
                address: mac.0,
                owner: match owner {
                    Owner::Local => None,
                    Owner::Peer(peer) => self.ids.get(&peer).copied(),
                },
                age,
            });
            entries.collect()
        });
        View {
            interface: format!("{} (in user space, {})", self.port.name, self.why),
            ports: vec![self.port.clone()],
            counters: counters
                .map(|(name, count)| (format!("sleeve_{name}"), count))
                .chain([("repairs".to_owned(), self.sleeve.repairs())])
                .collect(),
            macs,
            ..View::default()
        }
    }
}

impl SleeveWire for UserSpace {
    fn add_link(&mut self, link: Arc<Link>) {
        self.sleeve.add_link(link);
    }

    fn remove_link(&mut self, id: u64) {
        self.sleeve.remove_link(id);
    }

    fn send_special(&mut self, id: u64, to: SocketAddrV4, stream: Stream, special: Special) {
        self.sleeve.send_special(id, to, stream, special);
    }

    fn set_forwarding(&mut self, forwarding: Forwarding) {
        self.table
            .with(|table, _| table.retain(|peer| forwarding.knows(peer)));
        self.ids.clone_from(&forwarding.ids);
        self.sleeve.set_forwarding(forwarding);
    }

    fn path_mtu(&mut self, to: SocketAddrV4) -> Option<u16> {
        self.sleeve.path_mtu(to)
    }
}
