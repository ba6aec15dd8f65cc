//! `weaveutil`: the small program that Weave Net's scripts call, as far as it makes sense here.
//!
//! Nothing of ours needs it. What concerns Docker or Open vSwitch is not there: the kernel's
//! datapath is not used, so asking for one answers as on a kernel without it.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use weave_datapath::netcheck;
use weave_datapath::netlink::{self, Netlink, mac_text};

use super::{memory, runtime};
use crate::cni::{self, Plugin};
use crate::daemon::peername::{Clues, Identity};
use crate::host::attached::attached;
use crate::stdout;
use crate::store::{self, Store};

/// Runs the sub-command that `words` name.
pub fn run(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, arguments) = words
        .split_first()
        .map_or(("", &[][..]), |(name, rest)| (*name, rest));
    let outcome = match (name, arguments) {
        ("cni-net", _) => return cni::run(Plugin::Net),
        ("cni-ipam", _) => return cni::run(Plugin::Ipam),
        ("netcheck", [range, ignored @ ..]) => check(range, ignored),
        ("unique-id", [prefix, root]) => unique_id(prefix, root),
        ("get-db-flag", [prefix, name]) => read_flag(prefix, name),
        ("set-db-flag", [prefix, name, value]) => write_flag(prefix, name, value),
        ("detect-bridge-type", [bridge, datapath]) => bridge_type(bridge, datapath),
        ("bridge-ip", [bridge]) => bridge_address(bridge),
        ("process-addrs", [bridge]) => process_addresses(bridge),
        ("create-datapath" | "check-datapath" | "add-datapath-interface", _) => {
            return ExitCode::from(NO_DATAPATH);
        }
        ("delete-datapath", _) => Ok(()),
        (known, _) if NAMES.contains(&known) => {
            eprintln!("{known}: wrong number of arguments");
            return ExitCode::FAILURE;
        }
        _ => {
            eprintln!(
                "{name:?} cmd is not found. Available commands:\n{}",
                NAMES.join("\n")
            );
            return ExitCode::FAILURE;
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(UtilityError::Silent) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a sub-command fails.
#[derive(Debug, thiserror::Error)]
enum UtilityError {
    #[error("{0:?} is no network such as 10.32.0.0/12")]
    Network(String),
    #[error("Network {range} overlaps with existing route {route} on host")]
    NetworkOverlaps { range: IpNet, route: IpNet },
    #[error("Address {address} overlaps with existing route {route} on host")]
    AddressOverlaps { address: IpNet, route: IpNet },
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("All system IDs are blank")]
    NoIdentity,
    #[error("cannot start")]
    NoRuntime,
    #[error("")]
    Silent,
}

fn block_on<T>(future: impl Future<Output = Result<T, UtilityError>>) -> Result<T, UtilityError> {
    runtime()
        .map_err(|_| UtilityError::NoRuntime)?
        .block_on(future)
}

/// Fails when the network or address `text` is routed on this host, but for the interfaces
/// `ignored`. Host bits make it an address.
fn check(text: &str, ignored: &[&str]) -> Result<(), UtilityError> {
    let given: IpNet = text
        .parse()
        .map_err(|_| UtilityError::Network(text.to_owned()))?;
    block_on(async {
        let netlink = Netlink::open()?;
        let links = netlink.links().await?;
        let is_ignored = |name: &String| ignored.contains(&name.as_str());
        let ignored: Vec<u32> = links
            .iter()
            .filter(|link| is_ignored(&link.name))
            .map(|link| link.index)
            .collect();
        let routes = netlink.routes().await?;
        let is_address = given.trunc() != given;
        let range = if is_address {
            IpNet::from(given.addr())
        } else {
            given
        };
        match netcheck::overlaps(range, &routes, &ignored).map(|route| route.dst) {
            None => Ok(()),
            Some(route) if is_address => Err(UtilityError::AddressOverlaps {
                address: given,
                route,
            }),
            Some(route) => Err(UtilityError::NetworkOverlaps { range, route }),
        }
    })
}

/// Prints the peer name this host has by its state file or its identity.
fn unique_id(prefix: &str, root: &str) -> Result<(), UtilityError> {
    let stored = Store::new(Path::new(prefix)).load()?;
    let clues = Clues {
        stored: stored.and_then(|state| state.peer_name.parse().ok()),
        identity: Identity::read(Path::new(root), Path::new("/sys")),
        ..Clues::default()
    };
    if clues.stored.is_none() && clues.identity.name().is_none() {
        return Err(UtilityError::NoIdentity);
    }
    stdout::show(clues.name([0; 6]).0);
    Ok(())
}

fn read_flag(prefix: &str, name: &str) -> Result<(), UtilityError> {
    let store = Store::new(Path::new(prefix));
    let until = Instant::now() + FLAG_PATIENCE;
    // A daemon that runs keeps the file to itself, and then there is no answer.
    while let Err(error @ store::Error::Locked(_)) = store.open() {
        if Instant::now() >= until {
            tracing::debug!("{error}");
            return Err(UtilityError::Silent);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let value = store.flag(name)?.ok_or(UtilityError::Silent)?;
    stdout::show(value);
    Ok(())
}

fn write_flag(prefix: &str, name: &str, value: &str) -> Result<(), UtilityError> {
    let store = Store::new(Path::new(prefix));
    block_on(async { Ok(memory::set_flag(&store, name, value).await?) })
}

/// What the bridge is made of; `bridged_fastdp` and `fastdp` are Open vSwitch's.
fn bridge_type(bridge: &str, datapath: &str) -> Result<(), UtilityError> {
    block_on(async {
        stdout::show_line(kind_of_bridge(bridge, datapath).await?);
        Ok(())
    })
}

/// `none`, `bridge`, `bridged_fastdp` or `fastdp`.
pub(crate) async fn kind_of_bridge(
    bridge: &str,
    datapath: &str,
) -> Result<&'static str, netlink::Error> {
    let netlink = Netlink::open()?;
    let kind = async |name| -> Result<Option<String>, netlink::Error> {
        let link = netlink.link_by_name(name).await?;
        Ok(link.map(|link| link.kind.unwrap_or_default()))
    };
    let (bridge, datapath) = (kind(bridge).await?, kind(datapath).await?);
    Ok(match (bridge.as_deref(), datapath.as_deref()) {
        (Some("openvswitch"), _) => "fastdp",
        (Some("bridge"), Some("openvswitch")) => "bridged_fastdp",
        (Some("bridge"), _) => "bridge",
        _ => "none",
    })
}

/// Prints what is on the bridge: a process, its hardware address and its addresses.
fn process_addresses(bridge: &str) -> Result<(), UtilityError> {
    block_on(async {
        for one in attached(bridge).await? {
            let (Some(process), Some(mac)) = (one.process, one.mac) else {
                continue;
            };
            let addresses: Vec<String> = one.addresses.iter().map(IpNet::to_string).collect();
            let (mac, addresses) = (mac_text(mac), addresses.join(" "));
            stdout::show_line(format_args!("{process} {mac} {addresses}"));
        }
        Ok(())
    })
}

fn bridge_address(bridge: &str) -> Result<(), UtilityError> {
    block_on(async {
        let netlink = Netlink::open()?;
        let link = netlink.require_link(bridge).await?;
        let addresses = netlink.addresses(link.index).await?;
        let first = addresses
            .iter()
            .find(|address| matches!(address, IpNet::V4(_)));
        stdout::show(first.ok_or(UtilityError::Silent)?.addr());
        Ok(())
    })
}

const NAMES: [&str; 13] = [
    "add-datapath-interface",
    "bridge-ip",
    "check-datapath",
    "cni-ipam",
    "cni-net",
    "create-datapath",
    "delete-datapath",
    "detect-bridge-type",
    "get-db-flag",
    "netcheck",
    "process-addrs",
    "set-db-flag",
    "unique-id",
];
/// What Weave Net's program says on a kernel without Open vSwitch.
const NO_DATAPATH: u8 = 17;
const FLAG_PATIENCE: Duration = Duration::from_millis(50);
