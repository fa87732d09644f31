//! Finding or starting the forwarder, which serves published ports that are not translated and outlives this process.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use ::network::Forwarder;
use forward::Client;

use super::{KEEPER_SOCKET, Place, Spawner};
use crate::{Error, Result};

/// Name of its socket in the exec root.
const SOCKET: &str = "forwarder.sock";

/// It listens within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the networks reach the forwarder of this exec root.
pub(crate) fn forwarder(exec_root: &Path, spawner: &Spawner) -> Result<Forwarder> {
    let (program, place) = spawner.program();
    let program = program.try_clone_to_owned().map_err(|error| Error::system("share the runtime's program", error))?;
    let place = place.clone();
    let path = exec_root.join(SOCKET);
    let name = path.to_str().ok_or_else(|| Error::invalid("the exec root's path is not UTF-8"))?.to_owned();
    let connect = move |start: bool| match Client::connect(&path) {
        Ok(client) => Ok(client),
        Err(_) if start => launch(&program, &place, &path, &name),
        Err(error) => Err(io::Error::other(error)),
    };
    Ok(Forwarder { keeper: exec_root.join(KEEPER_SOCKET), connect: Box::new(connect) })
}

fn launch(program: impl std::os::fd::AsFd, place: &Place, path: &Path, name: &str) -> io::Result<Client> {
    let null = File::open("/dev/null")?;
    let mut child = sys::process::start_sealed(program, &["hoist-runtime", "forwarder", name], null.into())?;
    place.take(&child);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(path) {
            Ok(client) => {
                // Reaped by whoever inherits it, should it end after us; by this thread, should it end before.
                let waiting = std::thread::Builder::new().name("forwarder-wait".to_owned()).stack_size(64 * 1024);
                waiting.spawn(move || child.wait())?;
                return Ok(client);
            }
            Err(error) if Instant::now() >= deadline => return Err(io::Error::other(error)),
            Err(error) => {
                if child.try_wait()?.is_some() {
                    return Err(io::Error::other(error));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
