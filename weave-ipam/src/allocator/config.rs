//! What an allocator must be told before it starts.

use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::{AddressError, check_subnet};
use crate::peer::{PeerId, PeerIdError};
use crate::span::AddressRange;

/// Configuration of an [`Allocator`](crate::Allocator).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// All addresses that peers share out; the same on every peer.
    pub universe: IpNet,
    /// Where addresses come from when a request names no subnet; the universe if not given.
    pub default_subnet: Option<IpNet>,
    /// Our name, the same after a restart.
    pub peer: PeerId,
    /// Drawn at random at every start.
    pub uid: u64,
    /// Our name for people.
    pub nickname: String,
    /// How the ring comes about when there is none.
    pub init: InitMode,
    /// Seeds the choice among donors.
    pub seed: u64,
    /// How long a released address is not handed out. The time is counted anew after a restart.
    pub cool_down: Duration,
    /// How long others are looked for and heard after a start with saved state, and after a
    /// takeover, before addresses are given. Zero: not at all.
    pub hold: Duration,
    /// Whether to hold back after a start without saved state, too. For peers whose ring is given
    /// by configuration and that may have lost their state.
    pub is_cautious: bool,
    /// How long a container that died keeps its addresses.
    pub dead_hold: Duration,
}

impl Config {
    /// Defaults: consensus, no nickname, no cool-down, the universe as default subnet, a hold of 10
    /// seconds after a restart, 30 seconds for dead containers. `uid` and `seed` are 0 and should be set to random numbers.
    #[must_use]
    pub const fn new(universe: IpNet, peer: PeerId) -> Self {
        Self {
            universe,
            default_subnet: None,
            peer,
            uid: 0,
            nickname: String::new(),
            init: InitMode::Consensus { expected: None },
            seed: 0,
            cool_down: Duration::ZERO,
            hold: Duration::from_secs(10),
            is_cautious: false,
            dead_hold: Duration::from_secs(30),
        }
    }

    /// Sets [`Config::default_subnet`].
    #[must_use]
    pub const fn default_subnet(mut self, subnet: Option<IpNet>) -> Self {
        self.default_subnet = subnet;
        self
    }

    /// Sets [`Config::uid`].
    #[must_use]
    pub const fn uid(mut self, uid: u64) -> Self {
        self.uid = uid;
        self
    }

    /// Sets [`Config::nickname`].
    #[must_use]
    pub fn nickname(mut self, nickname: impl Into<String>) -> Self {
        self.nickname = nickname.into();
        self
    }

    /// Sets [`Config::init`].
    #[must_use]
    pub fn init(mut self, init: InitMode) -> Self {
        self.init = init;
        self
    }

    /// Sets [`Config::seed`].
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets [`Config::cool_down`].
    #[must_use]
    pub const fn cool_down(mut self, cool_down: Duration) -> Self {
        self.cool_down = cool_down;
        self
    }

    /// Sets [`Config::hold`].
    #[must_use]
    pub const fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Sets [`Config::is_cautious`].
    #[must_use]
    pub const fn cautious(mut self, is_cautious: bool) -> Self {
        self.is_cautious = is_cautious;
        self
    }

    /// Sets [`Config::dead_hold`].
    #[must_use]
    pub const fn dead_hold(mut self, hold: Duration) -> Self {
        self.dead_hold = hold;
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_subnet(self.universe)?;
        let universe = AddressRange::of(self.universe);
        // The ring writes the end of the universe as a number of the address's width.
        let last = AddressRange::of(IpNet::from(self.universe.broadcast()));
        let family_end = if universe.family.bits() == 32 {
            1 << 32
        } else {
            u128::MAX
        };
        if last.span.end() >= family_end {
            return Err(ConfigError::EndOfAddresses(self.universe));
        }
        let Some(subnet) = self.default_subnet else {
            return Ok(());
        };
        check_subnet(subnet)?;
        let range = AddressRange::of(subnet);
        let common = range.span.intersection(universe.span);
        if range.family != universe.family || common.is_none() {
            return Err(ConfigError::DefaultSubnet {
                subnet,
                universe: self.universe,
            });
        }
        Ok(())
    }
}

/// How a peer without a ring gets one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitMode {
    /// Peers vote. `expected` is how many peers there will be, ourselves included; a majority of
    /// them must agree. Without it the number of configured targets decides.
    Consensus {
        /// N of `consensus=N`.
        expected: Option<usize>,
    },
    /// The ring is formed at the start among these peers; everyone must be given the same.
    Seed(Vec<PeerId>),
    /// Never votes, waits for a ring from others.
    Observer,
}

impl FromStr for InitMode {
    type Err = InitModeError;

    /// `consensus`, `consensus=N`, `seed=PEER,PEER…`, `observer`, or nothing (consensus).
    /// `consensus=0` and `seed=` mean plain consensus.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mode, parameter) = match text.split_once('=') {
            Some((mode, parameter)) => (mode, Some(parameter)),
            None => (text, None),
        };
        match (mode, parameter) {
            ("" | "consensus", None) => Ok(Self::Consensus { expected: None }),
            ("consensus", Some(number)) => {
                let wrong = |_| InitModeError::Consensus(number.to_owned());
                let expected = number.parse().map_err(wrong)?;
                Ok(Self::Consensus {
                    expected: Some(expected).filter(|count| *count > 0),
                })
            }
            ("seed", None) => Err(InitModeError::SeedMissing),
            ("seed", Some("")) => Ok(Self::Consensus { expected: None }),
            ("seed", Some(list)) => {
                let peers = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
                Ok(Self::Seed(peers))
            }
            ("observer", None) => Ok(Self::Observer),
            ("observer", Some(_)) => Err(InitModeError::ObserverParameter),
            (other, _) => Err(InitModeError::Unknown(other.to_owned())),
        }
    }
}

/// Not an [`InitMode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InitModeError {
    /// N of `consensus=N` is not a count.
    #[error("bad consensus parameter: \"{0}\" is not a number of peers")]
    Consensus(String),
    /// `seed` without a list.
    #[error("seed mode requires peer name list")]
    SeedMissing,
    /// A peer name in the list is malformed.
    #[error("bad seed parameter: {0}")]
    Seed(#[from] PeerIdError),
    /// `observer=…`.
    #[error("observer mode takes no parameter")]
    ObserverParameter,
    /// Another word.
    #[error("unknown mode: {0}")]
    Unknown(String),
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The universe or the default subnet is not a subnet.
    #[error(transparent)]
    Subnet(#[from] AddressError),
    /// The universe reaches the last address of its family.
    #[error(
        "address range {0} reaches the end of the address space, which peers cannot express: use a smaller range"
    )]
    EndOfAddresses(IpNet),
    /// No address of the default subnet is in the universe.
    #[error("default subnet {subnet} does not overlap address range {universe}")]
    DefaultSubnet {
        /// The default subnet.
        subnet: IpNet,
        /// The universe.
        universe: IpNet,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_modes_are_read_as_the_command_line_gives_them() {
        let parse = |text: &str| text.parse::<InitMode>().map_err(|error| error.to_string());

        assert_eq!(parse(""), Ok(InitMode::Consensus { expected: None }));
        assert_eq!(
            parse("consensus=3"),
            Ok(InitMode::Consensus { expected: Some(3) })
        );
        assert_eq!(
            parse("consensus=0"),
            Ok(InitMode::Consensus { expected: None })
        );
        assert_eq!(
            parse("seed=::1,::2"),
            Ok(InitMode::Seed(vec![PeerId(1), PeerId(2)]))
        );
        assert_eq!(parse("observer"), Ok(InitMode::Observer));
        assert_eq!(
            parse("seed"),
            Err("seed mode requires peer name list".to_owned())
        );
        assert_eq!(
            parse("observer=1"),
            Err("observer mode takes no parameter".to_owned())
        );
        assert_eq!(parse("quorum"), Err("unknown mode: quorum".to_owned()));
        assert!(parse("consensus=x").is_err() && parse("seed=x").is_err());
    }

    #[test]
    fn a_universe_at_the_end_of_the_address_space_is_refused() {
        for universe in ["240.0.0.0/4", "128.0.0.0/1", "0.0.0.0/0", "ff00::/8"] {
            let config = Config::new(universe.parse().unwrap(), PeerId(1));

            assert!(
                matches!(config.check(), Err(ConfigError::EndOfAddresses(_))),
                "{universe}"
            );
        }
    }

    #[test]
    fn the_default_subnet_must_overlap_the_universe() {
        let config = |subnet: &str| {
            let universe = "10.32.0.0/12".parse().unwrap();
            Config::new(universe, PeerId(1))
                .default_subnet(Some(subnet.parse().unwrap()))
                .check()
        };

        assert_eq!(config("10.32.5.0/24"), Ok(()));
        assert_eq!(config("10.0.0.0/8"), Ok(()));
        assert!(matches!(
            config("10.50.0.0/24"),
            Err(ConfigError::DefaultSubnet { .. })
        ));
        assert!(matches!(
            config("fd00::/64"),
            Err(ConfigError::DefaultSubnet { .. })
        ));
    }
}
