//! How a call ends: gRPC's codes, and the details that BuildKit's clients print.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::wire::{self, Message};

/// gRPC's codes, as far as they are used here (<https://grpc.io/docs/guides/status-codes/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "gRPC's names")]
#[repr(u32)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// The end of a call that did not go well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// What kind.
    pub code: Code,
    /// For people.
    pub message: String,
    /// `google.protobuf.Any`s: the type's URL and its content.
    pub details: Vec<(String, Vec<u8>)>,
}

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into(), details: Vec::new() }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Status {
        Status::new(Code::InvalidArgument, message)
    }

    /// What is not done here, by name.
    pub fn unsupported(what: &str) -> Status {
        Status::new(Code::Unimplemented, format!("{what} is not supported"))
    }

    /// It broke off, or the other side asked for the end.
    #[must_use]
    pub fn cancelled() -> Status {
        Status::new(Code::Cancelled, "context canceled")
    }

    /// `google.rpc.Status`.
    #[must_use]
    pub fn to_message(&self) -> Message {
        let message = Message::new().number(1, u64::from(self.code as u32)).bytes(2, &self.message);
        self.details
            .iter()
            .fold(message, |message, (url, value)| message.message(3, &Message::new().bytes(1, url).bytes(2, value)))
    }

    /// Reads a `google.rpc.Status`.
    pub fn from_message(bytes: &[u8]) -> Result<Status, Status> {
        let mut status = Status::new(Code::Unknown, "");
        for field in wire::fields(bytes) {
            match field? {
                (1, value) => status.code = Code::of(value.number()),
                (2, value) => status.message = value.text()?,
                (3, value) => {
                    let (mut url, mut content) = (String::new(), Vec::new());
                    for field in wire::fields(value.bytes()) {
                        match field? {
                            (1, value) => url = value.text()?,
                            (2, value) => content = value.bytes().to_vec(),
                            _ => {}
                        }
                    }
                    status.details.push((url, content));
                }
                _ => {}
            }
        }
        Ok(status)
    }

    /// As the trailers of a call.
    #[must_use]
    pub fn trailers(&self) -> http::HeaderMap {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from(self.code as u32));
        let percent: String = self.message.bytes().map(percent).collect();
        if let Ok(value) = http::HeaderValue::from_str(&percent) {
            trailers.insert("grpc-message", value);
        }
        if !self.details.is_empty()
            && let Ok(value) = http::HeaderValue::from_str(&STANDARD_NO_PAD.encode(self.to_message()))
        {
            trailers.insert("grpc-status-details-bin", value);
        }
        trailers
    }

    /// From the trailers of a call; `None` if it went well.
    #[must_use]
    pub fn from_trailers(trailers: &http::HeaderMap) -> Option<Status> {
        let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let code = match text("grpc-status").parse::<u64>() {
            Ok(0) => return None,
            Ok(code) => Code::of(code),
            Err(_) => Code::Unknown,
        };
        Some(Status::new(code, unpercent(text("grpc-message"))))
    }
}

impl Code {
    fn of(number: u64) -> Code {
        match number {
            0 => Code::Ok,
            1 => Code::Cancelled,
            3 => Code::InvalidArgument,
            5 => Code::NotFound,
            6 => Code::AlreadyExists,
            7 => Code::PermissionDenied,
            8 => Code::ResourceExhausted,
            9 => Code::FailedPrecondition,
            12 => Code::Unimplemented,
            13 => Code::Internal,
            14 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }
}

/// gRPC over HTTP/2, "Percent-Encoded".
fn percent(byte: u8) -> String {
    if (b' '..=b'~').contains(&byte) && byte != b'%' { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

fn unpercent(text: &str) -> String {
    let (bytes, mut out) = (text.as_bytes(), Vec::with_capacity(text.len()));
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl From<h2::Error> for Status {
    fn from(error: h2::Error) -> Status {
        match error.reason() {
            Some(h2::Reason::CANCEL) => Status::cancelled(),
            _ => Status::new(Code::Unavailable, error.to_string()),
        }
    }
}

impl From<session::Malformed> for Status {
    fn from(error: session::Malformed) -> Status {
        Status::invalid(error.0)
    }
}

impl From<std::io::Error> for Status {
    fn from(error: std::io::Error) -> Status {
        Status::new(Code::Unknown, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_there_and_back() {
        for message in ["plain", "100% \n ü %41", ""] {
            let status = Status::new(Code::NotFound, message);
            assert_eq!(Status::from_trailers(&status.trailers()), Some(status));
        }
        let mut status = Status::invalid("x");
        status.details.push(("a/b".into(), b"{}".to_vec()));
        assert_eq!(Status::from_message(&status.to_message().finish()), Ok(status));
    }
}
