//! Attaching pods on the real kernel.
#![cfg(feature = "netlink")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod families;
#[path = "../scratch/mod.rs"]
mod scratch;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use scratch::{Scratch, attached, exchange, host, host_ends, request, root};
use weave_datapath::{
    arp,
    attach::{self, Error, Route, Routes, Step},
    netlink::{self, Link, Netlink},
};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn link(netlink: &Netlink, name: &str) -> Link {
    netlink.require_link(name).await.unwrap()
}

#[tokio::test]
async fn two_pods_and_the_host_reach_each_other() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let (one, two) = (Scratch::new("one"), Scratch::new("two"));
    attached(&host, &request(&one, "one0000", "10.32.0.2/12")).await;
    attached(&host, &request(&two, "two0000", "10.32.0.3/12")).await;

    let (a, b, h) = (
        one.udp("10.32.0.2:0"),
        two.udp("10.32.0.3:0"),
        host.udp("10.32.0.1:0"),
    );

    exchange(&a, &b, b.local_addr().unwrap()).unwrap();
    exchange(&b, &h, h.local_addr().unwrap()).unwrap();
    exchange(&h, &a, a.local_addr().unwrap()).unwrap();
}

#[tokio::test]
async fn both_ends_are_configured_as_asked() {
    if !root() {
        return;
    }
    let (host, bridge) = host().await;
    let pod = Scratch::new("pod");

    let done = attached(&host, &request(&pod, "aaaaaaaaaaaa1", "10.32.0.2/12")).await;

    let (outside, inside) = (host.netlink(), pod.netlink());
    let (port, eth0) = (
        link(&outside, "vethweplaaaaaaa").await,
        link(&inside, "eth0").await,
    );
    assert_eq!(
        (done.host.name.as_str(), done.host.mac),
        ("vethweplaaaaaaa", port.mac.unwrap())
    );
    assert_eq!(
        (done.pod.name.as_str(), done.pod.mac),
        ("eth0", eth0.mac.unwrap())
    );
    assert_eq!(
        (done.created, done.mtu, done.pod.index),
        (true, 1376, eth0.index)
    );
    assert_eq!(
        (port.master, port.hairpin, port.up),
        (Some(bridge.index), Some(true), true)
    );
    assert_eq!(
        (port.mtu, eth0.mtu, eth0.up, eth0.running),
        (1376, 1376, true, true)
    );
    assert_eq!(port.alias.as_deref(), Some("aaaaaaaaaaaa1"));
    assert!(
        inside
            .addresses(eth0.index)
            .await
            .unwrap()
            .contains(&net("10.32.0.2/12"))
    );
    let routes = inside.routes().await.unwrap();
    let default = netlink::Route::via(net("0.0.0.0/0"), ip("10.32.0.1"), eth0.index);
    assert!(routes.contains(&default), "{routes:?}");
}

#[tokio::test]
async fn no_end_believes_advertisements_and_neighbours_are_forgotten_soon() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");

    let done = attached(&host, &request(&pod, "aaaaaaaaaaaa1", "10.32.0.2/12")).await;

    for (name, value) in [
        ("base_reachable_time", "5"),
        ("delay_first_probe_time", "2"),
        ("ucast_solicit", "1"),
    ] {
        assert_eq!(
            pod.sysctl(&format!("ipv4/neigh/eth0/{name}")).unwrap(),
            value
        );
    }
    if let Ok(accept_ra) = pod.sysctl("ipv6/conf/eth0/accept_ra") {
        assert_eq!(accept_ra, "0");
        assert_eq!(
            host.sysctl("ipv6/conf/vethweplaaaaaaa/accept_ra").unwrap(),
            "0"
        );
        assert_eq!(host.netlink().addresses(done.host.index).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_second_attach_is_a_no_op() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    let mut request = request(&pod, "again00", "10.32.0.2/12");
    request.addresses.push(net("fd00:32::2/64"));
    let first = attached(&host, &request).await;

    let second = attached(&host, &request).await;

    assert!(!second.created);
    assert_eq!(second.changes, []);
    assert_eq!((first.host, first.pod), (second.host, second.pod));
}

#[tokio::test]
async fn an_interface_that_lost_parts_gets_them_back() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    let request = request(&pod, "parts00", "10.32.0.2/12");
    let first = attached(&host, &request).await;
    let (outside, inside) = (host.netlink(), pod.netlink());
    outside.set_master(first.host.index, None).await.unwrap();
    outside.set_alias(first.host.index, "").await.unwrap();
    outside.set_down(first.host.index).await.unwrap();
    inside
        .delete_address(first.pod.index, net("10.32.0.2/12"))
        .await
        .unwrap();

    let second = attached(&host, &request).await;

    assert!(!second.created);
    assert_eq!(second.pod, first.pod);
    assert_eq!(attached(&host, &request).await.changes, []);
    let (a, h) = (pod.udp("10.32.0.2:0"), host.udp("10.32.0.1:0"));
    exchange(&a, &h, h.local_addr().unwrap()).unwrap();
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_nothing() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    let mut request = request(&pod, "failing", "10.32.0.2/12");
    // The kernel refuses a broadcast address as a next hop, long after the interface is up.
    request.gateways = vec![ip("10.47.255.255")];

    let error = attach::attach_from(&host.namespace, &request)
        .await
        .unwrap_err();

    let Error::Step { step, left, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (step.as_str(), left.len()),
        ("add route 0.0.0.0/0 via 10.47.255.255", 0)
    );
    assert!(
        error
            .to_string()
            .starts_with("container failing: cannot add route"),
        "{error}"
    );
    assert!(host_ends(&host).await.is_empty());
    assert_eq!(pod.netlink().link_by_name("eth0").await.unwrap(), None);
}

#[tokio::test]
async fn a_failure_on_an_existing_interface_leaves_it_as_it_was() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    let good = request(&pod, "existing", "10.32.0.2/12");
    let first = attached(&host, &good).await;
    let mut bad = good.clone();
    bad.addresses.push(net("10.99.0.2/24"));
    bad.hairpin = false;
    bad.routes = Routes::List(vec![Route {
        dst: net("10.77.0.0/16"),
        via: Some(ip("10.99.0.255")),
    }]);

    attach::attach_from(&host.namespace, &bad)
        .await
        .unwrap_err();

    let addresses = pod.netlink().addresses(first.pod.index).await.unwrap();
    assert!(addresses.contains(&net("10.32.0.2/12")));
    assert!(!addresses.contains(&net("10.99.0.2/24")), "{addresses:?}");
    assert_eq!(
        attached(&host, &good).await.changes,
        [],
        "nothing had to be repaired"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_parallel_attaches_succeed_even_when_ids_begin_alike() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pods: Vec<_> = (0..20).map(|n| Scratch::new(&format!("p{n}"))).collect();
    let requests = pods.iter().enumerate().map(|(n, pod)| {
        // Ten share their first seven characters, so all but one must find another name.
        let id = if n % 2 == 0 {
            format!("collide-{n}")
        } else {
            format!("{n:02}-single")
        };
        request(pod, &id, &format!("10.32.1.{}/12", n + 1))
    });

    let tasks: Vec<_> = requests
        .map(|request| {
            let namespace = host.namespace.clone();
            tokio::spawn(async move { attach::attach_from(&namespace, &request).await })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().unwrap().created);
    }

    assert_eq!(host_ends(&host).await.len(), 20);
    let sockets: Vec<_> = pods
        .iter()
        .enumerate()
        .map(|(n, pod)| pod.udp(&format!("10.32.1.{}:0", n + 1)))
        .collect();
    for pair in sockets.windows(2) {
        exchange(&pair[0], &pair[1], pair[1].local_addr().unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_attach_run_several_times_at_once_creates_one_interface() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    let request = request(&pod, "at-once", "10.32.0.2/12");

    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (namespace, request) = (host.namespace.clone(), request.clone());
            tokio::spawn(async move { attach::attach_from(&namespace, &request).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += usize::from(task.await.unwrap().unwrap().created);
    }

    assert_eq!((created, host_ends(&host).await.len()), (1, 1));
    assert_eq!(attached(&host, &request).await.changes, []);
}

#[tokio::test]
async fn an_address_that_moves_to_another_pod_is_reached_at_once() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let (client, old, new) = (
        Scratch::new("client"),
        Scratch::new("old"),
        Scratch::new("new"),
    );
    attached(&host, &request(&client, "client0", "10.32.0.2/12")).await;
    attached(&host, &request(&old, "old0000", "10.32.0.9/12")).await;
    let from = client.udp("10.32.0.2:0");
    let to = old.udp("10.32.0.9:7000");
    exchange(&from, &to, to.local_addr().unwrap()).unwrap();
    let netns = Some(&old.namespace);
    attach::detach_from(&host.namespace, "old0000", netns, "eth0")
        .await
        .unwrap();

    let moved = attached(&host, &request(&new, "new0000", "10.32.0.9/12")).await;

    assert!(matches!(moved.changes.last(), Some(Step::Announce)));
    let to = new.udp("10.32.0.9:7000");
    let started = Instant::now();
    exchange(&from, &to, to.local_addr().unwrap()).unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    let answered = client
        .namespace
        .run(|| arp::request("eth0", Ipv4Addr::new(10, 32, 0, 9), Duration::from_secs(1)))
        .unwrap()
        .unwrap();
    assert_eq!(answered, [moved.pod.mac]);
}

#[tokio::test]
async fn nobody_answers_for_an_address_nobody_has() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    attached(&host, &request(&pod, "asking0", "10.32.0.2/12")).await;
    let ask = |name: &'static str| {
        let target = Ipv4Addr::new(10, 32, 0, 200);
        pod.namespace
            .run(move || arp::request(name, target, Duration::from_millis(30)))
            .unwrap()
    };

    assert!(ask("eth0").unwrap().is_empty());
    assert!(ask("eth9").is_err());
}

#[tokio::test]
async fn a_gateway_outside_the_subnet_gets_a_route_on_the_link() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    let mut request = request(&pod, "outside", "10.40.0.2/24");
    request.gateways = vec![ip("10.32.0.1")];

    let done = attached(&host, &request).await;

    let routes = pod.netlink().routes().await.unwrap();
    let index = done.pod.index;
    assert!(
        routes.contains(&netlink::Route::on_link(net("10.32.0.1/32"), index)),
        "{routes:?}"
    );
    assert!(routes.contains(&netlink::Route::via(
        net("0.0.0.0/0"),
        ip("10.32.0.1"),
        index
    )));
    assert_eq!(attached(&host, &request).await.changes, []);
}

#[tokio::test]
async fn an_empty_route_list_means_no_routes_and_an_mtu_is_taken_without_lowering_the_bridge() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    let mut request = request(&pod, "noroute", "10.32.0.2/12");
    request.routes = Routes::List(Vec::new());
    request.mtu = Some(1300);

    let done = attached(&host, &request).await;

    assert_eq!(done.mtu, 1300);
    let routes = pod.netlink().routes().await.unwrap();
    assert!(routes.iter().all(|route| route.via.is_none()), "{routes:?}");
    assert_eq!(link(&host.netlink(), "weave").await.mtu, 1376);
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused_with_one_clear_line() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let (pod, bare) = (Scratch::new("pod"), Scratch::new("bare"));
    let good = request(&pod, "refused", "10.32.0.2/12");
    let refusal = async |from: &Scratch, request: &attach::Request| {
        attach::attach_from(&from.namespace, request)
            .await
            .unwrap_err()
            .to_string()
    };

    assert_eq!(
        refusal(&bare, &good).await,
        "bridge \"weave\" not present; did you launch weave?"
    );
    let mut bad = good.clone();
    bad.bridge = "vethwe-datapath".to_owned();
    let text = "interface vethwe-datapath is a veth, not a bridge";
    assert_eq!(refusal(&host, &bad).await, text);
    let mut bad = good.clone();
    bad.container_id = "../../etc".to_owned();
    assert!(
        refusal(&host, &bad)
            .await
            .starts_with("container id \"../../etc\" is not")
    );
    let mut bad = good.clone();
    bad.ifname = "a/b".to_owned();
    assert_eq!(
        refusal(&host, &bad).await,
        "\"a/b\" cannot be an interface name"
    );
    let inside = request(&host, "refused", "10.32.0.2/12");
    assert!(
        refusal(&host, &inside)
            .await
            .starts_with("can not specify host network namespace")
    );
    pod.netlink()
        .create_veth("eth0", "peer", 1500)
        .await
        .unwrap();
    assert!(
        refusal(&host, &good)
            .await
            .contains("is not the end of a pair")
    );
    assert!(host_ends(&host).await.is_empty());
}

#[tokio::test]
async fn an_interface_of_another_container_is_not_taken_over() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    attached(&host, &request(&pod, "first00", "10.32.0.2/12")).await;

    let second = request(&pod, "second0", "10.32.0.3/12");
    let error = attach::attach_from(&host.namespace, &second)
        .await
        .unwrap_err();

    assert!(
        error
            .to_string()
            .ends_with("exists and belongs to container first00"),
        "{error}"
    );
}

#[tokio::test]
async fn one_attach_is_quick() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pods: Vec<_> = (0..30).map(|n| Scratch::new(&format!("t{n}"))).collect();
    let mut fresh = Vec::new();
    let mut repeated = Vec::new();
    for (n, pod) in pods.iter().enumerate() {
        let request = request(
            pod,
            &format!("{n:03}timed"),
            &format!("10.32.2.{}/12", n + 1),
        );
        for times in [&mut fresh, &mut repeated] {
            let started = Instant::now();
            attached(&host, &request).await;
            times.push(started.elapsed());
        }
    }
    fresh.sort();
    repeated.sort();
    let (median, worst) = (fresh[fresh.len() / 2], fresh[fresh.len() - 1]);
    println!(
        "attach: median {median:?}, worst {worst:?}; repeated: {:?}",
        repeated[15]
    );

    // The aim is a few milliseconds; the bound leaves room for a debug build on a busy machine.
    assert!(median < Duration::from_millis(100), "{median:?}");
}
