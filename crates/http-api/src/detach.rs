//! The keys that leave a container without ending it.
//!
//! ```text
//!  client ──bytes──▶ DetachKeys ──bytes without the keys──▶ container
//!                        └─ the whole sequence: detached
//! ```
//! The beginning of a sequence is held back until the next byte says whether it goes on.

use base64::Engine as _;
use engine::Error;

/// Looks for a sequence in what a client types.
#[derive(Clone, Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of the keys the latest input ends with; these are held back.
    held: usize,
}

/// Docker's default: `ctrl-p,ctrl-q`.
const DEFAULT: [u8; 2] = [16, 17];

impl DetachKeys {
    /// `ctrl-p,ctrl-q`, `ctrl-@`, `a,b,c`; empty is the default.
    pub fn parse(text: &str) -> engine::Result<Self> {
        if text.is_empty() {
            return Ok(Self { keys: DEFAULT.to_vec(), held: 0 });
        }
        let keys = text
            .split(',')
            .map(parse_key)
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| Error::invalid(format!("Invalid detach keys ({text}) provided")))?;
        Ok(Self { keys, held: 0 })
    }

    /// As an exec's document has them; empty for the default.
    pub fn to_base64(text: &str) -> engine::Result<String> {
        let keys = if text.is_empty() { Vec::new() } else { Self::parse(text)?.keys };
        Ok(base64::engine::general_purpose::STANDARD.encode(keys))
    }

    /// Appends to `output` what goes on to the container. True: the sequence is complete; the rest of the input is
    /// nobody's.
    pub fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool {
        for &byte in input {
            // The longest end of what is held and this byte that begins the sequence.
            let mut seen = self.keys[..self.held].to_vec();
            seen.push(byte);
            let keep = (0..=seen.len()).rev().find(|&n| self.keys.starts_with(&seen[seen.len() - n..])).unwrap_or(0);
            output.extend_from_slice(&seen[..seen.len() - keep]);
            self.held = keep;
            if keep == self.keys.len() {
                return true;
            }
        }
        false
    }
}

/// Keys, and whom to tell when they were typed.
pub(crate) struct Detaching {
    keys: DetachKeys,
    tell: Option<Box<dyn FnOnce() + Send>>,
}

impl Detaching {
    pub fn new(keys: DetachKeys, tell: impl FnOnce() + Send + 'static) -> Self {
        Self { keys, tell: Some(Box::new(tell)) }
    }

    /// [`DetachKeys::feed`]; the end of the sequence is told once.
    pub fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool {
        let detached = self.keys.feed(input, output);
        if detached && let Some(tell) = self.tell.take() {
            tell();
        }
        detached
    }
}

fn parse_key(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return Some(*byte);
    }
    if key.eq_ignore_ascii_case("del") {
        return Some(127);
    }
    let [byte] = key.strip_prefix("ctrl-")?.as_bytes() else { return None };
    match byte {
        b'@' => Some(0),
        b'a'..=b'z' => Some(byte - b'a' + 1),
        b'[' => Some(27),
        b'\\' => Some(28),
        b']' => Some(29),
        b'^' => Some(30),
        b'_' => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (text, expect) in [
            ("", Some(&[16, 17][..])),
            ("ctrl-p,ctrl-q", Some(&[16, 17])),
            ("a", Some(b"a")),
            ("ctrl-@,ctrl-[,x", Some(&[0, 27, b'x'])),
            ("DEL", Some(&[127])),
            ("ctrl-", None),
            ("ctrl-P", None),
            ("ab", None),
            ("a,", None),
        ] {
            let parsed = DetachKeys::parse(text).map(|keys| keys.keys);
            assert_eq!(parsed.ok().as_deref(), expect, "{text}");
        }
        assert_eq!(DetachKeys::to_base64("ctrl-a,ctrl-b").unwrap(), "AQI=");
        assert_eq!(DetachKeys::to_base64("").unwrap(), "");
        assert_eq!(DetachKeys::parse("xy").unwrap_err().message, "Invalid detach keys (xy) provided");
    }

    #[test]
    fn feeding() {
        for (keys, inputs, passed, detached) in [
            ("", &["ab\x10", "\x11cd"][..], "ab", true),
            ("", &["ab\x10", "cd"], "ab\x10cd", false),
            ("", &["\x10\x10\x11"], "\x10", true),
            ("", &["\x10"], "", false),
            ("a,a,b", &["aaab"], "a", true),
            ("a,b,a,c", &["ababac"], "ab", true),
            ("x", &["x"], "", true),
        ] {
            let mut keys = DetachKeys::parse(keys).unwrap();
            let mut output = Vec::new();
            let end = inputs.iter().any(|input| keys.feed(input.as_bytes(), &mut output));
            assert_eq!((output.as_slice(), end), (passed.as_bytes(), detached), "{inputs:?}");
        }
    }
}
