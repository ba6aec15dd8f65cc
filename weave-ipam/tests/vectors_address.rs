//! Ranges, networks and subnets as Weave Net 2.9 computes and reads them.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod vector;

use ipnet::IpNet;
use serde_json::Value;
use vector::{address, list, load, range, span, spans, text};
use weave_ipam::AddressRange;
use weave_ipam::address::{
    coalesce, difference, host_range, number, parse_address, parse_cidr, parse_subnet,
};

fn networks(value: &Value) -> Vec<IpNet> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .map(|text| text.as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn ranges_are_measured_and_cut_into_networks() {
    for case in list(&load("address"), "ranges") {
        let range = range(&case["in"]);

        assert_eq!(
            range.span.size(),
            u128::from(case["size"].as_u64().unwrap()),
            "{case}"
        );
        assert_eq!(range.networks(), networks(&case["cidrs"]), "{case}");
        if range.span.is_empty() {
            assert!(range.span.largest_block().is_empty());
            continue;
        }
        assert_eq!(
            range.span.largest_block(),
            span(&case["biggest_cidr_range"]),
            "{case}"
        );
        // The reference writes any range of a power of two addresses as a network, also one that
        // is not aligned and so is none; here such a range prints as first and last address.
        let shown = range.to_string();
        let expected = if range.network().is_some() {
            "as_cidr_string"
        } else {
            "display"
        };
        assert_eq!(shown, text(case, expected), "{case}");
    }
}

#[test]
fn networks_are_read() {
    for case in list(&load("address"), "parse_cidr") {
        let input = text(case, "in");
        if input.contains("::") {
            continue; // IPv6 is refused by the reference, see below
        }

        let parsed = parse_cidr(input);

        match case["parse_cidr_error"].as_str() {
            Some(error) => assert_eq!(parsed.unwrap_err().to_string(), error),
            None => assert_eq!(parsed.unwrap().to_string(), text(case, "cidr")),
        }
    }
}

#[test]
fn subnets_are_checked() {
    for case in list(&load("address"), "parse_cidr") {
        let input = text(case, "in");
        if input.contains("::") || input == "0.0.0.0/0" {
            continue;
        }

        let parsed = parse_subnet(input);

        if let Some(error) = case["parse_subnet_error"].as_str() {
            assert_eq!(parsed.unwrap_err().to_string(), error);
            continue;
        }
        let subnet = parsed.unwrap();
        let hosts = host_range(subnet).span;
        assert_eq!(
            hosts.start(),
            address(&case["host_range"]["start"]),
            "{case}"
        );
        assert_eq!(hosts.end(), address(&case["host_range"]["end"]), "{case}");
        if input == "128.0.0.0/1" {
            continue; // its end overflows in the reference
        }
        assert_eq!(
            AddressRange::of(subnet).span,
            span(&case["range"]),
            "{case}"
        );
    }
}

/// Better than the reference, which knows no IPv6 and counts no addresses in 0.0.0.0/0.
#[test]
fn ipv6_and_whole_families_are_subnets() {
    assert_eq!(parse_subnet("fe80::/64").unwrap().to_string(), "fe80::/64");
    assert_eq!(
        AddressRange::of(parse_subnet("0.0.0.0/0").unwrap())
            .span
            .size(),
        1 << 32
    );
    assert!(parse_subnet("fe80::1/64").is_err() && parse_subnet("fe80::/127").is_err());
}

#[test]
fn addresses_are_read() {
    for case in list(&load("address"), "parse_ip") {
        let input = text(case, "in");
        if input.contains("::") {
            // The reference makes 0.0.0.0 of ::1; here it stays what it is.
            assert!(parse_address(input).unwrap().is_ipv6());
            continue;
        }

        let parsed = parse_address(input);

        match case["error"].as_str() {
            Some(error) => assert_eq!(parsed.unwrap_err().to_string(), error),
            None => assert_eq!(number(parsed.unwrap()), address(&case["out"])),
        }
    }
}

#[test]
fn adjacent_ranges_are_joined() {
    for case in list(&load("address"), "merge_adjacent") {
        assert_eq!(coalesce(spans(&case["in"])), spans(&case["out"]), "{case}");
    }
}

#[test]
fn what_two_lists_have_in_common_is_left_out() {
    for case in list(&load("address"), "remove_common") {
        let (only_a, only_b) = difference(&networks(&case["a"]), &networks(&case["b"]));

        assert_eq!(only_a, networks(&case["only_a"]), "{case}");
        assert_eq!(only_b, networks(&case["only_b"]), "{case}");
    }
}
