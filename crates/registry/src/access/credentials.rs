//! The `Authorization` header (RFC 7617, RFC 6750).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a client shows.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic { user: String, password: String },
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Basic { user, .. } => write!(f, "Basic({user:?}, …)"),
            Credentials::Bearer(_) => f.write_str("Bearer(…)"),
        }
    }
}

/// A header that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed Authorization header")]
pub struct MalformedCredentials;

/// Longest header that is looked at, in bytes.
const LONGEST: usize = 16 << 10;

impl Credentials {
    /// Reads the header's value.
    pub fn parse(header: &str) -> Result<Credentials, MalformedCredentials> {
        if header.len() > LONGEST {
            return Err(MalformedCredentials);
        }
        let (scheme, value) = header.trim().split_once(' ').ok_or(MalformedCredentials)?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !value.is_empty() {
            return Ok(Credentials::Bearer(value.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(MalformedCredentials);
        }
        let bytes = STANDARD.decode(value).map_err(|_| MalformedCredentials)?;
        let text = String::from_utf8(bytes).map_err(|_| MalformedCredentials)?;
        let (user, password) = text.split_once(':').ok_or(MalformedCredentials)?;
        if user.is_empty() || text.contains('\0') {
            return Err(MalformedCredentials);
        }
        Ok(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let basic =
            |user: &str, password: &str| Ok(Credentials::Basic { user: user.into(), password: password.into() });
        let encode = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (header, expect) in [
            (encode("a:b:c"), basic("a", "b:c")),
            (encode("a:").replace("Basic", "bAsIc "), basic("a", "")),
            ("Bearer x.y.z".into(), Ok(Credentials::Bearer("x.y.z".into()))),
            (encode(":b"), Err(MalformedCredentials)),
            (encode("ab"), Err(MalformedCredentials)),
            (encode("a\0:b"), Err(MalformedCredentials)),
            ("Basic ***".into(), Err(MalformedCredentials)),
            ("Bearer ".into(), Err(MalformedCredentials)),
            ("Digest x".into(), Err(MalformedCredentials)),
            (String::new(), Err(MalformedCredentials)),
            (format!("Bearer {}", "x".repeat(20_000)), Err(MalformedCredentials)),
        ] {
            assert_eq!(Credentials::parse(&header), expect, "{header}");
        }
    }
}
