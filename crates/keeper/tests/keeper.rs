//! A keeper on a thread, and clients that come and go.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use keeper::{Error, Keeper};

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let directory = std::env::temp_dir().join(format!("hoist-keeper-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Place(directory)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts a keeper that lives as long as the test process.
fn start(path: &std::path::Path) {
    let listener = keeper::listen(path).unwrap();
    std::thread::spawn(move || keeper::serve(listener));
}

#[test]
fn holds_across_clients() {
    let place = Place::new("hold");
    let path = place.0.join("keeper.sock");
    assert!(matches!(Keeper::connect(&path), Err(Error::Socket { .. })));
    start(&path);

    let (mut reader, writer) = std::io::pipe().unwrap();
    let first = Keeper::connect(&path).unwrap();
    assert!(first.get("layer:a").unwrap().is_none());
    first.hold("layer:a", &writer).unwrap();
    assert!(matches!(first.hold("layer:a", &writer), Err(Error::Taken { .. })));
    drop((first, writer));

    let second = Keeper::connect(&path).unwrap();
    let fd: OwnedFd = second.get("layer:a").unwrap().unwrap();
    std::fs::File::from(fd).write_all(b"hello").unwrap();
    assert_eq!(second.list().unwrap(), ["layer:a"]);
    assert!(second.release("layer:a").unwrap());
    assert!(!second.release("layer:a").unwrap());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello", "the last writer is closed");
    assert!(matches!(second.get("a b"), Err(Error::Name { .. })));
}

#[test]
fn many_names_and_a_long_path() {
    let place = Place::new("many");
    let directory = place.0.join("d".repeat(100));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("keeper.sock");
    start(&path);
    let keeper = Keeper::connect(&path).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let names: Vec<String> = (0..400).map(|number| format!("layer:{number:064}")).collect();
    for name in &names {
        keeper.hold(name, &null).unwrap();
    }
    assert_eq!(keeper.list().unwrap(), names);
}

#[test]
fn threads_share_a_client() {
    let place = Place::new("threads");
    let path = place.0.join("keeper.sock");
    start(&path);
    let keeper = Keeper::connect(&path).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (keeper, null) = (&keeper, &null);
            scope.spawn(move || {
                for number in 0..50 {
                    let name = format!("t{thread}:{number}");
                    keeper.hold(&name, null).unwrap();
                    assert!(keeper.get(&name).unwrap().is_some());
                    assert!(keeper.release(&name).unwrap());
                }
            });
        }
    });
    assert!(keeper.list().unwrap().is_empty());
}
