//! Does an address range clash with what the host already routes elsewhere?
//!
//! Pods would not be reachable from the host, or the host would lose the other network, so a
//! daemon refuses such a range at start. Default routes clash with nothing.

use ipnet::IpNet;

use crate::netlink::Route;

/// The first route that overlaps `range`, skipping default routes and those over the interfaces
/// `ignored` (the bridge itself).
///
/// # Example
/// ```
/// use weave_datapath::{netcheck, netlink::Route};
///
/// let routes = [Route::on_link("10.40.1.0/24".parse()?, 2)];
/// let clash = netcheck::overlaps("10.32.0.0/12".parse()?, &routes, &[]);
/// assert_eq!(clash.map(|route| route.dst.to_string()).as_deref(), Some("10.40.1.0/24"));
/// assert!(netcheck::overlaps("10.32.0.0/12".parse()?, &routes, &[2]).is_none());
/// # Ok::<(), ipnet::AddrParseError>(())
/// ```
#[must_use]
pub fn overlaps<'a>(range: IpNet, routes: &'a [Route], ignored: &[u32]) -> Option<&'a Route> {
    routes.iter().find(|route| {
        let default = route.dst.prefix_len() == 0;
        let skipped = route.dev.is_some_and(|dev| ignored.contains(&dev));
        // Two prefixes are either disjoint or one holds the other; families never mix.
        let clash = range.contains(&route.dst) || route.dst.contains(&range);
        !default && !skipped && clash
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_default_route_clashes_with_nothing() {
        let routes = [
            Route::via(net("0.0.0.0/0"), "192.0.2.1".parse().unwrap(), 2),
            Route::via(net("::/0"), "fe80::1".parse().unwrap(), 2),
        ];

        assert_eq!(overlaps(net("10.32.0.0/12"), &routes, &[]), None);
        assert_eq!(overlaps(net("fd00::/48"), &routes, &[]), None);
    }

    #[test]
    fn a_wider_route_clashes_as_much_as_a_narrower_one() {
        for dst in ["10.0.0.0/8", "10.32.0.0/12", "10.47.255.255/32"] {
            let routes = [Route::on_link(net(dst), 3)];
            assert_eq!(
                overlaps(net("10.32.0.0/12"), &routes, &[]),
                Some(&routes[0]),
                "{dst}"
            );
        }
        for dst in ["10.48.0.0/12", "192.168.0.0/16", "fd00::/8"] {
            let routes = [Route::on_link(net(dst), 3)];
            assert_eq!(overlaps(net("10.32.0.0/12"), &routes, &[]), None, "{dst}");
        }
    }

    proptest! {
        #[test]
        fn a_clash_is_exactly_a_shared_address(
            a in any::<u32>(), a_len in 1u8..=32, b in any::<u32>(), b_len in 1u8..=32,
        ) {
            let one = ipnet::Ipv4Net::new(a.into(), a_len).unwrap().trunc();
            let two = ipnet::Ipv4Net::new(b.into(), b_len).unwrap().trunc();
            let low = u32::from(one.network()).max(two.network().into());
            let high = u32::from(one.broadcast()).min(two.broadcast().into());
            let routes = [Route::on_link(two.into(), 1)];

            prop_assert_eq!(overlaps(one.into(), &routes, &[]).is_some(), low <= high);
        }
    }
}
