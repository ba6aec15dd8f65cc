//! Log lines on standard error, in Weave Net's format or as JSON.
//!
//! Only our own crates are heard, times are UTC, and a line is written with one call, so lines of
//! different threads do not mix. A warning that comes again within a minute is counted, not
//! written; what is written at info and above is kept for the status page
//! ([`recent`]).

mod line;
mod throttle;
mod time;

use std::io::Write as _;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use crate::status::events::{self, Journal};
use line::Line;
pub(crate) use line::without_ports;
use throttle::{Throttle, Verdict};
pub use time::{rfc3339, timestamp};

/// The least important messages that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(tracing::Level);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        Ok(Self(match text.to_ascii_lowercase().as_str() {
            "debug" => tracing::Level::DEBUG,
            "info" => tracing::Level::INFO,
            "warn" | "warning" => tracing::Level::WARN,
            "error" | "fatal" | "panic" => tracing::Level::ERROR,
            _ => return Err(UnknownLevel),
        }))
    }
}

/// The text names no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("levels are debug, info, warn, error, fatal and panic")]
pub struct UnknownLevel;

/// How a line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// `LEVL: YYYY/MM/DD HH:MM:SS.uuuuuu message`, then fields as ` key=value` with the message
    /// padded to 44 columns.
    #[default]
    Text,
    /// An object with `time`, `level`, `message` and, if there are any, `fields`.
    Json,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

impl Format {
    /// What this process was asked for by its command line or [`FORMAT_VARIABLE`]; text where that
    /// makes no sense, since the message that says so has to be written too.
    pub fn asked() -> Self {
        let words: Vec<String> = std::env::args_os()
            .filter_map(|word| word.into_string().ok())
            .collect();
        Self::asked_in(&words, std::env::var(FORMAT_VARIABLE).ok().as_deref())
    }

    /// The format that `words` name, else `variable`, else text.
    fn asked_in(words: &[String], variable: Option<&str>) -> Self {
        let mut named = None;
        for (place, word) in words.iter().enumerate() {
            let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
            let Some(rest) = flag.and_then(|flag| flag.strip_prefix("log-format")) else {
                continue;
            };
            named = match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if rest.is_empty() => words.get(place + 1).map(String::as_str),
                None => named,
            };
        }
        let named = named.or(variable).map(str::parse);
        named.and_then(Result::ok).unwrap_or_default()
    }
}

/// The text names no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("formats are text and json")]
pub struct UnknownFormat;

/// Writes messages of `level` and above to standard error from here on, as `format` says.
///
/// A second call changes nothing: the first level and format stay.
pub fn start(level: Level, format: Format) {
    let log = Log {
        level,
        format,
        started: Instant::now(),
        state: Mutex::default(),
    };
    if LOG.set(log).is_ok() {
        let _ = tracing::subscriber::set_global_default(Writer);
    }
}

/// Writes why the program ends, at any level, and what was counted until then.
pub fn fatal(message: &str) {
    settle();
    let format = LOG.get().map_or_else(Format::asked, |log| log.format);
    emit(&Line::fatal(message).written(wall(), format));
}

/// Writes a line of the short-lived program `name`, which has no levels: `name: message`, or JSON if
/// that was asked for.
pub fn note(name: &str, message: &str) {
    let text = match Format::asked() {
        Format::Text => format!("{name}: {message}\n"),
        Format::Json => Line::note(name, message).written(wall(), Format::Json),
    };
    emit(&text);
}

/// Writes how often warnings came that were counted and not written.
pub fn settle() {
    if let Some(log) = LOG.get() {
        let counted = log.state().throttle.settle(log.started.elapsed());
        for line in counted {
            log.write(&line);
        }
    }
}

/// The last state changes and troubles, oldest first.
pub fn recent() -> Vec<events::Event> {
    LOG.get()
        .map(|log| log.state().journal.recent())
        .unwrap_or_default()
}

/// Where lines go once logging has started. `tracing` has one subscriber a process, so there is
/// one of these; nobody else writes its state.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    level: Level,
    format: Format,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    throttle: Throttle,
    journal: Journal,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        // Neither part is left half changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: &Line) {
        let now = self.started.elapsed();
        let (overdue, verdict) = {
            let mut state = self.state();
            (state.throttle.overdue(now), state.throttle.judge(now, line))
        };
        for counted in overdue {
            self.write(&counted);
        }
        match verdict {
            Verdict::Write => self.write(line),
            Verdict::Counted { more, over } => self.write(&line.counted(more, over)),
            Verdict::Skip => {}
        }
    }

    fn write(&self, line: &Line) {
        let now = wall();
        if line.is_event() {
            self.state().journal.push(line.event(now));
        }
        emit(&line.written(now, self.format));
    }
}

struct Writer;

impl Subscriber for Writer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = LOG.get().map(|log| log.level.0);
        metadata.is_event()
            && metadata.target().starts_with("weave")
            && level.is_some_and(|level| *metadata.level() <= level)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        let level = LOG.get().map(|log| log.level.0)?;
        Some(tracing::level_filters::LevelFilter::from_level(level))
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(log) = LOG.get() {
            log.take(&Line::of(event));
        }
    }

    // Spans are never enabled, so these are not reached.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn emit(text: &str) {
    let _unread = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Time since 1970.
fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Names the format of the log where no flag does.
pub const FORMAT_VARIABLE: &str = "WEAVE_LOG_FORMAT";
/// Target of lines that are each of their own: they are neither throttled nor kept as events.
pub(crate) const EACH: &str = "weave::each";
/// Target of warnings that tell of a change, such as a repair: each is written, and an event.
pub(crate) const CHANGE: &str = "weave::change";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_names_of_the_old_flag_are_known() {
        for name in [
            "debug", "info", "warn", "warning", "error", "fatal", "panic", "INFO",
        ] {
            assert!(name.parse::<Level>().is_ok(), "{name}");
        }
        assert!("loud".parse::<Level>().is_err());
        assert!("warn".parse::<Level>().unwrap() < "debug".parse::<Level>().unwrap());
    }

    #[test]
    fn the_format_is_known_before_the_flags_are() {
        let asked = |line: &str, variable| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Format::asked_in(&words, variable)
        };

        assert_eq!(asked("weaver --log-format=json --x", None), Format::Json);
        assert_eq!(asked("weaver -log-format json", Some("text")), Format::Json);
        assert_eq!(asked("weaver --port 1", Some("json")), Format::Json);
        assert_eq!(asked("weaver --log-format", Some("json")), Format::Json);
        for nothing in ["weaver", "weaver --log-format=xml", "--log-formats=json"] {
            assert_eq!(asked(nothing, None), Format::Text, "{nothing}");
        }
    }
}
