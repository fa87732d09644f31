//! A socket in the file system.

use super::{Error, Group, Kind, Listener, io_error};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

/// A path that this daemon has made; goes with it.
#[derive(Debug)]
pub(super) struct Path {
    path: PathBuf,
    /// Device and inode: somebody else's socket of the same name stays.
    identity: (u64, u64),
}

impl Drop for Path {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|data| (data.dev(), data.ino()) == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("remove {}: {error}", self.path.display());
        }
    }
}

pub(super) fn open(path: &std::path::Path, group: &Group) -> Result<Listener, Error> {
    let group = group.number()?;
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(io_error(format!("listen on {}", path.display())))?;
    let doing = || format!("set owner and mode of {}", path.display());
    let data = fs::symlink_metadata(path).map_err(io_error(doing()))?;
    let owned = Path { path: path.to_owned(), identity: (data.dev(), data.ino()) };
    // First the group, then the right to write: nobody else ever gets in.
    if group.is_some() {
        chown(path, None, group).map_err(io_error(doing()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(io_error(doing()))?;
    Ok(Listener { kind: Kind::Unix(listener), path: Some(owned) })
}

/// A socket that nobody answers on is left from a daemon that was killed.
fn remove_stale(path: &std::path::Path) -> Result<(), Error> {
    let data = match fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(format!("look at {}", path.display()))(error)),
    };
    if !data.file_type().is_socket() {
        return Err(Error::NotSocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io_error(format!("remove the stale socket {}", path.display())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // A full backlog is an answer too.
        _ => Err(Error::InUse { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hoist-listen-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn stale_and_living_sockets() {
        let directory = directory("unix");
        let path = directory.join("x.sock");
        let nobody = Group::Named(String::new());
        drop(UnixListener::bind(&path).unwrap());
        let listener = open(&path, &nobody).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(open(&path, &nobody), Err(Error::InUse { .. })));
        drop(listener);
        assert!(!path.exists());
        // A successor's socket is not removed.
        let listener = open(&path, &nobody).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(successor);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(matches!(open(&path, &nobody), Err(Error::NotSocket { .. })));
        fs::remove_dir_all(&directory).unwrap();
    }
}
