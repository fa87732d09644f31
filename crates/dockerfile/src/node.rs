//! Keyword, flags and arguments as they are written: BuildKit's parse tree.

use crate::directive::Directives;
use crate::error::{Error, Lines, suggestion};
use crate::heredoc::Heredoc;
use crate::instruction::KEYWORDS;
use crate::line::Logical;

/// Arguments in one of the shapes that the language has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// Words, or the strings of a JSON array.
    Words {
        /// The words.
        words: Vec<String>,
        /// They come from a JSON array.
        json: bool,
    },
    /// `name=value …`, or the old `name value` (then one pair, `equals` false).
    Pairs {
        /// Names and values, with their quotes.
        pairs: Vec<(String, String)>,
        /// Written with `=`.
        equals: bool,
    },
    /// `HEALTHCHECK`: `NONE`, or `CMD` and a command.
    Health {
        /// The first word, as written.
        kind: String,
        /// What follows it.
        command: Vec<String>,
        /// The command comes from a JSON array.
        json: bool,
    },
    /// `ONBUILD`: an instruction.
    Trigger(Box<Node>),
}

/// One instruction as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The keyword as written.
    pub keyword: String,
    /// The whole text, continuations joined.
    pub original: String,
    /// `--name=value` between the keyword and the arguments.
    pub flags: Vec<String>,
    /// The arguments.
    pub arguments: Arguments,
    /// Here-documents.
    pub heredocs: Vec<Heredoc>,
    /// Comment lines directly above.
    pub comments: Vec<String>,
    /// Where.
    pub lines: Lines,
}

impl Node {
    /// Reads one logical line.
    pub fn parse(line: &Logical, directives: &Directives) -> Result<Node, Error> {
        let mut node = Node::of_text(&line.text, directives, line.lines, 0)?;
        node.comments.clone_from(&line.comments);
        node.heredocs.clone_from(&line.heredocs);
        Ok(node)
    }

    /// Whether the instruction of this text may have here-documents: `RUN`, `COPY`, `ADD`, also behind `ONBUILD`, not in JSON form.
    pub(crate) fn takes_heredocs(text: &str, directives: &Directives) -> bool {
        Node::of_text(text, directives, Lines::default(), 0).is_ok_and(|node| node.can_have_heredocs())
    }

    fn can_have_heredocs(&self) -> bool {
        match &self.arguments {
            Arguments::Trigger(trigger) => trigger.can_have_heredocs(),
            Arguments::Words { json, .. } => {
                !json && ["run", "copy", "add"].contains(&self.keyword.to_ascii_lowercase().as_str())
            }
            _ => false,
        }
    }

    fn of_text(text: &str, directives: &Directives, lines: Lines, depth: usize) -> Result<Node, Error> {
        let text = text.trim();
        let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let (flags, rest) = flags(rest.trim(), directives.escape);
        let rest = rest.trim();
        let lower = keyword.to_ascii_lowercase();
        if !KEYWORDS.iter().any(|known| known.eq_ignore_ascii_case(keyword)) {
            let hint = suggestion(keyword, KEYWORDS.iter().copied())
                .map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
            return Err(Error::new(lines, format!("unknown instruction: {keyword}{hint}")).at(keyword));
        }
        let words = |words: Vec<String>, json| Ok(Arguments::Words { words, json });
        let one = |rest: &str| if rest.is_empty() { Vec::new() } else { vec![rest.to_string()] };
        let arguments = match lower.as_str() {
            "onbuild" if rest.is_empty() => words(Vec::new(), false),
            "onbuild" if depth > 0 => {
                Err(Error::new(lines, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed").at("ONBUILD"))
            }
            "onbuild" => Ok(Arguments::Trigger(Box::new(Node::of_text(rest, directives, lines, depth + 1)?))),
            "cmd" | "entrypoint" | "run" => match json(rest, lines)? {
                Some(list) => words(list, true),
                None => words(one(rest), false),
            },
            "add" | "copy" | "volume" => match json(rest, lines)? {
                Some(list) => words(list, true),
                None => words(rest.split_whitespace().map(String::from).collect(), false),
            },
            "shell" => match json(rest, lines)? {
                Some(list) => words(list, true),
                None => words(one(rest), false),
            },
            "env" | "label" => pairs(rest, &keyword.to_ascii_uppercase(), directives.escape, lines),
            "arg" => words(quoted_words(rest, directives.escape), false),
            "expose" | "from" => words(rest.split_whitespace().map(String::from).collect(), false),
            "healthcheck" => health(rest, lines),
            _ => words(one(rest), false),
        }?;
        Ok(Node {
            keyword: keyword.into(),
            original: text.into(),
            flags,
            arguments,
            heredocs: Vec::new(),
            comments: Vec::new(),
            lines,
        })
    }

    /// The form in which BuildKit prints its tree: `(run ["--mount=…"] "echo hello")`.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut parts = vec![self.keyword.to_ascii_lowercase()];
        if !self.flags.is_empty() {
            parts.push(format!("[{}]", self.flags.iter().map(|flag| quote(flag)).collect::<Vec<_>>().join(" ")));
        }
        match &self.arguments {
            Arguments::Words { words, .. } => parts.extend(words.iter().map(|word| quote(word))),
            Arguments::Pairs { pairs, equals } => {
                for (name, value) in pairs {
                    parts.extend([quote(name), quote(value), quote(if *equals { "=" } else { "" })]);
                }
            }
            Arguments::Health { kind, command, .. } => {
                parts.push(quote(kind));
                parts.extend(command.iter().map(|word| quote(word)));
            }
            Arguments::Trigger(node) => parts.push(node.dump()),
        }
        format!("({})", parts.join(" "))
    }
}

/// Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c < ' ' || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Takes `--words` off the start; `--` alone ends them.
fn flags(rest: &str, escape: char) -> (Vec<String>, &str) {
    let (mut flags, mut at) = (Vec::new(), 0);
    loop {
        let start = at + (rest[at..].len() - rest[at..].trim_start().len());
        if !rest[start..].starts_with("--") {
            return (flags, &rest[start..]);
        }
        let (mut word, mut quote, mut chars) = (String::new(), None, rest[start..].char_indices());
        let mut end = rest.len();
        while let Some((index, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = start + index;
                    break;
                }
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ if c == escape || c == '\\' => {
                    if let Some((_, next)) = chars.next() {
                        word.push(next);
                    }
                }
                _ => word.push(c),
            }
        }
        if word == "--" {
            return (flags, &rest[end..]);
        }
        flags.push(word);
        at = end;
    }
}

/// The strings of a JSON array; `None` if it is none, as when something follows it.
fn json(rest: &str, lines: Lines) -> Result<Option<Vec<String>>, Error> {
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(Error::new(lines, "when using JSON array syntax, arrays must be comprised of strings only").at("[")),
    });
    strings.collect::<Result<Vec<String>, Error>>().map(Some)
}

/// Words in which quotes hold blanks together; quotes and escapes stay.
fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            if chars.peek().is_none() {
                continue;
            }
            word.push(c);
            word.extend(chars.next());
            continue;
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn pairs(rest: &str, keyword: &str, escape: char, lines: Lines) -> Result<Arguments, Error> {
    let words = quoted_words(rest, escape);
    let Some(first) = words.first() else { return Ok(Arguments::Pairs { pairs: Vec::new(), equals: true }) };
    if !first.contains('=') {
        let (name, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::new(lines, format!("{keyword} must have two arguments")))?;
        return Ok(Arguments::Pairs { pairs: vec![(name.to_string(), value.trim_start().to_string())], equals: false });
    }
    let pairs = words.iter().map(|word| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_string(), value.to_string())),
        None => Err(Error::new(
            lines,
            format!("Syntax error - can't find = in {}. Must be of the form: name=value", quote(word)),
        )
        .at(word)),
    });
    Ok(Arguments::Pairs { pairs: pairs.collect::<Result<_, Error>>()?, equals: true })
}

fn health(rest: &str, lines: Lines) -> Result<Arguments, Error> {
    if rest.is_empty() {
        return Ok(Arguments::Words { words: Vec::new(), json: false });
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    let (command, json) = match json(command, lines)? {
        Some(list) => (list, true),
        None if command.is_empty() => (Vec::new(), false),
        None => (vec![command.to_string()], false),
    };
    Ok(Arguments::Health { kind: kind.to_string(), command, json })
}
