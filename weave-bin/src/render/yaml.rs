//! JSON values as YAML that people like to read.
//!
//! Block style, two blanks of indent, keys in the order given by [`ORDER`] and then by name. Texts
//! that could be read as something else are quoted as JSON, which YAML understands.

use serde_json::{Map, Value};

/// `document` as YAML with a newline at the end.
pub(super) fn render(document: &Value) -> String {
    let mut text = String::new();
    block(&mut text, document, 0);
    text
}

fn block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in sorted(map).into_iter().enumerate() {
                if index > 0 {
                    pad(text, indent);
                }
                text.push_str(&scalar(key));
                text.push(':');
                nested(text, value, indent);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    pad(text, indent);
                }
                text.push_str("- ");
                if is_block(value) {
                    block(text, value, indent + 2);
                } else {
                    text.push_str(&inline(value));
                    text.push('\n');
                }
            }
        }
        other => {
            text.push_str(&inline(other));
            text.push('\n');
        }
    }
}

/// What comes after a key: on its own line when it has parts.
fn nested(text: &mut String, value: &Value, indent: usize) {
    if !is_block(value) {
        text.push(' ');
        text.push_str(&inline(value));
        text.push('\n');
        return;
    }
    let indent = if value.is_array() { indent } else { indent + 2 };
    text.push('\n');
    pad(text, indent);
    block(text, value, indent);
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

fn pad(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// `text` bare where nothing else can be read into it, else in quotes.
fn scalar(text: &str) -> String {
    let mut chars = text.chars();
    let starts_plain = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let is_word = !WORDS.contains(&text.to_ascii_lowercase().as_str());
    // A colon is plain before anything but a blank and the end.
    let has_colon_at_end = text.ends_with(':');
    if starts_plain && is_word && !has_colon_at_end && chars.all(|c| is_plain(c) || c == ':') {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

/// Entries in the order people expect.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let rank = |key: &str| {
        ORDER
            .iter()
            .position(|known| *known == key)
            .unwrap_or(ORDER.len())
    };
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then(a.cmp(b)));
    entries
}

/// Words that YAML 1.1 reads as truth values or nothing.
const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
const ORDER: [&str; 16] = [
    "apiVersion",
    "kind",
    "name",
    "metadata",
    "namespace",
    "labels",
    "rules",
    "roleRef",
    "subjects",
    "spec",
    "minReadySeconds",
    "updateStrategy",
    "selector",
    "template",
    "image",
    "command",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_and_lists_are_blocks() {
        let document = json!({
            "items": [{"kind": "A", "apiVersion": "v1"}, ["x", 1], {}, []],
            "empty": {}, "on": true, "text": "1",
        });

        let expected = "empty: {}\n\
            items:\n- apiVersion: v1\n  kind: A\n- - x\n  - 1\n- {}\n- []\n\
            \"on\": true\ntext: \"1\"\n";
        assert_eq!(render(&document), expected);
    }

    #[test]
    fn texts_that_mean_something_else_are_quoted() {
        for (text, expected) in [
            ("weave-net", "weave-net"),
            ("/home/weave/launch.sh", "/home/weave/launch.sh"),
            ("a:b", "a:b"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("No", "\"No\""),
            ("127.0.0.1", "\"127.0.0.1\""),
            ("a: b", "\"a: b\""),
            ("key:", "\"key:\""),
            ("a#b", "\"a#b\""),
            ("line\nbreak", "\"line\\nbreak\""),
        ] {
            assert_eq!(scalar(text), expected);
        }
    }
}
