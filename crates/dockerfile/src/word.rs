//! Quotes, escapes and variables: how a word of an instruction gets its value.
//!
//! This is BuildKit's lexer, which looks like a shell's and differs in places: `\` in double quotes escapes only `"`, `$`
//! and itself, positional and special parameters are names that are never set, an unset variable is the empty string.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

use crate::glob;

/// How deep `${a:-${b:-…}}` may nest.
const MAX_DEPTH: usize = 64;

/// The most that one word may become, in bytes.
const MAX_RESULT: usize = 1 << 20;

/// Where values come from.
pub trait Variables {
    /// The value of a variable; `None` if it is not set.
    fn get(&self, name: &str) -> Option<&str>;
}

/// Nothing is set.
#[derive(Debug, Clone, Copy)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Variables for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        BTreeMap::get(self, name).map(String::as_str)
    }
}

/// A word that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// A quote is not closed.
    #[error("unexpected end of statement while looking for matching {0}")]
    Unclosed(&'static str),
    /// `${` without an end.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${}`, `${:…}`, `${{…}`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${a=b}`, `${a:#b}`.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${a?}` of an unset variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The text behind `?`, or a text of ours.
        message: String,
    },
    /// Substitutions within substitutions beyond all reason, or a result of more than a megabyte.
    #[error("substitution is too large or too deep")]
    TooLarge,
}

/// What became of a word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expansion {
    /// As one string, blanks kept.
    pub text: String,
    /// Split at blanks outside of quotes.
    pub words: Vec<String>,
    /// Variables that were asked for plainly and are not set.
    pub unmatched: BTreeSet<String>,
    /// Variables that had a value.
    pub used: BTreeSet<String>,
}

/// The rules for reading a word.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "four independent switches of one lexer")]
pub struct Lex {
    escape: char,
    skip_unset: bool,
    raw_quotes: bool,
    raw_escapes: bool,
    keep_quotes_as_text: bool,
}

impl Lex {
    /// A lexer with this escape character.
    #[must_use]
    pub fn new(escape: char) -> Lex {
        Lex { escape, skip_unset: false, raw_quotes: false, raw_escapes: false, keep_quotes_as_text: false }
    }

    /// `$x` stays `$x` if it is not set.
    #[must_use]
    pub fn skip_unset(mut self) -> Lex {
        self.skip_unset = true;
        self
    }

    /// Quotes have their meaning and stay in the result.
    #[must_use]
    pub fn raw_quotes(mut self) -> Lex {
        self.raw_quotes = true;
        self
    }

    /// The escape character has its meaning and stays in the result.
    #[must_use]
    pub fn raw_escapes(mut self) -> Lex {
        self.raw_escapes = true;
        self
    }

    /// Quotes are characters like others: for the content of a here-document.
    #[must_use]
    pub fn quotes_are_text(mut self) -> Lex {
        self.keep_quotes_as_text = true;
        self
    }

    /// Expands a word.
    pub fn expand(&self, word: &str, variables: &dyn Variables) -> Result<Expansion, WordError> {
        let mut reader = Reader {
            lex: *self,
            chars: word.chars().peekable(),
            variables,
            out: Expansion::default(),
            depth: 0,
            written: 0,
        };
        let (text, words) = reader.until(None, self.raw_escapes)?;
        reader.out.text = text;
        reader.out.words = words;
        Ok(reader.out)
    }

    /// The words of a line.
    pub fn words(&self, line: &str, variables: &dyn Variables) -> Result<Vec<String>, WordError> {
        Ok(self.expand(line, variables)?.words)
    }
}

/// Collects words while characters come in.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn push(&mut self, c: char) {
        if c.is_whitespace() {
            self.end();
        } else {
            self.word.push(c);
        }
    }

    fn end(&mut self) {
        if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn push_all(&mut self, text: &str) {
        text.chars().for_each(|c| self.push(c));
    }

    fn finish(mut self) -> Vec<String> {
        self.end();
        self.done
    }
}

struct Reader<'a> {
    lex: Lex,
    chars: Peekable<Chars<'a>>,
    variables: &'a dyn Variables,
    out: Expansion,
    depth: usize,
    written: usize,
}

impl Reader<'_> {
    /// Reads up to `stop` (which is consumed) or the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), WordError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(WordError::TooLarge);
        }
        let (mut text, mut words) = (String::new(), Words::default());
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                self.depth -= 1;
                return Ok((text, words.finish()));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    words.push_all(&value);
                    self.grow(&mut text, &value)?;
                }
                '\'' if !self.lex.keep_quotes_as_text => {
                    let value = self.single_quoted()?;
                    words.word.push_str(&value);
                    text.push_str(&value);
                }
                '"' if !self.lex.keep_quotes_as_text => {
                    let value = self.double_quoted()?;
                    words.word.push_str(&value);
                    self.grow(&mut text, &value)?;
                }
                _ => {
                    self.chars.next();
                    if c != self.lex.escape {
                        words.push(c);
                        text.push(c);
                        continue;
                    }
                    if self.lex.raw_escapes || raw_escapes {
                        words.word.push(c);
                        text.push(c);
                    }
                    let Some(escaped) = self.chars.next() else { break };
                    words.word.push(escaped);
                    text.push(escaped);
                }
            }
        }
        self.depth -= 1;
        match stop {
            Some(_) => Err(WordError::MissingBrace),
            None => Ok((text, words.finish())),
        }
    }

    fn grow(&mut self, text: &mut String, value: &str) -> Result<(), WordError> {
        self.written += value.len();
        if self.written > MAX_RESULT {
            return Err(WordError::TooLarge);
        }
        text.push_str(value);
        Ok(())
    }

    fn single_quoted(&mut self) -> Result<String, WordError> {
        self.chars.next();
        let mut text = String::new();
        for c in self.chars.by_ref() {
            if c == '\'' {
                return Ok(if self.lex.raw_quotes { format!("'{text}'") } else { text });
            }
            text.push(c);
        }
        Err(WordError::Unclosed("single-quote"))
    }

    fn double_quoted(&mut self) -> Result<String, WordError> {
        self.chars.next();
        let mut text = String::new();
        loop {
            let Some(&c) = self.chars.peek() else { return Err(WordError::Unclosed("double-quote")) };
            match c {
                '"' => {
                    self.chars.next();
                    return Ok(if self.lex.raw_quotes { format!("\"{text}\"") } else { text });
                }
                '$' => {
                    let value = self.dollar()?;
                    self.grow(&mut text, &value)?;
                }
                _ => {
                    self.chars.next();
                    if c == self.lex.escape {
                        match self.chars.peek().copied() {
                            None => return Err(WordError::Unclosed("double-quote")),
                            Some(next) if next == '"' || next == '$' || next == self.lex.escape => {
                                if self.lex.raw_escapes {
                                    text.push(c);
                                }
                                self.chars.next();
                                text.push(next);
                                continue;
                            }
                            Some(_) => {}
                        }
                    }
                    text.push(c);
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, WordError> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".into());
            }
            return Ok(match self.plain(&name) {
                Some(value) => value,
                None if self.lex.skip_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err(WordError::MissingBrace),
            Some('{' | '}' | ':') => return Err(WordError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            None => Err(WordError::MissingBrace),
            Some('}') => Ok(match self.plain(&name) {
                Some(value) => value,
                None if self.lex.skip_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => match self.chars.next() {
                Some(c @ ('+' | '-' | '?')) => self.conditional(&name, c, true),
                Some(c) => Err(WordError::Modifier(format!(":{c}"))),
                None => Err(WordError::MissingBrace),
            },
            Some(c @ ('+' | '-' | '?')) => self.conditional(&name, c, false),
            Some(c @ ('#' | '%')) => self.trim(&name, c),
            Some('/') => self.replace(&name),
            Some(c) => Err(WordError::Modifier(c.to_string())),
        }
    }

    fn conditional(&mut self, name: &str, modifier: char, empty_is_unset: bool) -> Result<String, WordError> {
        let (word, _) = self.until(Some('}'), false)?;
        let value = self.value(name);
        let present = value.as_ref().filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, present) {
            ('-' | '?', Some(value)) => Ok(value.clone()),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            _ => {
                let message = match (word.is_empty(), value.is_some()) {
                    (false, _) => word,
                    (true, true) => "is not allowed to be empty".into(),
                    (true, false) => "is not allowed to be unset".into(),
                };
                Err(WordError::Required { name: name.into(), message })
            }
        }
    }

    /// `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`.
    fn trim(&mut self, name: &str, end: char) -> Result<String, WordError> {
        let (word, _) = self.until(Some('}'), true)?;
        let (longest, pattern) = word.strip_prefix(end).map_or((false, word.as_str()), |pattern| (true, pattern));
        let value = self.value(name).unwrap_or_default();
        let pattern = glob::Simple::new(pattern);
        Ok(if end == '#' { pattern.trim_start(&value, longest) } else { pattern.trim_end(&value, longest) }.to_string())
    }

    /// `${x/p/r}`, `${x//p/r}`.
    fn replace(&mut self, name: &str) -> Result<String, WordError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), false)?;
        let value = self.value(name).unwrap_or_default();
        let result = glob::Simple::new(&pattern).replace(&value, &replacement, all);
        if result.len() > MAX_RESULT { Err(WordError::TooLarge) } else { Ok(result) }
    }

    /// A variable without a modifier: what is not set is remembered for the warning.
    fn plain(&mut self, name: &str) -> Option<String> {
        let value = self.value(name);
        if value.is_none() {
            self.out.unmatched.insert(name.to_string());
        }
        value
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name)?.to_string();
        self.out.used.insert(name.to_string());
        Some(value)
    }

    /// Letters, digits and `_`; digits alone if it begins with one; one special character alone.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(special) = self.chars.next_if(|c| "@*#?-$!".contains(*c)) {
            name.push(special);
            return name;
        }
        let digits = self.chars.peek().is_some_and(char::is_ascii_digit);
        while let Some(c) =
            self.chars.next_if(|c| if digits { c.is_ascii_digit() } else { c.is_alphanumeric() || *c == '_' })
        {
            name.push(c);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers() {
        let mut set = BTreeMap::new();
        for (name, value) in [("v", "foo-bar-baz.tar.gz"), ("empty", ""), ("star", "a*b")] {
            set.insert(name.to_string(), value.to_string());
        }
        for (word, expect) in [
            ("${v#*-}", "bar-baz.tar.gz"),
            ("${v##*-}", "baz.tar.gz"),
            ("${v%.*}", "foo-bar-baz.tar"),
            ("${v%%.*}", "foo-bar-baz"),
            ("${v/-/_}", "foo_bar-baz.tar.gz"),
            ("${v//-/_}", "foo_bar_baz.tar.gz"),
            ("${v//ba?/X}", "foo-X-X.tar.gz"),
            ("${star#a\\*}", "b"),
            ("${star/\\*/+}", "a+b"),
            ("${empty-x}|${empty:-x}|${none-x}", "|x|x"),
            ("${empty+x}|${empty:+x}|${none+x}", "x||"),
            ("${none:-a b}", "a b"),
        ] {
            assert_eq!(Lex::new('\\').expand(word, &set).unwrap().text, expect, "{word}");
        }
        for (word, expect) in [
            ("${none?}", "none: is not allowed to be unset"),
            ("${empty:?}", "empty: is not allowed to be empty"),
            ("${none:?give it}", "none: give it"),
            ("${v:#x}", "unsupported modifier (:#) in substitution"),
            ("${v=x}", "unsupported modifier (=) in substitution"),
            ("${v", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("'x", "unexpected end of statement while looking for matching single-quote"),
        ] {
            assert_eq!(Lex::new('\\').expand(word, &set).unwrap_err().to_string(), expect, "{word}");
        }
        let seen = Lex::new('\\').expand("$v $none ${other:-x}", &set).unwrap();
        assert_eq!(seen.unmatched.into_iter().collect::<Vec<_>>(), ["none"]);
    }

    #[test]
    fn a_backtick_can_be_the_escape() {
        let mut set = BTreeMap::new();
        set.insert("x".to_string(), "1".to_string());
        assert_eq!(Lex::new('`').expand("c:\\dir`$x\\$x", &set).unwrap().text, "c:\\dir$x\\1");
    }

    #[test]
    fn nesting_is_bounded() {
        let word = format!("{}x{}", "${a:-".repeat(1000), "}".repeat(1000));
        assert_eq!(Lex::new('\\').expand(&word, &NoVariables), Err(WordError::TooLarge));
    }
}
