//! What a simulated network and its machines are like.

use std::time::Duration;

/// The network between the hosts and the machines they run on: a [`Default`] with chained setters.
///
/// # Example
///
/// ```
/// use weave_mesh::sim::Settings;
///
/// let settings = Settings::default().loss(0.05).seed(7);
/// assert_eq!(settings.latency.as_millis(), 5);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Seed of every random choice; equal seeds give equal runs.
    pub seed: u64,
    /// Time a packet takes from one host to another. Each chunk takes up to a tenth more or less.
    pub latency: Duration,
    /// Share of TCP segments that get lost, from 0 to below 1. Nothing is lost for good: TCP sends
    /// again, so a loss is a delay (see [`crate::sim`]).
    pub loss: f64,
    /// Bytes per second that a host can send.
    pub bandwidth: u64,
    /// Bytes of a connection that may wait between the writer on one side and the reader on the
    /// other: both socket buffers and the network. Writes beyond wait for the reader.
    pub socket_buffer: usize,
    /// Time from the moment both ends know of a connection until the data overlay works.
    pub overlay_delay: Duration,
    /// Hosts share this many processor cores; `None`: each has a core of its own.
    pub shared_cores: Option<usize>,
}

impl Settings {
    /// Sets the seed of every random choice.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the time a packet takes from one host to another.
    #[must_use]
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Sets the share of segments that get lost; values outside of 0 to 0.9 are moved there.
    #[must_use]
    pub fn loss(self, loss: f64) -> Self {
        Self {
            loss: loss.clamp(0.0, 0.9),
            ..self
        }
    }

    /// Sets the bytes per second that a host can send.
    #[must_use]
    pub fn bandwidth(self, bandwidth: u64) -> Self {
        Self { bandwidth, ..self }
    }

    /// Sets the time until the data overlay of a connection works.
    #[must_use]
    pub fn overlay_delay(self, overlay_delay: Duration) -> Self {
        Self {
            overlay_delay,
            ..self
        }
    }

    /// Lets all hosts share so many cores, as when they run on one machine.
    #[must_use]
    pub fn shared_cores(self, cores: usize) -> Self {
        Self {
            shared_cores: Some(cores),
            ..self
        }
    }
}

impl Default for Settings {
    /// A quiet network: 5 ms, no loss, 1 Gbit/s, 512 KiB of socket buffers, an overlay that works
    /// after three times the latency, a core for each host.
    fn default() -> Self {
        Self {
            seed: 0,
            latency: Duration::from_millis(5),
            loss: 0.0,
            bandwidth: 125_000_000,
            socket_buffer: 512 << 10,
            overlay_delay: Duration::from_millis(15),
            shared_cores: None,
        }
    }
}
