//! The daemon's flags and environment, parsed into a [`Settings`] value that cannot be nonsense.
//!
//! Two tables: flags with an effect, and flags of Weave Net that have none here (accepted with a
//! warning, so that old manifests start).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use ipnet::IpNet;
use weave_ipam::InitMode;
use weave_mesh::crypto::Password;
use weave_mesh::peer::PeerName;

use super::flags::{Flag, FlagError, Parsed};
use crate::host::backend::Backend;
use crate::logging::{FORMAT_VARIABLE, Format};

mod dns;
mod help;
mod ranges;
mod table;

pub use dns::DnsSettings;
pub use help::help;
pub use ranges::parse_ranges;
use table::{EFFECTIVE, IGNORED};

/// Everything the daemon is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address the mesh listens on.
    pub listen: SocketAddr,
    /// Where control HTTP listens; `None` is off.
    pub http: Option<ListenAddress>,
    /// Where status HTTP listens; `None` is off.
    pub status: Option<ListenAddress>,
    /// Where metrics alone are served; `None` is off.
    pub metrics: Option<ListenAddress>,
    /// The peer name, when it is not to be found out.
    pub name: Option<PeerName>,
    /// The nickname, when it is not the host name.
    pub nickname: Option<String>,
    /// Address allocation; `None` is off.
    pub ipam: Option<IpamSettings>,
    /// The name server; `None` is off.
    pub dns: Option<DnsSettings>,
    /// Most connections at a time; 0 is no limit.
    pub connection_limit: usize,
    /// Whether peers are learned from other peers.
    pub discovery: bool,
    /// Path and first part of the name of the state file.
    pub db_prefix: PathBuf,
    /// Where the host's `/` is seen.
    pub host_root: PathBuf,
    /// Name of the bridge.
    pub bridge: String,
    /// MTU of the network.
    pub mtu: u16,
    /// Whether a smaller one is used where the ways to peers ask for it: none was given.
    pub auto_mtu: bool,
    /// Whether frames cross in kernel VXLAN where that leads.
    pub fastdp: bool,
    /// Whether frames cross at all.
    pub overlay: bool,
    /// Whether a policy controller decides what reaches pods.
    pub expects_policy: bool,
    /// Whether traffic to pods of this host keeps its source address.
    pub keep_local: bool,
    /// The back end of iptables to use; it is found out when absent.
    pub iptables: Option<Backend>,
    /// Where programs and maps are pinned.
    pub bpf_dir: PathBuf,
    /// Least important messages to log.
    pub log_level: crate::logging::Level,
    /// How they are written.
    pub log_format: Format,
    /// Where the passwords of connections come from.
    pub passwords: PasswordSource,
    /// Networks whose frames need no encryption.
    pub trusted_subnets: Vec<IpNet>,
    /// Lowest protocol version of the mesh.
    pub min_version: u8,
    /// Peers to connect to, as given.
    pub peers: Vec<String>,
    /// Whether to use the peers of the state file.
    pub resume: bool,
    /// Print the peer name and end.
    pub print_peer_name: bool,
    /// Print the version and end.
    pub print_version: bool,
    /// Lines to log as warnings: flags without effect.
    pub warnings: Vec<String>,
    /// What the cluster side says about itself; no flag sets it.
    pub cluster: Option<tokio::sync::watch::Receiver<crate::kube::state::Cluster>>,
    /// The IPv6 range, where this host cannot use it; no flag sets it.
    pub left_out: Option<crate::daemon::LeftOut>,
    /// The flags as given, for the first log line.
    pub given: String,
}

/// Address allocation as the flags tell it.
#[derive(Debug, Clone)]
pub struct IpamSettings {
    /// The ranges in the order they are given: one, or one of each family.
    pub ranges: Vec<RangeSettings>,
    /// How the rings start.
    pub init: InitMode,
    /// How the IPv6 ring beside one of IPv4 starts, if in another way.
    pub init6: Option<InitMode>,
    /// How long a released address rests while there are others.
    pub cool_down: Duration,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeSettings {
    /// The range.
    pub range: IpNet,
    /// Subnet of requests that name none; the range when absent.
    pub default_subnet: Option<IpNet>,
}

/// Where the passwords of connections come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// Nowhere: connections are plain.
    None,
    /// The command line or the environment.
    Given(Password),
    /// A file that may change.
    File(PathBuf),
}

/// Where an HTTP server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Reads `[IP]:PORT` or the absolute path of a socket; nothing, if `text` is empty.
    ///
    /// # Errors
    /// What the text is not.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.starts_with('/') {
            return Ok(Some(Self::Unix(text.into())));
        }
        let full = if text.starts_with(':') {
            format!("0.0.0.0{text}")
        } else {
            text.to_owned()
        };
        match full.parse() {
            Ok(address) => Ok(Some(Self::Tcp(address))),
            Err(_) => Err(format!(
                "{text:?} is neither IP:PORT nor the absolute path of a socket"
            )),
        }
    }
}

impl ListenAddress {
    /// Whether nobody but this host reaches it.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Why the daemon does not start with these words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The words are no command line of ours. Exit status 125, as Weave Net's.
    #[error(transparent)]
    Flags(#[from] FlagError),
    /// A value makes no sense.
    #[error("{flag}: {reason}")]
    Value {
        /// The flag or variable with its dashes.
        flag: &'static str,
        /// What is wrong with its value and what it must be.
        reason: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Combination(String),
}

impl SettingsError {
    /// The exit status of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Flags(_) => 125,
            Self::Value { .. } | Self::Combination(_) => 1,
        }
    }
}

impl Settings {
    /// Reads command line `words`; `env` looks environment variables up.
    ///
    /// # Errors
    /// The first word or value that makes no sense.
    pub fn read(
        words: &[String],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let table: Vec<Flag> = EFFECTIVE.iter().chain(IGNORED).copied().collect();
        let given = Parsed::read(&table, words)?;

        let port = number(&given, "port", "--port", 6783)?;
        let host = match given.value("host").unwrap_or_default() {
            "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            text => text
                .parse()
                .map_err(|_| bad("--host", format!("{text:?} is not an IP address")))?,
        };
        let resume = given.is_on("resume");
        if resume && !given.positional.is_empty() {
            let text = "--resume uses the remembered peers: give it without peers";
            return Err(SettingsError::Combination(text.to_owned()));
        }
        let listen_address = |name: &str, flag, default| {
            ListenAddress::parse(given.value(name).unwrap_or(default))
                .map_err(|reason| bad(flag, reason))
        };
        let mtu = mtu(&given, &env)?;
        let text = |name: &str, default: &str| given.value(name).unwrap_or(default).to_owned();
        let level = text("log-level", "info");

        Ok(Self {
            listen: SocketAddr::new(host, port),
            http: listen_address("http-addr", "--http-addr", "127.0.0.1:6784")?,
            status: listen_address("status-addr", "--status-addr", "")?,
            metrics: listen_address("metrics-addr", "--metrics-addr", "")?,
            name: peer_name(&given)?,
            nickname: given
                .value("nickname")
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            ipam: ranges::ipam(&given, mtu)?,
            dns: dns::read(&given)?,
            connection_limit: number(&given, "conn-limit", "--conn-limit", 200)?,
            discovery: !given.is_on("no-discovery"),
            db_prefix: text("db-prefix", "/weavedb/weave").into(),
            host_root: text("host-root", "/").into(),
            bridge: text("weave-bridge", "weave"),
            mtu: mtu.unwrap_or(DEFAULT_MTU),
            auto_mtu: mtu.is_none(),
            fastdp: !given.is_on("no-fastdp"),
            overlay: !given.is_on("no-overlay"),
            expects_policy: given.is_on("expect-npc"),
            keep_local: given.is_on("no-masq-local"),
            iptables: iptables(&env)?,
            bpf_dir: text("bpf-dir", "/sys/fs/bpf/weave").into(),
            log_level: level.parse().map_err(|_| {
                let text = format!("not a valid logrus Level: {level:?}");
                SettingsError::Combination(text)
            })?,
            log_format: log_format(&given, &env)?,
            passwords: passwords(&given, &env)?,
            trusted_subnets: trusted_subnets(&given)?,
            min_version: match number(&given, "min-protocol-version", "--min-protocol-version", 2)?
            {
                version @ (1 | 2) => version,
                other => {
                    let text = format!("{other} is neither 1 nor 2");
                    return Err(bad("--min-protocol-version", text));
                }
            },
            resume,
            print_peer_name: given.is_on("print-peer-name"),
            print_version: given.is_on("version"),
            warnings: warnings(&given),
            cluster: None,
            left_out: None,
            given: given.shown(),
            peers: given.positional,
        })
    }
}

impl Settings {
    /// The ranges of addresses in the order given.
    pub fn ranges(&self) -> Vec<IpNet> {
        let ranges = self.ipam.iter().flat_map(|ipam| &ipam.ranges);
        ranges.map(|one| one.range).collect()
    }

    /// The smallest MTU that every family in use works with, in bytes.
    pub fn least_mtu(&self) -> u16 {
        let has_v6 = self.ranges().iter().any(|range| range.addr().is_ipv6());
        if has_v6 { ranges::IPV6_MIN_MTU } else { 0 }
    }

    /// Where control HTTP listens, if that is a loopback address and so meant for this host alone.
    pub fn control_on_loopback(&self) -> Option<SocketAddr> {
        match self.http {
            Some(ListenAddress::Tcp(address)) if address.ip().is_loopback() => Some(address),
            _ => None,
        }
    }

    /// Where metrics are served beside control and status, which serve them too.
    pub fn metrics_apart(&self) -> Option<&ListenAddress> {
        let is_other = |address: &&ListenAddress| {
            Some(*address) != self.http.as_ref() && Some(*address) != self.status.as_ref()
        };
        self.metrics.as_ref().filter(is_other)
    }

    /// UDP port of the fast overlay, if this host is to have it: the mesh port plus one.
    pub fn tunnel_port(&self) -> Option<u16> {
        let has_tunnel = self.fastdp && self.overlay;
        self.listen.port().checked_add(1).filter(|_| has_tunnel)
    }
}

/// How the log is written: the flag, else the variable.
fn log_format(
    given: &Parsed,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Format, SettingsError> {
    let variable = env(FORMAT_VARIABLE).filter(|text| !text.is_empty());
    let (name, text) = match (given.value("log-format"), variable) {
        (Some(text), _) => ("--log-format", text.to_owned()),
        (None, Some(text)) => (FORMAT_VARIABLE, text),
        (None, None) => return Ok(Format::default()),
    };
    text.parse()
        .map_err(|_| bad(name, format!("{text:?} is neither text nor json")))
}

fn bad(flag: &'static str, reason: String) -> SettingsError {
    SettingsError::Value { flag, reason }
}

fn number<T>(given: &Parsed, name: &str, flag: &'static str, default: T) -> Result<T, SettingsError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let Some(text) = given.value(name) else {
        return Ok(default);
    };
    text.parse()
        .map_err(|error: T::Err| bad(flag, format!("{text:?} is not a number: {error}")))
}

fn peer_name(given: &Parsed) -> Result<Option<PeerName>, SettingsError> {
    let Some(text) = given.value("name").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let invalid = || SettingsError::Combination(format!("invalid peer name format: {text:?}"));
    let name = PeerName::from_str(text).map_err(|_| invalid())?;
    if name == PeerName::UNKNOWN {
        Err(invalid())
    } else {
        Ok(Some(name))
    }
}

/// The MTU: flag, else `WEAVE_MTU`; 0 also means that none is given.
fn mtu(given: &Parsed, env: impl Fn(&str) -> Option<String>) -> Result<Option<u16>, SettingsError> {
    let flag: u16 = number(given, "mtu", "--mtu", 0)?;
    let chosen = match (flag, env("WEAVE_MTU").filter(|text| !text.is_empty())) {
        (0, Some(text)) => text
            .parse()
            .map_err(|error| bad("WEAVE_MTU", format!("{text:?} is not a number: {error}")))?,
        (flag, _) => flag,
    };
    match chosen {
        0 => Ok(None),
        // RFC 791: every IPv4 link carries 68 bytes; below, the kernel takes IPv4 off the bridge.
        small if small < 68 => Err(bad("--mtu", format!("{small} is less than 68 bytes"))),
        mtu => Ok(Some(mtu)),
    }
}

/// The back end of iptables as `IPTABLES_BACKEND` says.
fn iptables(env: impl Fn(&str) -> Option<String>) -> Result<Option<Backend>, SettingsError> {
    match env("IPTABLES_BACKEND").unwrap_or_default().as_str() {
        "" => Ok(None),
        "nft" => Ok(Some(Backend::Nft)),
        "legacy" => Ok(Some(Backend::Legacy)),
        other => {
            let text = format!("{other:?} is neither nft nor legacy");
            Err(bad("IPTABLES_BACKEND", text))
        }
    }
}

/// An empty password is none, as in Weave Net.
fn passwords(
    given: &Parsed,
    env: impl Fn(&str) -> Option<String>,
) -> Result<PasswordSource, SettingsError> {
    let is_set = |text: &String| !text.is_empty();
    let flag = given.value("password").map(str::to_owned);
    let password = flag.or_else(|| env("WEAVE_PASSWORD")).filter(is_set);
    let file = given.value("password-file").filter(|path| !path.is_empty());
    match (password, file) {
        (None, None) => Ok(PasswordSource::None),
        (Some(password), None) => Ok(PasswordSource::Given(Password::new(password))),
        (None, Some(path)) => Ok(PasswordSource::File(path.into())),
        (Some(_), Some(_)) => {
            let text = "give --password or WEAVE_PASSWORD, or --password-file, not both";
            Err(SettingsError::Combination(text.to_owned()))
        }
    }
}

fn trusted_subnets(given: &Parsed) -> Result<Vec<IpNet>, SettingsError> {
    let text = given.value("trusted-subnets").unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|subnet| !subnet.is_empty())
        .map(|subnet| {
            let parsed: Result<IpNet, _> = subnet.parse();
            parsed.map(|net| net.trunc()).map_err(|_| {
                let text = format!("{subnet:?} is not a network such as 10.0.0.0/8");
                bad("--trusted-subnets", text)
            })
        })
        .collect()
}

fn warnings(given: &Parsed) -> Vec<String> {
    IGNORED
        .iter()
        .filter(|flag| {
            given
                .value(flag.name)
                .is_some_and(|value| !value.is_empty())
        })
        .map(|flag| format!("flag --{} is accepted but has no effect", flag.name))
        .collect()
}

/// MTU of the network when none is given: fits a 1460-byte underlay with VXLAN and encryption.
pub const DEFAULT_MTU: u16 = 1376;

#[cfg(test)]
mod tests;
