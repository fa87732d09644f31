//! The registry without HTTP: pushes, mounts, garbage, and layouts by other hands.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::time::Duration;

use registry::{Algorithm, Digest, Error, GcOptions, Name, Options, PushOptions, Reference, Registry, Tag};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("hoist-registry-storage-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }

    fn open(&self) -> Registry {
        Registry::open(&self.0, Options::default()).unwrap()
    }

    fn files(&self, part: &str) -> usize {
        std::fs::read_dir(self.0.join(part)).map_or(0, Iterator::count)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn blob(registry: &Registry, repository: &str, bytes: &[u8]) -> Digest {
    let digest = Digest::of(Algorithm::Sha256, bytes);
    let mut upload = registry.begin_upload(&name(repository), Algorithm::Sha256).unwrap();
    upload.write(bytes).unwrap();
    assert_eq!(upload.finish(&digest).unwrap(), bytes.len() as u64);
    digest
}

fn manifest(config: &Digest, layer: &Digest, size: usize, more: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c/c","digest":"{config}","size":2}},"layers":[{{"mediaType":"l/l","digest":"{layer}","size":{size}}}]{more}}}"#
    )
}

fn push(registry: &Registry, repository: &str, tag: &str, layer: &[u8], more: &str) -> Digest {
    let (config, digest) = (blob(registry, repository, b"{}"), blob(registry, repository, layer));
    let text = manifest(&config, &digest, layer.len(), more);
    let reference = match tag {
        "" => Reference::Digest(Digest::of(Algorithm::Sha256, text.as_bytes())),
        tag => Reference::Tag(Tag::parse(tag).unwrap()),
    };
    let options = PushOptions::default();
    registry
        .push_manifest(&name(repository), &reference, &[], Some(MANIFEST), text.as_bytes(), &options)
        .unwrap()
        .digest
}

const NOW: GcOptions = GcOptions { grace: Duration::ZERO, uploads: Duration::ZERO, untagged: false, dry_run: false };

#[test]
fn blobs_are_stored_once_and_collected_when_nobody_has_them() {
    let scratch = Scratch::new("gc");
    let registry = scratch.open();
    push(&registry, "a", "1", b"shared", "");
    push(&registry, "b/c", "1", b"shared", "");
    let orphan = blob(&registry, "a", b"orphan");
    let usage = registry.usage(|_| true).unwrap();
    assert_eq!((usage[0].bytes, usage[1].own), (usage[0].own, 0));
    assert_eq!(scratch.files("blobs/sha256"), 4);
    // Young: it may be part of a push.
    assert_eq!(registry.gc(&GcOptions::default()).unwrap().blobs, 0);
    let dry = registry.gc(&GcOptions { dry_run: true, ..NOW }).unwrap();
    let collected = registry.gc(&NOW).unwrap();
    assert_eq!((dry.blobs, collected.blobs, collected.bytes), (1, 1, 6));
    assert!(matches!(registry.repository(&name("a")).unwrap().open_blob(&orphan), Err(Error::BlobUnknown { .. })));
    // The last repository that has them takes them along.
    let reference = Reference::Tag(Tag::parse("1").unwrap());
    registry.delete_manifest(&name("a"), &reference, &|_| false).unwrap();
    registry.gc(&GcOptions { untagged: true, ..NOW }).unwrap();
    assert_eq!(scratch.files("blobs/sha256"), 3);
    registry.delete_manifest(&name("b/c"), &reference, &|_| false).unwrap();
    registry.gc(&GcOptions { untagged: true, ..NOW }).unwrap();
    assert_eq!((scratch.files("blobs/sha256"), scratch.files("repositories")), (0, 0));
}

#[test]
fn untagged_keeps_what_something_leads_to() {
    let scratch = Scratch::new("untagged");
    let registry = scratch.open();
    let child = push(&registry, "x", "", b"child", "");
    let size = registry.repository(&name("x")).unwrap().entry(&child).unwrap().size;
    let index =
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}","digest":"{child}","size":{size}}}]}}"#);
    let tag = Reference::Tag(Tag::parse("multi").unwrap());
    let kind = Some("application/vnd.oci.image.index.v1+json");
    let top = registry.push_manifest(&name("x"), &tag, &[], kind, index.as_bytes(), &PushOptions::default()).unwrap();
    let subject =
        format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{}","size":{}}}"#, top.digest, index.len());
    let signature = push(&registry, "x", "", b"signature", &subject);
    let loose = push(&registry, "x", "", b"loose", "");
    let collected = registry.gc(&GcOptions { untagged: true, ..NOW }).unwrap();
    assert_eq!(collected.manifests, 1);
    let repository = registry.repository(&name("x")).unwrap();
    assert!(repository.entry(&loose).is_none());
    assert!(repository.entry(&child).is_some() && repository.entry(&signature).is_some());
    let list = registry.referrers(&name("x"), &top.digest, Some("c/c"), None).unwrap();
    assert!(String::from_utf8(list.json).unwrap().contains(&signature.to_string()));
    let none = registry.referrers(&name("x"), &top.digest, Some("other/type"), None).unwrap();
    assert!(!String::from_utf8(none.json).unwrap().contains(&signature.to_string()));
}

#[test]
fn everything_survives_a_restart() {
    let scratch = Scratch::new("restart");
    let registry = scratch.open();
    let digest = push(&registry, "x", "1", b"layer", "");
    let mut upload = registry.begin_upload(&name("x"), Algorithm::Sha256).unwrap();
    upload.write(b"half").unwrap();
    let id = upload.id().to_owned();
    assert!(matches!(registry.take_upload(&name("x"), &id), Err(Error::UploadBusy)));
    drop(upload);
    assert!(matches!(Registry::open(&scratch.0, Options::default()), Err(Error::Locked { .. })));
    registry.close();
    drop(registry);
    let registry = scratch.open();
    let repository = registry.repository(&name("x")).unwrap();
    assert_eq!(repository.tagged(&Tag::parse("1").unwrap()), Some(digest));
    let mut upload = registry.take_upload(&name("x"), &id).unwrap();
    assert_eq!(upload.offset(), 4);
    upload.write(b" and half").unwrap();
    upload.finish(&Digest::of(Algorithm::Sha512, b"half and half")).unwrap();
    // A look from outside sees the same.
    let look = Registry::look(&scratch.0).unwrap();
    assert_eq!(look.catalog(None, 9, |_| true).unwrap().0, [name("x")]);
    assert!(matches!(look.begin_upload(&name("x"), Algorithm::Sha256), Err(Error::ReadOnly { .. })));
}

/// Nobody knows what a manifest refers to that cannot be read.
#[test]
fn nothing_is_collected_around_a_damaged_manifest() {
    let scratch = Scratch::new("damaged");
    let registry = scratch.open();
    let digest = push(&registry, "hurt", "1", b"precious", "");
    push(&registry, "well", "1", b"kept", "");
    let waste = blob(&registry, "well", b"waste");
    let file = scratch.0.join("repositories/hurt/blobs/sha256").join(digest.hex());
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let options = GcOptions { grace: Duration::ZERO, ..GcOptions::default() };
    assert!(matches!(registry.gc(&options), Err(Error::ManifestInvalid { .. })));
    let untagged = GcOptions { untagged: true, ..options };
    assert!(matches!(registry.gc(&untagged), Err(Error::ManifestInvalid { .. })));
    let layer = Digest::of(Algorithm::Sha256, b"precious");
    assert!(registry.repository(&name("hurt")).unwrap().open_blob(&layer).is_ok());
    // The others are looked after.
    assert!(registry.repository(&name("well")).unwrap().open_blob(&waste).is_err());
}

/// What a power cut leaves is dropped, for nobody was told that it is there. Anything else may have pushes behind it.
#[test]
fn journals_that_end_badly_and_damaged_ones() {
    let scratch = Scratch::new("journal");
    let registry = scratch.open();
    let digest = push(&registry, "x", "1", b"layer", "");
    // As after a kill: nothing is folded into the index.
    let file = scratch.0.join("repositories/x/journal");
    let whole = std::fs::read(&file).unwrap();
    assert!(whole.iter().filter(|byte| **byte == b'\n').count() >= 2, "a manifest and its tag");
    drop(registry);
    let tagged = |text: &[u8]| {
        let other = Scratch::new("journal-copy");
        std::fs::create_dir_all(other.0.join("repositories/x")).unwrap();
        std::fs::write(other.0.join("repositories/x/journal"), text).unwrap();
        let registry = other.open();
        let repository = registry.repository(&name("x"));
        repository.map(|repository| repository.tagged(&Tag::parse("1").unwrap()))
    };
    assert_eq!(tagged(&whole).unwrap(), Some(digest));
    assert_eq!(tagged(&whole[..whole.len() - 1]).unwrap(), None);
    assert_eq!(tagged(&[&whole[..], b"{\"half"].concat()).unwrap(), Some(digest));
    assert_eq!(tagged(&[&whole[..], &[0; 100], b"\"}\n"].concat()).unwrap(), Some(digest));
    assert!(matches!(tagged(&[b"{\"unknown\":1}\n", &whole[..]].concat()), Err(Error::Configuration { line: 1, .. })));
}

#[test]
fn a_layout_by_another_tool_is_a_repository() {
    let scratch = Scratch::new("layout");
    let registry = scratch.open();
    let digest = push(&registry, "made/here", "1", b"layer", "");
    registry.settle();
    let from = scratch.0.join("repositories/made+here");
    let to = scratch.0.join("repositories/put+here");
    std::fs::create_dir_all(to.join("blobs/sha256")).unwrap();
    for file in std::fs::read_dir(from.join("blobs/sha256")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join("blobs/sha256").join(file.file_name())).unwrap();
    }
    let size = registry.repository(&name("made/here")).unwrap().entry(&digest).unwrap().size;
    std::fs::write(
        to.join("index.json"),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{size},"annotations":{{"org.opencontainers.image.ref.name":"theirs"}}}}]}}"#
        ),
    )
    .unwrap();
    let repository = registry.repository(&name("put/here")).unwrap();
    assert_eq!(repository.tagged(&Tag::parse("theirs").unwrap()), Some(digest));
    assert_eq!(repository.counts(), (1, 1));
}

#[test]
fn immutable_tags_and_mounts() {
    let scratch = Scratch::new("immutable");
    let registry = scratch.open();
    let digest = push(&registry, "x", "v1", b"one", "");
    let other = manifest(&blob(&registry, "x", b"{}"), &blob(&registry, "x", b"two"), 3, "");
    let immutable = |tag: &Tag| tag.as_str().starts_with('v');
    let options = PushOptions { immutable: Some(&immutable), sparse: false };
    let v1 = Reference::Tag(Tag::parse("v1").unwrap());
    let pushed = registry.push_manifest(&name("x"), &v1, &[], Some(MANIFEST), other.as_bytes(), &options);
    assert!(matches!(pushed, Err(Error::TagImmutable { .. })));
    assert!(registry.delete_manifest(&name("x"), &Reference::Digest(digest), &immutable).is_err());
    let layer = Digest::of(Algorithm::Sha256, b"one");
    assert!(registry.mount(&name("y"), &name("x"), &layer).unwrap());
    assert!(!registry.mount(&name("y"), &name("none"), &layer).unwrap());
    assert!(registry.mount_from_any(&name("z"), &layer, |name| name.as_str() == "y").unwrap());
    assert!(!registry.mount_from_any(&name("w"), &layer, |_| false).unwrap());
    // Bytes stay where one repository takes them away from itself.
    registry.delete_blob(&name("x"), &layer).unwrap();
    assert_eq!(registry.repository(&name("y")).unwrap().open_blob(&layer).unwrap().1, 3);
}
