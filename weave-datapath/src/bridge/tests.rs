//! Laws of the plan, on a model of the kernel's bridge code.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{Config, Error, Observed, Step, plan, plan::ALIAS, settings, undo};
use crate::{netlink::Link, sysctl::Key};

const MAC: [u8; 6] = [0x0a, 0, 0, 0, 0, 1];

/// A link and what the kernel knows about it but does not tell.
#[derive(Debug, Clone, PartialEq)]
struct Device {
    link: Link,
    /// Ports no longer change the hardware address.
    fixed_mac: bool,
    /// Ports no longer change the MTU.
    fixed_mtu: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    devices: BTreeMap<String, Device>,
    settings: BTreeMap<Key, String>,
    last_index: u32,
}

// ===== the model =====

impl Model {
    fn observe(&self, config: &Config) -> Observed {
        let link = |name: &str| self.devices.get(name).map(|device| device.link.clone());
        Observed {
            bridge: link(&config.name),
            port: link(&config.port),
            datapath: link(&config.datapath),
            settings: self.settings.clone(),
        }
    }

    fn insert(&mut self, name: &str, kind: &str, mtu: u32) -> u32 {
        assert!(!self.devices.contains_key(name), "{name} exists");
        self.last_index += 1;
        let link = Link {
            index: self.last_index,
            name: name.to_owned(),
            kind: Some(kind.to_owned()),
            mac: Some([2; 6]),
            mtu,
            stp: (kind == "bridge").then_some(false),
            qdisc: Some("noop".to_owned()),
            ..Link::default()
        };
        let device = Device {
            link,
            fixed_mac: false,
            fixed_mtu: false,
        };
        self.devices.insert(name.to_owned(), device);
        self.default_settings(name, "");
        self.last_index
    }

    fn pair(&mut self, name: &str, peer: &str, mtu: u32) {
        let (one, other) = (
            self.insert(name, "veth", mtu),
            self.insert(peer, "veth", mtu),
        );
        self.device(name).link.peer_index = Some(other);
        self.device(peer).link.peer_index = Some(one);
    }

    fn device(&mut self, name: &str) -> &mut Device {
        self.devices
            .get_mut(name)
            .unwrap_or_else(|| panic!("{name} does not exist"))
    }

    /// Gives `name` the settings below `table` it does not have, with values that are not ours.
    fn default_settings(&mut self, name: &str, table: &str) {
        let config = Config::new(MAC, 1376).ipv6(true);
        let ipv6 = self.devices[name].link.mtu >= 1280;
        for key in settings(&config).into_iter().map(|setting| setting.key) {
            let has = ipv6 || !key.table.starts_with("ipv6");
            if key.interface == name && key.table.starts_with(table) && has {
                self.settings
                    .entry(key)
                    .or_insert_with(|| "default".to_owned());
            }
        }
    }

    fn delete(&mut self, name: &str) {
        let Some(device) = self.devices.remove(name) else {
            return;
        };
        self.settings.retain(|key, _| key.interface != name);
        if let Some(peer) = device.link.peer_index {
            let other = self.devices.values().find(|other| other.link.index == peer);
            let other = other.map(|other| other.link.name.clone());
            if let Some(other) = other {
                self.device(&other).link.peer_index = None;
                self.delete(&other);
            }
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::CreateBridge { name, mac, mtu } => {
                self.insert(name, "bridge", *mtu);
                let device = self.device(name);
                device.link.mac = Some(*mac);
                device.fixed_mac = true;
            }
            Step::CreatePair { name, peer, mtu } => self.pair(name, peer, *mtu),
            Step::Delete(name) => self.delete(name),
            Step::Mac(name, mac) => {
                let device = self.device(name);
                device.link.mac = Some(*mac);
                device.fixed_mac = true;
            }
            Step::Mtu(name, mtu) => {
                let device = self.device(name);
                // The driver is not even asked when nothing changes.
                device.fixed_mtu |= device.link.mtu != *mtu;
                device.link.mtu = *mtu;
                if *mtu < 1280 {
                    self.settings
                        .retain(|key, _| key.interface != *name || !key.table.starts_with("ipv6"));
                }
                self.default_settings(name, "ipv6");
            }
            Step::StpOff(name) => self.device(name).link.stp = Some(false),
            Step::Master(name, master) => {
                let index = master.as_ref().map(|master| self.device(master).link.index);
                let link = &mut self.device(name).link;
                link.master = index;
                link.hairpin = index.map(|_| false);
            }
            Step::HairpinOff(name) => {
                let link = &mut self.device(name).link;
                assert!(link.master.is_some(), "{name} is no port");
                link.hairpin = Some(false);
            }
            Step::QdiscOff(name) => self.device(name).link.qdisc = Some("noqueue".to_owned()),
            Step::Alias(name, alias) => self.device(name).link.alias = Some((*alias).to_owned()),
            Step::Set(setting) => {
                if let Some(value) = self.settings.get_mut(&setting.key) {
                    value.clone_from(&setting.value);
                }
            }
            Step::Up(name) => self.device(name).link.up = true,
        }
    }

    fn run(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.apply(step));
    }

    fn assert_target(&self, config: &Config) {
        let bridge = &self.devices[&config.name];
        let (port, datapath) = (
            &self.devices[&config.port].link,
            &self.devices[&config.datapath].link,
        );
        assert!(bridge.fixed_mac && bridge.fixed_mtu, "{bridge:?}");
        let link = &bridge.link;
        assert_eq!((link.mac, link.mtu), (Some(config.mac), config.mtu));
        assert_eq!((link.up, link.stp), (true, Some(false)));
        assert_eq!((port.master, port.hairpin), (Some(link.index), Some(false)));
        assert_eq!(datapath.master, None);
        assert_eq!(
            (port.peer_index, datapath.peer_index),
            (Some(datapath.index), Some(port.index))
        );
        for end in [port, datapath] {
            assert_eq!((end.mtu, end.up), (config.mtu, true));
            assert!(
                ["noop", "noqueue"].contains(&end.qdisc.as_deref().unwrap()),
                "{end:?}"
            );
        }
        for setting in settings(config) {
            if let Some(value) = self.settings.get(&setting.key) {
                assert_eq!(value, &setting.value, "{setting}");
            }
        }
    }
}

// ===== where a plan may start =====

/// What makes a device differ from the target.
#[derive(Debug, Clone)]
struct Wear {
    mac: [u8; 6],
    mtu: u32,
    up: bool,
    stp: bool,
    hairpin: bool,
    qdisc: &'static str,
    alias: Option<&'static str>,
    in_bridge: bool,
    settings_kept: bool,
}

fn wear() -> impl Strategy<Value = Wear> {
    (
        select(vec![MAC, [2, 9, 9, 9, 9, 9]]),
        select(vec![1000, 1279, 1280, 1376, 1377, 1500, 65535]),
        any::<(bool, bool, bool, bool, bool)>(),
        select(vec!["noop", "noqueue", "fq_codel"]),
        select(vec![None, Some(ALIAS), Some("something else")]),
    )
        .prop_map(
            |(mac, mtu, (up, stp, hairpin, in_bridge, settings_kept), qdisc, alias)| Wear {
                mac,
                mtu,
                up,
                stp,
                hairpin,
                qdisc,
                alias,
                in_bridge,
                settings_kept,
            },
        )
}

/// Which of the pair's names exist, and as whose ends.
#[derive(Debug, Clone, Copy)]
enum Pair {
    None,
    Whole,
    PortAlone,
    DatapathAlone,
    Strangers,
}

fn start() -> impl Strategy<Value = Model> {
    let pair = select(vec![
        Pair::None,
        Pair::Whole,
        Pair::Whole,
        Pair::PortAlone,
        Pair::DatapathAlone,
        Pair::Strangers,
    ]);
    (option::weighted(0.8, wear()), pair, vec(wear(), 2)).prop_map(|(bridge, pair, ends)| {
        let mut model = Model::default();
        if let Some(wear) = bridge {
            model.insert("weave", "bridge", 1500);
            worn(&mut model, "weave", &wear);
        }
        match pair {
            Pair::None => {}
            Pair::Whole => model.pair("vethwe-bridge", "vethwe-datapath", 1500),
            Pair::PortAlone => model.pair("vethwe-bridge", "vethwe-pcap", 1500),
            Pair::DatapathAlone => model.pair("stranger", "vethwe-datapath", 1500),
            Pair::Strangers => {
                model.pair("vethwe-bridge", "x", 1500);
                model.pair("vethwe-datapath", "y", 1500);
            }
        }
        for (name, wear) in ["vethwe-bridge", "vethwe-datapath"].into_iter().zip(&ends) {
            if model.devices.contains_key(name) {
                worn(&mut model, name, wear);
            }
        }
        model
    })
}

fn worn(model: &mut Model, name: &str, wear: &Wear) {
    model.apply(&Step::Mtu(name.to_owned(), wear.mtu));
    let bridge = model.devices.get("weave").map(|device| device.link.index);
    let device = model.device(name);
    device.link.up = wear.up;
    device.link.qdisc = Some(wear.qdisc.to_owned());
    if device.link.stp.is_some() {
        device.link.mac = Some(wear.mac);
        device.link.stp = Some(wear.stp);
        device.link.alias = wear.alias.map(str::to_owned);
        // Our label is only ever there when both were set.
        let ours = wear.alias == Some(ALIAS);
        (device.fixed_mac, device.fixed_mtu) = (ours, ours);
    } else if wear.in_bridge {
        device.link.master = bridge;
        device.link.hairpin = bridge.map(|_| wear.hairpin);
    }
    if wear.settings_kept {
        for setting in settings(&Config::new(MAC, 1376).ipv6(true)) {
            if setting.key.interface == name {
                model.apply(&Step::Set(setting));
            }
        }
    }
}

// ===== the laws =====

proptest! {
    #[test]
    fn a_plan_reaches_the_target_and_then_plans_nothing(
        start in start(),
        mtu in select(vec![1200, 1280, 1376, 1500, 65535]),
        has_ipv6 in any::<bool>(),
    ) {
        let config = Config::new(MAC, mtu).ipv6(has_ipv6);
        let mut model = start;

        model.run(&plan(&config, &model.observe(&config)).unwrap());

        model.assert_target(&config);
        prop_assert_eq!(plan(&config, &model.observe(&config)).unwrap(), []);
    }

    #[test]
    fn undo_of_any_prefix_leaves_an_empty_host_empty(cut in 0usize..40) {
        let config = Config::new(MAC, 1376);
        let mut model = Model::default();
        let steps = plan(&config, &model.observe(&config)).unwrap();
        let done = &steps[..cut.min(steps.len())];

        model.run(done);
        model.run(&undo(done));

        prop_assert_eq!(model.devices, BTreeMap::new());
        prop_assert_eq!(model.settings, BTreeMap::new());
    }

    #[test]
    fn undo_keeps_a_bridge_and_a_pair_that_were_there(start in start(), cut in 0usize..40) {
        let config = Config::new(MAC, 1376);
        let mut model = start.clone();
        let steps = plan(&config, &model.observe(&config)).unwrap();
        let done = &steps[..cut.min(steps.len())];

        model.run(done);
        model.run(&undo(done));

        for (name, device) in &start.devices {
            let deleted = done.iter().any(|step| matches!(step, Step::Delete(_)));
            if device.link.is_kind("bridge") || !deleted {
                let index = model.devices.get(name).map(|kept| kept.link.index);
                prop_assert_eq!(index, Some(device.link.index), "{}", name);
            }
        }
    }

    #[test]
    fn a_working_bridge_is_never_taken_down_or_out_of_its_ports(start in start()) {
        let config = Config::new(MAC, 1376);
        let whole = start.observe(&config);
        let steps = plan(&config, &whole).unwrap();

        let bridge_deleted = steps.contains(&Step::Delete("weave".to_owned()));

        prop_assert!(!bridge_deleted);
    }
}

#[test]
fn configurations_that_cannot_be_meant_are_refused() {
    let refused = |config: &Config| plan(config, &Observed::default()).unwrap_err();
    let named = |name: &str| Config::new(MAC, 1376).name(name);

    assert!(matches!(
        refused(&Config::new(MAC, 67)),
        Error::Mtu { mtu: 67, .. }
    ));
    assert!(matches!(
        refused(&Config::new(MAC, 65536)),
        Error::Mtu { .. }
    ));
    assert!(matches!(
        refused(&Config::new([0; 6], 1376)),
        Error::Mac { .. }
    ));
    assert!(matches!(
        refused(&Config::new([1, 0, 0, 0, 0, 1], 1376)),
        Error::Mac { .. }
    ));
    for name in ["", "a/b", "name-of-16-bytes", "vethwe-bridge"] {
        assert!(
            matches!(refused(&named(name)), Error::Name { .. }),
            "{name:?}"
        );
    }
}

#[test]
fn a_device_without_kind_is_refused_by_name() {
    let link = Link {
        index: 3,
        name: "weave".to_owned(),
        ..Link::default()
    };
    let observed = Observed {
        bridge: Some(link),
        ..Observed::default()
    };

    let error = plan(&Config::new(MAC, 1376), &observed).unwrap_err();

    assert_eq!(
        error.to_string(),
        "interface weave exists and is a physical device, not a bridge: remove it first"
    );
}
