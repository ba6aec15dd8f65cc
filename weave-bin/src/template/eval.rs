//! Walks a tree over a value and writes text.
//!
//! Every node, operand and pass of a `range` takes a step, and every text that is made takes its bytes: a
//! template ends within its [`Limits`], whatever it says.

use std::borrow::Cow;

use super::functions::Function;
use super::parse::{Base, Branch, Command, Kind, Node, Operand, Pipe};
use super::value::Value;
use super::{Limits, RunError, format};

/// What `nodes` write over `data`.
pub(super) fn run(nodes: &[Node], data: &Value, limits: Limits) -> Result<String, RunError> {
    let dot = Cow::Borrowed(data);
    let mut run = Run {
        variables: vec![("$", dot.clone())],
        out: String::new(),
        left: limits,
    };
    run.list(nodes, &dot)?;
    Ok(run.out)
}

struct Run<'n, 'v> {
    variables: Vec<(&'n str, Held<'v>)>,
    out: String,
    left: Limits,
}

/// A part of the data, or something computed, which is never more than a text.
type Held<'v> = Cow<'v, Value>;

impl<'n, 'v> Run<'n, 'v> {
    fn list(&mut self, nodes: &'n [Node], dot: &Held<'v>) -> Result<(), RunError> {
        for node in nodes {
            self.step(1)?;
            match node {
                Node::Literal(text) => self.write(text)?,
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.show(&value)?;
                    }
                }
                Node::Branch(Kind::Range, branch) => self.range(branch, dot)?,
                Node::Branch(kind, branch) => self.branch(*kind, branch, dot)?,
            }
        }
        Ok(())
    }

    fn branch(&mut self, kind: Kind, branch: &'n Branch, dot: &Held<'v>) -> Result<(), RunError> {
        let scope = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        if !value.is_true() {
            self.list(&branch.otherwise, dot)?;
        } else if kind == Kind::With {
            self.list(&branch.body, &value)?;
        } else {
            self.list(&branch.body, dot)?;
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn range(&mut self, branch: &'n Branch, dot: &Held<'v>) -> Result<(), RunError> {
        let scope = self.variables.len();
        let whole = self.pipe(&branch.pipe, dot)?;
        // What is ranged over is data: computed values are single ones.
        let passes = match &whole {
            Cow::Borrowed(value) => passes(value)?,
            Cow::Owned(value) if value.is_nil() => Vec::new(),
            Cow::Owned(value) => return Err(no_range(value)),
        };
        if passes.is_empty() {
            self.list(&branch.otherwise, dot)?;
        }
        let inner = self.variables.len();
        for (key, value) in passes {
            self.step(1)?;
            let value = Cow::Borrowed(value);
            match branch.pipe.variables.as_slice() {
                [] => {}
                [only] => self.set(only, value.clone()),
                [first, second, ..] => {
                    self.set(first, Cow::Owned(key));
                    self.set(second, value.clone());
                }
            }
            self.list(&branch.body, &value)?;
            self.variables.truncate(inner);
        }
        self.variables.truncate(scope);
        Ok(())
    }

    /// The value of a pipeline; variables it declares have it afterwards.
    fn pipe(&mut self, pipe: &'n Pipe, dot: &Held<'v>) -> Result<Held<'v>, RunError> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Cow::Owned(Value::Nil));
        for name in &pipe.variables {
            if pipe.assigns {
                self.set(name, value.clone());
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &'n Command,
        dot: &Held<'v>,
        last: Option<Held<'v>>,
    ) -> Result<Held<'v>, RunError> {
        if let Base::Function(function) = command.first.base {
            return self.call(function, &command.arguments, dot, last);
        }
        if last.is_some() || !command.arguments.is_empty() {
            let text = "can't give argument to non-function".to_owned();
            return Err(RunError::Misplaced(text));
        }
        if command.first.base == Base::Nil {
            return Err(RunError::Misplaced("nil is not a command".to_owned()));
        }
        self.operand(&command.first, dot)
    }

    fn operand(&mut self, operand: &'n Operand, dot: &Held<'v>) -> Result<Held<'v>, RunError> {
        self.step(1)?;
        let mut value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Nil => Cow::Owned(Value::Nil),
            Base::Constant(value) => Cow::Owned(value.clone()),
            Base::Variable(name) => self.variable(name)?,
            Base::Function(function) => self.call(*function, &[], dot, None)?,
            Base::Group(pipe) => self.pipe(pipe, dot)?,
        };
        for name in &operand.fields {
            self.step(1)?;
            value = match value {
                Cow::Borrowed(value) => Cow::Borrowed(field(value, name)?),
                Cow::Owned(value) => Cow::Owned(field(&value, name)?.clone()),
            };
        }
        Ok(value)
    }

    fn call(
        &mut self,
        function: Function,
        operands: &'n [Operand],
        dot: &Held<'v>,
        last: Option<Held<'v>>,
    ) -> Result<Held<'v>, RunError> {
        if matches!(function, Function::And | Function::Or) {
            return self.first_that(function, operands, dot, last);
        }
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        // Long texts take their time to read, too.
        for argument in &arguments {
            if let Value::Text(text) = &**argument {
                self.step(text.len() / 64)?;
            }
        }
        let made = function.call(&arguments)?;
        if let Cow::Owned(Value::Text(text)) = &made {
            self.take(text.len())?;
        }
        Ok(made)
    }

    /// `and` is its first empty argument, `or` its first other one, each the last if there is none.
    fn first_that(
        &mut self,
        function: Function,
        operands: &'n [Operand],
        dot: &Held<'v>,
        last: Option<Held<'v>>,
    ) -> Result<Held<'v>, RunError> {
        let mut found = None;
        for operand in operands {
            let value = self.operand(operand, dot)?;
            if value.is_true() == (function == Function::Or) {
                return Ok(value);
            }
            found = Some(value);
        }
        last.or(found).ok_or_else(|| RunError::Call {
            name: function.name(),
            reason: "wrong number of args: got 0".to_owned(),
        })
    }

    fn variable(&mut self, name: &str) -> Result<Held<'v>, RunError> {
        let mut all = self.variables.iter().rev().enumerate();
        let found = all.find(|(_, (known, _))| *known == name);
        let found = found.map(|(far, (_, value))| (far, value.clone()));
        match found {
            Some((far, value)) => {
                self.step(far / 16)?;
                Ok(value)
            }
            None => Err(RunError::Misplaced(format!("undefined variable {name:?}"))),
        }
    }

    fn set(&mut self, name: &str, value: Held<'v>) {
        let mut all = self.variables.iter_mut().rev();
        if let Some((_, old)) = all.find(|(known, _)| *known == name) {
            *old = value;
        }
    }

    fn show(&mut self, value: &Value) -> Result<(), RunError> {
        match value {
            Value::Text(text) => self.write(text),
            // An interface to nothing.
            Value::Missing => self.write("<no value>"),
            other => self.write(&format::plain(other)),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), RunError> {
        self.take(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn step(&mut self, count: usize) -> Result<(), RunError> {
        let left = self.left.steps.checked_sub(count);
        self.left.steps = left.ok_or(RunError::Limit("the steps it may take"))?;
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<(), RunError> {
        let left = self.left.bytes.checked_sub(count);
        self.left.bytes = left.ok_or(RunError::Limit("the bytes it may write"))?;
        Ok(())
    }
}

/// A key and a value for each pass.
fn passes(value: &Value) -> Result<Vec<(Value, &Value)>, RunError> {
    match value {
        Value::List(list) => Ok(list.iter().flatten().enumerate().map(numbered).collect()),
        Value::Map(map) => {
            let entries = map.iter().flatten();
            Ok(entries.map(|(key, one)| (Value::text(key), one)).collect())
        }
        value if value.is_nil() => Ok(Vec::new()),
        value => Err(no_range(value)),
    }
}

fn numbered((at, value): (usize, &Value)) -> (Value, &Value) {
    (Value::Int(i128::try_from(at).unwrap_or(i128::MAX)), value)
}

fn no_range(value: &Value) -> RunError {
    let kind = value.kind();
    RunError::Misplaced(format!("range can't iterate over a value of type {kind}"))
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value, RunError> {
    let none = || RunError::NoField {
        field: name.to_owned(),
        kind: value.kind(),
    };
    match value {
        Value::Struct(fields) => {
            let found = fields.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value).ok_or_else(none)
        }
        Value::Map(map) => {
            let found = map.as_ref().and_then(|map| map.get(name));
            Ok(found.unwrap_or(&Value::Missing))
        }
        Value::Missing => Ok(&Value::Missing),
        Value::Nil | Value::Absent => Err(RunError::NilField(name.to_owned())),
        _ => Err(none()),
    }
}
