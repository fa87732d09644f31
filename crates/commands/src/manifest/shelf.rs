//! `~/.docker/manifests/<list>/<manifest>`: the manifests of lists that are not pushed yet, in docker's own format.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use distribution::Remote;
use oci::{Descriptor, Digest, Reference, media_type};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};

/// One manifest of a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Kept {
    #[serde(rename = "Ref")]
    pub(super) reference: String,
    pub(super) descriptor: Descriptor,
    /// The manifest in base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    raw: String,
    #[serde(rename = "SchemaV2Manifest", default, skip_serializing_if = "Option::is_none")]
    docker: Option<Box<RawValue>>,
    #[serde(rename = "OCIManifest", default, skip_serializing_if = "Option::is_none")]
    oci: Option<Box<RawValue>>,
}

impl Kept {
    /// What a registry gave.
    pub(super) fn of(reference: &Reference, remote: Remote) -> Outcome<Kept> {
        if !remote.entries.is_empty() || media_type::is_index(&remote.descriptor.media_type) {
            return Err(Failure::new(format!("{reference} is a manifest list")));
        }
        let text = String::from_utf8(remote.bytes.clone()).map_err(|e| Failure::new(e.to_string()))?;
        let document = RawValue::from_string(text).map_err(|e| Failure::new(e.to_string()))?;
        let is_oci = remote.descriptor.media_type == media_type::OCI_MANIFEST;
        let (docker, oci) = if is_oci { (None, Some(document)) } else { (Some(document), None) };
        Ok(Kept {
            reference: reference.to_string(),
            descriptor: Descriptor { platform: remote.platforms.into_iter().next(), ..remote.descriptor },
            raw: STANDARD.encode(&remote.bytes),
            docker,
            oci,
        })
    }

    pub(super) fn name(&self) -> Outcome<Reference> {
        Reference::parse(&self.reference).map_err(|e| Failure::new(e.to_string()))
    }

    /// The manifest's bytes, checked.
    pub(super) fn bytes(&self) -> Outcome<Vec<u8>> {
        let document = self.docker.as_ref().or(self.oci.as_ref());
        let bytes = match (self.raw.as_str(), document) {
            ("", Some(document)) => document.get().as_bytes().to_vec(),
            ("", None) => Vec::new(),
            (raw, _) => STANDARD.decode(raw).map_err(|e| Failure::new(format!("{}: {e}", self.reference)))?,
        };
        if Digest::of(&bytes) != self.descriptor.digest {
            return Err(Failure::new(format!("{}: the kept manifest has another digest", self.reference)));
        }
        Ok(bytes)
    }
}

/// As docker makes file names of references.
fn file_name(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}

fn directory(context: &Context, list: &Reference) -> Outcome<PathBuf> {
    let base = context.config().directory().ok_or_else(|| Failure::new("no home directory to keep manifests in"))?;
    Ok(base.join("manifests").join(file_name(list)))
}

/// All manifests of a list, in order of their names; `None` when there is no such list here.
pub(super) fn list(context: &Context, list: &Reference) -> Outcome<Option<Vec<Kept>>> {
    let directory = directory(context, list)?;
    let fail = |e: std::io::Error| Failure::new(io_text("open", &directory.display().to_string(), &e));
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp-")) {
            paths.push(path);
        }
    }
    paths.sort();
    let mut kept = Vec::new();
    for path in paths {
        let text = fs::read(&path).map_err(|e| Failure::new(io_text("open", &path.display().to_string(), &e)))?;
        kept.push(serde_json::from_slice(&text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?);
    }
    Ok(Some(kept))
}

/// Keeps a manifest in a list, in the place of one with the same name.
pub(super) fn keep(context: &Context, list: &Reference, manifest: &Kept) -> Outcome {
    let directory = directory(context, list)?;
    let path = directory.join(file_name(&manifest.name()?));
    let scratch = directory.join(format!(".tmp-{}", std::process::id()));
    let text = serde_json::to_vec(manifest).map_err(|e| Failure::new(e.to_string()))?;
    let written = fs::create_dir_all(&directory)
        .and_then(|()| fs::File::create(&scratch))
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&scratch, &path));
    written.map_err(|e| {
        let _ = fs::remove_file(&scratch);
        Failure::new(io_text("write", &path.display().to_string(), &e))
    })
}

/// Forgets a list; false when there was none.
pub(super) fn forget(context: &Context, list: &Reference) -> Outcome<bool> {
    let directory = directory(context, list)?;
    match fs::remove_dir_all(&directory) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Failure::new(io_text("remove", &directory.display().to_string(), &e))),
    }
}
