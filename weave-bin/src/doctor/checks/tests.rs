//! A healthy host gives nothing; one thing wrong with it gives one finding.

use serde_json::json;

use crate::doctor::evidence::{
    Api, Daemon, Dial, Disk, Evidence, Kernel, Lack, Link, Owner, Page, Plugin, Reach, Route,
};
use crate::doctor::filter::tests::{chain, rule};
use crate::doctor::filter::{Does, Filter, Hook, Kind, Rule, TCP, UDP};
use crate::doctor::{Finding, Severity, examine};
use crate::pods::{Mark, Plugin as Asker};
use crate::status::model::{Connection, Report, RingEntry};

/// A host with a peer, a pod, a default route and an ordinary packet filter.
pub(in crate::doctor) fn healthy() -> Evidence {
    let report = json!({
        "Ready": true, "Version": "3.0.0",
        "VersionCheck": {"Enabled": false, "Success": false, "NewVersion": "", "NextCheckAt": ""},
        "Router": {
            "Protocol": "weave", "ProtocolMinVersion": 2, "ProtocolMaxVersion": 2,
            "Encryption": false, "PeerDiscovery": true, "Name": ONE, "NickName": "one", "Port": 6783,
            "Peers": [], "UnicastRoutes": [], "BroadcastRoutes": [],
            "Connections": [{
                "Address": "192.0.2.2:6783", "Outbound": true, "State": "established",
                "Info": format!("fastdp {TWO}(two)"), "Attrs": {"name": "fastdp", "mtu": 1376},
            }],
            "TerminationCount": 0, "Targets": ["192.0.2.2", "three.example"],
            "OverlayDiagnostics": {}, "TrustedSubnets": [], "Interface": "weave",
            "CaptureStats": null, "MACs": null,
        },
        "IPAM": {
            "Paxos": null, "Range": "10.32.0.0/12", "RangeNumIPs": 1_048_576_u32, "ActiveIPs": 2,
            "DefaultSubnet": "10.32.0.0/12", "PendingClaims": null, "PendingAllocates": null,
            "Entries": [
                {"Token": "10.32.0.0", "Size": 524_288, "Peer": ONE, "Nickname": "one",
                 "IsKnownPeer": true, "Version": 1},
                {"Token": "10.40.0.0", "Size": 524_288, "Peer": TWO, "Nickname": "two",
                 "IsKnownPeer": true, "Version": 1},
            ],
        },
        "Node": {"DBPrefix": "/var/lib/weave/weave", "HostRoot": "/", "Bridge": "weave",
                 "ConnLimit": 200, "StatusPort": 6782},
        "Host": {"Iptables": "nft", "IptablesReason": "", "Exposed": [], "RuleRepairs": 0,
                 "LinkRepairs": 0, "Faults": []},
    });
    let report: Report = serde_json::from_value(report).unwrap();
    let link = |name: &str, kind: Option<&str>, mtu| Link {
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        mtu,
        up: true,
        ..Link::default()
    };
    let pod = Link {
        alias: Some("c0ffee".to_owned()),
        master: Some("weave".to_owned()),
        ..link("vethweplc0ffee", Some("veth"), 1376)
    };
    let route = |to: &str, dev: &str| Route {
        to: to.parse().unwrap(),
        via: None,
        dev: Some(dev.to_owned()),
    };
    Evidence {
        version: "3.0.0".to_owned(),
        since: "2026-11-20T00:00:00.000000Z".to_owned(),
        daemon: Daemon::Up(Box::new(report)),
        owners: vec![Owner {
            id: "c0ffee".to_owned(),
            addresses: vec!["10.32.0.2/12".parse().unwrap()],
            mark: Some(Mark {
                plugin: Asker::Net,
                network: Some("weave".to_owned()),
            }),
        }],
        kernel: Kernel {
            forward: Some(1),
            forward6: Some(0),
            no_ipv6: Some(0),
            bridge_calls: Some(1),
            ..Kernel::default()
        },
        links: vec![
            link("lo", None, 65_536),
            link("eth0", None, 1500),
            link("weave", Some("bridge"), 1376),
            pod,
        ],
        routes: vec![
            route("0.0.0.0/0", "eth0"),
            route("192.0.2.0/24", "eth0"),
            route("10.32.0.0/12", "weave"),
        ],
        filter: Some(Filter {
            chains: vec![
                chain("INPUT", Some(Hook::Input), false, Vec::new()),
                chain("FORWARD", Some(Hook::Forward), true, forward_accepts()),
            ],
        }),
        disk: Some(Disk {
            directory: "/var/lib/weave".to_owned(),
            free: 1 << 30,
            files: Some(1000),
            read_only: false,
        }),
        pages: vec![Page {
            address: "192.0.2.2".parse().unwrap(),
            version: Some("3.0.0".to_owned()),
            ahead: Some(-1),
        }],
        ..Evidence::default()
    }
}

/// As the daemon puts them into a chain that drops.
fn forward_accepts() -> Vec<Rule> {
    let weave = || Some(("weave".to_owned(), false));
    vec![
        Rule {
            input: weave(),
            output: Some(("weave".to_owned(), true)),
            ..rule(Does::Accept)
        },
        Rule {
            output: weave(),
            replies: true,
            ..rule(Does::Accept)
        },
    ]
}

fn report(evidence: &mut Evidence) -> &mut Report {
    match &mut evidence.daemon {
        Daemon::Up(report) => report,
        _ => panic!("the daemon is down"),
    }
}

/// What is found when this is wrong with a healthy host: one thing.
fn only(change: impl FnOnce(&mut Evidence)) -> Finding {
    let mut evidence = healthy();
    change(&mut evidence);
    let mut found = examine(&evidence);
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = found.remove(0);
    assert!(!found.why.is_empty() && !found.fix.is_empty(), "{found:?}");
    // What was written down is judged as what was looked at.
    let text = serde_json::to_string(&evidence).unwrap();
    let again: Evidence = serde_json::from_str(&text).unwrap();
    assert_eq!(examine(&again), std::slice::from_ref(&found));
    found
}

fn nothing(change: impl FnOnce(&mut Evidence)) {
    let mut evidence = healthy();
    change(&mut evidence);
    assert_eq!(examine(&evidence), []);
}

fn attempt(evidence: &mut Evidence, host: &str, info: &str) {
    report(evidence).router.connections.push(Connection {
        address: format!("{host}:6783"),
        outbound: true,
        state: "failed".to_owned(),
        info: format!("{info}, retry: 2026-11-20 21:48:53 +0000 UTC"),
        attrs: None,
    });
}

fn dialled(evidence: &mut Evidence, host: &str, outcome: Reach) {
    attempt(evidence, host, "dial tcp4: i/o timeout");
    evidence.dials.push(Dial {
        address: format!("{host}:6783"),
        outcome,
    });
}

/// Law X2.
#[test]
fn a_healthy_host_gives_no_finding() {
    nothing(|_| {});
    // Where nothing is known, nothing is wrong.
    assert_eq!(examine(&Evidence::default()), []);
}

#[test]
fn a_daemon_that_is_down_is_all_there_is_to_say_of_it() {
    let found = only(|evidence| {
        evidence.daemon = Daemon::Down {
            address: "127.0.0.1:6784".to_owned(),
            reason: "connection refused".to_owned(),
        };
    });

    assert_eq!(
        (found.check.as_str(), found.fix.as_str()),
        ("daemon", "weave launch")
    );
    assert_eq!(found.severity, Severity::Error);
}

#[test]
fn settings_of_the_kernel_are_told_with_the_command() {
    let off = only(|evidence| evidence.kernel.forward = Some(0));
    assert_eq!(off.fix, "sysctl -w net.ipv4.ip_forward=1");
    nothing(|evidence| evidence.kernel.bridge_calls = Some(0));
    let cluster = |evidence: &mut Evidence| {
        evidence.api = Some(Api {
            address: "10.96.0.1:443".to_owned(),
            outcome: Reach::Open,
        });
    };
    nothing(cluster);
    for calls in [Some(0), None] {
        let found = only(|evidence| {
            cluster(evidence);
            evidence.kernel.bridge_calls = calls;
        });
        assert_eq!(found.check, "bridge-nf");
    }
    let lack = only(|evidence| {
        evidence.kernel.lacks = vec![Lack {
            part: "VXLAN devices with metadata".to_owned(),
            reason: "operation not supported".to_owned(),
        }];
    });
    assert_eq!(
        (lack.check.as_str(), lack.fix.as_str()),
        ("kernel", "modprobe vxlan")
    );
    let filter = only(|evidence| evidence.kernel.no_filter = Some("not supported".to_owned()));
    assert_eq!(filter.fix, "modprobe nf_tables");
}

#[test]
fn two_families_need_forwarding_of_both() {
    let six = only(|evidence| {
        let report = report(evidence);
        report.ipam6.clone_from(&report.ipam);
    });
    assert_eq!(six.fix, "sysctl -w net.ipv6.conf.all.forwarding=1");

    let left = only(|evidence| {
        evidence.kernel.no_ipv6 = Some(1);
        report(evidence).left_out = Some(crate::daemon::LeftOut {
            range: "fd00::/64".to_owned(),
            reason: "IPv6 is switched off on this host".to_owned(),
        });
    });
    assert_eq!(
        (left.check.as_str(), left.severity),
        ("ipv6", Severity::Warning)
    );
}

#[test]
fn only_routes_to_others_overlap_the_range() {
    let found = only(|evidence| {
        evidence.routes.push(Route {
            to: "10.40.0.0/16".parse().unwrap(),
            via: None,
            dev: Some("tun0".to_owned()),
        });
    });

    assert_eq!(found.fix, "ip route delete 10.40.0.0/16 dev tun0");
}

#[test]
fn a_full_disk_and_one_for_reading_stop_the_daemon() {
    fn disk(evidence: &mut Evidence) -> &mut Disk {
        evidence.disk.as_mut().unwrap()
    }
    let full = only(|evidence| disk(evidence).free = 4096);
    assert!(full.what.contains("4 KiB are free"), "{full:?}");
    assert_eq!(
        only(|evidence| disk(evidence).files = Some(0)).check,
        "disk"
    );
    assert_eq!(
        only(|evidence| disk(evidence).read_only = true).check,
        "disk"
    );
    // A file system may count no files at all.
    nothing(|evidence| disk(evidence).files = None);
}

#[test]
fn only_a_configuration_before_ours_is_wrong() {
    let plugin = |file: &str, kind: &str| Plugin {
        file: file.to_owned(),
        kinds: vec![kind.to_owned()],
    };
    let (ours, other) = (
        plugin("10-weave.conflist", "weave-net"),
        plugin("05-x.conf", "bridge"),
    );

    let found = only(|evidence| evidence.plugins = vec![other.clone(), ours.clone()]);
    assert_eq!(found.fix, "mv 05-x.conf 05-x.conf.off");
    nothing(|evidence| evidence.plugins = vec![ours.clone(), plugin("20-x.conf", "bridge")]);
    // Without the plugin, somebody else's is the one that is meant.
    nothing(|evidence| evidence.plugins = vec![other.clone()]);
}

#[test]
fn other_plugins_are_known_by_interfaces_and_chains() {
    let found = only(|evidence| {
        let filter = evidence.filter.as_mut().unwrap();
        filter
            .chains
            .push(chain("cali-FORWARD", None, false, Vec::new()));
        evidence.links.push(Link {
            name: "cali12345".to_owned(),
            ..Link::default()
        });
    });

    assert_eq!(
        found.fix,
        "ip link delete cali12345 && iptables-save | grep -Ev 'cali-' | iptables-restore"
    );
}

#[test]
fn a_filter_that_drops_the_ports_explains_what_does_not_connect() {
    let dropped = only(|evidence| {
        evidence.filter.as_mut().unwrap().chains[0].drops = true;
        dialled(evidence, "192.0.2.3", Reach::Silent);
        stuck(evidence, "fastdp: no heartbeat for 2 s");
    });
    assert_eq!(dropped.check, "input");
    assert!(
        dropped.what.contains("TCP 6783, UDP 6783, UDP 6784"),
        "{dropped:?}"
    );

    let open = |protocol, first, last| Rule {
        protocol: Some(protocol),
        ports: Some((first, last)),
        ..rule(Does::Accept)
    };
    let closed = only(|evidence| {
        let input = &mut evidence.filter.as_mut().unwrap().chains[0];
        input.drops = true;
        input.rules = vec![open(TCP, 6783, 6783), open(UDP, 6784, 6784)];
    });
    assert_eq!(
        closed.fix,
        "iptables -I INPUT -p udp --dport 6783 -j ACCEPT"
    );
    nothing(|evidence| {
        let input = &mut evidence.filter.as_mut().unwrap().chains[0];
        input.drops = true;
        input.rules = vec![open(TCP, 6783, 6783), open(UDP, 6783, 6784)];
    });
}

#[test]
fn a_table_of_another_program_that_drops_what_is_forwarded_is_named() {
    let found = only(|evidence| {
        let mut forward = chain("forward", Some(Hook::Forward), true, Vec::new());
        forward.family = "inet".to_owned();
        forward.table = "site".to_owned();
        evidence.filter.as_mut().unwrap().chains.push(forward);
    });

    assert_eq!(
        found.fix,
        "nft insert rule inet site forward iifname weave accept && \
         nft insert rule inet site forward oifname weave accept"
    );
    // iptables for IPv6 does not matter without IPv6.
    nothing(|evidence| {
        let mut six = chain("FORWARD", Some(Hook::Forward), true, Vec::new());
        six.family = "ip6".to_owned();
        evidence.filter.as_mut().unwrap().chains.push(six);
    });
    let legacy = only(|evidence| {
        let mut old = chain("FORWARD", Some(Hook::Forward), true, Vec::new());
        old.kind = Kind::Legacy;
        evidence.filter.as_mut().unwrap().chains.push(old);
    });
    assert_eq!(legacy.fix, "iptables-legacy -I FORWARD -i weave -j ACCEPT");
}

#[test]
fn words_about_an_attempt_tell_what_is_wrong() {
    let cases = [
        ("Unable to decrypt TCP msg", "password"),
        ("EOF (the remote may have another password)", "password"),
        (
            "no password specificed, but peer requested an encrypted connection",
            "encryption",
        ),
        (
            "password specified, but peer requested an unencrypted connection",
            "encryption",
        ),
        (
            "local \"a\" and remote \"b\" peer names collision",
            "identity",
        ),
        ("Connection limit reached (7)", "limit"),
        ("refused: Connection limit reached (7)", "limit"),
        (
            "remote version range [1,1] is incompatible with ours [2,2]",
            "protocol",
        ),
        ("no overlays in common with peer", "overlay"),
    ];
    for (words, check) in cases {
        let found = only(|evidence| attempt(evidence, "192.0.2.3", words));
        assert_eq!(found.check, check, "{words}");
    }
    let file = only(|evidence| {
        let node = report(evidence).node.as_mut().unwrap();
        node.password_file = Some("/etc/weave/password".to_owned());
        attempt(evidence, "192.0.2.3", "Unable to decrypt TCP msg");
    });
    assert_eq!(
        file.fix,
        "echo 'PASSWORD OF THE OTHERS' >> /etc/weave/password"
    );
    nothing(|evidence| attempt(evidence, "192.0.2.3", "cannot connect to ourself"));
    // It is connected the other way round.
    nothing(|evidence| attempt(evidence, "192.0.2.2", "Unable to decrypt TCP msg"));
}

#[test]
fn refusals_of_the_past_are_forgiven() {
    let refused = |evidence: &mut Evidence, last: &str| {
        let one = json!([{"Address": "192.0.2.3", "Reason": "Unable to decrypt TCP msg",
                          "Count": 1, "Last": last}]);
        report(evidence).router.refused = serde_json::from_value(one).unwrap();
    };
    let found = only(|evidence| refused(evidence, "2026-11-20T00:00:01.000000Z"));

    assert_eq!(found.check, "password");
    nothing(|evidence| refused(evidence, "2026-11-19T23:59:59.000000Z"));
}

#[test]
fn who_does_not_answer_is_told_by_what_came_instead() {
    for (outcome, check) in [
        (Reach::Silent, "port"),
        (Reach::Refused, "peer"),
        (Reach::Failed("network is unreachable".to_owned()), "route"),
    ] {
        let found = only(|evidence| dialled(evidence, "192.0.2.3", outcome));
        assert_eq!(found.check, check);
    }
    // An attempt is under way and will come to something.
    nothing(|evidence| dialled(evidence, "192.0.2.3", Reach::Open));
}

#[test]
fn who_is_gone_is_told_once_with_its_addresses() {
    let found = only(|evidence| {
        let ring = &mut report(evidence).ipam.as_mut().unwrap().entries;
        ring.iter_mut()
            .for_each(|entry: &mut RingEntry| entry.is_known_peer = entry.peer != TWO);
        dialled(evidence, "192.0.2.3", Reach::Refused);
    });

    assert_eq!(found.check, "space");
    assert_eq!(
        found.fix,
        format!("weave rmpeer {TWO} && weave forget 192.0.2.3")
    );
}

fn stuck(evidence: &mut Evidence, reason: &str) {
    let one = json!({"Connections": [{"Peer": TWO, "Overlay": "sleeve", "Reason": reason}]});
    let router = &mut report(evidence).router;
    router
        .overlay_diagnostics
        .insert("switches".to_owned(), one);
    router.connections[0].info = format!("sleeve {TWO}(two)");
}

#[test]
fn an_overlay_is_stuck_when_nothing_is_heard_and_not_when_it_was_chosen() {
    let found = only(|evidence| stuck(evidence, "fastdp: no heartbeat for 2 s"));
    assert_eq!(
        (found.check.as_str(), found.severity),
        ("overlay", Severity::Warning)
    );
    nothing(|evidence| stuck(evidence, "fastdp: the peer does not offer it"));

    let nothing_passes = only(|evidence| {
        report(evidence).router.connections[0].state = "pending".to_owned();
    });
    assert_eq!(nothing_passes.check, "udp");
}

#[test]
fn an_mtu_that_does_not_fit_explains_an_overlay_that_is_stuck() {
    let found = only(|evidence| {
        evidence.links[2].mtu = 1500;
        stuck(evidence, "fastdp: no heartbeat for 2 s");
    });

    assert_eq!(found.check, "mtu");
    assert_eq!(found.fix, "weave stop && weave launch --mtu 1450");
    // A jumbo network carries it.
    nothing(|evidence| {
        evidence.links[1].mtu = 9001;
        evidence.links[2].mtu = 8951;
    });
}

#[test]
fn rings_that_clash_and_votes_that_wait_are_told() {
    fn ipam(evidence: &mut Evidence) -> &mut crate::status::model::Ipam {
        report(evidence).ipam.as_mut().unwrap()
    }
    let clash = only(|evidence| ipam(evidence).conflicts = vec!["a".to_owned(), "b".to_owned()]);
    assert!(clash.what.ends_with("clash: a (and 1 more)"), "{clash:?}");

    let range = only(|evidence| {
        let words =
            "Incompatible IP allocation ranges (received: 10.64.0.0/12, ours: 10.32.0.0/12)";
        ipam(evidence).conflicts = vec![words.to_owned()];
    });
    assert!(
        range.fix.ends_with("10.32.0.0/12") && range.on.is_some(),
        "{range:?}"
    );
    let exposed = only(|evidence| {
        let words =
            "10.32.0.1/12 of weave:expose belongs to 02:00:00:00:00:02: give it another address";
        ipam(evidence).renumber = vec![words.to_owned()];
    });
    assert_eq!(exposed.fix, "weave hide 10.32.0.1/12 && weave expose");

    let vote = |evidence: &mut Evidence, waits: bool| {
        let ipam = ipam(evidence);
        ipam.entries.clear();
        ipam.paxos = Some(crate::status::model::Paxos {
            elector: true,
            known_nodes: 1,
            quorum: 2,
        });
        ipam.pending_allocates = vec!["c0ffee 10.32.0.0/12".to_owned(); usize::from(waits)];
    };
    assert_eq!(only(|evidence| vote(evidence, true)).check, "consensus");
    nothing(|evidence| vote(evidence, false));
}

#[test]
fn only_pods_leak() {
    let found = only(|evidence| drop(evidence.links.pop()));
    assert_eq!(found.check, "leaked");
    assert_eq!(found.fix, "weave ipam release c0ffee");
    nothing(|evidence| {
        evidence.links.pop();
        evidence.owners[0].mark = None;
    });
}

#[test]
fn clocks_and_versions_of_peers_are_compared() {
    let page = |last: u8, version: &str, ahead| Page {
        address: [192, 0, 2, last].into(),
        version: Some(version.to_owned()),
        ahead,
    };
    let old = only(|evidence| evidence.pages = vec![page(2, "2.8.1", None)]);
    assert_eq!(
        (old.check.as_str(), old.severity),
        ("version", Severity::Warning)
    );
    assert!(old.what.contains("192.0.2.2 runs 2.8.1"), "{old:?}");

    let theirs = only(|evidence| {
        evidence.pages = vec![page(2, "3.0.0", Some(7200)), page(3, "3.0.0", Some(0))];
    });
    assert_eq!(
        theirs.what,
        "the clock of 192.0.2.2 is 7200 s ahead of ours"
    );
    let ours = only(|evidence| {
        evidence.pages = vec![page(2, "3.0.0", Some(60)), page(3, "3.0.0", Some(61))];
    });
    assert_eq!(
        ours.what,
        "the clock of this host is 60 s behind that of every peer"
    );
}

const ONE: &str = "02:00:00:00:00:01";
const TWO: &str = "02:00:00:00:00:02";
