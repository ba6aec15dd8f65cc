//! Address allocation: one range, or one of each family.
//!
//! Invariant: the ranges of [`IpamSettings`] are of different families, so a family names a range.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr as _;
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use weave_ipam::InitMode;
use weave_ipam::address::parse_subnet;

use super::{IpamSettings, RangeSettings, SettingsError, bad, number};
use crate::args::flags::Parsed;

/// The settings; `None` without a range. `mtu` is the one given, in bytes.
///
/// # Errors
/// A value that makes no sense, or values that do not go together.
pub(super) fn ipam(
    given: &Parsed,
    mtu: Option<u16>,
) -> Result<Option<IpamSettings>, SettingsError> {
    let text = |name: &str| given.value(name).filter(|text| !text.is_empty());
    let Some(range_text) = text("ipalloc-range") else {
        for (name, flag) in [
            ("ipalloc-cool-down", "--ipalloc-cool-down"),
            ("ipalloc-default-subnet", "--ipalloc-default-subnet"),
            ("ipalloc-init", "--ipalloc-init"),
            ("ipalloc-init-ipv6", "--ipalloc-init-ipv6"),
        ] {
            // A cool-down of 0 is none, which needs no range.
            if text(name).is_some_and(|value| value != "0") {
                return Err(SettingsError::Combination(format!(
                    "{flag} needs --ipalloc-range"
                )));
            }
        }
        return Ok(None);
    };
    let mut ranges = Vec::new();
    let parsed = parse_ranges(range_text).map_err(|reason| bad("--ipalloc-range", reason))?;
    for range in parsed {
        check_mtu(range, mtu)?;
        ranges.push(RangeSettings {
            range,
            default_subnet: None,
        });
    }
    if let Some(subnet_text) = text("ipalloc-default-subnet") {
        let flag = "--ipalloc-default-subnet";
        for subnet in networks(subnet_text).map_err(|reason| bad(flag, reason))? {
            place(&mut ranges, subnet)?;
        }
    }
    let mode = |flag: &str, text: &str| {
        InitMode::from_str(text).map_err(|error| {
            SettingsError::Combination(format!("Unable to parse --{flag}: {error}"))
        })
    };
    let init = mode(
        "ipalloc-init",
        given.value("ipalloc-init").unwrap_or_default(),
    )?;
    let flag6 = "ipalloc-init-ipv6";
    let init6 = text(flag6).map(|text| mode(flag6, text)).transpose()?;
    let cool_down: u32 = number(given, "ipalloc-cool-down", "--ipalloc-cool-down", 0)?;
    Ok(Some(IpamSettings {
        ranges,
        init,
        init6,
        cool_down: Duration::from_secs(cool_down.into()),
    }))
}

/// The ranges that `text` names, separated by commas: one, or one of each family.
///
/// # Errors
/// What cannot be a range of pods' addresses, or not beside the other.
pub fn parse_ranges(text: &str) -> Result<Vec<IpNet>, String> {
    let ranges = networks(text)?;
    for range in &ranges {
        let IpNet::V6(v6) = range else { continue };
        let overlaps = |other: &&Ipv6Net| v6.contains(*other) || other.contains(v6);
        if let Some(reserved) = RESERVED.iter().find(overlaps) {
            return Err(format!(
                "{range} overlaps {reserved}, whose addresses are no pods'"
            ));
        }
    }
    Ok(ranges)
}

/// Networks with zero host bits and room for two hosts, each of another family.
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let mut found: Vec<IpNet> = Vec::new();
    for word in text.split(',') {
        let net = parse_subnet(word.trim()).map_err(|error| error.to_string())?;
        if let Some(other) = found.iter().find(|other| is_same_family(net, **other)) {
            let family = if net.addr().is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(format!(
                "{other} and {net} are both {family}: give at most one of each family"
            ));
        }
        found.push(net);
    }
    Ok(found)
}

fn check_mtu(range: IpNet, mtu: Option<u16>) -> Result<(), SettingsError> {
    match mtu.filter(|mtu| range.addr().is_ipv6() && *mtu < IPV6_MIN_MTU) {
        None => Ok(()),
        Some(mtu) => Err(SettingsError::Combination(format!(
            "--mtu {mtu} is less than the {IPV6_MIN_MTU} bytes that IPv6 needs: choose a larger one, \
             or leave {range} out of --ipalloc-range"
        ))),
    }
}

/// Makes `subnet` the default of the range of its family.
fn place(ranges: &mut [RangeSettings], subnet: IpNet) -> Result<(), SettingsError> {
    let range = ranges
        .iter_mut()
        .find(|one| is_same_family(one.range, subnet))
        .filter(|one| one.range.contains(&subnet) || subnet.contains(&one.range));
    if let Some(range) = range {
        range.default_subnet = Some(subnet);
        return Ok(());
    }
    let all: Vec<String> = ranges.iter().map(|one| one.range.to_string()).collect();
    let text = format!(
        "IP address allocation default subnet {subnet} does not overlap with allocation range {}",
        all.join(",")
    );
    Err(SettingsError::Combination(text))
}

fn is_same_family(one: IpNet, other: IpNet) -> bool {
    let is_v4 = |net: IpNet| matches!(net.addr(), IpAddr::V4(_));
    is_v4(one) == is_v4(other)
}

/// Smallest MTU of a link with IPv6, in bytes (RFC 8200, section 5).
pub(crate) const IPV6_MIN_MTU: u16 = 1280;

/// Link-local and multicast (RFC 4291, section 2.4), loopback and IPv4-mapped addresses.
const RESERVED: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
];

#[cfg(test)]
mod tests {
    use crate::args::daemon::{Settings, SettingsError};

    fn read(line: &str) -> Result<Settings, SettingsError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Settings::read(&words, |_| None)
    }

    fn ranges(line: &str) -> Vec<(String, Option<String>)> {
        let ipam = read(line).unwrap().ipam.unwrap();
        let shown = ipam.ranges.iter().map(|one| {
            let subnet = one.default_subnet.map(|subnet| subnet.to_string());
            (one.range.to_string(), subnet)
        });
        shown.collect()
    }

    #[test]
    fn one_range_of_each_family_is_kept_in_order() {
        let both = ranges("--ipalloc-range=fd00:32::/64,10.32.0.0/12");
        assert_eq!(both[0].0, "fd00:32::/64");
        assert_eq!(both[1].0, "10.32.0.0/12");

        let line = "--ipalloc-range=10.32.0.0/12,fd00:32::/48 \
                    --ipalloc-default-subnet=fd00:32:0:1::/64";
        let with_subnet = ranges(line);
        assert_eq!(with_subnet[0].1, None);
        assert_eq!(with_subnet[1].1.as_deref(), Some("fd00:32:0:1::/64"));
    }

    #[test]
    fn what_cannot_go_together_is_named() {
        for (line, words) in [
            (
                "--ipalloc-range=10.32.0.0/12,10.64.0.0/12",
                "10.32.0.0/12 and 10.64.0.0/12 are both IPv4",
            ),
            (
                "--ipalloc-range=fd00::/64,10.32.0.0/12,fd01::/64",
                "fd00::/64 and fd01::/64 are both IPv6",
            ),
            ("--ipalloc-range=10.32.0.0/12,", "invalid CIDR address: "),
            ("--ipalloc-range=fe80::/64", "fe80::/64 overlaps fe80::/10"),
            ("--ipalloc-range=::/0", "::/0 overlaps fe80::/10"),
            ("--ipalloc-range=ff05::/64", "ff05::/64 overlaps ff00::/8"),
            (
                "--ipalloc-range=10.32.0.0/12,fd00::/64 --mtu=1200",
                "--mtu 1200 is less than the 1280 bytes",
            ),
            (
                "--ipalloc-range=10.32.0.0/12,fd00::/64 --ipalloc-default-subnet=fd01::/64",
                "fd01::/64 does not overlap with allocation range 10.32.0.0/12,fd00::/64",
            ),
            (
                "--ipalloc-range=10.32.0.0/12 --ipalloc-default-subnet=fd01::/64",
                "fd01::/64 does not overlap with allocation range 10.32.0.0/12",
            ),
        ] {
            let text = read(line).unwrap_err().to_string();
            assert!(text.contains(words), "{line}: {text}");
        }
        assert!(read("--ipalloc-range=10.32.0.0/12 --mtu=1200").is_ok());
    }
}
