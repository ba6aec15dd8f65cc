//! The IPv6 range and ring: a value of their own in the data file.
//!
//! Weave Net and releases without a second family keep values they do not know, so what is here
//! outlives going back to them; the state beside it is written as they read it. A host without an
//! IPv6 range has no such value.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weave_ipam::Snapshot;

use super::State;
use super::bolt::Values;

/// What is remembered of the IPv6 range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6 {
    /// The allocation range, when addresses are allocated.
    pub range: Option<IpNet>,
    /// The allocator's state.
    pub ipam: Option<Snapshot>,
}

/// Puts it into `values`, or takes it out when there is nothing to remember.
pub(super) fn store(ipv6: &Ipv6, values: &mut Values) -> Result<(), serde_json::Error> {
    if *ipv6 == Ipv6::default() {
        values.remove(KEY);
    } else {
        values.insert(KEY.to_vec(), serde_json::to_vec(ipv6)?);
    }
    Ok(())
}

/// Completes `state` from `values`. A ring of IPv6 that stands where IPv4 belongs, as a host with
/// nothing else had it, goes where it belongs now.
///
/// # Errors
/// The value is not what its key says.
pub(super) fn load(values: &Values, state: &mut State) -> Result<(), String> {
    let is_v6 = |range: &IpNet| matches!(range, IpNet::V6(_));
    let misplaced = Ipv6 {
        range: state.range.take_if(|range| is_v6(range)),
        ipam: state.ipam.take_if(|ipam| is_v6(&ipam.universe)),
    };
    state.ipv6 = match values.get(KEY) {
        None => misplaced,
        Some(bytes) => {
            let unreadable = |error| format!("its value \"weave-ipv6\" cannot be read: {error}");
            serde_json::from_slice(bytes).map_err(unreadable)?
        }
    };
    Ok(())
}

/// Unknown to Weave Net, which keeps it.
const KEY: &[u8] = b"weave-ipv6";
