//! Patterns: those of substitutions (`*`, `?`), those of `COPY` (Go's `filepath.Match`).

/// A pattern of `${x#pattern}`: `*` any characters, `?` one, `\` takes the meaning of the next.
#[derive(Debug, Clone)]
pub struct Simple(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    One(char),
    Any,
    Star,
}

impl Simple {
    /// Reads a pattern; every string is one.
    #[must_use]
    pub fn new(text: &str) -> Simple {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' if parts.last() == Some(&Part::Star) => {}
                '*' => parts.push(Part::Star),
                '?' => parts.push(Part::Any),
                '\\' => parts.push(Part::One(chars.next().unwrap_or('\\'))),
                c => parts.push(Part::One(c)),
            }
        }
        Simple(parts)
    }

    fn matches(&self, text: &[char]) -> bool {
        // Greedy with one point to return to: linear in practice, quadratic at worst.
        let (mut p, mut t, mut back) = (0, 0, None);
        while t < text.len() {
            match self.0.get(p) {
                Some(Part::Star) => {
                    back = Some((p, t));
                    p += 1;
                    continue;
                }
                Some(Part::Any) => (p, t) = (p + 1, t + 1),
                Some(Part::One(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
                _ => {
                    let Some((star, from)) = back else { return false };
                    back = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
            }
        }
        self.0[p..].iter().all(|part| *part == Part::Star)
    }

    /// Takes the shortest or the longest match off the start.
    #[must_use]
    pub fn trim_start<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let chars: Vec<char> = value.chars().collect();
        let mut ends = 0..=chars.len();
        let end = if longest {
            ends.rev().find(|end| self.matches(&chars[..*end]))
        } else {
            ends.find(|end| self.matches(&chars[..*end]))
        };
        end.map_or(value, |end| &value[chars[..end].iter().map(|c| c.len_utf8()).sum::<usize>()..])
    }

    /// Takes the shortest or the longest match off the end.
    #[must_use]
    pub fn trim_end<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let chars: Vec<char> = value.chars().collect();
        let mut starts = 0..=chars.len();
        let start = if longest {
            starts.find(|start| self.matches(&chars[*start..]))
        } else {
            starts.rev().find(|start| self.matches(&chars[*start..]))
        };
        start.map_or(value, |start| &value[..chars[..start].iter().map(|c| c.len_utf8()).sum::<usize>()])
    }

    /// Puts `with` in place of the first match, or of all. A pattern that matches nothing at all changes nothing.
    #[must_use]
    pub fn replace(&self, value: &str, with: &str, all: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let (mut out, mut at) = (String::new(), 0);
        while at < chars.len() {
            match (at + 1..=chars.len()).rev().find(|end| self.matches(&chars[at..*end])) {
                Some(end) => {
                    out.push_str(with);
                    at = end;
                    if !all {
                        break;
                    }
                }
                None => {
                    out.push(chars[at]);
                    at += 1;
                }
            }
        }
        out.extend(&chars[at..]);
        out
    }
}

/// A pattern that is not well-formed (`[` without an end, a lone `\` at the end): Go's `ErrBadPattern`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Go's `filepath.Match` for one whole path: `*` and `?` stop at `/`, `[a-z]`, `[^a]`, `\x`.
pub fn matches(pattern: &[u8], path: &[u8]) -> Result<bool, BadPattern> {
    let mut steps = 0;
    match_from(pattern, path, &mut steps)
}

/// Whether a path component has characters with a meaning.
#[must_use]
pub fn has_meta(text: &[u8]) -> bool {
    text.iter().any(|byte| b"*?[\\".contains(byte))
}

fn match_from(mut pattern: &[u8], mut path: &[u8], steps: &mut usize) -> Result<bool, BadPattern> {
    loop {
        *steps += 1;
        if *steps > 1_000_000 {
            return Err(BadPattern);
        }
        match pattern.first() {
            None => return Ok(path.is_empty()),
            Some(b'*') => {
                pattern = &pattern[pattern.iter().take_while(|byte| **byte == b'*').count()..];
                if pattern.is_empty() {
                    return Ok(!path.contains(&b'/'));
                }
                for skip in 0..=path.len() {
                    if match_from(pattern, &path[skip..], steps)? {
                        return Ok(true);
                    }
                    if path.get(skip) == Some(&b'/') {
                        break;
                    }
                }
                well_formed(pattern)?;
                return Ok(false);
            }
            Some(b'?') => match path.first() {
                Some(byte) if *byte != b'/' => {
                    (pattern, path) = (&pattern[1..], &path[char_len(*byte).min(path.len())..])
                }
                _ => return well_formed(&pattern[1..]).map(|()| false),
            },
            Some(b'[') => {
                let (inside, rest) = class(&pattern[1..], path.first().copied().filter(|byte| *byte != b'/'))?;
                if !inside {
                    return well_formed(rest).map(|()| false);
                }
                (pattern, path) = (rest, &path[1..]);
            }
            Some(byte) => {
                let (literal, rest) = if *byte == b'\\' {
                    (*pattern.get(1).ok_or(BadPattern)?, &pattern[2..])
                } else {
                    (*byte, &pattern[1..])
                };
                if path.first() != Some(&literal) {
                    return well_formed(rest).map(|()| false);
                }
                (pattern, path) = (rest, &path[1..]);
            }
        }
    }
}

fn char_len(first: u8) -> usize {
    match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    }
}

/// Reads a class behind its `[`: whether the byte is in it, and what follows.
fn class(pattern: &[u8], byte: Option<u8>) -> Result<(bool, &[u8]), BadPattern> {
    let (negated, mut rest) = match pattern.first() {
        Some(b'^') => (true, &pattern[1..]),
        _ => (false, pattern),
    };
    let (mut found, mut ranges) = (false, 0);
    loop {
        if rest.first() == Some(&b']') && ranges > 0 {
            return Ok((byte.is_some() && found != negated, &rest[1..]));
        }
        let low;
        (low, rest) = class_byte(rest)?;
        let mut high = low;
        if rest.first() == Some(&b'-') {
            (high, rest) = class_byte(&rest[1..])?;
        }
        found |= byte.is_some_and(|byte| (low..=high).contains(&byte));
        ranges += 1;
    }
}

fn class_byte(pattern: &[u8]) -> Result<(u8, &[u8]), BadPattern> {
    match pattern {
        [] | [b'-' | b']', ..] => Err(BadPattern),
        [b'\\', byte, rest @ ..] => Ok((*byte, rest)),
        [b'\\'] => Err(BadPattern),
        [byte, rest @ ..] => Ok((*byte, rest)),
    }
}

/// The rest of a pattern that no longer matters must be a pattern all the same.
fn well_formed(mut pattern: &[u8]) -> Result<(), BadPattern> {
    while let Some(byte) = pattern.first() {
        pattern = match byte {
            b'[' => class(&pattern[1..], None)?.1,
            b'\\' => pattern.get(2..).ok_or(BadPattern)?,
            _ => &pattern[1..],
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_patterns() {
        for (pattern, path, expect) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "ab/c", Ok(false)),
            ("a*/b", "a/c/b", Ok(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[^c]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "ab", Ok(false)),
            ("a?b", "a/b", Ok(false)),
            ("[\\]a]", "]", Ok(true)),
            ("[]a]", "]", Err(BadPattern)),
            ("[x-]", "x", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("a[", "ab", Err(BadPattern)),
            ("[", "a", Err(BadPattern)),
            ("\\", "a", Err(BadPattern)),
            ("", "", Ok(true)),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expect, "{pattern} {path}");
        }
    }
}
