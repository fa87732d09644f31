//! What is wrong, and where.

use std::fmt::Write as _;

/// A range of lines of the Dockerfile, counted from 1, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Lines {
    /// The first line.
    pub first: usize,
    /// The last line.
    pub last: usize,
}

impl Lines {
    /// One line alone.
    #[must_use]
    pub fn one(line: usize) -> Lines {
        Lines { first: line, last: line }
    }
}

/// A Dockerfile that cannot be built as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dockerfile parse error on line {}: {message}", lines.first)]
pub struct Error {
    /// Where.
    pub lines: Lines,
    /// What, in BuildKit's words.
    pub message: String,
    /// The piece of the line that is meant, for the caret: a flag, a keyword.
    pub at: Option<String>,
}

impl Error {
    /// An error of these lines.
    pub fn new(lines: Lines, message: impl Into<String>) -> Error {
        Error { lines, message: message.into(), at: None }
    }

    /// Says which piece of the line is meant.
    #[must_use]
    pub fn at(mut self, piece: impl Into<String>) -> Error {
        self.at = Some(piece.into());
        self
    }

    /// The lines around the fault as `docker build` shows them, with a caret below the piece that is meant:
    ///
    /// ```text
    /// Dockerfile:3
    /// --------------------
    ///    1 |     FROM debian
    ///    2 |
    ///    3 | >>> RUNN true
    ///      |     ^^^^
    /// --------------------
    /// ```
    #[must_use]
    pub fn render(&self, name: &str, source: &str) -> String {
        excerpt(name, source, self.lines, self.at.as_deref())
    }
}

/// The lines around `lines` (two before, two behind), those marked, and a caret below `at` if the first of them has it.
#[must_use]
pub fn excerpt(name: &str, source: &str, lines: Lines, at: Option<&str>) -> String {
    let all: Vec<&str> = source.lines().collect();
    let first = lines.first.max(1);
    let last = lines.last.clamp(first, first + 40);
    let from = first.saturating_sub(3);
    let to = (last + 2).min(all.len());
    let mut out = format!("{name}:{first}\n--------------------\n");
    for (index, text) in all.iter().enumerate().take(to).skip(from) {
        let number = index + 1;
        let marked = (first..=last).contains(&number);
        let text: String =
            text.chars().take(400).map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        let line = format!("{number:4} | {} {text}", if marked { ">>>" } else { "   " });
        let _ = writeln!(out, "{}", line.trim_end());
        if number == first
            && let Some((before, piece)) =
                at.and_then(|at| Some((text.split_once(at)?.0, at))).filter(|(_, at)| !at.is_empty())
        {
            let pad: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let _ = writeln!(out, "     |     {pad}{}", "^".repeat(piece.chars().count()));
        }
    }
    out.push_str("--------------------\n");
    out
}

/// Words that are further apart have nothing to do with one another; BuildKit's number.
const FAR: usize = 2;

/// The word of `known` that was probably meant, if one is near: `did you mean RUN?`.
#[must_use]
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= FAR)
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance > 0)
        .map(|(_, candidate)| candidate)
}

/// The nearest of `known` with at most `limit` letters of difference; upper and lower case are different letters.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, limit: usize) -> Option<&'a str> {
    let near = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance; words beyond 64 characters are far from everything.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (row[j + 1] + 1).min(row[j] + 1).min(diagonal + usize::from(x != y));
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_word() {
        let error = Error::new(Lines::one(3), "unknown instruction: RUNN").at("RUNN");
        assert_eq!(error.to_string(), "dockerfile parse error on line 3: unknown instruction: RUNN");
        assert_eq!(
            error.render("Dockerfile", "FROM debian\n\nRUNN true\nCMD x\n"),
            "Dockerfile:3\n--------------------\n   1 |     FROM debian\n   2 |\n   3 | >>> RUNN true\n     |     ^^^^\n   4 |     CMD x\n--------------------\n"
        );
    }

    #[test]
    fn near_words_are_suggested() {
        let known = ["RUN", "FROM", "COPY", "ENTRYPOINT", "HEALTHCHECK"];
        for (word, expect) in [
            ("RUNN", Some("RUN")),
            ("FORM", Some("FROM")),
            ("COPYY", Some("COPY")),
            ("entripoint", Some("ENTRYPOINT")),
            ("XYZZY", None),
        ] {
            assert_eq!(suggestion(word, known), expect, "{word}");
        }
    }
}
