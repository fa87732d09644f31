//! What a client gets to hear when something cannot be done: a kind (which an edge turns into a status), Docker's text,
//! and the cause for the log.

use std::fmt;

/// Class of an error; an edge translates it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    NotFound,
    InvalidParameter,
    Conflict,
    /// Already so; there is no text to show.
    NotModified,
    Unauthorized,
    Forbidden,
    Unavailable,
    NotImplemented,
    System,
}

/// An error of the engine. `Display` is the message alone; [`Error::full_text`] joins the chain.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with the engine's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

impl Error {
    /// With this kind and text.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), source: None }
    }

    /// A request that cannot be what it means; 400.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::InvalidParameter, message)
    }

    /// An object that is not there; 404.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, message)
    }

    /// The state of things forbids it; 409.
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, message)
    }

    /// Already so; 304.
    pub fn not_modified() -> Error {
        Error::new(Kind::NotModified, "")
    }

    /// What this version does not do; 501.
    pub fn not_implemented(what: &str) -> Error {
        Error::new(Kind::NotImplemented, format!("hoist does not support {what} yet"))
    }

    /// Something failed here; 500.
    pub fn system(doing: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error { kind: Kind::System, message: doing.into(), source: Some(Box::new(source)) }
    }

    /// Another kind, everything else kept.
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }

    /// The message and its causes, joined by `: `.
    pub fn full_text(&self) -> String {
        chain(self)
    }
}

/// An error and its causes, joined by `: `.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A client's value that `api` refuses; the text is Docker's already.
impl From<api::error::Invalid> for Error {
    fn from(invalid: api::error::Invalid) -> Error {
        Error::invalid(invalid.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_joined_once() {
        let cause = std::io::Error::from_raw_os_error(2);
        let error = Error::system("open the lock", cause);
        assert_eq!(error.to_string(), "open the lock");
        assert_eq!(error.full_text(), "open the lock: No such file or directory (os error 2)");
    }
}
