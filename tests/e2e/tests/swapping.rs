//! Directories and links that change places (`renameat2` with `EXCHANGE`) while mounts are made on them, copies go through
//! them and programs start in them: nothing of the host is reached (CVE-2018-15664, CVE-2021-30465, CVE-2026-42306).
//! `HOIST_E2E_LONG=1` goes on for a million exchanges.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use testkit::harness::{Lab, Test};
use testkit::tests;

pub const TESTS: &[Test] = tests![hoist only: cve_2021_30465_and_2026_42306_places_that_are_swapped];

/// Changes a directory and a link for each other until it is told to stop; how often it did.
fn swap(below: &Path, stop: &AtomicBool, count: &AtomicU64) {
    let (one, two) = (below.join("place"), below.join("link"));
    while !stop.load(Ordering::Relaxed) {
        if renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn cve_2021_30465_and_2026_42306_places_that_are_swapped(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let outside = lab.daemon.tmp().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("secret"), "secret of the host")?;
    let script = format!("mkdir /v/place; echo inside > /v/place/f; ln -s {} /v/link", outside.display());
    lab.client.ok(&format!("run --rm -v swapped:/v busybox sh -c '{script}'"))?;
    lab.client.ok("run -d --name target -v swapped:/v busybox sleep 1000")?;
    let below = lab.daemon.data_root().join("volumes/swapped/_data");
    let file = lab.daemon.tmp().join("sent");
    std::fs::write(&file, "sent")?;
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let least = if testkit::images::long_form() { 1_000_000 } else { 1_000 };
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&below, &stop, &count));
        let attack = || -> Result<()> {
            let mut round = 0;
            while round < 8 || count.load(Ordering::Relaxed) < least {
                round += 1;
                for line in [
                    "run --rm --mount src=swapped,dst=/m,volume-subpath=place busybox cat /m/secret /m/f".to_owned(),
                    "run --rm -v swapped:/v --tmpfs /v/place/t busybox cat /v/place/secret".to_owned(),
                    "run --rm -v swapped:/v -v other:/v/place/o busybox cat /v/place/secret".to_owned(),
                    "run --rm -v swapped:/v -w /v/place/w busybox sh -c 'cat ../secret; echo x > here'".to_owned(),
                    "cp target:/v/place/secret -".to_owned(),
                    format!("cp {} target:/v/place/", file.display()),
                ] {
                    let output = lab.client.run(&line)?;
                    ensure!(!output.stdout.contains("secret of the host"), "{}", output.describe());
                }
                let found = std::fs::read_dir(&outside)?.count();
                ensure!(found == 1, "something was made outside of the container in round {round}");
            }
            Ok(())
        };
        let outcome = attack();
        stop.store(true, Ordering::Relaxed);
        outcome
    })?;
    ensure!(count.load(Ordering::Relaxed) >= least);
    lab.client.ok("rm -f target")?;
    lab.client.ok("volume rm swapped other")?;
    Ok(())
}
