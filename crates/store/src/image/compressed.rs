//! What compressed forms of a layer are known, and which repositories had them: so that a push does not compress a layer
//! only to learn that the registry has it.
//!
//! A row is a hint about the registry, which is asked before anything is left out, and the truth about the bytes: who writes
//! one has compressed or unpacked that blob. Rows outlive images, as a layer that is built or loaded again is the same
//! layer. A power cut may take the last rows; the oldest go when there are too many.

use oci::{Descriptor, Digest};
use rusqlite::params;

use super::Images;
use crate::db::Durability;
use crate::error::{Error, Result};

/// Rows that are kept.
const ROWS: u32 = 10_000;
/// Rows of one layer that are kept.
const PER_LAYER: u32 = 32;

/// A compressed form of a layer that a repository had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressedLayer {
    /// Full name without tag: `registry:5000/team/app`.
    pub repository: String,
    pub blob: Descriptor,
}

impl Images {
    /// Remembers that `repository` has these blobs, each being the layer with the diffID beside it.
    pub fn remember_compressed(&self, repository: &str, layers: &[(Digest, Descriptor)]) -> Result<()> {
        if layers.is_empty() {
            return Ok(());
        }
        self.0.write(Durability::Normal, |transaction| {
            for (diff_id, blob) in layers {
                let Ok(size) = i64::try_from(blob.size) else { continue };
                let diff_id = diff_id.to_string();
                transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO compressed_layer (diff_id, repository, media_type, digest, size)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )
                    .and_then(|mut insert| {
                        insert.execute(params![diff_id, repository, blob.media_type, blob.digest.to_string(), size])
                    })
                    .map_err(Error::database("write a layer to"))?;
                transaction
                    .prepare_cached(
                        "DELETE FROM compressed_layer WHERE diff_id = ?1 AND seq NOT IN
                         (SELECT seq FROM compressed_layer WHERE diff_id = ?1 ORDER BY seq DESC LIMIT ?2)",
                    )
                    .and_then(|mut delete| delete.execute(params![diff_id, PER_LAYER]))
                    .map_err(Error::database("delete a layer of"))?;
            }
            transaction
                .prepare_cached(
                    "DELETE FROM compressed_layer WHERE seq <= (SELECT max(seq) FROM compressed_layer) - ?1",
                )
                .and_then(|mut delete| delete.execute(params![ROWS]))
                .map_err(Error::database("delete a layer of"))?;
            Ok(())
        })
    }

    /// The known compressed forms of a layer, the latest first.
    pub fn compressed(&self, diff_id: &Digest) -> Result<Vec<CompressedLayer>> {
        let rows: Vec<(String, String, String, i64)> = self.0.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT repository, media_type, digest, size FROM compressed_layer
                     WHERE diff_id = ?1 ORDER BY seq DESC",
                )
                .and_then(|mut query| {
                    query
                        .query_map(params![diff_id.to_string()], |row| {
                            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                        })?
                        .collect()
                })
                .map_err(Error::database("read the layers of"))
        })?;
        let layers = rows.into_iter().filter_map(|(repository, media_type, digest, size)| {
            let blob = Descriptor::new(media_type, Digest::parse(&digest).ok()?, u64::try_from(size).ok()?);
            Some(CompressedLayer { repository, blob })
        });
        Ok(layers.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_few_and_the_latest_first() {
        let root = std::env::temp_dir().join(format!("hoist-compressed-{}", std::process::id()));
        let blob = |n: u32| Descriptor::new("application/x", Digest::of(&n.to_le_bytes()), u64::from(n));
        let layer = Digest::of(b"layer");
        {
            let store = crate::Store::open(&root, None).unwrap();
            let images = store.images();
            images.remember_compressed("a/b", &[]).unwrap();
            for n in 0..PER_LAYER + 5 {
                images.remember_compressed("a/b", &[(layer, blob(n))]).unwrap();
            }
            images.remember_compressed("a/b", &[(layer, blob(9))]).unwrap();
            images.remember_compressed("c/d", &[(layer, blob(9)), (Digest::of(b"other"), blob(1))]).unwrap();
        }
        let store = crate::Store::open(&root, None).unwrap();
        let known = store.images().compressed(&layer).unwrap();
        assert_eq!(known.len(), PER_LAYER as usize);
        assert_eq!((known[0].repository.as_str(), known[0].blob.size), ("c/d", 9));
        assert_eq!((known[1].repository.as_str(), known[1].blob.size), ("a/b", 9));
        assert_eq!(known[2].blob, blob(PER_LAYER + 4));
        drop(store);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
