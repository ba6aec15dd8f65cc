//! What is measured, over which paths, and in which order.
//!
//! Invariant: in every turn each path is visited once, the visits to different paths lie next to
//! each other, and over six turns every order of the three paths occurs once. A drift of the
//! machine, or a path that leaves it warm for the next, therefore favours none.

use std::fmt;

/// A way from one pod to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    /// The overlay of the running daemons.
    Ours,
    /// A kernel VXLAN device on a bridge, set up by hand with static entries.
    Vxlan,
    /// Routing over the underlay without encapsulation.
    Plain,
}

impl Path {
    /// All paths, in the order of columns in reports.
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Vxlan, Self::Plain];

    /// The order in which turn `turn` (from 0) visits the paths.
    pub(crate) fn order(turn: u32) -> [Self; 3] {
        match turn % 6 {
            0 => [Self::Ours, Self::Vxlan, Self::Plain],
            1 => [Self::Vxlan, Self::Plain, Self::Ours],
            2 => [Self::Plain, Self::Ours, Self::Vxlan],
            3 => [Self::Plain, Self::Vxlan, Self::Ours],
            4 => [Self::Vxlan, Self::Ours, Self::Plain],
            _ => [Self::Ours, Self::Plain, Self::Vxlan],
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Vxlan => "vxlan",
            Self::Plain => "plain",
        })
    }
}

/// A load put on a path. One measurement may yield several [`Metric`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measurement {
    /// Bulk data over this many TCP connections at once.
    Tcp(usize),
    /// Small datagrams as fast as one thread sends them.
    Udp,
    /// One byte there and one byte back over one TCP connection.
    RoundTrip,
}

impl Measurement {
    /// All measurements, in the order they run within a round.
    pub(crate) const ALL: [Self; 4] = [Self::Tcp(1), Self::Tcp(4), Self::Udp, Self::RoundTrip];
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(1) => f.write_str("TCP, 1 stream"),
            Self::Tcp(streams) => write!(f, "TCP, {streams} streams"),
            Self::Udp => f.write_str("UDP, small packets"),
            Self::RoundTrip => f.write_str("TCP round trips"),
        }
    }
}

/// A number reported for each path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Payload received over one TCP connection.
    Tcp1,
    /// Payload received over four TCP connections.
    Tcp4,
    /// Datagrams received.
    UdpPackets,
    /// Median time of a round trip.
    RoundTripMedian,
    /// 99th percentile of the time of a round trip.
    RoundTripP99,
    /// Processor time of the whole machine, load included, for a payload over one TCP connection.
    Cpu1,
    /// The same over four TCP connections.
    Cpu4,
}

impl Metric {
    /// Name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp_1_stream",
            Self::Tcp4 => "tcp_4_streams",
            Self::UdpPackets => "udp_packets",
            Self::RoundTripMedian => "tcp_rr_median",
            Self::RoundTripP99 => "tcp_rr_p99",
            Self::Cpu1 => "cpu_1_stream",
            Self::Cpu4 => "cpu_4_streams",
        }
    }

    /// Name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Tcp1 => "TCP, 1 stream",
            Self::Tcp4 => "TCP, 4 streams",
            Self::UdpPackets => "UDP, 64 bytes",
            Self::RoundTripMedian => "round trip, median",
            Self::RoundTripP99 => "round trip, p99",
            Self::Cpu1 => "CPU, 1 stream",
            Self::Cpu4 => "CPU, 4 streams",
        }
    }

    /// Unit of the reported value.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Tcp1 | Self::Tcp4 => "Gbit/s",
            Self::UdpPackets => "packets/s",
            Self::RoundTripMedian | Self::RoundTripP99 => "us",
            Self::Cpu1 | Self::Cpu4 => "s/GB",
        }
    }

    /// Whether the metric is the time of a round trip.
    pub(crate) fn is_latency(self) -> bool {
        matches!(self, Self::RoundTripMedian | Self::RoundTripP99)
    }

    /// Whether less is better.
    pub(crate) fn is_cost(self) -> bool {
        self.is_latency() || matches!(self, Self::Cpu1 | Self::Cpu4)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_turn_visits_every_path_once() {
        for turn in 0..20 {
            let visited: BTreeSet<Path> = Path::order(turn).into_iter().collect();
            assert_eq!(visited.len(), 3, "turn {turn}");
        }
    }

    #[test]
    fn six_turns_see_all_six_orders() {
        let orders: BTreeSet<[Path; 3]> = (0..6).map(Path::order).collect();

        assert_eq!(orders.len(), 6);
        assert_eq!(Path::order(6), Path::order(0));
    }

    #[test]
    fn each_path_is_first_equally_often() {
        let first = |path| (0..6).filter(|turn| Path::order(*turn)[0] == path).count();

        assert_eq!(Path::ALL.map(first), [2, 2, 2]);
    }
}
