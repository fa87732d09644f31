//! The clients alone: how soon one speaks, and what a press of the tab key costs.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::engine::Engine;
use super::table::Table;

/// Longest that a client may think before it connects, in seconds.
const LIMIT: i64 = 30;

/// From the start of a client to the first byte that it sends; and a completed name of a container, from start to end.
pub fn rounds(engines: &[Engine], table: &mut Table, scratch: &Path, rounds: usize) -> Result<()> {
    let path = scratch.join("client.sock");
    let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
    for engine in engines {
        engine.time(&format!("create --name lighthouse {} true", engine.image))?;
    }
    for round in 0..=rounds {
        for engine in engines {
            // Podman's command line is its engine: it speaks to nobody.
            let spoke = engine.socket.is_some().then(|| first_byte(engine, &listener, &path)).transpose()?;
            let completed = engine.time("__complete start lightho")?;
            if round > 0 {
                if let Some(spoke) = spoke {
                    table.add("client, to the first byte sent", &engine.name, "ms", spoke);
                }
                table.add("client, a name completed", &engine.name, "ms", completed);
            }
        }
    }
    engines.iter().try_for_each(|engine| engine.remove("lighthouse").map(drop))
}

/// Milliseconds from just before the client is forked until its first byte has been read here.
fn first_byte(engine: &Engine, listener: &UnixListener, path: &Path) -> Result<f64> {
    let mut command = engine.command("ps");
    command.env("DOCKER_HOST", format!("unix://{}", path.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{}: cannot start its client", engine.name))?;
    let limit = Timespec { tv_sec: LIMIT, tv_nsec: 0 };
    let came = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit))?;
    let mut took = None;
    if came > 0 {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0])?;
        took = Some(begun.elapsed());
    }
    // It has said what was waited for; nobody answers.
    child.kill()?;
    child.wait()?;
    match took {
        Some(took) => Ok(took.as_secs_f64() * 1000.0),
        None => bail!("{}: its client has said nothing for {LIMIT} seconds", engine.name),
    }
}
