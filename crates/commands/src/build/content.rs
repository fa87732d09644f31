//! Directories that are OCI layouts, whose blobs the daemon reads and writes: build caches (`type=local`), images that are
//! built on (`oci-layout://`) and that were built (`type=oci,tar=false`).
//!
//! Source: <https://github.com/containerd/containerd/blob/main/api/services/content/v1/content.proto>

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use client::{Call, Ended};
use oci::{Descriptor, Digest, DigestHasher, Index, media_type};
use session::frame::Opening;
use session::wire::{Message, fields};

use crate::failure::{Failure, Outcome, io_text};

/// No such thing, and there already (gRPC's codes).
const NOT_FOUND: u32 = 5;
const EXISTS: u32 = 6;

/// Bytes of a blob that are sent at once.
const PIECE: usize = 512 * 1024;

/// `WriteAction`
const ACTION_COMMIT: u64 = 2;

/// The name of a cache that is given none.
pub(crate) const TAG: &str = "latest";

/// Where an index names its entries.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Where an index has the whole name of an image.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// Directories by the ids under which the daemon asks for them.
pub(crate) type Stores = BTreeMap<String, PathBuf>;

/// Which methods are served.
pub(crate) const METHODS: [&str; 3] = [
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Write",
];

/// Answers one call.
pub(crate) fn serve(stores: &Stores, opening: &Opening, call: &Call) -> Result<(), Ended> {
    let id = opening.get("buildkit-attachable-store-id");
    let store = stores.get(id).ok_or_else(|| Ended::new(NOT_FOUND, format!("unknown store {id}")))?;
    match opening.method.rsplit('/').next().unwrap_or_default() {
        "Info" => {
            let digest = asked(call)?;
            let size = fs::metadata(blob(store, &digest)).map_err(|error| missing(&digest, &error))?.len();
            let info = Message::new().bytes(1, digest.to_string()).number(2, size);
            call.send(Message::new().message(1, &info).as_ref())
        }
        "Read" => {
            let digest = asked(call)?;
            let mut file = File::open(blob(store, &digest)).map_err(|error| missing(&digest, &error))?;
            let (mut buffer, mut offset) = (vec![0; PIECE], 0);
            loop {
                let length = file.read(&mut buffer)?;
                if length == 0 {
                    return Ok(());
                }
                call.send(Message::new().number(1, offset).bytes(2, &buffer[..length]).as_ref())?;
                offset += length as u64;
            }
        }
        _ => write(store, call),
    }
}

fn missing(digest: &Digest, error: &std::io::Error) -> Ended {
    match error.kind() {
        std::io::ErrorKind::NotFound => Ended::new(NOT_FOUND, format!("content {digest}: not found")),
        _ => Ended::new(2, format!("content {digest}: {error}")),
    }
}

fn blob(store: &Path, digest: &Digest) -> PathBuf {
    store.join("blobs/sha256").join(digest.hex())
}

/// The digest in the only message.
fn asked(call: &Call) -> Result<Digest, Ended> {
    let message = call.receive()?.unwrap_or_default();
    let mut text = String::new();
    for field in fields(&message) {
        if let (1, value) = field? {
            text = value.text()?;
        }
    }
    Digest::parse(&text).map_err(|error| Ended::new(3, error.to_string()))
}

/// Takes one blob: into a file beside the others, which gets its name once its digest is right.
fn write(store: &Path, call: &Call) -> Result<(), Ended> {
    let folder = store.join("blobs/sha256");
    fs::create_dir_all(&folder)?;
    let mut open: Option<(Digest, PathBuf, File)> = None;
    let (mut hasher, mut offset) = (DigestHasher::new(), 0u64);
    let result = loop {
        let Some(message) = call.receive()? else { break Err(Ended::new(14, "the blob broke off")) };
        let (mut action, mut expected, mut at, mut data) = (0, String::new(), 0, &[][..]);
        for field in fields(&message) {
            match field? {
                (1, value) => action = value.number(),
                (4, value) => expected = value.text()?,
                (5, value) => at = value.number(),
                (6, value) => data = value.bytes(),
                _ => {}
            }
        }
        if open.is_none() {
            let digest = Digest::parse(&expected).map_err(|error| Ended::new(3, error.to_string()))?;
            if blob(store, &digest).exists() {
                return Err(Ended::new(EXISTS, format!("content {digest}: already exists")));
            }
            let path = folder.join(format!(".{}.{}", digest.hex(), std::process::id()));
            open = Some((digest, path.clone(), File::create(path)?));
        }
        let Some((digest, path, file)) = &mut open else { continue };
        if at != offset {
            break Err(Ended::new(11, format!("content {digest}: {offset} bytes are here, and {at} comes next")));
        }
        if let Err(error) = file.write_all(data) {
            break Err(error.into());
        }
        hasher.update(data);
        offset += data.len() as u64;
        if action == ACTION_COMMIT {
            let actual = std::mem::replace(&mut hasher, DigestHasher::new()).finish();
            if actual != *digest {
                break Err(Ended::new(9, format!("unexpected commit digest {actual}, expected {digest}")));
            }
            if let Err(error) = file.sync_all().and_then(|()| fs::rename(&*path, blob(store, digest))) {
                break Err(error.into());
            }
        }
        call.send(Message::new().number(1, action).number(4, offset).as_ref())?;
        if action == ACTION_COMMIT {
            return Ok(());
        }
    };
    if let Some((_, path, _)) = open {
        // What is not whole is of no use.
        let _ = fs::remove_file(path);
    }
    result
}

/// The digest that a directory has under a tag; `None` without such a cache.
pub(crate) fn find(store: &Path, tag: &str) -> Outcome<Option<Digest>> {
    Ok(read_index(store)?.and_then(|index| {
        let named = |entry: &&Descriptor| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag);
        index.manifests.iter().find(named).map(|entry| entry.digest)
    }))
}

/// What a directory has, if that is one thing alone.
pub(crate) fn only(store: &Path) -> Outcome<Option<Digest>> {
    Ok(read_index(store)?.and_then(|index| match index.manifests.as_slice() {
        [only] => Some(only.digest),
        _ => None,
    }))
}

/// Names a manifest in a directory, in the place of what had the name.
pub(crate) fn name(store: &Path, tag: &str, manifest: Descriptor) -> Outcome {
    let annotations = BTreeMap::from([(REF_NAME.to_owned(), tag.to_owned())]);
    write_index(store, vec![Descriptor { annotations, ..manifest }])
}

/// Names an image in a directory by its whole names, in the place of what had them; without one it is there all the same.
pub(crate) fn tag(store: &Path, names: &[&str], image: Descriptor) -> Outcome {
    let named = |name: &&str| {
        let mut entry = image.clone();
        let tag = oci::Reference::parse(name).map(|name| name.tag_or_latest().to_owned());
        entry.annotations.insert(IMAGE_NAME.into(), (*name).to_owned());
        entry.annotations.insert(REF_NAME.into(), tag.unwrap_or_else(|_| TAG.to_owned()));
        entry
    };
    let entries = if names.is_empty() { vec![image.clone()] } else { names.iter().map(named).collect() };
    write_index(store, entries)
}

/// Adds entries to the index; those of the same name, and the same ones without a name, are replaced.
fn write_index(store: &Path, entries: Vec<Descriptor>) -> Outcome {
    let mut index = read_index(store)?.unwrap_or_else(|| Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.into(),
        artifact_type: None,
        manifests: Vec::new(),
        subject: None,
        annotations: BTreeMap::new(),
    });
    for entry in entries {
        let named = |entry: &Descriptor| {
            let of = |key| entry.annotations.get(key).cloned();
            of(IMAGE_NAME).or_else(|| of(REF_NAME))
        };
        let name = named(&entry);
        index.manifests.retain(|known| named(known) != name || (name.is_none() && known.digest != entry.digest));
        index.manifests.push(entry);
    }
    let json = serde_json::to_vec(&index).map_err(|error| Failure::new(error.to_string()))?;
    for (file, bytes) in [("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()), ("index.json", &json)] {
        let (path, new) = (store.join(file), store.join(format!(".{file}.{}", std::process::id())));
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| Failure::new(io_text("write", &path.to_string_lossy(), &error)))?;
    }
    Ok(())
}

fn read_index(store: &Path) -> Outcome<Option<Index>> {
    let path = store.join("index.json");
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("read {}: {error}", path.display()));
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}
