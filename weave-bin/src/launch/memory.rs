//! What this host remembers, and when it must forget.
//!
//! The state file carries Weave Net's flag `peer-reclaim`: from the first start on Kubernetes it
//! says that the shared list is to be asked whether what is remembered still holds.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::sleep;
use tracing::warn;

use crate::store::{Error, State, StateFile, Store};

/// What the state file says, as far as the start needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Whether there is a state.
    pub exists: bool,
    /// Whether the list is to be asked.
    pub is_flagged: bool,
    /// The range of the addresses.
    pub range: Option<IpNet>,
    /// The peers that started the ring; nothing without a ring.
    pub seeds: Option<Vec<String>>,
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
    let ring = state
        .ipam
        .as_ref()
        .and_then(|snapshot| snapshot.ring.as_ref());
    let name = |peer: &weave_ipam::PeerId| {
        let name = weave_mesh::peer::PeerName::try_from(u64::from(*peer)).ok()?;
        Some(name.to_string())
    };
    Ok(Memory {
        exists: true,
        is_flagged,
        range: state.range,
        seeds: ring.map(|ring| ring.seeds.iter().filter_map(name).collect()),
        peers: state.peers,
    })
}

/// Deletes the state file.
///
/// # Errors
/// It cannot be deleted.
pub async fn forget(store: &Store) -> Result<(), Error> {
    drop(open(store).await?);
    store.remove()
}

/// Notes in the state file that the list is to be asked at the next start. Creates it for the
/// peer `name` with `range` if need be.
///
/// # Errors
/// It cannot be written.
pub async fn flag(store: &Store, name: &str, range: Option<IpNet>) -> Result<(), Error> {
    let mut file = open(store).await?;
    file.set_flag(FLAG, "ok");
    let state = file.stored().cloned().unwrap_or_else(|| State {
        peer_name: name.to_owned(),
        range,
        ipam: None,
        peers: Vec::new(),
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

        let range = "10.32.0.0/12".parse().ok();
        block_on(flag(&store, "02:00:00:00:00:01", range)).unwrap();

        let memory = recall(&store).unwrap();
        assert!(memory.exists && memory.is_flagged && memory.seeds.is_none());
        assert_eq!(memory.range, range);
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
        assert_eq!(memory.range, "10.32.0.0/12".parse().ok());
    }
}
