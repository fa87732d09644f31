//! What people type to name an image, with Docker's grammar and normalisation.
//!
//! ```text
//! httpd                     docker.io/library/httpd
//! user/tool:1               docker.io/user/tool:1
//! localhost/tool            localhost/tool
//! host:5000/a/b@sha256:…    host:5000/a/b@sha256:…
//! ```
//!
//! The first part is a host when it has a `.` or `:`, an upper-case letter, or is `localhost`; else it belongs to the
//! path on docker.io.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, DigestError};

/// The domain of names without one.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const PATH_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// A repository, perhaps with a tag, a digest, or both. Always normalised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `docker.io`, `host:5000`, `[::1]:5000`.
    pub domain: String,
    /// `library/httpd`.
    pub path: String,
    /// `2.4`.
    pub tag: Option<String>,
    /// The manifest's digest.
    pub digest: Option<Digest>,
}

/// Why a text is no reference; the texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Against the grammar.
    #[error("invalid reference format")]
    Format,
    /// The path has upper-case letters.
    #[error("invalid reference format: repository name ({path}) must be lowercase")]
    Uppercase {
        /// The path as it would be used.
        path: String,
    },
    /// 64 hex digits, which would be taken for an id.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId {
        /// What was given.
        name: String,
    },
    /// A path longer than 255 characters.
    #[error("repository name must not be more than {PATH_LIMIT} characters")]
    TooLong,
    /// The part after `@`.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Reference {
    /// Parses and normalises.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId { name: text.into() });
        }
        let (domain, remainder) = split_domain(text);
        let before_colon = remainder.split(':').next().unwrap_or_default();
        if before_colon.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase { path: before_colon.into() });
        }

        let (name_and_tag, digest) = match remainder.split_once('@') {
            Some((left, right)) => (left, Some(right)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match name_and_tag.split_once(':') {
            Some((left, right)) => (left, Some(right)),
            None => (name_and_tag, None),
        };
        let sound = is_domain(&domain)
            && path.split('/').all(is_path_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest_shaped);
        if !sound {
            return Err(ReferenceError::Format);
        }
        if path.len() > PATH_LIMIT {
            return Err(ReferenceError::TooLong);
        }
        let digest = digest.map(Digest::parse).transpose()?;
        Ok(Reference { path: path.into(), tag: tag.map(Into::into), digest, domain })
    }

    /// `docker.io/library/httpd`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as people write it: `httpd`, `user/tool`, `host:5000/a`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(short) if !short.contains('/') => short.into(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as people write it: `httpd:2.4`, `httpd@sha256:…`.
    pub fn familiar(&self) -> String {
        self.with_suffixes(self.familiar_name())
    }

    /// The tag, or `latest`.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// The same, with the tag `latest` when it had neither tag nor digest.
    pub fn with_default_tag(&self) -> Reference {
        let mut reference = self.clone();
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some("latest".into());
        }
        reference
    }

    /// The same repository with this tag and no digest. `None` when the tag is against the grammar.
    pub fn with_tag(&self, tag: &str) -> Option<Reference> {
        is_tag(tag).then(|| Reference { tag: Some(tag.into()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn with_suffixes(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// Domain and the rest, with the default domain and `library/` put in.
fn split_domain(text: &str) -> (String, String) {
    let (domain, rest) = match text.split_once('/') {
        Some((first, rest)) if first == LEGACY_DOMAIN || first == DEFAULT_DOMAIN => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        return (domain.into(), format!("{OFFICIAL_PREFIX}{rest}"));
    }
    (domain.into(), rest.into())
}

/// `host[:port]` or `[ipv6][:port]`.
fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => {
            let address_sound = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !address_sound {
                return false;
            }
            match after.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if after.is_empty() => (None, None),
                None => return false,
            }
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes.first().is_some_and(|b| *b != b'-')
            && bytes.last().is_some_and(|b| *b != b'-')
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+` runs joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    bytes
        .split(|b| alphanumeric(b))
        .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-'))
}

/// A word character, then up to 127 of word characters, `.` and `-`.
fn is_tag(tag: &str) -> bool {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= TAG_LIMIT
        && bytes.first().is_some_and(word)
        && bytes.iter().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// `algorithm:hex` with at least 32 digits; which algorithm is decided later, as Docker does.
fn is_digest_shaped(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let part = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part) && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffixes(self.name()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        let text = String::deserialize(deserializer)?;
        Reference::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn normalises() {
        let at = format!("@sha256:{HEX}");
        for (text, full, familiar) in [
            ("httpd", "docker.io/library/httpd", "httpd"),
            ("httpd:2.4", "docker.io/library/httpd:2.4", "httpd:2.4"),
            ("library/httpd", "docker.io/library/httpd", "httpd"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("docker.io/httpd", "docker.io/library/httpd", "httpd"),
            ("docker.io/library/httpd", "docker.io/library/httpd", "httpd"),
            ("index.docker.io/httpd", "docker.io/library/httpd", "httpd"),
            ("index.docker.io/user/tool", "docker.io/user/tool", "user/tool"),
            ("user/tool:1", "docker.io/user/tool:1", "user/tool:1"),
            ("localhost", "docker.io/library/localhost", "localhost"),
            ("localhost/tool", "localhost/tool", "localhost/tool"),
            ("localhost:5000/tool", "localhost:5000/tool", "localhost:5000/tool"),
            ("HOST/tool", "HOST/tool", "HOST/tool"),
            ("host.example/tool:T_.-x", "host.example/tool:T_.-x", "host.example/tool:T_.-x"),
            ("host:5000/a/b/c", "host:5000/a/b/c", "host:5000/a/b/c"),
            ("127.0.0.1:5000/a:5000", "127.0.0.1:5000/a:5000", "127.0.0.1:5000/a:5000"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            ("[fe80::1]/a", "[fe80::1]/a", "[fe80::1]/a"),
            ("a__b", "docker.io/library/a__b", "a__b"),
            ("a---b.c", "docker.io/library/a---b.c", "a---b.c"),
            ("foo_bar.com:8080", "docker.io/library/foo_bar.com:8080", "foo_bar.com:8080"),
            ("xn--n3h.com/myimage", "xn--n3h.com/myimage", "xn--n3h.com/myimage"),
        ] {
            let reference = Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar), "{text}");
            let with_digest = Reference::parse(&format!("{text}{at}")).unwrap();
            assert_eq!(with_digest.to_string(), format!("{full}{at}"));
            assert_eq!(Reference::parse(full).unwrap(), reference, "{full} again");
            assert_eq!(Reference::parse(familiar).unwrap(), reference, "{familiar} again");
        }
    }

    #[test]
    fn refuses_with_dockers_words() {
        let invalid = "invalid reference format";
        let long_tag = format!("a:{}", "x".repeat(129));
        let long_path = format!("a/{}", "x".repeat(254));
        let long_short_tag = format!("{}:{}", "x".repeat(256), "x".repeat(129));
        let upper_hex = format!("a@sha256:{}", HEX.to_uppercase());
        let sha512 = format!("a@sha512:{HEX}{HEX}");
        let short_hex = format!("a@sha256:{}", &HEX[..40]);
        let two_tags = format!("a@sha256:{HEX}:b");
        for (text, error) in [
            ("", invalid),
            (":tag", invalid),
            ("@", invalid),
            ("/", invalid),
            ("//a", invalid),
            ("a/", invalid),
            ("a//b", invalid),
            ("docker.io/", invalid),
            ("a:", invalid),
            ("a:.b", invalid),
            ("a:b:c", invalid),
            ("a:b/c", invalid),
            ("-a", invalid),
            ("a-", invalid),
            ("a..b", invalid),
            ("a___b", invalid),
            ("a._b", invalid),
            ("a b", invalid),
            ("a\0b", invalid),
            ("\u{e4}", invalid),
            ("a@", invalid),
            ("a@sha256:", invalid),
            ("a@sha256:abc", invalid),
            ("-host.com/a", invalid),
            ("ho_st.com:5000/a", invalid),
            ("host:port/a", invalid),
            ("[::1/a", invalid),
            ("[]:5/a", invalid),
            ("https://host/a", invalid),
            (long_tag.as_str(), invalid),
            (two_tags.as_str(), invalid),
            (long_short_tag.as_str(), invalid),
            ("Httpd", "invalid reference format: repository name (library/Httpd) must be lowercase"),
            ("host.com/A/b:T", "invalid reference format: repository name (A/b) must be lowercase"),
            (long_path.as_str(), "repository name must not be more than 255 characters"),
            (upper_hex.as_str(), "invalid checksum digest format"),
            (sha512.as_str(), "unsupported digest algorithm"),
            (short_hex.as_str(), "invalid checksum digest length"),
        ] {
            assert_eq!(Reference::parse(text).map_err(|e| e.to_string()), Err(error.to_owned()), "{text:?}");
        }
        assert_eq!(
            Reference::parse(HEX).unwrap_err().to_string(),
            format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings")
        );
        // A tag that is all hex, 128 characters of tag and 255 of path are fine.
        assert!(Reference::parse(&format!("a:{HEX}{HEX}")).is_ok());
        assert!(Reference::parse(&format!("a/{}", "x".repeat(253))).is_ok());
    }

    #[test]
    fn tags_and_digests() {
        let reference = Reference::parse("httpd").unwrap();
        assert_eq!(reference.tag_or_latest(), "latest");
        assert_eq!(reference.with_default_tag().familiar(), "httpd:latest");
        assert_eq!(reference.with_tag("1").unwrap().familiar(), "httpd:1");
        assert_eq!(reference.with_tag("/"), None);
        let pinned = reference.with_digest(Digest::of(b""));
        assert_eq!(pinned.with_default_tag().familiar(), format!("httpd@sha256:{HEX}"));
    }
}
