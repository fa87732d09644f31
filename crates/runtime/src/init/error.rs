//! Why a process could not be started, with Docker's exit code for it.

use std::io;

/// A failure between clone and exec. `Display` leaves the source out; [`Error::message`] joins the chain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}")]
    Step { what: &'static str, source: io::Error },
    #[error("mount {kind} on {target}")]
    Mount { kind: String, target: String, complaint: Option<String>, source: io::Error },
    #[error("mount source {path}")]
    Source { path: String, source: io::Error },
    #[error("{path}")]
    Path { path: String, source: io::Error },
    #[error("open sysctl {name} file")]
    Sysctl { name: String, source: io::Error },
    #[error(transparent)]
    User(#[from] crate::user::Error),
    #[error(transparent)]
    Hook(crate::hooks::Error),
    #[error("{0}")]
    Unsupported(String),
    #[error("invalid configuration: {0}")]
    Invalid(String),
    /// The program is not there.
    #[error("exec: \"{program}\": {reason}")]
    NotFound { program: String, reason: String },
    /// The program is there and cannot be run.
    #[error("exec: \"{program}\": {reason}")]
    NotExecutable { program: String, reason: &'static str },
    #[error("exec {program}")]
    Exec { program: String, source: io::Error },
}

impl Error {
    /// For `map_err`.
    pub fn step(what: &'static str) -> impl Fn(io::Error) -> Error {
        move |source| Error::Step { what, source }
    }

    /// The whole story in one line.
    pub fn message(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let cause_text = match cause.downcast_ref::<io::Error>() {
                Some(error) => plain(error),
                None => cause.to_string(),
            };
            text.push_str(": ");
            text.push_str(&cause_text);
            source = cause.source();
        }
        if let Error::Mount { complaint: Some(complaint), .. } = self
            && !complaint.is_empty()
        {
            text.push_str(" (");
            text.push_str(complaint);
            text.push(')');
        }
        text
    }

    /// 127: not found, 126: not executable, 128: anything else.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::NotFound { .. } => 127,
            Error::NotExecutable { .. } | Error::Exec { .. } => 126,
            _ => 128,
        }
    }
}

/// The C library's words in lower case, as Go programs print them, without Rust's "(os error N)".
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_with_its_causes() {
        let error = Error::Mount {
            kind: "bind".to_owned(),
            target: "/x".to_owned(),
            complaint: None,
            source: io::Error::from_raw_os_error(2),
        };
        assert_eq!(error.message(), "mount bind on /x: no such file or directory");
        let error =
            Error::NotFound { program: "foo".to_owned(), reason: "executable file not found in $PATH".to_owned() };
        assert_eq!(
            (error.message().as_str(), error.exit_code()),
            (r#"exec: "foo": executable file not found in $PATH"#, 127)
        );
    }
}
