//! The bridge as somebody else may leave it: down, gone, without its ports.
//!
//! Invariant: what was a port of the bridge before it went is one again after it is made anew, with
//! the same hairpin and flood flags, and the addresses are back.

use std::collections::BTreeMap;

use ipnet::IpNet;
use tracing::warn;
use weave_datapath::bridge::{self, Config};
use weave_datapath::netlink::{Link, Netlink};

/// The bridge and its ports, as they were when they were last seen whole.
#[derive(Debug)]
pub(super) struct Links {
    config: Config,
    netlink: Netlink,
    index: Option<u32>,
    ports: BTreeMap<String, Port>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Port {
    hairpin: Option<bool>,
    flood: Option<bool>,
}

impl Links {
    pub(super) fn new(config: Config, netlink: Netlink) -> Self {
        Self {
            config,
            netlink,
            index: None,
            ports: BTreeMap::new(),
        }
    }

    /// Looks, repairs and remembers; `addresses` belong on the bridge. What had to be done, in words.
    ///
    /// # Errors
    /// What could not be repaired, in words.
    pub(super) async fn check(
        &mut self,
        addresses: impl Iterator<Item = IpNet>,
    ) -> Result<Vec<String>, String> {
        let bridge = self.netlink.link_by_name(&self.config.name).await;
        if let Some(bridge) = bridge.map_err(|error| error.to_string())? {
            // The MTU is for others to choose.
            self.config.mtu = bridge.mtu;
        }
        let made = bridge::ensure(&self.config)
            .await
            .map_err(|error| error.to_string())?;
        let mut done: Vec<String> = made.changes.iter().map(ToString::to_string).collect();
        let is_other = self.index.is_some_and(|index| index != made.index);
        if is_other {
            for address in addresses {
                match self.netlink.add_address(made.index, address).await {
                    Ok(_) => done.push(format!("put {address} back on {}", self.config.name)),
                    Err(error) => warn!("{address} is not back on the bridge: {error}"),
                }
            }
        }
        let links = self.netlink.links().await;
        let links = links.map_err(|error| error.to_string())?;
        for link in &links {
            if let Some(port) = self.ports.get(&link.name)
                && link.master.is_none()
                && (is_other || is_our_name(&link.name))
            {
                self.rejoin(link, *port, made.index).await?;
                done.push(format!("made {} a port again", link.name));
            }
        }
        self.index = Some(made.index);
        self.remember(&links, made.index);
        Ok(done)
    }

    fn remember(&mut self, links: &[Link], bridge: u32) {
        let ports = links.iter().filter(|link| link.master == Some(bridge));
        let fresh: Vec<(String, Port)> = ports
            .map(|link| {
                let port = Port {
                    hairpin: link.hairpin,
                    flood: link.flood,
                };
                (link.name.clone(), port)
            })
            .collect();
        // Ports that were joined just now are not in this list yet, and stay remembered.
        self.ports
            .retain(|name, _| links.iter().any(|link| link.name == *name));
        self.ports.extend(fresh);
    }

    async fn rejoin(&self, link: &Link, port: Port, bridge: u32) -> Result<(), String> {
        let failed = |error: weave_datapath::netlink::Error| error.to_string();
        let netlink = &self.netlink;
        netlink
            .set_master(link.index, Some(bridge))
            .await
            .map_err(failed)?;
        if port.hairpin == Some(true) {
            let set = netlink.set_hairpin(link.index, true).await;
            set.map_err(failed)?;
        }
        if port.flood == Some(false) {
            let set = netlink.set_flood(link.index, false).await;
            set.map_err(failed)?;
        }
        Ok(())
    }
}

/// Links that nobody but us takes off the bridge on purpose.
fn is_our_name(name: &str) -> bool {
    name.starts_with("vethwe")
}
