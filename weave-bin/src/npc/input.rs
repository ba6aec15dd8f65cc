//! Files into a world.
//!
//! Invariant: an object that cannot be used is reported on standard error and left out; the others
//! count.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use weave_npc::manifest::Manifest;
use weave_npc::model::{Object, ObjectName, World};
use weave_npc::verdict::End;

use super::error::Error;

/// The world of `files`, and what was wrong with them.
pub(super) fn read(files: &[PathBuf]) -> Result<(World, Vec<String>), Error> {
    let mut manifest = Manifest::default();
    let mut complaints = Vec::new();
    for path in files {
        for path in expand(path)? {
            let found = Manifest::read(&text(&path)?);
            let errors = found.errors.iter();
            complaints.extend(errors.map(|error| format!("{}: {error}", path.display())));
            manifest.append(found);
        }
    }
    for object in &manifest.objects {
        if let Object::ClusterPolicy(policy) = object {
            let notices = policy.notices.iter();
            complaints
                .extend(notices.map(|n| format!("ClusterNetworkPolicy {}: {n}", policy.name)));
        }
    }
    Ok((World::from_iter(manifest.objects), complaints))
}

/// The world of `files`; what was wrong is told on standard error.
pub(super) fn world(files: &[PathBuf]) -> Result<World, Error> {
    let (world, complaints) = read(files)?;
    for complaint in complaints {
        eprintln!("weave npc: {complaint}");
    }
    Ok(world)
}

/// The end that `text` names.
pub(super) fn end(world: &World, text: &str) -> Result<End, Error> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(End::of_address(address.to_canonical()));
    }
    let Some((namespace, name)) = text.split_once('/') else {
        return Err(Error::NoEnd(text.to_owned()));
    };
    let name = ObjectName::new(namespace, name);
    let mut is_known = false;
    for pod in world.pods_named(&name) {
        is_known = true;
        if pod.is_endpoint() {
            return Ok(End::of_pod(world, pod));
        }
    }
    Err(if is_known {
        Error::NoEndpoint(text.to_owned())
    } else {
        Error::NoEnd(text.to_owned())
    })
}

/// The files that `path` stands for: itself, or the manifests in it in order of their names.
fn expand(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |cause| Error::Read {
        path: path.to_owned(),
        cause,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn text(path: &Path) -> Result<String, Error> {
    let read = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|cause| Error::Read {
        path: path.to_owned(),
        cause,
    })
}
