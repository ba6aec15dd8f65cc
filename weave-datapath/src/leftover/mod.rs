//! What a Weave Net leaves on a host that route netlink does not reach: IP sets, and the Open vSwitch
//! data path.
//!
//! Calls block for microseconds and act on the network namespace of the calling thread.

mod message;

use std::io;

use message::{Attributes, Connection, attribute};
use nix::sys::socket::SockProtocol;

/// Names of the IP sets; empty where the kernel has none.
///
/// # Errors
/// What the kernel says, usually for lack of `CAP_NET_ADMIN`.
pub fn ip_sets() -> io::Result<Vec<String>> {
    let mut netfilter = Connection::open(SockProtocol::NetlinkNetFilter)?;
    let mut body = IPSET_HEAD.to_vec();
    body.extend(attribute(IPSET_PROTOCOL, &[IPSET_VERSION]));
    body.extend(attribute(IPSET_FLAGS, &LIST_NAMES.to_be_bytes()));
    let answers = match netfilter.ask(ipset(IPSET_LIST), message::DUMP, &body) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        answers => answers?,
    };
    let names = answers.iter().filter_map(|answer| {
        let attributes = Attributes(answer.get(IPSET_HEAD.len()..)?);
        attributes.text(IPSET_NAME)
    });
    Ok(names.collect())
}

/// Destroys an IP set; `false` when there is none of that name. A set that a rule uses stays, and that
/// is the error; the kernel forgets the use of a deleted rule a moment later.
///
/// # Errors
/// What the kernel says.
pub fn destroy_ip_set(name: &str) -> io::Result<bool> {
    let mut netfilter = Connection::open(SockProtocol::NetlinkNetFilter)?;
    let mut body = IPSET_HEAD.to_vec();
    body.extend(attribute(IPSET_PROTOCOL, &[IPSET_VERSION]));
    body.extend(attribute(IPSET_NAME, &with_zero(name)));
    match netfilter.ask(ipset(IPSET_DESTROY), message::ACK | message::STRICT, &body) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes an Open vSwitch data path with all its ports; interfaces that were ports stay. `false` when
/// there is none of that name, or no Open vSwitch in the kernel.
///
/// # Errors
/// What the kernel says.
pub fn delete_datapath(name: &str) -> io::Result<bool> {
    let mut generic = Connection::open(SockProtocol::NetlinkGeneric)?;
    let mut body = vec![GET_FAMILY, CONTROL_VERSION, 0, 0];
    body.extend(attribute(FAMILY_NAME, &with_zero("ovs_datapath")));
    let answers = match generic.ask(CONTROL, message::ACK, &body) {
        Err(error) if is_absent(&error) => return Ok(false),
        answers => answers?,
    };
    let family = answers
        .iter()
        .find_map(|answer| Attributes(answer.get(4..)?).number(FAMILY_ID))
        .ok_or_else(|| io::Error::other("the kernel does not tell the family ovs_datapath"))?;
    let mut body = vec![DATAPATH_DELETE, DATAPATH_VERSION, 0, 0];
    // `struct ovs_header`: the data path is named instead of numbered.
    body.extend([0; 4]);
    body.extend(attribute(DATAPATH_NAME, &with_zero(name)));
    match generic.ask(family, message::ACK, &body) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    let absent = [nix::libc::ENOENT, nix::libc::ENODEV, nix::libc::EINVAL];
    // A kernel without IP sets does not know the message at all: EINVAL.
    error
        .raw_os_error()
        .is_some_and(|code| absent.contains(&code))
}

fn with_zero(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn ipset(command: u16) -> u16 {
    NFNL_SUBSYS_IPSET << 8 | command
}

/// `linux/netfilter/nfnetlink.h`.
const NFNL_SUBSYS_IPSET: u16 = 6;
/// `struct nfgenmsg` for IPv4.
const IPSET_HEAD: [u8; 4] = [2, 0, 0, 0];
/// `linux/netfilter/ipset/ip_set.h`.
const IPSET_VERSION: u8 = 6;
const IPSET_DESTROY: u16 = 3;
const IPSET_LIST: u16 = 7;
const IPSET_PROTOCOL: u16 = 1;
const IPSET_NAME: u16 = 2;
const IPSET_FLAGS: u16 = 6 | NET_BYTEORDER;
const NET_BYTEORDER: u16 = 1 << 14;
/// `IPSET_FLAG_LIST_SETNAME`.
const LIST_NAMES: u32 = 1 << 1;
/// `linux/genetlink.h`: the controller, its request for a family and the attributes of that.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const CONTROL_VERSION: u8 = 1;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `linux/openvswitch.h`.
const DATAPATH_VERSION: u8 = 2;
const DATAPATH_DELETE: u8 = 2;
const DATAPATH_NAME: u16 = 1;
