//! How a blocked connection is written into the log.

use tracing::warn;

use super::blocked::Record;
use super::settings::Style;
use crate::logging::EACH;

/// Writes one line: Weave Net's sentence, and behind it what `style` asks for. How often a
/// flow is shown is decided before, so no line is held back.
pub(super) fn print(record: &Record, style: Style) {
    let sentence = record.sentence();
    match style {
        Style::Sentence => warn!(target: EACH, "{sentence}"),
        Style::Detail => {
            let direction = record.direction.as_deref().unwrap_or("unknown");
            let (from, to) = (record.from_pod.as_deref(), record.to_pod.as_deref());
            let (from, to) = (from.unwrap_or("-"), to.unwrap_or("-"));
            warn!(
                target: EACH,
                %direction,
                %from,
                %to,
                reason = %record.reason,
                "{sentence}"
            );
        }
        Style::Record => match serde_json::to_string(record) {
            Ok(json) => warn!(target: EACH, json_record = %json, "{sentence}"),
            Err(error) => warn!(target: EACH, %error, "{sentence}"),
        },
    }
}
