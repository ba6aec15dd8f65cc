//! The policy container's start: its environment becomes the controller's command line.

use std::process::ExitCode;

use super::environment::words;
use crate::logging;

/// Plays the policy container; `arguments` are its own.
pub fn run(arguments: &[String]) -> ExitCode {
    match controller_words(|name| std::env::var(name).ok(), arguments) {
        Ok(words) => crate::npc::run_controller(&words),
        Err(missing) => {
            logging::fatal(&missing.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The words for the controller: `EXTRA_ARGS` first, then the container's own `arguments`, which
/// win.
///
/// # Errors
/// There is no name for the Node, neither in `HOSTNAME` nor by `--node-name`.
pub fn controller_words(
    env: impl Fn(&str) -> Option<String>,
    arguments: &[String],
) -> Result<Vec<String>, MissingNode> {
    let mut all = words(&env("EXTRA_ARGS").unwrap_or_default());
    all.extend(arguments.iter().cloned());
    let is_named = all.iter().any(|word| {
        let name = word.trim_start_matches('-').split('=').next();
        word.starts_with('-') && name == Some("node-name")
    });
    match env("HOSTNAME").filter(|name| !name.is_empty()) {
        _ if is_named => {}
        Some(node) => all.insert(0, format!("--node-name={node}")),
        None => return Err(MissingNode),
    }
    Ok(all)
}

/// The controller cannot tell which pods are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Must set node name via --node-name or $HOSTNAME")]
pub struct MissingNode;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], arguments: &[&str]) -> Result<Vec<String>, MissingNode> {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let env = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        controller_words(env, &arguments)
    }

    #[test]
    fn arguments_come_after_extra_args() {
        let env = [("HOSTNAME", "n"), ("EXTRA_ARGS", "--log-level=info")];

        let words = read(&env, &["--allow-mcast=false"]).unwrap();

        assert_eq!(
            words,
            ["--node-name=n", "--log-level=info", "--allow-mcast=false"]
        );
    }

    #[test]
    fn the_node_must_be_named() {
        assert_eq!(read(&[], &[]), Err(MissingNode));
        assert_eq!(read(&[], &["--node-name=n"]).unwrap(), ["--node-name=n"]);
    }
}
