//! What another registry has, byte for byte and without an opinion: for a registry that keeps copies.

use std::io::{Read, Write};
use std::sync::atomic::AtomicBool;

use oci::{Reference, media_type};

use crate::auth::AuthConfig;
use crate::endpoint::Endpoint;
use crate::manifest::MANIFEST_LIMIT;
use crate::registry::Registry;
use crate::session::{Answer, Purpose, Reached, Request, Session, To};
use crate::transport::{Method, Payload, explain_body};
use crate::{Error, Result};

/// A manifest as it came. Its digest is not checked: whoever asked by one checks it.
#[derive(Debug, Clone)]
pub struct RawManifest {
    /// The `Content-Type`.
    pub media_type: String,
    /// At most 4 MiB.
    pub bytes: Vec<u8>,
}

/// Fetches a manifest of the repository of `reference`; `name` is a tag or a digest of any algorithm.
pub fn raw_manifest(
    registry: &Registry,
    reference: &Reference,
    name: &str,
    auth: Option<AuthConfig>,
    cancel: &AtomicBool,
) -> Result<RawManifest> {
    let session = Session::new(registry, reference, auth, Purpose::Pull, cancel);
    let path = format!("/v2/{}/manifests/{name}", reference.path);
    let accept = [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_MANIFEST_LIST,
        media_type::DOCKER_MANIFEST,
    ];
    let mut last = Error::Cancelled;
    for endpoint in &registry.endpoints(reference)? {
        match session.get(endpoint, &path, &[("Accept", accept.join(", "))]) {
            Ok(answer) => {
                let media_type = answer.headers().get("Content-Type").and_then(|value| value.to_str().ok());
                let media_type = media_type.unwrap_or_default().to_owned();
                let mut bytes = Vec::new();
                let mut body = answer.into_body().into_reader().take(MANIFEST_LIMIT + 1);
                body.read_to_end(&mut bytes).map_err(|error| broken(&path, &error))?;
                if bytes.len() as u64 > MANIFEST_LIMIT {
                    return Err(Error::TooLarge { what: "manifest".into(), limit: MANIFEST_LIMIT });
                }
                return Ok(RawManifest { media_type, bytes });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Fetches a blob into `target`; `begun` is told the size, if the registry says it, before the first byte. A body that
/// ends too early is an error.
pub fn raw_blob(
    registry: &Registry,
    reference: &Reference,
    digest: &str,
    auth: Option<AuthConfig>,
    cancel: &AtomicBool,
    begun: &mut dyn FnMut(Option<u64>),
    target: &mut dyn Write,
) -> Result<()> {
    let session = Session::new(registry, reference, auth, Purpose::Pull, cancel);
    let path = format!("/v2/{}/blobs/{digest}", reference.path);
    let mut last = Error::Cancelled;
    for endpoint in &registry.endpoints(reference)? {
        match get(&session, endpoint, &path) {
            Ok(answer) => {
                let declared = answer.body().content_length();
                begun(declared);
                let mut body = answer.into_body().into_reader();
                let mut buffer = vec![0; 128 << 10];
                let mut received = 0;
                loop {
                    session.check()?;
                    match body.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => {
                            received += count as u64;
                            target.write_all(&buffer[..count]).map_err(|error| broken(&path, &error))?;
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(broken(&path, &error)),
                    }
                }
                if declared.is_some_and(|declared| declared != received) {
                    return Err(broken(&path, &std::io::ErrorKind::UnexpectedEof.into()));
                }
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// As `Session::get`; a blob that is not there is no image that is not there, and yet unknown.
fn get(session: &Session<'_>, endpoint: &Endpoint, path: &str) -> Result<Answer> {
    let attempts = session.registry.config.max_download_attempts;
    let request = Request { method: Method::Get, to: To::Path(path), headers: &[], payload: Payload::None, attempts };
    let Reached { answer, url } = session.send(endpoint, request)?;
    match answer.status().as_u16() {
        200 => Ok(answer),
        404 => Err(Error::NotFound { reference: Box::new(session.reference.clone()), detail: "blob unknown".into() }),
        _ => Err(session.translate(Method::Get, &url, answer)),
    }
}

/// What an administrator asks of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Get,
    Post,
    Delete,
}

/// An answer to a [`Command`].
#[derive(Debug, Clone)]
pub struct CommandAnswer {
    pub status: u16,
    /// At most 64 MiB.
    pub bytes: Vec<u8>,
    /// Where the next page is: a path with a query.
    pub next: Option<String>,
}

/// Asks the registry at the host of `reference`; `path` begins with `/v2/`, `scope` is what a token server is asked for.
pub fn command(
    registry: &Registry,
    reference: &Reference,
    command: Command,
    path: &str,
    scope: Option<String>,
    auth: Option<AuthConfig>,
) -> Result<CommandAnswer> {
    const LIMIT: u64 = 64 << 20;
    let cancel = AtomicBool::new(false);
    let mut session = Session::new(registry, reference, auth, Purpose::Look, &cancel);
    session.scopes = scope.into_iter().collect();
    let method = match command {
        Command::Get => Method::Get,
        Command::Post => Method::Post,
        Command::Delete => Method::Delete,
    };
    let endpoints = registry.endpoints(reference)?;
    let endpoint = endpoints.last().ok_or(Error::Cancelled)?;
    let request = Request { method, to: To::Path(path), headers: &[], payload: Payload::None, attempts: 2 };
    let answer = session.send(endpoint, request)?.answer;
    let status = answer.status().as_u16();
    let link = answer.headers().get("Link").and_then(|value| value.to_str().ok());
    let next = link.and_then(|link| link.strip_prefix('<')?.split_once('>').map(|(path, _)| path.to_owned()));
    let mut bytes = Vec::new();
    let mut body = answer.into_body().into_reader().take(LIMIT);
    body.read_to_end(&mut bytes).map_err(|error| broken(path, &error))?;
    Ok(CommandAnswer { status, bytes, next: next.filter(|next| next.starts_with("/v2/")) })
}

fn broken(path: &str, error: &std::io::Error) -> Error {
    Error::Unreachable { method: "Get", url: path.to_owned(), reason: explain_body(error).text }
}
