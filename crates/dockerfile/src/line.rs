//! Physical lines to logical ones: continuations joined, comments dropped, here-documents collected.

use crate::directive::Directives;
use crate::error::{Error, Lines};
use crate::heredoc::{self, Heredoc};
use crate::node::Node;
use crate::{MAX_BYTES, MAX_INSTRUCTIONS};

/// An instruction before its arguments are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logical {
    /// The lines it covers, here-documents included.
    pub lines: Lines,
    /// Its text, continuations joined.
    pub text: String,
    /// The comment lines directly above, without `#`.
    pub comments: Vec<String>,
    /// Here-documents in their order.
    pub heredocs: Vec<Heredoc>,
    /// The line that ends the instruction (without here-documents), if a blank line stands in the middle of a continuation.
    pub empty_continuation: Option<usize>,
}

/// Divides a file.
pub fn split(source: &str, directives: &Directives) -> Result<Vec<Logical>, Error> {
    let lines: Vec<&str> = source.split_inclusive('\n').collect();
    if source.len() > MAX_BYTES {
        return Err(Error::new(Lines::one(1), format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let (mut out, mut comments) = (Vec::new(), Vec::new());
    let mut next = 0;
    while next < lines.len() {
        let first = next + 1;
        let line = without_end(lines[next]);
        let line = if next == 0 { line.trim_start_matches('\u{feff}') } else { line }.trim_start();
        next += 1;
        if let Some(comment) = line.strip_prefix('#') {
            // An empty comment divides what is above it from what is below.
            match comment.trim() {
                "" => comments.clear(),
                comment => comments.push(comment.to_string()),
            }
            continue;
        }
        let (mut text, mut open) = continued(line, directives.escape);
        if !open && text.is_empty() {
            comments.clear();
            continue;
        }
        let mut empty = false;
        while open && next < lines.len() {
            let line = without_end(lines[next]);
            next += 1;
            if line.trim_start().starts_with('#') {
                continue;
            }
            if line.trim_start().is_empty() {
                empty = true;
                continue;
            }
            let (more, goes_on) = continued(line, directives.escape);
            text.push_str(&more);
            open = goes_on;
        }
        if text.trim().is_empty() {
            comments.clear();
            continue;
        }
        let empty_continuation = empty.then_some(next);
        let mut heredocs = Vec::new();
        if text.contains("<<") && Node::takes_heredocs(&text, directives) {
            for mut heredoc in heredoc::of_line(&text, directives.escape) {
                heredoc.content = heredoc_content(&heredoc, &lines, &mut next).ok_or_else(|| {
                    Error::new(Lines { first, last: lines.len() }, "unterminated heredoc")
                        .at(format!("<<{}", if heredoc.chomp { "-" } else { "" }))
                })?;
                heredocs.push(heredoc);
            }
        }
        if out.len() >= MAX_INSTRUCTIONS {
            return Err(Error::new(Lines::one(first), format!("more than {MAX_INSTRUCTIONS} instructions")));
        }
        let comments = std::mem::take(&mut comments);
        out.push(Logical { lines: Lines { first, last: next }, text, comments, heredocs, empty_continuation });
    }
    Ok(out)
}

/// Reads up to the line that ends the here-document; `None` if there is none.
fn heredoc_content(heredoc: &Heredoc, lines: &[&str], next: &mut usize) -> Option<String> {
    let mut content = String::new();
    while let Some(line) = lines.get(*next) {
        *next += 1;
        let end = without_end(line);
        if (if heredoc.chomp { end.trim_start_matches('\t') } else { end }) == heredoc.name {
            return Some(content);
        }
        content.push_str(line);
    }
    None
}

fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Takes the continuation off the end: the text, and whether the next line belongs to it.
fn continued(line: &str, escape: char) -> (String, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        // An escaped escape character is one character and no continuation.
        Some(text) if !text.ends_with(escape) => (text.to_string(), true),
        _ => (line.to_string(), false),
    }
}
