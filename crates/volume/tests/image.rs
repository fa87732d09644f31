//! File systems in files, asked of those who know: e2fsck and the kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use volume::image;

const MIB: u64 = 1 << 20;

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("hoist-image-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("mounted")).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = image::unmount(&self.0.join("mounted"));
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Says nothing and ends with 0 when nothing is wrong.
fn check(path: &Path) -> bool {
    let Ok(output) = Command::new("/sbin/e2fsck").arg("-fn").arg(path).output() else {
        println!("skipped: e2fsck is not installed");
        return false;
    };
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

#[test]
fn every_size_is_whole() {
    let dir = TempDir::new("sizes");
    for size in
        [MIB, MIB + 1, 3 * MIB, 10 * MIB, 64 * MIB - 1, 64 * MIB, 127 * MIB, 128 * MIB + 5, 1 << 30, 17 << 30, 1 << 40]
    {
        let path = dir.0.join("image");
        image::create(&path, size).unwrap();
        assert_eq!(image::sizes(&path).unwrap(), (size, 0), "{size}");
        let room = fs::metadata(&path).unwrap().blocks() * 512;
        assert!(room <= 8 * MIB, "{size} takes {room}");
        if !check(&path) {
            return;
        }
    }
    assert!(image::create(&dir.0.join("small"), MIB - 1).is_err());
    assert!(image::create(&dir.0.join("large"), 16 << 40).is_err());
}

#[test]
fn it_holds_what_it_was_made_for_and_no_more() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        println!("skipped: needs root and loop devices");
        return;
    }
    let dir = TempDir::new("full");
    let (path, mounted) = (dir.0.join("image"), dir.0.join("mounted"));
    let size = 3 * MIB;
    image::create(&path, size).unwrap();
    image::mount(&path, Some("data"), &mounted).unwrap();
    assert!(image::is_mounted(&mounted).unwrap());
    assert_eq!(fs::read_dir(&mounted).unwrap().count(), 0);
    let mut file = File::create(mounted.join("file")).unwrap();
    let chunk = vec![7u8; 64 * 1024];
    let mut written = 0;
    let error = loop {
        match file.write_all(&chunk).and_then(|()| file.sync_data()) {
            Ok(()) => written += chunk.len() as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!((size - MIB / 4..size + MIB).contains(&written), "{written}");
    drop(file);
    image::unmount(&mounted).unwrap();
    let (_, used) = image::sizes(&path).unwrap();
    assert!((size - MIB / 4..size + MIB).contains(&used), "{used}");
    check(&path);
    // It is all there again.
    image::mount(&path, Some("data"), &mounted).unwrap();
    assert_eq!(fs::metadata(mounted.join("file")).unwrap().len() / chunk.len() as u64 * chunk.len() as u64, written);
}
