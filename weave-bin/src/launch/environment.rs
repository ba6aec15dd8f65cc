//! The variables a manifest sets, with their defaults: read once, all wrong ones named together.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;

use ipnet::IpNet;
use weave_ipam::InitMode;
use weave_mesh::connector::PeerAddress;

use crate::args::daemon::parse_ranges;

/// What the variables say (Weave Net Kubernetes add-on, "Environment variables").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// `CONN_LIMIT`: most connections at a time; 0 is no limit.
    pub conn_limit: usize,
    /// `HAIRPIN_MODE`: whether a pod reaches itself through its Service.
    pub hairpin: bool,
    /// `IPALLOC_RANGE`: the pods' addresses, one range or one of each family.
    pub ranges: Vec<IpNet>,
    /// `EXPECT_NPC`: whether policies are enforced.
    pub expect_npc: bool,
    /// `KUBE_PEERS`: peers given by hand instead of the API's.
    pub kube_peers: Option<Vec<String>>,
    /// `IPALLOC_INIT`: how the ring starts, when it is given.
    pub ipalloc_init: Option<String>,
    /// `WEAVE_EXPOSE_IP`: the bridge's address, when it is given.
    pub expose: Option<IpNet>,
    /// `WEAVE_METRICS_ADDR`.
    pub metrics_addr: String,
    /// `WEAVE_STATUS_ADDR`; off when empty.
    pub status_addr: String,
    /// `WEAVE_HTTP_ADDR`.
    pub http_addr: String,
    /// `WEAVE_MTU`, when it is given.
    pub mtu: Option<u16>,
    /// `NO_MASQ_LOCAL`: whether the client address is kept for `externalTrafficPolicy: Local`.
    pub no_masq_local: bool,
    /// `IPTABLES_BACKEND`, when it is given.
    pub backend: Option<Backend>,
    /// `EXTRA_ARGS`: words before the computed flags.
    pub extra_args: Vec<String>,
    /// `HOSTNAME`: the nickname and the name of the Node.
    pub hostname: String,
    /// `INIT_CONTAINER`: whether the init container has run.
    pub has_init: bool,
    /// `HOST_ROOT`: where the host's directories are mounted.
    pub host_root: String,
    /// `DB_PREFIX`: the state file is this and `data.db`.
    pub db_prefix: String,
    /// `WEAVE_NO_FASTDP`: forward in user space alone.
    pub no_fastdp: bool,
    /// `WEAVE_CNI_PLUGIN_DIR`: where the plugins go, when it is given.
    pub plugin_dir: Option<String>,
    /// `WEAVE_CNI_CONFIG_WHEN_READY`: whether the weave container writes the CNI configuration once
    /// it can serve pods, instead of whoever installs the plugins.
    pub config_when_ready: bool,
    /// `WEAVE_DEBUG`: tell more in the log.
    pub debug: bool,
}

/// Which rules other programs of the host use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// `nf_tables`.
    Nft,
    /// The older `x_tables`.
    Legacy,
}

/// A variable whose value makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: {reason}")]
pub struct Wrong {
    /// The variable.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub reason: String,
}

impl Environment {
    /// Reads the variables; `env` looks one up.
    ///
    /// # Errors
    /// Every variable that makes no sense.
    pub fn read(env: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<Wrong>> {
        let mut reader = Reader {
            env: &env,
            wrong: Vec::new(),
        };
        let ranges = reader.value("IPALLOC_RANGE", "10.32.0.0/12", parse_ranges);
        let read = Self {
            conn_limit: reader.value("CONN_LIMIT", "200", |text| {
                text.parse().map_err(|_| "a number is needed".to_owned())
            }),
            hairpin: reader.value("HAIRPIN_MODE", "true", truth),
            expect_npc: reader.value("EXPECT_NPC", "1", switch),
            kube_peers: reader.kube_peers(),
            ipalloc_init: reader.optional("IPALLOC_INIT", |text| {
                let parsed = InitMode::from_str(text).map_err(|error| error.to_string());
                parsed.map(|_| text.to_owned())
            }),
            expose: reader.optional("WEAVE_EXPOSE_IP", |text| expose(text, &ranges)),
            metrics_addr: reader.value("WEAVE_METRICS_ADDR", "0.0.0.0:6782", listen),
            status_addr: reader
                .optional("WEAVE_STATUS_ADDR", listen)
                .unwrap_or_default(),
            http_addr: reader.value("WEAVE_HTTP_ADDR", "127.0.0.1:6784", listen),
            mtu: reader.optional("WEAVE_MTU", |text| match text.parse() {
                Ok(mtu @ 68..) => Ok(mtu),
                _ => Err("a number of bytes from 68 to 65535 is needed".to_owned()),
            }),
            no_masq_local: reader.value("NO_MASQ_LOCAL", "1", switch),
            backend: reader.optional("IPTABLES_BACKEND", |text| match text {
                "nft" => Ok(Backend::Nft),
                "legacy" => Ok(Backend::Legacy),
                _ => Err("nft, legacy or nothing is needed".to_owned()),
            }),
            extra_args: words(&reader.text("EXTRA_ARGS")),
            hostname: reader.text("HOSTNAME"),
            has_init: reader.text("INIT_CONTAINER") == "true",
            host_root: reader.text_or("HOST_ROOT", "/host"),
            db_prefix: reader.text_or("DB_PREFIX", "/weavedb/weave-net"),
            no_fastdp: !reader.text("WEAVE_NO_FASTDP").is_empty(),
            plugin_dir: reader.optional("WEAVE_CNI_PLUGIN_DIR", |text| Ok(text.to_owned())),
            config_when_ready: reader.value("WEAVE_CNI_CONFIG_WHEN_READY", "0", switch),
            debug: !reader.text("WEAVE_DEBUG").is_empty(),
            ranges,
        };
        if reader.wrong.is_empty() {
            Ok(read)
        } else {
            Err(reader.wrong)
        }
    }
}

struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    wrong: Vec<Wrong>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> String {
        (self.env)(name).unwrap_or_default().trim().to_owned()
    }

    fn text_or(&self, name: &str, default: &str) -> String {
        match self.text(name) {
            text if text.is_empty() => default.to_owned(),
            text => text,
        }
    }

    /// A value, parsed; the default's when it makes no sense, which is noted.
    fn value<T>(
        &mut self,
        name: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let text = self.text_or(name, default);
        parse(&text).unwrap_or_else(|reason| {
            self.note(name, text, reason);
            parse(default).expect("invariant: every default is parsed by its own parser")
        })
    }

    fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name);
        if text.is_empty() {
            return None;
        }
        parse(&text)
            .map_err(|reason| self.note(name, text, reason))
            .ok()
    }

    fn kube_peers(&mut self) -> Option<Vec<String>> {
        self.optional("KUBE_PEERS", |text| {
            let peers = words(text);
            match peers
                .iter()
                .find(|peer| peer.parse::<PeerAddress>().is_err())
            {
                Some(peer) => Err(format!("{peer:?} is no host or address")),
                None => Ok(peers),
            }
        })
    }

    fn note(&mut self, name: &'static str, value: String, reason: String) {
        self.wrong.push(Wrong {
            name,
            value,
            reason,
        });
    }
}

/// Words between blanks; nothing quotes.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// On unless `0`. Weave Net takes every other word for on, also `false`, which is a trap.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "0" => Ok(false),
        "1" | "true" => Ok(true),
        _ => Err("0 or 1 is needed".to_owned()),
    }
}

fn truth(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false is needed".to_owned()),
    }
}

/// An address with the prefix length of the range of its family where it has none of its own.
fn expose(text: &str, ranges: &[IpNet]) -> Result<IpNet, String> {
    let needed = || "an address such as 10.32.0.1/12 is needed".to_owned();
    if let Ok(cidr) = text.parse() {
        return Ok(cidr);
    }
    let address: IpAddr = text.parse().map_err(|_| needed())?;
    let is_same_family = |range: &&IpNet| range.addr().is_ipv4() == address.is_ipv4();
    let range = ranges.iter().find(is_same_family).ok_or_else(needed)?;
    let length = range.prefix_len();
    IpNet::new(address, length).map_err(|_| needed())
}

/// An address to listen at, as it is given.
fn listen(text: &str) -> Result<String, String> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    if text.starts_with('/') || full.parse::<SocketAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("IP:PORT or the absolute path of a socket is needed".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Environment, Vec<Wrong>> {
        Environment::read(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_means_the_defaults() {
        let read = read(&[]).unwrap();

        assert_eq!(read.conn_limit, 200);
        assert_eq!(read.ranges, ["10.32.0.0/12".parse().unwrap()]);
        assert!(read.hairpin && read.expect_npc && read.no_masq_local && !read.has_init);
        assert_eq!(read.metrics_addr, "0.0.0.0:6782");
        assert_eq!(read.http_addr, "127.0.0.1:6784");
        assert_eq!(read.status_addr, "");
        assert_eq!(
            (&*read.host_root, &*read.db_prefix),
            ("/host", "/weavedb/weave-net")
        );
        assert_eq!(
            (
                read.kube_peers,
                read.ipalloc_init,
                read.expose,
                read.mtu,
                read.backend
            ),
            (None, None, None, None, None)
        );
    }

    #[test]
    fn empty_is_not_set() {
        let names = [
            "CONN_LIMIT",
            "IPALLOC_RANGE",
            "EXPECT_NPC",
            "KUBE_PEERS",
            "WEAVE_MTU",
            "HAIRPIN_MODE",
        ];
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();

        assert_eq!(read(&pairs), read(&[]));
    }

    #[test]
    fn every_wrong_one_is_named() {
        let cases = [
            ("CONN_LIMIT", "many"),
            ("HAIRPIN_MODE", "yes"),
            ("IPALLOC_RANGE", "10.32.0.1/12"),
            ("EXPECT_NPC", "false"),
            ("KUBE_PEERS", "10.0.0.1 a:b:c:99999999"),
            ("IPALLOC_INIT", "dice"),
            ("WEAVE_EXPOSE_IP", "ten"),
            ("WEAVE_METRICS_ADDR", "6782"),
            ("WEAVE_STATUS_ADDR", "localhost:1"),
            ("WEAVE_HTTP_ADDR", "127.0.0.1"),
            ("WEAVE_MTU", "67"),
            ("NO_MASQ_LOCAL", "off"),
            ("IPTABLES_BACKEND", "ebpf"),
            ("WEAVE_CNI_CONFIG_WHEN_READY", "later"),
        ];

        let wrong = read(&cases).unwrap_err();

        let mut named: Vec<&str> = wrong.iter().map(|one| one.name).collect();
        let mut expected: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
        named.sort_unstable();
        expected.sort_unstable();
        assert_eq!(named, expected);
        assert!(wrong.iter().any(|one| {
            one.to_string() == "WEAVE_MTU=\"67\": a number of bytes from 68 to 65535 is needed"
        }));
    }

    #[test]
    fn a_plain_bridge_address_gets_the_prefix_of_the_range() {
        let read = |text| read(&[("WEAVE_EXPOSE_IP", text)]).unwrap().expose.unwrap();

        assert_eq!(read("10.32.0.1").to_string(), "10.32.0.1/12");
        assert_eq!(read("10.32.0.1/16").to_string(), "10.32.0.1/16");
    }

    #[test]
    fn lists_are_split_as_the_shell_did() {
        let read = read(&[
            ("EXTRA_ARGS", " --log-level=debug  --no-discovery "),
            ("KUBE_PEERS", "10.0.0.1 10.0.0.2:6783"),
            ("IPALLOC_RANGE", "10.32.0.0/12, fd00:1::/64"),
        ])
        .unwrap();

        assert_eq!(read.extra_args, ["--log-level=debug", "--no-discovery"]);
        assert_eq!(read.kube_peers.unwrap(), ["10.0.0.1", "10.0.0.2:6783"]);
        assert_eq!(read.ranges.len(), 2);
    }

    #[test]
    fn ranges_are_one_of_each_family_and_an_address_of_the_bridge_has_its_length() {
        for (text, words) in [
            ("10.32.0.0/12,10.64.0.0/12", "are both IPv4"),
            ("10.32.0.0/12,fe80::/64", "overlaps fe80::/10"),
        ] {
            let wrong = read(&[("IPALLOC_RANGE", text)]).unwrap_err();
            assert!(wrong[0].reason.contains(words), "{}", wrong[0].reason);
        }
        let both = ("IPALLOC_RANGE", "10.32.0.0/12,fd00:1::/64");
        for (bare, whole) in [("10.32.0.1", "10.32.0.1/12"), ("fd00:1::1", "fd00:1::1/64")] {
            let read = read(&[both, ("WEAVE_EXPOSE_IP", bare)]).unwrap();
            assert_eq!(read.expose.unwrap().to_string(), whole);
        }
    }
}
