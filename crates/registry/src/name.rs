//! Names of repositories and tags (distribution-spec, "Pulling manifests").

use std::borrow::Borrow;
use std::fmt;

use crate::digest::printable;
use crate::error::{Error, Result};

/// Longest name of a repository, in bytes; with `/` written as `+` it is also the name of a directory.
const LONGEST: usize = 255;

/// `team/project/image`: components of `[a-z0-9]+` joined by `.`, `_`, `__` or dashes, separated by slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// # Errors
    /// [`Error::NameInvalid`]
    pub fn parse(text: &str) -> Result<Name> {
        let valid = text.len() <= LONGEST && text.split('/').all(is_component);
        if valid { Ok(Name(text.into())) } else { Err(Error::NameInvalid { name: printable(text) }) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its directory's name: one component, whatever the name.
    pub(crate) fn directory(&self) -> String {
        self.0.replace('/', "+")
    }

    pub(crate) fn from_directory(directory: &str) -> Option<Name> {
        if directory.contains('/') {
            return None;
        }
        Name::parse(&directory.replace('+', "/")).ok()
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let begin = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        if at == begin {
            return false;
        }
        if at == bytes.len() {
            return true;
        }
        match bytes[at] {
            b'.' => at += 1,
            b'_' => at += if bytes.get(at + 1) == Some(&b'_') { 2 } else { 1 },
            b'-' => {
                while bytes.get(at) == Some(&b'-') {
                    at += 1;
                }
            }
            _ => return false,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

impl Tag {
    /// # Errors
    /// [`Error::ManifestInvalid`]: the specification has no code of its own for it.
    pub fn parse(text: &str) -> Result<Tag> {
        let valid = (1..=128).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if valid {
            Ok(Tag(text.into()))
        } else {
            Err(Error::ManifestInvalid { detail: format!("invalid tag: {}", printable(text)) })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "library/busybox", "a.b_c__d--e/f", "docker.io/library/x", "0/1", &"a".repeat(255)] {
            let name = Name::parse(good).unwrap();
            assert_eq!(Name::from_directory(&name.directory()), Some(name));
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", ".", "..", "../x", "a/../b", "a/.", "_a", "a_", "a___b", "a..b", "a+b",
            "a%2fb", "a b", "ä", "a\0", "-a", "a-", &long,
        ] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags() {
        for good in ["latest", "v1.2-rc_3", "_x", &"a".repeat(128)] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "a/b", "a:b", "..", "ä", &"a".repeat(129)] {
            assert!(Tag::parse(bad).is_err(), "{bad}");
        }
    }
}
