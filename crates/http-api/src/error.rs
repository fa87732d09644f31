//! The one place where an error becomes an HTTP status.

use crate::reply::{Body, Response, json};
use api::error::ErrorBody;
use engine::{Error, Kind};
use hyper::StatusCode;

/// Docker's mapping (moby `daemon/server/httpstatus`).
pub(crate) const fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::InvalidParameter => StatusCode::BAD_REQUEST,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::System => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a request that failed. What is our own fault is logged, here and nowhere else.
pub(crate) fn answer(error: &Error, what: &str) -> Response {
    let status = status(error.kind);
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!("{what}: {}", error.full_text());
    } else {
        tracing::debug!("{what}: {status}: {}", error.full_text());
    }
    if status == StatusCode::NOT_MODIFIED {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        return response;
    }
    json(status, &ErrorBody { message: error.full_text() })
}

/// An unknown route; the text is Docker's.
pub(crate) fn page_not_found() -> Error {
    Error::not_found("page not found")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn errors_as_answers() {
        for (kind, status, body) in [
            (Kind::NotFound, 404, "{\"message\":\"a <b> & c\"}\n"),
            (Kind::InvalidParameter, 400, "{\"message\":\"a <b> & c\"}\n"),
            (Kind::Conflict, 409, "{\"message\":\"a <b> & c\"}\n"),
            (Kind::NotModified, 304, ""),
            (Kind::NotImplemented, 501, "{\"message\":\"a <b> & c\"}\n"),
            (Kind::System, 500, "{\"message\":\"a <b> & c\"}\n"),
        ] {
            let response = answer(&Error::new(kind, "a <b> & c"), "test");
            assert_eq!(response.status(), status);
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes, body);
        }
    }
}
