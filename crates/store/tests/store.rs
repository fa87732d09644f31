//! Blobs, images, records, import, load and prune.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared;

use std::io::Write;
use std::path::PathBuf;

use archive::tar::Kind;
use oci::{ContainerConfig, Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, RootFs, media_type};
use shared::*;
use store::{Error, ImageRecord, Store};

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn image(name: &str, layers: &[Digest]) -> ImageRecord {
    let config = ImageConfig {
        os: "linux".into(),
        architecture: "amd64".into(),
        author: name.into(),
        rootfs: RootFs { diff_ids: layers.to_vec(), ..RootFs::default() },
        ..ImageConfig::default()
    };
    let raw_config = config.to_bytes();
    ImageRecord {
        id: Digest::of(&raw_config),
        config,
        raw_config,
        layers: layers.to_vec(),
        manifest: None,
        blobs: Vec::new(),
        created: "2026-01-02T03:04:05Z".into(),
        size: 7,
        repo_digests: Vec::new(),
    }
}

fn layer(store: &Store, content: &[u8]) -> Digest {
    let bytes = tar(&[file("f", content)]);
    store.layers().writer().unwrap().write_tar(&bytes[..]).unwrap().commit(None).unwrap().0
}

#[test]
fn one_process_at_a_time() {
    let place = Place::new("lock");
    let store = place.store();
    match Store::open(&place.0.join("data"), None) {
        Err(error @ Error::Locked { .. }) => assert!(error.to_string().contains("data")),
        other => panic!("{other:?}"),
    }
    drop(store);
    drop(place.store());
}

#[test]
fn blobs() {
    let place = Place::new("blobs");
    let store = place.store();
    let content = store.content();
    let digest = Digest::of(b"hello");
    assert!(!content.has(&digest));
    assert!(matches!(content.open(&digest), Err(Error::NoBlob { .. })));
    let write = |bytes: &[u8]| {
        let mut writer = content.writer().unwrap();
        writer.write_all(bytes).unwrap();
        writer
    };
    assert!(matches!(write(b"hell").commit(&digest), Err(Error::DigestMismatch { .. })));
    assert!(!content.has(&digest));
    drop(write(b"abandoned"));
    assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from));
    assert_eq!(write(b"hello").commit(&digest).unwrap(), 5);
    assert_eq!(write(b"hello").commit(&digest).unwrap(), 5, "twice is once");
    assert_eq!(content.read(&digest, 5).unwrap(), b"hello");
    assert!(matches!(content.read(&digest, 4), Err(Error::BlobTooLarge { size: 5, limit: 4, .. })));
    assert_eq!(content.list().unwrap(), [(digest, 5)]);
    assert!(content.remove(&digest).unwrap());
    assert!(!content.remove(&digest).unwrap());
}

#[test]
fn a_crash_leaves_nothing() {
    let place = Place::new("crash");
    drop(place.store());
    let data = place.0.join("data");
    let left = [data.join("content/ingest/.tmp-1-2"), data.join("layers/.tmp-1-3")];
    left.iter().for_each(|path| std::fs::write(path, "half").unwrap());
    drop(place.store());
    assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from));
}

#[test]
fn names() {
    let place = Place::new("names");
    let store = place.store();
    let images = store.images();
    let (one, mut two) = (image("one", &[]), image("two", &[]));
    let pulled = Digest::of(b"manifest");
    two.repo_digests = vec![format!("docker.io/library/httpd@{pulled}")];
    images.create(&one).unwrap();
    images.create_tagged(&two, &[reference("httpd:2.4"), reference("localhost:5000/x/y")]).unwrap();
    assert_eq!(images.get(&two.id).unwrap(), two);
    assert_eq!(images.list().unwrap(), [one.clone(), two.clone()]);

    let finds = |text: &str, expect: &ImageRecord| assert_eq!(images.resolve(text).unwrap().id, expect.id, "{text}");
    finds("httpd:2.4", &two);
    finds("docker.io/library/httpd:2.4", &two);
    finds("localhost:5000/x/y", &two);
    finds("localhost:5000/x/y:latest", &two);
    finds(&format!("httpd@{pulled}"), &two);
    finds(&format!("httpd:9@{pulled}"), &two);
    finds(&format!("httpd@{}", two.id), &two);
    finds(&one.id.to_string(), &one);
    finds(&one.id.hex(), &one);
    finds(&one.id.hex()[..12], &one);
    finds(&format!("sha256:{}", &one.id.hex()[..5]), &one);
    let missing = |text: &str, expect: &str| assert_eq!(images.resolve(text).unwrap_err().to_string(), expect);
    missing("httpd", "No such image: httpd:latest");
    missing("x:y", "No such image: x:y");
    missing(&format!("nginx@{pulled}"), &format!("No such image: nginx@{pulled}"));
    missing(&format!("nginx@{}", two.id), &format!("No such image: nginx@{}", two.id));
    missing(&"0".repeat(64), &format!("No such image: {}", "0".repeat(64)));
    missing("A", "invalid reference format: repository name (library/A) must be lowercase");
    missing("", "invalid reference format");

    images.tag(&reference("httpd:2.4"), &one.id).unwrap();
    finds("httpd:2.4", &one);
    assert_eq!(images.tags_of(&two.id).unwrap(), [reference("localhost:5000/x/y:latest")]);
    assert_eq!(images.tags().unwrap().len(), 2);
    assert!(matches!(images.tag(&reference("a"), &pulled), Err(Error::NoImage { .. })));
    // A name wins over the beginning of an id.
    let prefix = two.id.hex()[..6].to_owned();
    images.tag(&reference(&prefix), &one.id).unwrap();
    finds(&prefix, &one);
    assert!(images.untag(&reference(&prefix)).unwrap());
    assert!(!images.untag(&reference(&prefix)).unwrap());
    finds(&prefix, &two);

    // Pulled again: names are joined, tags stay.
    let again =
        ImageRecord { repo_digests: vec!["docker.io/library/a@".to_owned() + &pulled.to_string()], ..two.clone() };
    images.create(&again).unwrap();
    assert_eq!(images.get(&two.id).unwrap().repo_digests.len(), 2);
    assert!(images.untag(&reference(&format!("a@{pulled}"))).unwrap());
    assert!(images.delete(&two.id).unwrap());
    assert!(!images.delete(&two.id).unwrap());
    assert!(matches!(images.resolve("localhost:5000/x/y"), Err(Error::NoImage { .. })));
    let forged = ImageRecord { id: pulled, ..one };
    assert!(matches!(images.create(&forged), Err(Error::DigestMismatch { .. })));
}

#[test]
fn ambiguous_prefixes() {
    let place = Place::new("ambiguous");
    let store = place.store();
    // Seventeen ids: two begin with the same digit.
    for number in 0..17 {
        store.images().create(&image(&number.to_string(), &[])).unwrap();
    }
    let ambiguous = (0..16).filter(|digit| {
        matches!(store.images().resolve(&format!("sha256:{digit:x}")), Err(Error::AmbiguousImage { .. }))
    });
    assert!(ambiguous.count() > 0);
}

#[test]
fn records() {
    let place = Place::new("records");
    let store = place.store();
    let records = store.records();
    records.put("container", "1", Some("web"), "{\"a\":1}").unwrap();
    records.put("container", "1", Some("web"), "{\"a\":2}").unwrap();
    records.put("network", "1", Some("web"), "{}").unwrap();
    records.put("container", "2", None, "{}").unwrap();
    match records.put("container", "2", Some("web"), "{}") {
        Err(Error::NameTaken { name, holder }) => assert_eq!((name.as_str(), holder.as_str()), ("web", "1")),
        other => panic!("{other:?}"),
    }
    records.put("container", "1", Some("renamed"), "{\"a\":3}").unwrap();
    records.put("container", "2", Some("web"), "{}").unwrap();
    assert_eq!(records.get("container", "1").unwrap().unwrap().json, "{\"a\":3}");
    assert_eq!(records.by_name("container", "web").unwrap().unwrap().id, "2");
    assert!(records.delete("container", "1").unwrap());
    assert!(!records.delete("container", "1").unwrap());
    assert!(records.get("container", "1").unwrap().is_none());
    let several = records.get_several("container", &["2", "1", "none"]).unwrap();
    assert_eq!(several.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["2"]);
    assert_eq!(records.list("container").unwrap().len(), 1);
    drop(store);
    assert_eq!(place.store().records().list("container").unwrap().len(), 1);
}

#[test]
fn many_puts_from_many_threads() {
    let place = Place::new("puts");
    let store = place.store();
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let records = store.records();
            scope.spawn(move || {
                for number in 0..500 {
                    let id = format!("{thread}-{number}");
                    records.put("container", &id, Some(&id), &"x".repeat(2000)).unwrap();
                }
            });
        }
    });
    eprintln!("{:?} for each of 2000 puts", start.elapsed() / 2000);
    assert_eq!(store.records().list("container").unwrap().len(), 2000);
}

#[test]
fn import() {
    let place = Place::new("import");
    let store = place.store();
    let bytes = tar(&[file("etc/x", b"12345"), file("y", b"67")]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&bytes).unwrap();
    let config = ImageConfig {
        created: Some("2026-01-02T03:04:05Z".into()),
        config: ContainerConfig { cmd: Some(vec!["sh".into()]), ..ContainerConfig::default() },
        ..ImageConfig::default()
    };
    let record = store.import(&gz.finish().unwrap()[..], config.clone()).unwrap();
    assert_eq!(record.size, 7);
    assert_eq!(record.layers, [Digest::of(&bytes)]);
    assert_eq!(record.config.os, "linux");
    assert_eq!(record.config.history[0].comment, "Imported from -");
    assert_eq!(record.id, Digest::of(&record.raw_config));
    assert_eq!(store.import(&bytes[..], config.clone()).unwrap().id, record.id, "compressed or not");
    assert_eq!(store.images().get(&record.id).unwrap(), record);
    assert!(matches!(store.import(&bytes[..700], config.clone()), Err(Error::Layer(_))));
    assert!(matches!(store.import(&b"BZh91AY"[..], config), Err(Error::Source(_))));
    assert_eq!(store.layers().list().unwrap().len(), 2);
    assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from));
}

#[test]
fn prune_and_leases() {
    let place = Place::new("prune");
    let store = place.store();
    let (kept, orphan) = (layer(&store, b"kept"), layer(&store, b"orphan"));
    let record = image("i", &[kept]);
    store.images().create(&record).unwrap();
    let blob = store.content().put(b"blob").unwrap();

    let lease = store.lease();
    assert!(store.layers().has(&orphan));
    let pruned = store.prune_unreferenced().unwrap();
    assert_eq!((pruned.layers.as_slice(), pruned.blobs.as_slice()), (&[][..], &[blob][..]), "what was looked at stays");
    let written = layer(&store, b"written under the lease");
    let taken = layer(&store, b"taken");
    store.images().create(&image("j", &[taken])).unwrap();
    assert!(store.layers().has(&written));
    drop(lease);
    assert!(!store.layers().has(&written), "nobody took it");
    assert!(store.layers().has(&taken));
    assert!(store.layers().has(&orphan), "was there before");

    let pruned = store.prune_unreferenced_except(&[orphan].into()).unwrap();
    assert_eq!(pruned.layers, []);
    let pruned = store.prune_unreferenced().unwrap();
    assert_eq!(pruned.layers, [orphan]);
    assert!(pruned.freed > 0);
    store.images().delete(&record.id).unwrap();
    assert_eq!(store.prune_unreferenced().unwrap().layers, [kept]);
    assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from));
}

/// Containers outlive their images; the last lease of others, a build's for one, may end long after that.
#[test]
fn layers_of_containers_stay() {
    let place = Place::new("containers");
    let store = place.store();
    let lease = store.lease();
    let (own, mounted, free) = (layer(&store, b"own"), layer(&store, b"mounted"), layer(&store, b"free"));
    let record = image("i", &[own, mounted, free]);
    store.images().create(&record).unwrap();
    let document =
        serde_json::json!({"layers": [own], "mounts": [{"kind": "Image", "layers": [mounted]}, {"kind": "Bind"}]});
    store.records().put(store::CONTAINER, "c", None, &document.to_string()).unwrap();
    store.images().delete(&record.id).unwrap();
    drop(lease);
    assert!(store.layers().has(&own) && store.layers().has(&mounted) && !store.layers().has(&free));
    store.records().delete(store::CONTAINER, "c").unwrap();
    let pruned = store.prune_unreferenced().unwrap().layers;
    assert_eq!(pruned.iter().collect::<std::collections::HashSet<_>>(), [&own, &mounted].into());
}

/// Looking at the size of what could go does not keep it.
#[test]
fn prune_frees_while_others_work() {
    let place = Place::new("busy");
    let store = place.store();
    let orphan = layer(&store, b"orphan");
    let _other = store.lease();
    let garbage = store.garbage(&Default::default(), &Default::default()).unwrap();
    assert!(garbage.layers.iter().any(|(layer, size)| *layer == orphan && *size > 0));
    assert_eq!(store.prune_unreferenced().unwrap().layers, [orphan]);
}

/// A docker archive: names and bytes.
fn docker_archive(layers: &[(&str, &[u8])], diff_ids: &[Digest]) -> Vec<u8> {
    let raw_config = image("loaded", diff_ids).raw_config;
    let names: Vec<&str> = layers.iter().map(|(name, _)| *name).collect();
    let manifest =
        serde_json::json!([{"Config": "c.json", "RepoTags": ["app:1", "app:2"], "Layers": names}]).to_string();
    let mut entries = vec![other("l", Kind::Directory)];
    entries.extend(layers.iter().map(|(name, bytes)| file(name, bytes)));
    entries.push(file("c.json", &raw_config));
    entries.push(file("manifest.json", manifest.as_bytes()));
    tar(&entries)
}

#[test]
fn load_docker_archives() {
    let place = Place::new("load");
    let store = place.store();
    let (one, two) = (tar(&[file("a", b"1")]), tar(&[file("b", &[2; 100_000])]));
    let compressed = zstd::encode_all(&two[..], 1).unwrap();
    let ids = [Digest::of(&one), Digest::of(&two)];
    let good = docker_archive(&[("l/1.tar", &one), ("l/2.tar", &compressed)], &ids);
    let loaded = store.load(&good[..]).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].references, [reference("app:1"), reference("app:2")]);
    let record = store.images().resolve("app:2").unwrap();
    assert_eq!((record.id, record.layers.as_slice(), record.size), (loaded[0].id, &ids[..], 100_001));
    assert_eq!(store.load(&good[..]).unwrap(), loaded, "again");
    assert_eq!(store.layers().list().unwrap().len(), 3);

    // Equal layers as a link, as docker save wrote them; an empty layer is zeros.
    let empty = vec![0; 1024];
    let ids = [Digest::of(&one), Digest::of(&one), Digest::of(&empty)];
    let raw_config = image("links", &ids).raw_config;
    let manifest = br#"[{"Config":"c.json","RepoTags":null,"Layers":["1/layer.tar","2/layer.tar","e"]}]"#;
    let bytes = tar(&[
        file("manifest.json", manifest),
        file("c.json", &raw_config),
        link("2/layer.tar", Kind::Symlink, "../1/layer.tar"),
        file("1/layer.tar", &one),
        file("e", &empty),
    ]);
    assert_eq!(store.load(&bytes[..]).unwrap()[0].references, []);

    let before = store.layers().list().unwrap().len();
    let new = tar(&[file("n", b"new")]);
    let fails = |bytes: &[u8], expect: &str| {
        let error = store.load(bytes).unwrap_err().to_string();
        assert!(error.contains(expect), "{error:?} should contain {expect:?}");
        assert_eq!(store.layers().list().unwrap().len(), before, "{expect}");
        assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from), "{expect}");
    };
    fails(&tar(&[file("x", b"")]), "neither manifest.json nor index.json");
    fails(b"", "neither manifest.json nor index.json");
    fails(&good[..good.len() / 2], "invalid image archive");
    fails(&docker_archive(&[("l/1", &new)], &[Digest::of(b"other")]), "wrong digest");
    fails(&docker_archive(&[("l/1", &new)], &[]), "layers length mismatch: expected 0, got 1");
    fails(&docker_archive(&[("l/1", b"BZh91AY")], &[Digest::of(&new)]), "cannot read the archive");
    fails(&docker_archive(&[("l/1", b"not a tar")], &[Digest::of(&new)]), "is not a tar archive");
    fails(&docker_archive(&[("l/1", &new[..700])], &[Digest::of(&new[..700])]), "cannot make a layer");
    fails(&tar(&[file("manifest.json", b"{")]), "manifest.json: ");
    fails(&tar(&[file("manifest.json", br#"[{"Config":"c.json"}]"#)]), "config \"c.json\" is missing");
    let many = vec![("l/1", &new[..]); 128];
    fails(&docker_archive(&many, &[Digest::of(&new); 128]), "128 layers, the limit is 127");
}

#[test]
fn load_oci_layouts() {
    let place = Place::new("layout");
    let store = place.store();
    let one = tar(&[file("a", b"1")]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&one).unwrap();
    let gz = gz.finish().unwrap();
    let config = image("oci", &[Digest::of(&one)]).raw_config;
    let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, &gz);
    let manifest = Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, &config), vec![layer]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let index = |manifests| {
        let index = Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.into(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: [].into(),
        };
        serde_json::to_vec(&index).unwrap()
    };
    let mut of_platform = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
    of_platform.platform = Some(Platform::host());
    let inner = index(vec![of_platform]);
    let mut named = Descriptor::of(media_type::OCI_INDEX, &inner);
    named.annotations.insert("io.containerd.image.name".into(), "docker.io/library/app:3".into());
    let outer = index(vec![named]);
    let name = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let archive = |layer_bytes: &[u8]| {
        tar(&[
            file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
            file(&name(&gz), layer_bytes),
            file(&name(&config), &config),
            file(&name(&manifest), &manifest),
            file(&name(&inner), &inner),
            file("index.json", &outer),
        ])
    };
    let loaded = store.load(&archive(&gz)[..]).unwrap();
    assert_eq!(loaded[0].references, [reference("app:3")]);
    assert_eq!(store.images().resolve("app:3").unwrap().layers, [Digest::of(&one)]);
    // A blob under another's name.
    let other = zstd::encode_all(&one[..], 1).unwrap();
    assert!(matches!(store.load(&archive(&other)[..]), Err(Error::DigestMismatch { .. })));
}

#[test]
fn the_keeper_shares_mounts() {
    if !root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let place = Place::new("keeper");
    let socket = place.0.join("keeper.sock");
    let listener = keeper::listen(&socket).unwrap();
    std::thread::spawn(move || keeper::serve(listener));
    let open = || Store::open(&place.0.join("data"), Some(keeper::Keeper::connect(&socket).unwrap())).unwrap();
    let device = |mount: &std::os::fd::OwnedFd| {
        std::fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(mount))).unwrap().dev()
    };
    let store = open();
    let diff_id = layer(&store, b"x");
    let first = device(&store.layers().mount(&diff_id).unwrap());
    drop(store);
    let store = open();
    assert_eq!(device(&store.layers().mount(&diff_id).unwrap()), first, "the next daemon finds the same mount");
    let held = || keeper::Keeper::connect(&socket).unwrap().list().unwrap();
    assert_eq!(held(), [format!("layer:{}", diff_id.hex())]);
    store.prune_unreferenced().unwrap();
    assert!(held().is_empty());
    assert!(matches!(store.layers().mount(&diff_id), Err(Error::NoLayer { .. })));
}

#[test]
fn tags_remember_what_they_meant() {
    let place = Place::new("versions");
    let store = place.store();
    let images = store.images();
    let ids: Vec<Digest> = (0..3)
        .map(|number| {
            let tar = tar(&[file("version", &[b'0' + number])]);
            store.import(&tar[..], ImageConfig::default()).unwrap().id
        })
        .collect();
    let app = Reference::parse("app").unwrap();
    let log = || images.log(&app).unwrap().iter().map(|version| version.image).collect::<Vec<_>>();
    assert_eq!(log(), []);
    for id in &ids {
        images.tag(&app, id).unwrap();
        images.tag(&app, id).unwrap();
    }
    assert_eq!(log(), [ids[2], ids[1], ids[0]]);
    let means = |text: &str| images.resolve(text).map(|image| image.id);
    assert_eq!(means("app@{0}").unwrap(), ids[2]);
    assert_eq!(means("app:latest@{1}").unwrap(), ids[1]);
    assert_eq!(means("docker.io/library/app:latest@{2}").unwrap(), ids[0]);
    let error = means("app@{3}").unwrap_err();
    assert_eq!(error.to_string(), "No such version: app:latest@{3}: 3 versions of app:latest are known");
    assert!(matches!(means("other@{1}"), Err(Error::NoImage { .. })));

    assert_eq!(images.roll_back(&app, 2).unwrap(), ids[0]);
    assert_eq!(log(), [ids[0], ids[2], ids[1], ids[0]]);
    assert_eq!(means("app").unwrap(), ids[0]);
    assert!(matches!(images.roll_back(&app, 9), Err(Error::NoVersion { back: 9, kept: 4, .. })));
    // An image that goes takes its versions along; equal neighbours become one.
    images.delete(&ids[2]).unwrap();
    images.delete(&ids[1]).unwrap();
    assert_eq!(log(), [ids[0]]);
    let earlier = images.earlier().unwrap();
    assert!(earlier.iter().all(|(_, versions)| versions.is_empty()), "{earlier:?}");
    images.untag(&app).unwrap();
    assert_eq!(log(), []);
    for _ in 0..60 {
        images.tag(&app, &ids[0]).unwrap();
        let other = store.import(&tar(&[file("x", b"y")])[..], ImageConfig::default()).unwrap().id;
        images.tag(&app, &other).unwrap();
    }
    assert_eq!(log().len(), store::MAX_VERSIONS);
}

#[test]
fn pins_and_uses() {
    let place = Place::new("pins");
    let store = place.store();
    let id = store.import(&tar(&[file("a", b"a")])[..], ImageConfig::default()).unwrap().id;
    let keep = || store.images().keeps().unwrap()[&id];
    assert!(!keep().pinned && keep().used > 1_700_000_000);
    assert!(store.images().pin(&id, true).unwrap());
    assert!(!store.images().pin(&id, true).unwrap());
    assert!(keep().pinned);
    store.images().touch(&id).unwrap();
    assert!(store.images().pin(&id, false).unwrap());
    assert!(matches!(store.images().pin(&Digest::of(b""), true), Err(Error::NoImage { .. })));
}
