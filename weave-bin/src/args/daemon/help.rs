//! The daemon's usage text, written out of the tables its command line is read by.

use crate::args::flags::Flag;

use super::table::{EFFECTIVE, IGNORED};

/// Whether `words` ask for the usage text: one of them does, before `--`, whatever the others say.
pub fn wants_help(words: &[String]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| matches!(word.as_str(), "--help" | "-help" | "-h"))
}

/// The usage text.
pub fn help() -> String {
    let width = EFFECTIVE.iter().map(|flag| flag.usage().len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::from(
        "Usage: weave weaver [FLAG...] [PEER...]\n\n\
         Runs the daemon. PEER is a host or an address, with an optional port: HOST[:PORT].\n\n",
    );
    for flag in EFFECTIVE {
        let default = match flag.default {
            "" => String::new(),
            default => format!(" [{default}]"),
        };
        let usage = flag.usage();
        text += &format!("  {usage:width$}  {}{default}\n", flag.help);
    }
    let ignored = names(IGNORED);
    text += &format!("\nAccepted without effect: {ignored}\n");
    text
}

fn names(table: &[Flag]) -> String {
    let names: Vec<String> = table
        .iter()
        .map(|flag| format!("--{}", flag.name))
        .collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::flags::Kind;

    fn asks(line: &str) -> bool {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        wants_help(&words)
    }

    #[test]
    fn help_wins_over_all_other_words() {
        for line in ["--help", "-help", "-h", "--port x --help", "-h --nonsense"] {
            assert!(asks(line), "{line}");
        }
        for line in ["", "--port 1 help", "-- --help", "--host=-h"] {
            assert!(!asks(line), "{line}");
        }
    }

    #[test]
    fn every_flag_that_works_has_one_line_with_form_meaning_and_default() {
        let text = help();

        for flag in EFFECTIVE {
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with(&format!("  {} ", flag.usage())))
                .collect();
            let [line] = lines.as_slice() else {
                panic!("{}: {lines:?}", flag.name)
            };
            assert!(!flag.help.is_empty() && line.contains(flag.help), "{line}");
            assert!(line.contains(flag.default), "{line}");
            assert!(line.chars().count() <= 120, "too long: {line}");
            assert_eq!(flag.kind == Kind::Switch, flag.form.is_empty(), "{line}");
        }
    }

    #[test]
    fn flags_without_effect_are_told_apart() {
        let text = help();
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
        let words = |start: &str| line(start).split_whitespace().collect::<Vec<_>>();

        let ignored = words("Accepted without effect:");
        assert!(ignored.contains(&"--no-dns") && !ignored.contains(&"--password"));
        for flag in IGNORED {
            let name = format!("--{}", flag.name);
            assert!(ignored.contains(&name.as_str()), "{name}");
        }
    }
}
