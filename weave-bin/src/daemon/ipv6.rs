//! Whether this host can have IPv6 addresses on its bridge, and what becomes of an IPv6 range if not.
//!
//! Invariant (D5): a range that is left out is told with its reason, and nothing of IPv4 changes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::error::StartError;
use crate::args::daemon::Settings;

/// An IPv6 range that is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LeftOut {
    /// The range.
    pub range: String,
    /// Why, in words.
    pub reason: String,
}

/// Takes the IPv6 range out of `settings` where the kernel, whose settings are under `sys`, has no
/// IPv6.
///
/// # Errors
/// [`StartError::NoIpv6`] when it is the only range.
pub(super) fn leave_out(settings: &mut Settings, sys: &Path) -> Result<(), StartError> {
    let Some(ipam) = &mut settings.ipam else {
        return Ok(());
    };
    let Some(at) = ipam
        .ranges
        .iter()
        .position(|one| one.range.addr().is_ipv6())
    else {
        return Ok(());
    };
    let Err(reason) = usable(sys) else {
        return Ok(());
    };
    let range = ipam.ranges[at].range.to_string();
    if ipam.ranges.len() == 1 {
        return Err(StartError::NoIpv6 { range, reason });
    }
    warn!("IPv6 range {range} is left out, pods get IPv4 addresses only: {reason}");
    ipam.ranges.remove(at);
    settings.left_out = Some(LeftOut { range, reason });
    Ok(())
}

/// Whether interfaces of this network namespace may have IPv6 addresses.
///
/// # Errors
/// Why not.
fn usable(sys: &Path) -> Result<(), String> {
    match std::fs::read_to_string(sys.join(DISABLED)) {
        // What cannot be read is found out by the first address.
        Ok(value) if value.trim() == "1" => {
            Err("IPv6 is switched off on this host (net.ipv6.conf.all.disable_ipv6=1)".to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err("the kernel of this host has no IPv6".to_owned())
        }
        _ => Ok(()),
    }
}

/// Where settings of the kernel are.
pub(super) const SYS: &str = "/proc/sys";
const DISABLED: &str = "net/ipv6/conf/all/disable_ipv6";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    fn settings(range: &str) -> Settings {
        let words = [format!("--ipalloc-range={range}")];
        Settings::read(&words, |_| None).unwrap()
    }

    /// A kernel whose IPv6 is off, on, or not there.
    fn kernel(scratch: &Scratch, value: Option<&str>) -> std::path::PathBuf {
        let sys = scratch.path("sys");
        let file = sys.join(DISABLED);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        match value {
            Some(value) => std::fs::write(&file, value).unwrap(),
            None => drop(std::fs::remove_file(&file)),
        }
        sys
    }

    #[test]
    fn without_ipv6_its_range_is_left_out_with_the_reason() {
        let scratch = Scratch::new();
        for (value, words) in [
            (Some("1\n"), "switched off on this host"),
            (None, "the kernel of this host has no IPv6"),
        ] {
            let sys = kernel(&scratch, value);
            for given in ["10.32.0.0/12,fd00:32::/64", "fd00:32::/64,10.32.0.0/12"] {
                let mut settings = settings(given);
                leave_out(&mut settings, &sys).unwrap();

                assert_eq!(settings.ranges(), ["10.32.0.0/12".parse().unwrap()]);
                let left_out = settings.left_out.unwrap();
                assert_eq!(left_out.range, "fd00:32::/64");
                assert!(left_out.reason.contains(words), "{left_out:?}");
            }
            let refused = leave_out(&mut settings("fd00:32::/64"), &sys).unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
            leave_out(&mut settings("10.32.0.0/12"), &sys).unwrap();
        }
    }

    #[test]
    fn with_ipv6_nothing_is_left_out() {
        let scratch = Scratch::new();
        let sys = kernel(&scratch, Some("0\n"));
        let mut settings = settings("10.32.0.0/12,fd00:32::/64");

        leave_out(&mut settings, &sys).unwrap();

        assert_eq!(settings.ranges().len(), 2);
        assert_eq!(settings.left_out, None);
    }
}
