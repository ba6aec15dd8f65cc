//! Putting the CNI plugins and their configuration into the host.
//!
//! Everything appears whole under its name or not at all, and the configuration comes last, with our
//! manifest not before the daemon can serve: its appearance makes the node ready. A configuration that is there stays as it is, so that going
//! back to Weave Net works; a plugin whose content differs is replaced.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::environment::Environment;

/// Why the host cannot be given the plugins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// No directory for plugins can be made.
    #[error("cannot make {}: {source}; set WEAVE_CNI_PLUGIN_DIR to a directory that can be written",
        path.display())]
    Directory {
        /// The last directory tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be put in place. What was there is as it was.
    #[error("cannot install {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Installs this program as the plugins and, unless that is left to [`configure`], writes the
/// configuration if there is none; the directory of the plugins.
///
/// # Errors
/// See [`InstallError`].
pub fn install(env: &Environment) -> Result<PathBuf, InstallError> {
    install_program(Path::new("/proc/self/exe"), env)
}

/// Installs `program` as the plugins.
fn install_program(program: &Path, env: &Environment) -> Result<PathBuf, InstallError> {
    let root = Path::new(&env.host_root);
    let directory = plugin_directory(env, root)?;
    plugins(program, &directory).map_err(|source| InstallError::File {
        path: directory.join("weave-net"),
        source,
    })?;
    if !env.config_when_ready {
        configure(env)?;
    }
    Ok(directory)
}

/// Writes the configuration if there is none: from then on the runtime calls the plugins.
///
/// # Errors
/// [`InstallError::File`].
pub fn configure(env: &Environment) -> Result<(), InstallError> {
    let directory = Path::new(&env.host_root).join("etc/cni/net.d");
    write_configuration(&directory, env.hairpin).map_err(|source| InstallError::File {
        path: directory.join(FILE),
        source,
    })
}

fn plugin_directory(env: &Environment, root: &Path) -> Result<PathBuf, InstallError> {
    let candidates = match &env.plugin_dir {
        Some(given) => vec![PathBuf::from(given)],
        // Some cloud images have an /opt that cannot be written.
        None => vec![root.join("opt/cni/bin"), root.join("home/kubernetes/bin")],
    };
    let mut failed = None;
    for path in candidates {
        match fs::create_dir_all(&path).and_then(|()| writable(&path)) {
            Ok(()) => return Ok(path),
            Err(source) => failed = Some(InstallError::Directory { path, source }),
        }
    }
    Err(failed.expect("invariant: there is at least one candidate"))
}

/// Whether a file can be made in `directory`, which a mount may forbid.
fn writable(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".weave-{}", std::process::id()));
    fs::write(&probe, "")?;
    fs::remove_file(&probe)
}

/// The program as `weave-plugin-<hash>`, with both plugin names leading to it. Names that lead to the
/// same content stay as they are.
fn plugins(program: &Path, directory: &Path) -> io::Result<()> {
    let content = fs::read(program)?;
    let is_same =
        |plugin: &&str| fs::read(directory.join(plugin)).ok().as_deref() == Some(&*content);
    if PLUGINS.iter().all(is_same) {
        return Ok(());
    }
    let digest: [u8; 32] = Sha256::digest(&content).into();
    let name: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("{PROGRAM}{name}");
    let place = directory.join(&name);
    // The name tells the content, but a copy may have been cut short.
    if fs::read(&place).ok().as_deref() != Some(&*content) {
        let fresh = directory.join(format!(".{name}.tmp"));
        fs::write(&fresh, &content)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        fs::File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, &place)?;
    }
    for plugin in PLUGINS {
        let fresh = directory.join(format!("{plugin}.tmp"));
        let _absent = fs::remove_file(&fresh);
        symlink(&name, &fresh)?;
        fs::rename(&fresh, directory.join(plugin))?;
    }
    sweep(directory, &name);
    Ok(())
}

/// Removes programs of other versions; nobody leads to them any more. A plugin that runs keeps its
/// file while it does.
fn sweep(directory: &Path, kept: &str) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PROGRAM) && name != kept {
            let _still_there = fs::remove_file(entry.path());
        }
    }
}

/// Writes the configuration list unless there is one, and removes a file of the name it had before.
fn write_configuration(directory: &Path, hairpin: bool) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let place = directory.join(FILE);
    if !place.exists() {
        // Runtimes take every file ending in .conf, .conflist or .json.
        let fresh = directory.join(format!("{FILE}.tmp"));
        fs::write(&fresh, configuration(hairpin))?;
        fs::rename(&fresh, &place)?;
    }
    match fs::remove_file(directory.join("10-weave.conf")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The configuration list in the bytes of Weave Net 2.9.
fn configuration(hairpin: bool) -> String {
    format!(
        r#"{{
    "cniVersion": "1.0.0",
    "name": "weave",
    "disableCheck": true,
    "plugins": [
        {{
            "name": "weave",
            "type": "weave-net",
            "hairpinMode": {hairpin}
        }},
        {{
            "type": "portmap",
            "capabilities": {{"portMappings": true}},
            "snat": true
        }}
    ]
}}
"#
    )
}

const FILE: &str = "10-weave.conflist";
const PROGRAM: &str = "weave-plugin-";
const PLUGINS: [&str; 2] = ["weave-net", "weave-ipam"];

#[cfg(test)]
mod tests;
