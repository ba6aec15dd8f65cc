//! One line of the log: what was said, and how it is written.

use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use tracing::Event as Said;
use tracing::field::{Field, Visit};

use super::time::{rfc3339, timestamp};
use super::{CHANGE, EACH, Format};
use crate::status::events::Event;

/// A message with its fields.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    level: Level,
    /// Whether each one is written, however often it comes.
    is_each: bool,
    /// Whether it is kept for the list of events, if it is important enough.
    is_kept: bool,
    message: String,
    fields: Vec<(String, Value)>,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Line {
    /// What `said` says.
    pub(super) fn of(said: &Said<'_>) -> Self {
        let level = match *said.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        let mut line = Self::new(level, String::new());
        line.aim(said.metadata().target());
        said.record(&mut line);
        line
    }

    /// Why the program ends.
    pub(super) fn fatal(message: &str) -> Self {
        Self::new(Level::Fatal, message.to_owned())
    }

    /// What the program `name` notes.
    pub(super) fn note(name: &str, message: &str) -> Self {
        let mut line = Self::new(Level::Info, message.to_owned());
        line.fields.push(("program".to_owned(), name.into()));
        line
    }

    #[cfg(test)]
    pub(super) fn warning(message: &str) -> Self {
        Self::new(Level::Warn, message.to_owned())
    }

    fn new(level: Level, message: String) -> Self {
        Self {
            level,
            is_each: false,
            is_kept: true,
            message,
            fields: Vec::new(),
        }
    }

    /// Takes in what its target says about it.
    fn aim(&mut self, target: &str) {
        self.is_each = target == EACH || target == CHANGE;
        self.is_kept = target != EACH;
    }

    /// What lines that repeat each other have in common, if this one may be counted instead of
    /// written: the message. Ports behind addresses are left out, since a client that tries again
    /// takes another one.
    pub(super) fn key(&self) -> Option<String> {
        let is_trouble = matches!(self.level, Level::Warn | Level::Error);
        (is_trouble && !self.is_each).then(|| without_ports(&self.message))
    }

    /// The line, saying that there were `more` in the time `over`.
    pub(super) fn counted(&self, more: u64, over: Duration) -> Self {
        let mut line = self.clone();
        line.message = format!("{} ({more} more in {} s)", self.message, over.as_secs());
        line
    }

    /// Whether it belongs into the list of events.
    pub(super) fn is_event(&self) -> bool {
        self.level >= Level::Info && self.is_kept
    }

    /// The same for that list.
    pub(super) fn event(&self, since_epoch: Duration) -> Event {
        let mut text = self.message.clone();
        text.push_str(&self.shown_fields());
        Event::new(since_epoch, self.level.name(), &text)
    }

    /// As it is written, with its line break.
    pub(super) fn written(&self, since_epoch: Duration, format: Format) -> String {
        match format {
            Format::Text => self.text(since_epoch),
            Format::Json => self.json(since_epoch),
        }
    }

    fn text(&self, since_epoch: Duration) -> String {
        let label = match self.level {
            Level::Fatal => "FATA",
            Level::Error => "ERRO",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBU",
        };
        let time = timestamp(since_epoch);
        // A message with line breaks, from a peer for instance, must not look like several lines.
        let message = self.message.replace('\n', "\\n");
        if self.fields.is_empty() {
            return format!("{label}: {time} {message}\n");
        }
        let fields = self.shown_fields().replace('\n', "\\n");
        format!("{label}: {time} {message:<44}{fields}\n")
    }

    fn json(&self, since_epoch: Duration) -> String {
        let written = serde_json::to_string(&Written {
            time: rfc3339(since_epoch),
            line: self,
        });
        written.expect("invariant: every key is text") + "\n"
    }

    fn shown_fields(&self) -> String {
        let shown = |(key, value): &(String, Value)| match value {
            Value::String(text) => format!(" {key}={text}"),
            other => format!(" {key}={other}"),
        };
        self.fields.iter().map(shown).collect()
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (name, Value::String(text)) if name.starts_with(NESTED) => {
                let parsed = serde_json::from_str(&text);
                let value = parsed.unwrap_or(Value::String(text));
                self.fields.push((name[NESTED.len()..].to_owned(), value));
            }
            (name, value) => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl Visit for Line {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

/// A line with its time, in the order a reader wants.
struct Written<'l> {
    time: String,
    line: &'l Line,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("level", self.line.level.name())?;
        map.serialize_entry("message", &self.line.message)?;
        if !self.line.fields.is_empty() {
            map.serialize_entry("fields", &Fields(&self.line.fields))?;
        }
        map.end()
    }
}

/// Fields under their names; of two with one name the last.
struct Fields<'l>(&'l [(String, Value)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let once: std::collections::BTreeMap<&str, &Value> = self
            .0
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        once.serialize(serializer)
    }
}

/// `text` without the ports of `1.2.3.4:5678` and `[::1]:5678`.
pub(crate) fn without_ports(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        let (before, after) = rest.split_at(colon);
        let digits = after[1..].bytes().take_while(u8::is_ascii_digit).count();
        let is_port = digits > 0 && ends_word(&after[1 + digits..]) && is_address_end(before);
        kept.push_str(before);
        if is_port {
            rest = &after[1 + digits..];
        } else {
            kept.push(':');
            rest = &after[1..];
        }
    }
    kept + rest
}

/// Whether a number before `text` ends here, and is no part of a longer address.
fn ends_word(text: &str) -> bool {
    let text = text.strip_prefix(':').unwrap_or(text);
    !text.starts_with(|next: char| next == ':' || next.is_alphanumeric())
}

/// Whether `text` ends in an IPv4 address or in `]`.
fn is_address_end(text: &str) -> bool {
    let start = text.rfind(|one: char| !one.is_ascii_digit() && one != '.');
    let last = start.map_or(text, |at| {
        let width = text[at..].chars().next().map_or(1, char::len_utf8);
        &text[at + width..]
    });
    text.ends_with(']') || last.parse::<std::net::Ipv4Addr>().is_ok()
}

/// A field whose name begins so holds JSON text, which is written as it is in JSON.
const NESTED: &str = "json_";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: Duration = Duration::new(1_795_211_714, 347_372_000);

    fn line(level: Level, message: &str, fields: &[(&str, Value)]) -> Line {
        let mut line = Line::new(level, message.to_owned());
        let owned = |(key, value): &(&str, Value)| ((*key).to_owned(), value.clone());
        line.fields = fields.iter().map(owned).collect();
        line
    }

    #[test]
    fn a_line_has_the_old_format() {
        let text = line(Level::Info, "weave  2.9.0", &[]).written(TIME, Format::Text);

        assert_eq!(text, "INFO: 2026/11/20 21:55:14.347372 weave  2.9.0\n");
    }

    #[test]
    fn fields_come_after_the_padded_message() {
        let fields = [("a", 1.into()), ("b", "two".into())];
        let text = line(Level::Warn, "hello", &fields).written(Duration::ZERO, Format::Text);

        let expected = format!(
            "WARN: 1970/01/01 00:00:00.000000 hello{} a=1 b=two\n",
            " ".repeat(39)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_message_stays_on_one_line() {
        let said = line(Level::Error, "a\nFATA: b", &[]);

        let text = said.written(Duration::ZERO, Format::Text);

        assert_eq!(text, "ERRO: 1970/01/01 00:00:00.000000 a\\nFATA: b\n");
    }

    #[test]
    fn json_has_time_level_message_and_fields() {
        let fields = [("total", 7.into()), ("peer", "a\"b".into())];

        let text = line(Level::Warn, "gossip\ndropped", &fields).written(TIME, Format::Json);

        assert_eq!(
            text,
            "{\"time\":\"2026-11-20T21:55:14.347372Z\",\"level\":\"warning\",\
             \"message\":\"gossip\\ndropped\",\"fields\":{\"peer\":\"a\\\"b\",\"total\":7}}\n"
        );
        let bare = Line::fatal("no").written(TIME, Format::Json);
        assert!(bare.ends_with("\"level\":\"fatal\",\"message\":\"no\"}\n"));
    }

    #[test]
    fn lines_that_differ_in_a_port_repeat_each_other() {
        let key = |text: &str| Line::warning(text).key().unwrap();

        assert_eq!(key("->[10.0.0.1:4711] no"), "->[10.0.0.1] no");
        assert_eq!(key("from [fd00::1]:4711: no"), "from [fd00::1]: no");
        for kept in [
            "10.0.0.1: no",
            "at 12:30:45",
            "0a:00:00:00:00:02 is gone",
            "fd00::1:4711",
            "rule 7:80",
            "é:5",
        ] {
            assert_eq!(key(kept), kept);
        }
        assert_eq!(line(Level::Info, "x", &[]).key(), None);
    }

    #[test]
    fn a_repair_is_written_each_time_and_an_event() {
        let kinds = |target: &str| {
            let mut said = Line::warning("somebody changed it");
            said.aim(target);
            (said.key().is_some(), said.is_event())
        };

        assert_eq!(kinds("weave_bin::host"), (true, true));
        assert_eq!(kinds(CHANGE), (false, true));
        assert_eq!(kinds(EACH), (false, false));
    }

    #[test]
    fn an_event_is_what_people_read() {
        let said = line(Level::Info, "bridge changed", &[("step", "up".into())]);

        assert!(said.is_event() && !line(Level::Debug, "x", &[]).is_event());
        assert_eq!(said.event(TIME).text, "bridge changed step=up");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_line_of_json(message in ".*", key in "[a-z]{1,8}", value in ".*") {
            let fields = [(key.as_str(), Value::String(value.clone()))];
            let text = line(Level::Warn, &message, &fields).written(TIME, Format::Json);

            prop_assert_eq!(text.matches('\n').count(), 1);
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read["message"], &Value::String(message));
            prop_assert_eq!(&read["fields"][&key], &Value::String(value));
        }

        #[test]
        fn every_message_has_a_key(message in ".*") {
            let key = Line::warning(&message).key().unwrap();
            prop_assert!(key.len() <= message.len());
        }
    }
}
