//! The running kernel as an [`Edge`].

use weave_datapath::attach::{self, Request, Routes};
use weave_datapath::netlink::{Netlink, mac_text};
use weave_datapath::netns::{self, Namespace};

use super::edge::{Attached, Bridge, Edge, End, Wish};

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
        request.gateway = wish.gateway;
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
            .map_err(|error| chain(&error))?;
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

    async fn detach(
        &self,
        id: &str,
        netns: Option<Namespace>,
        ifname: &str,
    ) -> Result<bool, String> {
        attach::detach(id, netns.as_ref(), ifname)
            .await
            .map_err(|error| chain(&error))
    }
}

/// An error with its causes, where they are not in its own words.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}
