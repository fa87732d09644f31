//! Volumes on a real directory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use volume::{Error, Volumes};

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("hoist-volume-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("volumes")).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn made_listed_removed() {
    let dir = TempDir::new("life");
    let volumes = Volumes::open(&dir.0.join("volumes")).unwrap();
    assert!(volumes.create("two").unwrap());
    assert!(volumes.create("one").unwrap());
    assert!(!volumes.create("one").unwrap());
    assert_eq!(volumes.list().unwrap(), ["one", "two"]);
    assert!(volumes.exists("one") && !volumes.exists("three"));
    volumes.remove("one", &dir.0.join("trash")).unwrap();
    assert!(matches!(volumes.remove("one", &dir.0.join("trash")), Err(Error::NotFound { .. })));
    for bad in ["", ".", "..", "a/b", ".hidden", "a b"] {
        assert!(matches!(volumes.create(bad), Err(Error::Name { .. })), "{bad}");
    }
}

#[test]
fn filled_once_with_everything() {
    let dir = TempDir::new("fill");
    let source = dir.0.join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("deep/er/file"), b"text").unwrap();
    fs::hard_link(source.join("deep/er/file"), source.join("second")).unwrap();
    symlink("../../etc/passwd", source.join("link")).unwrap();
    fs::set_permissions(source.join("second"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o711)).unwrap();
    let volumes = Volumes::open(&dir.0.join("volumes")).unwrap();
    volumes.create("data").unwrap();
    let root = File::open(&source).unwrap();
    assert!(volumes.fill("data", root.as_fd()).unwrap());
    assert!(!volumes.fill("data", root.as_fd()).unwrap());
    let data = volumes.data("data").unwrap();
    assert_eq!(fs::read(data.join("deep/er/file")).unwrap(), b"text");
    let (one, two) = (fs::metadata(data.join("second")).unwrap(), fs::metadata(data.join("deep/er/file")).unwrap());
    assert_eq!((one.ino(), one.mode() & 0o777), (two.ino(), 0o640));
    assert_eq!(one.mtime(), fs::metadata(source.join("second")).unwrap().mtime());
    assert_eq!(fs::read_link(data.join("link")).unwrap().to_str(), Some("../../etc/passwd"));
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o711);
}
