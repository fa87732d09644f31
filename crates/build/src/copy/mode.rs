//! `--chmod`: octal, or symbolic as chmod(1) has it.

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(Vec<Clause>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Clause {
    Octal(u32),
    /// Classes of users (`rwx` masks and their special bit), operator, permissions.
    Symbolic {
        who: u32,
        operator: char,
        what: Vec<char>,
    },
}

impl Change {
    /// Reads `755`, `u+x,go-w`, `a=rX`; `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Change> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777)?;
            return Some(Change(vec![Clause::Octal(bits)]));
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let operator = clause.find(['+', '-', '='])?;
            let mut who = 0;
            for class in clause[..operator].chars() {
                who |= match class {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return None,
                };
            }
            let who = if who == 0 { 0o7777 } else { who };
            let mut rest = &clause[operator..];
            while let Some(operator) = rest.chars().next() {
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
                let what: Vec<char> = rest[1..end].chars().collect();
                if !what.iter().all(|c| "rwxXstugo".contains(*c)) {
                    return None;
                }
                clauses.push(Clause::Symbolic { who, operator, what });
                rest = &rest[end..];
            }
        }
        Some(Change(clauses))
    }

    /// The bits that come out for a file or directory that has `mode`.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        self.0.iter().fold(mode, |mode, clause| match clause {
            Clause::Octal(bits) => *bits,
            Clause::Symbolic { who, operator, what } => {
                let copied = |shift: u32| {
                    let bits = (mode >> shift) & 7;
                    bits << 6 | bits << 3 | bits
                };
                let bits = what.iter().fold(0, |bits, c| {
                    bits | match c {
                        'r' => 0o444,
                        'w' => 0o222,
                        'x' => 0o111,
                        'X' if is_directory || mode & 0o111 != 0 => 0o111,
                        's' => 0o6000,
                        't' => 0o1000,
                        'u' => copied(6),
                        'g' => copied(3),
                        'o' => copied(0),
                        _ => 0,
                    }
                }) & who;
                match operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => (mode & !(who & 0o777)) | bits,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        for (text, mode, directory, expect) in [
            ("755", 0o644, false, 0o755),
            ("0", 0o644, false, 0),
            ("u+x", 0o644, false, 0o744),
            ("go-w", 0o666, false, 0o644),
            ("a=rX", 0o640, false, 0o444),
            ("a=rX", 0o750, true, 0o555),
            ("u=rwx,g=u,o=", 0o000, false, 0o770),
            ("+x", 0o600, false, 0o711),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o777, true, 0o1777),
            ("u+x-w", 0o600, false, 0o500),
        ] {
            assert_eq!(Change::parse(text).unwrap().apply(mode, directory), expect, "{text} {mode:o}");
        }
        for bad in ["", "x", "9", "77777", "u", "q+x", "u+q", "-"] {
            assert!(Change::parse(bad).is_none_or(|_| bad == "-"), "{bad}");
        }
    }
}
