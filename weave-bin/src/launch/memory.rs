//! What this host remembers, and when it must forget.
//!
//! The state file carries Weave Net's flag `peer-reclaim`: from the first start on Kubernetes it
//! says that the shared list is to be asked whether what is remembered still holds.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::sleep;
use tracing::warn;

use crate::store::{Error, Ipv6, State, StateFile, Store};

/// What the state file says, as far as the start needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Whether there is a state.
    pub exists: bool,
    /// Whether the list is to be asked.
    pub is_flagged: bool,
    /// The ranges of the addresses, IPv4 first.
    pub ranges: Vec<IpNet>,
    /// The peers that started the ring; nothing without a ring.
    pub seeds: Option<Vec<String>>,
    /// Whether there is an IPv6 ring.
    pub has_ipv6: bool,
    /// The peers that were given before.
    pub peers: Vec<String>,
}

/// Reads the state file of `store`.
///
/// # Errors
/// It is damaged or cannot be read.
pub fn recall(store: &Store) -> Result<Memory, Error> {
    let is_flagged = store.flag(FLAG)?.is_some();
    let Some(state) = store.load()? else {
        return Ok(Memory {
            is_flagged,
            ..Memory::default()
        });
    };
    let mut rings = [state.ipam.as_ref(), state.ipv6.ipam.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|snapshot| snapshot.ring.as_ref());
    let ring = rings.next();
    let name = |peer: &weave_ipam::PeerId| {
        let name = weave_mesh::peer::PeerName::try_from(u64::from(*peer)).ok()?;
        Some(name.to_string())
    };
    Ok(Memory {
        exists: true,
        is_flagged,
        ranges: state.range.into_iter().chain(state.ipv6.range).collect(),
        seeds: ring.map(|ring| ring.seeds.iter().filter_map(name).collect()),
        has_ipv6: is_begun(state.ipv6.ipam.as_ref()),
        peers: state.peers,
    })
}

/// Whether the allocator of this state has a ring.
fn is_begun(snapshot: Option<&weave_ipam::Snapshot>) -> bool {
    snapshot.is_some_and(|snapshot| snapshot.ring.is_some())
}

/// Deletes the state file.
///
/// # Errors
/// It cannot be deleted.
pub async fn forget(store: &Store) -> Result<(), Error> {
    drop(open(store).await?);
    store.remove()
}

/// Forgets the IPv6 range and its ring, and nothing else.
///
/// # Errors
/// The state file cannot be written.
pub async fn forget_ipv6(store: &Store) -> Result<(), Error> {
    let mut file = open(store).await?;
    if let Some(mut state) = file.stored().cloned() {
        state.ipv6 = Ipv6::default();
        file.save(&state)?;
        file.settle()?;
    }
    Ok(())
}

/// Notes in the state file that the list is to be asked at the next start. Creates it for the
/// peer `name` with `range` if need be.
///
/// # Errors
/// It cannot be written.
pub async fn flag(store: &Store, name: &str, ranges: &[IpNet]) -> Result<(), Error> {
    let mut file = open(store).await?;
    file.set_flag(FLAG, "ok");
    let state = file.stored().cloned().unwrap_or_else(|| {
        let mut state = State::new(name);
        ranges.iter().for_each(|range| state.set_range(*range));
        state
    });
    file.save(&state)?;
    file.settle()
}

/// Writes the flag `name` into a state file that is there.
///
/// # Errors
/// There is no state file, or it cannot be written.
pub async fn set_flag(store: &Store, name: &str, value: &str) -> Result<(), Error> {
    let mut file = open(store).await?;
    let Some(state) = file.stored().cloned() else {
        return Err(Error::Absent(store.path().to_owned()));
    };
    file.set_flag(name, value);
    file.save(&state)?;
    file.settle()
}

/// Opens the file; while another daemon has it, waits and says so.
async fn open(store: &Store) -> Result<StateFile, Error> {
    let mut round = 0_u32;
    loop {
        match store.open() {
            Err(Error::Locked(path)) => {
                if round.is_multiple_of(SAY_EVERY) {
                    let path = path.display();
                    warn!("waiting for the daemon that uses {path} to end");
                }
                round = round.wrapping_add(1);
                sleep(PAUSE).await;
            }
            opened => return opened,
        }
    }
}

const FLAG: &str = "peer-reclaim";
const PAUSE: Duration = Duration::from_millis(100);
/// Pauses between two lines in the log.
const SAY_EVERY: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn a_fresh_host_remembers_nothing_and_is_flagged_then() {
        let scratch = Scratch::new();
        let store = Store::new(&scratch.path("w-"));
        assert_eq!(recall(&store).unwrap(), Memory::default());

        let ranges: Vec<IpNet> = ["10.32.0.0/12", "fd00:32::/64"]
            .map(|range| range.parse().unwrap())
            .into();
        block_on(flag(&store, "02:00:00:00:00:01", &ranges)).unwrap();

        let memory = recall(&store).unwrap();
        assert!(memory.exists && memory.is_flagged && memory.seeds.is_none());
        assert_eq!(memory.ranges, ranges);
        block_on(forget_ipv6(&store)).unwrap();
        assert_eq!(recall(&store).unwrap().ranges, ranges[..1]);
        block_on(forget(&store)).unwrap();
        assert_eq!(recall(&store).unwrap(), Memory::default());
    }

    #[test]
    fn the_file_of_an_old_host_is_flagged_and_has_its_seeds() {
        let scratch = Scratch::new();
        let recorded = include_bytes!("../../tests/vectors/store/weave-netdata.db");
        std::fs::write(scratch.path("w-data.db"), recorded).unwrap();
        let store = Store::new(&scratch.path("w-"));

        let memory = recall(&store).unwrap();

        assert!(memory.exists && memory.is_flagged);
        assert_eq!(memory.seeds.unwrap(), ["62:d6:c4:97:8d:3a"]);
        assert_eq!(memory.ranges, ["10.32.0.0/12".parse().unwrap()]);
    }
}
