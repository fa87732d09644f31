//! Why a build failed, as BuildKit's clients print it: the step, and the lines of the Dockerfile.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::status::{Code, Status};

/// Prefix of the types of details.
const TYPES: &str = "github.com/moby/buildkit";

/// An error of the builder.
pub fn status(error: &build::Error, name: &str, text: &str) -> Status {
    if let build::Error::Cancelled = error.cause() {
        return Status::cancelled();
    }
    let message = match error {
        build::Error::Engine(error) => error.full_text(),
        error => chain(error),
    };
    // Clients print any other code in front of the message.
    let mut status = Status::new(Code::Unknown, message);
    if let Some(lines) = error.lines() {
        let detail = json!({
            // The definition is what the file was read by: a directory of the session, which needs none.
            "info": { "filename": name, "data": STANDARD.encode(text), "language": "Dockerfile", "definition": {} },
            "ranges": crate::subrequest::ranges(lines),
        });
        status.details.push((format!("{TYPES}/errdefs.Source+json"), detail.to_string().into_bytes()));
    }
    status
}

/// An error with its causes; those that it repeats in its own words come once.
fn chain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    match error.source() {
        Some(source) => {
            let inner = chain(source);
            if text.contains(&inner) { text } else { format!("{text}: {inner}") }
        }
        None => text,
    }
}

/// An error of the engine.
pub fn of_engine(error: &engine::Error) -> Status {
    let code = match error.kind {
        engine::Kind::NotFound => Code::NotFound,
        engine::Kind::InvalidParameter => Code::InvalidArgument,
        engine::Kind::NotImplemented => Code::Unimplemented,
        _ => Code::Unknown,
    };
    Status::new(code, error.full_text())
}

/// What a session has said no to, as an error of the builder.
pub fn of_session(doing: &str, status: Status) -> build::Error {
    match status.code {
        Code::Cancelled => build::Error::Cancelled,
        Code::Unimplemented => build::Error::Unsupported(format!("{doing} ({})", status.message)),
        _ => build::Error::Invalid(format!("{doing}: {}", status.message)),
    }
}
