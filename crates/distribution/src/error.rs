//! What can go wrong between a registry and the store. Texts that clients see are Docker's.

use oci::{Digest, Platform, Reference};

/// Shorthand for this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a pull, a push or another conversation with a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository has no such tag or digest.
    #[error("manifest for {} not found: {detail}", .reference.familiar())]
    NotFound {
        /// What was asked for.
        reference: Box<Reference>,
        /// The registry's own words, `code: message`.
        detail: String,
    },
    /// The registry knows no such repository.
    #[error("repository {} not found: {detail}", .reference.familiar_name())]
    RepositoryNotFound {
        /// What was asked for.
        reference: Box<Reference>,
        /// The registry's own words, `code: message`.
        detail: String,
    },
    /// The registry does not let this user in, or hides that the repository does not exist.
    #[error(
        "pull access denied for {}, repository does not exist or may require 'docker login': {detail}",
        .reference.familiar_name()
    )]
    Denied {
        /// What was asked for.
        reference: Box<Reference>,
        /// The registry's own words, `code: message`.
        detail: String,
    },
    /// The registry does not let this user push. Docker shows the registry's words alone.
    #[error("{detail}")]
    Refused {
        /// The registry's own words, `code: message`.
        detail: String,
    },
    /// Credentials are missing or wrong.
    #[error("{method} \"{url}\": {detail}")]
    Unauthorized {
        /// `Get`, `Post`.
        method: &'static str,
        /// The address asked.
        url: String,
        /// `unauthorized: incorrect username or password`, `no basic auth credentials`, …
        detail: String,
    },
    /// A rate limit.
    #[error("toomanyrequests: {detail}")]
    TooManyRequests {
        /// The registry's own words.
        detail: String,
    },
    /// No answer: lookup, connection, TLS or a cut in the middle.
    #[error("{method} \"{url}\": {reason}")]
    Unreachable {
        /// `Get`, `Post`.
        method: &'static str,
        /// The address asked.
        url: String,
        /// `dial tcp: lookup host: no such host`, …
        reason: String,
    },
    /// An answer with a status that means nothing here.
    #[error("{method} \"{url}\": received unexpected HTTP status: {status}{}", detail_suffix(.detail))]
    Status {
        /// `Get`, `Post`.
        method: &'static str,
        /// The address asked.
        url: String,
        /// `500 Internal Server Error`.
        status: String,
        /// The registry's own words, perhaps empty.
        detail: String,
    },
    /// An answer that breaks the protocol.
    #[error("{method} \"{url}\": {detail}")]
    Protocol {
        /// `Get`, `Post`.
        method: &'static str,
        /// The address asked.
        url: String,
        /// What was wrong.
        detail: String,
    },
    /// The index has nothing for the platform.
    #[error(
        "no matching manifest for {platform} in the manifest list entries: no match for platform in manifest: not found"
    )]
    NoMatchingManifest {
        /// What was wanted.
        platform: Box<Platform>,
    },
    /// The image is for another operating system.
    #[error("image operating system {os:?} cannot be used on this platform")]
    OperatingSystem {
        /// The image's.
        os: String,
    },
    /// A manifest that is broken, too big, or of a kind that is no image.
    #[error("invalid manifest: {detail}")]
    Manifest {
        /// What was wrong.
        detail: String,
    },
    /// An image configuration that is broken.
    #[error("invalid image configuration: {detail}")]
    Config {
        /// What was wrong.
        detail: String,
    },
    /// A manifest of the kind from before 2016.
    #[error(
        "schema 1 manifests are not supported: {} has to be converted to schema 2 or to an OCI image (pull and push it with an older engine)",
        .reference.familiar()
    )]
    Schema1 {
        /// What was asked for.
        reference: Box<Reference>,
    },
    /// Something was larger than allowed.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// `manifest`, `image configuration`, `layer sha256:…`.
        what: String,
        /// Bytes.
        limit: u64,
    },
    /// Content has another digest than it should.
    #[error("{what} verification failed for digest {expected} (got {actual})")]
    DigestMismatch {
        /// `manifest`, `image config`, `filesystem layer`.
        what: &'static str,
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Content has another size than declared.
    #[error("{what} {digest} has {actual} bytes, but {declared} were declared")]
    SizeMismatch {
        /// `manifest`, `image config`, `filesystem layer`.
        what: &'static str,
        /// Whose.
        digest: Digest,
        /// Bytes declared.
        declared: u64,
        /// Bytes that came (so far), or that the registry announces.
        actual: u64,
    },
    /// Content ended early, again and again.
    #[error("short read of {digest}: expected {declared} bytes but got {actual}: unexpected EOF")]
    Truncated {
        /// Whose.
        digest: Digest,
        /// Bytes declared.
        declared: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// Manifest and configuration disagree about the layers.
    #[error("layers from manifest don't match image configuration")]
    LayersMismatch,
    /// A layer's uncompressed bytes are not what the configuration says.
    #[error("filesystem layer {layer} has diff id {actual}, but the image configuration says {expected}")]
    DiffIdMismatch {
        /// The layer's digest.
        layer: Digest,
        /// From the configuration.
        expected: Digest,
        /// Of what came.
        actual: Digest,
    },
    /// A layer that registries may not hold, without an address we would ask.
    #[error("foreign layer {digest}: no https address to fetch it from")]
    ForeignLayer {
        /// The layer's digest.
        digest: Digest,
    },
    /// A layer's archive could not be unpacked.
    #[error("failed to register layer")]
    Layer {
        /// The layer's digest.
        layer: Digest,
        /// Why.
        source: store::Error,
    },
    /// A layer's compression is broken or not supported.
    #[error("failed to register layer")]
    Decompress {
        /// The layer's digest.
        layer: Digest,
        /// Why.
        source: std::io::Error,
    },
    /// A layer could not be compressed for a push.
    #[error("failed to compress layer {layer}")]
    Compress {
        /// Its diff id.
        layer: Digest,
        /// Why.
        source: std::io::Error,
    },
    /// The store failed.
    #[error("failed to store the image")]
    Store(#[from] store::Error),
    /// Writing or reading a blob of the store failed.
    #[error("failed to {op} blob {digest}")]
    Blob {
        /// `write`, `read`.
        op: &'static str,
        /// Which.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
    /// An option of the registry client cannot be used.
    #[error("invalid {option} {value:?}: {detail}")]
    Option {
        /// `registry mirror`, `insecure registry`, …
        option: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        detail: String,
    },
    /// A certificate or key in certs.d cannot be used.
    #[error("certificate {path}: {detail}")]
    Certificate {
        /// The file.
        path: String,
        /// What was wrong.
        detail: String,
    },
    /// A thread could not be started.
    #[error("failed to start a thread")]
    Thread(#[source] std::io::Error),
    /// The caller asked to stop.
    #[error("context canceled")]
    Cancelled,
}

impl Error {
    /// Could the same go well later? Then what has come so far is worth keeping.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Cancelled
            | Error::Unreachable { .. }
            | Error::Truncated { .. }
            | Error::TooManyRequests { .. }
            | Error::Thread(_) => true,
            Error::Status { status, .. } => status.starts_with('5'),
            _ => false,
        }
    }
}

fn detail_suffix(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

/// Text from a registry, made safe to print: no control characters, at most 1000 characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_dockers() {
        let reference = Reference::parse("x:y").unwrap();
        let detail = "manifest unknown: manifest unknown".to_owned();
        assert_eq!(
            Error::NotFound { reference: Box::new(reference.clone()), detail }.to_string(),
            "manifest for x:y not found: manifest unknown: manifest unknown"
        );
        let detail = "denied: requested access to the resource is denied".to_owned();
        assert_eq!(
            Error::Denied { reference: Box::new(reference), detail }.to_string(),
            "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
        );
        assert_eq!(
            Error::Unreachable {
                method: "Get",
                url: "https://host/v2/".into(),
                reason: "dial tcp: lookup host: no such host".into()
            }
            .to_string(),
            "Get \"https://host/v2/\": dial tcp: lookup host: no such host"
        );
        let platform = Platform::parse("linux/arm64/v8").unwrap();
        assert!(
            Error::NoMatchingManifest { platform: Box::new(platform) }
                .to_string()
                .starts_with("no matching manifest for linux/arm64/v8 in the manifest list entries: ")
        );
    }

    #[test]
    fn registry_words_cannot_drive_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\nc"), "a [31mb c");
        assert_eq!(printable(&"x".repeat(5000)).len(), 1000);
    }
}
