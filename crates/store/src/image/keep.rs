//! When images were used, and which ones are to stay.

use std::collections::HashMap;

use oci::Digest;
use rusqlite::params;

use super::{Images, now, stored_digest, to_json};
use crate::db::Durability;
use crate::error::{Error, Result};

/// Seconds for which a noted use is good enough; starting a container should not wait for the disk.
const FRESH: i64 = 600;

/// What is known of an image beside what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Pruning leaves it alone.
    pub pinned: bool,
    /// When it came, or a container was last made of it, in seconds since the epoch; 0 when it is not known.
    pub used: i64,
}

impl Images {
    /// What is known of each image.
    pub fn keeps(&self) -> Result<HashMap<Digest, Keep>> {
        let failed = || Error::database("read the images of");
        self.0.read(|connection| {
            let rows: Vec<(String, Keep)> = connection
                .prepare_cached("SELECT id, pinned, used FROM image")
                .and_then(|mut query| {
                    let keep =
                        |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Keep { pinned: row.get(1)?, used: row.get(2)? }));
                    query.query_map([], keep)?.collect()
                })
                .map_err(failed())?;
            rows.into_iter().map(|(id, keep)| Ok((stored_digest(&id)?, keep))).collect()
        })
    }

    /// Notes that an image is used now. To ten minutes; a power cut may take it.
    pub fn touch(&self, id: &Digest) -> Result<()> {
        let (id, now) = (id.to_string(), now());
        let fresh = self.0.read(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM image WHERE id = ?1 AND used > ?2")
                .and_then(|mut query| query.exists(params![id, now - FRESH]))
                .map_err(Error::database("read an image of"))
        })?;
        if fresh {
            return Ok(());
        }
        self.0.write(Durability::Normal, |transaction| {
            transaction
                .prepare_cached("UPDATE image SET used = ?2 WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id, now]))
                .map(|_| ())
                .map_err(Error::database("write an image to"))
        })
    }

    /// Says which blobs of the store belong to an image, in the place of what was said before: fewer, so that they can go.
    pub(crate) fn set_blobs(&self, id: &Digest, blobs: &[oci::Descriptor]) -> Result<()> {
        self.0.remove(Durability::Full, |transaction| {
            transaction
                .prepare_cached("UPDATE image SET blobs = ?2 WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id.to_string(), to_json(&blobs)]))
                .map(|_| ())
                .map_err(Error::database("write an image to"))
        })
    }

    /// Pins an image, so that no pruning removes it, or unpins it. Says whether that changed anything.
    ///
    /// # Errors
    /// [`Error::NoImage`]
    pub fn pin(&self, id: &Digest, pinned: bool) -> Result<bool> {
        self.0.write(Durability::Full, |transaction| {
            let before: bool = transaction
                .prepare_cached("SELECT pinned FROM image WHERE id = ?1")
                .and_then(|mut query| query.query_row(params![id.to_string()], |row| row.get(0)))
                .map_err(|error| match error {
                    rusqlite::Error::QueryReturnedNoRows => Error::NoImage { text: id.to_string() },
                    error => Error::database("read an image of")(error),
                })?;
            transaction
                .prepare_cached("UPDATE image SET pinned = ?2 WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id.to_string(), pinned]))
                .map_err(Error::database("write an image to"))?;
            Ok(before != pinned)
        })
    }
}
