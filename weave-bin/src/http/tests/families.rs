//! Addresses of two families, asked for by programs that know of both and by those that do not.

use std::time::Duration;

use serde_json::Value;

use super::{Answer, Host, ask, run};
use crate::store::tests::Scratch;

const BOTH: &[&str] = &[
    "--ipalloc-range=10.32.0.0/24,fd00:32::/64",
    "--ipalloc-init=seed=::1",
];

async fn body(host: &Host, method: &str, path: &str) -> String {
    let Answer { status, body, .. } = ask(&host.address, method, path, None).await;
    assert!(status < 300, "{method} {path}: {status} {body}");
    body
}

async fn report(host: &Host) -> Value {
    let body = host.client().get_json("/report").await.unwrap().body;
    serde_json::from_str(&body).unwrap()
}

#[test]
fn who_names_no_family_gets_ipv4_and_who_asks_for_all_gets_all() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, BOTH).await;

        let old = ask(&host.address, "POST", "/ip/old", None).await;
        assert_eq!(old.body, "10.32.0.1/24");
        assert_eq!(old.header("weave-fresh"), Some("true"));
        let new = ask(&host.address, "POST", "/ip/new?family=all", None).await;
        assert_eq!(new.body, "10.32.0.2/24 fd00:32::1/64");
        assert_eq!(new.header("weave-fresh"), Some(&*new.body));
        let again = ask(&host.address, "POST", "/ip/new?family=all", None).await;
        assert_eq!(again.header("weave-fresh"), None);
        assert_eq!(again.body, new.body);
        let more = ask(&host.address, "POST", "/ip/old?family=all", None).await;
        assert_eq!(more.body, "10.32.0.1/24 fd00:32::2/64");
        assert_eq!(more.header("weave-fresh"), Some("fd00:32::2/64"));

        assert_eq!(body(&host, "GET", "/ip/new").await, "10.32.0.2/24");
        let all = body(&host, "GET", "/ip/new?family=all").await;
        assert_eq!(all, "10.32.0.2/24 fd00:32::1/64");
        let six = body(&host, "GET", "/ip/new/fd00:32::/64").await;
        assert_eq!(six, "fd00:32::1/64");
        let subnets = "/ipinfo/defaultsubnet";
        assert_eq!(body(&host, "GET", subnets).await, "10.32.0.0/24");
        let subnets = body(&host, "GET", "/ipinfo/defaultsubnet?family=all").await;
        assert_eq!(subnets, "10.32.0.0/24 fd00:32::/64");
        let odd = ask(&host.address, "POST", "/ip/x?family=5", None).await;
        assert_eq!(odd.status, 400);
        assert_eq!(odd.body.trim_end(), "family: \"5\" is not \"all\"");
    });
}

#[test]
fn one_release_frees_both_and_a_claim_is_of_its_family() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, BOTH).await;
        body(&host, "POST", "/ip/pod?family=all").await;
        body(&host, "PUT", "/ip/hand/fd00:32::77/64").await;
        let owned = body(&host, "GET", "/ip").await;
        let expected = concat!(
            r#"{"owned":[{"containerid":"hand","addrs":["fd00:32::77/64"]},"#,
            r#"{"containerid":"pod","addrs":["10.32.0.1/24","fd00:32::1/64"]}]}"#,
            "\n"
        );
        assert_eq!(owned, expected);

        body(&host, "DELETE", "/ip/pod").await;
        body(&host, "DELETE", "/ip/hand/fd00:32::77").await;

        assert_eq!(body(&host, "GET", "/ip").await, "{\"owned\":null}\n");
        let nothing = ask(&host.address, "DELETE", "/ip/pod", None).await;
        assert_eq!(nothing.status, 400);
        assert!(
            nothing.body.contains("no addresses for pod"),
            "{}",
            nothing.body
        );
    });
}

#[test]
fn a_leak_is_collected_in_both_families() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, BOTH).await;
        let query = "plugin=weave-net&network=weave&family=all";
        body(&host, "POST", &format!("/ip/stale?{query}")).await;
        body(&host, "POST", &format!("/ip/kept?{query}")).await;

        let form = "network=weave&valid=kept";
        let freed = ask(&host.address, "POST", "/gc", Some(form)).await;

        assert_eq!(freed.body, "stale\n");
        let left = body(&host, "GET", "/ip").await;
        assert!(
            !left.contains("stale") && left.contains("fd00:32::2/64"),
            "{left}"
        );
    });
}

#[test]
fn addresses_of_both_families_outlive_the_daemon() {
    run(async {
        let scratch = Scratch::new();
        let host = Host::start(&scratch, 1, BOTH).await;
        let given = body(&host, "POST", "/ip/pod?family=all").await;
        host.daemon.stop().await;

        // For a while with IPv4 alone, as an operator may do.
        let only = ["--ipalloc-range=10.32.0.0/24", "--ipalloc-init=seed=::1"];
        let host = Host::start(&scratch, 1, &only).await;
        assert_eq!(
            body(&host, "GET", "/ip/pod?family=all").await,
            "10.32.0.1/24"
        );
        assert!(report(&host).await.get("IPAM6").is_none());
        host.daemon.stop().await;
        let host = Host::start(&scratch, 1, BOTH).await;

        assert_eq!(body(&host, "GET", "/ip/pod?family=all").await, given);
        let report = report(&host).await;
        assert_eq!(report["IPAM"]["Range"], "10.32.0.0/24");
        assert_eq!(report["IPAM6"]["Range"], "fd00:32::/64");
        assert_eq!(report["IPAM6"]["ActiveIPs"], 1);
        let page = body(&host, "GET", "/status").await;
        let blocks: Vec<&str> = page.split("\n\n").map(str::trim).collect();
        assert!(blocks[2].starts_with("Service: ipam\n"), "{page}");
        assert!(blocks[3].starts_with("Service: ipam6\n"), "{page}");
        let metrics = body(&host, "GET", "/metrics").await;
        for line in [
            "weave_ips{state=\"local-used\"} 1\n",
            "weave_ips{state=\"local-used\",family=\"ipv6\"} 1\n",
            "weave_max_ips{family=\"ipv6\"} 1.8446744073709552e+19\n",
        ] {
            assert!(metrics.contains(line), "{line}{metrics}");
        }
    });
}

#[test]
fn ipv6_alone_is_the_primary_family() {
    run(async {
        let scratch = Scratch::new();
        let flags = ["--ipalloc-range=fd00:32::/64", "--ipalloc-init=seed=::1"];
        let host = Host::start(&scratch, 1, &flags).await;

        assert_eq!(body(&host, "POST", "/ip/pod").await, "fd00:32::1/64");
        assert_eq!(
            body(&host, "POST", "/ip/pod?family=all").await,
            "fd00:32::1/64"
        );
        let told = report(&host).await;
        assert_eq!(told["IPAM"]["Range"], "fd00:32::/64");
        assert!(told.get("IPAM6").is_none());
        host.daemon.stop().await;

        let host = Host::start(&scratch, 1, &flags).await;
        assert_eq!(body(&host, "GET", "/ip/pod").await, "fd00:32::1/64");
    });
}

#[test]
fn both_rings_are_shared_with_another_host() {
    run(async {
        let scratch = Scratch::new();
        let flags = [BOTH[0], "--ipalloc-init=seed=::1,::2"];
        let first = Host::start(&scratch, 1, &flags).await;
        let second = Host::start(&scratch, 2, &flags).await;
        let peer = first.daemon.mesh().listen_address().to_string();
        let form = [("peer", peer.as_str())];
        let connected = second.client().post_form("/connect", &form).await;
        assert!(connected.unwrap().is_success());
        super::until_joined(&first, 2).await;

        let one = body(&first, "POST", "/ip/pod?family=all").await;
        let other = body(&second, "POST", "/ip/pod?family=all").await;
        assert_eq!(one, "10.32.0.1/24 fd00:32::1/64");
        assert_eq!(other, "10.32.0.128/24 fd00:32:0:0:8000::/64");

        second.daemon.stop().await;
        // Refused as long as the peer is seen.
        let path = "/peer/00:00:00:00:00:02";
        let mut gained = ask(&first.address, "DELETE", path, None).await;
        for _ in 0..200 {
            if gained.status == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            gained = ask(&first.address, "DELETE", path, None).await;
        }
        // 128 of the one half and 2^63 of the other.
        let text = gained.body;
        assert!(text.starts_with("9223372036854775936 IPs"), "{text}");
    });
}
