//! Images: what their configs say, which layers they stand on, and the names they go by.

mod compressed;
mod keep;
mod log;
mod resolve;

pub use compressed::CompressedLayer;
pub use keep::Keep;
pub use log::{MAX_VERSIONS, Version};

use std::collections::HashMap;
use std::sync::Arc;

use oci::{Descriptor, Digest, ImageConfig, Reference};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::{Db, Durability};
use crate::error::{Error, Result};

/// The images of a store. Cheap to clone. Every change is one transaction that survives a power cut.
#[derive(Clone, Debug)]
pub struct Images(pub(crate) Arc<Db>);

/// One image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRecord {
    /// Digest of [`ImageRecord::raw_config`].
    pub id: Digest,
    pub config: ImageConfig,
    /// The config as it came.
    pub raw_config: Vec<u8>,
    /// DiffIDs, base first.
    pub layers: Vec<Digest>,
    /// The manifest it was pulled by, a blob of the store.
    pub manifest: Option<Digest>,
    /// Other blobs of the store that belong to it: config and compressed layers, where they were kept.
    pub blobs: Vec<Descriptor>,
    /// RFC 3339, as in the config; empty when the config does not say.
    pub created: String,
    /// Bytes of all regular files of all layers.
    pub size: u64,
    /// `docker.io/library/httpd@sha256:…`: full names, with the digests of manifests or indexes they were pulled by.
    pub repo_digests: Vec<String>,
}

impl Images {
    /// Records an image, in the place of one with the same id. Its tags stay, its repo digests are joined.
    pub fn create(&self, record: &ImageRecord) -> Result<()> {
        self.0.write(Durability::Full, |transaction| insert(transaction, record))
    }

    /// Records an image and its tags in one transaction. Each tag is taken from the image that had it.
    pub fn create_tagged(&self, record: &ImageRecord, tags: &[Reference]) -> Result<()> {
        self.0.write(Durability::Full, |transaction| {
            insert(transaction, record)?;
            tags.iter().try_for_each(|tag| set_tag(transaction, tag, &record.id))
        })
    }

    /// The image with this id.
    ///
    /// # Errors
    /// [`Error::NoImage`]
    pub fn get(&self, id: &Digest) -> Result<ImageRecord> {
        self.0.read(|connection| find(connection, id))?.ok_or_else(|| Error::NoImage { text: id.to_string() })
    }

    /// All images, in the order in which they came.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        self.0.read(|connection| {
            let rows: Vec<Row> = connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM image ORDER BY rowid"))
                .and_then(|mut query| query.query_map([], row)?.collect())
                .map_err(Error::database("read the images of"))?;
            let mut by_image: HashMap<String, Vec<String>> = HashMap::new();
            for (image, name) in pairs(connection, "SELECT image, name FROM repo_digest ORDER BY image, name")? {
                by_image.entry(image).or_default().push(name);
            }
            rows.into_iter()
                .map(|row| {
                    let digests = by_image.remove(&row.id).unwrap_or_default();
                    row.into_record(digests)
                })
                .collect()
        })
    }

    /// Removes an image with all its names; says whether it was there. Layers and blobs stay until
    /// [`crate::Store::prune_unreferenced`].
    pub fn delete(&self, id: &Digest) -> Result<bool> {
        self.0.remove(Durability::Full, |transaction| {
            transaction
                .prepare_cached("DELETE FROM image WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id.to_string()]))
                .map(|count| count > 0)
                .map_err(Error::database("delete an image of"))
        })
    }

    /// Gives an image a name, taking it from the image that had it. Without a tag it is `latest`.
    ///
    /// # Errors
    /// [`Error::NoImage`]
    pub fn tag(&self, reference: &Reference, id: &Digest) -> Result<()> {
        self.0.write(Durability::Full, |transaction| {
            if find(transaction, id)?.is_none() {
                return Err(Error::NoImage { text: id.to_string() });
            }
            set_tag(transaction, reference, id)
        })
    }

    /// Takes a name away, and with a tag its log; the image stays. A reference with a digest takes the repo digest away. Says whether the
    /// name was there.
    pub fn untag(&self, reference: &Reference) -> Result<bool> {
        let (sql, name) = match digest_name(reference) {
            Some(name) => ("DELETE FROM repo_digest WHERE name = ?1", name),
            None => ("DELETE FROM tag WHERE name = ?1", tag_name(reference)),
        };
        self.0.remove(Durability::Full, |transaction| {
            if reference.digest.is_none() {
                log::forget(transaction, &name)?;
            }
            transaction
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute(params![name]))
                .map(|count| count > 0)
                .map_err(Error::database("delete a name of"))
        })
    }

    /// The tags of an image, in order.
    pub fn tags_of(&self, id: &Digest) -> Result<Vec<Reference>> {
        self.0.read(|connection| {
            let names: Vec<String> = connection
                .prepare_cached("SELECT name FROM tag WHERE image = ?1 ORDER BY name")
                .and_then(|mut query| query.query_map(params![id.to_string()], |row| row.get(0))?.collect())
                .map_err(Error::database("read the tags of"))?;
            names.iter().map(|name| stored_reference(name)).collect()
        })
    }

    /// All tags with their images, in order of the names.
    pub fn tags(&self) -> Result<Vec<(Reference, Digest)>> {
        let tags = self.0.read(|connection| pairs(connection, "SELECT name, image FROM tag ORDER BY name"))?;
        tags.iter().map(|(name, image)| Ok((stored_reference(name)?, stored_digest(image)?))).collect()
    }
}

const COLUMNS: &str = "id, config, layers, manifest, blobs, created, size";

/// An image as the database has it.
struct Row {
    id: String,
    config: Vec<u8>,
    layers: String,
    manifest: Option<String>,
    blobs: String,
    created: String,
    size: i64,
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        config: row.get(1)?,
        layers: row.get(2)?,
        manifest: row.get(3)?,
        blobs: row.get(4)?,
        created: row.get(5)?,
        size: row.get(6)?,
    })
}

impl Row {
    fn into_record(self, repo_digests: Vec<String>) -> Result<ImageRecord> {
        let broken = |what| move |error: serde_json::Error| Error::Broken { what, detail: error.to_string() };
        Ok(ImageRecord {
            id: stored_digest(&self.id)?,
            config: ImageConfig::from_bytes(&self.config).map_err(broken("image config"))?,
            raw_config: self.config,
            layers: from_json(&self.layers)?,
            manifest: self.manifest.as_deref().map(stored_digest).transpose()?,
            blobs: from_json(&self.blobs)?,
            created: self.created,
            size: u64::try_from(self.size).unwrap_or(0),
            repo_digests,
        })
    }
}

fn find(connection: &Connection, id: &Digest) -> Result<Option<ImageRecord>> {
    let id = id.to_string();
    let found = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM image WHERE id = ?1"))
        .and_then(|mut query| query.query_row(params![id], row).optional())
        .map_err(Error::database("read an image of"))?;
    let Some(found) = found else { return Ok(None) };
    let digests = connection
        .prepare_cached("SELECT name FROM repo_digest WHERE image = ?1 ORDER BY name")
        .and_then(|mut query| query.query_map(params![id], |row| row.get(0))?.collect())
        .map_err(Error::database("read the names of"))?;
    found.into_record(digests).map(Some)
}

/// All tags with their images, of a database that somebody else may write to.
pub(crate) fn tagged(connection: &Connection) -> Result<Vec<(Reference, ImageRecord)>> {
    let transaction = connection.unchecked_transaction().map_err(Error::database("read"))?;
    let mut tagged = Vec::new();
    for (name, id) in pairs(&transaction, "SELECT name, image FROM tag ORDER BY name")? {
        if let Some(record) = find(&transaction, &stored_digest(&id)?)? {
            tagged.push((stored_reference(&name)?, record));
        }
    }
    Ok(tagged)
}

fn insert(transaction: &Transaction<'_>, record: &ImageRecord) -> Result<()> {
    let actual = Digest::of(&record.raw_config);
    if actual != record.id {
        return Err(Error::DigestMismatch { expected: record.id, actual });
    }
    let id = record.id.to_string();
    transaction
        .prepare_cached(
            "INSERT INTO image (id, config, layers, manifest, blobs, created, size, used)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET layers = excluded.layers, size = excluded.size, used = excluded.used,
                 manifest = coalesce(excluded.manifest, manifest),
                 blobs = CASE WHEN excluded.manifest IS NULL THEN blobs ELSE excluded.blobs END",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                id,
                record.raw_config,
                to_json(&record.layers),
                record.manifest.map(|digest| digest.to_string()),
                to_json(&record.blobs),
                record.created,
                i64::try_from(record.size).unwrap_or(i64::MAX),
                now(),
            ])
        })
        .map_err(Error::database("write an image to"))?;
    for name in &record.repo_digests {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO repo_digest (name, image) VALUES (?1, ?2)")
            .and_then(|mut statement| statement.execute(params![name, id]))
            .map_err(Error::database("write a name to"))?;
    }
    Ok(())
}

fn set_tag(transaction: &Transaction<'_>, reference: &Reference, id: &Digest) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO tag (name, image) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET image = excluded.image",
        )
        .and_then(|mut statement| statement.execute(params![tag_name(reference), id.to_string()]))
        .map_err(Error::database("write a tag to"))?;
    log::append(transaction, &tag_name(reference), &id.to_string())
}

/// Seconds since the epoch.
fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// How a tag is written in the database: `docker.io/library/httpd:latest`.
fn tag_name(reference: &Reference) -> String {
    format!("{}:{}", reference.name(), reference.tag_or_latest())
}

/// How a name with a digest is written in the database.
fn digest_name(reference: &Reference) -> Option<String> {
    reference.digest.map(|digest| format!("{}@{digest}", reference.name()))
}

fn pairs(connection: &Connection, sql: &str) -> Result<Vec<(String, String)>> {
    connection
        .prepare_cached(sql)
        .and_then(|mut query| query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(Error::database("read the names of"))
}

fn stored_reference(name: &str) -> Result<Reference> {
    Reference::parse(name).map_err(|error| Error::Broken { what: "tag", detail: format!("{name:?}: {error}") })
}

fn stored_digest(text: &str) -> Result<Digest> {
    Digest::parse(text).map_err(|error| Error::Broken { what: "digest", detail: format!("{text:?}: {error}") })
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("digests and descriptors are plain JSON")
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Broken { what: "image", detail: error.to_string() })
}
