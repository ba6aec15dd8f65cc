//! What network policies decide about each pair of pods, and why. No cluster, no root.
//!
//! `cargo run -p weave-examples --example policy_explain [FILE...]`

use weave_npc::manifest::Manifest;
use weave_npc::model::World;
use weave_npc::verdict::{self, End, IpFamily, Options, Table};

/// A shop: a web server and its database, and somebody else.
const SHOP: &str = "
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.1}]}
---
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {nodeName: n1, containers: [{ports: [{name: sql, containerPort: 5432}]}]}
status: {podIPs: [{ip: 10.32.0.2}]}
---
kind: Pod
metadata: {namespace: other, name: curious}
spec: {nodeName: n2}
status: {podIPs: [{ip: 10.40.0.1}]}
---
kind: NetworkPolicy
metadata: {namespace: shop, name: db-access}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: sql}]
";

fn main() -> std::io::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let mut manifest = Manifest::default();
    if files.is_empty() {
        manifest = Manifest::read(SHOP);
    }
    for file in files {
        manifest.append(Manifest::read(&std::fs::read_to_string(file)?));
    }
    for error in &manifest.errors {
        println!("left out: {error}");
    }
    let world: World = manifest.objects.into_iter().collect();

    let ends = End::all(&world);
    for port in verdict::ports_of_interest(&world) {
        for family in IpFamily::BOTH {
            let table = Table::of(&world, &ends, port, family, Options::default());
            if !table.is_empty() {
                println!("{table}");
            }
        }
        for answer in verdict::ask(&world, &ends, &ends, &[port], Options::default()) {
            println!("{} -> {} {port}: {}", answer.from, answer.to, answer.reason);
        }
    }
    Ok(())
}
