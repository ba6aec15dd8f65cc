//! How a host finds its peer name.
//!
//! In this order: the name given; the name in the state file; the MAC of an existing bridge; a
//! hash of the machine's identity files (the rule of Weave Net, so that a host that moves over
//! keeps its name); a random one, which the state file then keeps. Weave Net ends with an error
//! where we draw a random name.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use weave_mesh::peer::PeerName;

/// What is known about the host before it has a name.
#[derive(Debug, Clone, Default)]
pub struct Clues {
    /// The name given on the command line.
    pub given: Option<PeerName>,
    /// The name in the state file.
    pub stored: Option<PeerName>,
    /// The MAC of the bridge, when there is one.
    pub bridge: Option<[u8; 6]>,
    /// What identifies the machine.
    pub identity: Identity,
}

/// The raw content of the files that identify a machine, line ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `/etc/machine-id`, or D-Bus's copy.
    pub machine_id: Vec<u8>,
    /// The product UUID of the firmware, or the hypervisor's.
    pub system_uuid: Vec<u8>,
}

/// Where a name comes from, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Given,
    /// The state file.
    Stored,
    /// The bridge.
    Bridge,
    /// The machine's identity files.
    Machine,
    /// Chance.
    Random,
}

impl Identity {
    /// Reads the identity files: the machine id under `host_root`, the UUID under `sys`.
    /// Files that are not there count as empty.
    pub fn read(host_root: &Path, sys: &Path) -> Self {
        Self {
            machine_id: first_of(host_root, ["etc/machine-id", "var/lib/dbus/machine-id"]),
            system_uuid: first_of(sys, ["class/dmi/id/product_uuid", "hypervisor/uuid"]),
        }
    }

    /// The name that follows from the identity; `None` without any.
    pub fn name(&self) -> Option<PeerName> {
        if self.machine_id.is_empty() && self.system_uuid.is_empty() {
            return None;
        }
        let hash = Sha256::new()
            .chain_update(SALT)
            .chain_update(&self.machine_id)
            .chain_update(&self.system_uuid)
            .finalize();
        let bytes: [u8; 32] = hash.into();
        let [a, b, c, d, e, f, ..] = bytes;
        Some(local_unicast([a, b, c, d, e, f]))
    }
}

impl Clues {
    /// The name of this host, and where it comes from. `random` is used when nothing else tells.
    pub fn name(&self, random: [u8; 6]) -> (PeerName, Origin) {
        let bridge = self.bridge.filter(is_usable).map(PeerName::from_bytes);
        let candidates = [
            (self.given, Origin::Given),
            (self.stored, Origin::Stored),
            (bridge, Origin::Bridge),
            (self.identity.name(), Origin::Machine),
        ];
        for (name, origin) in candidates {
            if let Some(name) = name {
                return (name, origin);
            }
        }
        (local_unicast(random), Origin::Random)
    }
}

/// A bridge without ports of its own has a random MAC, which serves; all zero or group do not.
fn is_usable(mac: &[u8; 6]) -> bool {
    *mac != [0; 6] && mac[0] & 1 == 0
}

/// `bytes` as a locally administered unicast address.
fn local_unicast(mut bytes: [u8; 6]) -> PeerName {
    bytes[0] = bytes[0] & 0xfe | 0x02;
    PeerName::from_bytes(bytes)
}

fn first_of(root: &Path, names: [&str; 2]) -> Vec<u8> {
    names
        .iter()
        .find_map(|name| fs::read(root.join(name)).ok())
        .unwrap_or_default()
}

/// Weave Net's salt; it makes the name unusable to find the machine id out.
const SALT: &[u8] = b"9oBJ0Jmip-";

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::store::tests::Scratch;

    fn vector(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn recorded_identities_give_the_recorded_names() {
        let vectors = vector(include_str!("../../tests/vectors/peer-name.json"));
        for case in vectors["cases"].as_array().unwrap() {
            let bytes = |key: &str| case[key].as_str().unwrap().as_bytes().to_vec();
            let identity = Identity {
                machine_id: bytes("machine_id"),
                system_uuid: bytes("system_uuid"),
            };

            assert_eq!(
                identity.name().unwrap().to_string(),
                case["name"].as_str().unwrap()
            );
        }
    }

    #[test]
    fn identities_of_the_data_path_vectors_give_their_names() {
        let vectors = vector(include_str!("../../tests/vectors/datapath-peer-names.json"));
        let cases = vectors["derive"].as_array().unwrap();
        assert_eq!(cases.len(), 6);
        for case in cases {
            let bytes = |key: &str| case[key].as_str().unwrap().as_bytes().to_vec();
            let identity = Identity {
                machine_id: bytes("machine_id_file_text"),
                system_uuid: bytes("product_uuid_file_text"),
            };

            let name = identity.name().unwrap().to_string();
            assert_eq!(name, case["peer_name"].as_str().unwrap(), "{}", case["id"]);
        }
    }

    #[test]
    fn names_given_are_read_as_recorded() {
        let vectors = vector(include_str!("../../tests/vectors/datapath-peer-names.json"));
        for case in vectors["parse"].as_array().unwrap() {
            let parsed = case["input"].as_str().unwrap().parse::<PeerName>();

            match case["name"].as_str() {
                Some(name) => assert_eq!(parsed.unwrap().to_string(), name),
                None => assert!(parsed.is_err(), "{case}"),
            }
        }
    }

    #[test]
    fn the_surest_clue_wins() {
        let name = |text: &str| Some(text.parse::<PeerName>().unwrap());
        let mut clues = Clues {
            given: name("::1"),
            stored: name("::2"),
            bridge: Some([2, 0, 0, 0, 0, 3]),
            identity: Identity {
                machine_id: b"x".to_vec(),
                system_uuid: Vec::new(),
            },
        };

        assert_eq!(clues.name([0; 6]).1, Origin::Given);
        clues.given = None;
        assert_eq!(clues.name([0; 6]).1, Origin::Stored);
        clues.stored = None;
        assert_eq!(clues.name([0; 6]).0.to_string(), "02:00:00:00:00:03");
        clues.bridge = Some([0; 6]);
        assert_eq!(clues.name([0; 6]).1, Origin::Machine);
        clues.identity = Identity::default();
        let (random, origin) = clues.name([0xff; 6]);
        assert_eq!(
            (random.to_string().as_str(), origin),
            ("fe:ff:ff:ff:ff:ff", Origin::Random)
        );
    }

    #[test]
    fn identity_files_are_read_raw_and_in_order() {
        let scratch = Scratch::new();
        let put = |name: &str, text: &str| {
            let path = scratch.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("var/lib/dbus/machine-id", "bus\n");
        put("sys/hypervisor/uuid", "xen\n");
        let read = || Identity::read(&scratch.path("."), &scratch.path("sys"));

        let first = read();
        put("etc/machine-id", "etc\n");
        put("sys/class/dmi/id/product_uuid", "dmi\n");
        let second = read();

        assert_eq!(
            (&*first.machine_id, &*first.system_uuid),
            (&b"bus\n"[..], &b"xen\n"[..])
        );
        assert_eq!(
            (&*second.machine_id, &*second.system_uuid),
            (&b"etc\n"[..], &b"dmi\n"[..])
        );
    }
}
