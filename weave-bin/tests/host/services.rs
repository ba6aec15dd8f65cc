//! Services of Kubernetes on a host: rules as kube-proxy writes them in either of its modes, beside
//! ours, and packets of pods, of the host and of a client outside.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use weave_datapath::netns::Namespace;

use crate::ip;
use crate::node::{BRIDGE, HOST, Node, OUTSIDE};

/// The Service, its port, and the pod behind it.
const SERVICE: &str = "10.96.0.10";
const PORT: u16 = 80;
const POD: &str = "10.32.0.5";
const POD_PORT: u16 = 8080;
/// Its node port under `externalTrafficPolicy: Local`, and under `Cluster`.
const LOCAL: u16 = 30080;
const CLUSTER: u16 = 30081;

/// What kube-proxy writes in its iptables mode.
const IPTABLES: &str = "*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-SEP-WEB - [0:0]
:KUBE-EXT-WEB - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-SEP-WEB
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30081 -j KUBE-EXT-WEB
-A KUBE-EXT-WEB -j KUBE-MARK-MASQ
-A KUBE-EXT-WEB -j KUBE-SEP-WEB
-A KUBE-SVC-WEB ! -s 10.32.0.0/12 -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEB -j KUBE-SEP-WEB
-A KUBE-SEP-WEB -s 10.32.0.5/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-WEB -p tcp -m tcp -j DNAT --to-destination 10.32.0.5:8080
COMMIT
";

/// The same in its nftables mode: a table of its own.
const NFTABLES: &str = "table ip kube-proxy {
  chain mark-for-masquerade {
    meta mark set meta mark | 0x4000
  }
  chain masquerading {
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }
  chain endpoint-web {
    ip saddr 10.32.0.5 jump mark-for-masquerade
    meta l4proto tcp dnat to 10.32.0.5:8080
  }
  chain service-web {
    ip daddr 10.96.0.10 tcp dport 80 ip saddr != 10.32.0.0/12 jump mark-for-masquerade
    goto endpoint-web
  }
  chain external-web {
    jump mark-for-masquerade
    goto endpoint-web
  }
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.10 . tcp . 80 : goto service-web }
  }
  map service-nodeports {
    type inet_proto . inet_service : verdict
    elements = { tcp . 30080 : goto endpoint-web, tcp . 30081 : goto external-web }
  }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    fib daddr type local meta l4proto . th dport vmap @service-nodeports
  }
  chain nat-prerouting {
    type nat hook prerouting priority -100
    jump services
  }
  chain nat-output {
    type nat hook output priority -100
    jump services
  }
  chain nat-postrouting {
    type nat hook postrouting priority 100
    jump masquerading
  }
}
";

/// Who the pod behind the Service sees when somebody in `from` connects to `port` of `address`.
fn seen(from: &Namespace, pod: &Namespace, (address, port): (&str, u16)) -> Option<IpAddr> {
    let bind = || TcpListener::bind((POD, POD_PORT));
    let listener = pod.run(bind).unwrap().unwrap();
    let target = (address.parse::<IpAddr>().unwrap(), port).into();
    let connect = || TcpStream::connect_timeout(&target, Duration::from_millis(1500));
    let _client = from.run(connect).unwrap().ok()?;
    let (_, seen) = listener.accept().unwrap();
    Some(seen.ip())
}

fn services_work(mode: &str, program: &str, rules: &str) {
    let Some(mut node) = Node::new(&format!("svc-{mode}"), &[program, "ip"]) else {
        return;
    };
    // As the init container sets it: answers that only cross the bridge are translated back.
    let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if node
        .host
        .run(|| std::fs::write(path, "1"))
        .unwrap()
        .is_err()
    {
        println!("skipped: needs the module br_netfilter");
        return;
    }
    node.start(&["--no-masq-local"]);
    node.expose("");
    let (pod, other) = (node.pod(POD), node.pod("10.32.0.6"));
    node.run(&format!("ip route add default via {OUTSIDE}"));
    let line = if mode == "iptables" {
        program.to_owned()
    } else {
        format!("{program} -f -")
    };
    node.feed(&line, rules);

    // Which addresses the host owns is told within a second.
    node.until("a client outside is seen", |node| {
        seen(&node.outside, &pod, (HOST, LOCAL)) == ip(OUTSIDE)
    });
    let service = (SERVICE, PORT);
    assert_eq!(
        seen(&other, &pod, service),
        ip("10.32.0.6"),
        "{mode}: a pod"
    );
    assert_eq!(seen(&node.host, &pod, service), ip(BRIDGE), "{mode}: host");
    // Under its own address the answer would not come back by the host.
    assert_eq!(
        seen(&pod, &pod, service),
        ip(BRIDGE),
        "{mode}: the pod to itself"
    );
    let local = seen(&node.outside, &pod, (HOST, LOCAL));
    assert_eq!(local, ip(OUTSIDE), "{mode}: externalTrafficPolicy Local");
    let cluster = seen(&node.outside, &pod, (HOST, CLUSTER));
    assert_eq!(cluster, ip(BRIDGE), "{mode}: externalTrafficPolicy Cluster");
    // What kube-proxy wrote is as it was.
    assert_eq!(node.state().rule_repairs, 0);
}

#[test]
fn services_of_kube_proxy_in_iptables_mode_work() {
    services_work("iptables", "iptables-nft-restore", IPTABLES);
}

#[test]
fn services_of_kube_proxy_in_nftables_mode_work() {
    services_work("nftables", "nft", NFTABLES);
}

#[test]
fn without_the_option_a_client_outside_is_seen_under_the_bridge_s_address() {
    let Some(mut node) = Node::new("svc-off", &["iptables-nft-restore", "ip"]) else {
        return;
    };
    node.start(&[]);
    node.expose("");
    let pod = node.pod(POD);
    node.feed("iptables-nft-restore", IPTABLES);

    assert_eq!(seen(&node.outside, &pod, (HOST, LOCAL)), ip(BRIDGE));
}
