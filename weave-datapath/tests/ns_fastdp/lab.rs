//! Hosts and pods as network namespaces, with a mesh played by the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};
use weave_datapath::{
    bpf::{Config, Hook},
    bridge,
    fastdp::{Connection, Event, PORT},
    netlink::Netlink,
    netns::Namespace,
};

use crate::{
    daemon::{Daemon, Output, Start, unmount},
    mesh::{self, Graph},
};

/// Overlay MTU of every lab: 50 bytes below the underlay's 1500, less some.
pub(crate) const MTU: u16 = 1376;

pub(crate) struct Lab {
    pub(crate) hosts: Vec<Host>,
    pub(crate) graph: Graph,
    hook: Hook,
    /// UDP port of the tunnel of each host, where it is not the usual one.
    ports: BTreeMap<usize, u16>,
    outputs: (mpsc::Sender<Output>, mpsc::Receiver<Output>),
    established: BTreeSet<(usize, u64)>,
    next_uid: u64,
    ids: BTreeMap<(usize, usize), u64>,
}

pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) scratch: Scratch,
    pub(crate) dir: PathBuf,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) pods: Vec<Pod>,
}

pub(crate) struct Pod {
    pub(crate) scratch: Scratch,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: [u8; 6],
}

/// A named namespace that goes when it is dropped.
pub(crate) struct Scratch {
    name: String,
    pub(crate) namespace: Namespace,
}

impl Scratch {
    pub(crate) fn new(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wfd-{}-{number}-{label}", std::process::id());
        let namespace = Namespace::create_named(&name).unwrap();
        Self { name, namespace }
    }

    /// Runs netlink operations inside.
    pub(crate) fn with<T: Send, F>(&self, work: impl FnOnce(Netlink) -> F + Send) -> T
    where
        F: Future<Output = T>,
    {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { work(Netlink::open().unwrap()).await })
        };
        self.namespace.run(run).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = Namespace::delete_named(&self.name);
    }
}

impl Pod {
    /// A UDP socket of the pod that may broadcast; reads give up after three seconds. It holds what
    /// comes while a busy machine does other things.
    pub(crate) fn udp(&self, port: u16) -> UdpSocket {
        self.scratch
            .namespace
            .run(move || {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
                socket.set_broadcast(true).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(3)))
                    .unwrap();
                setsockopt(&socket, sockopt::RcvBufForce, &ROOM).unwrap();
                socket
            })
            .unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.daemon = None;
        self.pods.clear();
        unmount(&self.dir);
    }
}

impl Lab {
    /// `hosts` hosts joined by the links of `graph`, `pods` pods each, every daemon running and
    /// every connection established by heartbeats.
    pub(crate) fn new(hosts: usize, graph: &[(usize, usize)], pods: usize) -> Self {
        Self::with_hook(hosts, graph, pods, Hook::Tcx)
    }

    pub(crate) fn with_hook(
        hosts: usize,
        graph: &[(usize, usize)],
        pods: usize,
        hook: Hook,
    ) -> Self {
        let mut lab = Self {
            hook,
            ..Self::prepared(hosts, graph, pods)
        };
        lab.run();
        lab
    }

    /// Hosts with tunnels at these ports. The first host of a link dials the second.
    pub(crate) fn with_ports(graph: &[(usize, usize)], ports: &[u16]) -> Self {
        let mut lab = Self {
            ports: ports.iter().copied().enumerate().collect(),
            ..Self::prepared(ports.len(), graph, 1)
        };
        lab.run();
        lab
    }

    fn run(&mut self) {
        for host in 0..self.hosts.len() {
            self.start(host);
        }
        let links: Vec<_> = self.graph.iter().copied().collect();
        for link in links {
            self.connect(link);
        }
        self.settle();
    }

    fn port(&self, host: usize) -> u16 {
        self.ports.get(&host).copied().unwrap_or(PORT)
    }

    /// Hosts, links and pods; no daemon runs and nothing is connected.
    pub(crate) fn prepared(hosts: usize, graph: &[(usize, usize)], pods: usize) -> Self {
        let lab = Self {
            hosts: (0..hosts).map(|host| new_host(host, pods)).collect(),
            graph: graph.iter().copied().collect(),
            hook: Hook::Tcx,
            ports: BTreeMap::new(),
            outputs: mpsc::channel(),
            established: BTreeSet::new(),
            next_uid: 0x0123_4567_89ab_cd00,
            ids: BTreeMap::new(),
        };
        for (number, link) in lab.graph.iter().enumerate() {
            lab.wire(number, *link);
        }
        lab
    }

    /// The veth pair of one link: 172.31.N.1 and 172.31.N.2.
    fn wire(&self, number: usize, (a, b): (usize, usize)) {
        let far = self.hosts[b].scratch.namespace.clone();
        let (near_name, far_name) = (format!("u{b}"), format!("u{a}"));
        let near = &self.hosts[a].scratch;
        let (local, remote) = underlay(number);
        near.with(|netlink| async move {
            netlink
                .create_veth_into(&near_name, &far_name, &far, 1500)
                .await
                .unwrap();
            bring_up(&netlink, &near_name, local, 24).await;
        });
        let far_name = format!("u{a}");
        self.hosts[b]
            .scratch
            .with(|netlink| async move { bring_up(&netlink, &far_name, remote, 24).await });
    }

    pub(crate) fn config(&self, host: usize) -> Config {
        Config::new(&self.hosts[host].dir, "vethwe-datapath")
            .port(self.port(host))
            .mtu(MTU)
            .hook(self.hook)
            .mac_entries(1024)
    }

    pub(crate) fn start(&mut self, host: usize) {
        let config = self.config(host);
        self.start_with(host, config);
    }

    pub(crate) fn start_with(&mut self, host: usize, config: Config) {
        let start = Start {
            host,
            us: mesh::name(host),
            namespace: self.hosts[host].scratch.namespace.clone(),
            config,
            port: self.port(host),
            outputs: self.outputs.0.clone(),
        };
        self.hosts[host].daemon = Some(Daemon::start(start));
        self.daemon(host)
            .routes(mesh::routes(host, self.hosts.len(), &Graph::new()));
    }

    /// Ends the daemon of `host` and tells its neighbours' meshes, as a kill does.
    pub(crate) fn kill(&mut self, host: usize) {
        self.hosts[host].daemon = None;
        let links: Vec<_> = self.graph.iter().copied().collect();
        for (a, b) in links.into_iter().filter(|(a, b)| *a == host || *b == host) {
            let Some(id) = self.ids.remove(&(a, b)) else {
                continue;
            };
            for end in [a, b] {
                self.established.remove(&(end, id));
                if let Some(daemon) = &self.hosts[end].daemon {
                    daemon.close(id);
                }
            }
        }
        self.tell_routes();
    }

    /// Opens the connection of one link at both ends.
    pub(crate) fn connect(&mut self, (a, b): (usize, usize)) {
        self.next_uid += 1;
        let uid = self.next_uid;
        self.ids.insert((a, b), uid);
        let number = self.graph.iter().position(|link| *link == (a, b)).unwrap();
        let (first, second) = underlay(number);
        let port = self.port(b);
        for (us, them, local, remote) in [(a, b, first, second), (b, a, second, first)] {
            self.daemon(us).connect(Connection {
                id: uid,
                peer: mesh::name(them),
                short_id: Some(mesh::short_id(them)),
                local,
                remote,
                port,
                uid,
                encrypted: false,
            });
        }
    }

    /// A link that other means than heartbeats of the tunnel keep up; its id.
    #[cfg(feature = "sleeve")]
    pub(crate) fn establish(&mut self, (a, b): (usize, usize)) -> u64 {
        self.next_uid += 1;
        let id = self.next_uid;
        self.ids.insert((a, b), id);
        self.established.extend([(a, id), (b, id)]);
        id
    }

    /// The id of a link.
    #[cfg(feature = "sleeve")]
    pub(crate) fn id_of(&self, link: (usize, usize)) -> u64 {
        self.ids[&link]
    }

    /// Carries control messages until every connection is established, then announces the routes.
    /// Returns how long that took.
    pub(crate) fn settle(&mut self) -> Duration {
        let begin = Instant::now();
        let wanted: BTreeSet<(usize, u64)> = self
            .ids
            .iter()
            .flat_map(|((a, b), id)| [(*a, *id), (*b, *id)])
            .collect();
        while self.established != wanted {
            let left = Duration::from_secs(5).checked_sub(begin.elapsed());
            let output = self.outputs.1.recv_timeout(left.expect("all establish"));
            match output.expect("all establish") {
                Output::Control { from, id, inner } => {
                    let far = wanted
                        .iter()
                        .find(|(end, other)| *other == id && *end != from);
                    if let Some((end, _)) = far {
                        self.daemon(*end).control(id, inner);
                    }
                }
                Output::Event { from, event } => {
                    if let Event::Established { id } = event {
                        self.established.insert((from, id));
                    }
                }
            }
        }
        self.tell_routes();
        begin.elapsed()
    }

    /// Sends every running daemon the routes over the established connections, and waits until all
    /// have them in the kernel.
    pub(crate) fn tell_routes(&self) {
        let both = |id: u64| self.established.iter().filter(|e| e.1 == id).count() == 2;
        let live: Graph = self
            .ids
            .iter()
            .filter(|(_, id)| both(**id))
            .map(|(link, _)| *link)
            .collect();
        for host in self.hosts.iter().filter(|host| host.daemon.is_some()) {
            let routes = mesh::routes(host.index, self.hosts.len(), &live);
            self.daemon(host.index).routes(routes);
            self.daemon(host.index).ask(|_, _| ());
        }
    }

    pub(crate) fn daemon(&self, host: usize) -> &Daemon {
        self.hosts[host].daemon.as_ref().expect("the daemon runs")
    }
}

/// Bytes that may wait in a socket of a pod.
const ROOM: usize = 8 << 20;

/// Our addresses at the ends of link `number`.
pub(crate) fn underlay(number: usize) -> (Ipv4Addr, Ipv4Addr) {
    let number = u8::try_from(number).unwrap();
    (
        Ipv4Addr::new(172, 31, number, 1),
        Ipv4Addr::new(172, 31, number, 2),
    )
}

fn new_host(index: usize, pods: usize) -> Host {
    let scratch = Scratch::new(&format!("h{index}"));
    let octet = u8::try_from(index).unwrap();
    let config = bridge::Config::new([0x02, 0, 0, 0, 0xb0, octet], MTU.into());
    scratch.with(|_| async move { bridge::ensure(&config).await.unwrap() });
    let dir = std::env::temp_dir().join(format!("{}-bpf", scratch.name));
    let pods = (0..pods).map(|pod| new_pod(&scratch, index, pod)).collect();
    Host {
        index,
        scratch,
        dir,
        daemon: None,
        pods,
    }
}

/// A pod 10.32.HOST.POD+1/16 on the bridge of its host.
fn new_pod(host: &Scratch, index: usize, number: usize) -> Pod {
    let scratch = Scratch::new(&format!("p{index}{number}"));
    let (high, low) = (
        u8::try_from(index).unwrap(),
        u8::try_from(number).unwrap() + 1,
    );
    let address = Ipv4Addr::new(10, 32, high, low);
    let inside = scratch.namespace.clone();
    let port = format!("pod{number}");
    host.with(|netlink| async move {
        netlink
            .create_veth_into(&port, "eth0", &inside, MTU.into())
            .await
            .unwrap();
        let link = netlink.link_by_name(&port).await.unwrap().unwrap();
        let bridge = netlink.link_by_name("weave").await.unwrap().unwrap();
        netlink
            .set_master(link.index, Some(bridge.index))
            .await
            .unwrap();
        netlink.set_up(link.index).await.unwrap();
    });
    let mac = scratch.with(|netlink| async move {
        bring_up(&netlink, "lo", Ipv4Addr::LOCALHOST, 8).await;
        bring_up(&netlink, "eth0", address, 16).await;
        let link = netlink.link_by_name("eth0").await.unwrap().unwrap();
        link.mac.unwrap()
    });
    Pod {
        scratch,
        address,
        mac,
    }
}

async fn bring_up(netlink: &Netlink, name: &str, address: Ipv4Addr, prefix: u8) {
    let link = netlink.link_by_name(name).await.unwrap().unwrap();
    netlink.set_up(link.index).await.unwrap();
    let address = ipnet::IpNet::new(address.into(), prefix).unwrap();
    netlink.add_address(link.index, address).await.unwrap();
}
