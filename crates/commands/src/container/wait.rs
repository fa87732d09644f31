//! `wait`, and the wait that `run`, `start` and `attach` register.

use client::{Client, Pending, Request, Response};
use serde::Deserialize;

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::each;
use crate::failure::{Failure, Outcome};

/// Table of `wait`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container wait", "wait"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Block until one or more containers stop, then print their exit codes",
    flags: &[],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    status_code: i64,
    #[serde(default)]
    error: Option<StatusError>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatusError {
    #[serde(default)]
    message: String,
}

/// A wait that the daemon has taken note of.
pub(crate) struct Waiting(Response);

fn request(name: &str, condition: Option<&str>) -> Request<'static> {
    Request::post(super::route(name, "/wait")).query_some("condition", condition)
}

/// Registers a wait; returns when the daemon has it.
pub(crate) fn register(context: &Context, name: &str, condition: Option<&str>) -> Outcome<Waiting> {
    Ok(Waiting(context.client()?.send(request(name, condition))?))
}

/// A wait on its way to the daemon.
pub(crate) struct Sent<'c>(Pending<'c>);

/// Sends a wait off; [`Sent::registered`] tells when the daemon has it.
pub(crate) fn send<'c>(client: &'c Client, name: &str, condition: &str) -> Outcome<Sent<'c>> {
    Ok(Sent(client.begin(request(name, Some(condition)))?))
}

impl Sent<'_> {
    /// Waits until the daemon has taken note.
    pub(crate) fn registered(self) -> Outcome<Waiting> {
        Ok(Waiting(self.0.response()?))
    }
}

impl Waiting {
    /// The exit status, once the condition holds.
    pub(crate) fn status(self) -> Outcome<i32> {
        let status: Status = self.0.json()?;
        if let Some(error) = status.error.filter(|e| !e.message.is_empty()) {
            return Err(Failure::new(error.message));
        }
        Ok(i32::try_from(status.status_code).unwrap_or(1))
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let mut errors = Vec::new();
    for name in &parsed.args {
        match register(context, name, None).and_then(Waiting::status) {
            Ok(code) => crate::out::line(&code.to_string())?,
            Err(failure) => errors.push(failure.text),
        }
    }
    each::join(errors)
}
