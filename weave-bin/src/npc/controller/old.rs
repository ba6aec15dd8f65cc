//! The end of what a Weave Net's controller left: its chains and sets go once ours are in force.

use tracing::{info, warn};

use crate::host::backend::Backend;
use crate::host::foreign::Foreign;
use crate::host::old::{Part, destroy_sets};

/// Removes them in the background; that they stay is not worth more than a warning, since ours
/// decide as well.
pub(super) fn remove(bridge: String) {
    tokio::task::spawn_blocking(move || {
        for backend in [Backend::Nft, Backend::Legacy] {
            let outcome = Foreign::open()
                .and_then(|mut foreign| foreign.remove_old(backend, &bridge, Part::All));
            match outcome {
                Ok(0) => {}
                Ok(count) => info!("removed {count} rules and chains of Weave Net ({backend})"),
                Err(error) => warn!("rules of Weave Net stay in iptables ({backend}): {error}"),
            }
        }
        for (name, outcome) in destroy_sets(Part::All) {
            match outcome {
                Ok(_) => info!("removed the IP set {name} of Weave Net"),
                Err(error) => warn!("the IP set {name} of Weave Net stays: {error}"),
            }
        }
    });
}
