//! The key sequence that detaches from a container.

/// Ctrl-P Ctrl-Q.
pub(crate) const DEFAULT: [u8; 2] = [16, 17];

/// Bytes of a sequence such as `ctrl-p,ctrl-q` or `a,b`; `None` for what is none.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    text.split(',')
        .map(|key| {
            if let [byte] = key.as_bytes() {
                return Some(*byte);
            }
            match key.strip_prefix("ctrl-")?.as_bytes() {
                [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                [b'@'] => Some(0),
                [b'['] => Some(27),
                [b'\\'] => Some(28),
                [b']'] => Some(29),
                [b'^'] => Some(30),
                [b'_'] => Some(31),
                _ => None,
            }
        })
        .collect()
}

/// Watches typed bytes for the sequence; what may still become it is held back.
pub(crate) struct Watch {
    keys: Vec<u8>,
    matched: usize,
}

impl Watch {
    pub(crate) fn new(keys: Vec<u8>) -> Watch {
        Watch { keys, matched: 0 }
    }

    /// Bytes to pass on, and true when the sequence is complete (the rest is dropped).
    pub(crate) fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(byte) {
                self.matched = 1;
                if self.keys.len() == 1 {
                    self.matched = 0;
                    return (out, true);
                }
            } else {
                out.push(*byte);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        assert_eq!(parse("ctrl-p,ctrl-q"), Some(DEFAULT.to_vec()));
        assert_eq!(parse("a,ctrl-@"), Some(vec![b'a', 0]));
        assert_eq!(parse("ctrl-1"), None);
        assert_eq!(parse("abc"), None);
    }

    #[test]
    fn watching() {
        let mut watch = Watch::new(DEFAULT.to_vec());
        assert_eq!(watch.feed(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(watch.feed(&[16]), (vec![], false));
        assert_eq!(watch.feed(b"x"), (vec![16, b'x'], false));
        assert_eq!(watch.feed(&[16, 16, 17, 1]), (vec![16], true));
    }
}
