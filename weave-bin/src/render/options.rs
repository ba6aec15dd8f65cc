//! What can be asked of the manifest, in the names of Weave Net's generator.

use std::collections::BTreeMap;

use super::manifest::Form;
use crate::launch::environment::Environment;

/// What the manifest is to be like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Variables by name.
    pub env: BTreeMap<String, String>,
    /// The Kubernetes minor version it is for; the newest when absent.
    pub kubernetes: Option<u32>,
    /// The Secret, and its key, with the password.
    pub password_secret: Option<String>,
    /// Whether policies are not enforced.
    pub disable_npc: bool,
    /// The tag of the images.
    pub version: Option<String>,
    /// The image without its tag.
    pub image: Option<String>,
    /// The pod's options for `SELinux`.
    pub se_linux: BTreeMap<String, String>,
    /// DaemonSet and its rights, or one static pod.
    pub form: Form,
    /// JSON instead of YAML.
    pub json: bool,
}

/// Why there is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// No such option.
    #[error("unknown option {0:?}; see weave render --help")]
    Unknown(String),
    /// The option needs a value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// The value makes no sense.
    #[error("{option} {value:?}: {reason}")]
    Value {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// The first word that makes no sense.
    pub fn read(words: &[String]) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) if word.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = |option| {
                let given = inline.clone().or_else(|| words.next().cloned());
                given
                    .filter(|text| !text.is_empty())
                    .ok_or(OptionsError::NoValue(option))
            };
            match name {
                "--env" => {
                    let (key, text) = pair("--env", &value("--env")?)?;
                    options.set_env(key, text)?;
                }
                "--k8s-version" => {
                    options.kubernetes = Some(minor(&value("--k8s-version")?)?);
                }
                "--password-secret" => {
                    let secret = value("--password-secret")?;
                    options.password_secret = Some(label("--password-secret", secret)?);
                }
                "--version" => options.version = Some(label("--version", value("--version")?)?),
                "--image" => options.image = Some(value("--image")?),
                "--se-linux" => {
                    let (key, text) = pair("--se-linux", &value("--se-linux")?)?;
                    options.se_linux.insert(key, text);
                }
                "--disable-npc" => options.disable_npc = true,
                "--static-pod" => options.form = Form::StaticPod,
                "--json" => options.json = true,
                other => return Err(OptionsError::Unknown(other.to_owned())),
            }
        }
        Ok(options)
    }

    fn set_env(&mut self, name: String, text: String) -> Result<(), OptionsError> {
        let wrong = |reason: String| OptionsError::Value {
            option: "--env",
            value: format!("{name}={text}"),
            reason,
        };
        if !NAMES.contains(&name.as_str()) {
            return Err(wrong(format!("the variables are {}", NAMES.join(", "))));
        }
        let read = Environment::read(|asked| (asked == name).then(|| text.clone()));
        if let Err(mistakes) = read {
            let reasons: Vec<String> = mistakes.into_iter().map(|one| one.reason).collect();
            return Err(wrong(reasons.join("; ")));
        }
        self.env.insert(name, text);
        Ok(())
    }
}

fn pair(option: &'static str, text: &str) -> Result<(String, String), OptionsError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(OptionsError::Value {
            option,
            value: text.to_owned(),
            reason: "NAME=VALUE is needed".to_owned(),
        }),
    }
}

/// A word that may stand in an image's tag and in an object's name.
fn label(option: &'static str, text: String) -> Result<String, OptionsError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.chars().all(is_plain) {
        Ok(text)
    } else {
        Err(OptionsError::Value {
            option,
            value: text,
            reason: "letters, digits, dots and dashes only".to_owned(),
        })
    }
}

/// `v1.33.1` and `1.33` are 33.
fn minor(text: &str) -> Result<u32, OptionsError> {
    let wrong = |reason: &str| OptionsError::Value {
        option: "--k8s-version",
        value: text.to_owned(),
        reason: reason.to_owned(),
    };
    let mut parts = text.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next(), parts.next());
    let minor = minor.map(|part| part.trim_end_matches('+').parse::<u32>());
    match (major, minor) {
        (Some("1"), Some(Ok(old))) if old < OLDEST => {
            Err(wrong("the oldest version it runs on is 1.16"))
        }
        (Some("1"), Some(Ok(minor))) => Ok(minor),
        _ => Err(wrong("a version such as 1.33 is needed")),
    }
}

/// What the generator of Weave Net lets be set, the form of the log, and what only the static pod needs.
const NAMES: [&str; 17] = [
    "CHECKPOINT_DISABLE",
    "CONN_LIMIT",
    "EXPECT_NPC",
    "EXTRA_ARGS",
    "HAIRPIN_MODE",
    "IPALLOC_INIT",
    "IPALLOC_RANGE",
    "IPTABLES_BACKEND",
    "KUBE_PEERS",
    "NO_MASQ_LOCAL",
    "WEAVE_EXPOSE_IP",
    "WEAVE_LOG_FORMAT",
    "WEAVE_METRICS_ADDR",
    "WEAVE_MTU",
    "WEAVE_NO_FASTDP",
    "WEAVE_PASSWORD",
    "WEAVE_STATUS_ADDR",
];
/// First with `apps/v1` alone and with every field used.
const OLDEST: u32 = 16;

/// The usage text.
pub(crate) const HELP: &str = "\
Usage: weave render [OPTION...]

Prints the manifest of the Kubernetes add-on.

  --env NAME=VALUE         set a variable on every container that reads it
  --k8s-version VERSION    for this version of Kubernetes, from 1.16 on
  --password-secret NAME   take the password from Secret NAME, key NAME
  --disable-npc            without network policies
  --version TAG            tag of the images
  --image NAME             image without its tag
  --se-linux NAME=VALUE    SELinux option of the pod, such as type=spc_t
  --static-pod             one pod for a kubelet's manifest directory
  --json                   JSON instead of YAML";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, OptionsError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::read(&words)
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let read = read(
            "--env IPALLOC_RANGE=10.0.0.0/16 --env=WEAVE_MTU=1337 --k8s-version v1.33.1 \
             --password-secret=weave-passwd --disable-npc --version 3.0.0 --static-pod --json",
        )
        .unwrap();

        assert_eq!(read.env["IPALLOC_RANGE"], "10.0.0.0/16");
        assert_eq!(read.env["WEAVE_MTU"], "1337");
        assert_eq!(read.kubernetes, Some(33));
        assert_eq!(read.password_secret.as_deref(), Some("weave-passwd"));
        assert!(read.disable_npc && read.json);
        assert_eq!(read.form, Form::StaticPod);
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for (line, part) in [
            ("--enve X=1", "--enve"),
            ("--env", "--env needs a value"),
            ("--env NO_SUCH=1", "the variables are"),
            ("--env WEAVE_MTU=ten", "number of bytes"),
            ("--k8s-version 1.9", "1.16"),
            ("--k8s-version two", "such as 1.33"),
            ("--version a:b", "letters"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
