//! The nft ruleset that enforces policies on a node, and what one changed label does to it. No
//! cluster, no root.

use weave_npc::compile::{Compiler, Options};
use weave_npc::manifest::Manifest;
use weave_npc::model::World;

const BEFORE: &str = "
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.32.0.2}]}
---
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n2}
status: {podIPs: [{ip: 10.32.0.1}]}
---
kind: Pod
metadata: {namespace: shop, name: cron}
spec: {nodeName: n2}
status: {podIPs: [{ip: 10.32.0.3}]}
---
kind: NetworkPolicy
metadata: {namespace: shop, name: db-access}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
";
const CHANGE: &str = "
kind: Pod
metadata: {namespace: shop, name: cron, labels: {app: web}}
spec: {nodeName: n2}
status: {podIPs: [{ip: 10.32.0.3}]}
";

fn main() {
    let mut world: World = Manifest::read(BEFORE).objects.into_iter().collect();
    let mut compiler = Compiler::of("n1", &world, Options::default());
    println!("{}", compiler.ruleset());

    for object in Manifest::read(CHANGE).objects {
        let touched = world.apply(object);
        let transaction = compiler.update(&world, &touched);
        println!("pod shop/cron becomes app=web, and the kernel is told:");
        for change in transaction.changes {
            println!("    {change:?}");
        }
    }
}
