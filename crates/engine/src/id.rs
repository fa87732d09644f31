//! Identifiers: 64 lower-case hexadecimal digits from 32 random bytes; people see the first 12.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Random bytes as hexadecimal digits, two per byte.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0u8; bytes];
    let mut done = 0;
    while done < random.len() {
        // The pool is ready long before a daemon starts; only a signal can interrupt.
        if let Ok(count) = rustix::rand::getrandom(&mut random[done..], rustix::rand::GetRandomFlags::empty()) {
            done += count;
        }
    }
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A container's identifier; cheap to copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    /// A new one. As in Docker, its short form is never a decimal number, which would be mistaken for a user id.
    pub(crate) fn random() -> ContainerId {
        loop {
            let hex = random_hex(32);
            if hex[..12].bytes().any(|byte| !byte.is_ascii_digit()) {
                return ContainerId(hex.into());
            }
        }
    }

    /// Only 64 lower-case hexadecimal digits are one; it is used as a file name.
    pub fn parse(text: &str) -> Option<ContainerId> {
        let digits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        digits.then(|| ContainerId(text.into()))
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for ContainerId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<ContainerId, &'static str> {
        ContainerId::parse(&text).ok_or("not 64 hexadecimal digits")
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> String {
        id.as_str().to_owned()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        let id = ContainerId::random();
        assert_eq!(ContainerId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.short().len(), 12);
        for bad in ["", "ab", &"A".repeat(64), &"../".repeat(22)[..64]] {
            assert_eq!(ContainerId::parse(bad), None);
        }
    }
}
