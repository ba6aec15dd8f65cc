//! The objects of the add-on.
//!
//! Names, labels, selector and namespace are Weave Net's, since a DaemonSet's selector cannot be
//! changed. Rights that nothing uses are gone, and a container is privileged only where capabilities
//! do not suffice:
//!
//! | container | rights | for |
//! |---|---|---|
//! | `weave-init` | `SYS_MODULE` | loading `br_netfilter` |
//! | | the host's `/proc/sys/net`, mounted | letting bridged packets pass the rules |
//! | `weave-npc` | `NET_ADMIN` | sets and rules |
//! | | `NET_RAW` | the packets that rules log |
//! | `weave` | privileged | sysctls of the bridge: runtimes mount `/proc/sys` read-only for all others |
//!
//! Besides sysctls, `weave` uses `NET_ADMIN` (bridge, tunnel, rules, tc programs), `NET_RAW` (ARP, frames
//! in user space), `BPF` and `PERFMON` (loading the fast path), `SYS_ADMIN` (mounting and pinning in
//! bpffs).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::options::Options;

/// What the manifest is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// A DaemonSet with its account and rights.
    #[default]
    DaemonSet,
    /// One pod in a kubelet's directory, without rights: peers are given by hand.
    StaticPod,
}

/// The manifest that `options` ask for.
pub fn manifest(options: &Options) -> Value {
    match options.form {
        Form::DaemonSet => json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                service_account(),
                cluster_role(options),
                binding("ClusterRoleBinding", "ClusterRole", false),
                role(),
                binding("RoleBinding", "Role", true),
                daemon_set(options),
            ],
        }),
        Form::StaticPod => json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata(true),
            "spec": pod(options),
        }),
    }
}

fn metadata(is_namespaced: bool) -> Value {
    let mut metadata = json!({"name": NAME, "labels": {"name": NAME}});
    if is_namespaced {
        metadata["namespace"] = NAMESPACE.into();
    }
    metadata
}

// ===== rights =====

fn service_account() -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(true)})
}

fn cluster_role(options: &Options) -> Value {
    // Nodes: who the peers are. Pods, namespaces, policies: the policy controller.
    let look = json!(["get", "list", "watch"]);
    let mut rules = vec![
        json!({"apiGroups": [""], "resources": ["nodes"], "verbs": look}),
        json!({"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]}),
    ];
    if !options.disable_npc {
        let watched = ["pods", "namespaces"];
        rules.push(json!({"apiGroups": [""], "resources": watched, "verbs": look}));
        rules.push(json!({
            "apiGroups": ["networking.k8s.io"],
            "resources": ["networkpolicies"],
            "verbs": look,
        }));
        // A cluster without the kind answers 403 instead of 404 to who may not look for it.
        rules.push(json!({
            "apiGroups": ["policy.networking.k8s.io"],
            "resources": ["clusternetworkpolicies"],
            "verbs": look,
        }));
    }
    json!({
        "apiVersion": RBAC,
        "kind": "ClusterRole",
        "metadata": metadata(false),
        "rules": rules,
    })
}

/// The shared list of peers. A name cannot be given on creation.
fn role() -> Value {
    json!({
        "apiVersion": RBAC,
        "kind": "Role",
        "metadata": metadata(true),
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [NAME],
                "verbs": ["get", "update"],
            },
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
        ],
    })
}

fn binding(kind: &str, role: &str, is_namespaced: bool) -> Value {
    json!({
        "apiVersion": RBAC,
        "kind": kind,
        "metadata": metadata(is_namespaced),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
    })
}

// ===== the pods =====

fn daemon_set(options: &Options) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(true),
        "spec": {
            // Time for a new peer to connect before the next one is touched.
            "minReadySeconds": 5,
            // Two pods of one node would want the same ports and the same state file.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "selector": {"matchLabels": {"name": NAME}},
            "template": {"metadata": {"labels": {"name": NAME}}, "spec": pod(options)},
        },
    })
}

fn pod(options: &Options) -> Value {
    let mut containers = vec![weave(options)];
    if !options.disable_npc {
        containers.push(npc(options));
    }
    let se_linux: Map<String, Value> = options
        .se_linux
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let mut pod = json!({
        "initContainers": [init(options)],
        "containers": containers,
        "hostNetwork": true,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "priorityClassName": "system-node-critical",
        "restartPolicy": "Always",
        "securityContext": {"seLinuxOptions": se_linux},
        // The process ends at once when it is told to.
        "terminationGracePeriodSeconds": 5,
        "tolerations": [
            {"effect": "NoSchedule", "operator": "Exists"},
            {"effect": "NoExecute", "operator": "Exists"},
        ],
        "volumes": volumes(),
    });
    if options.form == Form::DaemonSet {
        pod["serviceAccountName"] = NAME.into();
    }
    pod
}

fn init(options: &Options) -> Value {
    json!({
        "name": "weave-init",
        "image": image(options, "weave-kube"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["/home/weave/init.sh"],
        "env": env(options, Reader::Init),
        "securityContext": capabilities(&["SYS_MODULE"]),
        "resources": requests("10m", "16Mi"),
        "volumeMounts": [
            mount("cni-bin", "/host/opt"),
            mount("cni-bin2", "/host/home"),
            mount("proc-sys-net", "/host/proc/sys/net"),
            read_only(mount("lib-modules", "/lib/modules")),
        ],
    })
}

fn weave(options: &Options) -> Value {
    json!({
        "name": "weave",
        "image": image(options, "weave-kube"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["/home/weave/launch.sh"],
        "env": env(options, Reader::Weave),
        // No liveness probe: what waits, for an API server or a ring, a kill does not help.
        "readinessProbe": {"httpGet": {"host": "127.0.0.1", "path": "/status", "port": 6784}},
        "securityContext": {"privileged": true},
        "resources": requests("50m", "64Mi"),
        "volumeMounts": [
            mount("weavedb", "/weavedb"),
            read_only(mount("dbus", "/host/var/lib/dbus")),
            read_only(mount("cni-machine-id", "/host/etc/machine-id")),
            mount("cni-conf", "/host/etc/cni/net.d"),
            mount("xtables-lock", "/run/xtables.lock"),
            mount("bpf", "/sys/fs/bpf"),
        ],
    })
}

fn npc(options: &Options) -> Value {
    json!({
        "name": "weave-npc",
        "image": image(options, "weave-npc"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/bin/launch.sh"],
        "env": env(options, Reader::Npc),
        "securityContext": capabilities(&["NET_ADMIN", "NET_RAW"]),
        "resources": requests("50m", "64Mi"),
        "volumeMounts": [mount("xtables-lock", "/run/xtables.lock")],
    })
}

fn capabilities(added: &[&str]) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"add": added, "drop": ["ALL"]},
        "runAsUser": 0,
    })
}

fn requests(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}})
}

fn mount(name: &str, path: &str) -> Value {
    json!({"name": name, "mountPath": path})
}

fn read_only(mut mount: Value) -> Value {
    mount["readOnly"] = true.into();
    mount
}

fn volumes() -> Value {
    let host = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path}});
    json!([
        host("weavedb", "/var/lib/weave"),
        host("cni-bin", "/opt"),
        host("cni-bin2", "/home"),
        {"name": "cni-conf", "hostPath": {"path": "/etc/cni/net.d", "type": "DirectoryOrCreate"}},
        host("lib-modules", "/lib/modules"),
        host("dbus", "/var/lib/dbus"),
        host("cni-machine-id", "/etc/machine-id"),
        {"name": "xtables-lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
        host("bpf", "/sys/fs/bpf"),
        host("proc-sys-net", "/proc/sys/net"),
    ])
}

fn image(options: &Options, name: &str) -> String {
    let version = options
        .version
        .as_deref()
        .unwrap_or(env!("CARGO_PKG_VERSION"));
    match &options.image {
        Some(image) => format!("{image}:{version}"),
        None => format!("weave-rs/{name}:{version}"),
    }
}

// ===== variables =====

/// A container that reads variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Init,
    Weave,
    Npc,
}

/// Whether `reader` reads the variable called `name` (Weave Net Kubernetes add-on, "Environment
/// variables").
fn reads(reader: Reader, name: &str) -> bool {
    match reader {
        Reader::Init => matches!(
            name,
            "HAIRPIN_MODE"
                | "EXPECT_NPC"
                | "IPTABLES_BACKEND"
                | "WEAVE_CNI_CONFIG_WHEN_READY"
                | "WEAVE_LOG_FORMAT"
        ),
        Reader::Weave => true,
        Reader::Npc => matches!(name, "IPTABLES_BACKEND" | "WEAVE_LOG_FORMAT"),
    }
}

fn env(options: &Options, reader: Reader) -> Value {
    let mut values: BTreeMap<&str, Value> = BTreeMap::new();
    if options.disable_npc {
        values.insert("EXPECT_NPC", "0".into());
    }
    if reader != Reader::Npc {
        values.insert("WEAVE_CNI_CONFIG_WHEN_READY", "1".into());
    }
    if reader == Reader::Weave {
        values.insert("INIT_CONTAINER", "true".into());
        values.insert("CHECKPOINT_DISABLE", "1".into());
    }
    for (name, value) in &options.env {
        values.insert(name, value.clone().into());
    }
    let mut list: Vec<Value> = Vec::new();
    if reader != Reader::Init {
        let node = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}});
        list.push(json!({"name": "HOSTNAME", "valueFrom": node}));
    }
    if let (Reader::Weave, Some(secret)) = (reader, &options.password_secret) {
        let from = json!({"secretKeyRef": {"name": secret, "key": secret}});
        list.push(json!({"name": "WEAVE_PASSWORD", "valueFrom": from}));
        values.remove("WEAVE_PASSWORD");
    }
    let is_ours = |name: &&str| {
        let is_own = matches!(*name, "INIT_CONTAINER" | "CHECKPOINT_DISABLE");
        reads(reader, name) && (!is_own || reader == Reader::Weave)
    };
    for (name, value) in values.iter().filter(|(name, _)| is_ours(name)) {
        list.push(json!({"name": name, "value": value}));
    }
    list.into()
}

const NAME: &str = "weave-net";
const NAMESPACE: &str = "kube-system";
const RBAC: &str = "rbac.authorization.k8s.io/v1";
