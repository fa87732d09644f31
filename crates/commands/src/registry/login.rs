//! `login`.

use std::io::Read;

use client::Request;
use serde::Deserialize;
use serde_json::json;

use super::{host_of, server_key};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::config::{Credentials, DOCKER_HUB};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::{prompt, tty};

/// Table of `login`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["login"],
    usage: "[OPTIONS] [SERVER]",
    about: "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
    flags: &[
        flag("password", 'p', Kind::Str(""), "Password or Personal Access Token (PAT)"),
        flag("password-stdin", '\0', Kind::Bool(false), "Take the Password or Personal Access Token (PAT) from stdin"),
        flag("username", 'u', Kind::Str(""), "Username"),
    ],
    args: Args::AtMost(1),
    interspersed: true,
    run,
};

/// Longest password that is read from stdin, in bytes.
const PASSWORD_LIMIT: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    status: String,
    identity_token: String,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let user = parsed.str("username");
    let mut password = parsed.str("password").to_owned();
    if !password.is_empty() {
        if parsed.bool("password-stdin") {
            return Err(Failure::new("conflicting options: cannot specify both --password and --password-stdin"));
        }
        crate::out::warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if parsed.bool("password-stdin") {
        if user.is_empty() {
            return Err(Failure::new("the --password-stdin option requires --username to be set"));
        }
        password = password_from_stdin()?;
    }
    let server = server_key(parsed.args.first());
    let config = context.config();
    if user.is_empty() && password.is_empty() {
        let stored = config.credentials(&server)?;
        if !stored.is_empty() {
            crate::out::line("Authenticating with existing credentials...")?;
            match check(context, &server, &stored) {
                Ok(answer) => return accepted(context, &server, stored, answer),
                Err(failure) => {
                    crate::out::warn(&format!("Login did not succeed, error: {}", failure.text));
                }
            }
        }
    }
    if (user.is_empty() || password.is_empty()) && !tty::stdin_is_terminal() {
        return Err(Failure::new("Error: Cannot perform an interactive login from a non TTY device"));
    }
    let user = match user {
        "" => {
            if server == DOCKER_HUB {
                crate::out::line(
                    "Log in with your Docker ID or email address to push and pull images from Docker Hub.",
                )?;
            }
            let entered = prompt::ask("Username: ")?;
            if entered.is_empty() {
                return Err(Failure::new("username is empty"));
            }
            entered
        }
        user => user.to_owned(),
    };
    if password.is_empty() {
        password = prompt::ask_hidden("Password: ")?;
        if password.is_empty() {
            return Err(Failure::new("password is empty"));
        }
    }
    let credentials = Credentials { username: user, password, ..Credentials::default() };
    let answer = check(context, &server, &credentials)?;
    accepted(context, &server, credentials, answer)
}

fn password_from_stdin() -> Outcome<String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(PASSWORD_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(format!("read stdin: {}", crate::failure::io_reason(&error))))?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::new("the password on stdin is not UTF-8"))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}

/// Asks the daemon, which asks the registry.
fn check(context: &Context, server: &str, credentials: &Credentials) -> Outcome<Answer> {
    let mut body = json!({ "serveraddress": server });
    for (key, value) in [
        ("username", &credentials.username),
        ("password", &credentials.password),
        ("identitytoken", &credentials.identitytoken),
    ] {
        if !value.is_empty() {
            body[key] = json!(value);
        }
    }
    Ok(context.client()?.send(Request::post("/auth").json(&body))?.json()?)
}

fn accepted(context: &Context, server: &str, mut credentials: Credentials, answer: Answer) -> Outcome {
    if !answer.identity_token.is_empty() {
        credentials.password = String::new();
        credentials.identitytoken = answer.identity_token;
    }
    let key = if server == DOCKER_HUB { server } else { host_of(server) };
    if let Some(path) = context.config().store(key, &credentials)? {
        crate::out::warn(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    if answer.status.is_empty() { Ok(()) } else { crate::out::line(&answer.status) }
}
