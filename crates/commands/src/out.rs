//! Writing to stdout and stderr.

use std::io::{ErrorKind, Write};

use crate::failure::{Failure, Outcome};

/// Writes bytes to stdout. A closed pipe ends the command without a word, as SIGPIPE would.
pub(crate) fn bytes(data: &[u8]) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(data).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::silent(141),
        _ => Failure::new(format!("write /dev/stdout: {}", crate::failure::io_reason(&error))),
    })
}

/// Writes text to stdout.
pub(crate) fn text(text: &str) -> Outcome {
    bytes(text.as_bytes())
}

/// Writes a line to stdout.
pub(crate) fn line(text: &str) -> Outcome {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes a line to stderr; nobody can be told when that fails.
pub(crate) fn warn(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
