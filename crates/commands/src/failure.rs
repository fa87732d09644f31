//! How a command ends when it does not end well.

/// Exit status and the text for stderr; an empty text prints nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) text: String,
}

/// What every command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Exit status 1 with a text.
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure { code: 1, text: text.into() }
    }
    /// Another exit status.
    pub(crate) fn code(code: i32, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }
    /// Nothing printed, only a status.
    pub(crate) fn silent(code: i32) -> Failure {
        Failure { code, text: String::new() }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

/// Go's words for what the system said about a path.
pub(crate) fn io_text(action: &str, path: &str, error: &std::io::Error) -> String {
    format!("{action} {path}: {}", io_reason(error))
}

/// The reason alone, in the C library's lower-case words as Go prints them.
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        std::io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        std::io::ErrorKind::AlreadyExists => "file exists".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or(&text);
            text.to_lowercase()
        }
    }
}
