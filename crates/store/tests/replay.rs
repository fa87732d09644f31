//! A power cut at every step: the store's changes of the disk are recorded and played back up to each of them, with
//! what was not synced there, not there, or there in part. What opens then has its images whole, or not at all.
//!
//! What may happen to what was not synced (POSIX `fsync`, and no file system's kindness beyond it): a file's bytes are
//! any bytes; of the names made or removed in a directory since its last sync, any may have reached the disk, in any
//! combination. SQLite's own writes are trusted: the database is as of its last durable commit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fuzz::Random;
use oci::{Descriptor, Digest, ImageConfig, Reference, media_type};
use shared::*;
use store::{ImageRecord, Options, Step, Store, Witness};

type Inode = usize;
type Database = BTreeMap<String, Vec<u8>>;

/// A step with all that is needed to do it again.
#[derive(Debug)]
enum Recorded {
    Create { name: PathBuf, inode: Inode },
    Sync { inode: Inode, data: Vec<u8> },
    Rename { from: PathBuf, to: PathBuf },
    SyncDirectory(PathBuf),
    Commit(Database),
}

#[derive(Debug)]
struct Recorder {
    root: PathBuf,
    state: Mutex<(Vec<Recorded>, HashMap<PathBuf, Inode>)>,
}

impl Recorder {
    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap().to_owned()
    }
}

impl Witness for Recorder {
    fn saw(&self, step: Step<'_>) {
        let mut state = self.state.lock().unwrap();
        let (steps, names) = &mut *state;
        let recorded = match step {
            Step::Create { path } => {
                let (name, inode) = (self.relative(path), steps.len());
                names.insert(name.clone(), inode);
                Recorded::Create { name, inode }
            }
            Step::Sync { path } => Recorded::Sync { inode: names[&self.relative(path)], data: fs::read(path).unwrap() },
            Step::Rename { from, to } => {
                let (from, to) = (self.relative(from), self.relative(to));
                let inode = names.remove(&from).unwrap();
                names.insert(to.clone(), inode);
                Recorded::Rename { from, to }
            }
            Step::SyncDirectory { path } => Recorded::SyncDirectory(self.relative(path)),
            Step::Commit => Recorded::Commit(database(&self.root)),
        };
        steps.push(recorded);
    }
}

fn database(root: &Path) -> Database {
    ["meta.db", "meta.db-wal"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), fs::read(root.join(name)).ok()?)))
        .collect()
}

/// How much of what was not synced is on the disk.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Nothing,
    Everything,
    /// By chance.
    Some(u64),
}

/// What the disk has after a power cut behind the first `count` steps.
fn disk_after(steps: &[Recorded], count: usize, luck: Luck) -> (BTreeMap<PathBuf, Vec<u8>>, Database) {
    let mut now: HashMap<PathBuf, Inode> = HashMap::new();
    let mut durable: BTreeMap<PathBuf, Inode> = BTreeMap::new();
    let mut pending: Vec<(PathBuf, Option<Inode>)> = Vec::new();
    let mut data: HashMap<Inode, &[u8]> = HashMap::new();
    let mut database = Database::new();
    let apply = |durable: &mut BTreeMap<PathBuf, Inode>, (name, inode): (PathBuf, Option<Inode>)| match inode {
        Some(inode) => drop(durable.insert(name, inode)),
        None => drop(durable.remove(&name)),
    };
    for step in &steps[..count] {
        match step {
            Recorded::Create { name, inode } => {
                now.insert(name.clone(), *inode);
                pending.push((name.clone(), Some(*inode)));
            }
            Recorded::Sync { inode, data: bytes } => drop(data.insert(*inode, bytes)),
            Recorded::Rename { from, to } => {
                let inode = now.remove(from).unwrap();
                now.insert(to.clone(), inode);
                // The halves of a rename over two directories reach the disk on their own.
                pending.push((to.clone(), Some(inode)));
                pending.push((from.clone(), None));
            }
            Recorded::SyncDirectory(directory) => {
                let (synced, rest): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut pending).into_iter().partition(|(name, _)| name.parent() == Some(directory));
                synced.into_iter().for_each(|change| apply(&mut durable, change));
                pending = rest;
            }
            Recorded::Commit(files) => database.clone_from(files),
        }
    }
    let mut random = Random::new(if let Luck::Some(seed) = luck { seed } else { 0 });
    for change in pending {
        let lucky = match luck {
            Luck::Nothing => false,
            Luck::Everything => true,
            Luck::Some(_) => random.below(2) == 0,
        };
        if lucky {
            apply(&mut durable, change);
        }
    }
    let files = durable.into_iter().map(|(name, inode)| {
        let bytes = match data.get(&inode) {
            Some(bytes) => bytes.to_vec(),
            // Never synced: any bytes.
            None => (0..random.below(9000)).map(|_| random.bits() as u8).collect(),
        };
        (name, bytes)
    });
    (files.collect(), database)
}

fn layer(number: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..20_000 + number * 1000).map(|n| (n * (number + 3)) as u8).collect();
    tar(&[file("etc/name", format!("{number}").as_bytes()), file("data", &data)])
}

/// What a pull does: blobs, layers, then the image with its tag.
fn pull(store: &Store, number: usize, layers: &[usize]) {
    let _lease = store.lease();
    let mut blobs = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in layers.iter().map(|layer| self::layer(*layer)) {
        let compressed = zstd::encode_all(&layer[..], 1).unwrap();
        let digest = Digest::of(&compressed);
        let mut writer = store.content().writer().unwrap();
        writer.write_all(&compressed).unwrap();
        writer.commit(&digest).unwrap();
        blobs.push(Descriptor::of(media_type::OCI_LAYER_ZSTD, &compressed));
        diff_ids.push(store.layers().writer().unwrap().write_tar(&layer[..]).unwrap().commit(None).unwrap().0);
    }
    let config = ImageConfig {
        os: "linux".into(),
        author: format!("{number}"),
        rootfs: oci::RootFs { diff_ids: diff_ids.clone(), ..Default::default() },
        ..ImageConfig::default()
    };
    let raw_config = config.to_bytes();
    let record = ImageRecord {
        id: store.content().put(&raw_config).unwrap(),
        config,
        raw_config,
        layers: diff_ids,
        manifest: None,
        blobs,
        created: String::new(),
        size: 0,
        repo_digests: Vec::new(),
    };
    store.images().create_tagged(&record, &[Reference::parse("app").unwrap()]).unwrap();
}

fn record(place: &Place) -> Vec<Recorded> {
    let root = place.0.join("recorded");
    fs::create_dir_all(&root).unwrap();
    let root = fs::canonicalize(&root).unwrap();
    let recorder = Arc::new(Recorder { root: root.clone(), state: Mutex::default() });
    let store = Store::open_with(&root, Options { witness: Some(recorder.clone()), ..Options::default() }).unwrap();
    pull(&store, 1, &[1, 2]);
    pull(&store, 2, &[2, 3]);
    let first = store.images().log(&Reference::parse("app").unwrap()).unwrap()[1].image;
    // A pull that is cut off leaves nothing that lasts.
    drop(store.layers().writer().unwrap().write_tar(&layer(9)[..]).unwrap());
    store.images().delete(&first).unwrap();
    store.prune_unreferenced().unwrap();
    pull(&store, 3, &[1]);
    drop(store);
    let recorder = Arc::try_unwrap(recorder).unwrap();
    recorder.state.into_inner().unwrap().0
}

/// Opens what is left and looks at all of it.
fn check(place: &Place, steps: &[Recorded], count: usize, luck: Luck) -> usize {
    let root = place.0.join("played");
    for directory in ["content/blobs/sha256", "content/ingest", "layers/trash"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let (files, database) = disk_after(steps, count, luck);
    for (name, bytes) in &files {
        fs::write(root.join(name), bytes).unwrap();
    }
    for (name, bytes) in &database {
        fs::write(root.join(name), bytes).unwrap();
    }
    let what = format!("{count} steps, {luck:?}");
    let store = Store::open(&root, None).unwrap_or_else(|error| panic!("{what}: {error}"));
    let images = store.images().list().unwrap();
    for image in &images {
        for blob in &image.blobs {
            assert!(store.content().has(&blob.digest), "{what}: blob {} of an image is gone", blob.digest);
        }
        assert!(store.content().has(&image.id), "{what}: the config of an image is gone");
    }
    store
        .verify(|checked| {
            assert_eq!(checked.problem, None, "{what}: {checked:?}");
            true
        })
        .unwrap();
    // The tag means an image that is there, or nothing.
    match store.images().resolve("app") {
        Ok(_) => assert!(!images.is_empty(), "{what}"),
        Err(error) => assert!(matches!(error, store::Error::NoImage { .. }), "{what}: {error}"),
    }
    // What was lost can be pulled again.
    pull(&store, 1, &[1, 2]);
    assert!(store.images().resolve("app").is_ok(), "{what}");
    drop(store);
    for directory in ["content/ingest", "layers"] {
        let left: Vec<_> = fs::read_dir(root.join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    fs::remove_dir_all(&root).unwrap();
    images.len()
}

#[test]
fn a_power_cut_at_every_step() {
    let place = Place::new("replay");
    let steps = record(&place);
    let commits = steps.iter().filter(|step| matches!(step, Recorded::Commit(_))).count();
    assert!(steps.len() > 40 && commits >= 4, "{} steps, {commits} commits", steps.len());
    let rounds = if std::env::var_os("HOIST_E2E_LONG").is_some() { 12 } else { 1 };
    let mut seen = [0; 3];
    for count in 0..=steps.len() {
        let chances = (0..rounds).map(|round| Luck::Some((count * 100 + round + 1) as u64));
        for luck in [Luck::Nothing, Luck::Everything].into_iter().chain(chances) {
            seen[check(&place, &steps, count, luck)] += 1;
        }
    }
    assert!(seen.iter().all(|times| *times > 0), "stores with no, one and two images: {seen:?}");
}

/// The harness finds what it is made for: with the names of layers durable too late, images lose them.
#[test]
fn a_wrong_order_would_be_found() {
    let place = Place::new("order");
    let steps = record(&place);
    let without: Vec<Recorded> = steps.into_iter().filter(|step| !matches!(step, Recorded::SyncDirectory(_))).collect();
    let broken = (0..=without.len()).any(|count| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&place, &without, count, Luck::Nothing)))
            .is_err()
    });
    assert!(broken);
}
