//! Here-documents: `RUN <<EOF`, `COPY <<-"a" <<b /dest`.

use crate::word::{Lex, NoVariables};

/// One here-document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heredoc {
    /// The word that ends it; for `COPY`, the name of the file.
    pub name: String,
    /// The file descriptor in front of `<<`; 0 if none is written.
    pub descriptor: u32,
    /// No quotes around the name: variables are expanded.
    pub expand: bool,
    /// `<<-`: leading tabs are taken off.
    pub chomp: bool,
    /// The lines, with their ends.
    pub content: String,
}

impl Heredoc {
    /// Reads one word; `None` if it starts no here-document.
    #[must_use]
    pub fn parse(word: &str) -> Option<Heredoc> {
        let (number, rest) = word.split_once("<<")?;
        if !number.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        // Quotes anywhere in the word mean: as it stands.
        let lex = Lex::new('\\').skip_unset();
        let cooked = lex.words(rest, &NoVariables).ok()?;
        let raw = Lex::new('\\').skip_unset().raw_quotes().words(rest, &NoVariables).ok()?;
        let [name] = <[String; 1]>::try_from(cooked).ok()?;
        let descriptor = if number.is_empty() { 0 } else { number.parse().ok()? };
        Some(Heredoc { expand: raw.first() == Some(&name), name, descriptor, chomp, content: String::new() })
    }

    /// The content as a file gets it: tabs taken off where asked for.
    #[must_use]
    pub fn body(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The here-documents that the words of `line` start.
#[must_use]
pub fn of_line(line: &str, escape: char) -> Vec<Heredoc> {
    let lex = Lex::new(escape).skip_unset().raw_quotes().raw_escapes();
    lex.words(line, &NoVariables)
        .map_or_else(|_| Vec::new(), |words| words.iter().filter_map(|word| Heredoc::parse(word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let heredoc = |name: &str, descriptor, expand, chomp| {
            Some(Heredoc { name: name.into(), descriptor, expand, chomp, content: String::new() })
        };
        for (word, expect) in [
            ("<<EOF", heredoc("EOF", 0, true, false)),
            ("<<-EOF", heredoc("EOF", 0, true, true)),
            ("<<\"EOF\"", heredoc("EOF", 0, false, false)),
            ("<<'EOF'", heredoc("EOF", 0, false, false)),
            ("<<E\"O\"F", heredoc("EOF", 0, false, false)),
            ("3<<EOF", heredoc("EOF", 3, true, false)),
            ("<<", None),
            ("<<<EOF", None),
            ("a<<EOF", None),
            ("<<-", None),
            ("<EOF", None),
        ] {
            assert_eq!(Heredoc::parse(word), expect, "{word}");
        }
    }

    #[test]
    fn several_on_one_line() {
        let names: Vec<String> =
            of_line("RUN cat <<A 3<<-'B' > /x && echo \"<<C\"", '\\').into_iter().map(|heredoc| heredoc.name).collect();
        assert_eq!(names, ["A", "B"]);
    }
}
