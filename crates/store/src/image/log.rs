//! What a tag has meant: a log of images for each name, newest last, as `git reflog` keeps one for each branch.

use oci::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Images, now, set_tag, stored_digest, tag_name};
use crate::db::Durability;
use crate::error::{Error, Result};

/// Versions that are kept of one name. Older ones are forgotten; their images stay, without a name.
pub const MAX_VERSIONS: usize = 100;

/// What a name meant for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub image: Digest,
    /// Seconds since the epoch; 0 when it is not known, from before there was a log.
    pub since: i64,
}

impl Images {
    /// What a tag meant, newest first: the first one is what it means now.
    pub fn log(&self, reference: &Reference) -> Result<Vec<Version>> {
        self.0.read(|connection| versions(connection, &tag_name(reference)))
    }

    /// All tags with what they meant before, newest first, without what they mean now.
    pub fn earlier(&self) -> Result<Vec<(Reference, Vec<Version>)>> {
        let tags = self.tags()?;
        self.0.read(|connection| {
            tags.into_iter()
                .map(|(reference, _)| {
                    let mut versions = versions(connection, &tag_name(&reference))?;
                    versions.drain(..versions.len().min(1));
                    Ok((reference, versions))
                })
                .collect()
        })
    }

    /// Lets a tag mean again what it meant `back` changes ago; that is a change too. Gives the image.
    ///
    /// # Errors
    /// [`Error::NoVersion`]
    pub fn roll_back(&self, reference: &Reference, back: usize) -> Result<Digest> {
        self.0.write(Durability::Full, |transaction| {
            let image = version(transaction, reference, back)?;
            set_tag(transaction, reference, &image)?;
            Ok(image)
        })
    }
}

/// The image that a name meant so many changes ago.
pub(super) fn version(connection: &Connection, reference: &Reference, back: usize) -> Result<Digest> {
    let versions = versions(connection, &tag_name(reference))?;
    let kept = versions.len();
    versions.into_iter().nth(back).map(|version| version.image).ok_or_else(|| match kept {
        0 => Error::NoImage { text: reference.with_default_tag().familiar() },
        _ => Error::NoVersion { name: reference.with_default_tag().familiar(), back, kept },
    })
}

fn versions(connection: &Connection, name: &str) -> Result<Vec<Version>> {
    let rows: Vec<(String, i64)> = connection
        .prepare_cached("SELECT image, since FROM tag_log WHERE name = ?1 ORDER BY seq DESC")
        .and_then(|mut query| query.query_map(params![name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(Error::database("read the log of a tag of"))?;
    let mut versions: Vec<Version> = Vec::new();
    for (image, since) in rows {
        let image = stored_digest(&image)?;
        match versions.last_mut() {
            // What was between two equal ones is gone: one version, since the earlier time.
            Some(last) if last.image == image => last.since = since,
            _ => versions.push(Version { image, since }),
        }
    }
    Ok(versions)
}

/// Notes that a name means an image from now on.
pub(super) fn append(transaction: &Transaction<'_>, name: &str, image: &str) -> Result<()> {
    let failed = || Error::database("write the log of a tag to");
    let last: Option<String> = transaction
        .prepare_cached("SELECT image FROM tag_log WHERE name = ?1 ORDER BY seq DESC LIMIT 1")
        .and_then(|mut query| query.query_row(params![name], |row| row.get(0)).optional())
        .map_err(failed())?;
    if last.as_deref() == Some(image) {
        return Ok(());
    }
    transaction
        .prepare_cached("INSERT INTO tag_log (name, image, since) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute(params![name, image, now()]))
        .map_err(failed())?;
    transaction
        .prepare_cached(
            "DELETE FROM tag_log WHERE name = ?1 AND seq <=
                 (SELECT seq FROM tag_log WHERE name = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
        )
        .and_then(|mut statement| statement.execute(params![name, MAX_VERSIONS as i64]))
        .map_err(failed())?;
    Ok(())
}

/// Forgets the log of a name.
pub(super) fn forget(transaction: &Transaction<'_>, name: &str) -> Result<()> {
    transaction
        .prepare_cached("DELETE FROM tag_log WHERE name = ?1")
        .and_then(|mut statement| statement.execute(params![name]))
        .map(|_| ())
        .map_err(Error::database("forget the log of a tag of"))
}
