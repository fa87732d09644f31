//! Who may do what: rules, passwords, tokens.
//!
//! ```text
//!  Authorization header ─▶ Credentials ─┬─ Basic ─▶ Passwords (htpasswd) ─▶ Principal ─▶ Rules ─▶ allowed?
//!                                       └─ Bearer ─▶ TokenKey: signature, time, audience ─▶ its scopes ─▶ allowed?
//!  GET /token ─▶ Principal ─▶ scopes asked for, cut down to what Rules allow ─▶ signed token
//! ```

mod credentials;
mod glob;
mod passwords;
mod rules;
mod scope;
mod token;

pub use credentials::{Credentials, MalformedCredentials};
pub use glob::Glob;
pub use passwords::Passwords;
pub use rules::{Action, CacheRule, Defaults, Rules, parse_duration};
pub use scope::Scope;
pub use token::{Claims, TokenError, TokenKey};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    Anonymous,
    User(String),
}

impl Principal {
    /// The user's name; nothing for nobody.
    pub fn name(&self) -> &str {
        match self {
            Principal::Anonymous => "",
            Principal::User(name) => name,
        }
    }
}
