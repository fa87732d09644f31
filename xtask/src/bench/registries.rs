//! `--only registry`: our registry against Debian's docker-registry, on loopback, with the same client in turns.
//!
//! ```text
//!  clients 1, 8, 32:   fresh registry ─▶ push 512 MB ─▶ pull it ─▶ push 1,000 blobs of 4 kB ─▶ pull them ─▶ peak memory
//!  TLS (by curl):      push and pull one blob of 256 MB
//!  10,000 tags:        pushed, listed
//! ```

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use testkit::http::{Connection, Target};
use testkit::images::digest;
use testkit::registry::{OCI_MANIFEST, Registry};

use super::Plan;
use super::machine::{self, Scratch};
use super::table::Table;
use crate::packages;
use crate::steps::{self, step};

const ENGINES: [&str; 2] = ["hoist", "docker-registry"];

/// Blobs, with their digests.
struct Material(Vec<(String, Vec<u8>)>);

impl Material {
    fn make(count: usize, size: usize) -> Material {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ size as u64;
        let blob = |_| {
            let mut bytes = vec![0; size];
            for word in bytes.chunks_mut(8) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                word.copy_from_slice(&random.to_le_bytes()[..word.len()]);
            }
            (digest(&bytes), bytes)
        };
        Material((0..count).map(blob).collect())
    }
}

pub fn run(plan: &Plan) -> Result<ExitCode> {
    step("Test tools", || packages::unpack("docker-registry", &["docker-registry"]))?;
    step("Building hoist and hoistd (release)", || {
        if std::env::var_os("HOIST_BIN_DIR").is_some() {
            return Ok(());
        }
        steps::run(&mut steps::cargo(&["build", "--release", "--quiet", "-p", "hoist", "-p", "hoistd"]))
    })?;
    println!("{}", machine::describe()?);
    let scratch = Scratch::new()?;
    let mut table = Table::new(ENGINES.map(str::to_owned).to_vec());
    let rounds = plan.rounds(3, 1);
    let large = if plan.quick { Material::make(8, 8 << 20) } else { Material::make(32, 16 << 20) };
    let small = Material::make(if plan.quick { 200 } else { 1000 }, 4 << 10);
    let mut all = || -> Result<()> {
        for round in 0..rounds {
            for clients in [1, 8, 32] {
                for engine in ENGINES {
                    let directory = scratch.path.join(format!("{engine}-{clients}-{round}"));
                    step(&format!("Round {}, {clients} clients, {engine}", round + 1), || {
                        transfers(&directory, engine, clients, &large, &small, &mut table)
                    })?;
                    fs::remove_dir_all(&directory)?;
                }
            }
        }
        for engine in ENGINES {
            let directory = scratch.path.join(format!("{engine}-tls"));
            step(&format!("TLS, {engine}"), || tls(&scratch.path, &directory, engine, rounds, &mut table))?;
        }
        let count = if plan.quick { 1000 } else { 10_000 };
        for engine in ENGINES {
            let directory = scratch.path.join(format!("{engine}-tags"));
            step(&format!("{count} tags, {engine}"), || tags(&directory, engine, count, &mut table))?;
        }
        Ok(())
    };
    let result = all();
    println!("\n{table}");
    println!("{}", machine::describe()?);
    if let Some(path) = &plan.json {
        fs::write(path, table.json().to_string()).with_context(|| path.clone())?;
    }
    scratch.remove()?;
    result.map(|()| ExitCode::SUCCESS)
}

fn start(engine: &str, directory: &Path) -> Result<Registry> {
    match engine {
        "hoist" => Registry::start_own(directory, &["--allow-anonymous-push"]),
        _ => Registry::start(directory),
    }
}

/// Calls `action` with a connection of its own for each of the clients, until all blobs are done.
fn by_clients(
    registry: &Registry,
    clients: usize,
    material: &Material,
    action: impl Fn(&mut Connection, &(String, Vec<u8>)) -> Result<()> + Sync,
) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let work = || -> Result<()> {
            let mut connection = Connection::open(&Target::Tcp(registry.address))?;
            while let Some(blob) = material.0.get(next.fetch_add(1, Ordering::Relaxed)) {
                action(&mut connection, blob)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("clients do not panic"))
    })?;
    Ok(begun.elapsed().as_secs_f64())
}

fn push(connection: &mut Connection, (digest, bytes): &(String, Vec<u8>)) -> Result<()> {
    let begun = connection.request("POST", "/v2/bench/blobs/uploads/", &[], Some(b""))?.success()?;
    let location = begun.header("location").context("the registry gave no upload location")?;
    let path = match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => location,
    };
    let separator = if path.contains('?') { '&' } else { '?' };
    let kind = [("Content-Type", "application/octet-stream")];
    let path = format!("{path}{separator}digest={digest}");
    connection.send_head("PUT", &path, &kind, Some(bytes.len() as u64))?;
    connection.stream().write_all(bytes)?;
    connection.read_response("PUT")?.success().map(drop)
}

/// Reads and drops, as fast as a client can.
fn pull(connection: &mut Connection, (digest, bytes): &(String, Vec<u8>)) -> Result<()> {
    connection.send_head("GET", &format!("/v2/bench/blobs/{digest}"), &[], None)?;
    let head = connection.read_head()?.success()?;
    let length: usize = head.header("content-length").context("no length")?.parse()?;
    if length != bytes.len() {
        bail!("{digest} has {length} bytes");
    }
    let mut buffer = vec![0; 256 << 10];
    let mut left = length;
    while left > 0 {
        let want = buffer.len().min(left);
        let count = connection.reader().read(&mut buffer[..want])?;
        if count == 0 {
            bail!("the registry hung up");
        }
        left -= count;
    }
    Ok(())
}

fn transfers(
    directory: &Path,
    engine: &str,
    clients: usize,
    large: &Material,
    small: &Material,
    table: &mut Table,
) -> Result<()> {
    let registry = start(engine, directory)?;
    let megabytes = large.0.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() / 1_000_000;
    let count = small.0.len();
    // Dirty pages of the one before are not this one's.
    steps::run(&mut Command::new("sync"))?;
    let mut note = |what: String, seconds: f64| table.add(&format!("{what}, {clients}"), engine, "s", seconds);
    note(format!("push {megabytes} MB"), by_clients(&registry, clients, large, push)?);
    steps::run(&mut Command::new("sync"))?;
    note(format!("pull {megabytes} MB"), by_clients(&registry, clients, large, pull)?);
    note(format!("push {count} small"), by_clients(&registry, clients, small, push)?);
    note(format!("pull {count} small"), by_clients(&registry, clients, small, pull)?);
    table.add(&format!("peak memory, {clients}"), engine, "MiB", peak(registry.pid())?);
    Ok(())
}

/// Most memory that a process has had, in MiB.
fn peak(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

fn tls(scratch: &Path, directory: &Path, engine: &str, rounds: usize, table: &mut Table) -> Result<()> {
    let own = scratch.join("hoist-tls/data/tls");
    let (certificate, key) = (own.join("server.crt"), own.join("server.key"));
    let registry = match engine {
        "hoist" => Registry::start_own(directory, &["--allow-anonymous-push", "--tls-self-signed"])?,
        _ => Registry::start_peer(directory, Some((&certificate, &key)))?,
    };
    let file = scratch.join("large");
    let base = format!("https://{}/v2/bench/blobs", registry.host());
    for round in 0..rounds {
        let mut material = Material::make(1, 256 << 20);
        let (_, mut bytes) = material.0.pop().context("material")?;
        bytes[0] ^= u8::try_from(round).unwrap_or(0);
        let digest = digest(&bytes);
        fs::write(&file, &bytes)?;
        let curl = |words: &[&str]| -> Result<(String, f64)> {
            let begun = Instant::now();
            let output = Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--insecure", "--http1.1"])
                .args(words)
                .stdin(Stdio::null())
                .output()?;
            if !output.status.success() {
                bail!("curl: {}", String::from_utf8_lossy(&output.stderr));
            }
            Ok((String::from_utf8_lossy(&output.stdout).into_owned(), begun.elapsed().as_secs_f64()))
        };
        let (head, _) = curl(&["-X", "POST", "-D", "-", "-o", "/dev/null", &format!("{base}/uploads/")])?;
        let location = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().starts_with("location: ").then(|| line[10..].trim().to_owned()))
            .context("no location")?;
        let location = match location.starts_with('/') {
            true => format!("https://{}{location}", registry.host()),
            false => location,
        };
        let separator = if location.contains('?') { '&' } else { '?' };
        let file = file.to_str().context("path")?;
        let kind = "Content-Type: application/octet-stream";
        // The client has a core of its own and half of the encryption: the time is bounded by it, the registry's CPU is not.
        let mut transfer = |what: &str, words: &[&str]| -> Result<()> {
            let before = machine::cpu_seconds(registry.pid())?;
            let (_, seconds) = curl(words)?;
            table.add(&format!("{what} 268 MB, TLS"), engine, "s", seconds);
            table.add(&format!("{what} 268 MB, TLS, CPU"), engine, "s", machine::cpu_seconds(registry.pid())? - before);
            Ok(())
        };
        transfer("push", &["-T", file, "-H", kind, &format!("{location}{separator}digest={digest}")])?;
        transfer("pull", &["-o", "/dev/null", &format!("{base}/{digest}")])?;
    }
    table.add("peak memory, TLS", engine, "MiB", peak(registry.pid())?);
    Ok(())
}

fn tags(directory: &Path, engine: &str, count: usize, table: &mut Table) -> Result<()> {
    let registry = start(engine, directory)?;
    let material = Material(vec![(digest(b"{}"), b"{}".to_vec()), (digest(b"layer"), b"layer".to_vec())]);
    by_clients(&registry, 1, &material, push)?;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":5}}]}}"#,
        material.0[0].0, material.0[1].0
    );
    let names = Material((0..count).map(|number| (format!("tag-{number:05}"), Vec::new())).collect());
    let seconds = by_clients(&registry, 8, &names, |connection, (tag, _)| {
        let path = format!("/v2/bench/manifests/{tag}");
        let kind = [("Content-Type", OCI_MANIFEST)];
        connection.request("PUT", &path, &kind, Some(manifest.as_bytes()))?.success().map(drop)
    })?;
    table.add(&format!("push {count} tags, 8"), engine, "s", seconds);
    for _ in 0..5 {
        let mut connection = Connection::open(&Target::Tcp(registry.address))?;
        let begun = Instant::now();
        let answer = connection.request("GET", "/v2/bench/tags/list", &[], None)?.success()?;
        let seconds = begun.elapsed().as_secs_f64();
        let listed = answer.json()?["tags"].as_array().map_or(0, Vec::len);
        if listed != count {
            bail!("{engine} lists {listed} tags of {count}");
        }
        table.add(&format!("list {count} tags"), engine, "ms", seconds * 1000.0);
    }
    Ok(())
}
