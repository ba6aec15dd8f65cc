//! One sample: a load put on a path for a moment, and the metrics it yields.
//!
//! Invariant: sockets are made for the sample and gone after it, so nothing one sample leaves in a
//! buffer reaches the next.

use std::io;

use super::load::{self, Placement, Span};
use super::paths::Ends;
use super::plan::{Measurement, Metric};

/// Runs `measurement` between `ends`; blocks for as long as `span` says.
///
/// # Errors
///
/// The path is broken, or stopped carrying data in the middle.
pub(crate) fn sample(
    ends: &Ends,
    measurement: Measurement,
    placement: &Placement,
    span: Span,
) -> io::Result<Vec<(Metric, f64)>> {
    match measurement {
        Measurement::Tcp(streams) => {
            let connections = ends.connections(streams)?;
            let bytes = load::tcp::sample(&connections, placement, span)?;
            let metric = if streams == 1 {
                Metric::Tcp1
            } else {
                Metric::Tcp4
            };
            Ok(vec![(metric, bytes * 8.0 / 1e9)])
        }
        Measurement::Udp => {
            let (client, server) = ends.datagrams()?;
            let packets = load::udp::sample(&client, &server, placement, span)?;
            Ok(vec![(Metric::UdpPackets, packets)])
        }
        Measurement::RoundTrip => {
            let connections = ends.connections(1)?;
            let [connection] = connections.as_slice() else {
                return Err(io::Error::other("one connection was asked for"));
            };
            let times = load::round_trip::sample(connection, placement, span)?;
            Ok(vec![
                (Metric::RoundTripMedian, times.median_ns / 1e3),
                (Metric::RoundTripP99, times.p99_ns / 1e3),
            ])
        }
    }
}
