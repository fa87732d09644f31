//! From what people type to an image.

use oci::{Digest, Reference, ReferenceError, parse_version};
use rusqlite::{Connection, OptionalExtension, params};

use super::log::version;
use super::{ImageRecord, Images, digest_name, find, stored_digest, tag_name};
use crate::error::{Error, Result};

impl Images {
    /// The image that `text` means: `name[:tag]`, `name@digest`, an id with or without `sha256:`, the beginning of an
    /// id, or `name[:tag]@{N}`, what the tag meant N changes ago. A name wins over the beginning of an id, as with Docker.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::NoVersion`], [`Error::AmbiguousImage`], and [`Error::Reference`] for what can be neither.
    pub fn resolve(&self, text: &str) -> Result<ImageRecord> {
        self.0.read(|connection| resolve(connection, text))
    }
}

fn resolve(connection: &Connection, text: &str) -> Result<ImageRecord> {
    let missing = |text: String| Error::NoImage { text };
    if let Some((name, back)) = parse_version(text) {
        let reference = Reference::parse(name)?;
        if reference.digest.is_some() {
            return Err(missing(text.to_owned()));
        }
        let id = version(connection, &reference, back)?;
        return find(connection, &id)?.ok_or_else(|| missing(text.to_owned()));
    }
    if let Some(prefix) = text.strip_prefix("sha256:").filter(|prefix| is_prefix(prefix)) {
        return by_prefix(connection, prefix)?.ok_or_else(|| missing(text.to_owned()));
    }
    let reference = match Reference::parse(text) {
        Ok(reference) => reference,
        Err(error) => {
            // 64 digits, which no name may be.
            if is_prefix(text) && matches!(error, ReferenceError::LooksLikeId { .. }) {
                return by_prefix(connection, text)?.ok_or_else(|| missing(text.to_owned()));
            }
            return Err(Error::Reference(error));
        }
    };
    if let Some(record) = by_name(connection, &reference)? {
        return Ok(record);
    }
    if is_prefix(text)
        && let Some(record) = by_prefix(connection, text)?
    {
        return Ok(record);
    }
    Err(missing(reference.with_default_tag().familiar()))
}

fn by_name(connection: &Connection, reference: &Reference) -> Result<Option<ImageRecord>> {
    let (sql, name) = match digest_name(reference) {
        Some(name) => ("SELECT image FROM repo_digest WHERE name = ?1 ORDER BY image LIMIT 1", name),
        None => ("SELECT image FROM tag WHERE name = ?1", tag_name(reference)),
    };
    let id: Option<String> = connection
        .prepare_cached(sql)
        .and_then(|mut query| query.query_row(params![name], |row| row.get(0)).optional())
        .map_err(Error::database("read a name of"))?;
    match id {
        Some(id) => find(connection, &stored_digest(&id)?),
        // Docker also takes the image's own id after the name.
        None => match reference.digest {
            Some(id) => Ok(find(connection, &id)?.filter(|_| has_repository(connection, reference, &id))),
            None => Ok(None),
        },
    }
}

/// Has the image `id` any tag or digest of this repository?
fn has_repository(connection: &Connection, reference: &Reference, id: &Digest) -> bool {
    let name = reference.name();
    connection
        .prepare_cached(
            "SELECT 1 FROM (SELECT name FROM tag WHERE image = ?1 UNION ALL SELECT name FROM repo_digest WHERE image = ?1)
             WHERE substr(name, 1, length(?2) + 1) IN (?2 || ':', ?2 || '@')",
        )
        .and_then(|mut query| query.exists(params![id.to_string(), name]))
        .unwrap_or(false)
}

fn is_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn by_prefix(connection: &Connection, prefix: &str) -> Result<Option<ImageRecord>> {
    // 'g' follows the last digit: the range is all ids that begin so.
    let range = [format!("sha256:{prefix}"), format!("sha256:{prefix}g")];
    let ids: Vec<String> = connection
        .prepare_cached("SELECT id FROM image WHERE id >= ?1 AND id < ?2 LIMIT 2")
        .and_then(|mut query| query.query_map(params![range[0], range[1]], |row| row.get(0))?.collect())
        .map_err(Error::database("read the images of"))?;
    match ids.as_slice() {
        [] => Ok(None),
        [id] => find(connection, &stored_digest(id)?),
        _ => Err(Error::AmbiguousImage { text: prefix.to_owned() }),
    }
}
