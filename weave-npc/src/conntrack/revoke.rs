//! Which connections have lost permission.
//!
//! Invariant: a connection is forbidden exactly if its first packet, were it sent now, would not pass
//! the rules for forwarded packets.

use super::Connection;
use crate::ruleset::{Fate, Hook, Packet, Transport, Walk};

/// True if the rules would not let `connection` begin now. The rules must be those of a node that
/// forwards it: a connection that ends or begins at the node itself is not forwarded.
pub fn is_forbidden(rules: &Walk<'_>, connection: &Connection) -> bool {
    let proto = connection.original.proto;
    let transport = match (proto, connection.original.icmp) {
        (_, Some((_, kind, _))) => Transport::Icmp(kind),
        (TCP | UDP | DCCP | SCTP | UDPLITE, None) => {
            let source = connection.original.source_port;
            Transport::Ports(source, connection.server_port())
        }
        _ => Transport::Fragment,
    };
    let (source, destination) = (connection.client(), connection.server());
    let packet = Packet::new(source, destination, proto, transport);
    rules.run(Hook::Forward, &packet).fate != Fate::Accept
}

/// IP protocol numbers that have ports.
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::Tuple;
    use super::*;
    use crate::compile::{Compiler, Options};
    use crate::model::{
        NetworkPolicy, Object, ObjectName, Peer, Pod, PodPeer, PortMatch, Ports, Protocol, Rule,
        Scope, Uid, World,
    };
    use crate::{Labels, Selector};

    fn pod(name: &str, address: &str) -> Object {
        let labels: Labels = [("app", name)].into_iter().collect();
        let pod = Pod::new(ObjectName::new("shop", name), Uid::new(name))
            .with_labels(labels)
            .with_addresses([address.parse().unwrap()])
            .on_node("n1");
        Object::Pod(pod)
    }

    /// From `client` to port 80 of `service`, which stands for `server`.
    fn connection(client: &str, service: &str, server: &str, proto: u8) -> Connection {
        let [client, service, server] =
            [client, service, server].map(|text| text.parse::<IpAddr>().unwrap());
        let tuple = |source, destination, source_port, destination_port| Tuple {
            source,
            destination,
            proto,
            source_port,
            destination_port,
            icmp: None,
        };
        Connection {
            original: tuple(client, service, 40_000, 80),
            reply: tuple(server, client, 8080, 40_000),
            status: 0,
            mark: 0,
            id: 1,
            zone: 0,
        }
    }

    #[test]
    fn a_connection_is_judged_by_its_first_packet_behind_translation() {
        let web = PodPeer {
            namespaces: Scope::Only("shop".into()),
            pods: "app=web".parse().unwrap(),
        };
        let rule = Rule {
            peers: vec![Peer::Pods(web)],
            ports: vec![PortMatch {
                protocol: Protocol::Tcp,
                ports: Ports::Range(8080, 8080),
            }],
        };
        let database: Selector = "app=db".parse().unwrap();
        let policy = NetworkPolicy::new(ObjectName::new("shop", "db"), database);
        let world = World::from_iter([
            pod("web", "10.32.0.1"),
            pod("db", "10.32.0.2"),
            pod("other", "10.32.0.3"),
            Object::Policy(policy.with_ingress([rule])),
        ]);
        let compiler = Compiler::of("n1", &world, Options::default());
        let walk = Walk::new(compiler.ruleset());
        let lost = |client, service, server, proto| {
            is_forbidden(&walk, &connection(client, service, server, proto))
        };

        assert!(!lost("10.32.0.1", "10.96.0.1", "10.32.0.2", TCP));
        assert!(lost("10.32.0.3", "10.96.0.1", "10.32.0.2", TCP));
        assert!(lost("10.32.0.1", "10.96.0.1", "10.32.0.2", UDP));
        assert!(lost("10.32.0.1", "10.32.0.2", "10.32.0.2", 47), "no ports");
        assert!(!lost("10.32.0.2", "10.32.0.1", "10.32.0.1", TCP));
        assert!(compiler.is_isolated("10.32.0.2".parse().unwrap()));
        assert!(!compiler.is_isolated("10.32.0.1".parse().unwrap()));
    }
}
