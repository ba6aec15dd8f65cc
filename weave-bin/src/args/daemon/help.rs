//! The daemon's usage text, written out of the tables its command line is read by.

use super::table::{EFFECTIVE, IGNORED};
use crate::args::help;

/// The usage text.
pub fn help() -> String {
    let about = "Usage: weave weaver [FLAG...] [PEER...]\n\n\
         Runs the daemon. PEER is a host or an address, with an optional port: HOST[:PORT].";
    help::text(about, EFFECTIVE, IGNORED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::flags::Kind;

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
        assert!(ignored.contains(&"--proxy") && !ignored.contains(&"--password"));
        for flag in IGNORED {
            let name = format!("--{}", flag.name);
            assert!(ignored.contains(&name.as_str()), "{name}");
        }
    }
}
