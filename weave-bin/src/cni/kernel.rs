//! The running kernel as an [`Edge`].

use weave_datapath::attach::{self, Request, Routes};
use weave_datapath::netlink::{self, Netlink, mac_text};
use weave_datapath::netns::{self, Namespace};

use super::edge::{Attached, Bridge, Edge, End, Seen, Wish};
use crate::causes::with_causes;

/// The namespace this process runs in, and those of pods.
#[derive(Debug)]
pub(super) struct Kernel;

impl Edge for Kernel {
    type Netns = Namespace;

    fn open(&self, path: &str) -> Result<Namespace, String> {
        Namespace::open(path).map_err(|error| match error {
            netns::Error::Open { source, .. } => {
                let text = source.to_string().to_lowercase();
                text.split(" (os error")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            }
            other => other.to_string(),
        })
    }

    fn is_own(&self, netns: &Namespace) -> Result<bool, String> {
        let own = Namespace::current().map_err(|error| error.to_string())?;
        Ok(own.is_same_as(netns))
    }

    async fn bridge(&self, name: &str) -> Result<Option<Bridge>, String> {
        let netlink = Netlink::open().map_err(|error| error.to_string())?;
        let link = netlink
            .link_by_name(name)
            .await
            .map_err(|error| error.to_string())?;
        let Some(link) = link.filter(|link| link.is_kind("bridge")) else {
            return Ok(None);
        };
        let addresses = netlink
            .addresses(link.index)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Some(Bridge { addresses }))
    }

    async fn attach(&self, wish: Wish<'_, Namespace>) -> Result<Attached, String> {
        let mut request = Request::new(wish.container_id, wish.netns, wish.ifname);
        request.bridge = wish.bridge.to_owned();
        request.mtu = wish.mtu;
        request.addresses = wish.addresses;
        request.gateways = wish.gateways;
        request.hairpin = wish.hairpin;
        request.routes = match wish.routes {
            None => Routes::Default,
            Some(list) => Routes::List(
                list.iter()
                    .map(|route| attach::Route {
                        dst: route.dst,
                        via: route.gw,
                    })
                    .collect(),
            ),
        };
        let done = attach::attach(&request)
            .await
            .map_err(|error| with_causes(&error))?;
        let end = |side: attach::Interface| End {
            name: side.name,
            mac: mac_text(side.mac),
        };
        Ok(Attached {
            host: end(done.host),
            pod: end(done.pod),
            mtu: done.mtu,
        })
    }

    async fn inspect(
        &self,
        netns: &Namespace,
        ifname: &str,
        bridge: &str,
    ) -> Result<Option<Seen>, String> {
        inspect(netns, ifname, bridge)
            .await
            .map_err(|error| error.to_string())
    }

    async fn detach(
        &self,
        id: &str,
        netns: Option<Namespace>,
        ifname: &str,
    ) -> Result<bool, String> {
        attach::detach(id, netns.as_ref(), ifname)
            .await
            .map_err(|error| with_causes(&error))
    }
}

async fn inspect(
    netns: &Namespace,
    ifname: &str,
    bridge: &str,
) -> Result<Option<Seen>, netlink::Error> {
    let pod = Netlink::open_in(netns)?;
    let Some(link) = pod.link_by_name(ifname).await? else {
        return Ok(None);
    };
    let routes = pod.routes().await?;
    let default_routes = routes
        .iter()
        .filter(|route| route.dst.prefix_len() == 0 && route.dev == Some(link.index))
        .filter_map(|route| route.via)
        .collect();
    let host = Netlink::open()?;
    let other = match link.peer_index.filter(|_| link.peer_elsewhere()) {
        Some(index) => host.link_by_index(index).await?,
        None => None,
    };
    let bridge = host.link_by_name(bridge).await?;
    // The index is of some namespace: only a veth that leads back to ours is the other end.
    let is_on_bridge = other.is_some_and(|other| {
        other.peer_index == Some(link.index)
            && other.master.is_some()
            && other.master == bridge.map(|bridge| bridge.index)
    });
    Ok(Some(Seen {
        is_up: link.up,
        is_on_bridge,
        addresses: pod.addresses(link.index).await?,
        default_routes,
    }))
}
