//! The database once more, as files: what it is rebuilt from when it is lost or broken.
//!
//! ```text
//!  <data root>/meta/record/<kind>/<id>.json    a document of the engine
//!                   image/<hex>.json           an image
//!                   names.json                 tags, repo digests, the log of tags
//! ```
//! A thread writes them after each commit, each whole or not at all, and looks through all of them after an open. They are
//! as old as the moment before a crash: nobody waits for them, and nothing but [`rebuild`] reads them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use oci::Digest;
use rusqlite::{Connection, Transaction, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The directory below the data root.
pub(crate) const DIRECTORY: &str = "meta";

/// Largest file that is read; a container's document has some kilobytes, the names of thousands of images some
/// hundreds.
const MAX_FILE: u64 = 64 << 20;

/// Longest id that is a file's name as it is; of a longer one, or one with other characters, it is the digest.
const MAX_PLAIN: usize = 200;

/// A document of the engine.
#[derive(Serialize, Deserialize)]
struct Document {
    id: String,
    name: Option<String>,
    /// Its text, byte for byte.
    document: String,
}

#[derive(Serialize, Deserialize)]
struct Image {
    id: String,
    /// The config, byte for byte: the id is its digest.
    config: String,
    layers: String,
    manifest: Option<String>,
    blobs: String,
    created: String,
    size: i64,
    pinned: bool,
    used: i64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Names {
    /// Name, image.
    tags: Vec<(String, String)>,
    /// Name, image.
    repo_digests: Vec<(String, String)>,
    /// Number, name, image, since when.
    log: Vec<(i64, String, String, i64)>,
}

/// What was committed.
#[derive(Debug)]
pub(crate) enum Change {
    Put {
        kind: String,
        id: String,
        name: Option<String>,
        json: String,
    },
    Deleted {
        kind: String,
        id: String,
    },
    /// Something about images or their names.
    Images,
}

/// The thread that writes the files.
#[derive(Debug)]
pub(crate) struct Mirror {
    changes: Option<Sender<Change>>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Begins with a look through everything. `connection` is the thread's own.
    pub fn start(directory: PathBuf, connection: Connection) -> std::io::Result<Mirror> {
        let (changes, committed) = channel();
        let mut writer = Writer { directory, connection, images: HashMap::new(), names: Vec::new(), failing: false };
        let thread = std::thread::Builder::new().name("mirror".to_owned()).spawn(move || writer.follow(&committed))?;
        Ok(Mirror { changes: Some(changes), thread: Some(thread) })
    }

    /// Call it in the order of the commits.
    pub fn note(&self, change: Change) {
        if let Some(changes) = &self.changes {
            let _ = changes.send(change);
        }
    }
}

impl Drop for Mirror {
    /// What was committed is written before this returns.
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    directory: PathBuf,
    connection: Connection,
    /// Digests of the images' files, by id.
    images: HashMap<String, Digest>,
    /// The file of the names, as it was last written.
    names: Vec<u8>,
    /// The last write failed; it was said.
    failing: bool,
}

impl Writer {
    fn follow(&mut self, committed: &Receiver<Change>) {
        let outcome = self.look_through();
        self.told(outcome);
        while let Ok(first) = committed.recv() {
            // The last word on each document counts.
            let mut documents: BTreeMap<(String, String), Option<Document>> = BTreeMap::new();
            let mut images = false;
            for change in std::iter::once(first).chain(committed.try_iter()) {
                match change {
                    Change::Put { kind, id, name, json } => {
                        let document = Document { id: id.clone(), name, document: json };
                        documents.insert((kind, id), Some(document));
                    }
                    Change::Deleted { kind, id } => drop(documents.insert((kind, id), None)),
                    Change::Images => images = true,
                }
            }
            for ((kind, id), document) in documents {
                let path = document_path(&self.directory, &kind, &id);
                let outcome = match document {
                    Some(document) => write(&path, &to_bytes(&document)),
                    None => remove(&path),
                };
                self.told(outcome);
            }
            if images {
                let outcome = self.write_images();
                self.told(outcome);
            }
        }
    }

    /// A full disk is said once, not for each document.
    fn told(&mut self, outcome: Result<()>) {
        if let Err(error) = &outcome
            && !self.failing
        {
            tracing::warn!(error = %sources(error), "the copy of the database was not written");
        }
        self.failing = outcome.is_err();
    }

    /// Makes the files what the database says, whatever they are now.
    fn look_through(&mut self) -> Result<()> {
        let records = self.directory.join("record");
        let mut known: HashSet<PathBuf> = HashSet::new();
        for (kind, document) in documents(&self.connection)? {
            let path = document_path(&self.directory, &kind, &document.id);
            let bytes = to_bytes(&document);
            if fs::read(&path).ok().as_deref() != Some(&bytes) {
                write(&path, &bytes)?;
            }
            known.insert(path);
        }
        for kind in entries(&records)? {
            for path in entries(&kind)?.into_iter().filter(|path| !known.contains(path)) {
                remove(&path)?;
            }
        }
        self.write_images()?;
        for path in entries(&self.directory.join("image"))? {
            let id = path.file_stem().and_then(|stem| stem.to_str()).map(|hex| format!("sha256:{hex}"));
            if !id.is_some_and(|id| self.images.contains_key(&id)) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Writes the files of images that are not as they were.
    fn write_images(&mut self) -> Result<()> {
        let images = images(&self.connection)?;
        let mut written = HashMap::with_capacity(images.len());
        for image in images {
            let Ok(id) = Digest::parse(&image.id) else { continue };
            let bytes = to_bytes(&image);
            let digest = Digest::of(&bytes);
            if self.images.remove(&image.id) != Some(digest) {
                write(&image_path(&self.directory, &id), &bytes)?;
            }
            written.insert(image.id, digest);
        }
        for id in self.images.keys().filter_map(|id| Digest::parse(id).ok()) {
            remove(&image_path(&self.directory, &id))?;
        }
        self.images = written;
        let names = to_bytes(&names(&self.connection)?);
        if names != self.names {
            write(&self.directory.join("names.json"), &names)?;
            self.names = names;
        }
        Ok(())
    }
}

/// Fills an empty database with what the files say; how many documents and images that were. A file that cannot be read is
/// left out and reported.
pub(crate) fn rebuild(transaction: &Transaction<'_>, directory: &Path) -> Result<usize> {
    let mut count = 0;
    for path in oldest_first(entries(&directory.join("image"))?) {
        count += usize::from(read(&path).is_some_and(|image| told(&path, insert_image(transaction, &image))));
    }
    if let Some(names) = read(&directory.join("names.json")) {
        insert_names(transaction, &names)?;
    }
    for kind_directory in entries(&directory.join("record"))? {
        let Some(kind) = kind_directory.file_name().and_then(|name| name.to_str()) else { continue };
        for path in oldest_first(entries(&kind_directory)?) {
            let Some(document) = read::<Document>(&path) else { continue };
            let inserted = transaction
                .execute(
                    "INSERT INTO record (kind, id, name, json) VALUES (?1, ?2, ?3, ?4)",
                    params![kind, document.id, document.name, document.document],
                )
                .map(drop)
                .map_err(Error::database("write a record to"));
            count += usize::from(told(&path, inserted));
        }
    }
    Ok(count)
}

/// Whether there is something to rebuild from.
pub(crate) fn exists(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

fn insert_image(transaction: &Transaction<'_>, image: &Image) -> Result<()> {
    let actual = Digest::of(image.config.as_bytes());
    if actual.to_string() != image.id {
        return Err(Error::Broken { what: "copy of an image", detail: format!("{} is {actual}", image.id) });
    }
    transaction
        .execute(
            "INSERT INTO image (id, config, layers, manifest, blobs, created, size, pinned, used)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                image.id,
                image.config.as_bytes(),
                image.layers,
                image.manifest,
                image.blobs,
                image.created,
                image.size,
                image.pinned,
                image.used
            ],
        )
        .map(drop)
        .map_err(Error::database("write an image to"))
}

/// Names of images that are not there are left out.
fn insert_names(transaction: &Transaction<'_>, names: &Names) -> Result<()> {
    let failed = || Error::database("write a name to");
    let has = "WHERE EXISTS (SELECT 1 FROM image WHERE id = ?2)";
    for (name, image) in &names.tags {
        let sql = format!("INSERT OR IGNORE INTO tag (name, image) SELECT ?1, ?2 {has}");
        transaction.execute(&sql, params![name, image]).map_err(failed())?;
    }
    for (name, image) in &names.repo_digests {
        let sql = format!("INSERT OR IGNORE INTO repo_digest (name, image) SELECT ?1, ?2 {has}");
        transaction.execute(&sql, params![name, image]).map_err(failed())?;
    }
    for (number, name, image, since) in &names.log {
        let sql = format!("INSERT OR IGNORE INTO tag_log (name, image, seq, since) SELECT ?1, ?2, ?3, ?4 {has}");
        transaction.execute(&sql, params![name, image, number, since]).map_err(failed())?;
    }
    Ok(())
}

fn documents(connection: &Connection) -> Result<Vec<(String, Document)>> {
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get(0)?, Document { id: row.get(1)?, name: row.get(2)?, document: row.get(3)? }))
    };
    connection
        .prepare("SELECT kind, id, name, json FROM record ORDER BY rowid")
        .and_then(|mut query| query.query_map([], row)?.collect())
        .map_err(Error::database("read the records of"))
}

fn images(connection: &Connection) -> Result<Vec<Image>> {
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Image {
            id: row.get(0)?,
            config: String::from_utf8_lossy(&row.get::<_, Vec<u8>>(1)?).into_owned(),
            layers: row.get(2)?,
            manifest: row.get(3)?,
            blobs: row.get(4)?,
            created: row.get(5)?,
            size: row.get(6)?,
            pinned: row.get(7)?,
            used: row.get(8)?,
        })
    };
    connection
        .prepare_cached(
            "SELECT id, config, layers, manifest, blobs, created, size, pinned, used FROM image ORDER BY rowid",
        )
        .and_then(|mut query| query.query_map([], row)?.collect())
        .map_err(Error::database("read the images of"))
}

fn names(connection: &Connection) -> Result<Names> {
    fn all<T>(
        connection: &Connection,
        sql: &str,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        connection
            .prepare_cached(sql)
            .and_then(|mut query| query.query_map([], row)?.collect())
            .map_err(Error::database("read the names of"))
    }
    let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    Ok(Names {
        tags: all(connection, "SELECT name, image FROM tag ORDER BY name", pair)?,
        repo_digests: all(connection, "SELECT name, image FROM repo_digest ORDER BY name, image", pair)?,
        log: all(connection, "SELECT seq, name, image, since FROM tag_log ORDER BY seq", |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?,
    })
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers are plain JSON")
}

fn document_path(directory: &Path, kind: &str, id: &str) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_plain = id.len() <= MAX_PLAIN && !id.starts_with('.') && id.chars().all(plain) && !id.is_empty();
    let stem = if is_plain { id.to_owned() } else { format!("sha256-{}", Digest::of(id.as_bytes()).hex()) };
    directory.join("record").join(kind).join(format!("{stem}.json"))
}

fn image_path(directory: &Path, id: &Digest) -> PathBuf {
    directory.join("image").join(format!("{}.json", id.hex()))
}

/// Write and rename. Not synced: whoever loses the database in the same power cut loses the last documents.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let attempt = || fs::write(&temporary, bytes);
    let written = attempt().or_else(|error| match (error.kind(), path.parent()) {
        (std::io::ErrorKind::NotFound, Some(parent)) => fs::create_dir_all(parent).and_then(|()| attempt()),
        _ => Err(error),
    });
    written.and_then(|()| fs::rename(&temporary, path)).map_err(Error::io("write", path))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// What is in a directory; nothing when it is not there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>(),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
    .map_err(Error::io("list", directory))
}

/// Lists of the database are in the order in which things came.
fn oldest_first(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort_by_cached_key(|path| (fs::metadata(path).and_then(|found| found.modified()).ok(), path.clone()));
    paths
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::metadata(path) {
        Ok(found) if found.len() <= MAX_FILE => fs::read(path).map_err(Error::io("read", path)),
        Ok(_) => Err(Error::Broken { what: "copy", detail: format!("{} is too large", path.display()) }),
        Err(error) => Err(Error::io("read", path)(error)),
    };
    let value = bytes.and_then(|bytes| {
        let broken = |error| Error::Broken { what: "copy", detail: format!("{}: {error}", path.display()) };
        serde_json::from_slice(&bytes).map_err(broken)
    });
    value.inspect_err(|error| tracing::error!(error = %sources(error), "a copy is of no use")).ok()
}

fn told(path: &Path, outcome: Result<()>) -> bool {
    if let Err(error) = &outcome {
        tracing::error!(path = %path.display(), error = %sources(error), "a copy was left out");
    }
    outcome.is_ok()
}

/// An error with what it came from.
fn sources(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
