//! Per-interface settings under `/proc/sys/net`.
//!
//! Invariant: reads and writes concern the network namespace of the calling thread, so callers run
//! them by [`Namespace::visit`](crate::netns::Namespace::visit). A setting whose file is absent (IPv6
//! switched off, an old kernel) is no error: it reads as absent and writing it does nothing.

use std::{collections::BTreeMap, fmt, fs, io, path::PathBuf};

/// A value for one setting of one interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// Which setting.
    pub key: Key,
    /// The text to write, without newline.
    pub value: String,
}

/// One setting of one interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Interface name.
    pub interface: String,
    /// Directory below `/proc/sys/net`: `ipv4/neigh`, `ipv6/conf`.
    pub table: &'static str,
    /// File name.
    pub name: &'static str,
}

/// Current values; settings without a file are absent.
pub(crate) type Values = BTreeMap<Key, String>;

impl Setting {
    /// A value for the setting `table/INTERFACE/name`.
    #[must_use]
    pub fn new(interface: &str, table: &'static str, name: &'static str, value: &str) -> Self {
        let key = Key {
            interface: interface.to_owned(),
            table,
            name,
        };
        Self {
            key,
            value: value.to_owned(),
        }
    }

    /// Writes the value; `false` when the kernel has no such setting.
    pub(crate) fn write(&self) -> io::Result<bool> {
        match fs::write(self.key.path(), &self.value) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Key {
    fn path(&self) -> PathBuf {
        ["/proc/sys/net", self.table, &self.interface, self.name]
            .iter()
            .collect()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key {
            interface,
            table,
            name,
        } = &self.key;
        write!(f, "{table}/{interface}/{name}={}", self.value)
    }
}

/// Reads the current values of `keys`; unreadable ones are left out.
pub(crate) fn read<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Values {
    let read_one = |key: &Key| {
        let text = fs::read_to_string(key.path()).ok()?;
        Some((key.clone(), text.trim_end().to_owned()))
    };
    keys.into_iter().filter_map(read_one).collect()
}

/// What still has to be written: all of `wanted` for a fresh interface (`current` is `None`), else
/// those that exist and differ.
pub(crate) fn missing(wanted: Vec<Setting>, current: Option<&Values>) -> Vec<Setting> {
    let differs = |setting: &Setting| match current {
        None => true,
        Some(values) => values
            .get(&setting.key)
            .is_some_and(|value| *value != setting.value),
    };
    wanted.into_iter().filter(differs).collect()
}

/// No router advertisement is believed: routes come from us alone.
pub(crate) fn ignore_router_advertisements(interface: &str) -> Setting {
    Setting::new(interface, "ipv6/conf", "accept_ra", "0")
}

/// An interface that only carries Ethernet frames needs no IPv6 of its own.
pub(crate) fn without_ipv6(interface: &str) -> Setting {
    Setting::new(interface, "ipv6/conf", "disable_ipv6", "1")
}

/// An interface with IPv6 addresses: IPv6 is on, also where new interfaces have it off, and
/// neighbours are as short-lived as those of IPv4.
pub(crate) fn with_ipv6(interface: &str) -> [Setting; 4] {
    let [reachable, delay, solicit] = neighbours(interface, "ipv6/neigh");
    let on = Setting::new(interface, "ipv6/conf", "disable_ipv6", "0");
    [on, reachable, delay, solicit]
}

/// Neighbour entries go stale within seconds, so that an address that moved to another pod is
/// found again quickly. Values of Weave Net (datapath specification, sysctls).
pub(crate) fn short_lived_neighbours(interface: &str) -> [Setting; 3] {
    neighbours(interface, "ipv4/neigh")
}

fn neighbours(interface: &str, table: &'static str) -> [Setting; 3] {
    let setting = |name, value| Setting::new(interface, table, name, value);
    [
        setting("base_reachable_time", "5"),
        setting("delay_first_probe_time", "2"),
        setting("ucast_solicit", "1"),
    ]
}

/// The kernel announces the interface's addresses to its neighbours when its hardware address is
/// set (`inetdev_event`, `net/ipv4/devinet.c`; `ndisc_netdev_event`, `net/ipv6/ndisc.c`).
pub(crate) fn announce_addresses(interface: &str) -> [Setting; 2] {
    [
        Setting::new(interface, "ipv4/conf", "arp_notify", "1"),
        Setting::new(interface, "ipv6/conf", "ndisc_notify", "1"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_reads_as_its_path_and_value() {
        let setting = ignore_router_advertisements("eth0.5");

        assert_eq!(setting.to_string(), "ipv6/conf/eth0.5/accept_ra=0");
        assert_eq!(
            setting.key.path(),
            PathBuf::from("/proc/sys/net/ipv6/conf/eth0.5/accept_ra")
        );
    }

    #[test]
    fn a_setting_of_a_missing_interface_is_absent_and_writing_it_is_no_error() {
        let setting = ignore_router_advertisements("no-such-if");

        assert!(!setting.write().unwrap());
        assert!(read([&setting.key]).is_empty());
    }

    #[test]
    fn only_existing_settings_that_differ_are_missing() {
        let wanted = short_lived_neighbours("x").to_vec();
        let mut current = Values::new();
        current.insert(wanted[0].key.clone(), "5".to_owned());
        current.insert(wanted[1].key.clone(), "7".to_owned());

        assert_eq!(
            missing(wanted.clone(), Some(&current)),
            vec![wanted[1].clone()]
        );
        assert_eq!(missing(wanted.clone(), None), wanted);
    }
}
