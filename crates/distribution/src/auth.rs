//! Credentials as clients send them in `X-Registry-Auth`.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use serde::Deserialize;

/// A user's credentials for one registry. Every field may be empty.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// User name for basic authentication and for the token server.
    pub username: String,
    /// Password that goes with it.
    pub password: String,
    /// `user:password` in base64, instead of the two.
    pub auth: String,
    /// The registry these are for; informative.
    pub serveraddress: String,
    /// An OAuth 2 refresh token.
    pub identitytoken: String,
    /// A bearer token, used as it is.
    pub registrytoken: String,
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

impl AuthConfig {
    /// Reads the value of an `X-Registry-Auth` header: JSON in base64 (either alphabet, padded or not). Empty values and
    /// an empty object are no credentials; so is what cannot be read, as Docker does.
    pub fn from_header(value: &str) -> Option<AuthConfig> {
        let value = value.trim();
        let bytes = URL_SAFE.decode(value).or_else(|_| STANDARD.decode(value)).ok()?;
        let auth: AuthConfig = serde_json::from_slice(&bytes).ok()?;
        (!auth.is_empty()).then_some(auth)
    }

    /// No usable credentials at all?
    pub fn is_empty(&self) -> bool {
        self.user_and_password().is_none() && self.identitytoken.is_empty() && self.registrytoken.is_empty()
    }

    /// User and password, from the two fields or from `auth`.
    pub(crate) fn user_and_password(&self) -> Option<(String, String)> {
        if !self.username.is_empty() {
            return Some((self.username.clone(), self.password.clone()));
        }
        let bytes = STANDARD.decode(self.auth.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        (!user.is_empty()).then(|| (user.to_owned(), password.trim_end_matches('\0').to_owned()))
    }

    /// The `Authorization` value of basic authentication.
    pub(crate) fn basic(&self) -> Option<String> {
        let (user, password) = self.user_and_password()?;
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig").field("serveraddress", &self.serveraddress).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_forms() {
        let json = r#"{"username":"me","password":"s?~ecret","serveraddress":"h"}"#;
        for text in [URL_SAFE.encode(json), STANDARD.encode(json), STANDARD.encode(json).trim_end_matches('=').into()] {
            let auth = AuthConfig::from_header(&text).unwrap();
            assert_eq!(auth.user_and_password(), Some(("me".into(), "s?~ecret".into())));
            assert!(!format!("{auth:?}").contains("ecret"));
        }
        for text in ["", "e30=", "e30", "%%%", "bm9qc29u"] {
            assert_eq!(AuthConfig::from_header(text), None, "{text}");
        }
        let auth = AuthConfig { auth: STANDARD.encode("u:p:q"), ..AuthConfig::default() };
        assert_eq!(auth.basic(), Some(format!("Basic {}", STANDARD.encode("u:p:q"))));
    }
}
