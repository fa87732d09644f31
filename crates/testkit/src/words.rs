//! Splits a command line as a shell would: blanks, single and double quotes, backslash. No expansion.

/// The words of `line`. An unclosed quote ends with the line.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\n' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => word.extend(chars.next()),
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn splits_like_a_shell() {
        for (line, expect) in [
            ("", &[][..]),
            ("run  --rm busybox", &["run", "--rm", "busybox"]),
            ("sh -c 'echo \"a b\"; true'", &["sh", "-c", "echo \"a b\"; true"]),
            ("-e A=\"x \\\"y\" ''", &["-e", "A=x \"y", ""]),
            ("a\\ b", &["a b"]),
        ] {
            assert_eq!(split(line), expect, "{line}");
        }
    }
}
