//! The network configuration on standard input.
//!
//! Two steps: [`Network`] is what every plugin must find (an object with a name and a version);
//! [`Settings`] are the keys of our own plugins. A value that cannot be served names its key.
//! Unknown keys are ignored, as the CNI specification asks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::error::{Code, Error};
use super::version::Version;

/// The outer form: what a configuration must have for any plugin.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) version: Version,
    object: Map<String, Value>,
}

impl Network {
    /// Reads standard input of any command but VERSION.
    ///
    /// # Errors
    /// [`Code::Decode`] when it is not a JSON object, [`Code::Configuration`] without a name,
    /// [`Code::IncompatibleVersion`] for a version we do not speak.
    pub(super) fn parse(input: &[u8]) -> Result<Self, Error> {
        let object: Map<String, Value> = serde_json::from_slice(input).map_err(|error| {
            Error::new(
                Code::Decode,
                format!("error unmarshall network config: {error}"),
            )
        })?;
        let version = text(&object, "cniVersion")?.unwrap_or_default();
        if text(&object, "name")?.is_none() {
            return Err(Error::new(Code::Configuration, "missing network name"));
        }
        Ok(Self {
            version: Version::parse(version)?,
            object,
        })
    }

    /// The version named on standard input, as far as it can be made out, for error objects and
    /// the VERSION command.
    pub(super) fn version_hint(input: &[u8]) -> Version {
        let object: Option<Map<String, Value>> = serde_json::from_slice(input).ok();
        let named = object
            .as_ref()
            .and_then(|object| object.get("cniVersion")?.as_str());
        named
            .and_then(|text| Version::parse(text).ok())
            .unwrap_or(Version::newest())
    }

    /// What the network is called.
    pub(super) fn name(&self) -> &str {
        self.object
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The result of the ADD before.
    pub(super) fn previous(&self) -> Option<&Value> {
        self.object
            .get("prevResult")
            .filter(|found| found.is_object())
    }

    /// The containers that still have attachments, which the runtime tells with GC; `None` when it
    /// tells nothing.
    ///
    /// # Errors
    /// [`Code::Configuration`] for a list that cannot be read: what it lacks would be freed.
    pub(super) fn attachments(&self) -> Result<Option<BTreeSet<String>>, Error> {
        let keys = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let present = keys
            .into_iter()
            .find_map(|key| Some((key, self.object.get(key).filter(|found| !found.is_null())?)));
        let Some((key, list)) = present else {
            return Ok(None);
        };
        let id = |one: &Value| one.get("containerID")?.as_str().map(str::to_owned);
        let ids = list
            .as_array()
            .and_then(|all| all.iter().map(id).collect::<Option<_>>());
        let expected = "a list of objects with \"containerID\"";
        ids.map(Some).ok_or_else(|| wrong(key, expected, list))
    }

    /// The plugin's own keys.
    ///
    /// # Errors
    /// [`Code::Configuration`], naming the key and what was found.
    pub(super) fn settings(&self) -> Result<Settings, Error> {
        let bridge = text(&self.object, "bridge")?.unwrap_or("weave");
        if bridge.len() > 15 || !bridge.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
            return Err(wrong(
                "bridge",
                "the name of a bridge",
                &Value::from(bridge),
            ));
        }
        let empty = Map::new();
        let ipam = match self.object.get("ipam") {
            None | Some(Value::Null) => &empty,
            Some(Value::Object(ipam)) => ipam,
            Some(other) => return Err(wrong("ipam", "an object", other)),
        };
        Ok(Settings {
            bridge: bridge.to_owned(),
            mtu: mtu(&self.object)?,
            hairpin: flag(&self.object, "hairpinMode", true)?,
            is_gateway: flag(&self.object, "isGateway", false)?,
            ip_masq: flag(&self.object, "ipMasq", false)?,
            dns: dns(&self.object)?,
            ipam: Ipam {
                kind: text(ipam, "type")?.unwrap_or_default().to_owned(),
                subnet: parsed(ipam, "subnet", "a subnet such as 10.32.1.0/24")?,
                gateway: parsed(ipam, "gateway", "an IP address")?,
                routes: routes(ipam)?,
            },
        })
    }
}

/// The keys of `weave-net` and `weave-ipam`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) bridge: String,
    /// `None` = the bridge's own.
    pub(super) mtu: Option<u32>,
    pub(super) hairpin: bool,
    pub(super) is_gateway: bool,
    pub(super) ip_masq: bool,
    /// Copied to the result as it is.
    pub(super) dns: Map<String, Value>,
    pub(super) ipam: Ipam,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bridge: "weave".to_owned(),
            mtu: None,
            hairpin: true,
            is_gateway: false,
            ip_masq: false,
            dns: Map::new(),
            ipam: Ipam::default(),
        }
    }
}

/// The `ipam` object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ipam {
    /// Empty or `weave-ipam`: the daemon allocates. Anything else is another plugin.
    pub(super) kind: String,
    pub(super) subnet: Option<IpNet>,
    pub(super) gateway: Option<IpAddr>,
    /// `None` = a default route; an empty list = no route at all.
    pub(super) routes: Option<Vec<Route>>,
}

impl Ipam {
    /// The other plugin that allocates, if it is not us.
    pub(super) fn delegate(&self) -> Option<&str> {
        (!self.kind.is_empty() && self.kind != "weave-ipam").then_some(self.kind.as_str())
    }
}

/// One configured route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) dst: IpNet,
    pub(super) gw: Option<IpAddr>,
}

fn routes(ipam: &Map<String, Value>) -> Result<Option<Vec<Route>>, Error> {
    let list = match ipam.get("routes") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong("ipam.routes", "a list of routes", other)),
    };
    let mut routes = Vec::with_capacity(list.len());
    for item in list {
        let Value::Object(route) = item else {
            return Err(wrong("ipam.routes", "a list of objects with \"dst\"", item));
        };
        let Some(dst) = parsed::<IpNet>(route, "dst", "a destination such as 10.0.0.0/8")? else {
            return Err(wrong("ipam.routes", "a list of objects with \"dst\"", item));
        };
        routes.push(Route {
            dst: dst.trunc(),
            gw: parsed(route, "gw", "an IP address")?,
        });
    }
    Ok(Some(routes))
}

fn mtu(object: &Map<String, Value>) -> Result<Option<u32>, Error> {
    let Some(value) = object.get("mtu").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match value.as_u64() {
        Some(0) => Ok(None),
        Some(number @ 68..=65535) => Ok(u32::try_from(number).ok()),
        _ => Err(wrong("mtu", "0 or a number from 68 to 65535", value)),
    }
}

fn dns(object: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    match object.get("dns") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(dns)) => Ok(dns.clone()),
        Some(other) => Err(wrong("dns", "an object", other)),
    }
}

fn flag(object: &Map<String, Value>, key: &str, default: bool) -> Result<bool, Error> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(wrong(key, "true or false", other)),
    }
}

fn parsed<T: std::str::FromStr>(
    object: &Map<String, Value>,
    key: &str,
    expected: &str,
) -> Result<Option<T>, Error> {
    let Some(found) = text(object, key)? else {
        return Ok(None);
    };
    found
        .parse()
        .map(Some)
        .map_err(|_| wrong(key, expected, &Value::from(found)))
}

/// The text at `key`; absent, null and empty are the same.
fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, Error> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(wrong(key, "a text", other)),
    }
}

fn wrong(key: &str, expected: &str, found: &Value) -> Error {
    let mut found = found.to_string();
    if found.len() > 80 {
        found = found.chars().take(77).chain("...".chars()).collect();
    }
    Error::new(
        Code::Configuration,
        format!("{key:?} must be {expected}, not {found}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, Error> {
        Network::parse(text.as_bytes())?.settings()
    }

    #[test]
    fn absent_null_and_empty_values_are_the_defaults() {
        let defaults = Settings::default();

        assert_eq!(settings(r#"{"name":"weave"}"#).unwrap(), defaults);
        assert_eq!(
            settings(
                r#"{"name":"weave","bridge":"","mtu":0,"hairpinMode":null,"dns":null,
                    "ipam":{"type":"","subnet":"","gateway":"","routes":null},"unknown":[1]}"#
            )
            .unwrap(),
            defaults
        );
    }

    #[test]
    fn a_list_of_attachments_is_read_whole_or_refused() {
        let read = |text: &str| Network::parse(text.as_bytes()).unwrap().attachments();

        assert_eq!(read(r#"{"name":"n"}"#).unwrap(), None);
        let one =
            r#"{"name":"n","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}"#;
        assert_eq!(read(one).unwrap().unwrap().len(), 1);
        let none = r#"{"name":"n","cni.dev/attachments":[]}"#;
        assert_eq!(read(none).unwrap(), Some(BTreeSet::new()));
        for broken in [r#"[{"containerID":"a"},{"id":"b"}]"#, r#"{"a":1}"#, "7"] {
            let text = format!(r#"{{"name":"n","cni.dev/valid-attachments":{broken}}}"#);
            assert_eq!(read(&text).unwrap_err().code(), Code::Configuration);
        }
    }

    #[test]
    fn an_empty_list_of_routes_differs_from_no_list() {
        let settings = settings(r#"{"name":"n","ipam":{"routes":[]}}"#).unwrap();

        assert_eq!(settings.ipam.routes, Some(Vec::new()));
    }

    #[test]
    fn routes_keep_their_gateways() {
        let settings = settings(
            r#"{"name":"n","ipam":{"routes":[{"dst":"10.0.0.0/8"},
                {"dst":"0.0.0.0/0","gw":"10.33.0.9"}]}}"#,
        )
        .unwrap();

        let routes = settings.ipam.routes.unwrap();
        assert_eq!(routes[0].gw, None);
        assert_eq!(routes[1].gw, Some("10.33.0.9".parse().unwrap()));
    }

    #[test]
    fn nonsense_names_its_key() {
        let cases = [
            (
                r#"{"name":"n","mtu":"big"}"#,
                r#""mtu" must be 0 or a number from 68 to 65535, not "big""#,
            ),
            (
                r#"{"name":"n","mtu":-1}"#,
                r#""mtu" must be 0 or a number from 68 to 65535, not -1"#,
            ),
            (
                r#"{"name":"n","hairpinMode":1}"#,
                r#""hairpinMode" must be true or false, not 1"#,
            ),
            (
                r#"{"name":"n","bridge":"a/b"}"#,
                r#""bridge" must be the name of a bridge, not "a/b""#,
            ),
            (
                r#"{"name":"n","ipam":7}"#,
                r#""ipam" must be an object, not 7"#,
            ),
            (
                r#"{"name":"n","ipam":{"gateway":"x"}}"#,
                r#""gateway" must be an IP address, not "x""#,
            ),
            (
                r#"{"name":"n","ipam":{"routes":[3]}}"#,
                r#""ipam.routes" must be a list of objects with "dst", not 3"#,
            ),
            (
                r#"{"name":"n","ipam":{"subnet":"1.2.3.4"}}"#,
                r#""subnet" must be a subnet such as 10.32.1.0/24, not "1.2.3.4""#,
            ),
        ];
        for (input, expected) in cases {
            let error = settings(input).unwrap_err();

            assert_eq!(error.to_string(), expected);
            assert_eq!(error.code(), Code::Configuration);
        }
    }

    #[test]
    fn only_an_object_with_a_name_is_a_configuration() {
        assert_eq!(Network::parse(b"[]").unwrap_err().code(), Code::Decode);
        assert_eq!(Network::parse(b"").unwrap_err().code(), Code::Decode);
        assert_eq!(
            Network::parse(b"\xff\xfe").unwrap_err().code(),
            Code::Decode
        );
        assert_eq!(
            Network::parse(br#"{"name":""}"#).unwrap_err().code(),
            Code::Configuration
        );
    }

    #[test]
    fn a_long_wrong_value_is_cut_in_the_message() {
        let input = format!(r#"{{"name":"n","mtu":"{}"}}"#, "é".repeat(5000));

        let error = settings(&input).unwrap_err();

        assert!(error.to_string().len() < 300);
    }
}
