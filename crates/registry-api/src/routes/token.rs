//! The token server (Docker's token specification, `GET` and the OAuth2 `POST`).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use hyper::StatusCode;
use registry::Name;
use registry::access::{Action, Principal, Scope};
use serde_json::json;

use super::receive;
use crate::admission::{COLLECT, SERVICE};
use crate::dispatch::{Answer, Call};
use crate::error::Failure;
use crate::query::Query;
use crate::reply::{self, With};

/// Largest form in bytes.
const FORM: u64 = 64 << 10;

/// `GET /token?service=…&scope=…`, with a name and a password, or without for what is open to everybody.
pub(crate) async fn get(call: &Call) -> Answer {
    let scopes: Vec<Scope> = call.query.all("scope").flat_map(Scope::parse_all).collect();
    grant(call, &call.identity.principal, call.query.get("service"), scopes)
}

/// `POST /token` with a form: `grant_type=password`.
pub(crate) async fn post(call: &mut Call) -> Answer {
    let Some(body) = call.body.take() else { return Err(Failure::unsupported("a form without a body")) };
    let form = receive::small(&call.shared, body, FORM).await?;
    let form = Query::parse(&String::from_utf8_lossy(&form));
    let refuse = |status: StatusCode, error: &str| Ok(reply::json(status, &json!({"error": error})));
    if form.get("grant_type") != Some("password") {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let (Some(passwords), Some(user), Some(password)) =
        (&call.shared.passwords, form.get("username"), form.get("password"))
    else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_request");
    };
    if !call.shared.verify(&passwords.get(), user, password.to_owned()).await? {
        call.shared.metrics.logins_failed.fetch_add(1, Ordering::Relaxed);
        return Err(Failure::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password"));
    }
    let scopes: Vec<Scope> = form.all("scope").flat_map(Scope::parse_all).collect();
    grant(call, &Principal::User(user.to_owned()), form.get("service"), scopes)
}

/// A token for what of `scopes` the rules allow.
fn grant(call: &Call, who: &Principal, service: Option<&str>, scopes: Vec<Scope>) -> Answer {
    if call.shared.passwords.is_none() {
        return Err(Failure::unsupported("this registry has no users and gives no tokens"));
    }
    if service.is_some_and(|service| service != SERVICE) {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", "tokens are for this registry alone"));
    }
    let allowed = |scope: &Scope| -> Option<Scope> {
        if scope.kind == "registry" && scope.name == COLLECT {
            return call.rules.allows_everywhere(who, Action::Delete).then(|| scope.clone());
        }
        let name = Name::parse(&scope.name).ok()?;
        if scope.kind != "repository" {
            return None;
        }
        let all = [Action::Pull, Action::Push, Action::Delete];
        let asked = |action: &Action| scope.actions.iter().any(|asked| asked == action.name() || asked == "*");
        let actions: BTreeSet<&str> = all
            .iter()
            .filter(|action| asked(action) && call.rules.allows(who, &name, **action))
            .map(|action| action.name())
            .collect();
        let actions = actions.into_iter().map(str::to_owned).collect();
        Some(Scope { kind: scope.kind.clone(), name: scope.name.clone(), actions })
    };
    let access: Vec<Scope> = scopes.iter().filter_map(allowed).filter(|scope| !scope.actions.is_empty()).collect();
    let scope = access.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let (token, claims) = call.shared.token_key.issue(who.name(), access)?;
    let document = json!({
        "token": token,
        "access_token": token,
        "scope": scope,
        "expires_in": claims.exp - claims.iat,
        "issued_at": rfc3339(claims.iat),
    });
    Ok(reply::json(StatusCode::OK, &document).with("Cache-Control", "no-store"))
}

/// Seconds since 1970 as `2026-11-22T18:00:00Z`.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Days to a date of the Gregorian calendar, counted from 1 March of year 0 (Howard Hinnant, "chrono-Compatible
    // Low-Level Date Algorithms").
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates() {
        for (seconds, expect) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_371_496, "2026-11-22T18:18:16Z"),
        ] {
            assert_eq!(rfc3339(seconds), expect);
        }
    }
}
