//! The command line: which of the program's many roles was asked for.
//!
//! The name the program is called by decides first, then the first word. A name chosen by the
//! container runtime (`weave-net`, `weave-ipam`) plays that role only without arguments, as the
//! runtime starts it.

pub mod daemon;
#[cfg(all(test, feature = "kube"))]
mod describe;
pub mod flags;
pub mod help;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use crate::cni::Plugin;

/// A part the program can play.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// CNI interface plugin.
    Net,
    /// CNI address plugin.
    Ipam,
    /// The daemon, with its flags and peers.
    Daemon(Vec<String>),
    /// Hosts as network namespaces, with the lab's own words.
    Lab(Vec<String>),
    /// Questions about network policies, with their words.
    Npc(Vec<String>),
    /// The controller of network policies, with its flags.
    Controller(Vec<String>),
    /// The weave container, with its own arguments.
    Launch(Vec<String>),
    /// The policy container, with its own arguments.
    LaunchController(Vec<String>),
    /// The cluster helper of old scripts, with its flags.
    KubeUtils(Vec<String>),
    /// The init container.
    Init,
    /// The small program of old scripts, with its words.
    Utility(Vec<String>),
    /// The manifest, with its options.
    Render(Vec<String>),
    /// An operator's command, with its words.
    Cli(Vec<String>),
}

impl Role {
    /// The role that a program called `name` with `words` plays.
    pub fn choose(name: &str, mut words: Vec<String>) -> Self {
        let base = name.rsplit('/').next().unwrap_or(name);
        if base.ends_with("weaver") {
            return Self::Daemon(words);
        }
        if base.ends_with("weave-npc") {
            return Self::Controller(words);
        }
        match base {
            // Two of Weave Net's images have one: the policy container's is in /usr/bin.
            "launch.sh" if name == "/usr/bin/launch.sh" => return Self::LaunchController(words),
            "launch.sh" => return Self::Launch(words),
            "init.sh" => return Self::Init,
            "kube-utils" => return Self::KubeUtils(words),
            "weaveutil" => return Self::Utility(words),
            _ => {}
        }
        if words.is_empty() {
            if base.ends_with("weave-net") {
                return Self::Net;
            }
            if base.ends_with("weave-ipam") {
                return Self::Ipam;
            }
        }
        if words.first().is_some_and(|word| word == "--local") {
            words.remove(0);
        }
        match words.first().map(String::as_str) {
            Some("weaver") => Self::Daemon(words.split_off(1)),
            Some("weave-net") => Self::Net,
            Some("weave-ipam") => Self::Ipam,
            Some("lab") => Self::Lab(words.split_off(1)),
            Some("launch.sh") => Self::Launch(words.split_off(1)),
            Some("init.sh") => Self::Init,
            Some("kube-utils") => Self::KubeUtils(words.split_off(1)),
            Some("weaveutil") => Self::Utility(words.split_off(1)),
            Some("render") => Self::Render(words.split_off(1)),
            Some("npc") => Self::Npc(words.split_off(1)),
            Some("weave-npc") => Self::Controller(words.split_off(1)),
            _ => Self::Cli(words),
        }
    }
}

/// Plays the role that `arguments`, the whole command line, ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut words = Vec::new();
    for argument in arguments {
        match argument.into_string() {
            Ok(word) => words.push(word),
            Err(raw) => {
                eprintln!("argument {raw:?} is not UTF-8");
                return ExitCode::FAILURE;
            }
        }
    }
    let name = if words.is_empty() {
        String::new()
    } else {
        words.remove(0)
    };
    match Role::choose(&name, words) {
        Role::Net => crate::cni::run(Plugin::Net),
        Role::Ipam => crate::cni::run(Plugin::Ipam),
        Role::Daemon(words) if help::wants_help(&words) => print_help(),
        Role::Daemon(words) => crate::daemon::run(&words),
        Role::Lab(words) => crate::lab::run(words),
        Role::Npc(words) => crate::npc::run(words),
        Role::Controller(words) => crate::npc::run_controller(&words),
        Role::Launch(words) => cluster::launch(&words),
        Role::LaunchController(words) => crate::launch::npc::run(&words),
        Role::KubeUtils(words) => cluster::helper(&words),
        Role::Init => crate::launch::init::run(),
        Role::Utility(words) => crate::launch::utility::run(&words),
        Role::Render(words) => crate::render::run(&words),
        Role::Cli(words) => crate::cli::run(&words),
    }
}

#[cfg(feature = "kube")]
mod cluster {
    pub(super) use crate::kube::helper::run as helper;
    pub(super) use crate::launch::start::run as launch;
}

#[cfg(not(feature = "kube"))]
mod cluster {
    use std::process::ExitCode;

    pub(super) fn launch(_arguments: &[String]) -> ExitCode {
        absent()
    }

    pub(super) fn helper(_words: &[String]) -> ExitCode {
        absent()
    }

    fn absent() -> ExitCode {
        crate::logging::fatal("this build has no cluster side: build it with the feature `kube`");
        ExitCode::FAILURE
    }
}

/// Prints the daemon's usage text; a reader that has gone away is a failure, not a panic.
fn print_help() -> ExitCode {
    match std::io::stdout().write_all(daemon::help().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(line: &str) -> Role {
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next().unwrap();
        Role::choose(&name, words.collect())
    }

    #[test]
    fn paths_of_old_images_answer() {
        let flag = || vec!["--x".to_owned()];

        assert_eq!(role("/home/weave/launch.sh --x"), Role::Launch(flag()));
        assert_eq!(
            role("/usr/bin/launch.sh --x"),
            Role::LaunchController(flag())
        );
        assert_eq!(role("/home/weave/kube-utils --x"), Role::KubeUtils(flag()));
        assert_eq!(role("/usr/bin/weave-npc --x"), Role::Controller(flag()));
        assert_eq!(role("/home/weave/init.sh"), Role::Init);
        assert_eq!(role("weave launch.sh --x"), Role::Launch(flag()));
    }

    #[test]
    fn the_name_decides_first() {
        assert_eq!(role("/opt/cni/bin/weave-net"), Role::Net);
        assert_eq!(role("/opt/cni/bin/weave-ipam"), Role::Ipam);
        assert_eq!(
            role("weaver --port 1"),
            Role::Daemon(vec!["--port".into(), "1".into()])
        );
    }

    #[test]
    fn a_plugin_name_with_arguments_is_the_command_line() {
        assert_eq!(role("weave-net status"), Role::Cli(vec!["status".into()]));
    }

    #[test]
    fn else_the_first_word_decides() {
        assert_eq!(role("weave weave-net"), Role::Net);
        assert_eq!(role("weave weave-ipam"), Role::Ipam);
        assert_eq!(role("weave weaver x"), Role::Daemon(vec!["x".into()]));
        assert_eq!(role("weave lab run"), Role::Lab(vec!["run".into()]));
        assert_eq!(role("weave npc diff"), Role::Npc(vec!["diff".into()]));
        let flag = || Role::Controller(vec!["--node-name=n1".into()]);
        assert_eq!(role("weave weave-npc --node-name=n1"), flag());
        assert_eq!(role("/usr/bin/weave-npc --node-name=n1"), flag());
        assert_eq!(role("weave render"), Role::Render(vec![]));
        assert_eq!(role("/home/weave/init.sh"), Role::Init);
        assert_eq!(
            role("/usr/bin/weaveutil netcheck 10.0.0.0/8"),
            Role::Utility(vec!["netcheck".into(), "10.0.0.0/8".into()])
        );
        assert_eq!(role("weave"), Role::Cli(vec![]));
    }

    #[test]
    fn local_is_ignored_as_first_word_only() {
        assert_eq!(
            role("weave --local status"),
            Role::Cli(vec!["status".into()])
        );
        assert_eq!(
            role("weave status --local"),
            Role::Cli(vec!["status".into(), "--local".into()])
        );
    }
}
