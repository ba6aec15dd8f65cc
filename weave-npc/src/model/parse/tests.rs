#![expect(
    clippy::needless_pass_by_value,
    reason = "values of `json!` are made for the call"
)]

use serde_json::{Value, json};

use crate::model::{
    Action, ClusterNetworkPolicy, ClusterPeers, Direction, NetworkPolicy, Node, Pod, Ports, raw,
};

fn policy(spec: Value) -> Result<NetworkPolicy, String> {
    let raw = json!({"metadata": {"name": "p", "namespace": "x"}, "spec": spec});
    let raw: raw::NetworkPolicy = serde_json::from_value(raw).unwrap();
    NetworkPolicy::try_from(raw).map_err(|error| error.to_string())
}

fn cluster(rule: Value) -> Result<ClusterNetworkPolicy, String> {
    let raw = json!({"metadata": {"name": "c"}, "spec": {
        "tier": "Admin", "priority": 5, "subject": {"namespaces": {}}, "egress": [rule]}});
    let raw: raw::ClusterNetworkPolicy = serde_json::from_value(raw).unwrap();
    ClusterNetworkPolicy::try_from(raw).map_err(|error| error.to_string())
}

fn isolates(spec: Value) -> (bool, bool) {
    let policy = policy(spec).unwrap();
    (
        policy.rules(Direction::Ingress).is_some(),
        policy.rules(Direction::Egress).is_some(),
    )
}

#[test]
fn directions_are_defaulted_as_the_server_does() {
    assert_eq!(isolates(json!({})), (true, false));
    assert_eq!(isolates(json!({"egress": []})), (true, false));
    assert_eq!(isolates(json!({"egress": [{}]})), (true, true));
    assert_eq!(isolates(json!({"policyTypes": []})), (true, false));
    let listed = json!({"policyTypes": ["Egress"], "ingress": [{}]});
    assert_eq!(isolates(listed), (false, true), "the list alone decides");
}

#[test]
fn networks_lose_their_host_bits() {
    let peer = json!({"ipBlock": {"cidr": "10.0.0.77/24", "except": ["10.0.0.9/32"]}});
    let policy = policy(json!({"ingress": [{"from": [peer]}]})).unwrap();

    let text = format!("{:?}", policy.ingress.unwrap());

    assert!(
        text.contains("10.0.0.0/24") && text.contains("10.0.0.9/32"),
        "{text}"
    );
}

#[test]
fn ports_default_to_tcp_and_may_be_ranges_and_names() {
    let ports = json!([{}, {"port": 80}, {"port": 80, "endPort": 90, "protocol": "UDP"},
                       {"port": "http"}]);
    let policy = policy(json!({"ingress": [{"ports": ports}]})).unwrap();

    let found: Vec<_> = policy.ingress.unwrap()[0]
        .ports
        .iter()
        .map(|port| (port.protocol.to_string(), port.ports.clone()))
        .collect();

    assert_eq!(
        found,
        [
            ("TCP".into(), Ports::All),
            ("TCP".into(), Ports::Range(80, 80)),
            ("UDP".into(), Ports::Range(80, 90)),
            ("TCP".into(), Ports::Named("http".into())),
        ]
    );
}

#[test]
fn what_the_server_refuses_is_refused_with_its_path() {
    let from = |peer: Value| json!({"ingress": [{"from": [peer]}]});
    let port = |port: Value| json!({"ingress": [{"ports": [port]}]});
    let select = |requirement: Value| json!({"podSelector": {"matchExpressions": [requirement]}});
    let cases = [
        (from(json!({})), "spec.ingress[0].from[0]"),
        (
            from(json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}})),
            "spec.ingress[0].from[0].ipBlock",
        ),
        (
            from(json!({"ipBlock": {"cidr": "10.0.0.0"}})),
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}})),
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (
            from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}})),
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (port(json!({"port": 0})), "spec.ingress[0].ports[0].port"),
        (
            port(json!({"port": 65536})),
            "spec.ingress[0].ports[0].port",
        ),
        (port(json!({"port": "80"})), "spec.ingress[0].ports[0].port"),
        (
            port(json!({"port": "a-name-that-is-long"})),
            "spec.ingress[0].ports[0].port",
        ),
        (
            port(json!({"endPort": 80})),
            "spec.ingress[0].ports[0].endPort",
        ),
        (
            port(json!({"port": "http", "endPort": 80})),
            "spec.ingress[0].ports[0].endPort",
        ),
        (
            port(json!({"port": 81, "endPort": 80})),
            "spec.ingress[0].ports[0].endPort",
        ),
        (
            port(json!({"protocol": "ICMP"})),
            "spec.ingress[0].ports[0].protocol",
        ),
        (json!({"policyTypes": ["ingress"]}), "spec.policyTypes[0]"),
        (json!({"egress": [{"from": []}]}), "spec.egress[0].from"),
        (
            select(json!({"key": "a", "operator": "In"})),
            "spec.podSelector.matchExpressions[0].values",
        ),
        (
            select(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            "spec.podSelector.matchExpressions[0].values",
        ),
        (
            select(json!({"key": "a", "operator": "Gt", "values": ["1"]})),
            "spec.podSelector.matchExpressions[0].operator",
        ),
        (
            select(json!({"key": "-a", "operator": "Exists"})),
            "spec.podSelector.matchExpressions[0].key",
        ),
        (
            json!({"podSelector": {"matchLabels": {"a": "b c"}}}),
            "spec.podSelector.matchLabels.a",
        ),
    ];
    for (spec, path) in cases {
        let error = policy(spec.clone()).unwrap_err();
        let start = format!("NetworkPolicy x/p: {path}: ");
        assert!(error.starts_with(&start), "{spec}: {error}");
    }
}

#[test]
fn a_rule_that_is_not_understood_fails_closed() {
    let all = json!({"namespaces": {}});
    let unknown = [
        json!({"action": "Accept", "to": [all, {"domainNames": ["example.org"]}]}),
        json!({"action": "Accept", "to": [all, {"satellites": ["iss"]}]}),
        json!({"action": "Accept", "to": [all], "protocols": [{"icmp": {}}]}),
    ];
    for rule in unknown {
        let policy = cluster(rule.clone()).unwrap();
        assert_eq!(
            policy.egress[0].peers,
            ClusterPeers::AnyOf(vec![]),
            "{rule}"
        );
        assert_eq!(policy.notices.len(), 1, "{rule}");
    }
    for action in ["Deny", "Pass"] {
        let policy = cluster(json!({"action": action, "to": [{"satellites": ["iss"]}],
                                    "protocols": [{"tcp": {}}]}))
        .unwrap();
        assert_eq!(policy.egress[0].action, Action::Deny);
        assert_eq!(policy.egress[0].peers, ClusterPeers::Everybody);
        assert!(policy.egress[0].ports.is_empty());
        assert_eq!(policy.notices[0].path, "spec.egress[0].to[0]");
    }
}

#[test]
fn cluster_rules_are_checked_with_their_path() {
    let all = json!([{"namespaces": {}}]);
    let port = |port: Value| json!({"action": "Deny", "to": all, "protocols": [{"tcp": port}]});
    let cases = [
        (
            json!({"action": "Allow", "to": all}),
            "spec.egress[0].action",
        ),
        (json!({"action": "Deny", "to": []}), "spec.egress[0].to"),
        (json!({"action": "Deny", "from": all}), "spec.egress[0]"),
        (
            json!({"action": "Deny", "to": [{"namespaces": {}, "pods": {}}]}),
            "spec.egress[0].to[0]",
        ),
        (
            json!({"action": "Deny", "to": [{"domainNames": ["example.org"]}]}),
            "spec.egress[0].to[0].domainNames",
        ),
        (
            json!({"action": "Deny", "to": [{"networks": ["10.0.0.0/33"]}]}),
            "spec.egress[0].to[0].networks[0]",
        ),
        (
            port(json!({"destinationPort": {"range": {"start": 9, "end": 9}}})),
            "spec.egress[0].protocols[0].tcp.destinationPort.range",
        ),
        (
            port(json!({"destinationPort": {}})),
            "spec.egress[0].protocols[0].tcp.destinationPort",
        ),
        (
            json!({"action": "Deny", "to": [{"networks": ["10.0.0.0/8"]}],
                   "protocols": [{"destinationNamedPort": "http"}]}),
            "spec.egress[0].protocols",
        ),
    ];
    for (rule, path) in cases {
        let error = cluster(rule.clone()).unwrap_err();
        let start = format!("ClusterNetworkPolicy c: {path}: ");
        assert!(error.starts_with(&start), "{rule}: {error}");
    }
}

#[test]
fn a_pod_has_its_addresses_named_ports_and_state() {
    let raw = json!({
        "metadata": {"name": "p", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n", "containers": [
            {"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"},
                       {"name": "dns", "containerPort": 53}, {"containerPort": 99}]}],
            "initContainers": [{"ports": [{"name": "side", "containerPort": 1}]}]},
        "status": {"phase": "Pending", "podIP": "10.0.0.1",
                   "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}});
    let raw: raw::Pod = serde_json::from_value(raw).unwrap();

    let pod = Pod::try_from(raw).unwrap();

    assert_eq!(pod.name.to_string(), "default/p");
    assert_eq!(pod.addresses.len(), 2);
    assert!(pod.is_terminating && pod.is_endpoint());
    let ports: Vec<_> = pod.ports.iter().map(|p| (&*p.name, p.number)).collect();
    assert_eq!(ports, [("dns", 53), ("dns", 53), ("side", 1)]);
}

#[test]
fn a_node_keeps_the_addresses_that_are_addresses() {
    let raw = json!({"metadata": {"name": "n"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "192.168.0.1"},
        {"type": "Hostname", "address": "n.example.org"}]}});
    let raw: raw::Node = serde_json::from_value(raw).unwrap();

    let node = Node::try_from(raw).unwrap();

    assert_eq!(
        node.addresses,
        ["192.168.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
}
