//! Text with tags that always match, in which nothing from outside is a tag.
//!
//! Invariant: names of tags and attributes are ours; every text and every value of an attribute is
//! escaped. What [`Markup`] gives is well-formed, whatever peers call themselves.

use std::fmt::Write as _;

/// A document while it is written.
#[derive(Debug, Default)]
pub(super) struct Markup {
    out: String,
}

/// Attributes of a tag.
pub(super) type Attributes<'a> = [(&'static str, &'a str)];

impl Markup {
    /// An element with what `inside` writes in it.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: &Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.begin(tag, attributes);
        self.out.push('>');
        inside(self);
        // Writing to a string cannot fail.
        let _ = write!(self.out, "</{tag}>");
        if is_block(tag) {
            self.out.push('\n');
        }
    }

    /// An element with a text in it.
    pub(super) fn leaf(&mut self, tag: &'static str, attributes: &Attributes<'_>, text: &str) {
        self.element(tag, attributes, |markup| markup.text(text));
    }

    /// An element that has nothing in it: `meta` and `link`, or a shape of SVG.
    pub(super) fn empty(&mut self, tag: &'static str, attributes: &Attributes<'_>) {
        self.begin(tag, attributes);
        self.out.push_str("/>\n");
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) {
        self.out.push_str(&escaped(text));
    }

    /// The style sheet, which is ours and has no `<` in it.
    pub(super) fn style(&mut self, sheet: &'static str) {
        let _ = writeln!(self.out, "<style>{sheet}</style>");
    }

    /// The whole document.
    pub(super) fn into_document(self) -> String {
        format!("<!DOCTYPE html>\n{}", self.out)
    }

    fn begin(&mut self, tag: &'static str, attributes: &Attributes<'_>) {
        let _ = write!(self.out, "<{tag}");
        for (name, value) in attributes {
            let _ = write!(self.out, " {name}=\"{}\"", escaped(value));
        }
    }
}

/// `text` without anything that a browser takes for markup, and without characters that are no
/// text: controls, and those that turn the direction of what follows.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(one),
            one if is_unfit(one) => out.push('\u{fffd}'),
            one => out.push(one),
        }
    }
    out
}

/// Controls, direction marks (Unicode bidirectional algorithm, section 2) and what XML 1.0
/// section 2.2 leaves out.
pub(crate) fn is_unfit(one: char) -> bool {
    one.is_control()
        || matches!(
            one,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{fffe}'
                | '\u{ffff}'
        )
}

/// Tags after which a line ends, so that the source can be read.
fn is_block(tag: &str) -> bool {
    matches!(
        tag,
        "html"
            | "head"
            | "body"
            | "header"
            | "main"
            | "section"
            | "title"
            | "svg"
            | "g"
            | "text"
            | "h1"
            | "h2"
            | "p"
            | "ul"
            | "li"
            | "table"
            | "caption"
            | "thead"
            | "tbody"
            | "tr"
            | "dl"
            | "div"
            | "path"
            | "line"
            | "circle"
            | "footer"
            | "figure"
            | "figcaption"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_a_tag() {
        let mut markup = Markup::default();

        markup.leaf("p", &[("title", "\"><script>")], "<b>&'\u{202e}\u{7}");

        assert_eq!(
            markup.out,
            "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;&amp;&#39;\u{fffd}\u{fffd}</p>\n"
        );
    }
}
