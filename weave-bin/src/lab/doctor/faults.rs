//! The faults, and what the doctor must say of each.

use clap::ValueEnum;

/// A fault. Their order is the one they are planted in: those that leave traces in the mesh come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Fault {
    /// `net.ipv4.ip_forward` is 0.
    IpForwardOff,
    /// A table drops what is forwarded.
    ForwardDrop,
    /// `INPUT` accepts replies and loopback only.
    InputDrop,
    /// The host routes a part of the range elsewhere.
    RangeOverlap,
    /// Chains and an interface of Flannel are there.
    StaleCni,
    /// Another configuration comes before ours.
    ForeignConflist,
    /// A pod's namespace goes without DEL.
    LeakedAddress,
    /// In a cluster, and nothing answers where the API server should be.
    ApiUnreachable,
    /// In a cluster, and bridged packets pass no packet filter.
    BridgeNfOff,
    /// A peer's status page has another version.
    VersionSkew,
    /// A peer's clock is two hours behind.
    ClockSkew,
    /// UDP 6784 does not pass between two hosts.
    UdpBlocked,
    /// TCP 6783 does not pass between two hosts.
    TcpBlocked,
    /// The daemon was killed.
    DaemonDown,
    /// A host is gone and has addresses.
    DeadPeer,
    /// The spare machine has another password.
    WrongPassword,
    /// The spare machine has no password.
    OneSidedEncryption,
    /// The spare machine is a copy of another.
    DuplicateMachineId,
    /// The spare machine may have one connection.
    ConnectionLimit,
    /// The spare machine's pods have larger packets than the network.
    MtuTooLarge,
    /// The spare machine's disk is full.
    DiskFull,
    /// The spare machine has two ranges and no IPv6.
    Ipv6Off,
    /// The spare machine cannot agree on a ring.
    NoConsensus,
    /// The spare machine's peer has no daemon.
    PeerDown,
    /// The spare machine has another range.
    OtherRange,
    /// The spare machine began a ring of its own.
    OtherSeed,
}

/// How a fault goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// The doctor's command is typed as it is.
    Typed,
    /// The command has a blank to fill in, or looks only: the lab undoes what it did.
    ByHand,
    /// Another machine takes the place of the spare one.
    Replaced,
}

/// The number of the spare machine.
pub(super) const SPARE: usize = 4;

impl Fault {
    /// All in their order.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// As it is called on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// The check that must find it.
    pub(super) fn check(self) -> &'static str {
        match self {
            Self::IpForwardOff => "forwarding",
            Self::ForwardDrop => "forward",
            Self::InputDrop => "input",
            Self::RangeOverlap => "range",
            Self::StaleCni => "foreign",
            Self::ForeignConflist => "conflist",
            Self::LeakedAddress => "leaked",
            Self::ApiUnreachable => "api",
            Self::BridgeNfOff => "bridge-nf",
            Self::VersionSkew => "version",
            Self::ClockSkew => "clock",
            Self::UdpBlocked => "overlay",
            Self::TcpBlocked => "port",
            Self::DaemonDown => "daemon",
            Self::DeadPeer => "space",
            Self::WrongPassword => "password",
            Self::OneSidedEncryption => "encryption",
            Self::DuplicateMachineId => "identity",
            Self::ConnectionLimit => "limit",
            Self::MtuTooLarge => "mtu",
            Self::DiskFull => "disk",
            Self::Ipv6Off => "ipv6",
            Self::NoConsensus => "consensus",
            Self::PeerDown => "peer",
            Self::OtherRange => "ring",
            Self::OtherSeed => "renumber",
        }
    }

    /// The host whose doctor is asked.
    pub(super) fn host(self) -> usize {
        if self >= Self::WrongPassword {
            SPARE
        } else {
            1
        }
    }

    /// How it goes.
    pub(super) fn cure(self) -> Cure {
        match self {
            Self::IpForwardOff
            | Self::ForwardDrop
            | Self::InputDrop
            | Self::RangeOverlap
            | Self::StaleCni
            | Self::ForeignConflist
            | Self::LeakedAddress
            | Self::BridgeNfOff
            | Self::TcpBlocked
            | Self::DeadPeer
            | Self::PeerDown
            | Self::OtherSeed => Cure::Typed,
            Self::ApiUnreachable
            | Self::VersionSkew
            | Self::ClockSkew
            | Self::UdpBlocked
            | Self::DaemonDown
            | Self::DiskFull => Cure::ByHand,
            _ => Cure::Replaced,
        }
    }

    /// Programs without which it cannot be planted or undone.
    pub(super) fn needs(self) -> &'static [&'static str] {
        match self {
            Self::IpForwardOff | Self::BridgeNfOff => &["sysctl"],
            Self::ForwardDrop => &["nft"],
            Self::InputDrop | Self::TcpBlocked => &["iptables"],
            Self::RangeOverlap => &["ip"],
            Self::StaleCni => &["ip", "iptables", "iptables-save", "iptables-restore"],
            _ => &[],
        }
    }

    /// Variables that the doctor has around it.
    pub(super) fn variables(self) -> Vec<(&'static str, String)> {
        // An address of documentation (RFC 5737), and a port of our own that takes connections.
        let api = match self {
            Self::ApiUnreachable => ("198.51.100.1", "443"),
            Self::BridgeNfOff => ("127.0.0.1", "6783"),
            _ => return Vec::new(),
        };
        vec![
            ("KUBERNETES_SERVICE_HOST", api.0.to_owned()),
            ("KUBERNETES_SERVICE_PORT", api.1.to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_than_twenty_each_with_a_name() {
        let names: std::collections::BTreeSet<String> = Fault::all().map(Fault::name).collect();

        assert_eq!(names.len(), Fault::all().count());
        assert!(names.len() > 20);
        assert!(names.contains("duplicate-machine-id"));
    }

    #[test]
    fn what_leaves_traces_in_the_mesh_comes_last() {
        let mut all: Vec<Fault> = Fault::all().collect();
        all.sort();

        assert!(all.is_sorted_by_key(|fault| fault.host()));
        assert_eq!(Fault::all().collect::<Vec<_>>(), all);
    }
}
