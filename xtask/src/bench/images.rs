//! Large images through every door: pull, save, push, load, import, remove; and what the engine's processes take meanwhile.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use testkit::process;
use testkit::registry::Registry;

use super::engine::Engine;
use super::material;
use super::table::Table;
use crate::steps;

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);

pub fn rounds(
    engines: &mut [Engine],
    table: &mut Table,
    registry: &Registry,
    rounds: usize,
    quick: bool,
) -> Result<()> {
    for round in 0..rounds {
        for (image, what) in material::large(quick) {
            for engine in engines.iter() {
                one(engine, table, registry, image, what)?;
                println!("    round {}, {}: {what}", round + 1, engine.name);
            }
        }
    }
    Ok(())
}

fn one(engine: &Engine, table: &mut Table, registry: &Registry, image: &str, what: &str) -> Result<()> {
    let reference = format!("{}/bench/{image}:1", registry.host());
    let mut note = |row: &str, line: &str| -> Result<()> {
        // Written back before, so that one engine does not pay for another's dirty pages.
        steps::run(&mut Command::new("sync"))?;
        let (seconds, mib) = watched(engine, line)?;
        table.add(&format!("{row} {what}"), &engine.name, "s", seconds);
        table.add(&format!("PSS, {row} {what}"), &engine.name, "MiB", mib);
        Ok(())
    };
    note("pull", &format!("pull -q {} {reference}", engine.pull_flags))?;
    let archive = engine.root.join("saved.tar");
    let archive = archive.display();
    note("save", &format!("save -o {archive} {reference}"))?;
    // An empty registry for each engine: nothing to mount, nothing there already.
    let target = Registry::start(&engine.root.join("target"))?;
    let pushed = format!("{}/pushed:1", target.host());
    engine.time(&format!("tag {reference} {pushed}"))?;
    note("push of the pulled", &format!("push -q {} {pushed}", engine.pull_flags))?;
    engine.time(&format!("rmi {pushed}"))?;
    note("rmi", &format!("rmi {reference}"))?;
    note("load", &format!("load -q -i {archive}"))?;
    engine.time(&format!("rmi {reference}"))?;
    // An image that no registry has: its layer has to be compressed.
    let root = material::root_tar(image)?;
    let made = format!("{}/made:1", target.host());
    engine.time(&format!("import -q {} {made}", root.display())).or_else(|_| {
        // Docker's import has no -q.
        engine.time(&format!("import {} {made}", root.display()))
    })?;
    note("push of the imported", &format!("push -q {} {made}", engine.pull_flags))?;
    engine.time(&format!("rmi {made}"))?;
    drop(target);
    fs::remove_dir_all(engine.root.join("target"))?;
    fs::remove_file(engine.root.join("saved.tar"))?;
    Ok(())
}

/// Seconds, and the most that the engine's processes took while it ran, in MiB.
fn watched(engine: &Engine, line: &str) -> Result<(f64, f64)> {
    let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let root = engine.root.clone();
    let took = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let kib: u64 = process::of_root(&root).into_iter().filter_map(process::pss_kib).sum();
                most.fetch_max(kib, Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
        let took = engine.time(line);
        over.store(true, Ordering::Relaxed);
        took
    })?;
    Ok((took / 1000.0, most.load(Ordering::Relaxed) as f64 / 1024.0))
}
