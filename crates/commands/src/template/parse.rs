//! Tokens to a tree.

use std::collections::HashMap;

use super::functions;
use super::lex::{Piece, Token, lex};

/// A node of a template.
#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Action(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
    Template(String, Option<Pipe>),
    Break,
    Continue,
}

/// `$a, $b := cmd | cmd`.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(crate) assign: bool,
    pub(crate) commands: Vec<Call>,
}

/// An operand with its arguments.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) operands: Vec<Operand>,
}

/// A value's source and its position.
#[derive(Debug)]
pub(crate) struct Operand {
    pub(crate) kind: Kind,
    /// Byte offset that Go names in errors.
    pub(crate) at: usize,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`
    Variable(String, Vec<String>),
    Function(String),
    /// `( … ).A.B`
    Sub(Box<Pipe>, Vec<String>),
}

impl Operand {
    /// The text that Go shows in `at <…>`.
    pub(crate) fn shown(&self) -> String {
        let dotted = |fields: &[String]| fields.iter().map(|f| format!(".{f}")).collect::<String>();
        match &self.kind {
            Kind::Dot => ".".to_owned(),
            Kind::Nil => "nil".to_owned(),
            Kind::Bool(b) => b.to_string(),
            Kind::Int(n) => n.to_string(),
            Kind::Float(n) => n.to_string(),
            Kind::Str(s) => crate::human::quote(s),
            Kind::Field(fields) => dotted(fields),
            Kind::Variable(name, fields) => format!("{name}{}", dotted(fields)),
            Kind::Function(name) => name.clone(),
            Kind::Sub(pipe, fields) => {
                let inner: Vec<String> = pipe.commands.iter().map(Call::shown).collect();
                format!("({}){}", inner.join(" | "), dotted(fields))
            }
        }
    }
}

impl Call {
    /// The text of the whole command.
    pub(crate) fn shown(&self) -> String {
        self.operands.iter().map(Operand::shown).collect::<Vec<_>>().join(" ")
    }
}

/// A template and the ones it defines.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) source: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) defined: HashMap<String, Vec<Node>>,
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    line: usize,
    variables: Vec<String>,
    defined: HashMap<String, Vec<Node>>,
    loops: usize,
    depth: usize,
}

/// Why a list of nodes ended.
#[derive(PartialEq)]
enum Stop {
    Eof,
    End,
    /// `else`, with the tokens behind it (`if …`, `with …`).
    Else(Vec<(Token, usize)>),
}

/// Parses a whole template.
pub(crate) fn parse(source: &str) -> Result<Tree, String> {
    let pieces = lex(source)?.into_iter();
    let mut parser =
        Parser { pieces, line: 1, variables: vec!["$".to_owned()], defined: HashMap::new(), loops: 0, depth: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        Stop::Eof => Ok(Tree { source: source.to_owned(), nodes, defined: parser.defined }),
        Stop::End => Err(parser.error("unexpected {{end}}")),
        Stop::Else(_) => Err(parser.error("unexpected {{else}}")),
    }
}

impl Parser {
    fn error(&self, why: &str) -> String {
        format!("template: :{}: {why}", self.line)
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err(self.error("template is nested too deeply"));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, line) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, line) => (tokens, line),
            };
            self.line = line;
            let mut tokens = trim(tokens);
            let keyword = match tokens.first() {
                Some((Token::Word(word), _)) => word.clone(),
                _ => String::new(),
            };
            match keyword.as_str() {
                "if" | "with" | "range" | "block" | "define" | "template" | "end" | "else" | "break" | "continue" => {
                    tokens = trim(tokens.split_off(1));
                }
                _ => {
                    nodes.push(Node::Action(self.pipe(&tokens, "command", false)?));
                    continue;
                }
            }
            let clause = |ok: bool, what: &str| {
                if ok { Ok(()) } else { Err(format!("template: :{line}: unexpected {what} in {keyword}")) }
            };
            match keyword.as_str() {
                "end" => {
                    clause(tokens.is_empty(), "operand")?;
                    self.depth -= 1;
                    return Ok((nodes, Stop::End));
                }
                "else" => {
                    self.depth -= 1;
                    return Ok((nodes, Stop::Else(tokens)));
                }
                "break" | "continue" => {
                    if self.loops == 0 {
                        return Err(self.error(&format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                    }
                    nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                }
                "if" | "with" | "range" => nodes.push(self.control(&keyword, &tokens)?),
                "template" => {
                    let (name, rest) = self.name(&tokens, "template clause")?;
                    let pipe = if rest.is_empty() { None } else { Some(self.pipe(&rest, "template clause", false)?) };
                    nodes.push(Node::Template(name, pipe));
                }
                "define" => {
                    let (name, rest) = self.name(&tokens, "define clause")?;
                    clause(rest.is_empty(), "operand")?;
                    let saved = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
                    let (body, end) = self.list()?;
                    self.variables = saved;
                    if end != Stop::End {
                        return Err(self.error("unexpected EOF"));
                    }
                    self.defined.insert(name, body);
                }
                _ => {
                    let (name, rest) = self.name(&tokens, "block clause")?;
                    let pipe = self.pipe(&rest, "block clause", false)?;
                    let (body, end) = self.list()?;
                    if end != Stop::End {
                        return Err(self.error("unexpected EOF"));
                    }
                    self.defined.entry(name.clone()).or_insert(body);
                    nodes.push(Node::Template(name, Some(pipe)));
                }
            }
        }
        self.depth -= 1;
        Ok((nodes, Stop::Eof))
    }

    fn name(&self, tokens: &[(Token, usize)], context: &str) -> Result<(String, Vec<(Token, usize)>), String> {
        match tokens.first() {
            Some((Token::Str(name), _)) => Ok((name.clone(), trim(tokens[1..].to_vec()))),
            _ => Err(self.error(&format!("missing name in {context}"))),
        }
    }

    fn control(&mut self, keyword: &str, tokens: &[(Token, usize)]) -> Result<Node, String> {
        let scope = self.variables.len();
        let pipe = self.pipe(tokens, keyword, keyword == "range")?;
        self.loops += usize::from(keyword == "range");
        let (body, end) = self.list()?;
        self.loops -= usize::from(keyword == "range");
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Eof => return Err(self.error("unexpected EOF")),
            Stop::Else(rest) => match rest.first() {
                None => match self.list()? {
                    (nodes, Stop::End) => nodes,
                    (_, Stop::Eof) => return Err(self.error("unexpected EOF")),
                    (_, Stop::Else(_)) => return Err(self.error("expected end; found {{else}}")),
                },
                Some((Token::Word(word), _)) if word == keyword && keyword != "range" => {
                    vec![self.control(keyword, &trim(rest[1..].to_vec()))?]
                }
                Some(_) => return Err(self.error("unexpected operand in else")),
            },
        };
        self.variables.truncate(scope);
        Ok(match keyword {
            "if" => Node::If(pipe, body, otherwise),
            "with" => Node::With(pipe, body, otherwise),
            _ => Node::Range(pipe, body, otherwise),
        })
    }

    fn pipe(&mut self, tokens: &[(Token, usize)], context: &str, range: bool) -> Result<Pipe, String> {
        let mut variables = Vec::new();
        let mut assign = false;
        let mut rest = tokens;
        if let Some(at) = tokens.iter().position(|(t, _)| matches!(t, Token::Declare | Token::Assign)) {
            let names: Vec<&Token> =
                tokens[..at].iter().map(|(t, _)| t).filter(|t| !matches!(t, Token::Space)).collect();
            let ok = match names.as_slice() {
                [Token::Variable(one)] => {
                    variables.push(one.clone());
                    true
                }
                [Token::Variable(one), Token::Comma, Token::Variable(two)] if range => {
                    variables.extend([one.clone(), two.clone()]);
                    true
                }
                [Token::Variable(_), Token::Comma, Token::Variable(_)] => {
                    return Err(self.error(&format!("too many declarations in {context}")));
                }
                _ => false,
            };
            if ok {
                assign = tokens[at].0 == Token::Assign;
                rest = &tokens[at + 1..];
            }
        }
        let mut commands = Vec::new();
        let mut start = 0;
        let mut depth = 0;
        for (i, (token, _)) in rest.iter().enumerate() {
            match token {
                Token::Open => depth += 1,
                Token::Close => depth -= 1,
                Token::Pipe if depth == 0 => {
                    commands.push(self.call(&rest[start..i], context)?);
                    start = i + 1;
                }
                _ => {}
            }
        }
        let last = trim(rest[start..].to_vec());
        if last.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        commands.push(self.call(&last, context)?);
        for call in commands.iter().skip(1) {
            if matches!(
                call.operands.first().map(|o| &o.kind),
                Some(Kind::Bool(_) | Kind::Dot | Kind::Nil | Kind::Int(_) | Kind::Float(_) | Kind::Str(_))
            ) {
                return Err(self.error("non executable command in pipeline stage 2"));
            }
        }
        if !assign {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, assign, commands })
    }

    fn call(&mut self, tokens: &[(Token, usize)], context: &str) -> Result<Call, String> {
        let tokens = trim(tokens.to_vec());
        if tokens.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        let mut operands = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at].0 == Token::Space {
                at += 1;
                continue;
            }
            if at > 0 && tokens[at - 1].0 != Token::Space {
                return Err(self.error("unexpected token in operand"));
            }
            let (operand, next) = self.operand(&tokens, at)?;
            operands.push(operand);
            at = next;
        }
        Ok(Call { operands })
    }

    fn operand(&mut self, tokens: &[(Token, usize)], at: usize) -> Result<(Operand, usize), String> {
        let (token, mut position) = tokens[at].clone();
        let mut next = at + 1;
        let mut fields = Vec::new();
        let kind = match token {
            Token::Dot => Kind::Dot,
            Token::Field(name) => {
                fields.push(name);
                Kind::Field(Vec::new())
            }
            Token::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err(self.error(&format!("undefined variable {}", crate::human::quote(&name))));
                }
                Kind::Variable(name, Vec::new())
            }
            Token::Word(word) => match word.as_str() {
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                "nil" => Kind::Nil,
                name if functions::exists(name) => Kind::Function(word),
                _ => {
                    return Err(self.error(&format!("function {} not defined", crate::human::quote(&word))));
                }
            },
            Token::Str(text) => Kind::Str(text),
            Token::Number(text) => self.number(&text)?,
            Token::Open => {
                let mut depth = 1;
                while depth > 0 {
                    match tokens.get(next).map(|t| &t.0) {
                        Some(Token::Open) => depth += 1,
                        Some(Token::Close) => depth -= 1,
                        Some(_) => {}
                        None => return Err(self.error("unclosed left paren")),
                    }
                    next += 1;
                }
                self.depth += 1;
                if self.depth > 100 {
                    return Err(self.error("template is nested too deeply"));
                }
                let pipe = self.pipe(&trim(tokens[at + 1..next - 1].to_vec()), "parenthesized pipeline", false)?;
                self.depth -= 1;
                Kind::Sub(Box::new(pipe), Vec::new())
            }
            Token::Pipe | Token::Close | Token::Declare | Token::Assign | Token::Comma | Token::Space => {
                return Err(self.error("unexpected token in operand"));
            }
        };
        let chained = next;
        while let Some((Token::Field(name), place)) = tokens.get(next) {
            if next == chained {
                position = *place;
            }
            fields.push(name.clone());
            next += 1;
        }
        let kind = match kind {
            Kind::Field(_) => Kind::Field(fields),
            Kind::Dot if !fields.is_empty() => return Err(self.error("unexpected . after term \".\"")),
            Kind::Variable(name, _) => Kind::Variable(name, fields),
            Kind::Sub(pipe, _) => Kind::Sub(pipe, fields),
            other if fields.is_empty() => other,
            _ => return Err(self.error("unexpected . after term")),
        };
        Ok((Operand { kind, at: position }, next))
    }

    fn number(&self, text: &str) -> Result<Kind, String> {
        if let Ok(digits) = crate::cli::check::int(text)
            && let Ok(number) = digits.parse()
        {
            return Ok(Kind::Int(number));
        }
        text.parse()
            .map(Kind::Float)
            .map_err(|_| self.error(&format!("bad number syntax: {}", crate::human::quote(text))))
    }
}

/// Without white space at both ends.
fn trim(mut tokens: Vec<(Token, usize)>) -> Vec<(Token, usize)> {
    while tokens.last().is_some_and(|t| t.0 == Token::Space) {
        tokens.pop();
    }
    let spaces = tokens.iter().take_while(|t| t.0 == Token::Space).count();
    tokens.drain(..spaces);
    tokens
}
