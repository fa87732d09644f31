//! Many containers at once, and the memory that engines take for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use testkit::{process, wait};

use super::engine::Engine;
use super::table::Table;

const CLIENTS: usize = 8;

/// What stands beside each container of an engine and lives as long: the start of its program's name.
const SHIMS: [&str; 3] = ["hoist-runtime", "conmon", "containerd-shim"];

/// Proportional set size of an engine's processes.
pub(super) struct Memory {
    pub kib: u64,
    /// Of the programs in [`SHIMS`].
    shims_kib: u64,
    /// How many of each program there are.
    pub parts: String,
}

fn pss(engine: &Engine) -> Memory {
    let mut total = 0;
    let mut programs: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for pid in engine.processes() {
        let Some(kib) = process::pss_kib(pid) else { continue };
        total += kib;
        let line = process::command_line(pid);
        let first = line.split(' ').next().unwrap_or("").rsplit('/').next().unwrap_or("").to_string();
        let entry = programs.entry(first).or_default();
        entry.0 += 1;
        entry.1 += kib;
    }
    let parts = programs.iter().map(|(name, (count, kib))| format!("{count} x {name} {kib} KiB"));
    let is_shim = |name: &str| SHIMS.iter().any(|shim| name.starts_with(shim));
    Memory {
        kib: total,
        shims_kib: programs.iter().filter(|(name, _)| is_shim(name)).map(|(_, (_, kib))| kib).sum(),
        parts: parts.collect::<Vec<_>>().join(", "),
    }
}

/// Reads until two readings in a row agree within a twentieth: engines tidy up for a while.
pub(super) fn settled_pss(engine: &Engine) -> Result<Memory> {
    let mut last = u64::MAX;
    wait::until("memory to settle", Duration::from_secs(20), || {
        let now = pss(engine);
        let settled = now.kib.abs_diff(last) <= last / 20;
        last = now.kib;
        Ok(settled.then_some(now))
    })
}

pub fn idle(engines: &[Engine], table: &mut Table) -> Result<()> {
    for engine in engines {
        let Memory { kib, parts, .. } = settled_pss(engine)?;
        println!("    {}: {parts}", engine.name);
        table.add("PSS idle", &engine.name, "MiB", kib as f64 / 1024.0);
    }
    Ok(())
}

pub fn many(engines: &[Engine], table: &mut Table, count: usize) -> Result<()> {
    for engine in engines {
        let before = settled_pss(engine)?;
        let begun = Instant::now();
        by_clients(count, |n| engine.time(&format!("run -d --name m{n} {} sleep 10000", engine.image)).map(drop))?;
        table.add(&format!("{count} x run -d, {CLIENTS} clients"), &engine.name, "s", begun.elapsed().as_secs_f64());
        let after = settled_pss(engine)?;
        println!("    {}: with {count} running: {}", engine.name, after.parts);
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / count as f64;
        table.add("PSS per running container", &engine.name, "KiB", each(after.kib, before.kib));
        table.add("PSS per shim (conmon)", &engine.name, "KiB", each(after.shims_kib, before.shims_kib));
        for _ in 0..7 {
            table.add(&format!("ps with {count} running"), &engine.name, "ms", engine.time("ps")?);
        }
        let names: Vec<String> = (0..count).map(|n| format!("m{n}")).collect();
        let took = engine.remove(&names.join(" "))?;
        table.add(&format!("rm -f {count} running, one call"), &engine.name, "s", took / 1000.0);
    }
    Ok(())
}

/// Calls `action` for 0..count from [`CLIENTS`] threads; the first error wins.
pub(super) fn by_clients(count: usize, action: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok(());
                }
                action(n)?;
            }
        };
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("the action does not panic"))
    })
}
