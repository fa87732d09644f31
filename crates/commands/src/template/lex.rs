//! Splits a template into text and the tokens inside its actions.

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// `.`
    Dot,
    /// `.Name`
    Field(String),
    /// `$` or `$name`
    Variable(String),
    /// A keyword, a function's name, `true`, `false`, `nil`.
    Word(String),
    Str(String),
    Number(String),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
    /// White space, which separates operands.
    Space,
}

/// A piece of a template with its byte position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    /// Tokens of one action with their positions, and the line it begins on.
    Action(Vec<(Token, usize)>, usize),
}

fn error(line: usize, why: &str) -> String {
    format!("template: :{line}: {why}")
}

/// Splits the template; errors carry Go's words.
pub(crate) fn lex(source: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    while let Some(found) = source[at..].find("{{") {
        let open = at + found;
        let line = 1 + source[..open].matches('\n').count();
        let mut inside = open + 2;
        let after = &source.as_bytes()[inside..];
        let trim_before = after.first() == Some(&b'-') && after.get(1).is_some_and(|b| b.is_ascii_whitespace());
        if trim_before {
            inside += 1;
        }
        let mut text = &source[at..open];
        if trim_next {
            text = text.trim_start();
        }
        if trim_before {
            text = text.trim_end();
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let body = source[inside..].trim_start();
        if body.starts_with("/*") {
            let start = source.len() - body.len();
            let end = source[start..].find("*/").ok_or_else(|| error(line, "unclosed comment"))? + start + 2;
            let rest = &source[end..];
            if let Some(rest) = rest.strip_prefix("}}") {
                trim_next = false;
                at = source.len() - rest.len();
            } else if let Some(rest) = rest.strip_prefix(" -}}") {
                trim_next = true;
                at = source.len() - rest.len();
            } else {
                return Err(error(line, "comment ends before closing delimiter"));
            }
            continue;
        }
        let (tokens, end, trim) = action(source, inside, line)?;
        pieces.push(Piece::Action(tokens, line));
        trim_next = trim;
        at = end;
    }
    let mut text = &source[at..];
    if trim_next {
        text = text.trim_start();
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
    Ok(pieces)
}

type Action = (Vec<(Token, usize)>, usize, bool);

fn action(source: &str, start: usize, first_line: usize) -> Result<Action, String> {
    let mut tokens: Vec<(Token, usize)> = Vec::new();
    let mut at = start;
    let mut depth = 0usize;
    let fail = |why: String| error(first_line, &why);
    loop {
        let rest = &source[at..];
        let Some(c) = rest.chars().next() else { return Err(fail("unclosed action".to_owned())) };
        if c.is_whitespace() {
            let trimmed = rest.trim_start();
            if trimmed.starts_with("-}}") {
                if depth > 0 {
                    return Err(fail("unclosed left paren".to_owned()));
                }
                return Ok((tokens, source.len() - trimmed.len() + 3, true));
            }
            tokens.push((Token::Space, at));
            at = source.len() - trimmed.len();
            continue;
        }
        if rest.starts_with("}}") {
            if depth > 0 {
                return Err(fail("unclosed left paren".to_owned()));
            }
            return Ok((tokens, at + 2, false));
        }
        let word_end = |from: usize| {
            source[from..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(source.len(), |n| from + n)
        };
        let (token, end) = match c {
            '.' => {
                let next = rest[1..].chars().next();
                if next.is_some_and(|n| n.is_ascii_digit()) {
                    number(source, at)
                } else {
                    let end = word_end(at + 1);
                    if end == at + 1 { (Token::Dot, end) } else { (Token::Field(source[at + 1..end].to_owned()), end) }
                }
            }
            '$' => {
                let end = word_end(at + 1);
                (Token::Variable(source[at..end].to_owned()), end)
            }
            '|' => (Token::Pipe, at + 1),
            '(' => {
                depth += 1;
                (Token::Open, at + 1)
            }
            ')' => {
                depth = depth.checked_sub(1).ok_or_else(|| fail("unexpected right paren".to_owned()))?;
                (Token::Close, at + 1)
            }
            ',' => (Token::Comma, at + 1),
            '=' => (Token::Assign, at + 1),
            ':' if rest.starts_with(":=") => (Token::Declare, at + 2),
            ':' => return Err(fail("expected :=".to_owned())),
            '"' => quoted(source, at).map_err(fail)?,
            '`' => {
                let end = rest[1..].find('`').ok_or_else(|| fail("unterminated raw quoted string".to_owned()))?;
                (Token::Str(rest[1..=end].to_owned()), at + end + 2)
            }
            '\'' => {
                let end = rest[1..].find('\'').ok_or_else(|| fail("unterminated character constant".to_owned()))?;
                let code = rest[1..=end].chars().next().map_or(0, |c| c as u32);
                (Token::Number(code.to_string()), at + end + 2)
            }
            c if c.is_ascii_digit()
                || ((c == '-' || c == '+') && rest[1..].starts_with(|d: char| d.is_ascii_digit())) =>
            {
                number(source, at)
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = word_end(at);
                (Token::Word(source[at..end].to_owned()), end)
            }
            '\\' | '}' | '{' => {
                return Err(fail(format!("unexpected {} in operand", crate::human::quote(&c.to_string()))));
            }
            c => return Err(fail(format!("unrecognized character in action: U+{:04X} '{c}'", c as u32))),
        };
        tokens.push((token, at));
        at = end;
    }
}

fn number(source: &str, at: usize) -> (Token, usize) {
    let rest = &source[at + 1..];
    let end =
        rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').map_or(source.len(), |n| at + 1 + n);
    (Token::Number(source[at..end].to_owned()), end)
}

fn quoted(source: &str, at: usize) -> Result<(Token, usize), String> {
    let mut out = String::new();
    let mut chars = source[at + 1..].char_indices();
    let unterminated = || "unterminated quoted string".to_owned();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Str(out), at + 1 + i + 1)),
            '\n' => return Err(unterminated()),
            '\\' => {
                let (_, escape) = chars.next().ok_or_else(unterminated)?;
                let mut hex = |count: usize| -> Option<char> {
                    let mut code = 0;
                    for _ in 0..count {
                        code = code * 16 + chars.next()?.1.to_digit(16)?;
                    }
                    char::from_u32(code)
                };
                let c = match escape {
                    'n' => Some('\n'),
                    't' => Some('\t'),
                    'r' => Some('\r'),
                    'a' => Some('\u{7}'),
                    'b' => Some('\u{8}'),
                    'f' => Some('\u{c}'),
                    'v' => Some('\u{b}'),
                    '\\' | '"' | '\'' => Some(escape),
                    'x' => hex(2),
                    'u' => hex(4),
                    'U' => hex(8),
                    _ => None,
                };
                out.push(c.ok_or_else(|| "invalid syntax".to_owned())?);
            }
            c => out.push(c),
        }
    }
    Err(unterminated())
}
