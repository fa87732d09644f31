//! Why a build failed.

use dockerfile::Lines;

/// The result of anything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile is wrong.
    #[error(transparent)]
    Dockerfile(#[from] dockerfile::Error),
    /// The request is wrong: an unknown target, a bad option.
    #[error("{0}")]
    Invalid(String),
    /// Something that this builder does not do, by name.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A file that an instruction names is not there.
    #[error("failed to compute cache key: failed to calculate checksum of ref files: {path:?}: not found")]
    NotFound {
        /// As the instruction has it.
        path: String,
    },
    /// A step ended with another status than 0.
    #[error("process {command:?} did not complete successfully: exit code: {code}")]
    Step {
        /// The command in one line.
        command: String,
        /// Its status.
        code: i32,
        /// It was killed for want of memory.
        oom: bool,
    },
    /// An error of an instruction.
    #[error("{source}")]
    At {
        /// Where.
        lines: Lines,
        /// The error.
        source: Box<Error>,
    },
    /// The client went away or asked for the end.
    #[error("build canceled")]
    Cancelled,
    /// The engine said no.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The machine said no.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// A failure of the machine.
    pub(crate) fn system(doing: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::System { doing: doing.into(), source: Box::new(source) }
    }

    /// The same, with the lines of the instruction; the innermost lines stay.
    #[must_use]
    pub fn at(self, lines: Lines) -> Error {
        match self {
            error @ (Error::At { .. } | Error::Dockerfile(_) | Error::Cancelled) => error,
            error => Error::At { lines, source: Box::new(error) },
        }
    }

    /// Where, if an instruction is to blame.
    #[must_use]
    pub fn lines(&self) -> Option<Lines> {
        match self {
            Error::At { lines, .. } => Some(*lines),
            Error::Dockerfile(error) => Some(error.lines),
            _ => None,
        }
    }

    /// The error without its place.
    #[must_use]
    pub fn cause(&self) -> &Error {
        match self {
            Error::At { source, .. } => source.cause(),
            error => error,
        }
    }
}
