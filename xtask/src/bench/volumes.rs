//! What mounts cost: a start with ten volumes and ten binds beside one without any, and files in a volume and in the
//! writable layer beside the host's own directory.
//!
//! Files are written and read by this very program, on the host and inside of containers (it is mounted there together
//! with the host's libraries), so that the same instructions are measured everywhere; it takes its times itself.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::http::{Connection, Target};

use super::engine::Engine;
use super::table::Table;

/// Name of the column without an engine.
pub const HOST: &str = "host";

const LARGE: usize = 96 << 20;
const BLOCK: usize = 1 << 20;
const SMALL: usize = 4096;

pub fn rounds(engines: &[Engine], table: &mut Table, scratch: &Path, quick: bool, rounds: usize) -> Result<()> {
    starts(engines, table, rounds * 2)?;
    files(engines, table, scratch, quick, rounds)
}

/// Both kinds of container in turns; the cost of the mounts is the difference within a round.
fn starts(engines: &[Engine], table: &mut Table, rounds: usize) -> Result<()> {
    for engine in engines.iter().filter(|engine| engine.socket.is_some()) {
        for number in 0..10 {
            fs::create_dir_all(engine.root.join(format!("bind{number}")))?;
        }
    }
    for round in 0..=rounds {
        for engine in engines {
            let Some(socket) = &engine.socket else { continue };
            let mut connection = Connection::open(&Target::Unix(socket.clone()))?;
            let mut note = |name: &str, milliseconds: f64| {
                if round > 0 {
                    table.add(name, &engine.name, "ms", milliseconds);
                }
            };
            // Whoever comes second finds the machine warmer.
            let order = if round % 2 == 0 { [false, true] } else { [true, false] };
            let mut times = [0.0; 2];
            for with in order {
                let host = json!({"NetworkMode": "none", "Binds": if with { binds(engine) } else { Vec::new() }});
                times[usize::from(with)] = start(&mut connection, engine, &host)?;
            }
            note("start, no mounts", times[0]);
            note("start, 10 volumes and 10 binds", times[1]);
            note("what the 20 mounts cost", times[1] - times[0]);
            // What a user namespace for each container costs; dockerd has one for all of its containers or none.
            for network in ["none", "bridge"].into_iter().filter(|_| engine.name == "hoist") {
                let plain = start(&mut connection, engine, &json!({"NetworkMode": network}))?;
                let own = json!({"NetworkMode": network, "UsernsMode": "auto"});
                note(&format!("start, {network}, --userns=host"), plain);
                note(&format!("start, {network}, --userns=auto"), start(&mut connection, engine, &own)?);
            }
        }
    }
    for engine in engines.iter().filter(|engine| engine.socket.is_some()) {
        let volumes: Vec<String> = (0..10).map(|number| format!("bench{number}")).collect();
        engine.time(&format!("volume rm {}", volumes.join(" ")))?;
    }
    Ok(())
}

/// Ten volumes and ten directories.
fn binds(engine: &Engine) -> Vec<String> {
    let two = |number| {
        let source = engine.root.join(format!("bind{number}"));
        [format!("bench{number}:/v/{number}"), format!("{}:/b/{number}", source.display())]
    };
    (0..10).flat_map(two).collect()
}

/// Milliseconds of `POST /containers/{id}/start`.
fn start(connection: &mut Connection, engine: &Engine, host: &Value) -> Result<f64> {
    let body = json!({"Image": engine.image, "Cmd": ["true"], "HostConfig": host});
    let headers = [("Content-Type", "application/json")];
    let created =
        connection.request("POST", "/v1.41/containers/create", &headers, Some(body.to_string().as_bytes()))?;
    let created = created.success()?.json()?;
    let id = created["Id"].as_str().context("no id")?;
    let begun = Instant::now();
    connection.request("POST", &format!("/v1.41/containers/{id}/start"), &[], Some(b""))?.success()?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    connection.request("POST", &format!("/v1.41/containers/{id}/wait"), &[], Some(b""))?.success()?;
    connection.request("DELETE", &format!("/v1.41/containers/{id}"), &[], None)?.success()?;
    Ok(took)
}

fn files(engines: &[Engine], table: &mut Table, scratch: &Path, quick: bool, rounds: usize) -> Result<()> {
    let program = std::env::current_exe()?;
    let libraries = fs::canonicalize("/lib64")?;
    let libraries = libraries.display();
    let own = scratch.join("files");
    let engines: Vec<&Engine> = engines.iter().filter(|engine| engine.socket.is_some()).collect();
    for engine in &engines {
        let line = format!(
            "run -d --name files --network none -v files:/volume -v {}:/measure:ro -v {libraries}:/lib64:ro \
             -v /usr/lib:/usr/lib:ro -v /usr/lib:/lib:ro {} sleep 1000",
            program.display(),
            engine.image
        );
        engine.time(&line)?;
    }
    let count = if quick { 200 } else { 2000 };
    for round in 0..=rounds {
        let mut note = |place: &str, column: &str, text: &str| -> Result<()> {
            for (what, unit, value) in figures(text)? {
                if round > 0 {
                    table.add(&format!("{what}, {place}"), column, unit, value);
                }
            }
            Ok(())
        };
        let inside = [("volume", "/volume/files"), ("layer", "/files")];
        let engines = engines.iter().flat_map(|engine| inside.map(|place| Some((engine, place))));
        let mut turns: Vec<_> = std::iter::once(None).chain(engines).collect();
        // Whoever follows another finds the disk as that one left it, the inodes that it has freed above all.
        let first = round % turns.len();
        turns.rotate_left(first);
        for turn in turns {
            if let Some((engine, (place, path))) = turn {
                let line = format!("exec files /measure bench --files {path} {count}");
                note(place, &engine.name, &engine.output(&line)?)?;
                continue;
            }
            let output = std::process::Command::new(&program)
                .args(["bench", "--files"])
                .arg(&own)
                .arg(count.to_string())
                .output()
                .context("measure on the host")?;
            let host = String::from_utf8_lossy(&output.stdout);
            // The host's directory stands in both rows, so that each has its ratio.
            note("volume", HOST, &host)?;
            note("layer", HOST, &host)?;
        }
    }
    for engine in &engines {
        engine.remove("files")?;
        engine.time("volume rm files")?;
    }
    fs::remove_dir_all(&own).context("remove the host's files")
}

/// `name unit value`, a line each.
fn figures(text: &str) -> Result<Vec<(String, &'static str, f64)>> {
    let lines = text.lines().filter(|line| !line.is_empty());
    let found: Vec<_> = lines
        .map(|line| {
            let (what, value) = line.rsplit_once(' ').context("no figure")?;
            Ok((what.to_owned(), "ms", value.parse::<f64>()?))
        })
        .collect::<Result<_>>()?;
    anyhow::ensure!(!found.is_empty(), "nothing was measured");
    Ok(found)
}

/// `bench --files DIRECTORY COUNT`: measures there, and prints milliseconds.
pub fn measure(directory: &str, count: &str) -> Result<()> {
    let directory = Path::new(directory);
    let count: usize = count.parse()?;
    fs::create_dir_all(directory)?;
    let timed = |what: &str, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        let begun = Instant::now();
        work()?;
        println!("{what} {:.3}", begun.elapsed().as_secs_f64() * 1000.0);
        Ok(())
    };
    let large = directory.join("large");
    let mut block = vec![7u8; BLOCK];
    // To the page cache: how fast the disk is concerns nobody's mounts. What is dirty is not left to the next measurement.
    timed("large file written", &mut || {
        let mut file = File::create(&large)?;
        (0..LARGE / BLOCK).try_for_each(|_| file.write_all(&block))?;
        Ok(())
    })?;
    File::open(&large)?.sync_all()?;
    timed("large file read", &mut || {
        for _ in 0..4 {
            let mut file = File::open(&large)?;
            while file.read(&mut block)? > 0 {}
        }
        Ok(())
    })?;
    fs::remove_file(&large)?;
    let small = directory.join("small");
    fs::create_dir_all(&small)?;
    timed("small files made", &mut || {
        for number in 0..count {
            File::create(small.join(number.to_string()))?.write_all(&block[..SMALL])?;
        }
        Ok(())
    })?;
    timed("small files read", &mut || {
        for _ in 0..4 {
            for number in 0..count {
                let mut file = File::open(small.join(number.to_string()))?;
                while file.read(&mut block)? > 0 {}
            }
        }
        Ok(())
    })?;
    timed("small files removed", &mut || {
        for number in 0..count {
            fs::remove_file(small.join(number.to_string()))?;
        }
        Ok(())
    })?;
    File::open(directory)?.sync_all()?;
    Ok(())
}
