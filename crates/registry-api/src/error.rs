//! What goes wrong, as clients see it (distribution-spec, "Error Codes"). Numbers and codes are here and nowhere else.

use std::io::ErrorKind;

use hyper::StatusCode;
use registry::Error;
use serde_json::{Value, json};

use crate::reply::{self, Response, With};

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub detail: Value,
    pub headers: Vec<(&'static str, String)>,
}

impl Failure {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into(), detail: Value::Null, headers: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Failure {
        self.headers.push((name, value.into()));
        self
    }

    pub fn unsupported(what: &str) -> Failure {
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", format!("the operation is unsupported: {what}"))
    }

    pub fn not_found() -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such route")
    }

    pub fn denied(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::FORBIDDEN, "DENIED", message)
    }

    pub fn slow() -> Failure {
        Failure::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", "the body did not come in time")
            .with("Connection", "close")
    }

    pub fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if !self.detail.is_null() {
            error["detail"] = self.detail;
        }
        let mut response = reply::json(self.status, &json!({"errors": [error]}));
        for (name, value) in self.headers {
            response = response.with(name, &value);
        }
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        let (status, code) = match &error {
            Error::NameInvalid { .. } => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Error::NameUnknown { .. } => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            Error::DigestInvalid { .. } | Error::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Error::BlobUnknown { .. } => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Error::UploadUnknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Error::UploadInvalid { .. } => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Error::UploadBusy => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
            Error::RangeInvalid { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Error::SizeInvalid { .. } => (StatusCode::BAD_REQUEST, "SIZE_INVALID"),
            Error::ManifestUnknown { .. } => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Error::ManifestInvalid { .. } => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Error::ManifestBlobUnknown { .. } => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
            Error::ManifestTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"),
            Error::BlobTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            Error::TagImmutable { .. } => (StatusCode::CONFLICT, "DENIED"),
            Error::ReadOnly { .. } => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Error::Upstream(_) => (StatusCode::BAD_GATEWAY, "UNKNOWN"),
            Error::Locked { .. } | Error::Configuration { .. } | Error::Io { .. } | Error::Store(_) => {
                match error.io_kind() {
                    Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                        tracing::error!(error = chain(&error), "the disk is full");
                        return Failure::new(
                            StatusCode::INSUFFICIENT_STORAGE,
                            "INSUFFICIENT_STORAGE",
                            "the registry's disk is full",
                        );
                    }
                    _ => {
                        // What it says of our paths is not the client's business.
                        tracing::error!(error = chain(&error), "request failed");
                        return Failure::new(
                            StatusCode::INTERNAL_SERVER_ERROR,
                            "UNKNOWN",
                            "the registry failed; its log says why",
                        );
                    }
                }
            }
        };
        let detail = match &error {
            Error::ManifestBlobUnknown { digest } | Error::BlobUnknown { digest } => json!({"digest": digest}),
            Error::NameUnknown { name } => json!({"name": name}),
            _ => Value::Null,
        };
        Failure { status, code, message, detail, headers: Vec::new() }
    }
}

/// An error with its reasons.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_and_secrets() {
        let full = Error::Io { op: "write", path: "/secret".into(), source: ErrorKind::StorageFull.into() };
        let other = Error::Io { op: "write", path: "/secret".into(), source: ErrorKind::PermissionDenied.into() };
        for (error, status) in [(full, 507), (other, 500)] {
            let failure = Failure::from(error);
            assert_eq!(failure.status.as_u16(), status);
            assert!(!failure.message.contains("secret"));
        }
    }
}
