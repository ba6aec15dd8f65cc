//! A text into its documents.
//!
//! Invariant: YAML documents are cut apart at their `---` lines before they are parsed, so a syntax
//! error costs one document.

use serde_json::Value;

/// A document, or the line where it starts and what is wrong with it.
pub(super) type Document = Result<Value, (usize, String)>;

/// The documents of `text`. Empty ones are left out.
pub(super) fn documents(text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_json = text.trim_start().starts_with('{');
    if let (true, Ok(documents)) = (is_json, json(text)) {
        return documents;
    }
    pieces(text)
        .into_iter()
        .filter(|(_, piece)| !is_blank(piece))
        .map(|(line, piece)| yaml(&piece).map_err(|reason| (line, reason)))
        .collect()
}

/// One JSON value after the other; an error if the text is not JSON from start to end.
fn json(text: &str) -> Result<Vec<Document>, serde_json::Error> {
    serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .map(|value| value.map(Ok))
        .collect()
}

/// One YAML document. Only `true` and `false` are booleans, so that `y` can be a name.
fn yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.trim_start_matches("error: ").to_owned()
    })
}

/// The text between the `---` lines, with the number of each piece's first line.
fn pieces(text: &str) -> Vec<(usize, String)> {
    let mut pieces = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        let is_mark = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        let is_end = line.trim_end() == "...";
        if is_mark {
            let rest = line.trim_start_matches('-').trim_start();
            let content = if rest.starts_with('#') { "" } else { rest };
            pieces.push((index + 1, format!("{content}\n")));
        } else if let Some((_, piece)) = pieces.last_mut().filter(|_| !is_end) {
            piece.push_str(line);
            piece.push('\n');
        }
    }
    pieces
}

/// True if there are only comments, directives and white space.
fn is_blank(piece: &str) -> bool {
    piece.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line.starts_with('%')
    })
}
