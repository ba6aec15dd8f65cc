//! A flag parser with the habits of Weave Net's: `--flag=value`, `--flag value`, last one wins.
//!
//! A table says which flags exist and whether they take a value; words that are no flags are
//! positional, wherever they stand, and everything after `--` is. Nothing is interpreted here.

use std::collections::BTreeMap;

/// One flag of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The name without dashes.
    pub name: &'static str,
    /// Whether it takes a value.
    pub kind: Kind,
    /// What its value looks like, in capitals; empty for a switch.
    pub form: &'static str,
    /// The value it has when it is not given; empty for a switch and when there is none.
    pub default: &'static str,
    /// What it means, in one line; empty for a flag that is read but not explained.
    pub help: &'static str,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value is required.
    Value,
    /// Present or absent, or `=true` and `=false`.
    Switch,
    /// A value is required, and it is not shown in logs.
    Secret,
}

impl Flag {
    /// A flag that takes a value.
    pub const fn value(name: &'static str) -> Self {
        Self::new(name, Kind::Value)
    }

    /// A flag that is present or absent.
    pub const fn switch(name: &'static str) -> Self {
        Self::new(name, Kind::Switch)
    }

    /// A flag whose value is not for logs.
    pub const fn secret(name: &'static str) -> Self {
        Self::new(name, Kind::Secret)
    }

    /// The same flag, explained: the form and the default of its value, and what it means.
    #[must_use]
    pub const fn explained(
        self,
        form: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            form,
            default,
            help,
            ..self
        }
    }

    /// As a usage text shows it: dashes, name, and the form of the value.
    pub fn usage(&self) -> String {
        match self.form {
            "" => format!("--{}", self.name),
            form => format!("--{} {form}", self.name),
        }
    }

    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            form: "",
            default: "",
            help: "",
        }
    }
}

/// The words of a command line, told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    values: BTreeMap<&'static str, String>,
    shown: BTreeMap<&'static str, String>,
    /// Words that are no flags, in order.
    pub positional: Vec<String>,
}

impl Parsed {
    /// Reads `words` by `table`.
    ///
    /// # Errors
    /// The first word that the table does not explain.
    pub fn read(table: &[Flag], words: &[String]) -> Result<Self, FlagError> {
        let mut parsed = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.positional.extend(words.cloned());
                break;
            }
            let Some(text) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                parsed.positional.push(word.clone());
                continue;
            };
            let (name, inline) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            };
            let Some(flag) = table.iter().find(|flag| flag.name == name) else {
                return Err(FlagError::unknown(word, name, table));
            };
            let value = match (flag.kind, inline) {
                (Kind::Switch, None) => "true".to_owned(),
                (Kind::Switch, Some(value)) => switch_value(flag, value)?.to_owned(),
                (_, Some(value)) => value.to_owned(),
                (_, None) => words.next().ok_or(FlagError::NoValue(flag.name))?.clone(),
            };
            let shown = if flag.kind == Kind::Secret {
                "<redacted>".to_owned()
            } else {
                value.clone()
            };
            parsed.shown.insert(flag.name, shown);
            parsed.values.insert(flag.name, value);
        }
        Ok(parsed)
    }

    /// The value of `name`, if it was given.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether the switch `name` is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    /// The flags given, for the log: `name:value` in name order, secrets hidden.
    pub fn shown(&self) -> String {
        let pairs: Vec<String> = self
            .shown
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        pairs.join(" ")
    }
}

/// Why words cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// No such flag.
    #[error("flag provided but not defined: {given}{hint}")]
    Unknown {
        /// The flag as given, without its value.
        given: String,
        /// Where to look instead, or empty.
        hint: String,
    },
    /// A flag at the end that needs a value.
    #[error("flag needs a value: --{0}")]
    NoValue(&'static str),
    /// A switch with a value other than true and false.
    #[error("flag --{name} is on or off, not {value:?}: give true or false")]
    NotASwitch {
        /// The flag.
        name: &'static str,
        /// The value given.
        value: String,
    },
}

impl FlagError {
    fn unknown(word: &str, name: &str, table: &[Flag]) -> Self {
        let given = word.split('=').next().unwrap_or(word).to_owned();
        let nearest = table
            .iter()
            .map(|flag| (strsim::damerau_levenshtein(name, flag.name), flag.name))
            .min()
            .filter(|(distance, _)| *distance <= name.len().div_ceil(2));
        let hint = nearest.map_or_else(String::new, |(_, near)| format!(" (nearest: --{near})"));
        Self::Unknown { given, hint }
    }
}

fn switch_value<'a>(flag: &Flag, value: &'a str) -> Result<&'a str, FlagError> {
    match value {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok("true"),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok("false"),
        _ => Err(FlagError::NotASwitch {
            name: flag.name,
            value: value.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        Flag::value("port"),
        Flag::switch("no-dns"),
        Flag::secret("password"),
        Flag::value("mtu"),
    ];

    fn read(line: &str) -> Result<Parsed, FlagError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Parsed::read(TABLE, &words)
    }

    #[test]
    fn both_forms_are_read_and_the_last_wins() {
        let parsed = read("--port 1 --port=2 peer-a --no-dns -mtu 9 peer-b").unwrap();

        assert_eq!(
            (parsed.value("port"), parsed.value("mtu")),
            (Some("2"), Some("9"))
        );
        assert!(parsed.is_on("no-dns"));
        assert_eq!(parsed.positional, ["peer-a", "peer-b"]);
    }

    #[test]
    fn a_switch_can_be_turned_off() {
        assert!(!read("--no-dns --no-dns=false").unwrap().is_on("no-dns"));
        assert!(
            read("--no-dns=maybe")
                .unwrap_err()
                .to_string()
                .contains("maybe")
        );
    }

    #[test]
    fn an_unknown_flag_names_the_nearest() {
        let error = read("--prot=1").unwrap_err();

        let text = "flag provided but not defined: --prot (nearest: --port)";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn an_unknown_flag_far_from_all_names_none() {
        let error = read("--zzzzzzzz").unwrap_err();

        assert_eq!(
            error.to_string(),
            "flag provided but not defined: --zzzzzzzz"
        );
    }

    #[test]
    fn a_flag_without_its_value_is_refused() {
        assert_eq!(read("--port").unwrap_err(), FlagError::NoValue("port"));
    }

    #[test]
    fn secrets_do_not_reach_the_log() {
        let parsed = read("--password hush --port 1 --no-dns").unwrap();

        assert_eq!(parsed.value("password"), Some("hush"));
        assert_eq!(parsed.shown(), "no-dns:true password:<redacted> port:1");
    }

    #[test]
    fn words_after_two_dashes_are_positional() {
        assert_eq!(read("-- --port").unwrap().positional, ["--port"]);
    }
}
