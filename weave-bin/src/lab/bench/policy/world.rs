//! The policies that are measured, as objects and as a linear list of iptables rules.
//!
//! Invariant: both forms admit the client to the server by the rule in the middle of those that are
//! there, and nobody else to anything.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use weave_npc::Labels;
use weave_npc::model::{
    NetworkPolicy, Object, ObjectName, Peer, Pod, PodPeer, PortMatch, Ports, Protocol, Rule, Scope,
    Uid, World,
};

/// A node with some policies on it.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    /// The node's name.
    pub(super) node: Arc<str>,
    /// How many policies.
    pub(super) count: u32,
    /// The pod that connects.
    pub(super) client: Ipv4Addr,
    /// The pod that listens.
    pub(super) server: Ipv4Addr,
}

impl Policies {
    /// The two pods that exist.
    pub(super) fn ends(&self) -> [Object; 2] {
        let client = self.pod("client", 0, "client", self.client);
        [client, self.pod("server", 0, "server", self.server)]
    }

    /// The cluster: ten policies a namespace, one pod a policy elsewhere, a hundred pods here.
    pub(super) fn world(&self) -> World {
        let mut world: World = self.ends().into_iter().collect();
        for number in 1..LOCAL {
            let namespace = number % self.namespaces();
            let address = Ipv4Addr::from(FILLERS + number);
            let name = format!("local-{number}");
            let _touched = world.apply(self.pod(&name, namespace, "server", address));
        }
        for number in 0..self.count {
            let _touched = world.apply(self.peer(number));
            let _touched = world.apply(self.policy(number));
        }
        world
    }

    /// The input of `iptables-restore`: a rule for each policy, one after the other.
    pub(super) fn linear(&self) -> String {
        let mut text = String::from(
            "*filter\n:FORWARD ACCEPT [0:0]\n\
             -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
        );
        for number in 0..self.count {
            let source = if self.is_middle(number) {
                self.client
            } else {
                Ipv4Addr::from(PEERS + number)
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "-A FORWARD -s {source}/32 -d {}/32 -p tcp -m tcp --dport {FIRST}:{LAST} -j ACCEPT",
                self.server
            );
        }
        let _ = writeln!(text, "-A FORWARD -d {}/32 -j DROP\nCOMMIT", self.server);
        text
    }

    fn namespaces(&self) -> u32 {
        (self.count / PER_NAMESPACE).max(1)
    }

    /// The middle one of the policies that select the server.
    fn is_middle(&self, number: u32) -> bool {
        number == self.namespaces() * (PER_NAMESPACE / 2)
    }

    fn policy(&self, number: u32) -> Object {
        let namespace = namespace(number % self.namespaces());
        let app = if self.is_middle(number) {
            "client".to_owned()
        } else {
            format!("peer-{number}")
        };
        let peer = Peer::Pods(PodPeer {
            namespaces: Scope::Only(namespace.clone()),
            pods: selector(&app),
        });
        let rule = Rule {
            peers: vec![peer],
            ports: vec![PortMatch {
                protocol: Protocol::Tcp,
                ports: Ports::Range(FIRST, LAST),
            }],
        };
        let name = ObjectName::new(namespace, format!("policy-{number}"));
        Object::Policy(NetworkPolicy::new(name, selector("server")).with_ingress([rule]))
    }

    /// Whom a policy admits, on another node.
    fn peer(&self, number: u32) -> Object {
        let name = format!("peer-{number}");
        let address = Ipv4Addr::from(PEERS + number);
        let namespace = number % self.namespaces();
        match self.pod(&name, namespace, &name, address) {
            Object::Pod(pod) => Object::Pod(pod.on_node("elsewhere")),
            other => other,
        }
    }

    fn pod(&self, name: &str, in_namespace: u32, app: &str, address: Ipv4Addr) -> Object {
        let name = ObjectName::new(namespace(in_namespace), format!("{}-{name}", self.node));
        let labels: Labels = [("app", app.to_owned())].into_iter().collect();
        let uid = Uid::new(name.to_string());
        let pod = Pod::new(name, uid)
            .with_labels(labels)
            .with_addresses([address.into()])
            .on_node(self.node.clone());
        Object::Pod(pod)
    }
}

fn namespace(number: u32) -> Arc<str> {
    format!("ns-{number}").into()
}

fn selector(app: &str) -> weave_npc::Selector {
    let parsed = format!("app={app}").parse();
    parsed.expect("invariant: a name without blanks is a selector's value")
}

/// Pods of the node.
const LOCAL: u32 = 100;
const PER_NAMESPACE: u32 = 10;
/// 10.33.0.0 and 10.34.0.0: addresses of pods that have only a name here.
const FILLERS: u32 = 0x0a21_0000;
const PEERS: u32 = 0x0a22_0000;
/// The ports that policies open: those that sockets get that ask for none.
const FIRST: u16 = 1024;
const LAST: u16 = u16::MAX;

#[cfg(test)]
mod tests {
    use weave_npc::decide;
    use weave_npc::model::Transport;
    use weave_npc::verdict::Flow;

    use super::*;

    fn policies(count: u32) -> Policies {
        Policies {
            node: "n".into(),
            count,
            client: Ipv4Addr::new(10, 32, 0, 1),
            server: Ipv4Addr::new(10, 32, 0, 2),
        }
    }

    #[test]
    fn the_client_is_admitted_by_one_policy_and_others_are_not() {
        let policies = policies(100);
        let world = policies.world();
        let to_server = |source: Ipv4Addr| {
            let port = Transport::Port(Protocol::Tcp, 40_000);
            decide(
                &world,
                &Flow::new(source.into(), policies.server.into(), port),
            )
        };

        let decision = to_server(policies.client);
        assert!(decision.allowed, "{decision}");
        assert!(decision.to_string().contains("policy-50"), "{decision}");
        assert!(!to_server(Ipv4Addr::from(FILLERS + 5)).allowed);
        assert_eq!(world.policies().count(), 100);
    }

    #[test]
    fn without_policies_everything_is_allowed() {
        let policies = policies(0);
        let port = Transport::Port(Protocol::Tcp, 40_000);
        let flow = Flow::new(policies.client.into(), policies.server.into(), port);

        assert!(decide(&policies.world(), &flow).allowed);
    }

    #[test]
    fn the_linear_list_has_the_admitting_rule_in_its_middle() {
        let text = policies(1000).linear();
        let rules: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("ACCEPT"))
            .collect();

        // The policy of the chain and the rule for what is established come first.
        let at = rules.iter().position(|rule| rule.contains("10.32.0.1/32"));
        assert_eq!(rules.len(), 1002);
        assert_eq!(at, Some(502));
    }
}
