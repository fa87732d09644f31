//! A database that is lost or broken is made anew of its copy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared;

use std::fs;
use std::path::PathBuf;

use oci::{Digest, ImageConfig, Reference, RootFs};
use shared::*;
use store::{Error, ImageRecord, Record, Store};

fn image(author: &str) -> ImageRecord {
    let config = ImageConfig {
        os: "linux".into(),
        architecture: "amd64".into(),
        author: author.into(),
        rootfs: RootFs::default(),
        ..ImageConfig::default()
    };
    let raw_config = config.to_bytes();
    ImageRecord {
        id: Digest::of(&raw_config),
        config,
        raw_config,
        layers: Vec::new(),
        manifest: None,
        blobs: Vec::new(),
        created: "2026-01-02T03:04:05Z".into(),
        size: 7,
        repo_digests: vec![format!("localhost/web@{}", Digest::of(author.as_bytes()))],
    }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// Something of every kind; what is in it is the second element.
fn filled(name: &str) -> (Place, Vec<String>) {
    let place = Place::new(name);
    let store = place.store();
    let long = "v".repeat(255);
    let records = store.records();
    records.put("container", "1", Some("web"), "{\"a\":1}").unwrap();
    records.put("container", "1", Some("renamed"), "{\"a\":2}").unwrap();
    records.put("container", "2", Some("gone"), "{}").unwrap();
    records.delete("container", "2").unwrap();
    records.put("volume", &long, Some(&long), "{\"labels\":{\"x\":\"\\u0000\"}}").unwrap();
    records.put("build", "sha256:../up", None, "not JSON").unwrap();
    let (one, two) = (image("one"), image("two \u{1F433}"));
    store.images().create_tagged(&one, &[reference("localhost/web:1"), reference("localhost/web")]).unwrap();
    store.images().create_tagged(&two, &[reference("localhost/web")]).unwrap();
    store.images().pin(&two.id, true).unwrap();
    let removed = image("removed");
    store.images().create(&removed).unwrap();
    store.images().delete(&removed.id).unwrap();
    let content = content(&store);
    assert!(!store.is_rebuilt());
    (place, content)
}

fn content(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    for kind in ["container", "volume", "build"] {
        for Record { id, name, json } in store.records().list(kind).unwrap() {
            all.push(format!("{kind} {id} {name:?} {json}"));
        }
    }
    let keeps = store.images().keeps().unwrap();
    for image in store.images().list().unwrap() {
        all.push(format!("{image:?} {}", keeps[&image.id].pinned));
    }
    for (name, image) in store.images().tags().unwrap() {
        all.push(format!("{name} {image}"));
    }
    all.push(format!("{:?}", store.images().log(&reference("localhost/web")).unwrap()));
    all.sort();
    all
}

fn data(place: &Place) -> PathBuf {
    place.0.join("data")
}

#[test]
fn lost() {
    let (place, expected) = filled("lost");
    for files in [&["meta.db"][..], &["meta.db", "meta.db-wal", "meta.db-shm"]] {
        for file in files {
            let _ = fs::remove_file(data(&place).join(file));
        }
        let store = place.store();
        assert!(store.is_rebuilt());
        assert_eq!(content(&store), expected);
    }
    assert!(!place.store().is_rebuilt());
    assert_eq!(content(&place.store()), expected);
}

#[test]
fn broken() {
    let (place, expected) = filled("broken");
    let path = data(&place).join("meta.db");
    for garbage in [&b"no database at all"[..], &[0xff; 200_000]] {
        fs::write(&path, garbage).unwrap();
        let store = place.store();
        assert!(store.is_rebuilt());
        assert_eq!(content(&store), expected);
        assert_eq!(fs::read(data(&place).join("meta.db.broken")).unwrap(), garbage);
    }
    // Half of it is overwritten; its head is as it was.
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    assert!(place.store().is_rebuilt());
    assert_eq!(content(&place.store()), expected);
}

/// A database is not thrown away for nothing.
#[test]
fn broken_without_a_copy() {
    let (place, _) = filled("broken-alone");
    fs::remove_dir_all(data(&place).join("meta")).unwrap();
    fs::write(data(&place).join("meta.db"), "no database at all").unwrap();
    match Store::open(&data(&place), None) {
        Err(Error::Database { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(!data(&place).join("meta.db.broken").exists());
}

/// The copy is hostile, half-written or of another time: what can be read counts, and the next look makes it whole.
#[test]
fn bad_copies() {
    let (place, expected) = filled("bad-copies");
    let meta = data(&place).join("meta");
    fs::write(meta.join("record/container/1.json"), "").unwrap();
    fs::write(meta.join("record/container/9.json"), "{\"id\":\"9\",\"name\":\"renamed\",\"document\":\"{}\"}").unwrap();
    fs::write(meta.join("record/container/8.tmp"), "{").unwrap();
    fs::write(meta.join("record/stray"), "{").unwrap();
    let image = fs::read_dir(meta.join("image")).unwrap().next().unwrap().unwrap().path();
    fs::write(&image, fs::read_to_string(&image).unwrap().replace("linux", "lynux")).unwrap();
    // While the database is there, it is the truth.
    assert_eq!(content(&place.store()), expected);
    assert!(!meta.join("record/container/9.json").exists());
    fs::write(meta.join("record/container/1.json"), "{\"id\"").unwrap();
    fs::write(&image, fs::read_to_string(&image).unwrap().replace("linux", "lynux")).unwrap();
    fs::remove_file(data(&place).join("meta.db")).unwrap();
    let store = place.store();
    assert!(store.is_rebuilt());
    assert_eq!(store.records().list("container").unwrap(), []);
    assert_eq!(store.images().list().unwrap().len(), 1);
    assert_eq!(store.records().list("volume").unwrap().len(), 1);
}
