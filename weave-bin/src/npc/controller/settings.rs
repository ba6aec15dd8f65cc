//! The words of `weave-npc`, parsed into values that cannot be nonsense.
//!
//! The flags of Weave Net's controller keep their names and defaults; one that has no effect here is
//! accepted with a warning.

use std::path::PathBuf;
use std::sync::Arc;

use weave_npc::compile::Options;
use weave_npc::verdict;

use crate::args::daemon::ListenAddress;
use crate::args::flags::{Flag, FlagError, Parsed};
use crate::args::help;
use crate::logging::{FORMAT_VARIABLE, Format, Level};

/// Everything the controller is told at its start.
#[derive(Debug, Clone)]
pub(in crate::npc) struct Settings {
    /// The node whose pods are protected.
    pub(super) node: Arc<str>,
    /// Where metrics are served; `None` is off.
    pub(super) metrics: Option<ListenAddress>,
    /// Where questions are answered.
    pub(super) control: ListenAddress,
    /// Least important messages to log.
    pub(super) level: Level,
    /// How they are written.
    pub(super) format: Format,
    /// Where objects come from.
    pub(super) source: Source,
    /// How rules are made.
    pub(super) options: Options,
    /// The bridge, for old rules and the guard.
    pub(super) bridge: String,
    /// Whether pods are closed until policies are known, if no rules are there.
    pub(super) fails_closed: bool,
    /// Whether connections that lost permission go on.
    pub(super) keeps_connections: bool,
    /// Whether pods are held to their own addresses.
    pub(super) guards: bool,
    /// How blocked connections are logged.
    pub(super) style: Style,
    /// Lines to log as warnings.
    pub(super) warnings: Vec<String>,
}

/// Where objects come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The files of a directory are the whole world.
    Files(PathBuf),
    /// The API server of the cluster.
    Cluster,
}

/// How blocked connections are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Weave Net's sentence.
    Sentence,
    /// The sentence, with the policies and what was missing behind it.
    Detail,
    /// The sentence, with the whole record as a field.
    Record,
}

/// Why the controller does not start with these words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(in crate::npc) enum SettingsError {
    /// The words are no command line of ours.
    #[error(transparent)]
    Flags(#[from] FlagError),
    /// A value makes no sense.
    #[error("{flag}: {reason}")]
    Value {
        /// The flag with its dashes.
        flag: &'static str,
        /// What is wrong with its value and what it must be.
        reason: String,
    },
    /// A word that is no flag.
    #[error("{0:?} is no flag: see weave weave-npc --help")]
    Word(String),
}

/// Flags with an effect, each explained.
const EFFECTIVE: &[Flag] = &[
    Flag::switch("allow-mcast").explained("", "true", "let packets to multicast groups pass"),
    Flag::value("control-addr").explained(
        "ADDR",
        CONTROL,
        "address or socket that answers status, explain and the CNI plugin",
    ),
    Flag::switch("fail-closed").explained(
        "",
        "",
        "let no new connection pass until policies are known, if a start finds no rules",
    ),
    Flag::switch("filter-own-node").explained(
        "",
        "",
        "hold pods to their egress rules also towards their own node",
    ),
    Flag::switch("guard").explained(
        "",
        "true",
        "hold pods to their own MAC and IP addresses; needs the CNI plugin to tell them",
    ),
    Flag::switch("keep-connections").explained(
        "",
        "",
        "let connections go on that policies no longer allow",
    ),
    Flag::switch("log-detail").explained(
        "",
        "",
        "say policies and reason behind each line about a blocked connection",
    ),
    Flag::value("log-format").explained(
        "FORMAT",
        "text",
        "text or json; else WEAVE_LOG_FORMAT. In json a blocked connection has its whole record",
    ),
    Flag::value("log-level").explained("LEVEL", "debug", "debug, info, warning or error"),
    Flag::value("manifests").explained(
        "DIR",
        "",
        "take objects from the files of this directory instead of a cluster",
    ),
    Flag::value("metrics-addr").explained("ADDR", ":6781", "address of /metrics; empty is off"),
    Flag::value("node-name").explained("NAME", "", "this node; HOSTNAME if not given"),
    Flag::value("weave-bridge").explained("NAME", "weave", "name of the bridge"),
];

/// Flags of Weave Net's controller that mean nothing here.
const IGNORED: &[Flag] = &[
    Flag::value("bridge-port-name"),
    Flag::value("max-list-size"),
];

impl Settings {
    /// Reads `words`; `env` looks environment variables up.
    ///
    /// # Errors
    /// The first word or value that makes no sense.
    pub(in crate::npc) fn read(
        words: &[String],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let table: Vec<Flag> = EFFECTIVE.iter().chain(IGNORED).copied().collect();
        let given = Parsed::read(&table, words)?;
        if let Some(word) = given.positional.first() {
            return Err(SettingsError::Word(word.clone()));
        }
        let named = given.value("node-name").map(str::to_owned);
        let node = named
            .or_else(|| env("HOSTNAME"))
            .filter(|name| !name.is_empty())
            .ok_or_else(|| bad("--node-name", "must be given, or the variable HOSTNAME"))?;
        let is_on = |name: &str, default| match given.value(name) {
            Some(value) => value == "true",
            None => default,
        };
        let mut choices = verdict::Options::default();
        choices.filter_own_node = is_on("filter-own-node", false);
        let options = Options::default()
            .with_verdict(choices)
            .with_multicast(is_on("allow-mcast", true));
        let metrics = given.value("metrics-addr").unwrap_or(":6781");
        let control = given.value("control-addr").unwrap_or(CONTROL);
        let level = given.value("log-level").unwrap_or("debug");
        let format = format(&given, env(FORMAT_VARIABLE))?;
        let manifests = given.value("manifests").filter(|path| !path.is_empty());
        Ok(Self {
            node: node.into(),
            metrics: listen("--metrics-addr", metrics)?,
            control: listen("--control-addr", control)?
                .ok_or_else(|| bad("--control-addr", "must not be empty"))?,
            level: level.parse().map_err(|_| {
                let reason = format!("{level:?} is not debug, info, warning or error");
                bad("--log-level", &reason)
            })?,
            format,
            source: manifests.map_or(Source::Cluster, |path| Source::Files(path.into())),
            options,
            bridge: given.value("weave-bridge").unwrap_or("weave").to_owned(),
            fails_closed: is_on("fail-closed", false),
            keeps_connections: is_on("keep-connections", false),
            guards: is_on("guard", true),
            style: match format {
                Format::Json => Style::Record,
                Format::Text if given.is_on("log-detail") => Style::Detail,
                Format::Text => Style::Sentence,
            },
            warnings: warnings(&given),
        })
    }
}

/// The usage text.
pub(crate) fn help() -> String {
    let about = "Usage: weave weave-npc [FLAG...]\n\n\
         Enforces the network policies of a cluster, or of files, on this node.";
    help::text(about, EFFECTIVE, IGNORED)
}

fn format(given: &Parsed, variable: Option<String>) -> Result<Format, SettingsError> {
    let variable = variable.filter(|text| !text.is_empty());
    let (name, text) = match (given.value("log-format"), variable) {
        (Some(text), _) => ("--log-format", text.to_owned()),
        (None, Some(text)) => (FORMAT_VARIABLE, text),
        (None, None) => return Ok(Format::default()),
    };
    text.parse()
        .map_err(|_| bad(name, &format!("{text:?} is neither text nor json")))
}

fn warnings(given: &Parsed) -> Vec<String> {
    IGNORED
        .iter()
        .filter(|flag| given.value(flag.name).is_some())
        .map(|flag| format!("--{} has no effect", flag.name))
        .collect()
}

fn listen(flag: &'static str, text: &str) -> Result<Option<ListenAddress>, SettingsError> {
    ListenAddress::parse(text).map_err(|reason| bad(flag, &reason))
}

fn bad(flag: &'static str, reason: &str) -> SettingsError {
    SettingsError::Value {
        flag,
        reason: reason.to_owned(),
    }
}

/// Where questions are answered unless told otherwise: on loopback, as the daemon's control.
pub(crate) const CONTROL: &str = "127.0.0.1:6785";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Settings, SettingsError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Settings::read(&words, |name| (name == "HOSTNAME").then(|| "n1".to_owned()))
    }

    #[test]
    fn the_flags_of_the_old_controller_are_read() {
        let settings = read(
            "--metrics-addr=:6781 --log-level=info --allow-mcast=false --node-name n2 \
             --max-list-size=1024 --bridge-port-name=vethwe-bridge",
        )
        .unwrap();

        assert_eq!(&*settings.node, "n2");
        assert_eq!(settings.metrics.unwrap().to_string(), "0.0.0.0:6781");
        assert!(!settings.options.allow_multicast);
        assert_eq!(settings.source, Source::Cluster);
        assert_eq!(
            settings.warnings,
            [
                "--bridge-port-name has no effect",
                "--max-list-size has no effect"
            ]
        );
    }

    #[test]
    fn without_flags_defaults_hold() {
        let settings = read("").unwrap();

        assert_eq!(&*settings.node, "n1");
        assert!(settings.options.allow_multicast && settings.guards);
        assert!(!settings.fails_closed && read("--fail-closed").unwrap().fails_closed);
        assert_eq!(settings.style, Style::Sentence);
        assert_eq!(settings.control.to_string(), CONTROL);
        assert_eq!(read("--metrics-addr=").unwrap().metrics, None);
        assert_eq!(read("--log-detail").unwrap().style, Style::Detail);
        assert_eq!(read("--log-format=json").unwrap().style, Style::Record);
        assert_eq!(
            read("--manifests /x").unwrap().source,
            Source::Files("/x".into())
        );
    }

    #[test]
    fn nonsense_is_named() {
        let error = |line: &str| read(line).unwrap_err().to_string();

        assert_eq!(
            error("--metric-addr=:1"),
            "flag provided but not defined: --metric-addr (nearest: --metrics-addr)"
        );
        assert!(error("--log-level=loud").starts_with("--log-level: \"loud\""));
        assert!(error("--control-addr=here").starts_with("--control-addr: \"here\""));
        assert!(error("--log-format=xml").contains("neither text nor json"));
        assert_eq!(error("x"), "\"x\" is no flag: see weave weave-npc --help");
        let nameless = Settings::read(&[], |_| None).unwrap_err();
        assert!(
            nameless
                .to_string()
                .starts_with("--node-name: must be given")
        );
    }

    #[test]
    fn every_flag_with_an_effect_is_explained() {
        let text = help();
        for flag in EFFECTIVE {
            assert!(
                !flag.help.is_empty() && text.contains(&flag.usage()),
                "{}",
                flag.name
            );
        }
    }
}
