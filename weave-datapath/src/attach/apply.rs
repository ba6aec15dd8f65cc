//! Running a plan on host and pod.

use std::time::Duration;

use super::{
    Attachment, Error, Existing, Interface, Observed, Request, Side, Step, StepError, host_names,
    plan, plan as steps, undo,
};
use crate::{
    netlink::{self, Link, Netlink},
    netns::Namespace,
    sysctl::{self, Setting, Values},
};

/// Joins a pod to a bridge of the network namespace of the calling thread.
///
/// Idempotent: a second call with the same request changes nothing, one after a partial removal
/// restores what is missing. On failure, what this call did is taken back.
///
/// # Errors
/// See [`Error`].
///
/// # Cancel safety
/// Not cancel safe: a dropped future leaves what was done so far. Call again, or [`detach`](super::detach).
pub async fn attach(request: &Request) -> Result<Attachment, Error> {
    let host = Namespace::current().map_err(|error| unobserved(request, error))?;
    attach_from(&host, request).await
}

/// What [`attach`] would do, in order, without doing it; empty when everything is in place.
///
/// # Errors
/// See [`Error`].
pub async fn preview(request: &Request) -> Result<Vec<Step>, Error> {
    let host = Namespace::current().map_err(|error| unobserved(request, error))?;
    preview_from(&host, request).await
}

/// [`preview`] for a bridge of the namespace `host`.
///
/// # Errors
/// See [`Error`].
pub async fn preview_from(host: &Namespace, request: &Request) -> Result<Vec<Step>, Error> {
    let observed = Ends::open(host, request)?.observe().await?;
    Ok(plan(request, &observed))
}

/// [`attach`] to a bridge of the namespace `host`.
///
/// # Errors
/// See [`Error`].
pub async fn attach_from(host: &Namespace, request: &Request) -> Result<Attachment, Error> {
    let mut ends = Ends::open(host, request)?;
    let mut attempt = 1;
    loop {
        let observed = ends.observe().await?;
        match ends.run(&observed).await {
            Ok(changes) => return Ok(ends.attachment(&observed, changes)),
            // Another attach took the name, or made this very interface, after we looked.
            Err(Error::Step { source, left, .. })
                if source.is_exists() && left.is_empty() && attempt < ATTEMPTS =>
            {
                tracing::debug!(container = %request.container_id, attempt, "name taken, again");
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Both ends of one attach.
struct Ends<'a> {
    request: &'a Request,
    host: Netlink,
    pod: Netlink,
    host_namespace: &'a Namespace,
    pair: Option<(Link, Link)>,
}

// ===== looking =====

impl<'a> Ends<'a> {
    fn open(host: &'a Namespace, request: &'a Request) -> Result<Self, Error> {
        request.check()?;
        if host.is_same_as(&request.netns) {
            return Err(Error::HostNamespace);
        }
        let open =
            |namespace| Netlink::open_in(namespace).map_err(|error| unobserved(request, error));
        Ok(Self {
            request,
            host: open(host)?,
            pod: open(&request.netns)?,
            host_namespace: host,
            pair: None,
        })
    }
}

impl Ends<'_> {
    async fn observe(&mut self) -> Result<Observed, Error> {
        let request = self.request;
        let failed = |error| unobserved(request, error);
        let first_name = host_names(&request.container_id).next();
        let first_name = first_name.expect("invariant: there are names for every container id");
        let (bridge, pod, first) = tokio::try_join!(
            self.host.link_by_name(&request.bridge),
            self.pod.link_by_name(&request.ifname),
            self.host.link_by_name(&first_name),
        )
        .map_err(failed)?;
        let name = || request.bridge.clone();
        let bridge = bridge.ok_or_else(|| Error::NoBridge { name: name() })?;
        if !bridge.is_kind("bridge") {
            let found = bridge.kind.unwrap_or_else(|| "physical device".to_owned());
            return Err(Error::NotABridge {
                name: name(),
                found,
            });
        }
        let mtu = request.mtu.unwrap_or(bridge.mtu);
        if request.has_v6() && mtu < IPV6_MIN_MTU {
            return Err(Error::MtuForIpv6 { mtu });
        }
        self.pair = None;
        let Some(pod) = pod else {
            let host_name = match first {
                None => first_name,
                Some(_) => self.free_name().await?,
            };
            return Ok(Observed {
                bridge,
                host_name,
                existing: None,
            });
        };
        let host = self.host_end(&pod).await?;
        self.pair = Some((host.clone(), pod.clone()));
        let host_name = host.name.clone();
        Ok(Observed {
            bridge,
            host_name,
            existing: Some(self.existing(host, pod).await?),
        })
    }

    async fn existing(&self, host: Link, pod: Link) -> Result<Existing, Error> {
        let request = self.request;
        let (addresses, routes) =
            tokio::try_join!(self.pod.addresses(pod.index), self.pod.routes())
                .map_err(|error| unobserved(request, error))?;
        let on_host = &steps::host_settings(&host.name);
        let in_pod = &steps::pod_settings(&pod.name, request.has_v6());
        let values = |namespace, wanted| {
            values(namespace, wanted).map_err(|error| unobserved(request, error))
        };
        let host_settings = values(self.host_namespace, on_host)?;
        let pod_settings = values(&request.netns, in_pod)?;
        Ok(Existing {
            host,
            pod,
            addresses,
            routes,
            host_settings,
            pod_settings,
        })
    }

    /// The other end of an interface found in the pod; an error unless the pair is ours.
    async fn host_end(&self, pod: &Link) -> Result<Link, Error> {
        let occupied = |why: String| Error::Occupied {
            ifname: pod.name.clone(),
            netns: self.request.netns.path().display().to_string(),
            why,
        };
        let Some(index) = pod.peer_index.filter(|_| pod.peer_elsewhere()) else {
            return Err(occupied(
                "is not the end of a pair that starts on the host".to_owned(),
            ));
        };
        let found = self.host.link_by_index(index).await;
        let found = found.map_err(|error| unobserved(self.request, error))?;
        // The index alone proves nothing: the other end may be in a third namespace.
        let Some(host) = found.filter(|link| link.peer_index == Some(pod.index)) else {
            return Err(occupied("belongs to another network".to_owned()));
        };
        let id = &self.request.container_id;
        match host.alias.as_deref() {
            Some(alias) if alias == id => Ok(host),
            Some(alias) => Err(occupied(format!("belongs to container {alias}"))),
            // Made by Weave Net, or by an attach that is being run beside this one.
            None if host_names(id).any(|name| name == host.name) => Ok(host),
            None => Err(occupied(format!("its host end is {}", host.name))),
        }
    }

    /// A name that no link of the host has, given that the first is taken.
    async fn free_name(&self) -> Result<String, Error> {
        let request = self.request;
        for name in host_names(&request.container_id).skip(1) {
            let taken = self.host.link_by_name(&name).await;
            if taken.map_err(|error| unobserved(request, error))?.is_none() {
                return Ok(name);
            }
        }
        Err(Error::NoName {
            container_id: request.container_id.clone(),
        })
    }
}

// ===== doing =====

impl Ends<'_> {
    async fn run(&mut self, observed: &Observed) -> Result<Vec<Step>, Error> {
        let mut done = Vec::new();
        for step in plan(self.request, observed) {
            match self.apply(&step).await {
                // An address or route that appeared meanwhile is not ours to take back.
                Ok(false) => {}
                Ok(true) => done.push(step),
                Err(source) => return Err(self.take_back(&step, source, &done, observed).await),
            }
        }
        Ok(done)
    }

    async fn take_back(
        &mut self,
        step: &Step,
        source: StepError,
        done: &[Step],
        observed: &Observed,
    ) -> Error {
        let mut left = Vec::new();
        for step in undo(done, observed) {
            if let Err(error) = self.apply(&step).await {
                left.push(error);
            }
        }
        let container_id = self.request.container_id.clone();
        Error::Step {
            container_id,
            step: step.to_string(),
            source: Box::new(source),
            left,
        }
    }

    /// Applies one step; `false` when it found nothing to do.
    async fn apply(&mut self, step: &Step) -> Result<bool, StepError> {
        if let Step::CreatePair { host, pod, mtu } = step {
            self.create(host, pod, *mtu).await?;
            return Ok(true);
        }
        let Some((host, pod)) = &self.pair else {
            return Ok(false);
        };
        let changed = match step {
            Step::CreatePair { .. } => false,
            Step::DeletePair => accept_missing(self.host.delete_link(host.index).await)?,
            Step::Alias(text) => self.host.set_alias(host.index, text).await.map(|()| true)?,
            Step::Settings(side, settings) => self.write(*side, settings)?,
            Step::Master(bridge) => self
                .host
                .set_master(host.index, *bridge)
                .await
                .map(|()| true)?,
            Step::Hairpin(on) => self
                .host
                .set_hairpin(host.index, *on)
                .await
                .map(|()| true)?,
            Step::AddAddress(address) => self.pod.add_address(pod.index, *address).await?,
            Step::DeleteAddress(address) => self.pod.delete_address(pod.index, *address).await?,
            Step::Up(Side::Pod) => self.pod.set_up(pod.index).await.map(|()| true)?,
            Step::Up(Side::Host) => {
                self.host.set_up(host.index).await?;
                self.wait_for_carrier(host, pod).await?;
                true
            }
            Step::Down(Side::Host) => self.host.set_down(host.index).await.map(|()| true)?,
            Step::Down(Side::Pod) => self.pod.set_down(pod.index).await.map(|()| true)?,
            Step::AddRoute(route) => self.pod.add_route(&in_pod(route, pod)).await?,
            Step::DeleteRoute(route) => self.pod.delete_route(&in_pod(route, pod)).await?,
            // Setting the address it has makes the kernel send a broadcast ARP request (IPv6: an
            // unsolicited advertisement) for each address. A packet socket could send the same, but
            // closing one waits for an RCU grace period: 16 ms, several times all the rest.
            Step::Announce => {
                let mac = pod.mac.unwrap_or_default();
                self.pod.set_mac(pod.index, mac).await.map(|()| true)?
            }
        };
        Ok(changed)
    }

    async fn create(&mut self, host: &str, pod: &str, mtu: u32) -> Result<(), StepError> {
        self.host
            .create_veth_into(host, pod, &self.request.netns, mtu)
            .await?;
        let found = tokio::try_join!(self.host.require_link(host), self.pod.require_link(pod));
        match found {
            Ok(pair) => self.pair = Some(pair),
            Err(error) => {
                // Not yet among the steps done, so nobody else would take it back.
                if let Ok(Some(link)) = self.host.link_by_name(host).await {
                    drop(self.host.delete_link(link.index).await);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn write(&self, side: Side, settings: &[Setting]) -> Result<bool, StepError> {
        let namespace = match side {
            Side::Host => self.host_namespace,
            Side::Pod => &self.request.netns,
        };
        let work = || {
            for setting in settings {
                if let Err(source) = setting.write() {
                    let setting = setting.to_string();
                    return Err(StepError::Setting { setting, source });
                }
            }
            Ok(true)
        };
        namespace.visit(work)?
    }

    /// Waits until frames sent from the pod really leave: right after an end comes up, the kernel
    /// has not given it a queue yet and the bridge has not opened its port.
    async fn wait_for_carrier(&self, host: &Link, pod: &Link) -> Result<(), netlink::Error> {
        for _ in 0..CARRIER_POLLS {
            let (host, pod) = tokio::try_join!(
                self.host.link_by_index(host.index),
                self.pod.link_by_index(pod.index),
            )?;
            let ready = |link: Option<Link>| link.is_some_and(|link| link.running);
            if ready(host) && ready(pod) {
                return Ok(());
            }
            tokio::time::sleep(CARRIER_PAUSE).await;
        }
        tracing::warn!(container = %self.request.container_id, "no carrier yet, going on");
        Ok(())
    }

    fn attachment(&self, observed: &Observed, changes: Vec<Step>) -> Attachment {
        let (host, pod) = self
            .pair
            .as_ref()
            .expect("invariant: a plan that ran to its end has found or created the pair");
        let interface = |link: &Link| Interface {
            name: link.name.clone(),
            mac: link.mac.unwrap_or_default(),
            index: link.index,
        };
        Attachment {
            host: interface(host),
            pod: interface(pod),
            mtu: pod.mtu,
            created: observed.existing.is_none(),
            changes,
        }
    }
}

fn in_pod(route: &super::Route, pod: &Link) -> netlink::Route {
    match route.via {
        Some(via) => netlink::Route::via(route.dst, via, pod.index),
        None => netlink::Route::on_link(route.dst, pod.index),
    }
}

fn accept_missing(outcome: Result<(), netlink::Error>) -> Result<bool, netlink::Error> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

fn values(namespace: &Namespace, wanted: &[Setting]) -> Result<Values, StepError> {
    let read = || sysctl::read(wanted.iter().map(|setting| &setting.key));
    Ok(namespace.visit(read)?)
}

fn unobserved(request: &Request, error: impl Into<StepError>) -> Error {
    Error::Observe {
        container_id: request.container_id.clone(),
        source: error.into(),
    }
}

/// Below, a link has no IPv6 (RFC 8200, section 5); bytes.
const IPV6_MIN_MTU: u32 = 1280;

/// Parallel attaches of containers whose ids begin alike race for names; each attempt sees at least
/// one more name taken.
const ATTEMPTS: usize = 16;

/// At most 20 ms; kernels since 6.8 answer the first look truthfully (`linkwatch_sync_dev`).
const CARRIER_POLLS: usize = 40;
const CARRIER_PAUSE: Duration = Duration::from_micros(500);
