//! Descriptors, manifests and indexes (OCI image-spec; Docker's schema 2 has the same fields).
//!
//! Keep the bytes a registry sent: these structs are for reading, and for manifests of our own making.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{is_default, null_is_default};
use crate::{Digest, Platform, media_type};

/// Points at content: its type, digest and size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// One of [`media_type`], or anything else for content we do not understand.
    #[serde(default, deserialize_with = "null_is_default")]
    pub media_type: String,
    /// Digest of the content's bytes.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Where else the content may be fetched from.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub urls: Vec<String>,
    /// Free key-value pairs.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself in base64, for small things.
    #[serde(default, skip_serializing_if = "is_default")]
    pub data: Option<String>,
    /// In an index: what the manifest runs on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub platform: Option<Platform>,
    /// Type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "is_default")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with nothing but the three required fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// The descriptor of these bytes.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }
}

/// One image: its config and layers, base first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Optional in OCI manifests.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub media_type: String,
    /// Type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "is_default")]
    pub artifact_type: Option<String>,
    /// The image configuration; its digest is the image id.
    pub config: Descriptor,
    /// Layers, base first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one says something about.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// A Docker schema 2 manifest.
    pub fn docker(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: media_type::DOCKER_MANIFEST.into(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// An OCI manifest.
    pub fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest { media_type: media_type::OCI_MANIFEST.into(), ..Manifest::docker(config, layers) }
    }
}

/// A list of manifests, usually one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Optional in OCI indexes.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub media_type: String,
    /// Type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "is_default")]
    pub artifact_type: Option<String>,
    /// The entries, in order of preference.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this one says something about.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// The entry that suits `wanted` best: exact variant first, then older compatible ones, then a 32-bit one; among
    /// equals the first. Attestations (`unknown/unknown`) and entries without a platform never match.
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let mut best: Option<(usize, &Descriptor)> = None;
        for entry in &self.manifests {
            let rank = entry.platform.as_ref().and_then(|platform| wanted.rank(platform));
            if let Some(rank) = rank
                && best.is_none_or(|(least, _)| rank < least)
            {
                best = Some((rank, entry));
            }
        }
        best.map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, platform: &str) -> Descriptor {
        Descriptor {
            platform: Some(Platform::parse(platform).unwrap()),
            ..Descriptor::of(media_type::OCI_MANIFEST, name.as_bytes())
        }
    }

    #[test]
    fn index_chooses_by_platform() {
        let index = Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.into(),
            artifact_type: None,
            manifests: vec![
                Descriptor::of(media_type::OCI_MANIFEST, b"no platform"),
                entry("arm5", "linux/arm/v5"),
                entry("386", "linux/386"),
                entry("arm7", "linux/arm/v7"),
                entry("amd64", "linux/amd64"),
                entry("amd64 again", "linux/amd64"),
                entry("windows", "windows/amd64"),
                entry("arm64", "linux/arm64/v8"),
                entry("attestation", "unknown/unknown"),
            ],
            subject: None,
            annotations: BTreeMap::new(),
        };
        for (wanted, name) in [
            ("linux/amd64", Some("amd64")),
            ("linux/amd64/v3", Some("amd64")),
            ("linux/386", Some("386")),
            ("linux/arm64", Some("arm64")),
            ("linux/arm64/v8", Some("arm64")),
            ("linux/arm/v6", Some("arm5")),
            ("linux/arm", Some("arm7")),
            ("linux/s390x", None),
        ] {
            let chosen = index.choose(&Platform::parse(wanted).unwrap());
            assert_eq!(chosen.map(|d| d.digest), name.map(|n| Digest::of(n.as_bytes())), "{wanted}");
        }
    }

    #[test]
    fn fields_keep_their_order_and_unknown_ones_are_ignored() {
        let json = r#"{"schemaVersion":2,"mediaType":"m","config":{"mediaType":"c","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}"#;
        let manifest: Manifest = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&manifest).unwrap(), json);
        let lenient = json.replace("\"layers\":[]", "\"layers\":null,\"future\":{\"x\":1},\"annotations\":null");
        assert_eq!(serde_json::from_str::<Manifest>(&lenient).unwrap(), manifest);
        assert!(serde_json::from_str::<Manifest>(&json.replace("\"size\":0", "\"size\":-1")).is_err());
    }
}
