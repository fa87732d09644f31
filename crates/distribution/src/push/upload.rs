//! The bytes of one blob: in one stream, resumed where a connection broke, in pieces where the registry wants it so.

use std::fs::File;

use oci::Descriptor;

use super::Push;
use crate::session::{Answer, Reached, Request, To};
use crate::transport::{Method, Payload};
use crate::url::{Url, encode_query};
use crate::{Error, Result};

/// Size of a piece once a registry (or a proxy before it) has refused a bigger one.
const PIECE: u64 = 8 << 20;

/// How an upload begins.
pub(super) enum Start {
    /// It is there already, mounted from this repository.
    Mounted(String),
    /// Bytes go there.
    At(Url),
}

/// What became of one PATCH.
enum Sent {
    /// The registry has this many bytes, and wants the rest there.
    UpTo(u64, Url),
    /// Try smaller pieces.
    TooLarge,
    /// It may go well when tried again.
    Broken(Error),
}

impl Push<'_> {
    /// Sends a blob from a file.
    pub(super) fn upload(&self, blob: &Descriptor, file: &File, start: Url, sent: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let config = &self.session.registry.config;
        let mut piece = config.upload_piece;
        let (mut at, mut url) = (0u64, start);
        // Attempts since the registry last got further.
        let mut attempts = 0;
        while at < blob.size {
            self.session.check()?;
            let to = blob.size.min(at.saturating_add(piece));
            match self.patch(file, at, to, &url, sent)? {
                Sent::UpTo(end, next) if end > at => (at, url, attempts) = (end.min(blob.size), next, 0),
                Sent::TooLarge if piece > PIECE => {
                    piece = PIECE;
                    (at, url) = (0, self.restart(blob)?);
                }
                outcome => {
                    attempts += 1;
                    let error = match outcome {
                        Sent::Broken(error) => error,
                        _ => Error::Protocol {
                            method: "Patch",
                            url: crate::session::without_query(&url),
                            detail: "the registry takes no more bytes".into(),
                        },
                    };
                    if attempts >= config.max_download_attempts {
                        return Err(error);
                    }
                    tracing::debug!(digest = %blob.digest, at, reason = %error, "upload broke");
                    self.session.pause(self.session.backoff(attempts))?;
                    (at, url) = match self.progress_of(&url)? {
                        Some((end, next)) if end <= blob.size => (end, next),
                        _ => (0, self.restart(blob)?),
                    };
                }
            }
        }
        self.finish(blob, &url, &[])
    }

    /// Sends a small blob with the closing request.
    pub(super) fn put_blob(&self, blob: &Descriptor, start: Url, bytes: &[u8]) -> Result<()> {
        match self.finish(blob, &start, bytes) {
            // The upload is lost with the connection; a new one is cheap.
            Err(Error::Unreachable { .. } | Error::Status { .. }) => {
                let again = self.restart(blob)?;
                self.finish(blob, &again, bytes)
            }
            result => result,
        }
    }

    fn restart(&self, blob: &Descriptor) -> Result<Url> {
        match self.start(blob, &[])? {
            Start::At(url) => Ok(url),
            Start::Mounted(_) => Err(Error::Protocol {
                method: "Post",
                url: self.session.reference.name(),
                detail: "an upload that was over before it began".into(),
            }),
        }
    }

    fn patch(&self, file: &File, from: u64, to: u64, url: &Url, sent: &(dyn Fn(u64) + Sync)) -> Result<Sent> {
        let headers =
            [("Content-Type", "application/octet-stream".to_owned()), ("Content-Range", format!("{from}-{}", to - 1))];
        let told = |at: u64| sent(at);
        let request = Request {
            method: Method::Patch,
            to: To::Location(url),
            headers: &headers,
            payload: Payload::File { file, from, to, sent: &told },
            attempts: 1,
        };
        let reached = match self.session.send(self.endpoint, request) {
            Ok(reached) => reached,
            Err(error @ (Error::Unreachable { .. } | Error::Protocol { .. })) => return Ok(Sent::Broken(error)),
            Err(error) => return Err(error),
        };
        let Reached { answer, url: from_url } = reached;
        match answer.status().as_u16() {
            200..=299 => {
                let next = if answer.headers().contains_key("Location") {
                    self.location(&from_url, &answer)?
                } else {
                    url.clone()
                };
                Ok(Sent::UpTo(range_end(&answer).unwrap_or(to), next))
            }
            413 => Ok(Sent::TooLarge),
            404 | 408 | 416 | 429 | 500.. => Ok(Sent::Broken(self.session.translate(Method::Patch, &from_url, answer))),
            _ => Err(self.session.translate(Method::Patch, &from_url, answer)),
        }
    }

    /// How far an upload is, by the registry's own word. `None`: it knows nothing of it.
    fn progress_of(&self, url: &Url) -> Result<Option<(u64, Url)>> {
        let request =
            Request { method: Method::Get, to: To::Location(url), headers: &[], payload: Payload::None, attempts: 2 };
        match self.session.send(self.endpoint, request) {
            Ok(Reached { answer, url: from }) if answer.status().is_success() => {
                let next = if answer.headers().contains_key("Location") {
                    self.location(&from, &answer)?
                } else {
                    url.clone()
                };
                Ok(range_end(&answer).map(|end| (end, next)))
            }
            Ok(_) | Err(Error::Unreachable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends an upload: the registry checks the digest.
    pub(super) fn finish(&self, blob: &Descriptor, url: &Url, bytes: &[u8]) -> Result<()> {
        let separator = if url.path.contains('?') { '&' } else { '?' };
        let digest = encode_query(&blob.digest.to_string());
        let url = Url { path: format!("{}{separator}digest={digest}", url.path), ..url.clone() };
        let headers = [("Content-Type", "application/octet-stream".to_owned())];
        let request = Request {
            method: Method::Put,
            to: To::Location(&url),
            headers: &headers,
            payload: Payload::Bytes(bytes),
            attempts: 1,
        };
        match self.session.send(self.endpoint, request) {
            Ok(reached) if reached.answer.status().is_success() => Ok(()),
            // The answer may be lost although the blob is there.
            Ok(reached) => {
                let error = self.session.translate(Method::Put, &reached.url, reached.answer);
                if self.has(blob)? { Ok(()) } else { Err(error) }
            }
            Err(error @ Error::Unreachable { .. }) => {
                if self.has(blob)? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// `Range: 0-99` after 100 bytes. `0-0` says nothing: registries send it for none as well.
pub(super) fn range_end(answer: &Answer) -> Option<u64> {
    let text = answer.headers().get("Range")?.to_str().ok()?;
    parse_range(text)
}

fn parse_range(text: &str) -> Option<u64> {
    let text = text.trim();
    let (start, end) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    let end: u64 = end.trim().parse().ok()?;
    (start.trim() == "0" && end > 0).then(|| end.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, expect) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("0-0", None),
            ("1-99", None),
            ("", None),
            ("0--1", None),
            ("0-18446744073709551615", Some(u64::MAX)),
        ] {
            assert_eq!(parse_range(text), expect, "{text}");
        }
    }
}
