//! A page of metrics in the text exposition format 0.0.4, family by family.
//!
//! A family is written whole: help and type once, then its samples. Labels are escaped here, so no name of
//! a peer or channel can break the page.

use std::fmt::Write as _;

/// A page being written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page(String);

impl Page {
    /// A family of numbers that only grow.
    pub(crate) fn counter<'p>(&'p mut self, name: &'p str, help: &str) -> Family<'p> {
        self.family(name, "counter", help)
    }

    /// A family of numbers that go up and down.
    pub(crate) fn gauge<'p>(&'p mut self, name: &'p str, help: &str) -> Family<'p> {
        self.family(name, "gauge", help)
    }

    /// A family of counts by upper bound.
    pub(crate) fn histogram<'p>(&'p mut self, name: &'p str, help: &str) -> Family<'p> {
        self.family(name, "histogram", help)
    }

    /// A family of a sum and a count.
    pub(crate) fn summary<'p>(&'p mut self, name: &'p str, help: &str) -> Family<'p> {
        self.family(name, "summary", help)
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    fn family<'p>(&'p mut self, name: &'p str, kind: &str, help: &str) -> Family<'p> {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: self, name }
    }
}

/// A family being written.
#[derive(Debug)]
pub(crate) struct Family<'p> {
    page: &'p mut Page,
    name: &'p str,
}

impl Family<'_> {
    /// Its one sample, without labels.
    pub(crate) fn value(self, value: f64) {
        let _ = writeln!(self.page.0, "{} {}", self.name, number(value));
    }

    /// A sample.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], count: u64) -> &mut Self {
        self.part("", labels, count)
    }

    /// A sample of a part of the family, such as `_bucket`.
    pub(crate) fn part(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) -> &mut Self {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.page.0, "{}{suffix}{labels} {value}", self.name);
        self
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A number with as many digits as it needs, and an exponent of two digits or more from a million
/// up and below a ten thousandth.
pub(super) fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent >= 6 => format!("{digits}e+{exponent:02}"),
        Ok(exponent) if exponent < -4 => format!("{digits}e-{:02}", exponent.abs()),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_dashboards_know_them() {
        for (value, text) in [
            (0.0, "0"),
            (5.0, "5"),
            (524_288.0, "524288"),
            (1_048_576.0, "1.048576e+06"),
            (49.999_904_632_568_36, "49.99990463256836"),
            (0.000_02, "2e-05"),
            (1.0e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn no_label_breaks_a_line() {
        let mut page = Page::default();

        page.counter("x_total", "X.")
            .sample(&[("a", "q\"\\\n"), ("b", "")], 3);

        let text =
            "# HELP x_total X.\n# TYPE x_total counter\nx_total{a=\"q\\\"\\\\\\n\",b=\"\"} 3\n";
        assert_eq!(page.into_text(), text);
    }
}
