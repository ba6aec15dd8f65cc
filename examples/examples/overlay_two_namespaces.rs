//! Two hosts as network namespaces and sleeve between them: bytes are sent by TCP from one TAP
//! device to the other, in clear and sealed, and the speed is printed. Needs root.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;
use weave_datapath::plane::{
    Carrier, Config, Forwarding, Hop, Link, LinkPath, Plane, SharedTable, Switching,
};
use weave_datapath::sleeve::seal::{SessionKey, Side};
use weave_datapath::sleeve::stream::Path;
use weave_datapath::tap::Tap;
use weave_datapath::{PeerName, ShortId};

const NAMES: [&str; 2] = ["example-left", "example-right"];
const PORT: u16 = 6783;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let outcome = run().await;
    for name in NAMES {
        Namespace::delete_named(name)?;
    }
    outcome
}

async fn run() -> Result<(), Box<dyn Error>> {
    let hosts = [
        Namespace::create_named(NAMES[0])?,
        Namespace::create_named(NAMES[1])?,
    ];
    join(&hosts).await?;
    for sealed in [false, true] {
        let planes = [start(&hosts, 0, sealed)?, start(&hosts, 1, sealed)?];
        for (index, host) in hosts.iter().enumerate() {
            dress(host, overlay(index)).await?;
        }
        let speed = tokio::task::spawn_blocking({
            let hosts = hosts.clone();
            move || transfer(&hosts)
        })
        .await??;
        println!(
            "{}: {speed:.2} Gbit/s",
            if sealed { "sealed" } else { "in clear" }
        );
        drop(planes);
    }
    Ok(())
}

/// A cable between the hosts.
async fn join(hosts: &[Namespace; 2]) -> Result<(), Box<dyn Error>> {
    let left = Netlink::open_in(&hosts[0])?;
    left.create_veth_into("cable", "cable", &hosts[1], 1500)
        .await?;
    for (index, host) in hosts.iter().enumerate() {
        let netlink = Netlink::open_in(host)?;
        let link = netlink.require_link("cable").await?;
        netlink
            .add_address(link.index, format!("{}/24", underlay(index)).parse()?)
            .await?;
        netlink.set_up(link.index).await?;
    }
    Ok(())
}

/// Gives the TAP device of a host its address.
async fn dress(host: &Namespace, address: Ipv4Addr) -> Result<(), Box<dyn Error>> {
    let netlink = Netlink::open_in(host)?;
    let link = netlink.require_link("overlay").await?;
    netlink.set_mtu(link.index, 1376).await?;
    netlink
        .add_address(link.index, format!("{address}/24").parse()?)
        .await?;
    Ok(netlink.set_up(link.index).await?)
}

fn underlay(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, if host == 0 { 1 } else { 2 })
}

fn overlay(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 32, 0, if host == 0 { 1 } else { 2 })
}

/// The data plane of a host with one neighbour. In a real network all of this comes from the mesh.
fn start(
    hosts: &[Namespace; 2],
    host: usize,
    sealed: bool,
) -> Result<(Plane, Tap), Box<dyn Error>> {
    let (us, them) = (peer(host), peer(1 - host));
    let started = hosts[host].run(|| -> Result<_, String> {
        let tap = Tap::create("overlay", 2).map_err(|error| error.to_string())?;
        let config = Config {
            us,
            host: Ipv4Addr::UNSPECIFIED,
            port: PORT,
            switch: Switching::Plane(Arc::new(SharedTable::new())),
        };
        let (plane, _events) = Plane::start(config, &tap).map_err(|error| error.to_string())?;
        Ok((plane, tap))
    })?;
    let (plane, tap) = started?;

    let side = if host == 0 {
        Side::Dialler
    } else {
        Side::Acceptor
    };
    let key = sealed.then(|| (SessionKey::new([42; 32]), side));
    let link = Arc::new(Link::new(1, them, key));
    link.update(LinkPath {
        address: Some(SocketAddrV4::new(underlay(1 - host), PORT)),
        path: Path {
            mtu: 1414,
            fragments_arrive: true,
        },
        max_payload: 1472,
    });
    plane.add_link(link);
    let hop = Hop {
        peer: them,
        carrier: Carrier::Sleeve(1),
    };
    let ids = [
        (us, ShortId::try_from(1_u16)?),
        (them, ShortId::try_from(2_u16)?),
    ];
    plane.set_forwarding(Forwarding {
        names: ids.iter().map(|(name, id)| (*id, *name)).collect(),
        ids: ids.into_iter().collect(),
        unicast: [(them, hop)].into_iter().collect(),
        trees: [(us, vec![hop])].into_iter().collect(),
    });
    Ok((plane, tap))
}

fn peer(host: usize) -> PeerName {
    PeerName(if host == 0 { 1 } else { 2 })
}

/// Sends for two seconds and gives the speed in Gbit/s.
fn transfer(hosts: &[Namespace; 2]) -> Result<f64, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let listener = hosts[1]
        .run(|| TcpListener::bind((overlay(1), 5001)))
        .map_err(|error| text(&error))?
        .map_err(|error| text(&error))?;
    let receiver = std::thread::spawn(move || receive(&listener));
    let begun = Instant::now();
    hosts[0]
        .run(send)
        .map_err(|error| text(&error))?
        .map_err(|error| text(&error))?;
    let bytes = receiver
        .join()
        .map_err(|_| "the receiver panicked".to_owned())?
        .map_err(|error| text(&error))?;
    let megabits = u32::try_from(bytes * 8 / 1_000_000).map_err(|error| text(&error))?;
    Ok(f64::from(megabits) / 1000.0 / begun.elapsed().as_secs_f64())
}

fn send() -> std::io::Result<()> {
    let address = (overlay(1), 5001).into();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    let (buffer, begun) = (vec![0; 1 << 17], Instant::now());
    while begun.elapsed() < Duration::from_secs(2) {
        stream.write_all(&buffer)?;
    }
    Ok(())
}

fn receive(listener: &TcpListener) -> std::io::Result<u64> {
    let (mut stream, _) = listener.accept()?;
    let (mut buffer, mut total) = (vec![0; 1 << 17], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            read => total += u64::try_from(read).unwrap_or(0),
        }
    }
}
