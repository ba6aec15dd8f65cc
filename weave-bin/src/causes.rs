//! Errors as people read them.

use std::error::Error;

/// An error with its causes, where they are not in its own words.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn a_cause_is_told_once() {
        let inner = Layer("no such file", None);
        let same = Layer("read: no such file", Some(Box::new(inner)));
        let outer = Layer("cannot start", Some(Box::new(same)));

        assert_eq!(with_causes(&outer), "cannot start: read: no such file");
    }
}
