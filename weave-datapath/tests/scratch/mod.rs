//! Throw-away network namespaces for kernel tests: unique names, removed when dropped.

#![allow(
    dead_code,
    reason = "every test binary uses its own part of this module"
)]

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use weave_datapath::{
    attach::{self, Attachment, Request},
    bridge::{self, Bridge, Config},
    netlink::Netlink,
    netns::Namespace,
};

/// Whether kernel tests can run here; says so when not.
pub(crate) fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// A namespace of its own.
pub(crate) struct Scratch {
    pub(crate) name: String,
    pub(crate) namespace: Namespace,
}

impl Scratch {
    pub(crate) fn new(label: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weave-test-{}-{count}-{label}", std::process::id());
        let namespace = Namespace::create_named(&name).unwrap();
        Self { name, namespace }
    }

    pub(crate) fn netlink(&self) -> Netlink {
        Netlink::open_in(&self.namespace).unwrap()
    }

    /// A UDP socket inside the namespace, usable from anywhere.
    pub(crate) fn udp(&self, address: &str) -> UdpSocket {
        let bound = self.namespace.run(|| UdpSocket::bind(address)).unwrap();
        let socket = bound.unwrap_or_else(|error| panic!("bind {address}: {error}"));
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket
    }

    /// The text of a file below `/proc/sys/net`, as seen inside.
    pub(crate) fn sysctl(&self, path: &str) -> io::Result<String> {
        let path = format!("/proc/sys/net/{path}");
        let text = self
            .namespace
            .run(|| std::fs::read_to_string(path))
            .unwrap();
        text.map(|text| text.trim_end().to_owned())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = Namespace::delete_named(&self.name) {
            println!("left behind: {error}");
        }
    }
}

pub(crate) const MAC: [u8; 6] = [0x0a, 0, 0, 0, 0, 1];

/// A host with the bridge, at the address 10.32.0.1/12.
pub(crate) async fn host() -> (Scratch, Bridge) {
    let host = Scratch::new("host");
    let bridge = bridge::ensure_in(&host.namespace, &Config::new(MAC, 1376))
        .await
        .unwrap();
    let netlink = host.netlink();
    netlink
        .add_address(bridge.index, "10.32.0.1/12".parse().unwrap())
        .await
        .unwrap();
    (host, bridge)
}

/// A request for `eth0` in `pod` with one address and the bridge as gateway.
pub(crate) fn request(pod: &Scratch, id: &str, address: &str) -> Request {
    let mut request = Request::new(id, pod.namespace.clone(), "eth0");
    request.addresses = vec![address.parse().unwrap()];
    request.gateways = vec!["10.32.0.1".parse().unwrap()];
    request
}

pub(crate) async fn attached(host: &Scratch, request: &Request) -> Attachment {
    attach::attach_from(&host.namespace, request)
        .await
        .unwrap_or_else(|error| panic!("attach {}: {error}", request.container_id))
}

/// One datagram there and one back.
pub(crate) fn exchange(from: &UdpSocket, to: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let mut buffer = [0; 16];
    from.send_to(b"there", address)?;
    let (length, peer) = to.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"there");
    to.send_to(b"back", peer)?;
    let length = from.recv(&mut buffer)?;
    assert_eq!(&buffer[..length], b"back");
    Ok(())
}

/// Names of host ends left in a namespace.
pub(crate) async fn host_ends(host: &Scratch) -> Vec<String> {
    let links = host.netlink().links().await.unwrap();
    let names = links.into_iter().map(|link| link.name);
    names.filter(|name| name.starts_with("vethwepl")).collect()
}
