//! Whether conntrack may be kept out of packets between hosts.
//!
//! A host whose own rules let in only what conntrack calls new or established (`-m state --state NEW
//! --dport 6784 -j ACCEPT`) drops packets that it was told to leave alone. What such rules do to the
//! overlay is seen, not read: no peer is heard by it. Then conntrack gets the packets for [`TRIAL`]; if
//! a peer is heard now, that was it, and they stay tracked; if not, the fault is elsewhere, and the
//! question rests for [`REST`].
//!
//! Invariant: packets are tracked only during a trial, or after one that helped.

use std::time::Duration;

/// What the connections of this host say about the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs {
    /// Connections whose frames it carries.
    pub carried: usize,
    /// Connections that could use it but do not.
    pub refused: usize,
}

/// The decision so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// Packets are kept out of conntrack, and nothing speaks against it since the time given, if any.
    Out {
        /// Since when no peer is heard.
        silent: Option<Duration>,
        /// Before this moment no trial is made.
        rests_until: Duration,
    },
    /// Packets are tracked until this moment, to see whether that helps.
    Trial {
        /// Its end.
        until: Duration,
    },
    /// Packets are tracked: the host's rules ask for it.
    In,
}

impl Tracking {
    /// At the start: as an earlier daemon left it.
    pub fn new(is_out: bool) -> Self {
        if is_out {
            Self::out(Duration::ZERO)
        } else {
            Self::In
        }
    }

    /// Whether packets are kept out of conntrack.
    pub fn is_out(&self) -> bool {
        matches!(self, Self::Out { .. })
    }

    /// Takes in what is seen at `now`.
    #[must_use]
    pub fn seen(self, now: Duration, signs: Signs) -> Self {
        let is_silent = signs.carried == 0 && signs.refused > 0;
        match self {
            Self::Out { rests_until, .. } if !is_silent => Self::out(rests_until),
            Self::Out {
                silent,
                rests_until,
            } => {
                let since = silent.unwrap_or(now);
                if now.saturating_sub(since) >= PATIENCE && now >= rests_until {
                    let until = now + TRIAL;
                    return Self::Trial { until };
                }
                Self::Out {
                    silent: Some(since),
                    rests_until,
                }
            }
            Self::Trial { .. } if signs.carried > 0 => Self::In,
            Self::Trial { until } if now >= until => Self::out(now + REST),
            Self::Trial { until } => Self::Trial { until },
            Self::In => Self::In,
        }
    }

    fn out(rests_until: Duration) -> Self {
        Self::Out {
            silent: None,
            rests_until,
        }
    }
}

/// An overlay that was lost has this long to come back by itself.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Heartbeats come every half second at first; this is several of them.
pub const TRIAL: Duration = Duration::from_secs(10);
/// Until the next trial, after one that did not help.
pub const REST: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    const HEARD: Signs = Signs {
        carried: 1,
        refused: 3,
    };
    const SILENT: Signs = Signs {
        carried: 0,
        refused: 3,
    };
    const ALONE: Signs = Signs {
        carried: 0,
        refused: 0,
    };

    /// The decision after one look a second, from second 1 on.
    fn after(signs: impl IntoIterator<Item = Signs>) -> Tracking {
        let looks = (1..).map(Duration::from_secs).zip(signs);
        looks.fold(Tracking::new(true), |tracking, (now, signs)| {
            tracking.seen(now, signs)
        })
    }

    #[test]
    fn packets_stay_out_while_one_peer_is_heard_or_there_is_none() {
        assert!(after([HEARD; 100]).is_out());
        assert!(after([ALONE; 100]).is_out());
    }

    #[test]
    fn a_short_silence_is_no_reason() {
        let looks = [SILENT; 5].into_iter().chain([HEARD]);
        assert!(after(looks.cycle().take(600)).is_out());
    }

    #[test]
    fn rules_that_ask_conntrack_get_their_way_for_good() {
        assert!(!after([SILENT; 6]).is_out());
        let looks = [SILENT; 8].into_iter().chain([HEARD]);
        let healed = after(looks.chain([SILENT; 1000]));
        assert_eq!(healed, Tracking::In);
    }

    #[test]
    fn a_fault_elsewhere_costs_a_trial_every_ten_minutes() {
        let mut tracking = Tracking::new(true);
        let mut tracked = 0;
        for second in 1..=1300 {
            tracking = tracking.seen(Duration::from_secs(second), SILENT);
            tracked += u32::from(!tracking.is_out());
        }
        assert_eq!(tracked, 30, "three trials of ten seconds");
    }

    #[test]
    fn what_an_earlier_daemon_found_stays() {
        let tracking = Tracking::new(false).seen(Duration::from_secs(9), HEARD);
        assert_eq!(tracking, Tracking::In);
    }
}
