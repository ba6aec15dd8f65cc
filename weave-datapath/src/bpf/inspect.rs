//! Whether the fast path is still as [`Device::open`](super::Device::open) left it.
//!
//! Invariant: looking changes nothing. What is found is repaired by opening the device again, which
//! keeps all that still works, and by [`Device::restore`](super::Device::restore).

use std::fmt;

use super::{
    Config, Error, Hook,
    device::{self, is_of},
    maps,
    pins::{CONFIG, LINKS, MAPS, PROGRAMS, Pins},
    programs, tunnel,
};
use crate::netlink::{Link, Netlink};

/// Something that somebody took away or changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Damage {
    /// The pair that joins the overlay to the bridge is gone, or no pair any more. It belongs to the
    /// bridge: put that in order first.
    NoPair {
        /// What is missing, in words.
        reason: String,
    },
    /// The VXLAN device is gone: no frame leaves or arrives.
    TunnelGone {
        /// Its name.
        name: String,
    },
    /// There is a VXLAN device of that name, but not the one that was opened.
    TunnelReplaced {
        /// Its name.
        name: String,
    },
    /// The VXLAN device is down: its UDP port is closed.
    TunnelDown {
        /// Its name.
        name: String,
    },
    /// The VXLAN device is no port of the bridge: frames neither come nor go.
    TunnelApart {
        /// Its name.
        name: String,
    },
    /// The VXLAN device has got a queue: copies would leave with each other's headers.
    TunnelQueues {
        /// Its name.
        name: String,
        /// The queueing discipline.
        qdisc: String,
    },
    /// A pin is missing: the next daemon could not adopt what runs.
    PinGone {
        /// Its name in the directory.
        name: &'static str,
    },
    /// A program does not see its frames any more.
    ProgramDetached {
        /// Its name.
        name: &'static str,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPair { reason } => f.write_str(reason),
            Self::TunnelGone { name } => write!(f, "VXLAN device {name} is gone"),
            Self::TunnelReplaced { name } => write!(f, "VXLAN device {name} is another one"),
            Self::TunnelDown { name } => write!(f, "VXLAN device {name} is down"),
            Self::TunnelApart { name } => write!(f, "VXLAN device {name} is no port of the bridge"),
            Self::TunnelQueues { name, qdisc } => {
                write!(f, "VXLAN device {name} has queueing discipline {qdisc}")
            }
            Self::PinGone { name } => write!(f, "the pin {name} is gone"),
            Self::ProgramDetached { name } => write!(f, "program {name} is not attached"),
        }
    }
}

/// What is wrong with the fast path of `config`; empty when nothing is. To be called every second or
/// so: it costs some netlink requests and system calls. On the clsact hook a filter that was removed
/// is not noticed.
///
/// The calling thread and `netlink` must be in the namespace of the device.
///
/// # Errors
/// [`Error::Netlink`], [`Error::Foreign`], [`Error::Directory`]: it cannot be told.
pub async fn inspect(config: &Config, netlink: &Netlink) -> Result<Vec<Damage>, Error> {
    let (datapath, bridge_port) = match device::pair(netlink, config.datapath()).await {
        Ok(pair) => pair,
        Err(error @ (Error::NoInterface { .. } | Error::NoPair { .. })) => {
            let reason = error.to_string();
            return Ok(vec![Damage::NoPair { reason }]);
        }
        Err(error) => return Err(error),
    };
    let pins = Pins::open(config.dir())?;
    let mut damage = pins_gone(&pins);
    let name = tunnel::name(config.udp_port());
    let Some(tunnel) = tunnel::find(netlink, config.udp_port()).await? else {
        damage.push(Damage::TunnelGone { name });
        return Ok(damage);
    };
    let left = maps::read_config(&pins);
    if left.is_some_and(|left| !is_of(&left, &datapath, &tunnel)) {
        damage.push(Damage::TunnelReplaced { name });
        return Ok(damage);
    }
    damage.extend(of_tunnel(&tunnel, &bridge_port));
    let by_tcx = left.is_some_and(|left| left.hook == Hook::Tcx.number());
    if by_tcx {
        damage.extend(detached(config, &pins, &tunnel));
    }
    Ok(damage)
}

fn pins_gone(pins: &Pins) -> Vec<Damage> {
    let wanted = MAPS.into_iter().chain([CONFIG]).chain(PROGRAMS);
    wanted
        .filter(|name| !pins.has(name))
        .map(|name| Damage::PinGone { name })
        .collect()
}

fn of_tunnel(tunnel: &Link, bridge_port: &Link) -> Vec<Damage> {
    let name = || tunnel.name.clone();
    let mut damage = Vec::new();
    if !tunnel.up {
        damage.push(Damage::TunnelDown { name: name() });
    }
    if tunnel.master.is_none() || tunnel.master != bridge_port.master {
        damage.push(Damage::TunnelApart { name: name() });
    }
    if let Some(qdisc) = tunnel.qdisc.clone().filter(|qdisc| qdisc != "noqueue") {
        damage.push(Damage::TunnelQueues {
            name: name(),
            qdisc,
        });
    }
    damage
}

fn detached(config: &Config, pins: &Pins, tunnel: &Link) -> Vec<Damage> {
    let spots = programs::spots(&tunnel.name, config.tap_name());
    let links = PROGRAMS.into_iter().zip(LINKS).zip(spots);
    links
        .filter(|((_, link), spot)| !programs::is_attached(&pins.path(link), *spot))
        .map(|((name, _), _)| Damage::ProgramDetached { name })
        .collect()
}
