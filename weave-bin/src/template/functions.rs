//! The functions a template may call.
//!
//! Each is a function of its arguments alone; what it does not take is told in words. `and` and `or` are
//! not here, since they look at arguments only until the answer is known.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::value::Value;
use super::{RunError, escape, format};

/// A function by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Eq,
    Ge,
    Gt,
    Html,
    Index,
    Js,
    Json,
    Le,
    Len,
    Lt,
    Ne,
    Not,
    Or,
    Print,
    Printf,
    Println,
    UrlQuery,
}

impl Function {
    /// The function called `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let mut all = NAMES.iter();
        all.find(|(known, _)| *known == name).map(|(_, one)| *one)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        let mut all = NAMES.iter();
        let found = all.find(|(_, one)| *one == self);
        found.map_or("", |(name, _)| name)
    }

    /// What it makes of `arguments`.
    pub(super) fn call<'v>(self, arguments: &[Cow<'v, Value>]) -> Result<Cow<'v, Value>, RunError> {
        let values: Vec<&Value> = arguments.iter().map(AsRef::as_ref).collect();
        let text = |text: String| Ok(Value::text(text));
        let made = match (self, values.as_slice()) {
            (Self::Index, [_, ..]) => return self.told(index(arguments)),
            (Self::Not, [value]) => Ok(Value::Bool(!value.is_true())),
            (Self::Len, [value]) => len(value),
            (Self::Print, values) => text(format::print(values)),
            (Self::Println, values) => text(format::println(values)),
            (Self::Printf, [Value::Text(pattern), values @ ..]) => {
                text(format::printf(pattern, values))
            }
            (Self::Printf, [_, ..]) => Err("the first argument must be a text".to_owned()),
            (Self::Eq, [first, others @ ..]) if !others.is_empty() => is_one_of(first, others),
            (Self::Ne, [a, b]) => is_equal(a, b).map(|is_equal| Value::Bool(!is_equal)),
            (Self::Lt, [a, b]) => order(a, b).map(|order| Value::Bool(order.is_lt())),
            (Self::Le, [a, b]) => order(a, b).map(|order| Value::Bool(order.is_le())),
            (Self::Gt, [a, b]) => order(a, b).map(|order| Value::Bool(order.is_gt())),
            (Self::Ge, [a, b]) => order(a, b).map(|order| Value::Bool(order.is_ge())),
            (Self::Json, [value]) => escape::json(value).map(Value::text),
            (Self::Html, values) => text(escape::html(&joined(values))),
            (Self::Js, values) => text(escape::js(&joined(values))),
            (Self::UrlQuery, values) => text(escape::query(&joined(values))),
            (_, values) => Err(format!("wrong number of args: got {}", values.len())),
        };
        self.told(made.map(Cow::Owned))
    }

    fn told<T>(self, made: Result<T, String>) -> Result<T, RunError> {
        let name = self.name();
        made.map_err(|reason| RunError::Call { name, reason })
    }
}

/// One text is taken as it is; anything else as `print` writes it.
fn joined(values: &[&Value]) -> String {
    match values {
        [Value::Text(text)] => text.to_string(),
        values => format::print(values),
    }
}

fn len(value: &Value) -> Result<Value, String> {
    let count = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.as_ref().map_or(0, Vec::len),
        Value::Map(map) => map.as_ref().map_or(0, BTreeMap::len),
        // A list that is left out when empty.
        Value::Absent => 0,
        other => return Err(format!("len of type {}", other.kind())),
    };
    i128::try_from(count)
        .map(Value::Int)
        .map_err(|error| error.to_string())
}

/// The first argument by the others, one inside the other.
fn index<'v>(arguments: &[Cow<'v, Value>]) -> Result<Cow<'v, Value>, String> {
    let Some((first, keys)) = arguments.split_first() else {
        return Err("nothing to index".to_owned());
    };
    let mut found = first.clone();
    for key in keys {
        found = match found {
            Cow::Borrowed(value) => Cow::Borrowed(element(value, key)?),
            Cow::Owned(value) => Cow::Owned(element(&value, key)?.clone()),
        };
    }
    Ok(found)
}

fn element<'a>(value: &'a Value, key: &Value) -> Result<&'a Value, String> {
    match (value, key) {
        (Value::List(list), Value::Int(at)) => {
            let list = list.as_deref().unwrap_or_default();
            let found = usize::try_from(*at).ok().and_then(|at| list.get(at));
            found.ok_or_else(|| format!("index out of range: {at}"))
        }
        (Value::Map(map), Value::Text(key)) => {
            let found = map.as_ref().and_then(|map| map.get(&**key));
            Ok(found.unwrap_or(&Value::Missing))
        }
        (Value::List(_) | Value::Map(_), key) => {
            let kinds = (value.kind(), key.kind());
            Err(format!("cannot index {} with type {}", kinds.0, kinds.1))
        }
        (value, _) if value.is_nil() => Err("index of nil pointer".to_owned()),
        (value, _) => Err(format!("can't index item of type {}", value.kind())),
    }
}

fn is_one_of(first: &Value, others: &[&Value]) -> Result<Value, String> {
    for other in others {
        if is_equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn is_equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (a, b) if a.is_nil() || b.is_nil() => Ok(a.is_nil() && b.is_nil()),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Struct(_) | Value::List(_) | Value::Map(_), _) => {
            Err(format!("non-comparable type {}", a.kind()))
        }
        (a, b) => order(a, b).map(Ordering::is_eq),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        // Not a number comes after all numbers, and equals nothing in Go: no report has one.
        (Value::Float(a), Value::Float(b)) => Ok(a.total_cmp(b)),
        (Value::Int(_) | Value::Text(_) | Value::Float(_) | Value::Bool(_), b)
            if a.kind() != b.kind() =>
        {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}

const NAMES: &[(&str, Function)] = &[
    ("and", Function::And),
    ("eq", Function::Eq),
    ("ge", Function::Ge),
    ("gt", Function::Gt),
    ("html", Function::Html),
    ("index", Function::Index),
    ("js", Function::Js),
    ("json", Function::Json),
    ("le", Function::Le),
    ("len", Function::Len),
    ("lt", Function::Lt),
    ("ne", Function::Ne),
    ("not", Function::Not),
    ("or", Function::Or),
    ("print", Function::Print),
    ("printf", Function::Printf),
    ("println", Function::Println),
    ("urlquery", Function::UrlQuery),
];
