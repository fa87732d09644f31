//! `type=oci` and `type=docker`: an image as a directory of blobs, in an archive or in a directory of the client.
//!
//! Layers are compressed here, and the documents name what they became. The same layers give the same bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use archive::Format;
use archive::tar::{Kind, Metadata, Writer};
use build::cache::import::nameless;
use engine::image::several::Layout;
use oci::{Descriptor, Digest, DigestHasher, Index, Reference, media_type};
use serde_json::json;

use super::Pipe;
use crate::content::Store;
use crate::door::Door;
use crate::job::Job;
use crate::request::Entry;
use crate::status::{Code, Status};

/// The name under which a client takes the blobs of `tar=false`.
const STORE: &str = "export";

/// How layers are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing(Option<Format>);

impl Packing {
    /// gzip, which is what caches have too.
    pub const GZIP: Packing = Packing(Some(Format::Gzip));

    /// What `compression=` and `compression-level=` of an output say.
    pub fn of(output: &Entry) -> Result<Packing, Status> {
        let get = |key: &str| output.attributes.get(key).map_or("", String::as_str);
        let level = get("compression-level");
        let wrong = || Status::invalid(format!("invalid compression-level {level:?}"));
        match (get("compression"), level) {
            ("" | "gzip", "") => Ok(Packing::GZIP),
            ("uncompressed", "") => Ok(Packing(None)),
            ("zstd", "") => Ok(Packing(Some(Format::Zstd { level: 3 }))),
            ("zstd", level) => match level.parse() {
                Ok(level) => Ok(Packing(Some(Format::Zstd { level: i32::clamp(level, 1, 19) }))),
                Err(_) => Err(wrong()),
            },
            ("" | "gzip" | "uncompressed", level) => {
                level.parse::<i32>().map_err(|_| wrong())?;
                Err(Status::unsupported(&format!("compression-level={level} of anything but zstd")))
            }
            (other, _) => Err(Status::unsupported(&format!("compression={other} of the output type={}", output.kind))),
        }
    }

    fn media_type(self) -> &'static str {
        match self.0 {
            None => media_type::OCI_LAYER,
            Some(Format::Gzip) => media_type::OCI_LAYER_GZIP,
            Some(Format::Zstd { .. }) => media_type::OCI_LAYER_ZSTD,
        }
    }
}

/// A layer as a blob, in a file without a name.
pub fn layer(door: &Door, layer: &Digest, packing: Packing) -> Result<(Descriptor, std::fs::File), Status> {
    /// Knows how much went through, and its digest.
    struct Measured<'a>(&'a mut std::fs::File, DigestHasher, u64);
    impl Write for Measured<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_all(bytes)?;
            self.1.update(bytes);
            self.2 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let engine = door.builder().engine();
    let tar = engine.store().layers().tar(layer).map_err(|error| Status::new(Code::Unknown, error.to_string()))?;
    let mut file = nameless(engine)?;
    let mut measured = Measured(&mut file, DigestHasher::new(), 0);
    match packing.0 {
        Some(format) => {
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            archive::compress(tar, &mut measured, format, workers)?;
        }
        None => drop(io::copy(&mut { tar }, &mut measured)?),
    }
    let Measured(_, hasher, size) = measured;
    file.rewind()?;
    Ok((Descriptor::new(packing.media_type(), hasher.finish(), size), file))
}

/// All blobs of a result.
pub struct Bundle {
    layers: Vec<(Descriptor, std::fs::File)>,
    /// Configurations, manifests, an index; the last is what names all of it.
    documents: Vec<(Descriptor, Vec<u8>)>,
    /// Annotations of what names it, where it is named.
    outside: BTreeMap<String, String>,
}

impl Bundle {
    /// Packs the layers and writes the documents.
    pub fn make(door: &Door, job: &Job, vertex: &Digest, layout: &Layout, packing: Packing) -> Result<Bundle, Status> {
        let (mut layers, mut blobs) = (Vec::new(), BTreeMap::new());
        for digest in layout.layers() {
            if job.cancel.is_cancelled() {
                return Err(Status::cancelled());
            }
            let (blob, file) = layer(door, &digest, packing)?;
            // Two layers may become the same blob.
            if !blobs.values().any(|known| known == &blob) {
                layers.push((blob.clone(), file));
            }
            blobs.insert(digest, blob);
        }
        job.journal.status(vertex, "exporting layers", 0, true);
        let made = layout.documents(&blobs);
        let mut documents = Vec::new();
        for (media_type, bytes) in made.blobs.into_iter().chain(made.manifests) {
            let blob = Descriptor::of(media_type, &bytes);
            if !documents.iter().any(|(known, _): &(Descriptor, _)| known.digest == blob.digest) {
                documents.push((blob, bytes));
            }
        }
        let bundle = Bundle { layers, documents, outside: layout.outside().clone() };
        job.journal.status(vertex, &format!("exporting manifest {}", bundle.top().digest), 0, true);
        Ok(bundle)
    }

    /// What names all of it.
    pub fn top(&self) -> Descriptor {
        let top = self.documents.last().map(|(blob, _)| blob.clone());
        let mut top = top.unwrap_or_else(|| Descriptor::of(media_type::OCI_INDEX, b""));
        top.annotations.extend(self.outside.clone());
        top
    }

    /// Writes it as an archive: an OCI layout, and with `docker` also in Docker's own form.
    pub fn send(&mut self, names: &[Reference], docker: bool, pipe: &mut Pipe<'_>) -> io::Result<()> {
        let mut tar = Writer::new(pipe);
        for folder in ["blobs", "blobs/sha256"] {
            tar.append(&Metadata::new(folder, Kind::Directory), io::empty())?;
        }
        for (blob, file) in &mut self.layers {
            file.rewind()?;
            append(&mut tar, &path(&blob.digest), blob.size, file)?;
        }
        for (blob, bytes) in &self.documents {
            append(&mut tar, &path(&blob.digest), blob.size, bytes.as_slice())?;
        }
        let entry = |name: &Reference| {
            let mut entry = self.top();
            entry.annotations.insert("io.containerd.image.name".into(), name.to_string());
            entry.annotations.insert("org.opencontainers.image.ref.name".into(), name.tag_or_latest().into());
            entry
        };
        let index = Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.into(),
            artifact_type: None,
            manifests: if names.is_empty() { vec![self.top()] } else { names.iter().map(entry).collect() },
            subject: None,
            annotations: BTreeMap::new(),
        };
        let mut files = vec![
            ("index.json", json!(index).to_string()),
            ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string()),
        ];
        if docker {
            files.push(("manifest.json", self.own_form(names)));
        }
        for (name, text) in files {
            append(&mut tar, name, text.len() as u64, text.as_bytes())?;
        }
        tar.finish().map(drop)
    }

    /// `manifest.json` of an archive for `docker load`.
    fn own_form(&self, names: &[Reference]) -> String {
        let names: Vec<String> = names.iter().map(Reference::familiar).collect();
        let manifests = self.documents.iter().filter(|(blob, _)| blob.media_type == media_type::OCI_MANIFEST);
        let images = manifests.filter_map(|(_, bytes)| serde_json::from_slice::<oci::Manifest>(bytes).ok());
        let images = images.map(|manifest| {
            let layers: Vec<String> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
            json!({ "Config": path(&manifest.config.digest), "RepoTags": names, "Layers": layers })
        });
        json!(images.collect::<Vec<_>>()).to_string()
    }

    /// Brings the blobs to a directory of the client, which names them itself.
    pub fn store(&mut self, job: &Arc<Job>, vertex: &Digest) -> Result<(), Status> {
        let store = Store::named(&job.caller, STORE.to_owned());
        for (blob, file) in &mut self.layers {
            let title = format!("writing layer {}", blob.digest);
            job.journal.status(vertex, &title, 0, false);
            file.rewind()?;
            store.write(blob, file, &job.cancel)?;
            job.journal.status(vertex, &title, blob.size, true);
        }
        for (blob, bytes) in &self.documents {
            store.write(blob, bytes.as_slice(), &job.cancel)?;
        }
        Ok(())
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn append(tar: &mut Writer<impl Write>, name: &str, size: u64, data: impl Read) -> io::Result<()> {
    let mut metadata = Metadata::new(name, Kind::File);
    metadata.size = size;
    tar.append(&metadata, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_layers_are_packed() {
        let packing = |pairs: &[(&str, &str)]| {
            let attributes = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Packing::of(&Entry { kind: "oci".into(), attributes }).map_err(|status| status.message)
        };
        assert_eq!(packing(&[]), Ok(Packing::GZIP));
        assert_eq!(packing(&[("compression", "uncompressed")]), Ok(Packing(None)));
        let zstd = [("compression", "zstd"), ("compression-level", "22")];
        assert_eq!(packing(&zstd), Ok(Packing(Some(Format::Zstd { level: 19 }))));
        for pairs in [
            &[("compression", "estargz")][..],
            &[("compression-level", "9")],
            &[("compression", "zstd"), ("compression-level", "x")],
        ] {
            assert!(packing(pairs).is_err(), "{pairs:?}");
        }
    }
}
