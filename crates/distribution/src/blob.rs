//! A blob as a stream: fetched from whichever endpoint has it, resumed where a connection broke, never longer than
//! declared, hashed and copied on the way.
//!
//! ```text
//!  open at 0 ─▶ read … ─▶ cut at n ─▶ wait ─▶ open with "Range: bytes=n-" ─▶ read … ─▶ declared size ─▶ digest
//!                                      └─ no progress 5 times, or every endpoint refuses: fault
//! ```

use std::io::{self, Read, Write};

use oci::{Descriptor, DigestHasher, media_type};
use ureq::BodyReader;

use crate::endpoint::Endpoint;
use crate::session::{Answer, Ask, Session};
use crate::transport::{Method, Payload, explain_body};
use crate::url::{Scheme, Url};
use crate::{Error, Result};

/// Progress that counts as such: a server that cuts after every byte is not followed for ever.
const PROGRESS: u64 = 1 << 20;

/// Where bytes are copied to.
pub(crate) type Copy<'a> = &'a mut dyn Write;

pub(crate) struct BlobReader<'a> {
    session: &'a Session<'a>,
    endpoints: &'a [Endpoint],
    descriptor: &'a Descriptor,
    /// `filesystem layer`, `image config`: for messages.
    what: &'static str,
    /// Endpoint in use; the ones before it have failed.
    at: usize,
    offset: u64,
    /// `None` when the bytes are copied: whoever gets them computes the digest anyway.
    hasher: Option<DigestHasher>,
    body: Option<BodyReader<'static>>,
    /// Attempts since the last progress, and where that was.
    attempts: u32,
    mark: u64,
    copy: Option<Copy<'a>>,
    report: &'a dyn Fn(u64),
    /// The reason why a read failed; the `io::Error` is only its messenger.
    fault: Option<Error>,
}

impl<'a> BlobReader<'a> {
    pub(crate) fn new(
        session: &'a Session<'a>,
        endpoints: &'a [Endpoint],
        descriptor: &'a Descriptor,
        what: &'static str,
        report: &'a dyn Fn(u64),
    ) -> BlobReader<'a> {
        BlobReader {
            session,
            endpoints,
            descriptor,
            what,
            at: 0,
            offset: 0,
            hasher: Some(DigestHasher::new()),
            body: None,
            attempts: 0,
            mark: 0,
            copy: None,
            report,
            fault: None,
        }
    }

    /// Every byte is written there too, and its digest is checked there.
    pub(crate) fn copy_to(mut self, copy: Copy<'a>) -> BlobReader<'a> {
        self.copy = Some(copy);
        self.hasher = None;
        self
    }

    /// The first bytes are here already; the transfer begins behind them.
    pub(crate) fn starting_at(mut self, offset: u64) -> BlobReader<'a> {
        (self.offset, self.mark) = (offset, offset);
        self
    }

    /// Reads what nobody asked for, then checks the digest (unless the bytes were copied).
    pub(crate) fn finish(&mut self) -> Result<()> {
        let mut scratch = vec![0; 64 << 10];
        loop {
            match self.read(&mut scratch) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(self.take_fault().unwrap_or_else(|| self.broken(error))),
            }
        }
        match self.hasher.take().map(DigestHasher::finish) {
            Some(actual) if actual != self.descriptor.digest => {
                Err(Error::DigestMismatch { what: self.what, expected: self.descriptor.digest, actual })
            }
            _ => Ok(()),
        }
    }

    /// Reads everything and checks it; for small blobs whose declared size was checked before.
    pub(crate) fn read_all(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Err(error) = self.read_to_end(&mut bytes) {
            return Err(self.take_fault().unwrap_or_else(|| self.broken(error)));
        }
        self.finish()?;
        Ok(bytes)
    }

    /// Why the last read failed.
    pub(crate) fn take_fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Blob { op: "read", digest: self.descriptor.digest, source }
    }

    /// A body that continues at `offset`.
    fn open(&mut self) -> Result<BodyReader<'static>> {
        loop {
            let result = self.open_at(self.at);
            match result {
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) if self.at + 1 < self.sources() => {
                    tracing::warn!(digest = %self.descriptor.digest, reason = %error, "trying the next place");
                    self.at += 1;
                }
                result => return result,
            }
        }
    }

    fn is_foreign(&self) -> bool {
        media_type::is_foreign_layer(&self.descriptor.media_type)
    }

    fn sources(&self) -> usize {
        if self.is_foreign() { self.descriptor.urls.len() } else { self.endpoints.len() }
    }

    fn open_at(&self, at: usize) -> Result<BodyReader<'static>> {
        let mut headers = Vec::new();
        if self.offset > 0 {
            headers.push(("Range", format!("bytes={}-", self.offset)));
        }
        let answer = if self.is_foreign() {
            self.ask_foreign(at, headers)?
        } else {
            let path = format!("/v2/{}/blobs/{}", self.session.reference.path, self.descriptor.digest);
            let endpoint = self.endpoints.get(at).ok_or(Error::Cancelled)?;
            self.session.get(endpoint, &path, &headers)?
        };
        self.position(answer)
    }

    /// Foreign layers: from their own address, over https, without credentials.
    fn ask_foreign(&self, at: usize, headers: Vec<(&'static str, String)>) -> Result<Answer> {
        let url = self
            .descriptor
            .urls
            .get(at)
            .and_then(|url| Url::parse(url))
            .filter(|url| url.scheme == Scheme::Https)
            .ok_or(Error::ForeignLayer { digest: self.descriptor.digest })?;
        let ask = Ask {
            method: Method::Get,
            url: url.clone(),
            headers,
            authorization: None,
            payload: Payload::None,
            insecure: false,
        };
        let attempts = self.session.registry.config.max_download_attempts;
        let reached = self.session.exchange(&ask, attempts)?.map_err(|failure| failure.into_error(self.session))?;
        let answer = reached.answer;
        if answer.status().is_success() { Ok(answer) } else { Err(self.session.translate(Method::Get, &url, answer)) }
    }

    /// Checks that the body is the piece that was asked for; a server that ignores ranges is read from its start.
    fn position(&self, answer: Answer) -> Result<BodyReader<'static>> {
        let declared = self.descriptor.size;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let partial = answer.status().as_u16() == 206;
        let start = match partial {
            true => content_range_start(header("Content-Range").unwrap_or_default()),
            false => Some(0),
        };
        let mismatch =
            |actual: u64| Error::SizeMismatch { what: self.what, digest: self.descriptor.digest, declared, actual };
        let start = match start {
            Some(start) if start == self.offset || start == 0 => start,
            _ => return Err(mismatch(self.offset)),
        };
        if let Some(length) = answer.body().content_length()
            && start.saturating_add(length) != declared
        {
            return Err(mismatch(start.saturating_add(length)));
        }
        let mut body = answer.into_body().into_reader();
        let mut skip = self.offset - start;
        let mut scratch = vec![0; 64 << 10];
        while skip > 0 {
            self.session.check()?;
            let want = scratch.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            match body.read(&mut scratch[..want]) {
                Ok(0) | Err(_) => break,
                Ok(n) => skip -= n as u64,
            }
        }
        // A cut while skipping shows at the next read, as any other cut.
        if skip > 0 {
            return Err(Error::Truncated { digest: self.descriptor.digest, declared, actual: self.offset - skip });
        }
        Ok(body)
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let declared = self.descriptor.size;
        let left = declared - self.offset;
        if left == 0 || buffer.is_empty() {
            return match self.body.take() {
                Some(body) if left == 0 => self.end(body),
                _ => Ok(0),
            };
        }
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut last: Option<Error> = None;
        loop {
            self.session.check()?;
            let mut body = match self.body.take() {
                Some(body) => body,
                None => {
                    if self.attempts >= self.session.registry.config.max_download_attempts {
                        return Err(last.unwrap_or(Error::Truncated {
                            digest: self.descriptor.digest,
                            declared,
                            actual: self.offset,
                        }));
                    }
                    if self.attempts > 0 {
                        self.session.pause(self.session.backoff(self.attempts))?;
                    }
                    self.attempts += 1;
                    match self.open() {
                        Ok(body) => body,
                        // Only the beginning may fail for good; in the middle the server was there a moment ago.
                        Err(error @ (Error::Unreachable { .. } | Error::Truncated { .. })) if self.offset > 0 => {
                            last = Some(error);
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            match body.read(&mut buffer[..want]) {
                Ok(0) => last = None,
                Ok(n) => {
                    self.body = Some(body);
                    self.offset += n as u64;
                    if self.offset - self.mark >= PROGRESS {
                        self.mark = self.offset;
                        self.attempts = 1;
                    }
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.body = Some(body),
                Err(error) => {
                    let fault = explain_body(&error);
                    tracing::debug!(digest = %self.descriptor.digest, at = self.offset, reason = fault.text, "connection cut");
                }
            }
        }
    }
}

impl BlobReader<'_> {
    /// All that was declared is here. A look at the end shows whether more was to come, and lets the connection be used
    /// again; if that fails the digest decides.
    fn end(&self, mut body: BodyReader<'static>) -> Result<usize> {
        let declared = self.descriptor.size;
        match body.read(&mut [0]) {
            Ok(n) if n > 0 => Err(Error::SizeMismatch {
                what: self.what,
                digest: self.descriptor.digest,
                declared,
                actual: declared.saturating_add(n as u64),
            }),
            _ => Ok(0),
        }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match self.next(buffer) {
            Ok(n) => n,
            Err(error) => {
                let messenger = io::Error::other(error.to_string());
                self.fault = Some(error);
                return Err(messenger);
            }
        };
        let bytes = &buffer[..n];
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if let Some(copy) = &mut self.copy
            && let Err(error) = copy.write_all(bytes)
        {
            let messenger = io::Error::new(error.kind(), error.to_string());
            self.fault = Some(Error::Blob { op: "write", digest: self.descriptor.digest, source: error });
            return Err(messenger);
        }
        if n > 0 {
            (self.report)(self.offset);
        }
        Ok(n)
    }
}

/// `bytes 100-199/200` begins at 100.
fn content_range_start(header: &str) -> Option<u64> {
    header.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(content_range_start("bytes 100-199/200"), Some(100));
        assert_eq!(content_range_start("bytes 0-1/*"), Some(0));
        for bad in ["", "bytes */200", "items 1-2/3", "bytes -1-2/3", "bytes 99999999999999999999-2/3"] {
            assert_eq!(content_range_start(bad), None, "{bad}");
        }
    }
}
