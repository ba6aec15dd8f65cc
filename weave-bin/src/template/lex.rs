//! From text to the words of a template.
//!
//! Every byte of the text is in exactly one word, or trimmed, or in a comment. What is no word becomes
//! [`Token::Bad`], which the parser reports when it gets there: what is wrong earlier is told first.

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Text outside actions.
    Literal(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// Blanks inside an action.
    Space,
    /// `=`.
    Assign,
    /// `:=`.
    Declare,
    /// `|`.
    Pipe,
    /// `(`.
    Left,
    /// `)`.
    Right,
    /// `,`.
    Comma,
    /// `.` alone.
    Dot,
    /// `.Name`.
    Field(String),
    /// `$` or `$name`.
    Variable(String),
    /// A name.
    Word(String),
    /// A whole number.
    Int(i128),
    /// Another number.
    Float(f64),
    /// A text in quotes, with what it means.
    Quoted(String),
    /// What is no word, with the reason.
    Bad(String),
    /// The end.
    End,
}

/// A word and the line it ends in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) token: Token,
    pub(super) line: usize,
}

/// The words of `source`; the last is [`Token::End`] or [`Token::Bad`].
pub(super) fn words(source: &str) -> Vec<Item> {
    let mut lexer = Lexer {
        rest: source,
        line: 1,
        items: Vec::new(),
    };
    let end = lexer.run().err().map_or(Token::End, Token::Bad);
    lexer.push(end);
    lexer.items
}

struct Lexer<'s> {
    rest: &'s str,
    line: usize,
    items: Vec<Item>,
}

type Step = Result<(), String>;

impl Lexer<'_> {
    fn run(&mut self) -> Step {
        while !self.rest.is_empty() {
            let at = self.rest.find("{{").unwrap_or(self.rest.len());
            let is_trimmed = trims_before(&self.rest[at..]);
            let literal = &self.rest[..at];
            let kept = if is_trimmed {
                literal.trim_end_matches(is_blank)
            } else {
                literal
            };
            let literal = kept.to_owned();
            if !literal.is_empty() {
                self.push(Token::Literal(literal));
            }
            self.advance(at);
            if self.rest.is_empty() {
                break;
            }
            self.advance(2);
            if is_trimmed {
                self.advance(2);
            }
            if self.rest.starts_with("/*") {
                self.comment()?;
            } else {
                self.push(Token::Open);
                self.action()?;
            }
        }
        Ok(())
    }

    fn comment(&mut self) -> Step {
        let end = self.rest.find("*/").ok_or("unclosed comment")?;
        self.advance(end + 2);
        if self.close() {
            Ok(())
        } else {
            Err("comment ends before closing delimiter".to_owned())
        }
    }

    /// Takes `}}` or ` -}}` with the blanks after it, if that is next.
    fn close(&mut self) -> bool {
        if self.rest.starts_with("}}") {
            self.advance(2);
            return true;
        }
        let trims = self.rest.strip_prefix(is_blank);
        if trims.is_some_and(|rest| rest.starts_with("-}}")) {
            self.advance(4);
            let blanks = self.rest.len() - self.rest.trim_start_matches(is_blank).len();
            self.advance(blanks);
            return true;
        }
        false
    }

    fn action(&mut self) -> Step {
        let mut depth = 0usize;
        loop {
            let line = self.line;
            if self.close() {
                if depth > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                let token = Token::Close;
                self.items.push(Item { token, line });
                return Ok(());
            }
            let Some(next) = self.rest.chars().next() else {
                return Err("unclosed action".to_owned());
            };
            match next {
                next if is_blank(next) => {
                    let blanks = self.rest.trim_start_matches(is_blank).len();
                    let mut count = self.rest.len() - blanks;
                    // The last of them may belong to ` -}}`.
                    if self.rest[count..].starts_with("-}}") && count > 1 {
                        count -= 1;
                    }
                    self.one(count, Token::Space);
                }
                ':' if self.rest.starts_with(":=") => self.one(2, Token::Declare),
                ':' => return Err("expected :=".to_owned()),
                '=' => self.one(1, Token::Assign),
                '|' => self.one(1, Token::Pipe),
                ',' => self.one(1, Token::Comma),
                '(' => {
                    depth += 1;
                    self.one(1, Token::Left);
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or("unexpected right paren")?;
                    self.one(1, Token::Right);
                }
                '"' => self.quoted()?,
                '`' => self.raw()?,
                '\'' => self.character()?,
                '.' if !self.rest[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                    self.name(Token::Dot, Token::Field)?;
                }
                '$' => self.variable()?,
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                next if is_name(next) => self.word()?,
                other => return Err(bad_character(other, "unrecognized character in action")),
            }
        }
    }

    /// A mark with a name, or the mark alone.
    fn name(&mut self, alone: Token, named: fn(String) -> Token) -> Step {
        let length = name_length(&self.rest[1..]);
        let token = if length == 0 {
            alone
        } else {
            named(self.rest[1..=length].to_owned())
        };
        self.one(length + 1, token);
        self.terminated()
    }

    fn variable(&mut self) -> Step {
        let length = name_length(&self.rest[1..]);
        let name = self.rest[..=length].to_owned();
        self.one(length + 1, Token::Variable(name));
        self.terminated()
    }

    fn word(&mut self) -> Step {
        let length = name_length(self.rest);
        let word = self.rest[..length].to_owned();
        self.one(length, Token::Word(word));
        self.terminated()
    }

    /// After a name comes something that cannot belong to it.
    fn terminated(&self) -> Step {
        match self.rest.chars().next() {
            Some(next) if !is_blank(next) && !"=.,|:)(".contains(next) => {
                if self.rest.starts_with("}}") {
                    Ok(())
                } else {
                    Err(bad_character(next, "bad character"))
                }
            }
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> Step {
        let is_part = |next: char| next.is_ascii_alphanumeric() || "._+-".contains(next);
        let mut length = 0;
        let mut before = ' ';
        for next in self.rest.chars() {
            let is_sign = matches!(next, '+' | '-');
            // A sign stands at the front or after an exponent.
            let signs = length == 0 || matches!(before, 'e' | 'E' | 'p' | 'P');
            if !is_part(next) || (is_sign && !signs) {
                break;
            }
            length += 1;
            before = next;
        }
        let text = &self.rest[..length];
        let bad = format!("bad number syntax: {text:?}");
        let token = number(text).ok_or(bad)?;
        self.one(length, token);
        Ok(())
    }

    fn quoted(&mut self) -> Step {
        let (meaning, length) = unquote(&self.rest[1..], '"').map_err(|bad| match bad {
            Unquoted::Open => "unterminated quoted string".to_owned(),
            Unquoted::Escape => "invalid syntax".to_owned(),
        })?;
        self.one(length + 2, Token::Quoted(meaning));
        Ok(())
    }

    fn raw(&mut self) -> Step {
        let length = self.rest[1..]
            .find('`')
            .ok_or("unterminated raw quoted string")?;
        let text = self.rest[1..=length].to_owned();
        self.one(length + 2, Token::Quoted(text));
        Ok(())
    }

    /// A character stands for its number.
    fn character(&mut self) -> Step {
        let (meaning, length) = unquote(&self.rest[1..], '\'')
            .map_err(|_| "unterminated character constant".to_owned())?;
        let mut all = meaning.chars();
        match (all.next(), all.next()) {
            (Some(only), None) => self.one(length + 2, Token::Int(u32::from(only).into())),
            _ => return Err(format!("malformed character constant: '{meaning}'")),
        }
        Ok(())
    }

    fn one(&mut self, length: usize, token: Token) {
        self.push(token);
        self.advance(length);
    }

    fn push(&mut self, token: Token) {
        let line = self.line;
        self.items.push(Item { token, line });
    }

    fn advance(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.line += gone.matches('\n').count();
        self.rest = rest;
    }
}

fn trims_before(action: &str) -> bool {
    let rest = action.strip_prefix("{{-");
    rest.is_some_and(|rest| rest.starts_with(is_blank))
}

fn is_blank(next: char) -> bool {
    matches!(next, ' ' | '\t' | '\r' | '\n')
}

fn is_name(next: char) -> bool {
    next == '_' || next.is_alphanumeric()
}

fn name_length(text: &str) -> usize {
    text.find(|next| !is_name(next)).unwrap_or(text.len())
}

fn bad_character(found: char, reason: &str) -> String {
    format!("{reason} U+{:04X} {found:?}", u32::from(found))
}

/// A number as Go writes it: decimal, `0x`, `0o`, `0b`, a leading 0 for octal, `_` between digits.
fn number(text: &str) -> Option<Token> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = digits.replace('_', "");
    let radix = |prefix: [&str; 2], radix| {
        let rest = prefix.iter().find_map(|one| plain.strip_prefix(one))?;
        i128::from_str_radix(rest, radix).ok()
    };
    let whole = radix(["0x", "0X"], 16)
        .or_else(|| radix(["0o", "0O"], 8))
        .or_else(|| radix(["0b", "0B"], 2))
        .or_else(|| match plain.strip_prefix('0') {
            Some(rest) if !rest.is_empty() => i128::from_str_radix(rest, 8).ok(),
            _ => plain.parse().ok(),
        });
    if let Some(whole) = whole.filter(|whole| *whole >= 0 && i64::try_from(*whole).is_ok()) {
        return Some(Token::Int(if is_negative { -whole } else { whole }));
    }
    let is_decimal = plain.starts_with(|next: char| next.is_ascii_digit() || next == '.');
    let value: f64 = plain.parse().ok().filter(|_| is_decimal)?;
    Some(Token::Float(if is_negative { -value } else { value }))
}

enum Unquoted {
    /// The closing quote is missing.
    Open,
    /// An escape that means nothing.
    Escape,
}

/// The meaning of a text up to `quote`, and its length before that.
fn unquote(text: &str, quote: char) -> Result<(String, usize), Unquoted> {
    let mut meaning = Vec::new();
    let mut all = text.char_indices();
    while let Some((at, next)) = all.next() {
        match next {
            '\n' => return Err(Unquoted::Open),
            next if next == quote => {
                return Ok((String::from_utf8_lossy(&meaning).into_owned(), at));
            }
            '\\' => {
                let (_, escape) = all.next().ok_or(Unquoted::Open)?;
                let digits = |from: usize, count: usize, radix| {
                    let digits = text.get(from..from + count).ok_or(Unquoted::Escape)?;
                    // A sign is no digit.
                    if !digits.bytes().all(|one| one.is_ascii_hexdigit()) {
                        return Err(Unquoted::Escape);
                    }
                    u32::from_str_radix(digits, radix).map_err(|_| Unquoted::Escape)
                };
                let (code, skipped, is_byte) = match escape {
                    'a' => (7, 0, true),
                    'b' => (8, 0, true),
                    'f' => (12, 0, true),
                    'n' => (10, 0, true),
                    'r' => (13, 0, true),
                    't' => (9, 0, true),
                    'v' => (11, 0, true),
                    '\\' => (92, 0, true),
                    escape if escape == quote => (u32::from(quote), 0, true),
                    'x' => (digits(at + 2, 2, 16)?, 2, true),
                    'u' => (digits(at + 2, 4, 16)?, 4, false),
                    'U' => (digits(at + 2, 8, 16)?, 8, false),
                    '0'..='7' => (digits(at + 1, 3, 8)?, 2, true),
                    _ => return Err(Unquoted::Escape),
                };
                for _ in 0..skipped {
                    all.next();
                }
                if is_byte {
                    meaning.push(u8::try_from(code).map_err(|_| Unquoted::Escape)?);
                } else {
                    let found = char::from_u32(code).ok_or(Unquoted::Escape)?;
                    meaning.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            other => meaning.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err(Unquoted::Open)
}
