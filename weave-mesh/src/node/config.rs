//! What an embedder decides about its peer of the mesh.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::crypto::{KeySeed, Keyring, KeyringError};
use crate::peer::{PeerName, ShortId, Uid};

/// Configuration of one peer: a [`Default`] with chained setters.
///
/// # Example
///
/// ```
/// use weave_mesh::node::Config;
///
/// let config = Config::default()
///     .name("0a:00:00:00:00:01".parse().unwrap())
///     .nickname("alpha")
///     .peers(["10.0.0.2", "10.0.0.3:6790"])
///     .overlays(["fastdp"]);
/// assert_eq!(config.listen.port(), 6783);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Name of this peer, unique in the mesh and stable over restarts. Must be set.
    pub name: PeerName,
    /// Free text for people, by default empty; usually the host name.
    pub nickname: String,
    /// Incarnation id; `None`: drawn from the seed. It must differ at every start.
    pub uid: Option<Uid>,
    /// Short id to claim first; `None`: derived from the name, so that it survives a restart.
    pub short_id: Option<ShortId>,
    /// Seed of every random choice. `None`: the tokio shell draws one; the bare engine takes 0.
    pub seed: Option<u64>,
    /// Address to listen on; connections are dialled from its IP address. Port 0 lets the tokio
    /// shell choose one, which then also is the port that is assumed for peers given without one.
    pub listen: SocketAddr,
    /// Peers to connect to from the start, as `host[:port]`.
    pub peers: Vec<String>,
    /// Whether to dial peers that are only known from gossip.
    pub discovery: bool,
    /// Connections at a time; 0 is unlimited.
    pub connection_limit: usize,
    /// Data overlays to offer, most preferred first. Empty: none is announced, connections with
    /// peers that announce none either count as established at once.
    pub overlays: Vec<String>,
    /// Those of the overlays that carry frames in clear. They are not offered on connections that
    /// have a password and lead through a network that we do not trust, unless no other is left:
    /// then the data plane is told that the connection is encrypted, and has to leave it unused.
    pub plain_overlays: Vec<String>,
    /// Passwords; without any, connections are plain.
    pub keyring: Keyring,
    /// What the keys of connections follow from, random for every start. `None`: the tokio shell
    /// draws it; the bare engine needs one to have a password.
    pub key_seed: Option<KeySeed>,
    /// Networks that need no encryption of data. A connection counts as trusted if both ends trust
    /// the other's address; mesh messages are sealed all the same.
    pub trusted_subnets: Vec<IpNet>,
    /// Lowest protocol version to accept, 1 or 2. Version 1 introduces itself in clear, and a
    /// router of Weave Net 2.x speaks 2.
    pub min_version: u8,
    /// Time between two complete gossips of every channel.
    pub gossip_interval: Duration,
    /// Whether to exchange digests and deltas with peers that do so too. Off, this peer gossips
    /// with all as with a Weave Net router.
    pub sync: bool,
}

impl Config {
    /// Sets the name of this peer.
    #[must_use]
    pub fn name(self, name: PeerName) -> Self {
        Self { name, ..self }
    }

    /// Sets the nickname.
    #[must_use]
    pub fn nickname(self, nickname: impl Into<String>) -> Self {
        Self {
            nickname: nickname.into(),
            ..self
        }
    }

    /// Sets the incarnation id.
    #[must_use]
    pub fn uid(self, uid: Uid) -> Self {
        Self {
            uid: Some(uid),
            ..self
        }
    }

    /// Sets the short id that is claimed first.
    #[must_use]
    pub fn short_id(self, short_id: ShortId) -> Self {
        Self {
            short_id: Some(short_id),
            ..self
        }
    }

    /// Sets the seed of every random choice.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    /// Sets the address to listen on.
    #[must_use]
    pub fn listen(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// Sets the peers to connect to.
    #[must_use]
    pub fn peers<S: Into<String>>(self, peers: impl IntoIterator<Item = S>) -> Self {
        Self {
            peers: peers.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Switches discovery.
    #[must_use]
    pub fn discovery(self, discovery: bool) -> Self {
        Self { discovery, ..self }
    }

    /// Sets the number of connections at a time; 0 is unlimited.
    #[must_use]
    pub fn connection_limit(self, connection_limit: usize) -> Self {
        Self {
            connection_limit,
            ..self
        }
    }

    /// Sets the data overlays to offer, most preferred first.
    #[must_use]
    pub fn overlays<S: Into<String>>(self, overlays: impl IntoIterator<Item = S>) -> Self {
        Self {
            overlays: overlays.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Sets which of the overlays carry frames in clear.
    #[must_use]
    pub fn plain_overlays<S: Into<String>>(self, overlays: impl IntoIterator<Item = S>) -> Self {
        Self {
            plain_overlays: overlays.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Sets the passwords.
    #[must_use]
    pub fn keyring(self, keyring: Keyring) -> Self {
        Self { keyring, ..self }
    }

    /// Sets what the keys of connections follow from.
    #[must_use]
    pub fn key_seed(self, seed: impl Into<KeySeed>) -> Self {
        Self {
            key_seed: Some(seed.into()),
            ..self
        }
    }

    /// Sets the networks that need no encryption of data.
    #[must_use]
    pub fn trusted_subnets(self, subnets: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            trusted_subnets: subnets.into_iter().collect(),
            ..self
        }
    }

    /// Sets the lowest protocol version to accept, 1 or 2.
    #[must_use]
    pub fn min_version(self, min_version: u8) -> Self {
        Self {
            min_version,
            ..self
        }
    }

    /// Whether an address is in a trusted network.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_subnets
            .iter()
            .any(|subnet| subnet.contains(&address))
    }

    /// The overlays to offer to a remote; `None` says that we do not negotiate them, as an empty
    /// list would end the connection.
    pub(super) fn offered_overlays(&self, is_trusted: bool) -> Option<Vec<String>> {
        let is_sealed = !self.keyring.is_empty() && !is_trusted;
        let mut offered = self.overlays.clone();
        offered.retain(|name| !(is_sealed && self.plain_overlays.contains(name)));
        if offered.is_empty() {
            offered.clone_from(&self.overlays);
        }
        Some(offered).filter(|offered| !offered.is_empty())
    }

    /// Sets the time between two complete gossips of every channel.
    #[must_use]
    pub fn gossip_interval(self, gossip_interval: Duration) -> Self {
        Self {
            gossip_interval,
            ..self
        }
    }

    /// Switches digests and deltas.
    #[must_use]
    pub fn sync(self, sync: bool) -> Self {
        Self { sync, ..self }
    }
}

impl Default for Config {
    /// The values of a Weave Net router: port 6783 on all addresses, discovery on, at most 200
    /// connections, gossip every 30 s, no password; but protocol version 2 only.
    fn default() -> Self {
        Self {
            name: PeerName::UNKNOWN,
            nickname: String::new(),
            uid: None,
            short_id: None,
            seed: None,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)),
            peers: Vec::new(),
            discovery: true,
            connection_limit: 200,
            overlays: Vec::new(),
            plain_overlays: Vec::new(),
            keyring: Keyring::default(),
            key_seed: None,
            trusted_subnets: Vec::new(),
            min_version: 2,
            gossip_interval: Duration::from_secs(30),
            sync: true,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No name is set. Nothing was started; set [`Config::name`].
    #[error("no peer name is configured")]
    NoName,
    /// A channel has the name of the built-in channel, or two have the same. Rename one.
    #[error("gossip channel \"{0}\" exists already")]
    ChannelExists(String),
    /// A peer is not of the form `host[:port]`. Nothing was started; correct it.
    #[error("invalid peer name \"{0}\", should be host[:port]")]
    Peer(String),
    /// An overlay name is empty or holds a space, which the handshake cannot express.
    #[error("overlay name \"{0}\" is empty or contains a space")]
    Overlay(String),
    /// Both ends number the overlays they share in their own order, and that of Weave Net has
    /// fastdp in front of sleeve. Change the order.
    #[error("overlay fastdp has to be offered before sleeve")]
    OverlayOrder,
    /// The lowest protocol version is neither 1 nor 2.
    #[error("minimum protocol version {0} is neither 1 nor 2")]
    MinVersion(u8),
    /// There is a password and nothing to draw keys from. Set [`Config::key_seed`].
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// TCP port of Weave Net routers.
const DEFAULT_PORT: u16 = 6783;
