//! Tokens: JSON Web Tokens signed by a key of the registry's own (RFC 7519, ES256 of RFC 7518; Docker's token
//! specification for the claims).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::durable;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::Scope;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};

/// How long a token holds, in seconds: docker asks anew when it ends.
pub(crate) const LIFETIME: u64 = 300;
/// Clocks of one host do not differ; this is for the second that is not over.
const SKEW: u64 = 5;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    /// The user; empty for nobody.
    pub sub: String,
    pub aud: String,
    /// Seconds since 1970.
    pub exp: u64,
    pub nbf: u64,
    pub iat: u64,
    pub jti: String,
    pub access: Vec<Scope>,
}

/// Why a token is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("token is malformed")]
    Malformed,
    #[error("token signature is invalid")]
    Signature,
    #[error("token has expired or is not valid yet")]
    Time,
    #[error("token is for another registry")]
    Audience,
}

/// The key that signs and verifies.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    header: String,
    random: SystemRandom,
    issuer: String,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

impl TokenKey {
    /// Reads the key at `path`, a PKCS#8 document; makes it on first use.
    pub fn open(path: &Path, issuer: &str) -> Result<TokenKey> {
        let failed = |detail: &str| Error::Configuration { path: path.to_owned(), line: 1, detail: detail.to_owned() };
        let random = SystemRandom::new();
        let document = match std::fs::read(path) {
            Ok(document) => document,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .map_err(|_| failed("a key cannot be made"))?;
                durable::write_file(path, document.as_ref())?;
                document.as_ref().to_vec()
            }
            Err(source) => return Err(Error::Io { op: "read", path: path.to_owned(), source }),
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &random)
            .map_err(|_| failed("it is not a P-256 key in PKCS#8"))?;
        let mut kid = Digest::of(Algorithm::Sha256, pair.public_key().as_ref()).hex();
        kid.truncate(16);
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{kid}"}}"#));
        Ok(TokenKey { pair, header, random, issuer: issuer.to_owned() })
    }

    /// A token for `user` (empty: nobody) that says what `access` says. The token, and its claims.
    pub fn issue(&self, user: &str, access: Vec<Scope>) -> Result<(String, Claims)> {
        let failed = || Error::Configuration { path: "token".into(), line: 0, detail: "cannot be signed".into() };
        let mut id = [0; 16];
        self.random.fill(&mut id).map_err(|_| failed())?;
        let now = now();
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: user.to_owned(),
            aud: self.issuer.clone(),
            exp: now + LIFETIME,
            nbf: now.saturating_sub(SKEW),
            iat: now,
            jti: crate::digest::encode(&id),
            access,
        };
        let payload = serde_json::to_vec(&claims).expect("claims are plain data");
        let mut token = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&self.random, token.as_bytes()).map_err(|_| failed())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature.as_ref()));
        Ok((token, claims))
    }

    /// What a token says, if it is ours and holds now. Its header is not believed, but must be the one that we write.
    pub fn verify(&self, token: &str) -> std::result::Result<Claims, TokenError> {
        self.verify_at(token, now())
    }

    fn verify_at(&self, token: &str, now: u64) -> std::result::Result<Claims, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if header != self.header {
            return Err(TokenError::Signature);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
        if now > claims.exp + SKEW || now < claims.nbf {
            return Err(TokenError::Time);
        }
        if claims.aud != self.issuer || claims.iss != self.issuer {
            return Err(TokenError::Audience);
        }
        Ok(claims)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let directory = std::env::temp_dir().join(format!("hoist-token-{}", std::process::id()));
        let path = directory.join("token.key");
        let key = TokenKey::open(&path, "hoist").unwrap();
        let access = Scope::parse_all("repository:a:pull");
        let (token, claims) = key.issue("alice", access.clone()).unwrap();
        let again = TokenKey::open(&path, "hoist").unwrap();
        assert_eq!(again.verify(&token), Ok(claims.clone()));
        assert_eq!(again.verify_at(&token, claims.exp + 60), Err(TokenError::Time));
        assert_eq!(again.verify_at(&token, claims.nbf - 1), Err(TokenError::Time));
        let other = TokenKey::open(&path, "other").unwrap();
        assert_eq!(other.verify(&token), Err(TokenError::Audience));
        let parts: Vec<&str> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let more = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Claims { sub: "root".into(), ..claims }).unwrap());
        for (bad, expect) in [
            (format!("{none}.{}.", parts[1]), TokenError::Signature),
            (format!("{}.{more}.{}", parts[0], parts[2]), TokenError::Signature),
            (format!("{}.{}", parts[0], parts[1]), TokenError::Malformed),
            (format!("{}.{}.*", parts[0], parts[1]), TokenError::Malformed),
            (String::new(), TokenError::Malformed),
        ] {
            assert_eq!(key.verify(&bad), Err(expect), "{bad}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
