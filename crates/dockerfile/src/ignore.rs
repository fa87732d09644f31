//! `.dockerignore`: which files of a context are left out.

use crate::glob::{self, BadPattern};

/// The largest ignore file that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Patterns in their order; the last that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    list: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// Components; `**` is any number of them.
    parts: Vec<Vec<u8>>,
    exception: bool,
    text: String,
}

/// A pattern of an ignore file that is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern {pattern:?} in the ignore file: {source}")]
pub struct InvalidPattern {
    /// As written.
    pub pattern: String,
    /// Why.
    pub source: BadPattern,
}

impl Patterns {
    /// Reads an ignore file.
    pub fn parse(text: &str) -> Result<Patterns, InvalidPattern> {
        let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.starts_with('#'));
        Patterns::new(lines.map(str::trim).filter(|line| !line.is_empty()))
    }

    /// Patterns from anywhere: lines of an ignore file, values of `COPY --exclude`.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Patterns, InvalidPattern> {
        let mut list = Vec::new();
        for text in lines {
            let (exception, body) = text.strip_prefix('!').map_or((false, text), |body| (true, body.trim()));
            let parts = clean(body);
            if parts.is_empty() {
                if exception && body.is_empty() {
                    return Err(InvalidPattern { pattern: text.into(), source: BadPattern });
                }
                continue;
            }
            for part in &parts {
                glob::matches(part, b"x").map_err(|source| InvalidPattern { pattern: text.into(), source })?;
            }
            list.push(Pattern { parts, exception, text: text.to_string() });
        }
        Ok(Patterns { list })
    }

    /// No pattern at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether some pattern takes files in again.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.list.iter().any(|pattern| pattern.exception)
    }

    /// The patterns as they were written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|pattern| pattern.text.as_str())
    }

    /// Whether a path (relative, components divided by `/`) is left out: it or a directory above it matches, and no
    /// later exception does.
    #[must_use]
    pub fn excludes(&self, path: &[u8]) -> bool {
        let components: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        let mut excluded = false;
        for pattern in &self.list {
            if pattern.exception == excluded && pattern.matches_it_or_a_parent(&components) {
                excluded = !pattern.exception;
            }
        }
        excluded
    }

    /// Whether something below an excluded directory may be taken back by an exception, so that it must be walked.
    #[must_use]
    pub fn may_include_below(&self, directory: &[u8]) -> bool {
        let components: Vec<&[u8]> = directory.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        self.list.iter().filter(|pattern| pattern.exception).any(|pattern| pattern.may_match_below(&components))
    }
}

impl Pattern {
    fn matches_it_or_a_parent(&self, path: &[&[u8]]) -> bool {
        (1..=path.len()).any(|length| matches_parts(&self.parts, &path[..length]))
    }

    fn may_match_below(&self, directory: &[&[u8]]) -> bool {
        for (index, part) in self.parts.iter().enumerate() {
            if part == b"**" || index >= directory.len() {
                return true;
            }
            if !glob::matches(part, directory[index]).unwrap_or(false) {
                return false;
            }
        }
        true
    }
}

/// Matches components; a table, so that many `**` stay cheap.
fn matches_parts(pattern: &[Vec<u8>], path: &[&[u8]]) -> bool {
    // reachable[i]: the pattern read so far matches the first i components
    let mut reachable = vec![false; path.len() + 1];
    reachable[0] = true;
    for (index, part) in pattern.iter().enumerate() {
        let mut next = vec![false; path.len() + 1];
        if part == b"**" {
            // At the end of a pattern it means something inside: `a/**` is not `a` itself.
            let at_least = usize::from(index + 1 == pattern.len() && index > 0);
            let first = reachable.iter().position(|reached| *reached);
            if let Some(first) = first {
                next.iter_mut().skip(first + at_least).for_each(|reached| *reached = true);
            }
        } else {
            for (at, component) in path.iter().enumerate() {
                next[at + 1] = reachable[at] && glob::matches(part, component).unwrap_or(false);
            }
        }
        reachable = next;
    }
    reachable[path.len()]
}

/// `filepath.Clean` of a pattern, without a leading slash, as components.
fn clean(pattern: &str) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in pattern.as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            b"**" if parts.last().is_some_and(|last| last == b"**") => {}
            part => parts.push(part.to_vec()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_match_decides() {
        for (patterns, path, expect) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("*", "dir/file", true),
            ("*.go", "a.go", true),
            ("*.go", "dir/a.go", false),
            ("**/*.go", "dir/a.go", true),
            ("**/*.go", "a.go", true),
            ("dir", "dir/a/b", true),
            ("dir/**", "dir", false),
            ("dir/**", "dir/a/b", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/x/y/c", false),
            ("docs\n!docs/README.md", "docs/README.md", false),
            ("docs\n!docs/README.md", "docs/other", true),
            ("!docs\ndocs", "docs/x", true),
            ("*\n!a", "a", false),
            ("/x", "x", true),
            ("a/../b", "b", true),
            ("x/", "x/y", true),
            ("  spaced  ", "spaced", true),
            ("# comment", "# comment", false),
            ("[a-c].txt", "b.txt", true),
            ("\\*", "*", true),
            ("a**", "abc", true),
        ] {
            assert_eq!(Patterns::parse(patterns).unwrap().excludes(path.as_bytes()), expect, "{patterns:?} {path}");
        }
        assert!(Patterns::parse("a\n[").is_err());
        assert!(Patterns::parse("!").is_err());
        let patterns = Patterns::parse("*\n!a/b/*.txt").unwrap();
        assert!(
            patterns.may_include_below(b"a") && patterns.may_include_below(b"a/b") && !patterns.may_include_below(b"c")
        );
    }

    #[test]
    fn many_stars_are_cheap() {
        let pattern = "**/a/".repeat(60) + "b";
        let path = "a/".repeat(400);
        assert!(!Patterns::parse(&pattern).unwrap().excludes(path.as_bytes()));
    }
}
