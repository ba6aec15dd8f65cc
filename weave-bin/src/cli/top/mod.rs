//! `weave top`: who is connected by what, and how much goes over it, read again each second.
//!
//! On a terminal the table is drawn in place until `q` or Ctrl-C; elsewhere each reading is printed
//! behind the one before. Exit status 0, also after Ctrl-C; 7 when the daemon does not answer at
//! the first reading.

mod model;
mod read;
mod screen;
mod text;

use std::time::Duration;

use super::run::Outcome;
use super::{Command, Misuse};
use crate::http::client::Client;
use crate::stdout;
use model::Top;
use read::Reader;
use screen::{Key, Screen};
use text::Paper;

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// One table, and an end.
    once: bool,
    /// An object a line instead of a table.
    json: bool,
    /// Between readings.
    every: Duration,
}

/// The command that `words` ask for.
pub(super) fn parse(words: &[String]) -> Result<Command, Misuse> {
    let mut options = Options {
        once: false,
        json: false,
        every: Duration::from_secs(1),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--once" => options.once = true,
            "--json" => options.json = true,
            "--interval" => {
                let seconds = words.next().and_then(|text| text.parse::<u16>().ok());
                let seconds = seconds.filter(|seconds| (1..=3600).contains(seconds));
                let wrong =
                    || Misuse::Said("--interval is a number of seconds up to 3600".to_owned());
                options.every = Duration::from_secs(seconds.ok_or_else(wrong)?.into());
            }
            _ => return Err(Misuse::Usage),
        }
    }
    Ok(Command::Top(options))
}

/// Shows the table until somebody has seen enough.
pub(super) async fn run(client: &Client, options: Options) -> Outcome {
    let reader = Reader::new(client);
    let mut before = match reader.sample().await {
        Ok(sample) => sample,
        Err(failure) => return failure,
    };
    let is_drawn = !options.once && !options.json;
    let (screen, mut keys) = match is_drawn.then(Screen::open).flatten() {
        Some((screen, keys)) => (Some(screen), Some(keys)),
        None => (None, None),
    };
    let mut paper = Paper::default();
    // What is on the terminal; drawing asks for its size, so it is drawn when it has changed.
    let mut shown = "reading\u{2026}\n".to_owned();
    let mut is_new = true;
    let mut ticks = tokio::time::interval(options.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        if let Some(screen) = screen.as_ref().filter(|_| is_new) {
            screen.draw(&shown);
        }
        is_new = false;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Outcome::success(String::new()),
            key = next(&mut keys) => match key {
                Key::Quit => return Outcome::success(String::new()),
                Key::Size(found) => {
                    paper = found;
                    continue;
                }
            },
            _ = ticks.tick() => {}
        }
        let after = match reader.sample().await {
            Ok(after) => after,
            Err(failure) if options.once => return failure,
            Err(failure) => {
                shown = failure.said();
                is_new = true;
                if screen.is_none() {
                    eprintln!("{shown}");
                }
                continue;
            }
        };
        let top = Top::between(&before, &after);
        before = after;
        is_new = true;
        shown = if options.json {
            json(&top)
        } else {
            text::table(&top, paper)
        };
        if options.once {
            return Outcome::success(shown);
        }
        if screen.is_none() && !stdout::try_show(format_args!("{shown}\n")) {
            return Outcome::success(String::new());
        }
    }
}

/// The next key; never one without a keyboard.
async fn next(keys: &mut Option<tokio::sync::mpsc::Receiver<Key>>) -> Key {
    let key = match keys {
        Some(keys) => keys.recv().await,
        None => None,
    };
    match key {
        Some(key) => key,
        None => std::future::pending().await,
    }
}

fn json(top: &Top) -> String {
    serde_json::to_string(top).expect("invariant: every key is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Misuse> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn options_are_read_in_any_order() {
        let expected = Options {
            once: true,
            json: true,
            every: Duration::from_secs(5),
        };

        assert_eq!(
            parsed("--json --interval 5 --once"),
            Ok(Command::Top(expected))
        );
        for wrong in ["--interval", "--interval 0", "--interval x", "--all", "5"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
