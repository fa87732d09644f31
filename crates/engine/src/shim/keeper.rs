//! Finding or starting the keeper, which holds mounted layers and outlives this process.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use keeper::Keeper;

use super::Spawner;
use crate::{Error, Result};

/// Name of its socket in the exec root.
pub(crate) const SOCKET: &str = "keeper.sock";

/// It listens within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the keeper of this exec root, started when it does not answer.
pub(crate) fn ensure_keeper(exec_root: &Path, spawner: &Spawner) -> Result<Keeper> {
    let socket = exec_root.join(SOCKET);
    if let Ok(keeper) = Keeper::connect(&socket) {
        return Ok(keeper);
    }
    let failed = |error| Error::system("start the keeper", error);
    let path = socket.to_str().ok_or_else(|| Error::invalid("the exec root's path is not UTF-8"))?;
    let null = File::open("/dev/null").map_err(failed)?;
    let mut child = spawner.start_role("keeper", path, null.into()).map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Keeper::connect(&socket) {
            Ok(keeper) => {
                // Reaped by whoever inherits it, should it end after us; by this thread, should it end before.
                std::thread::Builder::new()
                    .name("keeper-wait".to_owned())
                    .stack_size(64 * 1024)
                    .spawn(move || child.wait())
                    .map_err(failed)?;
                return Ok(keeper);
            }
            Err(error) if Instant::now() >= deadline => return Err(Error::system("reach the keeper", error)),
            Err(error) => {
                if child.try_wait().map_err(failed)?.is_some() {
                    return Err(Error::system("start the keeper", error));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
