//! Who is asking, and may he?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::{HeaderMap, StatusCode};
use registry::Name;
use registry::access::{Action, Credentials, Passwords, Principal, Rules, Scope};

use crate::connection::Peer;
use crate::error::Failure;
use crate::reply::header;
use crate::server::Shared;
use crate::settings::AuthMode;

/// The name of the service in challenges and tokens.
pub(crate) const SERVICE: &str = "hoist-registry";

/// What a token for the collection of garbage names: `registry:gc:*`.
pub(crate) const COLLECT: &str = "gc";

/// Who asks, and what his token is for, if it is one.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub principal: Principal,
    scopes: Option<Vec<Scope>>,
}

impl Identity {
    fn anonymous() -> Identity {
        Identity { principal: Principal::Anonymous, scopes: None }
    }

    pub fn name(&self) -> &str {
        self.principal.name()
    }

    /// By the rules, and by the token.
    pub fn may(&self, rules: &Rules, name: &Name, action: Action) -> bool {
        self.token_covers(name, action) && rules.allows(&self.principal, name, action)
    }

    /// May he look after the registry as a whole: by the rules, and by a token that was asked for it?
    pub fn may_collect(&self, rules: &Rules) -> bool {
        let covered = self.scopes.as_ref().is_none_or(|scopes| {
            scopes.iter().any(|scope| scope.kind == "registry" && scope.name == COLLECT && !scope.actions.is_empty())
        });
        covered && rules.allows_everywhere(&self.principal, Action::Delete)
    }

    fn token_covers(&self, name: &Name, action: Action) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| {
            scopes.iter().any(|scope| {
                scope.kind == "repository"
                    && scope.name == name.as_str()
                    && scope.actions.iter().any(|granted| granted == action.name() || granted == "*")
            })
        })
    }
}

/// What a client is told that it lacks.
pub(crate) struct Challenge<'a> {
    shared: &'a Shared,
    headers: &'a HeaderMap,
    peer: &'a Peer,
}

impl<'a> Challenge<'a> {
    pub fn new(shared: &'a Shared, headers: &'a HeaderMap, peer: &'a Peer) -> Challenge<'a> {
        Challenge { shared, headers, peer }
    }

    fn realm(&self) -> String {
        let base = self.shared.settings.external_url.clone().unwrap_or_else(|| {
            let scheme = if self.peer.tls { "https" } else { "http" };
            // Only the client itself reads it; what cannot stand in a header's quotes is left out.
            let host = header(self.headers, "host").unwrap_or("localhost");
            let host: String =
                host.chars().filter(|c| c.is_ascii_alphanumeric() || ".:-[]_".contains(*c)).take(256).collect();
            format!("{scheme}://{host}")
        });
        format!("{}/token", base.trim_end_matches('/'))
    }

    /// 401.
    pub fn failure(&self, scope: Option<&str>, error: Option<&str>, message: &str) -> Failure {
        let value = match self.shared.settings.auth {
            AuthMode::Basic => format!("Basic realm=\"{SERVICE}\", charset=\"UTF-8\""),
            AuthMode::Token => {
                let mut value = format!("Bearer realm=\"{}\",service=\"{SERVICE}\"", self.realm());
                for (key, text) in [("scope", scope), ("error", error)] {
                    if let Some(text) = text {
                        value.push_str(&format!(",{key}=\"{text}\""));
                    }
                }
                value
            }
        };
        Failure::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message).with("WWW-Authenticate", value)
    }

    /// What to answer to one who may not do it: a login may help, or nothing does.
    pub fn refuse(&self, identity: &Identity, rules: &Rules, name: &Name, action: Action) -> Failure {
        if self.shared.passwords.is_none() {
            return Failure::denied(match action {
                Action::Pull => "requested access to the resource is denied",
                _ => {
                    "requested access to the resource is denied: this registry has no users; \
                     start it with --htpasswd, or with --allow-anonymous-push on a loopback address"
                }
            });
        }
        let actions = match action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
            Action::Delete => "delete",
        };
        let scope = format!("repository:{name}:{actions}");
        let allowed = rules.allows(&identity.principal, name, action);
        match (&identity.principal, identity.scopes.is_some()) {
            (_, true) if allowed => self.failure(Some(&scope), Some("insufficient_scope"), "authentication required"),
            (Principal::Anonymous, _) => self.failure(Some(&scope), None, "authentication required"),
            _ => Failure::denied("requested access to the resource is denied"),
        }
    }
}

impl Shared {
    /// Reads the `Authorization` header. Without users there is nobody to be; what clients send is ignored then.
    ///
    /// # Errors
    /// 401 for a wrong password, an old token, a header that is none.
    pub async fn identify(self: &Arc<Self>, headers: &HeaderMap, peer: &Peer) -> Result<Identity, Failure> {
        let Some(passwords) = &self.passwords else { return Ok(Identity::anonymous()) };
        let challenge = Challenge::new(self, headers, peer);
        let fail = |message: &str, error: Option<&str>| {
            self.metrics.logins_failed.fetch_add(1, Ordering::Relaxed);
            Err(challenge.failure(None, error, message))
        };
        let Some(value) = headers.get("authorization") else { return Ok(Identity::anonymous()) };
        let credentials = value.to_str().ok().and_then(|text| Credentials::parse(text).ok());
        match credentials {
            None => fail("malformed Authorization header", None),
            Some(Credentials::Bearer(token)) => match self.token_key.verify(&token) {
                Ok(claims) => {
                    let principal = match claims.sub.as_str() {
                        "" => Principal::Anonymous,
                        user => Principal::User(user.to_owned()),
                    };
                    Ok(Identity { principal, scopes: Some(claims.access) })
                }
                Err(error) => fail(&error.to_string(), Some("invalid_token")),
            },
            Some(Credentials::Basic { user, password }) => {
                match self.verify(&passwords.get(), &user, password).await? {
                    true => Ok(Identity { principal: Principal::User(user), scopes: None }),
                    false => fail("incorrect username or password", None),
                }
            }
        }
    }

    /// Is it this user's password? Hashing is slow on purpose: one at a time, in a queue that holds no thread and has an end.
    ///
    /// # Errors
    /// 429 when too many are waiting.
    pub async fn verify(&self, passwords: &Arc<Passwords>, user: &str, password: String) -> Result<bool, Failure> {
        if passwords.remembers(user, &password) {
            return Ok(true);
        }
        let too_many =
            |_| Failure::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "too many logins at the same time");
        let _place = self.logins.try_acquire().map_err(too_many)?;
        let turn = Arc::clone(&self.hashing).acquire_owned().await.expect("it is never closed");
        let (passwords, user) = (Arc::clone(passwords), user.to_owned());
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            passwords.verify(&user, &password)
        });
        Ok(verified.await.unwrap_or(false))
    }
}
