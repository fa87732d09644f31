//! `docker import`: a root file system's tar becomes an image of one layer.

use std::io::Read;

use oci::{History, ImageConfig, Platform};

use crate::Store;
use crate::error::{Error, Result};
use crate::image::ImageRecord;

impl Store {
    /// Makes an image of one layer from a tar (gzip, zstd, bzip2 and xz are recognised). `config` carries the changes, and
    /// `created` (RFC 3339); operating system, architecture and history are filled in where they are empty. The image
    /// has no tag yet.
    ///
    /// # Errors
    /// [`Error::Source`] and [`Error::Layer`]; nothing is left then.
    pub fn import(&self, tar: impl Read, config: ImageConfig) -> Result<ImageRecord> {
        let lease = self.lease();
        let tar = archive::decompress(tar).map_err(Error::Source)?;
        let (diff_id, size) = self.layers().writer()?.write_tar(tar)?.commit(None)?;
        let mut config = config;
        let host = Platform::host();
        if config.os.is_empty() {
            config.os = host.os;
        }
        if config.architecture.is_empty() {
            config.architecture = host.architecture;
            config.variant = host.variant;
        }
        config.rootfs.diff_ids = vec![diff_id];
        if config.history.is_empty() {
            let comment = if config.comment.is_empty() { "Imported from -".to_owned() } else { config.comment.clone() };
            config.history.push(History { created: config.created.clone(), comment, ..History::default() });
        }
        let raw_config = config.to_bytes();
        let record = ImageRecord {
            id: oci::Digest::of(&raw_config),
            layers: vec![diff_id],
            created: config.created.clone().unwrap_or_default(),
            config,
            raw_config,
            manifest: None,
            blobs: Vec::new(),
            size,
            repo_digests: Vec::new(),
        };
        self.images().create(&record)?;
        drop(lease);
        Ok(record)
    }
}
