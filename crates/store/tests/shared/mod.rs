//! A store in a temporary directory, and tars by hand.

#![allow(clippy::unwrap_used, dead_code, reason = "shared by tests, each of which uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use archive::tar::{Kind, Metadata, Writer};
use store::Store;

/// A directory that is removed at the end.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Place {
        Place::below(&std::env::temp_dir(), name)
    }

    pub fn below(directory: &Path, name: &str) -> Place {
        let path = directory.join(format!("hoist-store-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    pub fn store(&self) -> Store {
        Store::open(&self.0.join("data"), None).unwrap()
    }

    /// All files below the data root that are neither blobs nor layers nor the database.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in ["content/ingest", "layers", "content/blobs/sha256"] {
            for entry in std::fs::read_dir(self.0.join("data").join(directory)).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_string_lossy().starts_with('.') {
                    found.push(path);
                }
            }
        }
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).exists())
        || Path::new("/usr/bin").join(name).exists()
}

pub fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    output.stdout
}

pub fn tar(entries: &[(Metadata, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (metadata, data) in entries {
        writer.append(metadata, *data).unwrap();
    }
    writer.finish().unwrap()
}

pub fn file<'a>(path: &str, data: &'a [u8]) -> (Metadata, &'a [u8]) {
    (Metadata { size: data.len() as u64, ..Metadata::new(path, Kind::File) }, data)
}

pub fn other(path: &str, kind: Kind) -> (Metadata, &'static [u8]) {
    (Metadata::new(path, kind), b"")
}

pub fn link(path: &str, kind: Kind, target: &str) -> (Metadata, &'static [u8]) {
    (Metadata { link: target.into(), ..Metadata::new(path, kind) }, b"")
}
