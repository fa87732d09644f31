//! What is done with containers beside starting them: lists of many, copies, commits, logs, execs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::engine::{Computed, Engine};
use super::table::Table;

/// `ps -a` with many containers, which were made by eight clients at a time.
pub fn listing(engines: &[Engine], table: &mut Table, count: usize, rounds: usize) -> Result<()> {
    for engine in engines {
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| -> Result<()> {
            let makers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        while next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < count {
                            engine.time(&format!("create {} true", engine.image))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            makers.into_iter().try_for_each(|maker| maker.join().expect("it does not panic"))
        })?;
    }
    for round in 0..=rounds {
        for engine in engines {
            let took = engine.time("ps -a")?;
            if round > 0 {
                table.add(&format!("ps -a, {count} containers"), &engine.name, "ms", took);
            }
        }
    }
    for engine in engines {
        for names in engine.output("ps -aq")?.split_whitespace().collect::<Vec<_>>().chunks(100) {
            engine.remove(&names.join(" "))?;
        }
    }
    Ok(())
}

/// How long ext4 does not give out the inodes of removed files again, when what says so is not on the disk yet. Who makes files
/// in that time pays for looking at each of them: the next engine would pay for the removals of the one before.
const INODES_REST: Duration = Duration::from_secs(36);

/// Copies both ways of one large file and of many small ones, and a commit of the latter. What others have left to write is on
/// the disk before each of them.
pub fn copies(engines: &[Engine], table: &mut Table, scratch: &Path, quick: bool, rounds: usize) -> Result<()> {
    let (mib, files) = if quick { (128, 2_000) } else { (1024, 20_000) };
    let large = large_file(scratch, mib)?;
    let many = many_files(scratch, files)?;
    for round in 0..rounds {
        for engine in engines {
            let back = engine.root.join("copied");
            let mut timed = |what: &str, line: &str| -> Result<()> {
                rustix::fs::sync();
                table.add(what, &engine.name, "s", engine.time(line)? / 1000.0);
                Ok(())
            };
            let (large, many, out) = (large.display(), many.display(), back.display());
            engine.time(&format!("run -d --name copies {} sleep 1000", engine.image))?;
            timed(&format!("cp of {mib} MiB in"), &format!("cp {large} copies:/large"))?;
            timed(&format!("cp of {mib} MiB out"), &format!("cp copies:/large {out}"))?;
            fs::remove_file(&back)?;
            std::thread::sleep(if quick { Duration::ZERO } else { INODES_REST });
            timed(&format!("cp of {files} files in"), &format!("cp {many} copies:/many"))?;
            timed(&format!("cp of {files} files out"), &format!("cp copies:/many {out}"))?;
            fs::remove_dir_all(&back)?;
            engine.time("exec copies rm /large")?;
            let committed = format!("committed:{round}");
            timed(&format!("commit of {files} files"), &format!("commit copies {committed}"))?;
            engine.remove("copies")?;
            engine.time(&format!("rmi {committed}"))?;
        }
    }
    fs::remove_file(&large)?;
    fs::remove_dir_all(&many).context("remove the files to copy")
}

/// A million lines: written by a container, then read back.
pub fn logs(engines: &[Engine], table: &mut Table, quick: bool, rounds: usize) -> Result<()> {
    let lines = if quick { 100_000 } else { 1_000_000 };
    for round in 0..=rounds {
        for engine in engines {
            let line = format!("run --name lines --network none {} seq 1 {lines}", engine.image);
            // Attached, a client would take part: the engine alone is to be measured.
            engine.time(&line.replacen("run", "create", 1))?;
            let begun = std::time::Instant::now();
            engine.time("start lines")?;
            engine.time("wait lines")?;
            let stored = begun.elapsed().as_secs_f64();
            let read = engine.time("logs lines")? / 1000.0;
            engine.remove("lines")?;
            if round > 0 {
                table.add(&format!("{lines} log lines: start to end"), &engine.name, "s", stored);
                table.add(&format!("{lines} log lines: read back"), &engine.name, "s", read);
            }
        }
    }
    Ok(())
}

/// `exec` in a running container: one after the other, eight at a time, and what `batch` of them compute.
///
/// The time of the processor is that of client, daemon, shim and the program itself. Podman has nobody who waits for its conmon:
/// that is missing from its figure.
pub fn execs(engines: &[Engine], table: &mut Table, rounds: usize, batch: usize) -> Result<()> {
    for engine in engines {
        engine.time(&format!("run -d --name execs {} sleep 1000", engine.image))?;
    }
    for round in 0..=rounds {
        for engine in engines {
            let one = engine.time("exec execs true")?;
            let begun = std::time::Instant::now();
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..8).map(|_| scope.spawn(|| engine.time("exec execs true"))).collect();
                all.into_iter().try_for_each(|one| one.join().expect("it does not panic").map(drop))
            })?;
            if round > 0 {
                table.add("exec true", &engine.name, "ms", one);
                table.add("8 x exec true at once", &engine.name, "ms", begun.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    // Kept in steps of 10 ms: many at a time.
    for _ in 0..3 {
        for engine in engines {
            let before = Computed::until_now(engine);
            for _ in 0..batch {
                engine.time("exec execs true")?;
            }
            table.add("exec true: CPU of all parts", &engine.name, "ms", before.since(engine) * 1000.0 / batch as f64);
        }
    }
    for engine in engines {
        engine.remove("execs")?;
    }
    Ok(())
}

/// `start` and `stop` alone, of a process that ends on SIGTERM.
pub fn starts(engines: &[Engine], table: &mut Table, rounds: usize) -> Result<()> {
    for engine in engines {
        engine.time(&format!("create --name starts {} sh -c '{}'", engine.image, super::POLITE))?;
    }
    for round in 0..=rounds {
        for engine in engines {
            let (started, stopped) = (engine.time("start starts")?, engine.time("stop starts")?);
            if round > 0 {
                table.add("start", &engine.name, "ms", started);
                table.add("stop (ends on SIGTERM)", &engine.name, "ms", stopped);
            }
        }
    }
    for engine in engines {
        engine.remove("starts")?;
    }
    Ok(())
}

/// Bytes that do not compress, as what is copied seldom does.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

fn large_file(scratch: &Path, mib: usize) -> Result<PathBuf> {
    let path = scratch.join("large");
    let mut file = fs::File::create(&path)?;
    let piece = noise(1 << 20, 7);
    (0..mib).try_for_each(|_| file.write_all(&piece))?;
    Ok(path)
}

/// Of 4 KiB each, a hundred to a directory.
fn many_files(scratch: &Path, count: usize) -> Result<PathBuf> {
    let root = scratch.join("many");
    for number in 0..count {
        let directory = root.join(format!("{:03}", number / 100));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("file-{number}")), noise(4096, number as u64 + 1))?;
    }
    Ok(root)
}
