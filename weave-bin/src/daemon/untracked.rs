//! Keeps packets between hosts out of conntrack as long as the host's own rules stand it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::actor::overlay::{FASTDP, Overlay, View};
use crate::host::Firewall;
use crate::host::tracking::{REST, Signs, Tracking};

/// Looks at the connections of `overlay` and tells `firewall` about packets to UDP `port`, until `stop`.
pub(super) async fn follow(
    overlay: Overlay,
    firewall: Firewall,
    port: u16,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = decide(&overlay, &firewall, port) => stop.cancelled().await,
    }
}

/// Ends when there is nothing left to decide.
async fn decide(overlay: &Overlay, firewall: &Firewall, port: u16) {
    let started = Instant::now();
    let mut tracking = Tracking::new(firewall.view().untracked.is_some());
    while tracking != Tracking::In {
        tokio::time::sleep(PAUSE).await;
        let Some(view) = overlay.view().await else {
            return;
        };
        let next = tracking.seen(started.elapsed(), signs(&view));
        if next.is_out() != tracking.is_out() {
            firewall.set_untracked(next.is_out().then_some(port)).await;
        }
        match (tracking, next) {
            (Tracking::Out { .. }, Tracking::Trial { .. }) => {
                warn!(
                    "[firewall] no peer is heard on UDP {port}: conntrack gets its packets, in case rules of \
                     this host ask for it"
                );
            }
            (Tracking::Trial { .. }, Tracking::In) => {
                info!(
                    "[firewall] peers are heard on UDP {port} when conntrack gets its packets, so it does; to \
                     spare it, accept the port ahead of rules that ask for a state"
                );
            }
            (Tracking::Trial { .. }, Tracking::Out { .. }) => {
                let minutes = REST.as_secs() / 60;
                info!(
                    "[firewall] it was not conntrack; the next trial is in {minutes} minutes at the earliest"
                );
            }
            _ => {}
        }
        tracking = next;
    }
}

fn signs(view: &View) -> Signs {
    let mut signs = Signs {
        carried: 0,
        refused: 0,
    };
    for carried in &view.carriers {
        if carried.overlay.as_deref() == Some(FASTDP) {
            signs.carried += 1;
        } else if carried.reason.is_some() {
            signs.refused += 1;
        }
    }
    signs
}

/// Between looks.
const PAUSE: Duration = Duration::from_secs(1);
