//! The fast data path: the kernel's side of it, opened or adopted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use tracing::{info, warn};
use weave_datapath::PeerName as DataName;
use weave_datapath::bpf::{self, Config, Device, MAC_AGE, self_test};
use weave_datapath::fastdp::{Engine, EngineConfig, TableUpdate};
use weave_datapath::netlink::{self, Netlink};
use weave_datapath::plane::Switching;
use weave_mesh::peer::{PeerName, ShortId};

use super::error::StartError;
use super::guard::Guard;
use super::sleeve::Sleeve;
use crate::actor::overlay::{
    self, Arrival, Mac, Overlay, Port, SleeveWire, Surroundings, View, Wire, WireError,
};
use crate::args::daemon::{PasswordSource, Settings};

/// Device and engine, ready to run.
pub(super) struct Fast {
    kernel: Kernel,
    engine: Engine,
}

impl Fast {
    /// Puts the fast path in place, or adopts the one an earlier daemon left.
    pub(super) async fn open(
        settings: &Settings,
        netlink: &Netlink,
        name: PeerName,
    ) -> Result<Self, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::Datapath(error.to_string());
        let port = settings.listen.port().checked_add(1).ok_or_else(|| {
            failed(&"the tunnel's port is the mesh port plus one, so --port must be below 65535")
        })?;
        let mut config = Config::new(&settings.bpf_dir, DATAPATH)
            .port(port)
            .mtu(settings.mtu);
        let mut sleeve = Sleeve::open(settings, name, Switching::Kernel)?;
        if let Some(sleeve) = &mut sleeve {
            // The programs take and give its frames.
            let apart = sleeve.put_in_order(netlink, None).await;
            apart.map_err(StartError::Sleeve)?;
            config = config.tap(sleeve.device());
        }
        let device = Device::open(&config, netlink)
            .await
            .map_err(|error| refusal(settings, &error))?;
        info!(
            "Bridge type is bridged_fastdp ({}, programs attached by {}, {:?})",
            device.tunnel_name(),
            device.hook(),
            device.opened()
        );
        let mut engine = Engine::new(EngineConfig {
            us: DataName(name.into()),
            mtu: settings.mtu,
            port,
        });
        if let Some(tables) = device.adopted() {
            engine.adopt(std::time::Duration::ZERO, tables.clone());
            engine.distrust(|remote| may_be_clear(settings, remote));
        }
        let ports = ports(netlink, device.tunnel_name()).await;
        let ports = ports.map_err(|error| failed(&error))?;
        Ok(Self {
            kernel: Kernel {
                device,
                netlink: netlink.clone(),
                ports,
                sleeve,
                guard: Guard::start(config),
                repairs: 0,
            },
            engine,
        })
    }

    /// What this host offers, the better one first.
    pub(super) fn overlays(&self) -> Vec<String> {
        let sleeve = self.kernel.sleeve.as_ref().map(|_| overlay::SLEEVE);
        let names = std::iter::once(overlay::FASTDP).chain(sleeve);
        names.map(str::to_owned).collect()
    }

    /// Our short id in the tables an earlier daemon left: frames under way carry it.
    pub(super) fn short_id(&self) -> Option<ShortId> {
        let id = self.kernel.device.adopted()?.us?;
        ShortId::try_from(u16::from(id)).ok()
    }

    /// The task to be spawned, and a handle to it.
    pub(super) fn start(
        self,
        around: Surroundings,
    ) -> (Overlay, impl Future<Output = ()> + Send + 'static) {
        overlay::start(self.engine, self.kernel, around)
    }
}

/// The devices frames pass, for reports.
async fn ports(netlink: &Netlink, tunnel: &str) -> Result<Vec<Port>, netlink::Error> {
    let mut ports = Vec::new();
    for (name, kind) in [(DATAPATH, "netdev"), (tunnel, VXLAN)] {
        let link = netlink.require_link(name).await?;
        ports.push(Port {
            index: link.index,
            name: link.name,
            kind,
        });
    }
    Ok(ports)
}

/// Whether connections with `remote` may be unencrypted, as far as we have a say.
fn may_be_clear(settings: &Settings, remote: Ipv4Addr) -> bool {
    let remote = IpAddr::V4(remote);
    let mut trusted = settings.trusted_subnets.iter();
    settings.passwords == PasswordSource::None || trusted.any(|net| net.contains(&remote))
}

/// Why there is no fast data path: what the kernel lacks, if that is it.
fn refusal(settings: &Settings, error: &bpf::Error) -> StartError {
    let findings = self_test(&settings.bpf_dir);
    if !findings.is_empty() {
        let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
        return StartError::Kernel(texts.join("; "));
    }
    match error {
        bpf::Error::Kernel { .. } => StartError::Kernel(error.to_string()),
        error => StartError::Datapath(error.to_string()),
    }
}

struct Kernel {
    device: Device,
    netlink: Netlink,
    ports: Vec<Port>,
    sleeve: Option<Sleeve>,
    guard: Guard,
    /// How often something had to be put back.
    repairs: u64,
}

impl Kernel {
    /// Goes on with a device that was damaged and has been opened again.
    fn replace(&mut self, mut device: Device) {
        if let Err(error) = device.restore(self.device.tables()) {
            warn!(%error, "the forwarding table waits for the next change of routes");
        }
        for port in self.ports.iter_mut().filter(|port| port.kind == VXLAN) {
            port.index = device.tunnel_index();
        }
        self.device = device;
        self.repairs += 1;
    }
}

/// News of sleeve, if this host has it.
async fn news(sleeve: &mut Option<Sleeve>, netlink: &Netlink) -> Result<Arrival, WireError> {
    match sleeve {
        Some(sleeve) => sleeve.next_event(netlink, None).await.map(Arrival::Sleeve),
        None => std::future::pending().await,
    }
}

impl Wire for Kernel {
    fn apply(&mut self, update: &TableUpdate) -> Result<(), WireError> {
        self.device.apply(update).map_err(refused)
    }

    fn send(
        &mut self,
        local: Ipv4Addr,
        remote: Ipv4Addr,
        port: u16,
        payload: &[u8],
    ) -> Result<(), WireError> {
        self.device
            .send(local, remote, port, payload)
            .map_err(refused)
    }

    async fn open_port(&mut self, port: u16) -> Result<(), WireError> {
        let opened = self.device.open_port(port, &self.netlink).await;
        opened.map_err(refused)
    }

    async fn close_ports(&mut self, but: &BTreeSet<u16>) -> Result<(), WireError> {
        let closed = self.device.close_ports(but, &self.netlink).await;
        closed.map_err(refused)
    }

    fn sleeve(&mut self) -> Option<&mut dyn SleeveWire> {
        self.sleeve
            .as_mut()
            .map(|sleeve| -> &mut dyn SleeveWire { sleeve })
    }

    async fn next_event(&mut self) -> Result<Arrival, WireError> {
        loop {
            tokio::select! {
                heartbeat = self.device.next_event() => {
                    return heartbeat.map(Arrival::Heartbeat).map_err(refused);
                }
                arrival = news(&mut self.sleeve, &self.netlink) => return arrival,
                device = self.guard.next() => self.replace(device),
            }
        }
    }

    fn sweep(&mut self) -> Result<(), WireError> {
        self.device.sweep(MAC_AGE).map(drop).map_err(refused)
    }

    fn view(&self) -> View {
        let counters = self.device.counters().map(|counters| {
            let kernel = counters
                .iter()
                .map(|(counter, count)| (counter.name(), count));
            let mut all: BTreeMap<String, u64> = kernel
                .map(|(name, count)| (name.to_owned(), count))
                .collect();
            let sleeve = self.sleeve.iter().flat_map(Sleeve::counters);
            all.extend(sleeve.map(|(name, count)| (format!("sleeve_{name}"), count)));
            let of_sleeve = self.sleeve.as_ref().map_or(0, Sleeve::repairs);
            all.insert("repairs".to_owned(), self.repairs + of_sleeve);
            all
        });
        let macs = self.device.macs().unwrap_or_default();
        let sides = self.device.sides().into_iter();
        let sides = sides.map(|(name, index)| Port {
            index,
            name,
            kind: VXLAN,
        });
        View {
            interface: format!(
                "{} (via BPF, {})",
                self.device.tunnel_name(),
                self.device.hook()
            ),
            ports: self.ports.iter().cloned().chain(sides).collect(),
            counters: counters.unwrap_or_default(),
            macs: macs
                .into_iter()
                .map(|mac| Mac {
                    address: mac.mac.0,
                    owner: mac.peer,
                    age: mac.age,
                })
                .collect(),
            ..View::default()
        }
    }
}

fn refused(error: impl std::fmt::Display) -> WireError {
    WireError(error.to_string())
}

pub(super) const DATAPATH: &str = "vethwe-datapath";

/// The kind of the port that frames cross the underlay by, in reports.
const VXLAN: &str = "vxlan";
