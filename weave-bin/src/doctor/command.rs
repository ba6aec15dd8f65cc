//! `weave doctor` and `weave ipam`: from words to output and exit status.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::collect::{self, Places};
use super::evidence::Evidence;
use super::{Finding, audit, examine, finding};
use crate::http::client::{Client, encode_component};
use crate::status::model::to_json;

/// `weave doctor`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Doctor {
    json: bool,
    /// Print what was looked at instead of judging it.
    evidence: bool,
    /// Judge what was looked at before.
    from: Option<PathBuf>,
    places: Places,
}

/// `weave ipam`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ipam {
    /// Say of every address whose it is.
    Audit {
        /// As JSON.
        json: bool,
        /// Where to look.
        places: Places,
    },
    /// Take back the addresses of these containers.
    Release(Vec<String>),
}

/// What a command came to: standard output, or standard error, and the exit status.
pub(crate) type Said = Result<(String, u8), (String, u8)>;

/// The words behind `weave doctor`; `None`: they are none of it.
pub(crate) fn parse(words: &[String]) -> Option<Doctor> {
    let mut doctor = Doctor::default();
    for word in words {
        match word.split_once('=') {
            None if word == "--json" => doctor.json = true,
            None if word == "--evidence" => doctor.evidence = true,
            Some(("--from", file)) => doctor.from = Some(file.into()),
            Some(pair) => place(&mut doctor.places, pair)?,
            None => return None,
        }
    }
    Some(doctor)
}

/// The words behind `weave ipam`; `None`: they are none of it.
pub(crate) fn parse_ipam(words: &[String]) -> Option<Ipam> {
    let (name, rest) = words.split_first()?;
    match name.as_str() {
        "audit" => {
            let (mut json, mut places) = (false, Places::default());
            for word in rest {
                match word.split_once('=') {
                    None if word == "--json" => json = true,
                    Some(pair) => place(&mut places, pair)?,
                    None => return None,
                }
            }
            Some(Ipam::Audit { json, places })
        }
        "release" if !rest.is_empty() && !rest.iter().any(|id| id.starts_with('-')) => {
            Some(Ipam::Release(rest.to_vec()))
        }
        _ => None,
    }
}

fn place(places: &mut Places, (flag, path): (&str, &str)) -> Option<()> {
    match flag {
        "--db-prefix" => places.db_prefix = Some(path.into()),
        "--host-root" => places.host_root = Some(path.into()),
        _ => return None,
    }
    Some(())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Verdict<'a> {
    findings: &'a [Finding],
    unseen: &'a [String],
}

/// Looks, judges, prints.
pub(crate) async fn run(client: &Client, doctor: &Doctor) -> Said {
    let evidence = match &doctor.from {
        Some(file) => read(file)?,
        None => collect::evidence(client, &doctor.places).await,
    };
    if doctor.evidence {
        return Ok((to_json(&evidence) + "\n", 0));
    }
    let findings = examine(&evidence);
    let code = finding::exit_code(&findings);
    let unseen = &evidence.unseen;
    if doctor.json {
        let findings = &findings;
        return Ok((to_json(&Verdict { findings, unseen }) + "\n", code));
    }
    Ok((finding::text(&findings, unseen), code))
}

fn read(file: &Path) -> Result<Evidence, (String, u8)> {
    let failed = |error: &dyn std::fmt::Display| (format!("{}: {error}", file.display()), 1);
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

/// Audits, or releases.
pub(crate) async fn run_ipam(client: &Client, ipam: &Ipam) -> Said {
    match ipam {
        Ipam::Audit { json, places } => {
            let evidence = collect::addresses(client, places).await;
            let evidence = evidence.map_err(|error| (error.to_string(), UNREACHABLE))?;
            let audit = audit::audit(&evidence);
            let text = if *json {
                to_json(&audit) + "\n"
            } else {
                audit::text(&audit)
            };
            Ok((text, u8::from(!audit.clean)))
        }
        Ipam::Release(ids) => {
            for id in ids {
                let path = format!("/ip/{}", encode_component(id));
                let answer = client.delete(&path).await;
                let answer = answer.map_err(|error| (error.to_string(), UNREACHABLE))?;
                if !answer.is_success() {
                    return Err((format!("{id}: {}", answer.body.trim_end()), 1));
                }
            }
            Ok((String::new(), 0))
        }
    }
}

/// As of every command.
const UNREACHABLE: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_are_read_or_refused() {
        let doctor = parse(&words("--json --host-root=/host --db-prefix=/db/w")).unwrap();
        assert!(doctor.json);
        assert_eq!(doctor.places.host_root, Some("/host".into()));
        assert_eq!(parse(&words("")), Some(Doctor::default()));
        for odd in ["now", "--json=yes", "--form=x"] {
            assert_eq!(parse(&words(odd)), None, "{odd}");
        }

        let audit = Ipam::Audit {
            json: true,
            places: Places::default(),
        };
        assert_eq!(parse_ipam(&words("audit --json")), Some(audit));
        let release = Ipam::Release(words("a b"));
        assert_eq!(parse_ipam(&words("release a b")), Some(release));
        for odd in ["", "release", "release --all", "audit all", "give"] {
            assert_eq!(parse_ipam(&words(odd)), None, "{odd}");
        }
    }
}
