//! kill -9 in the middle of everything: what was acknowledged is there, what was not has left nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci::{ImageConfig, Reference};
use shared::*;
use store::Store;

const DIRECTORY: &str = "HOIST_STORE_TO_KILL";

/// Works until it is killed, and says what is done. Not a test of its own: see below.
#[test]
fn worker() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Store::open(Path::new(&directory), None).unwrap();
    let first = store.records().list("step").unwrap().len();
    for number in first.. {
        let content = vec![number as u8; 300_000];
        let bytes = tar(&[file(&format!("n{number}"), &content)]);
        let image = store.import(&bytes[..], ImageConfig::default()).unwrap();
        store.images().tag(&Reference::parse(&format!("image:{number}")).unwrap(), &image.id).unwrap();
        store.content().put(&content[..number + 1]).unwrap();
        store.records().put("step", &number.to_string(), None, "{}").unwrap();
        println!("\ndone {number}");
        if number % 3 == 0 {
            store.prune_unreferenced().unwrap();
        }
    }
}

#[test]
fn killed_again_and_again() {
    let place = Place::new("kill");
    let data = place.0.join("data");
    let mut acknowledged = None;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker", "--nocapture"])
            .env(DIRECTORY, &data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wanted = round + 1;
        let mut last = None;
        for line in lines {
            last = line.unwrap().strip_prefix("done ").map(|number| number.parse::<usize>().unwrap()).or(last);
            if last.is_some() {
                wanted -= 1;
            }
            if wanted == 0 {
                // The next steps go on while this happens: the blow falls anywhere.
                child.kill().unwrap();
                wanted = usize::MAX;
            }
        }
        child.wait().unwrap();
        acknowledged = last.max(acknowledged);

        let store = Store::open(&data, None).unwrap();
        assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from), "round {round}");
        let steps = store.records().list("step").unwrap().len();
        assert!(steps > acknowledged.unwrap(), "round {round}: {steps} {acknowledged:?}");
        for number in 0..steps {
            let image = store.images().resolve(&format!("image:{number}")).unwrap();
            for layer in &image.layers {
                assert_eq!(store.layers().info(layer).unwrap().content, 300_000);
            }
        }
        for (digest, size) in store.content().list().unwrap() {
            let bytes = store.content().read(&digest, size).unwrap();
            assert_eq!(oci::Digest::of(&bytes), digest);
        }
    }
}
