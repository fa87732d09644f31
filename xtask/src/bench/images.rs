//! Large images through every door: pull, save, push, load, import, remove; what the engine's processes take meanwhile, in
//! memory and in time of the processor; and what the disk and the decompressor alone would need.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use testkit::process;
use testkit::registry::Registry;
use testkit::tar;

use super::engine::{Computed, Engine};
use super::material;
use super::table::Table;
use crate::steps;

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);

/// The column of what no engine takes part in.
pub const ALONE: &str = "alone";

pub fn rounds(
    engines: &mut [Engine],
    table: &mut Table,
    registry: &Registry,
    rounds: usize,
    quick: bool,
) -> Result<()> {
    for round in 0..rounds {
        for (image, what) in material::large(quick) {
            if let Some(engine) = engines.first() {
                alone(&engine.root, table, image, what)?;
            }
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
        let Cost { seconds, cpu, mib } = watched(engine, line)?;
        table.add(&format!("{row} {what}"), &engine.name, "s", seconds);
        table.add(&format!("CPU, {row} {what}"), &engine.name, "s", cpu);
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
    drop(target);
    fs::remove_dir_all(engine.root.join("target"))?;
    // An image that no registry has: its layer has to be compressed. The second time the engine may know better.
    let target = Registry::start(&engine.root.join("target"))?;
    let root = material::root_tar(image)?;
    for row in ["push of the imported", "push of the imported, made anew"] {
        let made = format!("{}/made:1", target.host());
        engine.time(&format!("import -q {} {made}", root.display())).or_else(|_| {
            // Docker's import has no -q.
            engine.time(&format!("import {} {made}", root.display()))
        })?;
        note(row, &format!("push -q {} {made}", engine.pull_flags))?;
        engine.time(&format!("rmi {made}"))?;
    }
    drop(target);
    fs::remove_dir_all(engine.root.join("target"))?;
    fs::remove_file(engine.root.join("saved.tar"))?;
    Ok(())
}

/// What a pull cannot be faster than: one thread that unpacks all layers to nowhere, and a file of the same bytes that is
/// written and synced. Both in this process, whose decompressor is the engine's.
fn alone(scratch: &Path, table: &mut Table, image: &str, what: &str) -> Result<()> {
    let layers = material::layers(image)?.iter().map(|layer| layer.read()).collect::<Result<Vec<_>, _>>()?;
    let mut buffer = vec![0; 256 << 10];
    let (begun, mut length) = (Instant::now(), 0);
    for layer in &layers {
        let mut source = tar::gunzip(layer);
        loop {
            match source.read(&mut buffer)? {
                0 => break,
                count => length += count,
            }
        }
    }
    table.add(&format!("decompressor, {what}"), ALONE, "s", begun.elapsed().as_secs_f64());
    let path = scratch.join("alone");
    steps::run(&mut Command::new("sync"))?;
    let begun = Instant::now();
    let mut file = fs::File::create(&path)?;
    while length > 0 {
        let count = length.min(buffer.len());
        file.write_all(&buffer[..count])?;
        length -= count;
    }
    file.sync_all()?;
    table.add(&format!("disk, {what}"), ALONE, "s", begun.elapsed().as_secs_f64());
    drop(file);
    fs::remove_file(&path)?;
    Ok(())
}

/// What an operation took.
struct Cost {
    seconds: f64,
    /// Seconds of the processor, of client and engine.
    cpu: f64,
    /// The most memory of the engine's processes while it ran.
    mib: f64,
}

fn watched(engine: &Engine, line: &str) -> Result<Cost> {
    let before = Computed::until_now(engine);
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
    let cpu = before.since(engine);
    let mib = most.load(Ordering::Relaxed) as f64 / 1024.0;
    Ok(Cost { seconds: took / 1000.0, cpu, mib })
}
