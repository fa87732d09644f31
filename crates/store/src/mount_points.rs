//! The lowest layer of every container: the directories and files that the engine mounts on.
//!
//! Images often lack some of them. Made in the writable layer they would cost a copy-up of `/etc` at every start, and
//! show up as changes of the container. Below all other layers they are there when no image has its own.

use archive::tar::{Kind, Metadata, Writer};
use oci::Digest;

use crate::error::{Error, Result};
use crate::layer::Layers;

const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes the layer if the store does not have it; its diffID.
pub(crate) fn ensure(layers: &Layers) -> Result<Digest> {
    let tar = archive().map_err(|source| Error::Io { op: "write", path: "the mount points' layer".into(), source })?;
    let diff_id = Digest::of(&tar);
    if !layers.has(&diff_id) {
        layers.writer()?.write_tar(tar.as_slice())?.commit(Some(&diff_id))?;
    }
    Ok(diff_id)
}

fn archive() -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    let entries =
        DIRECTORIES.iter().map(|path| (path, Kind::Directory)).chain(FILES.iter().map(|path| (path, Kind::File)));
    for (path, kind) in entries {
        writer.append(&Metadata::new(*path, kind), std::io::empty())?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_same_everywhere() {
        let first = super::archive().unwrap();
        assert_eq!(first, super::archive().unwrap());
        let digest = oci::Digest::of(&first).to_string();
        assert_eq!(digest, "sha256:41b173605fbca79d3e436807730041cd91d548c8ee886577b453546d44fcb692");
    }
}
