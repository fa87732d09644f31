//! Patterns of names: `*` is anything but a slash, `**` is anything, `?` one character but a slash.

use serde::{Deserialize, Deserializer};

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<u8>);

impl Glob {
    pub fn new(pattern: &str) -> Glob {
        Glob(pattern.as_bytes().to_vec())
    }

    /// Does the whole text fit?
    pub fn matches(&self, text: &str) -> bool {
        // One state per place in the pattern, so that no pattern takes longer than its length times the text's.
        let pattern = self.0.as_slice();
        let mut states = vec![false; pattern.len() + 1];
        states[0] = true;
        close(pattern, &mut states);
        for byte in text.bytes() {
            let mut next = vec![false; pattern.len() + 1];
            for at in (0..pattern.len()).filter(|at| states[*at]) {
                match pattern[at] {
                    b'*' => {
                        let any = pattern.get(at + 1) == Some(&b'*') || (at > 0 && pattern[at - 1] == b'*');
                        if any || byte != b'/' {
                            next[at] = true;
                        }
                    }
                    b'?' if byte != b'/' => next[at + 1] = true,
                    literal if literal == byte => next[at + 1] = true,
                    _ => {}
                }
            }
            close(pattern, &mut next);
            states = next;
        }
        states[pattern.len()]
    }
}

/// A star also fits nothing.
fn close(pattern: &[u8], states: &mut [bool]) {
    for at in 0..pattern.len() {
        if states[at] && pattern[at] == b'*' {
            states[at + 1] = true;
        }
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Glob, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.len() > 512 {
            return Err(serde::de::Error::custom("a pattern has 1 to 512 characters"));
        }
        Ok(Glob::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expect) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**", "ab/c", false),
            ("**", "anything/at/all", true),
            ("*", "anything/at/all", false),
            ("**/x", "a/b/x", true),
            ("v?.*", "v1.2", true),
            ("v?.*", "v10.2", false),
            ("*-rc*", "1-rc2", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expect, "{pattern} {text}");
        }
        assert!(!Glob::new(&"*a".repeat(200)).matches(&"a".repeat(150)));
    }
}
