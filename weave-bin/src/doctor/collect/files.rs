//! The disk of the state file, configurations of plugins, and what runtimes cached.
//!
//! Files are others': each is read up to a limit, and one that is not understood is left out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use serde_json::Value;

use crate::doctor::evidence::{Cached, Disk, Plugin};

/// The file system of the state file that starts with `prefix`.
pub(super) fn disk(prefix: &Path, unseen: &mut Vec<String>) -> Option<Disk> {
    let directory = prefix.parent()?;
    let found = match statvfs(directory) {
        Ok(found) => found,
        Err(error) => {
            unseen.push(format!(
                "the disk of the state file, {}: {error}; --db-prefix says where it is",
                directory.display()
            ));
            return None;
        }
    };
    Some(Disk {
        directory: directory.display().to_string(),
        free: found
            .blocks_available()
            .saturating_mul(found.fragment_size()),
        files: (found.files() > 0).then(|| found.files_available()),
        read_only: found.flags().contains(FsFlags::ST_RDONLY),
    })
}

/// The configurations below `root`, as runtimes sort them: by name.
pub(super) fn plugins(root: &Path) -> Vec<Plugin> {
    let is_configuration = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("conf" | "conflist" | "json"))
    };
    let mut files = files(&root.join("etc/cni/net.d"));
    files.retain(is_configuration);
    let plugins = files.into_iter().filter_map(|file| {
        let kinds = kinds(&json(&file)?);
        let file = file.display().to_string();
        (!kinds.is_empty()).then_some(Plugin { file, kinds })
    });
    plugins.collect()
}

fn kinds(configuration: &Value) -> Vec<String> {
    let list = configuration["plugins"].as_array();
    let all = list.map_or_else(|| std::slice::from_ref(configuration), Vec::as_slice);
    let kinds = all.iter().filter_map(|one| one["type"].as_str());
    kinds.map(str::to_owned).collect()
}

/// Results that runtimes cached below `root` (CNI library, cache version 1); nothing without a cache.
pub(super) fn cached(root: &Path) -> Option<BTreeMap<String, Cached>> {
    let directory = root.join("var/lib/cni/results");
    if !directory.is_dir() {
        return None;
    }
    let entries = files(&directory).into_iter();
    let found = entries.filter_map(|file| result(&json(&file)?)).collect();
    Some(found)
}

fn result(entry: &Value) -> Option<(String, Cached)> {
    let arguments = entry["cniArgs"].as_array().into_iter().flatten();
    let arguments: BTreeMap<&str, &str> = arguments
        .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
        .collect();
    let pod = |name: &&str| Some(format!("{}/{name}", arguments.get("K8S_POD_NAMESPACE")?));
    let ips = entry["result"]["ips"].as_array().into_iter().flatten();
    let cached = Cached {
        network: entry["networkName"].as_str()?.to_owned(),
        pod: arguments.get("K8S_POD_NAME").and_then(pod),
        addresses: ips
            .filter_map(|ip| ip["address"].as_str()?.parse().ok())
            .collect(),
    };
    Some((entry["containerId"].as_str()?.to_owned(), cached))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.take(MOST_FILES).map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn json(file: &Path) -> Option<Value> {
    let mut text = String::new();
    let mut opened = File::open(file).ok()?.take(LARGEST_FILE);
    opened.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Far more pods than a host has.
const MOST_FILES: usize = 10_000;
/// Far more than a configuration or a result takes, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn configurations_come_in_the_order_of_runtimes() {
        let scratch = Scratch::new();
        let directory = scratch.path("etc/cni/net.d");
        fs::create_dir_all(&directory).unwrap();
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        write(
            "10-weave.conflist",
            r#"{"plugins":[{"type":"weave-net"},{"type":"portmap"}]}"#,
        );
        write("05-other.conf", r#"{"type":"bridge"}"#);
        write("00-readme.txt", "{}");
        write("01-broken.conf", "{");

        let found = plugins(&scratch.path(""));

        let kinds: Vec<&[String]> = found.iter().map(|plugin| plugin.kinds.as_slice()).collect();
        assert_eq!(
            kinds,
            [
                vec!["bridge".to_owned()],
                vec!["weave-net".to_owned(), "portmap".to_owned()]
            ]
        );
        assert!(found[1].is_ours() && !found[0].is_ours());
    }

    #[test]
    fn cached_results_name_pods() {
        let entry = serde_json::json!({
            "kind": "cniCacheV1", "containerId": "c0ffee", "networkName": "weave", "ifName": "eth0",
            "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", "web"]],
            "result": {"ips": [{"address": "10.32.0.2/12"}]},
        });

        let (id, cached) = result(&entry).unwrap();

        assert_eq!(
            (id.as_str(), cached.pod.as_deref()),
            ("c0ffee", Some("default/web"))
        );
        assert_eq!(cached.addresses, ["10.32.0.2/12".parse().unwrap()]);
        assert_eq!(result(&serde_json::json!({})), None);
    }
}
