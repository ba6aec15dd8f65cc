//! How a blocked connection is written into the log.

use tracing::warn;

use super::blocked::Record;
use super::settings::Style;

/// Writes one line: Weave Net's sentence, and behind it what `style` asks for.
pub(super) fn print(record: &Record, style: Style) {
    let sentence = record.sentence();
    match style {
        Style::Sentence => warn!("{sentence}"),
        Style::Detail => {
            let direction = record.direction.as_deref().unwrap_or("unknown");
            let (from, to) = (record.from_pod.as_deref(), record.to_pod.as_deref());
            let (from, to) = (from.unwrap_or("-"), to.unwrap_or("-"));
            warn!(%direction, %from, %to, reason = %record.reason, "{sentence}");
        }
        Style::Json => match serde_json::to_string(record) {
            Ok(json) => warn!(record = %json, "{sentence}"),
            Err(error) => warn!(%error, "{sentence}"),
        },
    }
}
