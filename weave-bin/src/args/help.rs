//! Usage texts, written out of the tables that command lines are read by.

use super::flags::Flag;

/// Whether `words` ask for the usage text: one of them does, before `--`, whatever the others say.
pub fn wants_help(words: &[String]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| matches!(word.as_str(), "--help" | "-help" | "-h"))
}

/// The usage text of a program: what it is, the flags that do something, and those that do not.
pub(crate) fn text(about: &str, effective: &[Flag], ignored: &[Flag]) -> String {
    let width = effective.iter().map(|flag| flag.usage().len()).max();
    let width = width.unwrap_or_default();
    let mut text = format!("{about}\n\n");
    for flag in effective {
        let default = match flag.default {
            "" => String::new(),
            default => format!(" [{default}]"),
        };
        let usage = flag.usage();
        text += &format!("  {usage:width$}  {}{default}\n", flag.help);
    }
    let ignored: Vec<String> = ignored
        .iter()
        .map(|flag| format!("--{}", flag.name))
        .collect();
    text += &format!("\nAccepted without effect: {}\n", ignored.join(" "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
