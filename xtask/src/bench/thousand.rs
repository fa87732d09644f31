//! A thousand containers at once: to start them, the memory beside them, lists while a shim is stopped, and the daemon killed.
//! The peers' figures for a hundred are in [`super::memory`]; a thousand of theirs take more than this machine has.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::process::{Signal, kill_process};
use testkit::process;

use super::engine::Engine;
use super::memory::{by_clients, settled_pss};
use super::table::Table;

/// Lists for the percentiles.
const LISTS: usize = 200;

pub fn rounds(engines: &mut [Engine], table: &mut Table, count: usize) -> Result<()> {
    for engine in engines {
        if engine.daemon().is_none() {
            continue;
        }
        let name = engine.name.clone();
        let before = settled_pss(engine)?;
        let begun = Instant::now();
        by_clients(count, |n| engine.time(&format!("run -d --name k{n} {} sleep 100000", engine.image)).map(drop))?;
        table.add(&format!("{count} running: start all"), &name, "s", begun.elapsed().as_secs_f64());
        let after = settled_pss(engine)?;
        println!("    {name}: {}", after.parts);
        let each = after.kib.saturating_sub(before.kib) as f64 / count as f64;
        table.add(&format!("{count} running: PSS beside each"), &name, "KiB", each);

        let shim = shim_of(engine, "k0")?;
        kill_process(shim, Signal::STOP)?;
        let lists = (0..LISTS).map(|_| engine.time("ps")).collect::<Result<Vec<f64>>>();
        let restarts = lists.and_then(|mut lists| {
            lists.sort_by(f64::total_cmp);
            table.add(&format!("{count} running, one shim stopped: ps p50"), &name, "ms", lists[LISTS / 2]);
            table.add(&format!("{count} running, one shim stopped: ps p99"), &name, "ms", lists[LISTS * 99 / 100]);
            restart(engine, table, &format!("{count} running, one shim stopped"))
        });
        kill_process(shim, Signal::CONT)?;
        restarts?;
        for _ in 0..3 {
            restart(engine, table, &format!("{count} running"))?;
        }
        let running = engine.output("ps -q")?.lines().count();
        anyhow::ensure!(running == count, "{running} of {count} run after the restarts");
        let names: Vec<String> = (0..count).map(|n| format!("k{n}")).collect();
        let took = engine.remove(&names.join(" "))?;
        table.add(&format!("{count} running: rm -f, one call"), &name, "s", took / 1000.0);
    }
    Ok(())
}

/// Kills the daemon; from its start to its first answer.
fn restart(engine: &mut Engine, table: &mut Table, what: &str) -> Result<()> {
    let name = engine.name.clone();
    let daemon = engine.daemon().context("no daemon")?;
    daemon.kill9()?;
    daemon.restart()?;
    table.add(&format!("{what}: daemon back after kill -9"), &name, "ms", daemon.started_in.as_secs_f64() * 1000.0);
    Ok(())
}

fn shim_of(engine: &mut Engine, name: &str) -> Result<rustix::process::Pid> {
    let id = engine.output(&format!("inspect -f {{{{.Id}}}} {name}"))?;
    let exec_root = engine.daemon().context("no daemon")?.exec_root();
    let text = fs::read_to_string(exec_root.join("containers").join(id.trim()).join("state.json"))?;
    let state: serde_json::Value = serde_json::from_str(&text)?;
    process::pid_of(u32::try_from(state["shim_pid"].as_u64().context("no shim")?)?)
}
