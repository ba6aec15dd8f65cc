//! The host's packet filter and bridge for the pod network: what they should be, and keeping them so.
//!
//! ```text
//!   expose, hide ─┐                      ┌─▶ inet weave        our own table
//!   ranges, pods ─┼─▶ Wanted ─▶ pure ────┤
//!   flags ────────┘   values    rules    └─▶ FORWARD accepts   in the iptables back end in use
//! ```
//!
//! Invariant: no rule of others is changed but those of a Weave Net that was here before.

pub mod accepts;
pub mod attached;
pub mod backend;
pub(crate) mod dialect;
pub mod foreign;
mod links;
pub mod old;
pub mod plugins;
pub mod reset;
mod rules;
pub mod table;
mod task;
pub mod tracking;
pub mod view;
pub mod wanted;

use tokio_util::sync::CancellationToken;
use weave_datapath::bridge;
use weave_datapath::netlink::{Netlink, Watch};
use weave_npc::netlink::Monitor;

pub use task::{Firewall, FirewallError, Task};

use self::backend::Backend;
use self::links::Links;
use self::old::Part;
use self::rules::Rules;
use self::wanted::Wanted;

/// Takes over the rules an earlier daemon left, or writes them, and removes those of a Weave Net. The
/// task keeps rules and bridge from then on.
///
/// # Errors
/// The kernel has no `nf_tables`, or does not answer. Rules that cannot be written are no error: the
/// task says so and tries again.
pub async fn start(
    wanted: Wanted,
    asked: Option<Backend>,
    bridge: bridge::Config,
    netlink: Netlink,
    stop: CancellationToken,
) -> Result<(Firewall, Task), FirewallError> {
    let failed = |error: &dyn std::fmt::Display| FirewallError(error.to_string());
    // Listening comes first, so that no change falls between.
    let monitor = Monitor::open().map_err(|error| failed(&error))?;
    let watch = Watch::open().map_err(|error| failed(&error))?;
    let part = if wanted.expects_policy {
        Part::Plumbing
    } else {
        Part::All
    };
    let mut rules = Rules::open(wanted, asked)?;
    if rules.write().await.is_ok() {
        rules.remove_old(part).await;
    }
    let links = Links::new(bridge, netlink);
    Firewall::new(rules, links, monitor, watch, stop).map_err(|error| failed(&error))
}
