//! From a reference to one image's manifest, each document checked before it is believed.

use std::io::Read;

use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::endpoint::Endpoint;
use crate::session::{Answer, Session};
use crate::{Error, Result};

/// Largest manifest or index, in bytes (as Docker).
pub(crate) const MANIFEST_LIMIT: u64 = 4 << 20;
/// Largest image configuration, in bytes.
pub(crate) const CONFIG_LIMIT: u64 = 4 << 20;
/// Most layers of one image: what overlayfs and Docker take.
pub(crate) const LAYER_LIMIT: usize = 127;

/// A document and its digest.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

/// What a reference stands for.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// The index, if the registry had one.
    pub(crate) index: Option<Document>,
    pub(crate) document: Document,
    pub(crate) manifest: Manifest,
}

impl Resolved {
    /// The digest that the reference itself has: the index's, or the manifest's.
    pub(crate) fn digest(&self) -> Digest {
        self.index.as_ref().unwrap_or(&self.document).descriptor.digest
    }
}

/// Asks one endpoint.
pub(crate) fn resolve(session: &Session<'_>, endpoint: &Endpoint, platform: &Platform) -> Result<Resolved> {
    let reference = session.reference;
    let name = match reference.digest {
        Some(digest) => digest.to_string(),
        None => reference.tag_or_latest().to_owned(),
    };
    let mut first = fetch(session, endpoint, &name, reference.digest, None)?;
    match read(session, &mut first)? {
        Kind::Manifest(manifest) => finish(session, None, first, *manifest),
        Kind::Index(index) => {
            let chosen = index
                .choose(platform)
                .ok_or_else(|| Error::NoMatchingManifest { platform: Box::new(platform.clone()) })?;
            let mut document =
                fetch(session, endpoint, &chosen.digest.to_string(), Some(chosen.digest), Some(chosen.size))?;
            match read(session, &mut document)? {
                Kind::Manifest(manifest) => finish(session, Some(first), document, *manifest),
                Kind::Index(_) => Err(invalid("an index inside of an index")),
            }
        }
    }
}

fn finish(session: &Session<'_>, index: Option<Document>, document: Document, manifest: Manifest) -> Result<Resolved> {
    if manifest.layers.len() > LAYER_LIMIT {
        return Err(invalid(&format!("{} layers, at most {LAYER_LIMIT} are possible", manifest.layers.len())));
    }
    // Besides the two right types, those that old registries and builders are known to give (as Docker).
    let config = manifest.config.media_type.as_str();
    if !media_type::is_config(config) && !matches!(config, "" | "application/octet-stream" | "text/html") {
        return Err(invalid(&format!("it is no image: config of type {:?}", crate::error::printable(config))));
    }
    if manifest.config.size > CONFIG_LIMIT {
        return Err(Error::TooLarge { what: "image configuration".into(), limit: CONFIG_LIMIT });
    }
    let limit = session.registry.config.max_layer_size;
    if let Some(layer) = manifest.layers.iter().find(|layer| layer.size > limit) {
        return Err(Error::TooLarge { what: format!("layer {}", layer.digest), limit });
    }
    if let Some(layer) = manifest.layers.iter().find(|layer| !media_type::is_layer(&layer.media_type)) {
        return Err(invalid(&format!("layer of unknown type {:?}", crate::error::printable(&layer.media_type))));
    }
    Ok(Resolved { index, document, manifest })
}

/// GETs a manifest and checks its digest against `expected`, or against the registry's own header.
pub(crate) fn fetch(
    session: &Session<'_>,
    endpoint: &Endpoint,
    name: &str,
    expected: Option<Digest>,
    size: Option<u64>,
) -> Result<Document> {
    if size.is_some_and(|size| size > MANIFEST_LIMIT) {
        return Err(Error::TooLarge { what: "manifest".into(), limit: MANIFEST_LIMIT });
    }
    let path = format!("/v2/{}/manifests/{name}", session.reference.path);
    let accept = [
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_MANIFEST_LIST,
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
    ];
    // A body that is cut is asked for again, as a request is.
    let mut attempt = 0;
    let (bytes, content_type, promised) = loop {
        attempt += 1;
        let answer = session.get(endpoint, &path, &[("Accept", accept.join(", "))])?;
        let header = |name: &str| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let content_type = header("Content-Type");
        let promised = header("Docker-Content-Digest");
        match read_bounded(answer) {
            Ok(bytes) => break (bytes, content_type, promised),
            Err(_) if attempt < session.registry.config.max_download_attempts => {
                session.pause(session.backoff(attempt))?;
            }
            Err(error) => {
                session.check()?;
                let fault = crate::transport::explain_body(&error);
                let scheme = session.scheme(endpoint);
                let url = endpoint.url(scheme, &path).to_string();
                return Err(Error::Unreachable { method: "Get", url, reason: fault.text });
            }
        }
    };
    if bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(Error::TooLarge { what: "manifest".into(), limit: MANIFEST_LIMIT });
    }
    let actual = Digest::of(&bytes);
    // A header with another algorithm says nothing that we could check.
    if let Some(expected) = expected.or_else(|| Digest::parse(&promised).ok())
        && expected != actual
    {
        return Err(Error::DigestMismatch { what: "manifest", expected, actual });
    }
    if let Some(declared) = size
        && declared != bytes.len() as u64
    {
        return Err(Error::SizeMismatch { what: "manifest", digest: actual, declared, actual: bytes.len() as u64 });
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(Document { descriptor: Descriptor::new(media_type, actual, bytes.len() as u64), bytes })
}

fn read_bounded(answer: Answer) -> std::io::Result<Vec<u8>> {
    let declared = answer.body().content_length();
    let mut bytes = Vec::new();
    answer.into_body().into_reader().take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes)?;
    match declared {
        Some(length) if length <= MANIFEST_LIMIT && length != bytes.len() as u64 => {
            Err(std::io::ErrorKind::UnexpectedEof.into())
        }
        _ => Ok(bytes),
    }
}

/// One of the two.
pub(crate) enum Kind {
    Manifest(Box<Manifest>),
    Index(Box<Index>),
}

/// Decides what a document is, by its header and by itself; the two must not disagree, and it must not be two things
/// at once (CVE-2021-41190).
/// The document's descriptor gets the type that it turned out to have.
pub(crate) fn read(session: &Session<'_>, document: &mut Document) -> Result<Kind> {
    let header = std::mem::take(&mut document.descriptor.media_type);
    let kind = read_bytes(&header, &document.bytes).map_err(|problem| match problem {
        Problem::Schema1 => Error::Schema1 { reference: Box::new(session.reference.clone()) },
        Problem::Invalid(detail) => invalid(&detail),
    })?;
    let (own, fallback) = match &kind {
        Kind::Manifest(manifest) => (&manifest.media_type, media_type::OCI_MANIFEST),
        Kind::Index(index) => (&index.media_type, media_type::OCI_INDEX),
    };
    document.descriptor.media_type = match own.is_empty() {
        false => own.clone(),
        true if is_known(&header) => header,
        true => fallback.to_owned(),
    };
    Ok(kind)
}

fn is_known(media_type: &str) -> bool {
    media_type::is_index(media_type) || media_type::is_manifest(media_type)
}

#[derive(Debug, PartialEq)]
enum Problem {
    Schema1,
    Invalid(String),
}

fn read_bytes(header: &str, bytes: &[u8]) -> std::result::Result<Kind, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outline {
        #[serde(default)]
        schema_version: u32,
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        config: Option<IgnoredAny>,
        #[serde(default)]
        layers: Option<IgnoredAny>,
        #[serde(default)]
        manifests: Option<IgnoredAny>,
        #[serde(default)]
        fs_layers: Option<IgnoredAny>,
    }
    let problem = |detail: String| Problem::Invalid(detail);
    let not_json = |error: serde_json::Error| Problem::Invalid(crate::error::printable(&error.to_string()));
    if media_type::is_schema1(header) {
        return Err(Problem::Schema1);
    }
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(problem("not a JSON object".into()));
    }
    let outline: Outline = serde_json::from_slice(bytes).map_err(not_json)?;
    let own = outline.media_type.unwrap_or_default();
    if media_type::is_schema1(&own) || outline.fs_layers.is_some() || outline.schema_version == 1 {
        return Err(Problem::Schema1);
    }
    if is_known(header) && !own.is_empty() && own != header {
        return Err(problem(format!(
            "the registry says {header}, the document says {:?}",
            crate::error::printable(&own)
        )));
    }
    let is_manifest = outline.config.is_some() || outline.layers.is_some();
    let is_index = outline.manifests.is_some();
    if is_manifest && is_index {
        return Err(problem("it is a manifest and an index at once".into()));
    }
    let kind = if is_known(header) { header } else { own.as_str() };
    let as_index = match kind {
        kind if media_type::is_index(kind) => true,
        kind if media_type::is_manifest(kind) => false,
        // Neither says anything (some registries answer with application/json): the fields decide.
        "" => is_index,
        other => {
            return Err(problem(format!("unsupported manifest media type: {:?}", crate::error::printable(other))));
        }
    };
    if as_index == is_manifest && (is_index || is_manifest) {
        return Err(problem(format!("its fields are not those of {kind}")));
    }
    if as_index {
        Ok(Kind::Index(Box::new(serde_json::from_slice(bytes).map_err(not_json)?)))
    } else {
        Ok(Kind::Manifest(Box::new(serde_json::from_slice(bytes).map_err(not_json)?)))
    }
}

/// Reads an image configuration and checks that it fits the manifest.
pub(crate) fn read_config(bytes: &[u8], manifest: &Manifest) -> Result<ImageConfig> {
    let config = ImageConfig::from_bytes(bytes)
        .map_err(|error| Error::Config { detail: crate::error::printable(&error.to_string()) })?;
    if !matches!(config.rootfs.kind.as_str(), "layers" | "") {
        return Err(Error::Config {
            detail: format!("root file system of unknown type {:?}", crate::error::printable(&config.rootfs.kind)),
        });
    }
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::LayersMismatch);
    }
    if !config.os.is_empty() && config.os != std::env::consts::OS {
        return Err(Error::OperatingSystem { os: crate::error::printable(&config.os) });
    }
    Ok(config)
}

fn invalid(detail: &str) -> Error {
    Error::Manifest { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_documents() {
        let manifest = |own: &str| {
            format!(
                r#"{{"schemaVersion":2{own},"config":{{"mediaType":"c","digest":"{}","size":1}},"layers":[]}}"#,
                Digest::of(b"")
            )
        };
        let index = |own: &str| format!(r#"{{"schemaVersion":2{own},"manifests":[]}}"#);
        let own = |kind: &str| format!(r#","mediaType":"{kind}""#);
        let (m, i) = (media_type::OCI_MANIFEST, media_type::OCI_INDEX);
        for (header, body, expect) in [
            (m, manifest(""), "manifest"),
            (m, manifest(&own(m)), "manifest"),
            ("application/json", manifest(&own(m)), "manifest"),
            ("application/json", manifest(""), "manifest"),
            ("", index(""), "index"),
            (i, index(""), "index"),
            (i, index(&own(i)), "index"),
            (i, index(&own(m)), "invalid"),
            (m, manifest(&own(i)), "invalid"),
            (m, index(""), "invalid"),
            (i, manifest(""), "invalid"),
            (media_type::DOCKER_MANIFEST, manifest(&own(m)), "invalid"),
            (m, manifest("").replace("\"layers\"", "\"manifests\":[],\"layers\""), "invalid"),
            ("application/json", manifest(&own("application/vnd.helm")), "invalid"),
            (m, "[]".into(), "invalid"),
            (m, "{".into(), "invalid"),
            (m, "{}".into(), "invalid"),
            (m, String::new(), "invalid"),
            (media_type::DOCKER_MANIFEST_V1_SIGNED, "{}".into(), "schema 1"),
            ("application/json", r#"{"schemaVersion":1,"fsLayers":[]}"#.into(), "schema 1"),
        ] {
            let kind = match read_bytes(header, body.as_bytes()) {
                Ok(Kind::Manifest(_)) => "manifest",
                Ok(Kind::Index(_)) => "index",
                Err(Problem::Schema1) => "schema 1",
                Err(Problem::Invalid(_)) => "invalid",
            };
            assert_eq!(kind, expect, "{header} {body}");
        }
    }

    /// No document makes it panic, or be two things at once.
    #[test]
    fn hostile_manifests() {
        let image = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1,"urls":["https://x/"]}]}"#;
        let list = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}"#;
        let seeds: [&[u8]; 3] = [image.as_bytes(), list.as_bytes(), br#"{"schemaVersion":1,"fsLayers":[]}"#];
        let tokens: [&[u8]; 10] = [
            b"\"manifests\":",
            b"\"layers\":",
            b"\"config\":",
            b"null",
            b"[]",
            b"{}",
            b"18446744073709551615",
            b"-1",
            b"sha256:",
            b"\\u0000",
        ];
        fuzz::run(&seeds, &tokens, |input| {
            for header in ["", media_type::OCI_MANIFEST, media_type::OCI_INDEX] {
                if let Ok(kind) = read_bytes(header, input) {
                    // What is passed over may hold what no text may.
                    let Ok(document) = serde_json::from_slice::<serde_json::Value>(input) else { continue };
                    match kind {
                        Kind::Manifest(_) => assert!(document.get("manifests").is_none_or(serde_json::Value::is_null)),
                        Kind::Index(_) => assert!(document.get("layers").is_none_or(serde_json::Value::is_null)),
                    }
                }
            }
        });
    }
}
