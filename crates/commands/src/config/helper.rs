//! `docker-credential-NAME`: programs that keep credentials in a key ring. The protocol is an action as argument, a
//! server or a document on stdin, a document on stdout.

use std::io::Write;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use super::Credentials;
use crate::failure::{Failure, Outcome};

/// User name that stands for "the secret is an identity token".
const TOKEN: &str = "<token>";
/// What a helper says when it has nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks for a server's credentials; empty ones when the helper has none.
pub(super) fn get(name: &str, server: &str) -> Outcome<Credentials> {
    const DOING: &str = "error getting credentials";
    let text = match call(name, "get", server, DOING)? {
        Ok(text) => text,
        Err(_) => return Ok(Credentials::default()),
    };
    let answer: Answer = serde_json::from_str(&text).map_err(|e| Failure::new(format!("{DOING} - err: {e}")))?;
    if answer.username == TOKEN {
        return Ok(Credentials { identitytoken: answer.secret, ..Credentials::default() });
    }
    Ok(Credentials { username: answer.username, password: answer.secret, ..Credentials::default() })
}

/// Keeps credentials.
pub(super) fn store(name: &str, server: &str, credentials: &Credentials) -> Outcome {
    let (username, secret) = match credentials.identitytoken.as_str() {
        "" => (credentials.username.as_str(), credentials.password.as_str()),
        token => (TOKEN, token),
    };
    let document = json!({ "ServerURL": server, "Username": username, "Secret": secret }).to_string();
    call(name, "store", &document, "error storing credentials")?.map(drop).map_err(Failure::new)
}

/// Forgets credentials.
pub(super) fn erase(name: &str, server: &str) -> Outcome {
    // Nothing there is what was wanted.
    let _ = call(name, "erase", server, "error erasing credentials")?;
    Ok(())
}

/// What the helper wrote; `Err` inside is its "not found".
fn call(name: &str, action: &str, input: &str, doing: &str) -> Outcome<Result<String, String>> {
    let program = format!("docker-credential-{name}");
    let fail = |why: String| Failure::new(format!("{doing} - err: {why}"));
    if name.contains('/') {
        return Err(fail(format!("{name:?} is not the name of a credential helper")));
    }
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|_| fail(format!("exec: \"{program}\": executable file not found in $PATH, out: ``")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ends without reading tells why on its stdout.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| fail(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(Ok(text));
    }
    if text.contains(NOT_FOUND) {
        return Ok(Err(text));
    }
    Err(fail(format!("exit status {}, out: `{text}`", output.status.code().unwrap_or(-1))))
}
