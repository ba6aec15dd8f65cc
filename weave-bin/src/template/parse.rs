//! From words to a tree.
//!
//! Names of functions and variables are known when the tree is made: running it cannot miss one. The tree
//! is at most [`DEPTH`] deep, so that walking it needs a known part of the stack.

use std::sync::Arc;

use super::ParseError;
use super::functions::Function;
use super::lex::{self, Item, Token};
use super::value::Value;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Text that is written as it is.
    Literal(String),
    /// A pipeline whose value is written, or kept when it declares a variable.
    Action(Pipe),
    /// `if`, `with` or `range`.
    Branch(Kind, Branch),
}

/// What a block does with its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    If,
    With,
    Range,
}

/// A block with its alternative.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each with the value of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipe {
    /// Variables that take the value, with their `$`.
    pub(super) variables: Vec<String>,
    /// Whether they exist and change.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) first: Operand,
    pub(super) arguments: Vec<Operand>,
}

/// Something with a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) base: Base,
    /// Fields of it, one inside the other.
    pub(super) fields: Vec<String>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    /// `.`.
    Dot,
    /// `nil`.
    Nil,
    /// A number, a truth value or a text.
    Constant(Value),
    /// `$name`.
    Variable(String),
    /// The name of a function.
    Function(Function),
    /// A pipeline in parentheses.
    Group(Box<Pipe>),
}

/// The tree of `source`.
pub(super) fn parse(source: &str) -> Result<Vec<Node>, ParseError> {
    let mut parser = Parser {
        items: lex::words(source),
        at: 0,
        depth: 0,
        variables: vec!["$".to_owned()],
    };
    let (nodes, end) = parser.list()?;
    match end {
        Ending::Text => Ok(nodes),
        Ending::End => parser.fail("unexpected {{end}}"),
        Ending::Else => parser.fail("unexpected {{else}}"),
    }
}

/// What ends a list of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Text,
    End,
    Else,
}

struct Parser {
    items: Vec<Item>,
    at: usize,
    depth: usize,
    variables: Vec<String>,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser {
    fn list(&mut self) -> Parsed<(Vec<Node>, Ending)> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                Token::Literal(text) => nodes.push(Node::Literal(text)),
                Token::End => return Ok((nodes, Ending::Text)),
                Token::Open => match self.action()? {
                    Action::Node(node) => nodes.push(node),
                    Action::Ending(ending) => return Ok((nodes, ending)),
                },
                other => return self.unexpected(&other, "input"),
            }
        }
    }

    fn action(&mut self) -> Parsed<Action> {
        let start = self.at;
        let Token::Word(word) = self.next_word() else {
            self.at = start;
            let pipe = self.pipeline("command", &Token::Close)?;
            return Ok(Action::Node(Node::Action(pipe)));
        };
        Ok(match word.as_str() {
            "if" => Action::Node(self.branch(Kind::If, "if")?),
            "with" => Action::Node(self.branch(Kind::With, "with")?),
            "range" => Action::Node(self.branch(Kind::Range, "range")?),
            "end" => {
                self.close("end")?;
                Action::Ending(Ending::End)
            }
            "else" => {
                // What follows `else` belongs to whoever opened the block.
                if self.peek_word() == Token::Close {
                    self.close("else")?;
                } else if self.peek_word() != Token::Word("if".to_owned()) {
                    let other = self.next_word();
                    return self.unexpected(&other, "else");
                }
                Action::Ending(Ending::Else)
            }
            "define" | "template" | "block" | "break" | "continue" => {
                return self.fail(&format!("{{{{{word}}}}} is not supported"));
            }
            _ => {
                self.at = start;
                let pipe = self.pipeline("command", &Token::Close)?;
                Action::Node(Node::Action(pipe))
            }
        })
    }

    fn branch(&mut self, kind: Kind, name: &'static str) -> Parsed<Node> {
        self.enter()?;
        let scope = self.variables.len();
        let pipe = self.pipeline(name, &Token::Close)?;
        if kind != Kind::Range && pipe.variables.len() > 1 {
            return self.fail(&format!("too many declarations in {name}"));
        }
        let inner = self.variables.len();
        let (body, ending) = self.list()?;
        self.variables.truncate(inner);
        let mut otherwise = Vec::new();
        match ending {
            Ending::End => {}
            Ending::Text => return self.fail("unexpected EOF"),
            // `{{else if}}` is a block inside, which takes the one `{{end}}` of both.
            Ending::Else if self.peek_word() == Token::Word("if".to_owned()) => {
                if kind != Kind::If {
                    return self.fail(&format!("unexpected <if> in {name}"));
                }
                self.next_word();
                otherwise.push(self.branch(Kind::If, "if")?);
            }
            Ending::Else => {
                let (nodes, ending) = self.list()?;
                match ending {
                    Ending::End => otherwise = nodes,
                    Ending::Text => return self.fail("unexpected EOF"),
                    Ending::Else => return self.fail("expected end; found {{else}}"),
                }
            }
        }
        self.variables.truncate(scope);
        self.depth -= 1;
        let branch = Branch {
            pipe,
            body,
            otherwise,
        };
        Ok(Node::Branch(kind, branch))
    }

    fn pipeline(&mut self, context: &'static str, end: &Token) -> Parsed<Pipe> {
        let (variables, assigns) = self.declaration(context)?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            if self.peek_word() == *end {
                self.next_word();
                break;
            }
            commands.push(self.command(context, end)?);
            match self.next_word() {
                Token::Pipe if self.peek_word() != *end => {}
                Token::Pipe => return self.fail(&format!("missing value for {context}")),
                other if other == *end => break,
                other => return self.unexpected(&other, context),
            }
        }
        if commands.is_empty() {
            return self.fail(&format!("missing value for {context}"));
        }
        for (stage, command) in commands.iter().enumerate().skip(1) {
            let base = &command.first.base;
            let is_plain = command.first.fields.is_empty();
            if is_plain && matches!(base, Base::Dot | Base::Nil | Base::Constant(_)) {
                let text = format!("non executable command in pipeline stage {}", stage + 1);
                return self.fail(&text);
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe {
            variables,
            assigns,
            commands,
        })
    }

    /// `$x :=`, `$x =` or, for a range, `$i, $x :=`, if one of them is next.
    fn declaration(&mut self, context: &str) -> Parsed<(Vec<String>, bool)> {
        let start = self.at;
        let mut names = Vec::new();
        while let Token::Variable(name) = self.next_word() {
            names.push(name);
            match self.next_word() {
                Token::Declare => return Ok((names, false)),
                Token::Assign => {
                    for name in &names {
                        self.known(name)?;
                    }
                    return Ok((names, true));
                }
                Token::Comma if context == "range" && names.len() < 2 => {}
                Token::Comma if context == "range" => {
                    return self.fail("too many declarations in range");
                }
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, context: &str, end: &Token) -> Parsed<Command> {
        let first = self.operand(context)?;
        let mut arguments = Vec::new();
        loop {
            let is_apart = self.peek() == Token::Space;
            let next = self.peek_word();
            if next == Token::Pipe || next == *end {
                return Ok(Command { first, arguments });
            }
            if !is_apart {
                self.next_word();
                return self.unexpected(&next, "operand");
            }
            arguments.push(self.operand("operand")?);
        }
    }

    fn operand(&mut self, context: &str) -> Parsed<Operand> {
        let base = match self.next_word() {
            Token::Dot => Base::Dot,
            Token::Field(name) => return Ok(self.fields(Base::Dot, vec![name])),
            Token::Variable(name) => {
                self.known(&name)?;
                return Ok(self.fields(Base::Variable(name), Vec::new()));
            }
            Token::Int(value) => Base::Constant(Value::Int(value)),
            Token::Float(value) => Base::Constant(Value::Float(value)),
            Token::Quoted(text) => Base::Constant(Value::Text(Arc::from(text))),
            Token::Word(word) => match word.as_str() {
                "true" => Base::Constant(Value::Bool(true)),
                "false" => Base::Constant(Value::Bool(false)),
                "nil" => Base::Nil,
                name => match Function::named(name) {
                    Some(function) => Base::Function(function),
                    None => return self.fail(&format!("function {name:?} not defined")),
                },
            },
            Token::Left => {
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", &Token::Right)?;
                self.depth -= 1;
                return Ok(self.fields(Base::Group(Box::new(pipe)), Vec::new()));
            }
            other => return self.unexpected(&other, context),
        };
        let is_function = matches!(base, Base::Function(_));
        if matches!(self.peek(), Token::Field(_)) && !is_function {
            return self.fail("unexpected . after term");
        }
        Ok(Operand {
            base,
            fields: Vec::new(),
        })
    }

    fn fields(&mut self, base: Base, mut fields: Vec<String>) -> Operand {
        while let Token::Field(name) = self.peek() {
            fields.push(name);
            self.at += 1;
        }
        Operand { base, fields }
    }

    fn known(&self, name: &str) -> Parsed<()> {
        if self.variables.iter().any(|known| known == name) {
            Ok(())
        } else {
            self.fail(&format!("undefined variable {name:?}"))
        }
    }

    fn close(&mut self, context: &str) -> Parsed<()> {
        match self.next_word() {
            Token::Close => Ok(()),
            other => self.unexpected(&other, context),
        }
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.fail("nested too deeply");
        }
        Ok(())
    }

    fn peek(&self) -> Token {
        let item = self.items.get(self.at);
        item.map_or(Token::End, |item| item.token.clone())
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        // The end stays the end.
        self.at = (self.at + 1).min(self.items.len());
        token
    }

    fn peek_word(&self) -> Token {
        let mut words = self.items.iter().skip(self.at).map(|item| &item.token);
        let found = words.find(|token| **token != Token::Space);
        found.cloned().unwrap_or(Token::End)
    }

    fn next_word(&mut self) -> Token {
        loop {
            match self.next() {
                Token::Space => {}
                token => return token,
            }
        }
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Parsed<T> {
        match shown(token) {
            Ok(token) => self.fail(&format!("unexpected {token} in {context}")),
            Err(reason) => self.fail(&reason),
        }
    }

    fn fail<T>(&self, reason: &str) -> Parsed<T> {
        let last = self.at.saturating_sub(1).min(self.items.len() - 1);
        Err(ParseError {
            line: self.items[last].line,
            reason: reason.to_owned(),
        })
    }
}

enum Action {
    Node(Node),
    Ending(Ending),
}

/// A word as it stands in a message, or the message itself.
fn shown(token: &Token) -> Result<String, String> {
    let text = match token {
        Token::Bad(reason) => return Err(reason.clone()),
        Token::End => return Err("unexpected EOF".to_owned()),
        Token::Literal(text) | Token::Quoted(text) | Token::Word(text) => text.clone(),
        Token::Open => "{{".to_owned(),
        Token::Close => "}}".to_owned(),
        Token::Space => " ".to_owned(),
        Token::Assign => "=".to_owned(),
        Token::Declare => ":=".to_owned(),
        Token::Pipe => "|".to_owned(),
        Token::Left => "(".to_owned(),
        Token::Right => ")".to_owned(),
        Token::Comma => ",".to_owned(),
        Token::Dot => ".".to_owned(),
        Token::Field(name) => format!(".{name}"),
        Token::Variable(name) => name.clone(),
        Token::Int(value) => value.to_string(),
        Token::Float(value) => value.to_string(),
    };
    Ok(match token {
        Token::Word(word) if KEYWORDS.contains(&word.as_str()) => format!("<{word}>"),
        _ if text.chars().count() > 10 => {
            let start: String = text.chars().take(10).collect();
            format!("{start:?}...")
        }
        _ => format!("{text:?}"),
    })
}

const KEYWORDS: [&str; 5] = ["if", "with", "range", "else", "end"];
/// How deep blocks and parentheses may stand inside each other.
const DEPTH: usize = 100;
