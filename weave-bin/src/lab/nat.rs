//! A router that hides a host behind its own address.
//!
//! It has one rule: what it forwards leaves with its address and a port drawn at random. Nobody has
//! a route to the network behind it, so the host can only dial out; answers find their way back by
//! the kernel's connection tracking.
//!
//! The rule goes to the kernel in one `nf_tables` transaction (`linux/netfilter/nf_tables.h`): table,
//! chain, rule.

use std::io;
use std::os::fd::AsRawFd as _;

use ipnet::IpNet;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use weave_datapath::netlink::Route;

use super::error::Error;
use super::plan::{Nat, Plan};
use super::underlay;

/// Makes the router of `nat`, and the cable to its host. The cable to the switch is one of the
/// plan's.
///
/// # Errors
/// What the kernel refused.
pub(crate) async fn build(plan: &Plan, nat: &Nat) -> Result<(), Error> {
    let router = underlay::open(&nat.namespace)?;
    let host = underlay::open(&plan.hosts[nat.host - 1].namespace)?;
    underlay::write_setting(&router, "net/ipv4/ip_forward", "1").await?;
    let (here, there) = (
        underlay::open_netlink(&host)?,
        underlay::open_netlink(&router)?,
    );
    let refused =
        |error: weave_datapath::netlink::Error| Error::kernel("cable of the router", error);
    here.create_veth_into(PRIVATE, INSIDE, &router, plan.underlay_mtu)
        .await
        .map_err(refused)?;
    for (netlink, device, address) in [(&here, PRIVATE, nat.private), (&there, INSIDE, nat.inside)]
    {
        let index = underlay::find(netlink, device).await?;
        netlink
            .add_address(index, IpNet::V4(address))
            .await
            .map_err(refused)?;
        netlink.set_up(index).await.map_err(refused)?;
    }
    let everywhere = IpNet::V4(ipnet::Ipv4Net::default());
    let index = underlay::find(&here, PRIVATE).await?;
    let route = Route::via(everywhere, nat.inside.addr().into(), index);
    here.add_route(&route).await.map_err(refused)?;
    router
        .run_async(masquerade)
        .await
        .map_err(|error| Error::kernel("router", error))?
        .map_err(|error| Error::kernel("masquerade in the router", error))
}

/// Puts the rule in force in the namespace of the calling thread.
fn masquerade() -> io::Result<()> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    let request = transaction();
    let kernel = NetlinkAddr::new(0, 0);
    sendto(netlink.as_raw_fd(), &request, &kernel, MsgFlags::empty())?;
    let mut answer = [0; 4096];
    // One acknowledgement for each of the three, or the error of the first that failed.
    for _ in 0..ACKNOWLEDGED {
        let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        acknowledged(&answer[..length])?;
    }
    Ok(())
}

/// `Ok`, or the error in an answer of the kernel (`struct nlmsgerr`).
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer
        .get(4..6)
        .map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    let code = answer.get(16..20);
    let (Some(NLMSG_ERROR), Some(&[a, b, c, d])) = (kind, code) else {
        return Err(io::Error::other("the kernel's answer makes no sense"));
    };
    match i32::from_ne_bytes([a, b, c, d]) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

fn transaction() -> Vec<u8> {
    let hook = [
        attribute(1, &4_u32.to_be_bytes()),   // hook: postrouting
        attribute(2, &100_u32.to_be_bytes()), // priority: source NAT
    ]
    .concat();
    let chain = [
        text(1, NAME),
        text(3, NAME),
        nested(4, &hook),
        text(7, "nat"),
    ]
    .concat();
    let flags = attribute(1, &RANDOM_PORTS.to_be_bytes());
    let masquerade = [text(1, "masq"), nested(2, &flags)].concat();
    let rule = [
        text(1, NAME),
        text(2, NAME),
        nested(4, &nested(1, &masquerade)),
    ]
    .concat();
    [
        message(BATCH_BEGIN, 0, 0, TABLES, &[]),
        message(NEW_TABLE, ACK | CREATE, IPV4, 0, &text(1, NAME)),
        message(NEW_CHAIN, ACK | CREATE, IPV4, 0, &chain),
        message(NEW_RULE, ACK | CREATE | APPEND, IPV4, 0, &rule),
        message(BATCH_END, 0, 0, TABLES, &[]),
    ]
    .concat()
}

/// A netlink message with the header of netfilter (`struct nfgenmsg`).
fn message(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).expect("invariant: messages here are short");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    bytes.extend_from_slice(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("invariant: attributes here are short");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, value)
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// Device of the host behind the router.
const PRIVATE: &str = "eth0";
/// Device of the router towards it.
const INSIDE: &str = "inside";
/// Name of table and chain.
const NAME: &str = "weave-lab";
/// Messages with [`ACK`] in the transaction.
const ACKNOWLEDGED: usize = 3;

// linux/netlink.h
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;
// linux/netfilter/nfnetlink.h and nf_tables.h: the subsystem in the upper byte
const TABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = TABLES << 8;
const NEW_CHAIN: u16 = TABLES << 8 | 3;
const NEW_RULE: u16 = TABLES << 8 | 6;
const IPV4: u8 = 2;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`, `linux/netfilter/nf_nat.h`.
const RANDOM_PORTS: u32 = 1 << 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_each_other_without_gaps() {
        let bytes = transaction();

        let mut rest = bytes.as_slice();
        let mut kinds = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap());
            kinds.push(u16::from_ne_bytes(rest[4..6].try_into().unwrap()));
            rest = &rest[usize::try_from(length).unwrap()..];
        }
        assert_eq!(
            kinds,
            [BATCH_BEGIN, NEW_TABLE, NEW_CHAIN, NEW_RULE, BATCH_END]
        );
    }

    #[test]
    fn the_kernels_errors_are_read() {
        let answer = |code: i32| {
            let mut bytes = [0; 36];
            bytes[4] = 2;
            bytes[16..20].copy_from_slice(&code.to_ne_bytes());
            bytes
        };
        assert!(acknowledged(&answer(0)).is_ok());
        let error = acknowledged(&answer(-17)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(17));
        assert!(acknowledged(&[]).is_err());
    }
}
