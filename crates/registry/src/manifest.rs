//! Manifests and indexes as a registry sees them: what they refer to, and whether they may be believed.

use std::collections::BTreeMap;

use oci::media_type;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, printable};
use crate::error::{Error, Result};

/// Largest manifest or index in bytes (distribution-spec, "Pushing Manifests").
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// Most descriptors of one manifest.
const MOST: usize = 10_000;

/// How a manifest refers to content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Config or layer: a blob.
    Blob,
    /// Config or layer that lives elsewhere: it may be missing.
    Elsewhere,
    /// A manifest of an index.
    Child,
}

/// What a manifest refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub relation: Relation,
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
}

/// What counts of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub media_type: String,
    pub content: Vec<Content>,
    pub subject: Option<Digest>,
    /// As the referrers list gives it.
    pub artifact_type: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: Option<String>,
    digest: String,
    #[serde(default)]
    size: i64,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

impl Parsed {
    /// Reads a manifest that came with the header `content_type`.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`]: no JSON, of an unknown type, of two types at once (CVE-2021-41190), or with
    /// descriptors that cannot be.
    pub fn read(content_type: Option<&str>, bytes: &[u8]) -> Result<Parsed> {
        let invalid = |detail: String| Error::ManifestInvalid { detail };
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid("it is not a JSON object".into()));
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| invalid(printable(&error.to_string())))?;
        let header = content_type
            .map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
            .filter(|text| !text.is_empty() && text != "application/json" && text != "application/octet-stream");
        let own = document.media_type.clone().filter(|own| !own.is_empty());
        if let (Some(header), Some(own)) = (&header, &own)
            && header != own
        {
            return Err(invalid(format!("the header says {}, the document {}", printable(header), printable(own))));
        }
        let is_index = document.manifests.is_some();
        let is_manifest = document.config.is_some() || document.layers.is_some();
        let media_type = match own.or(header) {
            Some(media_type) => media_type,
            None if is_index => media_type::OCI_INDEX.to_owned(),
            None => media_type::OCI_MANIFEST.to_owned(),
        };
        if media_type::is_schema1(&media_type)
            || document.fs_layers.is_some()
            || document.schema_version.is_some_and(|version| version != 2)
        {
            return Err(invalid("only schema version 2 is supported".into()));
        }
        let index = match media_type.as_str() {
            kind if media_type::is_index(kind) => true,
            kind if media_type::is_manifest(kind) => false,
            kind => return Err(invalid(format!("unsupported media type {}", printable(kind)))),
        };
        if (index && is_manifest) || (!index && is_index) {
            return Err(invalid(format!("its fields are not those of {media_type}")));
        }
        if index && !is_index {
            return Err(invalid("it has no manifests".into()));
        }
        if !index && document.config.is_none() {
            return Err(invalid("it has no config".into()));
        }
        document.finish(media_type, index)
    }

    /// The manifests of an index.
    pub fn children(&self) -> impl Iterator<Item = &Content> {
        self.content.iter().filter(|content| content.relation == Relation::Child)
    }
}

impl Document {
    fn finish(self, media_type: String, index: bool) -> Result<Parsed> {
        let read = |descriptor: &Descriptor, relation: Relation| -> Result<Content> {
            let digest = Digest::parse(&descriptor.digest)
                .map_err(|error| Error::ManifestInvalid { detail: error.to_string() })?;
            let size = u64::try_from(descriptor.size)
                .map_err(|_| Error::ManifestInvalid { detail: format!("{digest} has a negative size") })?;
            let media_type = descriptor.media_type.clone().unwrap_or_default();
            let elsewhere = media_type::is_foreign_layer(&media_type)
                || descriptor.urls.as_ref().is_some_and(|urls| !urls.is_empty());
            let relation = if relation == Relation::Blob && elsewhere { Relation::Elsewhere } else { relation };
            Ok(Content { relation, digest, size, media_type })
        };
        let layers = self.layers.unwrap_or_default();
        let children = self.manifests.unwrap_or_default();
        if layers.len() + children.len() > MOST {
            return Err(Error::ManifestInvalid { detail: format!("more than {MOST} descriptors") });
        }
        let config_type = self.config.as_ref().and_then(|config| config.media_type.clone());
        let mut content = Vec::with_capacity(layers.len() + children.len() + 1);
        for (descriptors, relation) in [
            (self.config.iter().chain(&layers).collect::<Vec<_>>(), Relation::Blob),
            (children.iter().collect(), Relation::Child),
        ] {
            for descriptor in descriptors {
                content.push(read(descriptor, relation)?);
            }
        }
        let subject = self.subject.as_ref().map(|subject| read(subject, Relation::Child)).transpose()?;
        let artifact_type = self
            .artifact_type
            .filter(|kind| !kind.is_empty())
            .or_else(|| config_type.filter(|kind| !index && !kind.is_empty()));
        Ok(Parsed {
            media_type,
            content,
            subject: subject.map(|subject| subject.digest),
            artifact_type,
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

/// A descriptor of a manifest, as the referrers route lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn documents() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let descriptor =
            |kind: &str, more: &str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":1{more}}}"#);
        let (m, i, d) = (media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_MANIFEST);
        let manifest = |more: &str| {
            format!(
                r#"{{"schemaVersion":2{more},"config":{},"layers":[{}]}}"#,
                descriptor("c/c", ""),
                descriptor("l/l", r#","urls":["https://x"]"#)
            )
        };
        let index = |more: &str| format!(r#"{{"schemaVersion":2{more},"manifests":[{}]}}"#, descriptor(m, ""));
        let own = |kind: &str| format!(r#","mediaType":"{kind}""#);
        for (header, body, expect) in [
            (Some(m), manifest(""), Some(m)),
            (None, manifest(""), Some(m)),
            (None, manifest(&own(d)), Some(d)),
            (Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), manifest(""), Some(m)),
            (Some(i), index(""), Some(i)),
            (None, index(""), Some(i)),
            (Some(d), manifest(&own(m)), None),
            (Some(i), manifest(""), None),
            (Some(m), index(""), None),
            (Some("text/plain"), manifest(""), None),
            (Some(m), manifest("").replace("\"layers\"", "\"manifests\":[],\"layers\""), None),
            (Some(m), r#"{"schemaVersion":1,"fsLayers":[]}"#.into(), None),
            (Some(m), "{}".into(), None),
            (Some(m), "[]".into(), None),
            (Some(m), "{".into(), None),
            (Some(m), manifest("").replace("sha256:", "sha256:../"), None),
            (Some(m), manifest("").replace("\"size\":1", "\"size\":-1"), None),
        ] {
            let read = Parsed::read(header, body.as_bytes());
            assert_eq!(
                read.as_ref().ok().map(|parsed| parsed.media_type.as_str()),
                expect,
                "{header:?} {body} {read:?}"
            );
        }
        let parsed = Parsed::read(Some(m), manifest("").as_bytes()).unwrap();
        let relations: Vec<Relation> = parsed.content.iter().map(|content| content.relation).collect();
        assert_eq!(relations, [Relation::Blob, Relation::Elsewhere]);
        assert_eq!(parsed.artifact_type.as_deref(), Some("c/c"));
    }
}
