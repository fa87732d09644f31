//! As much of TOML (v1.0.0) as `hosts.toml` has: tables, strings, booleans, numbers, arrays, comments. Inline tables,
//! arrays of tables and multi-line strings are refused by name.

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    /// A number or a date, as it was written.
    Other(String),
    List(Vec<Value>),
}

/// Where a value stands: the table's name and the key, and the value.
pub(super) type Entry = (Vec<String>, Value);

/// Deepest nesting of arrays.
const DEPTH: usize = 8;

/// All values in the order of the file.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut cursor = Cursor { text, at: 0 };
    let mut table: Vec<String> = Vec::new();
    let mut entries = Vec::new();
    loop {
        cursor.blank();
        match cursor.peek() {
            None => return Ok(entries),
            Some('[') => {
                cursor.next();
                if cursor.peek() == Some('[') {
                    return Err(cursor.wrong("arrays of tables are not supported"));
                }
                table = cursor.key()?;
                cursor.expect(']')?;
                // A table without values counts too: a host may have nothing but its name.
                entries.push((table.clone(), Value::List(Vec::new())));
            }
            Some(_) => {
                let mut name = table.clone();
                name.extend(cursor.key()?);
                cursor.expect('=')?;
                cursor.spaces();
                let value = cursor.value(0)?;
                entries.push((name, value));
            }
        }
        cursor.end_of_line()?;
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn wrong(&self, what: &str) -> String {
        format!("line {}: {what}", self.text[..self.at].matches('\n').count() + 1)
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.next();
        }
    }

    fn comment(&mut self) {
        if self.peek() == Some('#') {
            while self.peek().is_some_and(|c| c != '\n') {
                self.next();
            }
        }
    }

    /// Blanks, line ends and comments.
    fn blank(&mut self) {
        loop {
            self.comment();
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\n') => drop(self.next()),
                _ => return,
            }
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.spaces();
        match self.next() {
            Some(c) if c == wanted => Ok(()),
            _ => Err(self.wrong(&format!("expected {wanted:?}"))),
        }
    }

    fn end_of_line(&mut self) -> Result<(), String> {
        self.spaces();
        self.comment();
        if self.peek() == Some('\r') {
            self.next();
        }
        match self.next() {
            None | Some('\n') => Ok(()),
            Some(c) => Err(self.wrong(&format!("unexpected {c:?}"))),
        }
    }

    /// `a."b c".d`
    fn key(&mut self) -> Result<Vec<String>, String> {
        let mut parts = Vec::new();
        loop {
            self.spaces();
            parts.push(match self.peek() {
                Some('"' | '\'') => self.string()?,
                _ => {
                    let start = self.at;
                    while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
                        self.next();
                    }
                    if start == self.at {
                        return Err(self.wrong("expected a name"));
                    }
                    self.text[start..self.at].to_owned()
                }
            });
            self.spaces();
            if self.peek() != Some('.') {
                return Ok(parts);
            }
            self.next();
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        match self.peek() {
            Some('"' | '\'') => self.string().map(Value::Text),
            Some('{') => Err(self.wrong("inline tables are not supported")),
            Some('[') => {
                if depth == DEPTH {
                    return Err(self.wrong("arrays nested too deeply"));
                }
                self.next();
                let mut items = Vec::new();
                loop {
                    self.blank();
                    if self.peek() == Some(']') {
                        self.next();
                        return Ok(Value::List(items));
                    }
                    items.push(self.value(depth + 1)?);
                    self.blank();
                    match self.next() {
                        Some(',') => {}
                        Some(']') => return Ok(Value::List(items)),
                        _ => return Err(self.wrong("expected ',' or ']'")),
                    }
                }
            }
            _ => {
                let start = self.at;
                while self.peek().is_some_and(|c| !matches!(c, ' ' | '\t' | '\r' | '\n' | '#' | ',' | ']' | '=')) {
                    self.next();
                }
                match &self.text[start..self.at] {
                    "" => Err(self.wrong("expected a value")),
                    "true" => Ok(Value::Bool(true)),
                    "false" => Ok(Value::Bool(false)),
                    other => Ok(Value::Other(other.to_owned())),
                }
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let Some(quote) = self.next() else { return Err(self.wrong("expected a string")) };
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(self.wrong("a string does not end")),
                Some(c) if c == quote => {
                    if text.is_empty() && self.peek() == Some(quote) {
                        return Err(self.wrong("multi-line strings are not supported"));
                    }
                    return Ok(text);
                }
                Some('\\') if quote == '"' => text.push(self.escape()?),
                Some(c) => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some(c @ ('"' | '\\')) => return Ok(c),
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(self.wrong("unknown escape in a string")),
        };
        let mut code = 0u32;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(16)).ok_or_else(|| self.wrong("bad \\u escape"))?;
            code = code.wrapping_mul(16).wrapping_add(digit);
        }
        char::from_u32(code).ok_or_else(|| self.wrong("\\u of no character"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_hosts_files_have() {
        let text = "server = \"https://r.example\" # upstream\r\n\n[host.\"https://m.example/v2\"]\n  capabilities = [\n 'pull', # one\n \"resolve\",\n ]\n  skip_verify=true\n  client = [[\"a.cert\", \"a.key\"], \"b.pem\"]\n [host.\"https://m.example/v2\".header]\n x-a = [\"1\\u00e9\"]\n";
        let entries = parse(text).unwrap();
        let find = |name: &[&str]| entries.iter().rev().find(|(path, _)| path == name).map(|(_, value)| value.clone());
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(find(&["server"]), Some(text("https://r.example")));
        let host = "https://m.example/v2";
        assert_eq!(find(&["host", host, "capabilities"]), Some(Value::List(vec![text("pull"), text("resolve")])));
        assert_eq!(find(&["host", host, "skip_verify"]), Some(Value::Bool(true)));
        assert_eq!(
            find(&["host", host, "client"]),
            Some(Value::List(vec![Value::List(vec![text("a.cert"), text("a.key")]), text("b.pem")]))
        );
        assert_eq!(find(&["host", host, "header", "x-a"]), Some(Value::List(vec![text("1é")])));
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "a",
            "a =",
            "= 1",
            "a = \"",
            "a = 'x",
            "a = 1 2",
            "[a",
            "[]",
            "[[a]]",
            "a = {b = 1}",
            "a = \"\"\"x\"\"\"",
            "a = [1",
            "a = [1 2]",
            "a = \"\\x\"",
            "a = \"\\ud800\"",
            "a. = 1",
            "a = [[[[[[[[[[1]]]]]]]]]]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("a = 1\nb = ]").unwrap_err(), "line 2: expected a value");
    }

    #[test]
    fn hostile_files() {
        let seeds: [&[u8]; 2] = [
            b"server = \"https://r.example\"\n[host.\"https://m\"]\ncapabilities = [\"pull\", 'x']\n",
            b"a.b = [[1, true], [\"\\u00e9\"]] # c\r\n",
        ];
        let tokens: [&[u8]; 7] = [b"[", b"]", b"\"", b"\\u", b"=", b"\n", b"#"];
        fuzz::run(&seeds, &tokens, |input| {
            if let Ok(text) = std::str::from_utf8(input) {
                let _ = parse(text);
            }
        });
    }
}
