//! Log lines in Weave Net's format, on standard error.
//!
//! `LEVL: YYYY/MM/DD HH:MM:SS.uuuuuu message`, then fields as ` key=value` with the message padded
//! to 44 columns. Times are UTC. Only our own crates are heard; a line is written with one call, so
//! lines of different threads do not mix.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

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

/// Writes messages of `level` and above to standard error from here on.
///
/// A second call changes nothing: the first level stays.
pub fn start(level: Level) {
    let _ = tracing::subscriber::set_global_default(Writer { level });
}

/// Writes why the program ends, at any level.
pub fn fatal(message: &str) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let message = message.replace('\n', "\\n");
    let line = format!("FATA: {} {message}\n", timestamp(now));
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

struct Writer {
    level: Level,
}

impl Subscriber for Writer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("weave")
            && *metadata.level() <= self.level.0
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::from_level(
            self.level.0,
        ))
    }

    fn event(&self, event: &Event<'_>) {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let line = line(*event.metadata().level(), now, &parts);
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
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

#[derive(Default)]
struct Parts {
    message: String,
    fields: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

fn line(level: tracing::Level, since_epoch: Duration, parts: &Parts) -> String {
    let label = match level {
        tracing::Level::ERROR => "ERRO",
        tracing::Level::WARN => "WARN",
        tracing::Level::INFO => "INFO",
        _ => "DEBU",
    };
    let time = timestamp(since_epoch);
    // A message with line breaks, from a peer for instance, must not look like several lines.
    let message = parts.message.replace('\n', "\\n");
    if parts.fields.is_empty() {
        return format!("{label}: {time} {message}\n");
    }
    let fields = parts.fields.replace('\n', "\\n");
    format!("{label}: {time} {message:<44}{fields}\n")
}

/// `YYYY/MM/DD HH:MM:SS.uuuuuu` in UTC.
pub fn timestamp(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = since_epoch.subsec_micros();
    format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Gregorian year, month and day of the day that is `days` after 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day comes last: 400 years have 146 097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(message: &str, fields: &str) -> Parts {
        Parts {
            message: message.to_owned(),
            fields: fields.to_owned(),
        }
    }

    #[test]
    fn a_line_has_the_old_format() {
        let time = Duration::new(1_795_211_714, 347_372_000);

        let text = line(tracing::Level::INFO, time, &parts("weave  2.9.0", ""));

        assert_eq!(text, "INFO: 2026/11/20 21:55:14.347372 weave  2.9.0\n");
    }

    #[test]
    fn fields_come_after_the_padded_message() {
        let text = line(
            tracing::Level::WARN,
            Duration::ZERO,
            &parts("hello", " a=1 b=2"),
        );

        let expected = format!(
            "WARN: 1970/01/01 00:00:00.000000 hello{} a=1 b=2\n",
            " ".repeat(39)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_message_stays_on_one_line() {
        let text = line(
            tracing::Level::ERROR,
            Duration::ZERO,
            &parts("a\nFATA: b", ""),
        );

        assert_eq!(text, "ERRO: 1970/01/01 00:00:00.000000 a\\nFATA: b\n");
    }

    #[test]
    fn dates_around_leap_days_are_right() {
        for (seconds, date) in [
            (0, "1970/01/01"),
            (68_169_600, "1972/02/29"),
            (951_782_400, "2000/02/29"),
            (951_868_800, "2000/03/01"),
            (1_704_067_199, "2023/12/31"),
            (4_107_542_400, "2100/03/01"),
        ] {
            assert!(
                timestamp(Duration::from_secs(seconds)).starts_with(date),
                "{seconds}"
            );
        }
    }

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
}
