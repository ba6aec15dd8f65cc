//! Laws of the plan, on a model of one pair.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample::select, sample::subsequence};

use super::{
    Existing, Observed, Request, Route, Routes, Side, Step, plan,
    plan::{host_settings, pod_settings},
    undo,
};
use crate::{
    netlink::{self, Link},
    netns::Namespace,
    sysctl::{Key, Setting},
};

const ID: &str = "0123456789abcdef";
const BRIDGE: u32 = 7;

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    pair: Option<Pair>,
}

#[derive(Debug, Clone, PartialEq)]
struct Pair {
    host: Link,
    pod: Link,
    addresses: BTreeSet<IpNet>,
    routes: Vec<Route>,
    host_settings: BTreeMap<Key, String>,
    pod_settings: BTreeMap<Key, String>,
}

// ===== the model =====

impl Model {
    fn observe(&self) -> Observed {
        let bridge = Link {
            index: BRIDGE,
            name: "weave".to_owned(),
            kind: Some("bridge".to_owned()),
            mtu: 1376,
            ..Link::default()
        };
        let existing = self.pair.as_ref().map(|pair| Existing {
            host: pair.host.clone(),
            pod: pair.pod.clone(),
            addresses: pair.addresses.iter().copied().collect(),
            routes: pair
                .routes
                .iter()
                .map(|route| in_pod(route, pair.pod.index))
                .collect(),
            host_settings: pair.host_settings.clone(),
            pod_settings: pair.pod_settings.clone(),
        });
        Observed {
            bridge,
            host_name: "vethwepl0123456".to_owned(),
            existing,
        }
    }

    /// Applies one step; `false` when it found nothing to do, as the kernel edge reports it.
    fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::CreatePair { host, pod, mtu } => {
                assert!(self.pair.is_none(), "created twice");
                self.pair = Some(Pair::new(host, pod, *mtu));
                return true;
            }
            Step::DeletePair => return self.pair.take().is_some(),
            _ => {}
        }
        self.pair.as_mut().expect("a pair to work on").apply(step)
    }

    fn run(&mut self, steps: Vec<Step>) -> Vec<Step> {
        steps.into_iter().filter(|step| self.apply(step)).collect()
    }
}

impl Pair {
    fn new(host: &str, pod: &str, mtu: u32) -> Self {
        let veth = |name: &str, index: u32| Link {
            index,
            name: name.to_owned(),
            kind: Some("veth".to_owned()),
            mtu,
            ..Link::default()
        };
        let defaults = |settings: Vec<Setting>| {
            settings
                .into_iter()
                .map(|setting| (setting.key, "default".to_owned()))
                .collect()
        };
        Self {
            host: veth(host, 11),
            pod: veth(pod, 12),
            addresses: BTreeSet::new(),
            routes: Vec::new(),
            host_settings: defaults(host_settings(host)),
            pod_settings: defaults(pod_settings(pod, true)),
        }
    }

    fn link(&mut self, side: Side) -> &mut Link {
        match side {
            Side::Host => &mut self.host,
            Side::Pod => &mut self.pod,
        }
    }

    fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::Alias(text) => {
                self.host.alias = Some(text.clone()).filter(|text| !text.is_empty());
            }
            Step::Settings(side, settings) => {
                let values = match side {
                    Side::Host => &mut self.host_settings,
                    Side::Pod => &mut self.pod_settings,
                };
                for setting in settings {
                    if let Some(value) = values.get_mut(&setting.key) {
                        value.clone_from(&setting.value);
                    }
                }
            }
            Step::Master(bridge) => {
                self.host.master = *bridge;
                self.host.hairpin = bridge.map(|_| false);
            }
            Step::Hairpin(on) => {
                assert!(self.host.master.is_some(), "no port");
                self.host.hairpin = Some(*on);
            }
            Step::AddAddress(address) => return self.addresses.insert(*address),
            Step::DeleteAddress(address) => return self.addresses.remove(address),
            Step::Up(side) => self.link(*side).up = true,
            Step::Down(side) => self.link(*side).up = false,
            Step::AddRoute(route) => {
                assert!(self.pod.up && self.host.up, "routes need a carrier");
                self.assert_reachable(route);
                if self.routes.contains(route) {
                    return false;
                }
                self.routes.push(*route);
            }
            Step::DeleteRoute(route) => self.routes.retain(|other| other != route),
            Step::Announce => assert!(self.pod.up && self.host.up, "announced to nobody"),
            Step::CreatePair { .. } | Step::DeletePair => unreachable!("handled by the model"),
        }
        true
    }

    fn assert_reachable(&self, route: &Route) {
        let Some(via) = route.via else { return };
        let connected = self.addresses.iter().any(|net| net.contains(&via));
        let on_link = self
            .routes
            .iter()
            .any(|other| other.via.is_none() && other.dst.contains(&via));
        assert!(connected || on_link, "{via} cannot be reached");
    }

    fn assert_target(&self, request: &Request) {
        assert_eq!(self.host.alias.as_deref(), Some(ID));
        assert_eq!(
            (self.host.master, self.host.hairpin),
            (Some(BRIDGE), Some(request.hairpin))
        );
        assert!(self.host.up && self.pod.up);
        assert!(
            request
                .addresses
                .iter()
                .all(|address| self.addresses.contains(address))
        );
        assert!(
            request
                .route_list()
                .iter()
                .all(|route| self.routes.contains(route))
        );
        for setting in host_settings(&self.host.name) {
            assert!(
                self.host_settings
                    .get(&setting.key)
                    .is_none_or(|v| *v == setting.value)
            );
        }
        for setting in pod_settings(&self.pod.name, request.has_v6()) {
            assert!(
                self.pod_settings
                    .get(&setting.key)
                    .is_none_or(|v| *v == setting.value)
            );
        }
    }
}

fn in_pod(route: &Route, dev: u32) -> netlink::Route {
    match route.via {
        Some(via) => netlink::Route::via(route.dst, via, dev),
        None => netlink::Route::on_link(route.dst, dev),
    }
}

// ===== what may be asked for, and where a plan may start =====

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn addresses() -> Vec<IpNet> {
    nets(&[
        "10.32.0.2/12",
        "10.40.0.2/32",
        "192.168.7.2/24",
        "fd00:32::2/64",
    ])
}

fn gateways() -> Vec<IpAddr> {
    ips(&[
        "10.32.0.1",
        "192.168.7.1",
        "172.16.0.1",
        "fd00:32::1",
        "fe80::1",
    ])
}

fn route() -> impl Strategy<Value = Route> {
    let destinations = nets(&["0.0.0.0/0", "10.99.3.4/16", "::/0", "fd00:99::/48"]);
    (select(destinations), option::of(select(gateways()))).prop_map(|(dst, via)| {
        // A next hop of the other family is for the kernel to judge.
        Route {
            dst,
            via: via.filter(|via| via.is_ipv4() == dst.addr().is_ipv4()),
        }
    })
}

fn request() -> impl Strategy<Value = Request> {
    let routes = prop_oneof![
        Just(Routes::Default),
        vec(route(), 0..4).prop_map(Routes::List),
    ];
    let addresses = subsequence(addresses(), 0..=4);
    (
        addresses,
        subsequence(gateways(), 0..=3),
        routes,
        any::<bool>(),
    )
        .prop_map(|(addresses, gateways, routes, hairpin)| {
            let mut request = Request::new(ID, Namespace::current().unwrap(), "eth0");
            request.addresses = addresses;
            request.gateways = gateways;
            request.routes = routes;
            request.hairpin = hairpin;
            request
        })
}

fn start() -> impl Strategy<Value = Model> {
    let pair = (
        select(vec![None, Some(ID)]),
        select(vec![None, Some(BRIDGE), Some(99)]),
        any::<(bool, bool, bool)>(),
        subsequence(addresses(), 0..=4),
        vec(route(), 0..3),
        vec(any::<bool>(), 24),
    );
    option::of(pair).prop_map(|pair| {
        let Some((alias, master, (hairpin, host_up, pod_up), addresses, routes, kept)) = pair
        else {
            return Model::default();
        };
        let mut pair = Pair::new("vethwepl0123456", "eth0", 1376);
        pair.host.alias = alias.map(str::to_owned);
        pair.host.master = master;
        pair.host.hairpin = master.map(|_| hairpin);
        (pair.host.up, pair.pod.up) = (host_up, pod_up);
        pair.addresses = addresses.into_iter().collect();
        // Earlier routes may point anywhere; the kernel has one per destination and next hop.
        for route in routes {
            let route = Route {
                dst: route.dst.trunc(),
                ..route
            };
            if !pair.routes.contains(&route) {
                pair.routes.push(route);
            }
        }
        // Some settings are as wanted, some differ, some the kernel does not have.
        let settings = host_settings("vethwepl0123456");
        for (setting, kept) in settings.into_iter().zip(&kept) {
            if *kept {
                pair.host_settings.insert(setting.key, setting.value);
            }
        }
        for (setting, kept) in pod_settings("eth0", true)
            .into_iter()
            .zip(kept.chunks(2).skip(1))
        {
            match kept {
                [true, _] => drop(pair.pod_settings.insert(setting.key, setting.value)),
                [false, true] => drop(pair.pod_settings.remove(&setting.key)),
                _ => {}
            }
        }
        Model { pair: Some(pair) }
    })
}

// ===== the laws =====

proptest! {
    #[test]
    fn a_plan_reaches_the_target_and_then_plans_nothing(start in start(), request in request()) {
        let mut model = start;

        model.run(plan(&request, &model.observe()));

        model.pair.as_ref().unwrap().assert_target(&request);
        prop_assert_eq!(plan(&request, &model.observe()), []);
    }

    #[test]
    fn undo_of_any_prefix_returns_to_the_start(
        start in start(), request in request(), cut in 0usize..30,
    ) {
        let mut model = start.clone();
        let observed = model.observe();
        let mut steps = plan(&request, &observed);
        steps.truncate(cut);

        let done = model.run(steps);
        for step in undo(&done, &observed) {
            model.apply(&step);
        }

        prop_assert_eq!(model, start);
    }

    #[test]
    fn a_pod_believes_no_advertisement_once_it_can_hear_one(request in request()) {
        let steps = plan(&request, &Model::default().observe());
        let position = |wanted: &Step| steps.iter().position(|step| step == wanted).unwrap();
        let settings = |side| {
            let of = |step: &Step| matches!(step, Step::Settings(s, _) if *s == side);
            steps.iter().position(of).unwrap()
        };

        prop_assert!(settings(Side::Pod) < position(&Step::Up(Side::Pod)));
        prop_assert!(settings(Side::Host) < position(&Step::Up(Side::Host)));
        prop_assert!(position(&Step::Up(Side::Pod)) < position(&Step::Up(Side::Host)));
    }

    #[test]
    fn only_fresh_addresses_are_announced(start in start(), request in request()) {
        let observed = start.observe();
        let steps = plan(&request, &observed);
        let had = |net: &IpNet| observed.existing.as_ref().is_some_and(|e| e.addresses.contains(net));

        let fresh = request.addresses.iter().any(|address| !had(address));

        prop_assert_eq!(steps.contains(&Step::Announce), fresh);
    }
}

#[test]
fn a_request_without_mtu_takes_the_one_of_the_bridge() {
    let mut request = Request::new(ID, Namespace::current().unwrap(), "eth0");
    let mtu = |request: &Request| match plan(request, &Model::default().observe()).first() {
        Some(Step::CreatePair { mtu, .. }) => *mtu,
        other => panic!("{other:?}"),
    };

    assert_eq!(mtu(&request), 1376);
    request.mtu = Some(1300);
    assert_eq!(mtu(&request), 1300);
}
