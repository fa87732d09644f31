//! `index.json` of an OCI layout (image-spec `image-layout.md`): all manifests, those with tags once for each tag.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Change, Entry, State};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{MANIFEST_LIMIT, Parsed};

pub(crate) const NAME: &str = "index.json";

/// The tag of a descriptor.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The subject of the manifest, so that nobody has to read it.
const SUBJECT: &str = "dev.hoist.registry.subject";
/// On the index: it is complete, with subjects.
const COMPLETE: &str = "dev.hoist.registry.complete";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Row>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

/// Reads it into `state`; says whether it is there.
pub(crate) fn read(directory: &Path, state: &mut State) -> Result<bool> {
    let path = directory.join(NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::Io { op: "read", path, source }),
    };
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| Error::Configuration {
        path: path.clone(),
        line: error.line(),
        detail: error.to_string(),
    })?;
    let complete = index.annotations.is_some_and(|annotations| annotations.contains_key(COMPLETE));
    let mut known: HashMap<String, std::sync::Arc<str>> = HashMap::new();
    let mut intern =
        |text: String| std::sync::Arc::clone(known.entry(text).or_insert_with_key(|text| text.as_str().into()));
    for row in index.manifests.unwrap_or_default() {
        let Ok(digest) = Digest::parse(&row.digest) else {
            tracing::warn!(path = %path.display(), digest = row.digest, "index.json has a digest that is not supported");
            continue;
        };
        let annotations = row.annotations.unwrap_or_default();
        let entry = Entry {
            media_type: intern(row.media_type),
            size: row.size,
            subject: annotations.get(SUBJECT).and_then(|text| Digest::parse(text).ok()),
            artifact_type: row.artifact_type.map(&mut intern),
        };
        if complete {
            state.apply(&Change::Put { digest, entry });
        } else {
            adopt(directory, digest, entry.media_type, state, 8);
        }
        if let Some(tag) = annotations.get(REF_NAME) {
            state.apply(&Change::Tag { tag: tag.clone(), digest });
        }
    }
    Ok(true)
}

/// Takes in a manifest of a layout that another tool made, and what it lists.
fn adopt(directory: &Path, digest: Digest, media_type: std::sync::Arc<str>, state: &mut State, depth: u32) {
    let path = directory.join("blobs").join(digest.algorithm().name()).join(digest.hex());
    let small = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= MANIFEST_LIMIT);
    let Some(bytes) = small.then(|| std::fs::read(&path).ok()).flatten() else { return };
    let Ok(parsed) = Parsed::read(Some(&media_type), &bytes) else { return };
    let entry = Entry {
        media_type,
        size: bytes.len() as u64,
        subject: parsed.subject,
        artifact_type: parsed.artifact_type.as_deref().map(Into::into),
    };
    state.apply(&Change::Put { digest, entry });
    for child in parsed.children() {
        if depth > 0 && !state.manifests.contains_key(&child.digest) {
            adopt(directory, child.digest, child.media_type.as_str().into(), state, depth - 1);
        }
    }
}

/// The document for `state`.
pub(crate) fn write(state: &State) -> Vec<u8> {
    let mut tags: HashMap<Digest, Vec<&str>> = HashMap::new();
    for (tag, digest) in &state.tags {
        tags.entry(*digest).or_default().push(tag.as_str());
    }
    let mut digests: Vec<&Digest> = state.manifests.keys().collect();
    digests.sort_unstable();
    let mut rows = Vec::with_capacity(digests.len() + state.tags.len());
    for digest in digests {
        let entry = &state.manifests[digest];
        let row = |tag: Option<&str>| {
            let tag = tag.map(|tag| (REF_NAME.to_owned(), tag.to_owned()));
            let subject = entry.subject.map(|subject| (SUBJECT.to_owned(), subject.to_string()));
            let annotations: BTreeMap<String, String> = tag.into_iter().chain(subject).collect();
            Row {
                media_type: entry.media_type.as_ref().to_owned(),
                digest: digest.to_string(),
                size: entry.size,
                artifact_type: entry.artifact_type.as_deref().map(str::to_owned),
                annotations: (!annotations.is_empty()).then_some(annotations),
            }
        };
        match tags.get(digest) {
            Some(tags) => rows.extend(tags.iter().map(|tag| row(Some(tag)))),
            None => rows.push(row(None)),
        }
    }
    let index = Index {
        schema_version: 2,
        media_type: Some(oci::media_type::OCI_INDEX.to_owned()),
        manifests: Some(rows),
        annotations: Some(BTreeMap::from([(COMPLETE.to_owned(), "1".to_owned())])),
    };
    serde_json::to_vec(&index).expect("the index is plain data")
}
