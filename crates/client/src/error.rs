//! What can go wrong between us and the daemon, in the words Docker's users know.

use std::io;

/// A failed call. `Display` is the sentence that the command line prints.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host text has no scheme we know the shape of.
    #[error("unable to parse docker host `{0}`")]
    InvalidHost(String),
    /// `https://` without anything that asks for TLS: it must not be spoken to in clear.
    #[error("{0} asks for TLS: add --tlsverify or --tls, or use a context with TLS")]
    PlainHttps(String),
    /// A scheme that exists in Docker and not here.
    #[error("hosts of the form {scheme}:// are not supported yet: {host}")]
    UnsupportedHost {
        /// The scheme in front of `://`.
        scheme: String,
        /// The whole text.
        host: String,
    },
    /// An `ssh://` address that is none.
    #[error("invalid ssh host {host}: {reason}")]
    InvalidSsh {
        /// The whole text.
        host: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Certificates or keys that cannot be used.
    #[error("{what} {path}: {reason}")]
    Tls {
        /// What was being done: `could not read CA certificate`.
        what: &'static str,
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Nobody answers at the address.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Unreachable {
        /// The address as the user knows it.
        host: String,
        /// What connect(2) said.
        source: io::Error,
    },
    /// The socket exists and is not for us.
    #[error(
        "permission denied while trying to connect to the Docker daemon socket at {host}: {method} \"{url}\": dial unix {path}: connect: permission denied"
    )]
    PermissionDenied {
        /// The address as the user knows it.
        host: String,
        /// Method as Go spells it: `Get`, `Post`.
        method: String,
        /// Request URL with the socket path in the authority.
        url: String,
        /// Path of the socket.
        path: String,
    },
    /// The connection broke.
    #[error("error during connect: {method} \"{url}\": {source}")]
    Transport {
        /// Method as Go spells it: `Get`, `Post`.
        method: String,
        /// Request URL.
        url: String,
        /// The failure.
        source: io::Error,
    },
    /// The peer does not speak HTTP as we know it.
    #[error("malformed HTTP response: {0}")]
    Malformed(String),
    /// The daemon answered with an error status.
    #[error("Error response from daemon: {message}")]
    Daemon {
        /// HTTP status.
        status: u16,
        /// The message of the body.
        message: String,
    },
    /// The body of a request could not be read.
    #[error("{0}")]
    RequestBody(io::Error),
    /// The body of a response is not the JSON we expect.
    #[error("invalid answer of the daemon: {0}")]
    Json(#[from] serde_json::Error),
    /// A body is larger than anything sensible.
    #[error("answer of the daemon is larger than {0} bytes")]
    TooLarge(usize),
}

impl Error {
    /// HTTP status, when the daemon answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Daemon { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// True for 404.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// True when no daemon was reached at all.
    pub fn is_connection(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::PermissionDenied { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn permission_is_told_as_docker_does() {
        let error = Error::PermissionDenied {
            host: "unix:///run/hoist.sock".to_owned(),
            method: "Get".to_owned(),
            url: "http://%2Frun%2Fhoist.sock/v1.51/containers/json".to_owned(),
            path: "/run/hoist.sock".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "permission denied while trying to connect to the Docker daemon socket at unix:///run/hoist.sock: Get \"http://%2Frun%2Fhoist.sock/v1.51/containers/json\": dial unix /run/hoist.sock: connect: permission denied"
        );
    }
}
