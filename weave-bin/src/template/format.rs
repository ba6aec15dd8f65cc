//! Values as text: `print`, `println` and the verbs of `printf`, as Go's `fmt` writes them.

use std::fmt::Write as _;

use super::value::Value;

/// A value as `{{value}}` and `%v` write it.
pub(super) fn plain(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, false);
    out
}

/// Several values: blanks stand between two that are no texts.
pub(super) fn print(values: &[&Value]) -> String {
    let mut out = String::new();
    let mut was_text = true;
    for (at, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if at > 0 && !is_text && !was_text {
            out.push(' ');
        }
        write(&mut out, value, false);
        was_text = is_text;
    }
    out
}

/// Several values with blanks between them and a newline at the end.
pub(super) fn println(values: &[&Value]) -> String {
    let words: Vec<String> = values.iter().map(|value| plain(value)).collect();
    words.join(" ") + "\n"
}

fn write(out: &mut String, value: &Value, named: bool) {
    match value {
        Value::Nil | Value::Absent => out.push_str("<nil>"),
        Value::Missing => out.push_str("<no value>"),
        Value::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Text(text) => out.push_str(text),
        Value::List(list) => {
            out.push('[');
            for (at, value) in list.iter().flatten().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                write(out, value, named);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (at, (key, value)) in map.iter().flatten().enumerate() {
                let _ = write!(out, "{}{key}:", if at > 0 { " " } else { "" });
                write(out, value, named);
            }
            out.push(']');
        }
        Value::Struct(fields) => {
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                if named {
                    let _ = write!(out, "{name}:");
                }
                write(out, value, named);
            }
            out.push('}');
        }
    }
}

/// As `%v`: as short as can be, with an exponent below 1e-4 and from 1e21.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    exponent(value, &format!("{value:e}"), 21)
}

fn exponent(value: f64, scientific: &str, from: i32) -> String {
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific.to_owned();
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent >= from || exponent < -4 => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
}

/// What stands between `%` and its verb.
#[derive(Debug, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    blank: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// `pattern` with its verbs filled by `values`.
pub(super) fn printf(pattern: &str, values: &[&Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (flags, verb, after) = directive(&rest[at + 1..]);
        rest = after;
        match verb {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values.next() {
                None => {
                    let _ = write!(out, "%!{verb}(MISSING)");
                }
                Some(value) => {
                    let text = verbed(value, verb, &flags);
                    pad(&mut out, &text, &flags, value);
                }
            },
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = values
        .map(|value| format!("{}={}", value.kind(), plain(value)))
        .collect();
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

fn directive(text: &str) -> (Flags, Option<char>, &str) {
    let mut flags = Flags::default();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        match next {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            '#' => flags.sharp = true,
            ' ' => flags.blank = true,
            '0' => flags.zero = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    (flags.width, rest) = count(rest);
    if let Some(after) = rest.strip_prefix('.') {
        let precision;
        (precision, rest) = count(after);
        flags.precision = Some(precision);
    }
    let verb = rest.chars().next();
    let after = verb.map_or(rest, |verb| &rest[verb.len_utf8()..]);
    (flags, verb, after)
}

fn count(text: &str) -> (usize, &str) {
    let length = text
        .find(|next: char| !next.is_ascii_digit())
        .unwrap_or(text.len());
    let count = text[..length]
        .parse()
        .unwrap_or(if length == 0 { 0 } else { WIDEST });
    (count.min(WIDEST), &text[length..])
}

/// The value by the verb; lists element by element.
fn verbed(value: &Value, verb: char, flags: &Flags) -> String {
    match (value, verb) {
        (value, 'v') => {
            let mut out = String::new();
            write(&mut out, value, flags.plus || flags.sharp);
            out
        }
        (value, 'T') => value.kind().to_owned(),
        (Value::List(list), verb) => {
            let words: Vec<String> = list
                .iter()
                .flatten()
                .map(|value| verbed(value, verb, flags))
                .collect();
            format!("[{}]", words.join(" "))
        }
        (Value::Text(text), verb) => text_verb(text, verb, flags),
        (Value::Int(value), verb) => int_verb(*value, verb, flags),
        (Value::Float(value), verb) => float_verb(*value, verb, flags),
        (Value::Bool(value), 't') => value.to_string(),
        (value, verb) => wrong(value, verb),
    }
}

fn text_verb(text: &str, verb: char, flags: &Flags) -> String {
    let cut: String = match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    match verb {
        's' => cut,
        'q' => format!("{cut:?}"),
        'x' => cut.bytes().map(|byte| format!("{byte:02x}")).collect(),
        'X' => cut.bytes().map(|byte| format!("{byte:02X}")).collect(),
        verb => wrong(&Value::text(text), verb),
    }
}

fn int_verb(value: i128, verb: char, flags: &Flags) -> String {
    let size = value.unsigned_abs();
    let character = u32::try_from(value).ok().and_then(char::from_u32);
    let digits = match verb {
        'd' => size.to_string(),
        'x' => format!("{size:x}"),
        'X' => format!("{size:X}"),
        'o' => format!("{size:o}"),
        'b' => format!("{size:b}"),
        'c' => return character.unwrap_or('\u{fffd}').to_string(),
        'q' => return format!("{:?}", character.unwrap_or('\u{fffd}')),
        'U' => return format!("U+{size:04X}"),
        verb => return wrong(&Value::Int(value), verb),
    };
    let prefix = match verb {
        'x' | 'X' if flags.sharp => "0x",
        'o' if flags.sharp => "0",
        _ => "",
    };
    let least = flags.precision.unwrap_or(0).min(DIGITS);
    format!("{}{prefix}{digits:0>least$}", sign(value < 0, flags))
}

fn float_verb(value: f64, verb: char, flags: &Flags) -> String {
    let size = value.abs();
    let digits = match (verb, flags.precision) {
        ('f' | 'F', precision) => format!("{size:.*}", precision.unwrap_or(6).min(DIGITS)),
        ('e', precision) => {
            let text = format!("{size:.*e}", precision.unwrap_or(6).min(DIGITS));
            // An exponent of any size is written out.
            exponent(size, &text, i32::MIN)
        }
        ('g', _) => float(size),
        (verb, _) => return wrong(&Value::Float(value), verb),
    };
    sign(value < 0.0, flags).to_owned() + &digits
}

fn sign(is_negative: bool, flags: &Flags) -> &'static str {
    match (is_negative, flags.plus, flags.blank) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn wrong(value: &Value, verb: char) -> String {
    if value.is_nil() {
        return format!("%!{verb}(<nil>)");
    }
    format!("%!{verb}({}={})", value.kind(), plain(value))
}

fn pad(out: &mut String, text: &str, flags: &Flags, value: &Value) {
    let missing = flags.width.saturating_sub(text.chars().count());
    let is_number = matches!(value, Value::Int(_) | Value::Float(_));
    if flags.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if flags.zero && is_number {
        let signs = text.len() - text.trim_start_matches(['-', '+', ' ']).len();
        out.push_str(&text[..signs]);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(&text[signs..]);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}

/// The widest column and the highest precision; more is cut to this.
const WIDEST: usize = 1_000;
/// Most digits after the point, and most leading zeros.
const DIGITS: usize = 100;
