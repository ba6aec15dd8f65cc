//! What a runtime asks for: the `CNI_*` environment, checked before anything is touched.
//!
//! A [`Call`] that exists has every variable its command needs, and an id that is safe in a URL
//! path and in a link's alias (CNI specification 1.1.0, section 2 "Parameters").

use super::error::{Code, Error};
use super::policy::Pod;

/// The commands of CNI 1.1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

impl Command {
    const ALL: [Self; 6] = [
        Self::Add,
        Self::Del,
        Self::Check,
        Self::Status,
        Self::Gc,
        Self::Version,
    ];

    fn parse(text: &str) -> Result<Self, Error> {
        let known = Self::ALL
            .into_iter()
            .find(|command| command.as_str() == text);
        known.ok_or_else(|| Error::new(Code::Environment, format!("unknown CNI_COMMAND: {text}")))
    }

    /// As it stands in `CNI_COMMAND`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }

    /// Variables that must be set, in the order they are reported.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &[CONTAINER_ID, NETNS, IFNAME],
            Self::Del => &[CONTAINER_ID, IFNAME],
            Self::Status | Self::Gc | Self::Version => &[],
        }
    }
}

/// One call, as the environment describes it. Variables a command does not need may be empty.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) command: Command,
    pub(super) container_id: String,
    pub(super) netns: String,
    pub(super) ifname: String,
    /// Directories with other plugins, from `CNI_PATH`.
    pub(super) path: Vec<String>,
    /// Whether `CNI_NETNS` may name the host's own namespace (`CNI_NETNS_OVERRIDE`).
    pub(super) any_netns: bool,
    /// The pod, if `CNI_ARGS` names one.
    pub(super) pod: Option<Pod>,
}

impl Call {
    /// Reads the environment through `variable`. `None` means that no command is set: a person
    /// started the plugin by hand.
    ///
    /// # Errors
    /// [`Code::Environment`], naming the variables.
    pub(super) fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let value = |name: &str| variable(name).unwrap_or_default();
        let command = value("CNI_COMMAND");
        if command.is_empty() {
            return Ok(None);
        }
        let command = Command::parse(&command)?;
        let missing: Vec<&str> = command
            .required()
            .iter()
            .copied()
            .filter(|name| value(name).is_empty())
            .collect();
        if !missing.is_empty() {
            let text = format!("required env variables [{}] missing", missing.join(","));
            return Err(Error::new(Code::Environment, text));
        }
        let call = Self {
            command,
            container_id: value(CONTAINER_ID),
            netns: value(NETNS),
            ifname: value(IFNAME),
            path: value("CNI_PATH")
                .split(':')
                .filter(|d| !d.is_empty())
                .map(str::to_owned)
                .collect(),
            any_netns: matches!(
                value("CNI_NETNS_OVERRIDE").as_str(),
                "1" | "true" | "True" | "TRUE"
            ),
            pod: Pod::parse(&value("CNI_ARGS")),
        };
        if matches!(command, Command::Add | Command::Del | Command::Check) {
            check_container_id(&call.container_id)?;
            check_ifname(&call.ifname)?;
        }
        Ok(Some(call))
    }
}

fn check_container_id(id: &str) -> Result<(), Error> {
    let mut bytes = id.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && id.len() <= MAX_ID {
        return Ok(());
    }
    let text = format!(
        "invalid CNI_CONTAINERID {id:?}: at most {MAX_ID} letters, digits, '_', '.' and '-', \
         beginning with a letter or digit"
    );
    Err(Error::new(Code::Environment, text))
}

fn check_ifname(name: &str) -> Result<(), Error> {
    let fits = !name.is_empty() && name.len() <= 15 && name != "." && name != "..";
    let clean = name
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if fits && clean {
        return Ok(());
    }
    let text =
        format!("invalid CNI_IFNAME {name:?}: 1 to 15 printable characters other than '/' and ':'");
    Err(Error::new(Code::Environment, text))
}

const CONTAINER_ID: &str = "CNI_CONTAINERID";
const NETNS: &str = "CNI_NETNS";
const IFNAME: &str = "CNI_IFNAME";
/// The kernel's limit for a link's alias (`IFALIASZ` in `linux/if.h`, less the final zero), where
/// the whole id is kept.
const MAX_ID: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Option<Call>, Error> {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Call::parse(|name| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn no_command_is_a_person_at_a_terminal() {
        assert!(parse(&[("CNI_IFNAME", "eth0")]).unwrap().is_none());
    }

    #[test]
    fn all_missing_variables_are_named_at_once() {
        let error = parse(&[("CNI_COMMAND", "ADD")]).unwrap_err();

        assert_eq!(
            error.to_string(),
            "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"
        );
    }

    #[test]
    fn del_needs_no_namespace() {
        let call = parse(&[
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "a1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin:/usr/lib/cni"),
        ])
        .unwrap()
        .unwrap();

        assert_eq!(call.command, Command::Del);
        assert_eq!(call.path, ["/opt/cni/bin", "/usr/lib/cni"]);
    }

    #[test]
    fn an_id_that_would_change_the_url_is_refused() {
        let long = "a".repeat(256);
        for id in [
            "../peer",
            "a/b",
            "a?b",
            "-a",
            ".a",
            "a b",
            "weave:expose",
            long.as_str(),
        ] {
            let error = parse(&[
                ("CNI_COMMAND", "DEL"),
                ("CNI_CONTAINERID", id),
                ("CNI_IFNAME", "eth0"),
            ])
            .unwrap_err();

            assert_eq!(error.code(), Code::Environment, "{id}");
        }
    }

    #[test]
    fn an_interface_name_the_kernel_refuses_is_refused_first() {
        for name in ["..", "a/b", "a:b", "with blank", "sixteen-letters!"] {
            let error = parse(&[
                ("CNI_COMMAND", "DEL"),
                ("CNI_CONTAINERID", "a1"),
                ("CNI_IFNAME", name),
            ])
            .unwrap_err();

            assert_eq!(error.code(), Code::Environment, "{name}");
        }
    }
}
