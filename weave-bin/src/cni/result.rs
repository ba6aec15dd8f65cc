//! What ADD prints on success, in the shape of the version the configuration asks for.
//!
//! One [`Attachment`] describes every version; shapes are those of the CNI specification's
//! result section. From 0.3.0 on interfaces are listed and addresses point at the pod's side;
//! 0.1.0 and 0.2.0 know one address a family and no interface.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::config::Route;
use super::version::Version;

/// What a call to ADD achieved.
#[derive(Debug, Clone, Default)]
pub(super) struct Attachment {
    /// Host side first; empty for an address plugin.
    pub(super) interfaces: Vec<Interface>,
    pub(super) addresses: Vec<Address>,
    /// Routes the configuration named.
    pub(super) routes: Vec<Route>,
    /// The default routes that were added without being named.
    pub(super) default_routes: Vec<Route>,
    /// Copied from the configuration.
    pub(super) dns: Map<String, Value>,
}

/// One end of the pair.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: String,
    /// Bytes; printed from 1.1.0 on.
    pub(super) mtu: Option<u32>,
    /// `CNI_NETNS` for the pod's side; the host's side has none.
    pub(super) sandbox: Option<String>,
}

/// One address of the pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    pub(super) address: IpNet,
    pub(super) gateway: Option<IpAddr>,
}

impl Attachment {
    /// The object printed on standard output.
    pub(super) fn to_json(&self, version: Version) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".to_owned(), json!(version.as_str()));
        if version < Version::V030 {
            self.old_addresses(&mut object);
        } else {
            self.interfaces_and_addresses(version, &mut object);
        }
        object.insert("dns".to_owned(), Value::Object(self.dns.clone()));
        Value::Object(object)
    }

    /// 0.1.0 and 0.2.0: objects `ip4` and `ip6`, with the routes of their family.
    fn old_addresses(&self, object: &mut Map<String, Value>) {
        for (key, v4) in [("ip4", true), ("ip6", false)] {
            let of_family = |address: &&Address| address.address.addr().is_ipv4() == v4;
            let Some(found) = self.addresses.iter().find(of_family) else {
                continue;
            };
            let mut entry = Map::new();
            entry.insert("ip".to_owned(), json!(found.address.to_string()));
            if let Some(gateway) = found.gateway {
                entry.insert("gateway".to_owned(), json!(gateway));
            }
            let routes: Vec<Value> = self
                .routes
                .iter()
                .filter(|route| route.dst.addr().is_ipv4() == v4)
                .map(route)
                .collect();
            if !routes.is_empty() {
                entry.insert("routes".to_owned(), Value::Array(routes));
            }
            object.insert(key.to_owned(), Value::Object(entry));
        }
    }

    fn interfaces_and_addresses(&self, version: Version, object: &mut Map<String, Value>) {
        if !self.interfaces.is_empty() {
            let list = self
                .interfaces
                .iter()
                .map(|i| interface(i, version))
                .collect();
            object.insert("interfaces".to_owned(), Value::Array(list));
        }
        let pod_side = self
            .interfaces
            .iter()
            .position(|interface| interface.sandbox.is_some());
        let ips = self.addresses.iter().map(|address| {
            let mut entry = Map::new();
            if version < Version::V100 {
                let family = if address.address.addr().is_ipv4() {
                    "4"
                } else {
                    "6"
                };
                entry.insert("version".to_owned(), json!(family));
            }
            if let Some(index) = pod_side {
                entry.insert("interface".to_owned(), json!(index));
            }
            entry.insert("address".to_owned(), json!(address.address.to_string()));
            if let Some(gateway) = address.gateway {
                entry.insert("gateway".to_owned(), json!(gateway));
            }
            Value::Object(entry)
        });
        object.insert("ips".to_owned(), Value::Array(ips.collect()));
        let routes: Vec<Value> = self
            .routes
            .iter()
            .chain(&self.default_routes)
            .map(route)
            .collect();
        if !routes.is_empty() {
            object.insert("routes".to_owned(), Value::Array(routes));
        }
    }
}

fn interface(interface: &Interface, version: Version) -> Value {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), json!(interface.name));
    entry.insert("mac".to_owned(), json!(interface.mac));
    if let Some(mtu) = interface.mtu.filter(|_| version >= Version::V110) {
        entry.insert("mtu".to_owned(), json!(mtu));
    }
    if let Some(sandbox) = &interface.sandbox {
        entry.insert("sandbox".to_owned(), json!(sandbox));
    }
    Value::Object(entry)
}

fn route(route: &Route) -> Value {
    let mut entry = Map::new();
    entry.insert("dst".to_owned(), json!(route.dst.to_string()));
    if let Some(gateway) = route.gw {
        entry.insert("gw".to_owned(), json!(gateway));
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        Attachment {
            interfaces: vec![
                Interface {
                    name: "vethweplaaaaaaa".to_owned(),
                    mac: "02:00:00:00:00:01".to_owned(),
                    mtu: Some(1376),
                    sandbox: None,
                },
                Interface {
                    name: "eth0".to_owned(),
                    mac: "02:00:00:00:00:02".to_owned(),
                    mtu: Some(1376),
                    sandbox: Some("/run/netns/pod".to_owned()),
                },
            ],
            addresses: vec![Address {
                address: "10.32.0.2/12".parse().unwrap(),
                gateway: Some("10.32.0.1".parse().unwrap()),
            }],
            routes: Vec::new(),
            default_routes: vec![Route {
                dst: "0.0.0.0/0".parse().unwrap(),
                gw: Some("10.32.0.1".parse().unwrap()),
            }],
            dns: Map::new(),
        }
    }

    #[test]
    fn the_newest_shape_is_complete() {
        assert_eq!(
            attachment().to_json(Version::V110),
            json!({
                "cniVersion": "1.1.0",
                "interfaces": [
                    {"name": "vethweplaaaaaaa", "mac": "02:00:00:00:00:01", "mtu": 1376},
                    {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1376,
                     "sandbox": "/run/netns/pod"},
                ],
                "ips": [{"interface": 1, "address": "10.32.0.2/12", "gateway": "10.32.0.1"}],
                "routes": [{"dst": "0.0.0.0/0", "gw": "10.32.0.1"}],
                "dns": {},
            })
        );
    }

    #[test]
    fn versions_before_the_first_major_name_the_family() {
        let object = attachment().to_json(Version::V031);

        assert_eq!(object["ips"][0]["version"], "4");
        assert!(object["interfaces"][0].get("mtu").is_none());
    }

    #[test]
    fn the_oldest_shape_has_one_address_a_family() {
        assert_eq!(
            attachment().to_json(Version::V020),
            json!({
                "cniVersion": "0.2.0",
                "ip4": {"ip": "10.32.0.2/12", "gateway": "10.32.0.1"},
                "dns": {},
            })
        );
    }

    #[test]
    fn an_address_plugin_lists_no_interface() {
        let only_address = Attachment {
            interfaces: Vec::new(),
            ..attachment()
        };

        let object = only_address.to_json(Version::V100);

        assert!(object.get("interfaces").is_none());
        assert!(object["ips"][0].get("interface").is_none());
    }
}
